//! What both drivers need of the operator at run time, independent of plans and children.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, UInt64Type};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_plan::ColumnarValue;

use crate::kernel::domain::TimeDomain;
use crate::kernel::tolerance::Tolerance;
use crate::spec::AsOfSpec;

/// The specification with everything that is derived from it once.
#[derive(Debug)]
pub(super) struct Matching {
    pub spec: AsOfSpec<PhysicalExprRef>,
    /// The specification as `EXPLAIN` shows it.
    pub shown: AsOfSpec<String>,
    pub domain: TimeDomain,
    pub tolerance: Option<Tolerance>,
    pub key_types: Vec<DataType>,
    /// The schema of the join.
    pub schema: SchemaRef,
    /// How many columns of it come from the left.
    pub left_columns: usize,
}

/// Keys and as-of values of one batch.
pub(super) struct Inputs {
    pub keys: Vec<ArrayRef>,
    pub time: ArrayRef,
}

impl Matching {
    /// Checks the specification against the inputs and derives the rest.
    ///
    /// # Errors
    /// Planning errors for keys or as-of values whose types do not fit each other, and for
    /// a tolerance that does not fit the as-of values.
    pub(super) fn try_new(
        spec: AsOfSpec<PhysicalExprRef>,
        left: &Schema,
        right: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let condition = &spec.match_condition;
        let domain = TimeDomain::try_new(
            &condition.left.data_type(left)?,
            &condition.right.data_type(right)?,
        )?;
        let key_types = spec
            .on
            .iter()
            .map(|key| {
                let (left, right) = (key.left.data_type(left)?, key.right.data_type(right)?);
                if left != right {
                    return plan_err!("ASOF JOIN keys {key} differ in type: {left}, {right}");
                }
                Ok(left)
            })
            .collect::<Result<_>>()?;
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
        Ok(Self {
            domain,
            tolerance,
            shown,
            key_types,
            left_columns: left.fields().len(),
            schema,
            spec,
        })
    }

    /// The keys and as-of values of a left batch.
    pub(super) fn left_inputs(&self, batch: &RecordBatch) -> Result<Inputs> {
        let keys = self.spec.on.iter().map(|key| &key.left);
        inputs(keys, &self.spec.match_condition.left, batch)
    }

    /// The keys and as-of values of a right batch.
    pub(super) fn right_inputs(&self, batch: &RecordBatch) -> Result<Inputs> {
        let keys = self.spec.on.iter().map(|key| &key.right);
        inputs(keys, &self.spec.match_condition.right, batch)
    }

    /// A right batch apart: its own columns and the places of its rows.
    pub(super) fn split_place(
        &self,
        batch: &RecordBatch,
    ) -> Result<(RecordBatch, ScalarBuffer<u64>)> {
        let Some((place, columns)) = batch.columns().split_last() else {
            return exec_err!("the right input of an ASOF JOIN lost its place column");
        };
        let Some(places) = place.as_primitive_opt::<UInt64Type>() else {
            return exec_err!("the right input of an ASOF JOIN lost its place column");
        };
        let fields = &batch.schema_ref().fields()[..columns.len()];
        let schema = Schema::new(fields.to_vec());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let payload = RecordBatch::try_new_with_options(schema.into(), columns.to_vec(), &options)?;
        Ok((payload, places.values().clone()))
    }
}

fn inputs<'a>(
    keys: impl Iterator<Item = &'a PhysicalExprRef>,
    time: &PhysicalExprRef,
    batch: &RecordBatch,
) -> Result<Inputs> {
    let column = |expr: &PhysicalExprRef| expr.evaluate(batch)?.into_array(batch.num_rows());
    Ok(Inputs {
        keys: keys.map(column).collect::<Result<_>>()?,
        time: column(time)?,
    })
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
