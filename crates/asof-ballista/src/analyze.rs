//! [`ClusterAnalyzeExec`]: `EXPLAIN ANALYZE` of a query that runs on a cluster, stage by stage.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use ballista_core::serde::protobuf::{JobStageMetrics, OperatorMetricsSet};
use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream;

use crate::job::failure;
use crate::query::ClusterQueryExec;

/// Runs a query on a cluster and gives its stages with what tasks counted, instead of its rows.
#[derive(Debug)]
pub(crate) struct ClusterAnalyzeExec {
    query: ClusterQueryExec,
    properties: Arc<PlanProperties>,
}

impl ClusterAnalyzeExec {
    /// `schema` has two columns of text.
    pub(crate) fn new(query: ClusterQueryExec, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            query,
            properties: Arc::new(properties),
        }
    }
}

fn shown(stage: &JobStageMetrics) -> Result<String> {
    let mut lines = vec![];
    for operator in &stage.operators {
        let metrics = OperatorMetricsSet {
            metrics: operator.metrics.clone(),
        };
        let metrics: MetricsSet = metrics.try_into().map_err(failure)?;
        let metrics = metrics
            .aggregate_by_name()
            .sorted_for_display()
            .timestamps_removed();
        let indent = "  ".repeat(operator.depth as usize);
        lines.push(format!(
            "{indent}{}, metrics=[{metrics}]",
            operator.operator_desc
        ));
    }
    Ok(lines.join("\n"))
}

fn batch(schema: SchemaRef, stages: &[JobStageMetrics]) -> Result<RecordBatch> {
    let name = |stage: &JobStageMetrics| {
        let (number, partitions) = (stage.stage_id, stage.partitions);
        format!("Stage {number} of {partitions} partitions")
    };
    let names: StringArray = stages.iter().map(|stage| Some(name(stage))).collect();
    let plans = stages.iter().map(shown).collect::<Result<Vec<_>>>()?;
    let columns = vec![
        Arc::new(names) as _,
        Arc::new(StringArray::from(plans)) as _,
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

impl DisplayAs for ClusterAnalyzeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterAnalyzeExec")
    }
}

impl ExecutionPlan for ClusterAnalyzeExec {
    fn name(&self) -> &'static str {
        "ClusterAnalyzeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

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
            false => exec_err!("ClusterAnalyzeExec has no inputs"),
        }
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let job = self.query.run(&context)?;
        let schema = self.schema();
        let stages = {
            let schema = Arc::clone(&schema);
            stream::once(async move {
                let stages = job.await?.stages().await?;
                batch(schema, &stages)
            })
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stages)))
    }
}
