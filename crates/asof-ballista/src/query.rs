//! [`ClusterQueryExec`]: a plan that runs on a cluster, as a leaf of a plan that runs here.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::future::ready;
use futures::{TryStreamExt, stream};

use crate::cluster::Cluster;
use crate::job::{Ended, Job};
use crate::result::as_planned;

/// Sends its plan to a cluster when it is executed, and gives the rows that come back.
#[derive(Debug)]
pub(crate) struct ClusterQueryExec {
    cluster: Cluster,
    plan: Arc<dyn ExecutionPlan>,
    session: String,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl ClusterQueryExec {
    pub(crate) fn new(cluster: Cluster, plan: Arc<dyn ExecutionPlan>, session: String) -> Self {
        // Partitions of the result come one after the other, in no order.
        let properties = PlanProperties::new(
            EquivalenceProperties::new(plan.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            cluster,
            plan,
            session,
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }

    /// The plan, on its way to its end.
    pub(crate) fn run(
        &self,
        context: &TaskContext,
    ) -> Result<impl Future<Output = Result<Ended>> + Send + 'static> {
        let request = Job::request(&self.plan, context.session_config(), &self.session)?;
        Ok(Job::run(self.cluster.clone(), request))
    }
}

impl DisplayAs for ClusterQueryExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let address = &self.cluster.address;
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "ClusterQueryExec: scheduler={address}")
            }
            DisplayFormatType::TreeRender => writeln!(f, "scheduler={address}"),
        }
    }
}

impl ExecutionPlan for ClusterQueryExec {
    fn name(&self) -> &'static str {
        "ClusterQueryExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// None: what runs elsewhere is not to be planned again here.
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => exec_err!("ClusterQueryExec has no inputs"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let job = self.run(&context)?;
        let (schema, planned) = (self.schema(), self.schema());
        let rows = stream::once(async move { Ok::<_, DataFusionError>(job.await?.rows()) });
        let rows = rows
            .try_flatten()
            .and_then(move |batch| ready(as_planned(&batch, &planned)))
            .map_ok(move |batch| batch.record_output(&metrics));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
