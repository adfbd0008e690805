//! [`ReadInOrderExec`]: partitions that follow each other, as one.
//!
//! A side in time order that is merged as one stream comes from one partition, of which one task can
//! read no more than one core decodes. [`as_one_stream`] cuts its files into ranges and puts this node
//! above them, which gives the rows of the ranges one range after the other, as they were in one
//! partition: [`in_order`](super::in_order) reads ahead. Filters and projections between the scan and the
//! node are executed by the tasks that read. A join that has it for an input reads the partitions itself,
//! so that the tasks prepare the rows for it too.
//!
//! That the rows are in order is what the plan of one partition says of them, which DataFusion has from
//! the declared order of the files, and from their statistics where they are several.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalExprRef,
};
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, StatisticsArgs,
};

use super::filter_names::hand_on;
use super::in_order::InOrder;
use super::row_place::{cut_into_sequence, in_one_partition};

/// The plan as one stream of rows that is in an order without being sorted or merged, read by all
/// cores where it scans files, so many tasks; `None` if it is in no such order, as far as is known.
pub(super) fn as_one_stream(
    plan: &Arc<dyn ExecutionPlan>,
    order: &LexOrdering,
    tasks: usize,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let is_one = |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count() == 1;
    let one = match is_one(plan) {
        true => Arc::clone(plan),
        false => in_one_partition(Arc::clone(plan))?,
    };
    let orders = one.equivalence_properties();
    if !is_one(&one) || !orders.ordering_satisfy(order.iter().cloned())? {
        return Ok(None);
    }
    let cut = cut_into_sequence(Arc::clone(&one), config)?;
    let partitions = cut.output_partitioning().partition_count();
    let keeps_partitions = keeps_partitions(cut.as_ref());
    if partitions > 1 && (keeps_partitions || partitions >= config.execution.target_partitions) {
        let orders = orders.clone();
        return Ok(Some(Arc::new(ReadInOrderExec::new(cut, tasks, orders))));
    }
    Ok(keeps_partitions.then_some(one))
}

/// Whether DataFusion puts no exchange below a plan that would have it come in more partitions, and
/// in another order.
fn keeps_partitions(plan: &dyn ExecutionPlan) -> bool {
    let benefits = plan.benefits_from_input_partitioning();
    let needs = plan.input_distribution_requirements();
    let inputs = plan.children().into_iter().zip(benefits).enumerate();
    let mut keep = inputs.map(|(child, (input, benefits))| {
        let is_one = matches!(
            needs.child_distribution(child),
            Some(Distribution::SinglePartition)
        );
        is_one || !benefits && keeps_partitions(input.as_ref())
    });
    keep.all(|keeps| keeps)
}

/// Gives the partitions of its input one behind the other.
#[derive(Debug)]
pub(crate) struct ReadInOrderExec {
    input: Arc<dyn ExecutionPlan>,
    tasks: usize,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl ReadInOrderExec {
    /// `orders` is what holds of all partitions, one behind the other, which so many tasks read.
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        tasks: usize,
        orders: EquivalenceProperties,
    ) -> Self {
        let properties = PlanProperties::new(
            orders,
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            tasks,
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }

    /// The same node with another way to read its input.
    #[cfg(feature = "parquet")]
    pub(super) fn reading(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        let orders = EquivalenceProperties::new(input.schema());
        Self {
            metrics: self.metrics.clone(),
            ..Self::new(input, self.tasks, orders)
        }
    }

    /// The orders of the rows.
    #[cfg(feature = "proto")]
    pub(crate) fn orders(&self) -> Vec<LexOrdering> {
        let orders = self.properties.equivalence_properties();
        orders.oeq_class().iter().cloned().collect()
    }

    /// The tasks that read.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks
    }

    /// The partitions that are read.
    pub(super) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }
}

impl DisplayAs for ReadInOrderExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let partitions = self.input.output_partitioning().partition_count();
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "ReadInOrderExec: partitions={partitions}")
            }
            DisplayFormatType::TreeRender => writeln!(f, "partitions={partitions}"),
        }
    }
}

impl ExecutionPlan for ReadInOrderExec {
    fn name(&self) -> &'static str {
        "ReadInOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// The order of the partitions is not that of an input in any other number of them.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        let [input] = <[_; 1]>::try_from(children).or_else(|children| {
            exec_err!("{} has one input, not {}", self.name(), children.len())
        })?;
        let inputs = [&self.input, &input];
        let [before, after] = inputs.map(|plan| plan.output_partitioning().partition_count());
        let orders = match before == after && input.schema() == self.input.schema() {
            true => self.properties.equivalence_properties().clone(),
            // Of other partitions than it was planned for nothing is known.
            false => EquivalenceProperties::new(input.schema()),
        };
        Ok(Arc::new(Self::new(input, self.tasks, orders)))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let mut batches = InOrder::new(&self.input, self.tasks, &context, Ok);
        let stream = async_try_stream(move |mut out| async move {
            while let Some(batch) = batches.next().await? {
                out.emit(batch.record_output(&metrics)).await;
            }
            metrics.done();
            Ok(())
        });
        let schema = self.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<PhysicalExprRef>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        hand_on(&parent_filters, &self.input)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, _: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }
}
