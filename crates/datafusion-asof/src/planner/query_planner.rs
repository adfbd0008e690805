//! [`AsOfQueryPlanner`]: as-of joins in a session, whatever plans its other nodes.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::extension::AsOfExtensionPlanner;
use crate::config::AsOfOptions;
use crate::exec::unpinned;

/// DataFusion's physical planner with [`AsOfExtensionPlanner`].
#[derive(Debug, Default, Clone, Copy)]
pub struct AsOfQueryPlanner;

impl AsOfQueryPlanner {
    /// Whether `planner` plans nothing of its own, so that this one can take its place.
    pub(crate) fn can_replace(planner: &Arc<dyn QueryPlanner + Send + Sync>) -> bool {
        let any: &dyn Any = planner.as_ref();
        // DataFusion keeps the type of its default planner to itself.
        any.is::<Self>() || format!("{planner:?}") == "DefaultQueryPlanner"
    }
}

/// The plan as a cluster can give parts of it to tasks.
fn for_tasks(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        Ok(match unpinned(&plan) {
            Some(scan) => Transformed::yes(scan),
            None => Transformed::no(plan),
        })
    })
    .data()
}

#[async_trait]
impl QueryPlanner for AsOfQueryPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner =
            DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(AsOfExtensionPlanner)]);
        let plan = planner.create_physical_plan(logical_plan, session).await?;
        match AsOfOptions::of(session.config_options()).distributed {
            true => for_tasks(plan),
            false => Ok(plan),
        }
    }
}
