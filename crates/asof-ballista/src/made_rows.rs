//! Rows that no table holds.
//!
//! `SELECT 'C', 14` reads a row without columns, and `WHERE false` leaves no row at all; DataFusion has a
//! node for each. Ballista 55.0 cannot tell a task which partitions of them are its own. Where a task of a
//! `UNION ALL` reads none, an empty table in memory takes their place in it, and that table counts
//! what it gives while those nodes do not. A scheduler drops the news of a task that counted more or fewer operators
//! than the first one of its stage, and the stage is never done: the query waits for ever.
//!
//! So all tasks are given tables in memory, of the same rows.

use std::sync::Arc;

use datafusion::arrow::array::{NullArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// The plan with such rows in memory.
pub(crate) fn with_made_rows_in_memory(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let rows = if plan.is::<PlaceholderRowExec>() {
            vec![row(plan.schema().fields().len())?]
        } else if plan.is::<EmptyExec>() {
            vec![]
        } else {
            return Ok(Transformed::no(plan));
        };
        let partitions = plan.output_partitioning().partition_count();
        let partitions = vec![rows; partitions];
        let source = MemorySourceConfig::try_new_exec(&partitions, plan.schema(), None)?;
        Ok(Transformed::yes(source as _))
    })
    .data()
}

/// One row, of which only the number is read: the columns, if it has any, are NULL whatever their type.
fn row(columns: usize) -> Result<RecordBatch> {
    let nulls = |column| Field::new(format!("placeholder_{column}"), DataType::Null, true);
    let schema = Schema::new((0..columns).map(nulls).collect::<Vec<_>>());
    let values = (0..columns).map(|_| Arc::new(NullArray::new(1)) as _);
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(schema),
        values.collect(),
        &options,
    )?)
}
