//! Which part of a statement runs on the cluster.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use datafusion_asof::AsOfQueryPlanner;

use crate::analyze::ClusterAnalyzeExec;
use crate::cluster::Cluster;
use crate::limits::with_limits_above_tables;
use crate::made_rows::with_made_rows_in_memory;
use crate::one_task::with_joins_in_one_task;
use crate::query::ClusterQueryExec;

/// Plans here and has plans executed by a cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterQueryPlanner {
    cluster: Cluster,
}

impl ClusterQueryPlanner {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    fn on_cluster(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        session: &dyn Session,
    ) -> Result<ClusterQueryExec> {
        let plan = with_joins_in_one_task(plan)?;
        let plan = with_made_rows_in_memory(with_limits_above_tables(plan)?)?;
        let session = session.session_id().to_owned();
        Ok(ClusterQueryExec::new(self.cluster.clone(), plan, session))
    }
}

#[async_trait]
impl QueryPlanner for ClusterQueryPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let LogicalPlan::Analyze(analyze) = plan {
            let input = AsOfQueryPlanner
                .create_physical_plan(&analyze.input, session)
                .await?;
            if reads_tables(&input)? && !input.is::<DataSinkExec>() {
                let query = self.on_cluster(input, session)?;
                let schema = Arc::clone(analyze.schema.inner());
                return Ok(Arc::new(ClusterAnalyzeExec::new(query, schema)));
            }
        }
        let physical = AsOfQueryPlanner.create_physical_plan(plan, session).await?;
        if !reads_tables(&physical)? {
            return Ok(physical);
        }
        if !physical.is::<DataSinkExec>() {
            return Ok(Arc::new(self.on_cluster(physical, session)?));
        }
        // What is written is written here, once, whatever tasks run again.
        let query = |input: &Arc<dyn ExecutionPlan>| {
            let query = self.on_cluster(Arc::clone(input), session)?;
            Ok(Arc::new(query) as Arc<dyn ExecutionPlan>)
        };
        let inputs = physical.children().into_iter();
        let queries = inputs.map(query).collect::<Result<_>>()?;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        physical.replace_children(queries, options)
    }
}

/// Whether a plan scans anything: files or tables in memory.
fn reads_tables(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut reads = false;
    plan.apply(|node| {
        reads |= node.is::<DataSourceExec>();
        Ok(match reads {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(reads)
}
