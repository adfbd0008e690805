//! A table in memory as one partition in time order, and cut into ranges that follow each other.
//!
//! What [`pinned_source`](super::pinned_source) does with files: nothing needs to be decoded here, but
//! keys have to be looked up and filters executed. No statistics tell whether partitions follow each
//! other; their first and last rows do, which are at hand.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::utils::compare_rows;
use datafusion::config::ConfigOptions;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;

use super::pinned_source::{memory_scan, with_source};

/// Ranges for each task, and batches of a range at least.
const RANGES_OF_TASK: usize = 16;
const BATCHES_OF_RANGE: usize = 8;

/// A scan of a table in memory with all its batches in one partition, which has those declared orders
/// that hold from each partition to the next; nobody cuts it anew. `None` for other plans.
pub(super) fn in_one_partition(
    plan: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((scan, table)) = whole_scan(plan) else {
        return Ok(None);
    };
    let partitions = projected(table)?;
    let mut orders = vec![];
    for order in table.sort_information() {
        if follow(&partitions, order)? {
            orders.push(order.clone());
        }
    }
    with_partitions(scan, &[partitions.concat()], orders).map(Some)
}

/// Of such a scan of one partition the same batches in many, each from where the one before it ends.
/// `None` for other plans, and if it is not worth it.
pub(super) fn cut_into_sequence(
    plan: &Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let tasks = config.execution.target_partitions;
    let Some((scan, table)) = whole_scan(plan) else {
        return Ok(None);
    };
    let [batches] = table.partitions() else {
        return Ok(None);
    };
    let of_range = batches.len().div_ceil(RANGES_OF_TASK * tasks);
    let of_range = of_range.max(BATCHES_OF_RANGE);
    if tasks <= 1 || batches.len() <= of_range {
        return Ok(None);
    }
    let batches = projected(table)?.concat();
    let ranges: Vec<Vec<RecordBatch>> = batches.chunks(of_range).map(<[_]>::to_vec).collect();
    with_partitions(scan, &ranges, table.sort_information().to_vec()).map(Some)
}

fn whole_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<(&DataSourceExec, &MemorySourceConfig)> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let table = memory_scan(plan)?;
    table.fetch().is_none().then_some((scan, table))
}

/// The columns that are read.
fn projected(table: &MemorySourceConfig) -> Result<Vec<Vec<RecordBatch>>> {
    let batch = |batch: &RecordBatch| match table.projection() {
        Some(columns) => Ok(batch.project(columns)?),
        None => Ok(batch.clone()),
    };
    let partitions = table.partitions().iter();
    let partitions = partitions.map(|batches| batches.iter().map(batch).collect());
    partitions.collect()
}

fn with_partitions(
    scan: &DataSourceExec,
    partitions: &[Vec<RecordBatch>],
    orders: Vec<LexOrdering>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let table = MemorySourceConfig::try_new(partitions, scan.schema(), None)?;
    let table = table.try_with_sort_information(orders)?;
    Ok(with_source(scan, Arc::new(table)))
}

/// Whether no partition begins before the one before it ends.
fn follow(partitions: &[Vec<RecordBatch>], order: &LexOrdering) -> Result<bool> {
    let options: Vec<_> = order.iter().map(|by| by.options).collect();
    let values = |batch: &RecordBatch, row: usize| {
        let row = batch.slice(row, 1);
        let value = |by: &PhysicalSortExpr| value_of(by, &row);
        order.iter().map(value).collect::<Result<Vec<_>>>()
    };
    let mut last: Option<Vec<ScalarValue>> = None;
    for batches in partitions {
        let mut batches = batches.iter().filter(|batch| batch.num_rows() > 0);
        let Some(first) = batches.next() else {
            continue;
        };
        let end = batches.next_back().unwrap_or(first);
        if let Some(last) = &last
            && compare_rows(last, &values(first, 0)?, &options)? == Ordering::Greater
        {
            return Ok(false);
        }
        last = Some(values(end, end.num_rows() - 1)?);
    }
    Ok(true)
}

fn value_of(by: &PhysicalSortExpr, row: &RecordBatch) -> Result<ScalarValue> {
    let value = by.expr.evaluate(row)?.into_array(1)?;
    ScalarValue::try_from_array(&value, 0)
}
