//! What statistics say of the keys and times of an input, put as a sample.
//!
//! They are read file by file where every file has them, else for the input as a whole. A key of
//! which the least value is the greatest is the only one of its file, as a Hive partition column
//! always is, besides NULL keys; then the rows of the files tell exactly how much each key holds. Times are taken to
//! be even between their ends where no sample tells them. That is no more than a guess, and need not be more: it
//! decides how evenly partitions are filled, and nothing else.
//!
//! # What says nothing
//!
//! * Distinct counts. With fewer keys than partitions some key holds more than its share, but to
//!   cut it, its value has to be known.
//! * The least and the greatest of several keys: not how much each holds.
//! * Sizes of files without statistics (CSV, JSON): how much a partition value holds, but not
//!   from when to when, without which nothing can be cut.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, new_empty_array,
};
use datafusion::arrow::compute::{cast, concat};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{ColumnStatistics, Result, Statistics};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};
use datafusion::scalar::ScalarValue;

use crate::exec::{SampledBlock, SampledSide, file_scan};

/// Times between the ends: ranges are cut at some of them. They are divided among files by their rows.
const TIMES: usize = 1024;

/// A side as its statistics have it.
pub(super) struct Stated {
    /// Without rows if they say too little.
    pub side: SampledSide,
    /// How many files they are the statistics of.
    pub files: usize,
}

/// What the statistics of an input say; `exprs` are its keys and its as-of value.
pub(super) fn stated(input: &Arc<dyn ExecutionPlan>, exprs: &[&PhysicalExprRef]) -> Result<Stated> {
    let whole = StatisticsContext::new().compute(input.as_ref(), &StatisticsArgs::new())?;
    let schema = input.schema();
    let types = exprs.iter().map(|expr| expr.data_type(&schema));
    let types = types.collect::<Result<Vec<_>>>()?;
    let by_file = match file_scan(input) {
        Some(files) => statistics_by_file(files)?,
        None => None,
    };
    let parts = by_file.unwrap_or_else(|| vec![Statistics::clone(&whole)]);
    let said = said(exprs, &types, &parts);
    let nothing = || (types.iter().map(new_empty_array).collect(), vec![]);
    let (columns, mut blocks) = said.unwrap_or_else(nothing);
    let (time, keys) = match columns.split_last() {
        Some((time, keys)) => (Arc::clone(time), keys.to_vec()),
        None => (new_empty_array(&DataType::Null), vec![]),
    };
    let stands_for = rows_of(&whole).unwrap_or(0) as f64;
    let said: f64 = blocks
        .iter()
        .map(|block| block.rows as f64 * block.each)
        .sum();
    for block in &mut blocks {
        block.each *= stands_for / said.max(f64::MIN_POSITIVE);
    }
    let side = SampledSide {
        blocks,
        stands_for,
        keys,
        time,
        is_whole: true,
        ends: [None, None],
    };
    Ok(Stated {
        side,
        files: parts.len(),
    })
}

/// The statistics of each file as the scan gives it; `None` if some file has none.
fn statistics_by_file(files: &FileScanConfig) -> Result<Option<Vec<Statistics>>> {
    let schema = files.projected_schema()?;
    let projection = files.file_source().projection();
    let all = files.file_groups.iter().flat_map(|group| group.files());
    // A file that is read in ranges has one that begins with it.
    let all = all.filter(|file| file.range.as_ref().is_none_or(|range| range.start == 0));
    let of_file = all.map(|file| match (&file.statistics, projection) {
        (Some(statistics), Some(projection)) => {
            let statistics = Statistics::clone(statistics);
            projection.project_statistics(statistics, &schema).map(Some)
        }
        (statistics, _) => Ok(statistics.as_deref().cloned()),
    });
    of_file.collect()
}

fn rows_of(statistics: &Statistics) -> Option<usize> {
    statistics.num_rows.get_value().copied()
}

/// The columns of all parts, each with as many rows as are its share, and what these stand for; `None` if of
/// some part too little is known.
fn said(
    exprs: &[&PhysicalExprRef],
    types: &[DataType],
    parts: &[Statistics],
) -> Option<(Vec<ArrayRef>, Vec<SampledBlock>)> {
    let rows = parts.iter().map(rows_of).collect::<Option<Vec<_>>>()?;
    let all: usize = rows.iter().sum();
    let (mut said, mut blocks) = (vec![], vec![]);
    for (part, rows) in parts.iter().zip(rows).filter(|(_, rows)| *rows > 0) {
        for (key, rows) in keys_of_part(exprs, part, rows as f64)? {
            let times = (rows / all as f64 * TIMES as f64).ceil() as usize;
            said.push(columns_of_part(exprs, part, &key, times)?);
            blocks.push(SampledBlock {
                rows: times,
                each: rows / times as f64,
                reach: [rows / 2.0; 2],
                is_drawn: true,
            });
        }
    }
    let column = |column: usize| {
        let parts: Vec<&dyn Array> = said.iter().map(|part| part[column].as_ref()).collect();
        // Statistics of a file may be of the types that the file has.
        cast(&concat(&parts).ok()?, &types[column]).ok()
    };
    let columns = (0..exprs.len()).map(column).collect::<Option<_>>();
    match said.is_empty() {
        true => None,
        false => columns.map(|columns| (columns, blocks)),
    }
}

fn statistics_of<'a>(
    expr: &PhysicalExprRef,
    statistics: &'a Statistics,
) -> Option<&'a ColumnStatistics> {
    let column = expr.downcast_ref::<Column>()?;
    statistics.column_statistics.get(column.index())
}

/// The keys of a part, and how many rows each has: one, and another where a column has NULLs beside a value. Where two
/// columns have, it is not known which come together.
fn keys_of_part(
    exprs: &[&PhysicalExprRef],
    statistics: &Statistics,
    rows: f64,
) -> Option<Vec<(Vec<ScalarValue>, f64)>> {
    let (_, keys) = exprs.split_last()?;
    let mut values = vec![];
    let mut with_nulls = None;
    for (number, key) in keys.iter().enumerate() {
        let key = statistics_of(key, statistics)?;
        let nulls = *key.null_count.get_value()? as f64;
        let (least, greatest) = (key.min_value.get_value()?, key.max_value.get_value()?);
        if least != greatest || (least.is_null() && nulls < rows) {
            return None;
        }
        if nulls > 0.0 && nulls < rows && with_nulls.replace((number, nulls)).is_some() {
            return None;
        }
        values.push(match nulls < rows {
            true => least.clone(),
            false => ScalarValue::try_from(&least.data_type()).ok()?,
        });
    }
    let Some((number, nulls)) = with_nulls else {
        return Some(vec![(values, rows)]);
    };
    let mut of_null = values.clone();
    of_null[number] = ScalarValue::try_from(&values[number].data_type()).ok()?;
    Some(vec![(values, rows - nulls), (of_null, nulls)])
}

/// So many rows of one key of a part.
fn columns_of_part(
    exprs: &[&PhysicalExprRef],
    statistics: &Statistics,
    key: &[ScalarValue],
    rows: usize,
) -> Option<Vec<ArrayRef>> {
    let (time, _) = exprs.split_last()?;
    let time = match time.downcast_ref::<Literal>() {
        Some(time) => time.value().to_array_of_size(rows).ok(),
        None => times(statistics_of(time, statistics)?, rows),
    };
    let key = key.iter().map(|value| value.to_array_of_size(rows).ok());
    key.chain([time]).collect()
}

/// Times evenly between the least and the greatest.
fn times(time: &ColumnStatistics, rows: usize) -> Option<ArrayRef> {
    let ends = [time.min_value.get_value()?, time.max_value.get_value()?];
    let ends = ScalarValue::iter_to_array(ends.into_iter().cloned()).ok()?;
    if ends.null_count() > 0 {
        return None;
    }
    let share = |number: usize| number as f64 / rows.saturating_sub(1).max(1) as f64;
    let times: ArrayRef = match ends.data_type().is_floating() {
        true => {
            let ends = cast(&ends, &DataType::Float64).ok()?;
            let ends = ends.as_primitive::<Float64Type>();
            let (least, greatest) = (ends.value(0), ends.value(1));
            let at = |number| least + (greatest - least) * share(number);
            Arc::new(Float64Array::from_iter_values((0..rows).map(at)))
        }
        false => {
            let ends = cast(&ends, &DataType::Int64).ok()?;
            let ends = ends.as_primitive_opt::<Int64Type>()?;
            let (least, greatest) = (ends.value(0), ends.value(1));
            let span = greatest.wrapping_sub(least).cast_unsigned() as f64;
            let at = |number| least.wrapping_add_unsigned((span * share(number)) as u64);
            Arc::new(Int64Array::from_iter_values((0..rows).map(at)))
        }
    };
    cast(&times, ends.data_type()).ok()
}
