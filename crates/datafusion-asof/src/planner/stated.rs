//! What statistics say of the keys and times of an input, put as a sample.
//!
//! A key of which the least value is the greatest is the only one; times are taken to be even
//! between their ends. That is no more than a guess where statistics are inexact, and need not be
//! more: it decides how evenly partitions are filled, and nothing else.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, new_empty_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{ColumnStatistics, Result, Statistics};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};
use datafusion::scalar::ScalarValue;

use crate::exec::SampledSide;

/// Times between the ends: ranges are cut at some of them.
const TIMES: usize = 1024;

/// The side as its statistics have it, without rows if they say too little; `exprs` are its keys
/// and its as-of value.
pub(super) fn stated(
    input: &Arc<dyn ExecutionPlan>,
    exprs: &[&PhysicalExprRef],
) -> Result<SampledSide> {
    let statistics = StatisticsContext::new().compute(input.as_ref(), &StatisticsArgs::new())?;
    let schema = input.schema();
    let types = exprs.iter().map(|expr| expr.data_type(&schema));
    let types = types.collect::<Result<Vec<_>>>()?;
    // Statistics of a dictionary are values without one.
    let typed = |columns: Vec<ArrayRef>| {
        let columns = columns.iter().zip(&types);
        columns.map(|(column, to)| cast(column, to).ok()).collect()
    };
    let columns: Option<Vec<_>> = columns(exprs, &statistics).and_then(typed);
    let columns = columns.unwrap_or_else(|| types.iter().map(new_empty_array).collect());
    let (time, keys) = match columns.split_last() {
        Some((time, keys)) => (Arc::clone(time), keys.to_vec()),
        None => (new_empty_array(&DataType::Null), vec![]),
    };
    let rows = statistics.num_rows.get_value().copied().unwrap_or(0);
    Ok(SampledSide {
        blocks: vec![time.len()],
        stands_for: rows as f64,
        keys,
        time,
    })
}

fn columns(exprs: &[&PhysicalExprRef], statistics: &Statistics) -> Option<Vec<ArrayRef>> {
    let (time, keys) = exprs.split_last()?;
    let column = |expr: &PhysicalExprRef| {
        let column = expr.downcast_ref::<Column>()?;
        statistics.column_statistics.get(column.index())
    };
    let time = times(column(time)?)?;
    let constant = |key: &&PhysicalExprRef| {
        let key = column(key)?;
        let (least, greatest) = (key.min_value.get_value()?, key.max_value.get_value()?);
        let is_constant = least == greatest && !least.is_null();
        is_constant.then(|| least.to_array_of_size(time.len()).ok())?
    };
    let columns = keys.iter().map(constant).chain([Some(Arc::clone(&time))]);
    columns.collect()
}

/// Times evenly between the least and the greatest.
fn times(time: &ColumnStatistics) -> Option<ArrayRef> {
    let ends = [time.min_value.get_value()?, time.max_value.get_value()?];
    let ends = ScalarValue::iter_to_array(ends.into_iter().cloned()).ok()?;
    if ends.null_count() > 0 {
        return None;
    }
    let share = |number: usize| number as f64 / (TIMES - 1) as f64;
    let times: ArrayRef = match ends.data_type().is_floating() {
        true => {
            let ends = cast(&ends, &DataType::Float64).ok()?;
            let ends = ends.as_primitive::<Float64Type>();
            let (least, greatest) = (ends.value(0), ends.value(1));
            let at = |number| least + (greatest - least) * share(number);
            Arc::new(Float64Array::from_iter_values((0..TIMES).map(at)))
        }
        false => {
            let ends = cast(&ends, &DataType::Int64).ok()?;
            let ends = ends.as_primitive_opt::<Int64Type>()?;
            let (least, greatest) = (ends.value(0), ends.value(1));
            let span = greatest.wrapping_sub(least).cast_unsigned() as f64;
            let at = |number| least.wrapping_add_unsigned((span * share(number)) as u64);
            Arc::new(Int64Array::from_iter_values((0..TIMES).map(at)))
        }
    };
    cast(&times, ends.data_type()).ok()
}
