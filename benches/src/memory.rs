//! Tables that are in memory before the clock starts.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::SortExpr;
use datafusion::prelude::{SessionContext, col};

use crate::table::Table;

/// Registers the rows as this table, declared to be in time order if they are.
pub fn register(
    ctx: &SessionContext,
    table: &Table,
    schema: SchemaRef,
    partitions: Vec<Vec<RecordBatch>>,
) -> Result<()> {
    let order: Vec<Vec<SortExpr>> = match table.in_time_order {
        true => vec![vec![col(Table::TIME).sort(true, false)]],
        false => vec![],
    };
    let loaded = MemTable::try_new(schema, partitions)?.with_sort_order(order);
    ctx.register_table(table.name.as_str(), Arc::new(loaded))?;
    Ok(())
}
