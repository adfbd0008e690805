//! Spreads new in-memory tables over several partitions and batches.
//!
//! `CREATE TABLE … AS VALUES` makes one partition of one batch, under which neither a
//! partition's nor a batch's edge is ever met. The rows are cut in their order, so "the last row
//! of the input" stays the same row: partition by partition, batch by batch.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::catalog::MemTable;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use crate::profile::Profile;

/// Small enough that a table of a test has several batches.
const ROWS_PER_BATCH: usize = 3;

/// Cuts each table not in `known` yet into as many partitions as the profile has.
pub(crate) async fn spread(
    ctx: &SessionContext,
    known: &mut HashSet<String>,
    profile: Profile,
) -> Result<()> {
    let Some(schema) = ctx.catalog("datafusion").and_then(|c| c.schema("public")) else {
        return Ok(());
    };
    let names: HashSet<String> = schema.table_names().into_iter().collect();
    for name in names.difference(known) {
        let Some(table) = schema.table(name).await? else {
            continue;
        };
        if let Some(table) = table.downcast_ref::<MemTable>() {
            let spread = cut(table, profile.partitions).await?;
            schema.deregister_table(name)?;
            schema.register_table(name.clone(), Arc::new(spread))?;
        }
    }
    *known = names;
    Ok(())
}

async fn cut(table: &MemTable, partitions: usize) -> Result<MemTable> {
    let mut rows = Vec::new();
    for partition in &table.batches {
        rows.extend(partition.read().await.iter().cloned());
    }
    let schema = datafusion::catalog::TableProvider::schema(table);
    let rows = concat_batches(&schema, &rows)?;
    let share = rows.num_rows().div_ceil(partitions).max(1);
    let partitions = (0..partitions)
        .map(|p| {
            let from = (p * share).min(rows.num_rows());
            let to = (from + share).min(rows.num_rows());
            let mut batches = batches(&rows, from, to);
            // An empty batch in front is legal, and easily forgotten.
            batches.insert(0, RecordBatch::new_empty(Arc::clone(&schema)));
            batches
        })
        .collect();
    MemTable::try_new(schema, partitions)
}

fn batches(rows: &RecordBatch, from: usize, to: usize) -> Vec<RecordBatch> {
    (from..to)
        .step_by(ROWS_PER_BATCH)
        .map(|start| rows.slice(start, ROWS_PER_BATCH.min(to - start)))
        .collect()
}
