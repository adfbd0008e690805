//! The further predicates of a join, `AsOfSpec::filter`, taken apart by what they read.
//!
//! | conjunct reads | it is |
//! |---|---|
//! | the left alone | a mask of left rows that can match |
//! | the right alone | a mask of right rows that can be chosen |
//! | both, as a comparison of exact values of the two | a bound (`kernel/zones.rs`) |
//! | both, otherwise | evaluated for pairs of rows |

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, UInt32Array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExprRef, conjunction_opt, split_conjunction};

use super::columns::Columns;
use super::gather::RightRows;
use crate::kernel::rows::RowId;
use crate::kernel::zones::Bound;
use crate::spec::{MatchOp, Side};

/// The predicates of a join.
#[derive(Debug, Clone, Default)]
pub(super) struct Residual {
    /// Reads the left columns.
    pub left: Option<PhysicalExprRef>,
    /// Reads the right columns.
    pub right: Option<PhysicalExprRef>,
    pub bounds: Vec<BoundExprs>,
    pub pairs: Option<PairFilter>,
}

/// A bound and what it compares.
#[derive(Debug, Clone)]
pub(super) struct BoundExprs {
    pub left: PhysicalExprRef,
    pub right: PhysicalExprRef,
    pub bound: Bound,
}

impl Residual {
    /// `filter` reads the left columns followed by the right columns.
    ///
    /// # Errors
    /// A planning error for a filter that is not boolean.
    pub(super) fn try_new(
        filter: Option<&PhysicalExprRef>,
        left: &Schema,
        right: &Schema,
    ) -> Result<Self> {
        let Some(filter) = filter else {
            return Ok(Self::default());
        };
        let both = both(left, right);
        match filter.data_type(&both)? {
            DataType::Boolean | DataType::Null => {}
            other => return plan_err!("the filter of an ASOF JOIN is of type {other}: {filter}"),
        }
        let left_columns = left.fields().len();
        let (mut of_left, mut of_right, mut pairs) = (vec![], vec![], vec![]);
        let mut bounds = vec![];
        for conjunct in split_conjunction(filter) {
            match reads(conjunct, left_columns) {
                Side::Left | Side::Neither => of_left.push(Arc::clone(conjunct)),
                Side::Right => of_right.push(moved(conjunct, left_columns)?),
                Side::Both => match bound(conjunct, left, right)? {
                    Some(bound) => bounds.push(bound),
                    None => pairs.push(Arc::clone(conjunct)),
                },
            }
        }
        let pairs = conjunction_opt(pairs);
        Ok(Self {
            left: conjunction_opt(of_left),
            right: conjunction_opt(of_right),
            bounds,
            pairs: pairs
                .map(|expr| PairFilter::try_new(&expr, &both, left_columns))
                .transpose()?,
        })
    }

    /// The right columns that are read for pairs of rows.
    pub(super) fn right_columns(&self) -> &[usize] {
        self.pairs.as_ref().map_or(&[], |pairs| &pairs.right)
    }

    /// Whether the predicate has a say in which of several candidates is chosen.
    pub(super) fn decides(&self) -> bool {
        !self.bounds.is_empty() || self.pairs.is_some()
    }
}

fn both(left: &Schema, right: &Schema) -> Schema {
    let fields = left.fields().iter().chain(right.fields()).cloned();
    Schema::new(fields.collect::<Vec<_>>())
}

fn reads(expr: &PhysicalExprRef, left_columns: usize) -> Side {
    let columns = collect_columns(expr);
    let left = columns.iter().any(|column| column.index() < left_columns);
    let right = columns.iter().any(|column| column.index() >= left_columns);
    match (left, right) {
        (true, true) => Side::Both,
        (true, false) => Side::Left,
        (false, true) => Side::Right,
        (false, false) => Side::Neither,
    }
}

/// An expression over the right columns alone.
fn moved(expr: &PhysicalExprRef, left_columns: usize) -> Result<PhysicalExprRef> {
    with_columns(expr, |index| index - left_columns)
}

fn with_columns(expr: &PhysicalExprRef, index: impl Fn(usize) -> usize) -> Result<PhysicalExprRef> {
    let renumber = |expr: PhysicalExprRef| {
        Ok(match expr.downcast_ref::<Column>() {
            Some(column) => {
                let column = Column::new(column.name(), index(column.index()));
                Transformed::yes(Arc::new(column) as PhysicalExprRef)
            }
            None => Transformed::no(expr),
        })
    };
    Arc::clone(expr).transform(renumber).data()
}

/// A comparison of the two sides as a bound, if it can be one.
fn bound(expr: &PhysicalExprRef, left: &Schema, right: &Schema) -> Result<Option<BoundExprs>> {
    let Some(comparison) = expr.downcast_ref::<BinaryExpr>() else {
        return Ok(None);
    };
    let op = match comparison.op() {
        Operator::GtEq => MatchOp::GtEq,
        Operator::Gt => MatchOp::Gt,
        Operator::LtEq => MatchOp::LtEq,
        Operator::Lt => MatchOp::Lt,
        _ => return Ok(None),
    };
    let left_columns = left.fields().len();
    let (a, b) = (comparison.left(), comparison.right());
    let (of_left, op, of_right) = match (reads(a, left_columns), reads(b, left_columns)) {
        (Side::Left, Side::Right) => (a, op, b),
        (Side::Right, Side::Left) => (b, op.swap(), a),
        _ => return Ok(None),
    };
    let of_right = moved(of_right, left_columns)?;
    let types = (of_left.data_type(left)?, of_right.data_type(right)?);
    let bound = Bound::try_new(&types.0, op, &types.1);
    Ok(bound.map(|bound| BoundExprs {
        left: Arc::clone(of_left),
        right: of_right,
        bound,
    }))
}

/// Which rows of a batch a predicate lets pass; NULL does not.
pub(super) fn mask(
    predicate: Option<&PhysicalExprRef>,
    batch: &RecordBatch,
) -> Result<Option<BooleanArray>> {
    let evaluate = |expr: &PhysicalExprRef| boolean(expr, batch);
    predicate.map(evaluate).transpose()
}

fn boolean(expr: &PhysicalExprRef, batch: &RecordBatch) -> Result<BooleanArray> {
    let passes = expr.evaluate(batch)?.into_array(batch.num_rows())?;
    // A literal NULL has no type of its own.
    let passes: ArrayRef = match passes.data_type() {
        DataType::Boolean => passes,
        _ => cast(&passes, &DataType::Boolean)?,
    };
    Ok(passes.as_boolean().clone())
}

/// A predicate on pairs of rows.
#[derive(Debug, Clone)]
pub(super) struct PairFilter {
    /// Over `schema`.
    expr: PhysicalExprRef,
    /// The left columns that it reads, then the right ones.
    left: Vec<usize>,
    right: Vec<usize>,
    schema: SchemaRef,
}

impl PairFilter {
    fn try_new(expr: &PhysicalExprRef, both: &Schema, left_columns: usize) -> Result<Self> {
        let mut columns: Vec<usize> = (collect_columns(expr).iter())
            .map(|column| column.index())
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let place = |index: usize| columns.binary_search(&index).unwrap_or(index);
        let expr = with_columns(expr, place)?;
        let schema = Arc::new(both.project(&columns)?);
        let (left, right) = columns
            .into_iter()
            .partition::<Vec<_>, _>(|column| *column < left_columns);
        let right = right.into_iter().map(|column| column - left_columns);
        Ok(Self {
            expr,
            left,
            right: right.collect(),
            schema,
        })
    }

    /// Which of the pairs pass.
    pub(super) fn evaluate(
        &self,
        (left, left_rows): (&RecordBatch, &[u32]),
        (right, right_rows): (&impl RightRows, &[RowId]),
        kept: &Columns,
    ) -> Result<BooleanArray> {
        let left_rows = UInt32Array::from(left_rows.to_vec());
        let of_left = self.left.iter();
        let mut columns = of_left
            .map(|column| Ok(take(left.column(*column), &left_rows, None)?))
            .collect::<Result<Vec<_>>>()?;
        let of_right = self.right.iter();
        let of_right: Vec<usize> = of_right.map(|column| kept.kept_position(*column)).collect();
        columns.extend(right.gather(&of_right, right_rows)?);
        let options = RecordBatchOptions::new().with_row_count(Some(right_rows.len()));
        let pairs = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        boolean(&self.expr, &pairs)
    }
}
