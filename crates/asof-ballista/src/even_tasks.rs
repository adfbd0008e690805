//! Tasks of one partition each.
//!
//! A time-salted join makes partitions even, so that all executors have as much to do. Ballista 55.0 gives an
//! executor tasks of as many partitions as it has cores free, and counts each of them as one core: of four
//! partitions that two executors could have shared, one was given three. Where tasks are partitions it counts right.
//! Not so for other joins: what is broadcast is held once by each task.

use std::sync::Arc;

use ballista_core::config::BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK;
use ballista_core::extension::SessionConfigExt;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_asof::{AsOfJoinExec, AsOfStrategy};

/// The settings that a plan is sent with: the session's, but for this one where nobody has set it.
pub(crate) fn with_even_tasks(
    config: &SessionConfig,
    plan: &Arc<dyn ExecutionPlan>,
) -> Result<SessionConfig> {
    let mut salted = false;
    plan.apply(|node| {
        let join = node.downcast_ref::<AsOfJoinExec>();
        salted |= join.is_some_and(|join| join.strategy() == AsOfStrategy::TimeSalted);
        Ok(match salted {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    let config = config.clone();
    Ok(match config.ballista_config().max_partitions_per_task() {
        0 if salted => config.set_usize(BALLISTA_SCHEDULER_MAX_PARTITIONS_PER_TASK, 1),
        _ => config,
    })
}
