//! The place of a row in its input, as a column.
//!
//! Among right rows that are equal in keys and time the join takes the last (or first) in
//! the order of the input, that of its files and their rows. Exchanges and sorts above a
//! scan lose that order, so it travels with the rows: [`RowPlaceExec`] appends a number that
//! grows with the row's place, `partition rank << 40 | row number`.
//!
//! It stands as near to the source as it can, below filters, projections and unions, because
//! DataFusion may put a round-robin exchange under those; and it keeps exchanges from being
//! put under itself. The source is pinned ([`pinned_source`](super::pinned_source)). File
//! scans may still be cut into more partitions: the rank of a partition is taken from the
//! path and offset of its first file, not from its number.
//!
//! A task of a cluster is given some partitions of a scan, counted from 0. Their ranks are still
//! those among all partitions: a node over a part of its files ranks them as before.

use std::fmt::{self, Formatter};
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, UInt64Array};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{HashMap, Result, Statistics, exec_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, PhysicalExpr, PhysicalExprRef, PhysicalSortExpr,
};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildStats, ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan,
    ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
};
use futures::StreamExt;

use super::filter_names::hand_on;
use super::pinned_source::{self, file_scan, memory_scan, pinned, place_of};
use super::table_in_order;

const PLACE: &str = "__asof_place";
const ROW_BITS: u32 = 40;
/// Partition ranks: as many as there is room for beside the row numbers.
pub(super) const RANKS: u64 = 1 << (u64::BITS - ROW_BITS);

/// The plan with a place column behind its own columns.
pub(super) fn with_row_place(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if has_row_place(&plan) {
        return Ok(plan);
    }
    placed(&plan, 0..RANKS)
}

/// The plan with places of which the ranks are in `ranks`.
fn placed(plan: &Arc<dyn ExecutionPlan>, ranks: Range<u64>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>()
        && filter.projection().is_none()
        && filter.fetch().is_none()
    {
        let input = placed(filter.input(), ranks)?;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        return Arc::clone(plan).replace_children(vec![input], options);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let input = placed(projection.input(), ranks)?;
        let place = ProjectionExpr {
            expr: row_place(&input),
            alias: PLACE.to_owned(),
        };
        let exprs = projection.expr().iter().cloned().chain([place]);
        return Ok(Arc::new(ProjectionExec::try_new(exprs, input)?));
    }
    if plan.is::<UnionExec>() {
        // Each input gets its share of the ranks, in the order in which they stand.
        let inputs = plan.children();
        let share = (ranks.end - ranks.start) / (inputs.len() as u64).max(1);
        let inputs = inputs.into_iter().zip(0u64..).map(|(input, number)| {
            let start = ranks.start + number * share;
            placed(input, start..start + share)
        });
        return UnionExec::try_new(inputs.collect::<Result<_>>()?);
    }
    let source = pinned(plan).unwrap_or_else(|| Arc::clone(plan));
    let numbers = Numbers::of(&source);
    Ok(Arc::new(RowPlaceExec::new(source, ranks, numbers)))
}

/// The plan with the file scans below its places cut into more partitions than there are tasks, where
/// that is worth it.
pub(super) fn finely_cut(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let cut = |scan: &_| pinned_source::finely_cut(scan, config);
    with_scans_cut(plan, hands_partitions_on, cut)
}

/// The plan with its file scans cut into as many ranges as there are tasks, of as many row groups each
/// as may be.
pub(super) fn evenly_cut(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let cut = |scan: &_| pinned_source::evenly_cut(scan, config);
    with_scans_cut(plan, hands_one_on, cut)
}

/// The plan with the files of its scan, or the batches of a table in memory, in one partition; as it is
/// if it has no such scan that partitions are handed on from.
pub(super) fn in_one_partition(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    with_scans_cut(
        plan,
        hands_one_on,
        |scan| match pinned_source::in_one_partition(scan) {
            None => table_in_order::in_one_partition(scan),
            files => Ok(files),
        },
    )
}

/// The plan, of one partition, with its scan cut into many that follow each other; as it is where that
/// is not worth it.
pub(super) fn cut_into_sequence(
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let cut = |scan: &_| match pinned_source::cut_into_sequence(scan, config)? {
        None => table_in_order::cut_into_sequence(scan, config),
        files => Ok(files),
    };
    with_scans_cut(plan, hands_one_on, cut)
}

/// Whether each partition of a plan is made of the partition of that number of its one input.
fn hands_one_on(plan: &dyn ExecutionPlan) -> bool {
    hands_partitions_on(plan) && !plan.is::<UnionExec>()
}

/// The plan with the scans cut that are below nothing but what partitions are handed on by.
fn with_scans_cut(
    plan: Arc<dyn ExecutionPlan>,
    hands_on: impl Fn(&dyn ExecutionPlan) -> bool,
    cut: impl Fn(&Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let cut = plan.transform_down(|plan| {
        if hands_on(plan.as_ref()) {
            return Ok(Transformed::no(plan));
        }
        Ok(match cut(&plan)? {
            Some(cut) => Transformed::new(cut, true, TreeNodeRecursion::Jump),
            None => Transformed::new(plan, false, TreeNodeRecursion::Jump),
        })
    });
    cut.data()
}

/// Whether a partition of a plan can be read to its end before another is begun. Exchanges keep what
/// nobody reads yet, and partitions of a hash join wait for each other before the first row.
pub(super) fn reads_apart(plan: &dyn ExecutionPlan) -> bool {
    let inputs = || plan.children().into_iter().map(AsRef::as_ref);
    plan.is::<DataSourceExec>() || hands_partitions_on(plan) && inputs().all(reads_apart)
}

/// Whether each partition of a plan is made of one of an input alone.
fn hands_partitions_on(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<RowPlaceExec>()
        || plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<UnionExec>()
}

/// The place column of a plan that has one: its last.
pub(super) fn row_place(plan: &Arc<dyn ExecutionPlan>) -> PhysicalExprRef {
    Arc::new(Column::new(PLACE, plan.schema().fields().len() - 1))
}

pub(super) fn has_row_place(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let last = schema.fields().last();
    last.is_some_and(|field| field.name() == PLACE && field.data_type() == &DataType::UInt64)
}

/// Where a partition of files begins.
type Start = (String, i64);

fn start(file: &PartitionedFile) -> Start {
    let (path, offset) = place_of(file);
    (path.to_owned(), offset)
}

/// By partition of an input where it begins; `None` for a partition without a file, and for all
/// partitions of what is no scan of files.
fn starts(input: &Arc<dyn ExecutionPlan>) -> Option<Vec<Option<Start>>> {
    let groups = file_scan(input)?.file_groups.iter();
    Some(
        groups
            .map(|group| group.files().first().map(start))
            .collect(),
    )
}

/// By partition of a table in memory its batches; `None` for all else.
fn batches(input: &Arc<dyn ExecutionPlan>) -> Option<&[Vec<RecordBatch>]> {
    memory_scan(input).map(MemorySourceConfig::partitions)
}

/// Whether batches are the same arrays, not only equal ones.
fn are_same(some: &[RecordBatch], others: &[RecordBatch]) -> bool {
    let same = |(one, other): (&RecordBatch, &RecordBatch)| {
        let mut columns = one.columns().iter().zip(other.columns());
        one.num_rows() == other.num_rows() && columns.all(|(one, other)| Arc::ptr_eq(one, other))
    };
    some.len() == others.len() && some.iter().zip(others).all(same)
}

/// By partition of an input where it stands among those that the input was planned with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numbers(pub(super) Vec<u64>);

impl Numbers {
    /// Those of all partitions: files by path and offset, others as they come.
    fn of(input: &Arc<dyn ExecutionPlan>) -> Self {
        let Some(starts) = starts(input) else {
            let partitions = input.output_partitioning().partition_count();
            return Self((0..partitions as u64).collect());
        };
        let mut order: Vec<usize> = (0..starts.len()).collect();
        order.sort_by_key(|partition| &starts[*partition]);
        let mut numbers = vec![0; starts.len()];
        for (number, partition) in (0..).zip(order) {
            numbers[partition] = number;
        }
        Self(numbers)
    }

    /// Those of another input in the place of `input`: if it is a part of it, as they were.
    fn after(&self, input: &Arc<dyn ExecutionPlan>, other: &Arc<dyn ExecutionPlan>) -> Self {
        let numbers = self.of_part_of_files(input, other);
        let numbers = numbers.or_else(|| self.of_part_of_table(input, other));
        numbers.map_or_else(|| Self::of(other), Self)
    }

    fn of_part_of_files(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        other: &Arc<dyn ExecutionPlan>,
    ) -> Option<Vec<u64>> {
        let mut known = HashMap::new();
        for (start, number) in starts(input)?.into_iter().zip(&self.0) {
            if let Some(start) = start
                && known.insert(start, *number).is_some()
            {
                // Two begin alike, and nothing tells them apart.
                return None;
            }
        }
        let number = |start: Option<Start>| match start {
            Some(start) => known.get(&start).copied(),
            None => Some(0),
        };
        starts(other)?.into_iter().map(number).collect()
    }

    fn of_part_of_table(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        other: &Arc<dyn ExecutionPlan>,
    ) -> Option<Vec<u64>> {
        let before = batches(input)?;
        let number = |partition: &Vec<RecordBatch>| {
            let at = before.iter().position(|known| are_same(known, partition))?;
            self.0.get(at).copied()
        };
        batches(other)?.iter().map(number).collect()
    }
}

/// Appends the place of each row.
#[derive(Debug)]
pub(crate) struct RowPlaceExec {
    input: Arc<dyn ExecutionPlan>,
    /// The input as it is executed: where a plan came from elsewhere, it may not be pinned.
    pinned: Arc<dyn ExecutionPlan>,
    pub(super) ranks: Range<u64>,
    pub(super) numbers: Numbers,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl RowPlaceExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, ranks: Range<u64>, numbers: Numbers) -> Self {
        let mut fields = input.schema().fields().to_vec();
        fields.push(Arc::new(Field::new(PLACE, DataType::UInt64, false)));
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let properties = Self::properties_of(&input, &schema);
        Self {
            pinned: pinned(&input).unwrap_or_else(|| Arc::clone(&input)),
            input,
            ranks,
            numbers,
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }

    #[cfg(feature = "parquet")]
    pub(super) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The same node with another way to read its input.
    #[cfg(feature = "parquet")]
    pub(super) fn reading(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            metrics: self.metrics.clone(),
            ..self.over(input)
        }
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Self {
        let numbers = self.numbers.after(&self.input, &input);
        Self::new(input, self.ranks.clone(), numbers)
    }

    fn properties_of(input: &Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> PlanProperties {
        let place = PhysicalSortExpr::new(
            Arc::new(Column::new(PLACE, schema.fields().len() - 1)),
            SortOptions::new(false, false),
        );
        let of_input = input.equivalence_properties();
        let mut orders = EquivalenceProperties::new(Arc::clone(schema));
        // Within a partition places grow, so they order what another order leaves equal.
        let oeq_class = of_input.oeq_class();
        for order in oeq_class.iter() {
            orders.add_ordering(order.iter().cloned().chain([place.clone()]));
        }
        orders.add_ordering([place]);
        PlanProperties::new(
            orders,
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        )
    }

    /// What the places of `partition` begin with.
    fn rank(&self, partition: usize) -> Result<u64> {
        let Some(number) = self.numbers.0.get(partition) else {
            return exec_err!("no partition {partition} was planned under an ASOF JOIN");
        };
        if *number >= self.ranks.end - self.ranks.start {
            return exec_err!("too many partitions under an ASOF JOIN to number their rows");
        }
        Ok(self.ranks.start + number)
    }
}

impl DisplayAs for RowPlaceExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str("RowPlaceExec"),
            DisplayFormatType::TreeRender => Ok(()),
        }
    }
}

impl ExecutionPlan for RowPlaceExec {
    fn name(&self) -> &'static str {
        "RowPlaceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(self.over(input))),
            Err(children) => exec_err!("RowPlaceExec has one input, not {}", children.len()),
        }
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        config: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        // Files know where a cut begins; other sources lose the order of their rows.
        if self.input.is::<DataSourceExec>() && file_scan(&self.input).is_none() {
            return Ok(None);
        }
        let input = self.input.repartitioned(target_partitions, config)?;
        Ok(input.map(|input| Arc::new(self.over(input)) as _))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let mut next = self.rank(partition)? << ROW_BITS;
        let input = self.pinned.execute(partition, context)?;
        let placed = input.map(move |batch| {
            let batch = batch?;
            let _timer = metrics.elapsed_compute().timer();
            let end = next + batch.num_rows() as u64;
            let places: ArrayRef = Arc::new(UInt64Array::from_iter_values(next..end));
            next = end;
            let mut columns = batch.columns().to_vec();
            columns.push(places);
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?;
            Ok(batch.record_output(&metrics))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            placed,
        )))
    }

    /// Rows that are left out do not change which of the others comes first.
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

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = inputs[0].as_ref().clone();
        statistics.column_statistics.push(Default::default());
        Ok(Arc::new(statistics))
    }
}
