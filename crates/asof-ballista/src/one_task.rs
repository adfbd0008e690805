//! Joins that only a single task can execute.
//!
//! Each task of a nested-loop join reads the left side whole and some partitions of the right. Left rows
//! that come out by themselves (those without a match, or with one) are told by all right partitions
//! together, and within a process the last partition to end gives them. Ballista 55.0 lets the last
//! partition of each task do so, and rows come once from every task. It sees to that for hash joins; for
//! nested-loop joins the right side is gathered here, so that there is one task.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};

/// The plan with such joins given one partition of the right.
pub(crate) fn with_joins_in_one_task(
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else {
            return Ok(Transformed::no(plan));
        };
        let (left, right) = (join.left(), join.right());
        let partitions = right.output_partitioning().partition_count();
        if partitions <= 1 || !gives_left_rows_at_the_end(*join.join_type()) {
            return Ok(Transformed::no(plan));
        }
        let gathered = Arc::new(CoalescePartitionsExec::new(Arc::clone(right)));
        // Ballista plans exchanges once more, and takes out what gathers partitions for nobody who asks
        // for one. This asks, and lets all rows pass.
        let all = Arc::new(GlobalLimitExec::new(gathered, 0, None));
        let inputs = vec![Arc::clone(left), all as _];
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Arc::clone(&plan)
            .replace_children(inputs, options)
            .map(Transformed::yes)
    })
    .data()
}

fn gives_left_rows_at_the_end(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Left
        | JoinType::Full
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark => true,
        JoinType::Inner
        | JoinType::Right
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => false,
    }
}
