//! What the drivers need of the operator at run time, independent of plans and children.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, UInt64Type};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::{Column, binary, case, cast, lit};
use datafusion::physical_plan::ColumnarValue;
use datafusion::scalar::ScalarValue;

use super::columns::{AllColumns, Columns};
use super::residual::{Residual, mask};
use crate::kernel::domain::{Line, TimeDomain};
use crate::kernel::index::{IndexSpec, LeftBatch, Places};
use crate::kernel::ordinals::KeyType;
use crate::kernel::tolerance::Tolerance;
use crate::spec::{AsOfSpec, MatchOp, NullPolicy, Side};

/// The specification with everything that is derived from it once.
#[derive(Debug, Clone)]
pub(super) struct Matching {
    pub spec: AsOfSpec<PhysicalExprRef>,
    /// The specification as `EXPLAIN` shows it.
    pub shown: AsOfSpec<String>,
    pub domain: TimeDomain,
    pub tolerance: Option<Tolerance>,
    pub key_types: Vec<KeyType>,
    /// What rows of each side are partitioned by, so that equal keys meet.
    pub partition_keys: [Vec<PhysicalExprRef>; 2],
    pub tie_types: Vec<(DataType, SortOptions)>,
    pub residual: Residual,
    /// Left columns and, if the join has them, right columns.
    pub joined: SchemaRef,
    /// The left input.
    pub left_schema: SchemaRef,
    /// The right input, without the place of its rows.
    pub right_schema: SchemaRef,
    /// Which of the joined columns come out, if not all of them.
    pub projection: Option<Vec<usize>>,
    /// The column of a salted right input that tells carried rows.
    pub carried: Option<(usize, FieldRef)>,
    pub columns: Columns,
}

/// What matching reads of one left batch.
pub(super) struct LeftInputs {
    pub keys: Vec<ArrayRef>,
    pub time: ArrayRef,
    pub mask: Option<BooleanArray>,
    pub bounds: Vec<ArrayRef>,
}

impl LeftInputs {
    pub(super) fn as_batch(&self) -> LeftBatch<'_> {
        LeftBatch {
            keys: &self.keys,
            time: &self.time,
            mask: self.mask.as_ref(),
            bounds: &self.bounds,
        }
    }
}

/// What matching reads of one right batch.
pub(super) struct RightInputs {
    pub keys: Vec<ArrayRef>,
    pub time: ArrayRef,
    pub mask: Option<BooleanArray>,
    pub bounds: Vec<ArrayRef>,
    pub ties: Vec<ArrayRef>,
}

impl Matching {
    /// Checks the specification against the inputs and derives the rest.
    ///
    /// # Errors
    /// Planning errors for keys or as-of values whose types do not fit each other, for a
    /// tolerance that does not fit the as-of values, and for a filter that is not boolean.
    pub(super) fn try_new(
        spec: AsOfSpec<PhysicalExprRef>,
        left: &SchemaRef,
        right: &SchemaRef,
        joined: SchemaRef,
    ) -> Result<Self> {
        let condition = &spec.match_condition;
        let domain = TimeDomain::try_new(
            &condition.left.data_type(left)?,
            &condition.right.data_type(right)?,
        )?;
        if condition.op == MatchOp::Nearest && !domain.has_distance() {
            return plan_err!("nearest needs as-of values with a distance, as {condition} has not");
        }
        let key_types = spec.on.iter().map(|key| {
            let (left, right) = (key.left.data_type(left)?, key.right.data_type(right)?);
            if left != right {
                return plan_err!("ASOF JOIN keys {key} differ in type: {left}, {right}");
            }
            Ok(KeyType {
                data_type: left,
                null_equals_null: key.null_equals_null,
            })
        });
        let key_types = key_types.collect::<Result<_>>()?;
        let left_keys = spec.on.iter().map(|key| partition_key(&key.left, left));
        let right_keys = spec.on.iter().map(|key| partition_key(&key.right, right));
        let partition_keys = [
            left_keys.collect::<Result<_>>()?,
            right_keys.collect::<Result<_>>()?,
        ];
        let tie_types = spec.ties.iter();
        let tie_types = tie_types.map(|tie| Ok((tie.expr.data_type(right)?, tie.options)));
        let tie_types = tie_types.collect::<Result<_>>()?;
        let limit = spec.tolerance.as_ref().map(constant).transpose()?;
        let tolerance = match &limit {
            Some(limit) => Some(Tolerance::try_new(&domain, limit)?),
            None => None,
        };
        let shown = spec.try_map(|_, expr| Ok::<_, DataFusionError>(expr.to_string()))?;
        let shown_limit = limit.map(|limit| array_value_to_string(&limit, 0));
        let shown = AsOfSpec {
            tolerance: shown_limit.transpose()?,
            ..shown
        };
        let residual = Residual::try_new(spec.filter.as_ref(), left, right)?;
        let all = AllColumns {
            joined: &joined,
            left: left.fields().len(),
            right,
            matched: residual.right_columns(),
            carried: None,
        };
        let columns = Columns::try_new(&all, None)?;
        Ok(Self {
            domain,
            tolerance,
            shown,
            key_types,
            partition_keys,
            tie_types,
            residual,
            left_schema: Arc::clone(left),
            right_schema: Arc::clone(right),
            projection: None,
            carried: None,
            columns,
            joined,
            spec,
        })
    }

    /// The same, of which only some of the joined columns come out.
    pub(super) fn with_projection(&self, projection: Option<Vec<usize>>) -> Result<Self> {
        self.with_columns(projection, self.carried.clone())
    }

    /// The same over a right input that tells carried rows in a column, or over one that has none.
    pub(super) fn with_carried(&self, carried: Option<(usize, FieldRef)>) -> Result<Self> {
        self.with_columns(self.projection.clone(), carried)
    }

    fn with_columns(
        &self,
        projection: Option<Vec<usize>>,
        carried: Option<(usize, FieldRef)>,
    ) -> Result<Self> {
        let all = AllColumns {
            joined: &self.joined,
            left: self.left_schema.fields().len(),
            right: &self.right_schema,
            matched: self.residual.right_columns(),
            carried: carried.clone(),
        };
        let columns = Columns::try_new(&all, projection.as_deref())?;
        Ok(Self {
            projection,
            carried,
            columns,
            ..self.clone()
        })
    }

    /// Whether one row per key is all that a merge in time order has to remember.
    pub(super) fn merges_in_order(&self) -> bool {
        self.spec.match_condition.op != MatchOp::Nearest && !self.residual.decides()
    }

    /// Whether the left side can be indexed instead of the right: one best candidate for each
    /// left row is all that has to be remembered, and candidates compare as numbers.
    pub(super) fn can_index_left(&self) -> bool {
        let op = self.spec.match_condition.op;
        op != MatchOp::Nearest
            && self.domain.line() == Line::I64
            && self.tie_types.is_empty()
            && !self.residual.decides()
            && self.spec.null_policy == NullPolicy::RespectNulls
            && !self.spec.join_type.keeps_unmatched_right()
    }

    /// Why hot keys cannot be cut into ranges of time. They can be where of all earlier ranges one row
    /// per key is all that a range has to be sent, and a right row can be in several ranges.
    pub(super) fn hinders_salt(&self) -> Option<&'static str> {
        if self.spec.join_type.keeps_unmatched_right() {
            return Some("of a right row it must be known whether any range chose it");
        }
        let decides = self.residual.decides();
        decides.then_some("a predicate over both sides may want an older row than the one carried")
    }

    /// The kept right columns of which each takes its own nearest value.
    pub(super) fn own_value_columns(&self) -> Vec<usize> {
        let nullable = |column: &usize| self.columns.kept_schema.field(*column).is_nullable();
        match self.spec.null_policy {
            NullPolicy::IgnoreNulls => self.columns.right_in_output().filter(nullable).collect(),
            NullPolicy::RespectNulls => vec![],
        }
    }

    /// The kept right column whose values, as numbers, are the places of the right on the line.
    pub(super) fn right_time_column(&self) -> Option<usize> {
        let time = &self.spec.match_condition.right;
        let column = time.downcast_ref::<Column>()?.index();
        let kept = self.columns.kept_position(column);
        let is_kept = self.columns.kept.get(kept) == Some(&column);
        (is_kept && self.domain.is_of_values(Side::Right)).then_some(kept)
    }

    /// What an index of one side needs to know.
    pub(super) fn index_spec(&self, side: Side) -> IndexSpec {
        let bounds = self.residual.bounds.iter();
        let (ties, bounds) = match side {
            Side::Right => (
                self.tie_types.clone(),
                bounds.map(|bound| bound.bound.clone()).collect(),
            ),
            _ => (vec![], vec![]),
        };
        IndexSpec {
            side,
            domain: self.domain.clone(),
            keys: self.key_types.clone(),
            ties,
            bounds,
            op: self.spec.match_condition.op,
        }
    }

    pub(super) fn left_keys_and_time(
        &self,
        batch: &RecordBatch,
    ) -> Result<(Vec<ArrayRef>, ArrayRef)> {
        let keys = self.spec.on.iter().map(|key| &key.left);
        let time = column(&self.spec.match_condition.left, batch)?;
        Ok((columns(keys, batch)?, time))
    }

    pub(super) fn left_inputs(&self, batch: &RecordBatch) -> Result<LeftInputs> {
        let (keys, time) = self.left_keys_and_time(batch)?;
        let bounds = self.residual.bounds.iter().map(|bound| &bound.left);
        Ok(LeftInputs {
            keys,
            time,
            mask: mask(self.residual.left.as_ref(), batch)?,
            bounds: columns(bounds, batch)?,
        })
    }

    pub(super) fn right_inputs(&self, batch: &RecordBatch) -> Result<RightInputs> {
        let keys = self.spec.on.iter().map(|key| &key.right);
        let bounds = self.residual.bounds.iter().map(|bound| &bound.right);
        let ties = self.spec.ties.iter().map(|tie| &tie.expr);
        Ok(RightInputs {
            keys: columns(keys, batch)?,
            time: column(&self.spec.match_condition.right, batch)?,
            mask: mask(self.residual.right.as_ref(), batch)?,
            bounds: columns(bounds, batch)?,
            ties: columns(ties, batch)?,
        })
    }

    /// A right batch apart: the columns that are kept and the places of its rows.
    pub(super) fn split_place(&self, batch: &RecordBatch) -> Result<(RecordBatch, Places)> {
        let place = batch.columns().last();
        let Some(places) = place.and_then(|place| place.as_primitive_opt::<UInt64Type>()) else {
            return exec_err!("the right input of an ASOF JOIN lost its place column");
        };
        let kept = self.columns.kept.iter();
        let kept = kept.map(|column| Arc::clone(batch.column(*column)));
        let kept = self.kept_batch(kept.collect(), batch.num_rows())?;
        Ok((kept, Places::new(places.values().clone())))
    }

    /// Kept right columns as a batch.
    pub(super) fn kept_batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.columns.kept_schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

fn column(expr: &PhysicalExprRef, batch: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(batch)?.into_array(batch.num_rows())
}

fn columns<'a>(
    exprs: impl Iterator<Item = &'a PhysicalExprRef>,
    batch: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    exprs.map(|expr| column(expr, batch)).collect()
}

/// What to partition by a key: DataFusion tells NaNs of different sign apart, which are equal
/// here, so they become one. They lie outside of the infinities. (`nanvl` would say it more simply. But calls
/// are equal only under equal settings, which no node has: where plans are sent, they would not be
/// what the exchange is by.)
fn partition_key(key: &PhysicalExprRef, schema: &Schema) -> Result<PhysicalExprRef> {
    let mut key = Arc::clone(key);
    let [nan, least, most] = match key.data_type(schema)? {
        DataType::Float16 | DataType::Float32 => {
            // Constants of 16 bits arrive as ones of 32 where plans are sent (DataFusion 55.2).
            key = cast(key, schema, DataType::Float32)?;
            [f32::NAN, f32::NEG_INFINITY, f32::INFINITY].map(ScalarValue::from)
        }
        DataType::Float64 => [f64::NAN, f64::NEG_INFINITY, f64::INFINITY].map(ScalarValue::from),
        _ => return Ok(key),
    };
    let nan_where = |op, limit| {
        let outside = binary(Arc::clone(&key), op, lit(limit), schema)?;
        Ok((outside, lit(nan.clone())))
    };
    let nans = [
        nan_where(Operator::Lt, least),
        nan_where(Operator::Gt, most),
    ];
    let nans = nans.into_iter().collect::<Result<_>>()?;
    case(None, nans, Some(Arc::clone(&key)))
}

/// The value of an expression that reads no column.
fn constant(expr: &PhysicalExprRef) -> Result<ArrayRef> {
    let one_row = RecordBatch::try_new_with_options(
        Schema::empty().into(),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )?;
    match expr.evaluate(&one_row)? {
        ColumnarValue::Scalar(scalar) => scalar.to_array(),
        ColumnarValue::Array(array) => Ok(array),
    }
}
