//! Limits of tables in memory.
//!
//! A `LIMIT` goes down into what is read, and where a single partition is read nothing is left of it above. When
//! Ballista 55.0 gives tasks their partitions of a table in memory it makes the table anew and forgets the
//! limit, and all rows come. So the limit is said once more, above the table.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::LocalLimitExec;

/// The plan with such limits above tables.
pub(crate) fn with_limits_above_tables(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let Some(source) = plan.downcast_ref::<DataSourceExec>() else {
            return Ok(Transformed::no(plan));
        };
        let in_memory = source.data_source().downcast_ref::<MemorySourceConfig>();
        Ok(match (in_memory, plan.fetch()) {
            // Of each partition, as the table has it.
            (Some(_), Some(rows)) => Transformed::yes(Arc::new(LocalLimitExec::new(plan, rows))),
            _ => Transformed::no(plan),
        })
    })
    .data()
}
