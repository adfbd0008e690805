//! Which part of a statement runs on the cluster.

use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::extension::SessionConfigExt;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, plan_err};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use datafusion_asof::{AsOfOptions, AsOfQueryPlanner};

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
        refuse_settings(&plan, session)?;
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
            if reads_tables(&input)? {
                if input.is::<DataSinkExec>() {
                    return plan_err!(
                        "EXPLAIN ANALYZE of a statement that writes does not run on a cluster, of \
                         which the tasks would write: write EXPLAIN ANALYZE before its query alone"
                    );
                }
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

/// Refuses what would give other rows than on one machine.
fn refuse_settings(plan: &Arc<dyn ExecutionPlan>, session: &dyn Session) -> Result<()> {
    let options = session.config_options();
    let asof = options.extensions.get::<AsOfOptions>();
    if asof.is_some_and(|asof| !asof.distributed) {
        return plan_err!(
            "asof.distributed = false is for one machine: the tasks of a cluster have no memory in \
             common. SET asof.distributed = true"
        );
    }
    if session.config().ballista_adaptive_query_planner_enabled() {
        return plan_err!(
            "Ballista's adaptive planner chooses no strategies for as-of joins and may give them rows out \
             of order: SET ballista.planner.adaptive.enabled = false"
        );
    }
    // Ballista 55.0 may partition their sides in other ways than the join expects.
    let is_outer = |plan: &Arc<dyn ExecutionPlan>| {
        let join = plan.downcast_ref::<HashJoinExec>();
        join.is_some_and(|join| *join.join_type() != JoinType::Inner)
    };
    if options.optimizer.prefer_hash_join && plan.exists(|plan| Ok(is_outer(plan)))? {
        return plan_err!(
            "outer, semi and anti joins by hash may give wrong rows on a cluster of Ballista 55.0: \
             SET datafusion.optimizer.prefer_hash_join = false"
        );
    }
    Ok(())
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
