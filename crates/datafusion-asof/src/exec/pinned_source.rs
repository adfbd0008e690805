//! A source of which the partitions keep their rows and the rows their order.
//!
//! DataFusion may cut or regroup the partitions of a source to use more cores, and lets
//! partitions of a file scan steal files from each other at run time. Neither matters to a
//! query, but both matter to the place of a row in its input, so the sources of row places
//! are pinned: files may be cut, since every cut knows where it begins, and nothing else.
//!
//! A cluster looks for scans of files in a plan to give each task some of them. So when a plan is made
//! for one, and everything has been cut that will be, sources are not pinned any more
//! ([`unpinned`]); `RowPlaceExec` pins again what it reads.
//!
//! A partition has one place among the others, so its files must all come before or after theirs.
//! Where partitions were made by another order, as `split_file_groups_by_statistics` does, the
//! files are grouped anew.

use std::any::Any;
use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalExprRef,
    PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};

/// Partitions of a scan for each task that reads them: with so many, few rows are left when the first
/// task finds nothing more to read.
const PARTITIONS_OF_TASK: usize = 8;

/// How many times what DataFusion makes partitions of at least (1 MB) the ranges are that a scan in order
/// is cut into, and the most of them for each task. A range is held while those before it are read, so
/// the smaller the better, but opening one takes time too.
const LEAST_RANGE: usize = 4;
const RANGES_OF_TASK: usize = 256;

/// By which part of a range the cut before it is moved.
const PART_OF_RANGE: i64 = 64;

/// The scan with its source pinned; `None` for plans that are no scan of a source.
pub(crate) fn pinned(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    if source_as::<PinnedSource>(scan).is_some() {
        return Some(Arc::clone(plan));
    }
    let source = match source_as(scan).and_then(one_behind_the_other) {
        Some(files) => Arc::new(files) as _,
        None => Arc::clone(scan.data_source()),
    };
    let source = PinnedSource::over(source);
    Some(Arc::new(scan.clone().with_data_source(source)))
}

/// A pinned file scan cut into more partitions than there are tasks to read them, as far as each is
/// worth it; nobody cuts it anew. `None` for other plans, and if it is not worth it.
///
/// DataFusion cuts a file at equal distances into as many ranges as there are tasks, and a row group is
/// read by the range that it begins in: of two row groups of a file and its footer, both begin in the
/// first half. Where tasks take the next of many ranges when they are done with one, that evens out.
pub(super) fn finely_cut(
    plan: &Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let scan = plan.downcast_ref::<DataSourceExec>();
    let pinned = scan.and_then(source_as::<PinnedSource>);
    let files = pinned.and_then(PinnedSource::files);
    let (Some(scan), Some(files)) = (scan, files) else {
        return Ok(None);
    };
    let files = files.file_groups.iter().flat_map(FileGroup::iter);
    let bytes: u64 = files.map(PartitionedFile::effective_size).sum();
    let worth = bytes as usize / config.optimizer.repartition_file_min_size.max(1);
    let tasks = config.execution.target_partitions;
    let partitions = worth.min(PARTITIONS_OF_TASK * tasks);
    if tasks <= 1 || partitions <= tasks || !config.optimizer.repartition_file_scans {
        return Ok(None);
    }
    let cut = scan.repartitioned(partitions, config)?;
    let Some(cut) = cut
        .as_ref()
        .and_then(|cut| cut.downcast_ref::<DataSourceExec>())
    else {
        return Ok(None);
    };
    let source = source_as::<PinnedSource>(cut).map(|pinned| PinnedSource {
        source: Arc::clone(&pinned.source),
        is_cut: true,
    });
    Ok(source.map(|source| Arc::new(cut.clone().with_data_source(Arc::new(source))) as _))
}

/// A scan of few files cut into as many ranges as there are tasks to read them, so that row groups of
/// equal size fall into ranges of their own; nobody cuts it anew. `None` for other plans, and if it is
/// not worth it.
///
/// The cuts are DataFusion's, moved a little towards the beginning of the file: see [`finely_cut`].
pub(super) fn evenly_cut(
    plan: &Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let tasks = config.execution.target_partitions;
    let scan = plan.downcast_ref::<DataSourceExec>();
    let files = scan.and_then(source_as::<FileScanConfig>);
    let (Some(scan), Some(files)) = (scan, files) else {
        return Ok(None);
    };
    let few = files.file_groups.iter().map(FileGroup::len).sum::<usize>() <= tasks;
    if !few || tasks <= 1 || !config.optimizer.repartition_file_scans {
        return Ok(None);
    }
    let cut = scan.repartitioned(tasks, config)?;
    let cut = cut
        .as_ref()
        .and_then(|cut| cut.downcast_ref::<DataSourceExec>());
    let Some(files) = cut.and_then(source_as::<FileScanConfig>) else {
        return Ok(None);
    };
    let mut groups: Vec<Vec<PartitionedFile>> = (files.file_groups.iter())
        .map(|group| group.files().to_vec())
        .collect();
    let mut ranges = groups.iter_mut().flatten();
    let mut before = ranges.next();
    for after in ranges {
        if let Some(before) = before {
            move_cut(before, after);
        }
        before = Some(after);
    }
    let groups = groups.into_iter().map(FileGroup::new).collect();
    let files = FileScanConfigBuilder::from(files.clone()).with_file_groups(groups);
    Ok(Some(with_files(scan, files.build())))
}

/// A file scan with all its files in one partition, in the order of their places; nobody cuts it anew.
/// The partition has the order that the files declare as far as their statistics say that they follow each
/// other in it. `None` for other plans, and for scans of which not all rows are to be read.
pub(super) fn in_one_partition(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (scan, files) = whole_scan(plan)?;
    let all = files.file_groups.iter().flat_map(FileGroup::iter);
    let mut all: Vec<PartitionedFile> = all.cloned().collect();
    all.sort_by(|a, b| place_of(a).cmp(&place_of(b)));
    let files = FileScanConfigBuilder::from(files.clone())
        .with_output_ordering(orders_over(files, &all))
        .with_file_groups(vec![FileGroup::new(all)])
        .with_output_partitioning(None);
    Some(with_files(scan, files.build()))
}

/// Of the orders that each file has what their statistics can tell of all of them together: NULL and NaN
/// are in no least and greatest value, but have their place in an order.
fn orders_over(scan: &FileScanConfig, all: &[PartitionedFile]) -> Vec<LexOrdering> {
    let schema = scan.file_source.table_schema().table_schema();
    let is_told = |by: &&PhysicalSortExpr| {
        let Some(column) = by.expr.downcast_ref::<Column>() else {
            return false;
        };
        let no_nulls = |file: &PartitionedFile| {
            let statistics = file.statistics.as_ref();
            let column = statistics.and_then(|s| s.column_statistics.get(column.index()));
            column.is_some_and(|column| column.null_count == Precision::Exact(0))
        };
        let fields = schema.fields();
        let is_float = |field: &FieldRef| field.data_type().is_floating();
        fields.get(column.index()).is_some_and(|f| !is_float(f)) && all.iter().all(no_nulls)
    };
    let orders = scan.output_ordering.iter();
    let told =
        orders.filter_map(|order| LexOrdering::new(order.iter().take_while(is_told).cloned()));
    told.collect()
}

/// Of a file scan of one partition the same files in many, each from where the one before it ends: as
/// many as there is work for. `None` for other plans, and if it is not worth it.
pub(super) fn cut_into_sequence(
    plan: &Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let tasks = config.execution.target_partitions;
    let Some((scan, files)) = whole_scan(plan) else {
        return Ok(None);
    };
    let [group] = files.file_groups.as_slice() else {
        return Ok(None);
    };
    if tasks <= 1 || !config.optimizer.repartition_file_scans {
        return Ok(None);
    }
    let least = config.optimizer.repartition_file_min_size;
    let bytes: u64 = group.iter().map(PartitionedFile::effective_size).sum();
    let worth = bytes as usize / least.saturating_mul(LEAST_RANGE).max(1);
    let partitions = worth.min(RANGES_OF_TASK * tasks);
    if partitions <= 1 {
        return Ok(None);
    }
    // With no order to be kept within partitions, they are cut at equal distances, one behind the other.
    let cut = files
        .file_source()
        .repartitioned(partitions, least, None, files)?;
    Ok(cut.map(|cut| with_files(scan, cut)))
}

/// A scan of files, pinned or not, of which all rows are to be read, whole files at a time.
fn whole_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<(&DataSourceExec, &FileScanConfig)> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let files = file_scan(plan)?;
    let mut all = files.file_groups.iter().flat_map(FileGroup::iter);
    let is_whole = files.limit.is_none() && all.all(|file| file.range.is_none());
    is_whole.then_some((scan, files))
}

/// The scan with its files cut as they are to stay.
fn with_files(scan: &DataSourceExec, files: FileScanConfig) -> Arc<dyn ExecutionPlan> {
    with_source(scan, Arc::new(files))
}

/// The scan of a source that is cut as it is to stay.
pub(super) fn with_source(
    scan: &DataSourceExec,
    source: Arc<dyn DataSource>,
) -> Arc<dyn ExecutionPlan> {
    let is_cut = true;
    let source = PinnedSource { source, is_cut };
    Arc::new(scan.clone().with_data_source(Arc::new(source)))
}

/// Moves the cut between two ranges of one file.
fn move_cut(before: &mut PartitionedFile, after: &mut PartitionedFile) {
    let is_same = before.path() == after.path();
    if let (Some(before), Some(after)) = (&mut before.range, &mut after.range)
        && is_same
        && before.end == after.start
    {
        let shorter = (before.end - before.start).min(after.end - after.start);
        before.end -= shorter / PART_OF_RANGE;
        after.start = before.end;
    }
}

/// The scan without the pin of its source; `None` for plans that are no scan of a pinned source.
pub(crate) fn unpinned(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let source = Arc::clone(&source_as::<PinnedSource>(scan)?.source);
    Some(Arc::new(scan.clone().with_data_source(source)))
}

/// The file scan that a plan is, pinned or not.
pub(crate) fn file_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    source_under_pin(plan)
}

/// The table in memory that a plan scans, pinned or not.
pub(super) fn memory_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&MemorySourceConfig> {
    source_under_pin(plan)
}

/// A file scan, pinned or not, with other files or another way to read them; `None` for other plans.
#[cfg(feature = "parquet")]
pub(super) fn with_files_of(
    plan: &Arc<dyn ExecutionPlan>,
    files: FileScanConfig,
) -> Option<Arc<dyn ExecutionPlan>> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let source: Arc<dyn DataSource> = match source_as::<PinnedSource>(scan) {
        Some(pinned) => pinned.with(Arc::new(files)),
        None => Arc::new(files),
    };
    Some(Arc::new(scan.clone().with_data_source(source)))
}

fn source_under_pin<T: DataSource>(plan: &Arc<dyn ExecutionPlan>) -> Option<&T> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    match source_as::<PinnedSource>(scan) {
        Some(pinned) => (pinned.source.as_ref() as &dyn Any).downcast_ref(),
        None => source_as(scan),
    }
}

/// Where a file, or a cut of one, stands among those of its table.
pub(super) fn place_of(file: &PartitionedFile) -> (&str, i64) {
    let offset = file.range.as_ref().map_or(0, |range| range.start);
    (file.path().as_ref(), offset)
}

/// The same files in as many partitions, none of which has files between those of another;
/// `None` where they are so already.
fn one_behind_the_other(scan: &FileScanConfig) -> Option<FileScanConfig> {
    let files = scan.file_groups.iter().flat_map(FileGroup::files);
    if scan.file_groups.len() == 1 || files.is_sorted_by_key(place_of) {
        return None;
    }
    let files = scan.file_groups.iter().flat_map(FileGroup::files);
    let mut files: Vec<PartitionedFile> = files.cloned().collect();
    files.sort_by(|a, b| place_of(a).cmp(&place_of(b)));
    let groups = FileGroup::new(files).split_files(scan.file_groups.len());
    let scan = FileScanConfigBuilder::from(scan.clone())
        .with_file_groups(groups)
        .with_output_partitioning(None);
    Some(scan.build())
}

fn source_as<T: DataSource>(scan: &DataSourceExec) -> Option<&T> {
    (scan.data_source().as_ref() as &dyn Any).downcast_ref()
}

#[derive(Debug)]
struct PinnedSource {
    source: Arc<dyn DataSource>,
    /// Whether it is cut as it is to stay.
    is_cut: bool,
}

impl PinnedSource {
    fn over(source: Arc<dyn DataSource>) -> Arc<dyn DataSource> {
        let is_cut = false;
        Arc::new(Self { source, is_cut })
    }

    /// What became of the source, as pinned as it was.
    fn with(&self, source: Arc<dyn DataSource>) -> Arc<dyn DataSource> {
        let is_cut = self.is_cut;
        Arc::new(Self { source, is_cut })
    }

    fn files(&self) -> Option<&FileScanConfig> {
        (self.source.as_ref() as &dyn Any).downcast_ref()
    }
}

impl DataSource for PinnedSource {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.source.open(partition, context)
    }

    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        self.source.fmt_as(t, f)
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        file_min_size: usize,
        output_ordering: Option<LexOrdering>,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        if self.is_cut || self.files().is_none() {
            return Ok(None);
        }
        let cut = self
            .source
            .repartitioned(target_partitions, file_min_size, output_ordering)?;
        Ok(cut.map(|source| self.with(source)))
    }

    fn output_partitioning(&self) -> Partitioning {
        self.source.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        self.source.eq_properties()
    }

    fn scheduling_type(&self) -> SchedulingType {
        self.source.scheduling_type()
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        self.source.partition_statistics(partition)
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        self.source
            .with_fetch(limit)
            .map(|source| self.with(source))
    }

    fn fetch(&self) -> Option<usize> {
        self.source.fetch()
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.source.metrics()
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let swapped = self.source.try_swapping_with_projection(projection)?;
        Ok(swapped.map(|source| self.with(source)))
    }

    fn with_preserve_order(&self, preserve_order: bool) -> Option<Arc<dyn DataSource>> {
        self.source
            .with_preserve_order(preserve_order)
            .map(|source| self.with(source))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<PhysicalExprRef>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let FilterPushdownPropagation {
            filters,
            updated_node,
        } = self.source.try_pushdown_filters(filters, config)?;
        Ok(FilterPushdownPropagation {
            filters,
            updated_node: updated_node.map(|source| self.with(source)),
        })
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.source.apply_expressions(f)
    }

    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn DataSource>> {
        self.source
            .with_new_state(state)
            .map(|source| self.with(source))
    }
}
