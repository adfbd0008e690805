//! [`AsOfJoinNode`] and physical inputs to [`AsOfJoinExec`]: the one meeting point of the
//! logical and the physical world.
//!
//! The plan made here is always right and needs nothing else to run: a sort-merge. The rule
//! [`AsOfJoinSelection`](crate::AsOfJoinSelection) refines it where it is installed.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::skew::known_skew;
use crate::config::AsOfOptions;
use crate::exec::{AsOfJoinExec, AsOfStrategy};
use crate::logical::AsOfJoinNode;
use crate::spec::Side;

/// Plans [`AsOfJoinNode`]s, for applications that have a query planner of their own: hand it
/// to `DefaultPhysicalPlanner::with_extension_planners` beside the others. Everyone else gets
/// it with [`WithAsOf`](crate::WithAsOf).
#[derive(Debug, Default, Clone, Copy)]
pub struct AsOfExtensionPlanner;

#[async_trait]
impl ExtensionPlanner for AsOfExtensionPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning_ctx: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<AsOfJoinNode>() else {
            return Ok(None);
        };
        let ([left_plan, right_plan], [left, right]) = (logical_inputs, physical_inputs) else {
            return plan_err!("AsOfJoin has two inputs, not {}", physical_inputs.len());
        };
        let no_columns = DFSchema::empty();
        let both = left_plan.schema().join(right_plan.schema())?;
        let spec = node.spec().try_map(|side, expr| {
            let schema = match side {
                Side::Left => left_plan.schema(),
                Side::Right => right_plan.schema(),
                Side::Both => &both,
                Side::Neither => &no_columns,
            };
            planner.create_physical_expr(expr, schema, session, planning_ctx)
        })?;
        let join = AsOfJoinExec::try_new(
            Arc::clone(left),
            Arc::clone(right),
            spec,
            AsOfStrategy::SortMerge,
        )?;
        let options = AsOfOptions::of(session.config_options());
        let join = join.with_memory_limit(memory_limit(session));
        let join = join.with_distributed(options.distributed);
        let skew = known_skew(&join, [left, right], session).await?;
        Ok(Some(Arc::new(join.with_skew(skew))))
    }
}

/// The limit of a session's memory pool, if it has one.
pub(super) fn memory_limit(session: &dyn Session) -> Option<usize> {
    match session.runtime_env().memory_pool.memory_limit() {
        MemoryLimit::Finite(bytes) => Some(bytes),
        MemoryLimit::Infinite | MemoryLimit::Unknown => None,
    }
}
