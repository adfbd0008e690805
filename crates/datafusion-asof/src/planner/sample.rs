//! A few rows of an input, read while it is planned.
//!
//! Rows are taken in blocks from all over the input: of tables in memory slices, of files the
//! first rows of as many pieces as they can be cut into. Only columns of keys and times are read.
//! A piece may have no row group of its own and a filter may let few rows pass, so pieces give more
//! than their share, and what is too much is left out. Where all rows are in one piece, as in a file
//! of one row group, that is read further, and a few rows of every batch are taken. All that is bounded by what
//! the sources give;
//! inputs that have to be computed before they give a row (aggregates, joins, sorts, limits)
//! are not sampled.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat;
use datafusion::common::Result;
use datafusion::common::runtime::SpawnedTask;
use datafusion::config::ConfigOptions;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::FileScanConfigBuilder;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use crate::exec::{file_scan, joined, pinned};

/// Blocks of a sample: with as many, ranges of equal work are found to a percent or two.
const BLOCKS: usize = 64;
/// Blocks read at a time.
const AT_ONCE: usize = 8;
/// With as many pieces that have rows, the rows of a sample are all there.
const PIECES: usize = 8;
/// Rows that are read of a piece if it is the only one that has any: a row group, as writers make them.
const DEEP: usize = 1 << 20;
/// Files smaller than this are one block.
const PIECE_BYTES: usize = 1 << 20;

/// Rows of an input.
pub(super) struct Sample {
    /// Of each expression the values.
    pub columns: Vec<ArrayRef>,
    /// The rows of each block.
    pub blocks: Vec<usize>,
    pub rows: usize,
    pub bytes: usize,
}

/// About `rows` rows of a plan, as some expressions see them; `None` for a plan that is not
/// sampled.
pub(super) async fn sample(
    plan: &Arc<dyn ExecutionPlan>,
    exprs: &[&PhysicalExprRef],
    rows: usize,
    context: &Arc<TaskContext>,
) -> Result<Option<Sample>> {
    let Some(few) = few_rows_of(plan, exprs, rows, context)? else {
        return Ok(None);
    };
    let partitions = few.output_partitioning().partition_count();
    let mut blocks = read(&few, 0..partitions, context).await?;
    let mut bytes = bytes_read(&few);
    blocks.retain(|block| rows_of(block.rows()) > 0);
    if let [block] = blocks.as_slice()
        && rows_of(block.rows()) >= rows / PIECES
        && let Some(deep) = few_rows_of(plan, exprs, PIECES * DEEP, context)?
        && deep.output_partitioning().partition_count() == partitions
    {
        // The first rows of one row group, say. They tell nothing of those that follow.
        let piece = block.partition..block.partition + 1;
        let deeper = read(&deep, piece, context).await?;
        bytes += bytes_read(&deep);
        let found: usize = deeper.iter().map(|block| rows_of(block.rows())).sum();
        // Otherwise the block has all rows that there are.
        if found > rows_of(block.rows()) {
            blocks = deeper.into_iter().flat_map(Block::of_batches).collect();
        }
    }
    let share = rows.div_ceil(blocks.len().max(1));
    for block in &mut blocks {
        cut_off(&mut block.batches, share);
    }
    let rows_of_blocks: Vec<usize> = blocks.iter().map(|block| rows_of(block.rows())).collect();
    let empty = RecordBatch::new_empty(few.schema());
    let batches = blocks.iter().flat_map(Block::rows).chain([&empty]);
    let column = |column: usize| {
        let parts: Vec<&dyn Array> =
            (batches.clone().map(|batch| batch.column(column).as_ref())).collect();
        Ok(concat(&parts)?)
    };
    Ok(Some(Sample {
        columns: (0..exprs.len()).map(column).collect::<Result<_>>()?,
        rows: rows_of_blocks.iter().sum(),
        blocks: rows_of_blocks,
        bytes,
    }))
}

/// Rows that follow each other.
struct Block {
    partition: usize,
    batches: Vec<RecordBatch>,
}

impl Block {
    fn rows(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// A block for each of its batches.
    fn of_batches(self) -> impl Iterator<Item = Self> {
        let partition = self.partition;
        let batches = self.batches.into_iter();
        batches.map(move |batch| Self {
            partition,
            batches: vec![batch],
        })
    }
}

/// Some partitions of a plan, each a block.
async fn read(
    plan: &Arc<dyn ExecutionPlan>,
    partitions: Range<usize>,
    context: &Arc<TaskContext>,
) -> Result<Vec<Block>> {
    let blocks = partitions.map(|partition| {
        let stream = plan.execute(partition, Arc::clone(context));
        on_any_core(async move {
            let batches = stream?.try_collect().await?;
            Ok(Block { partition, batches })
        })
    });
    stream::iter(blocks).buffered(AT_ONCE).try_collect().await
}

/// The expressions over sources that give about `rows` rows; `None` for a plan that is not sampled.
fn few_rows_of(
    plan: &Arc<dyn ExecutionPlan>,
    exprs: &[&PhysicalExprRef],
    rows: usize,
    context: &TaskContext,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let config = context.session_config().options();
    let Some(few) = few_rows(plan, rows, config)? else {
        return Ok(None);
    };
    let named = exprs.iter().zip(0..).map(|(expr, number)| ProjectionExpr {
        expr: Arc::clone(expr),
        alias: format!("c{number}"),
    });
    let few: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(named, few)?);
    ProjectionPushdown::new().optimize(few, config).map(Some)
}

/// Runs a future as a task of its own, where there is a runtime for tasks.
async fn on_any_core<T: Send + 'static>(
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match Handle::try_current() {
        Ok(_) => joined(SpawnedTask::spawn(future).await)?,
        Err(_) => future.await,
    }
}

fn rows_of(block: &[RecordBatch]) -> usize {
    block.iter().map(RecordBatch::num_rows).sum()
}

/// Leaves out what a block has beyond so many rows.
fn cut_off(block: &mut [RecordBatch], mut rows: usize) {
    for batch in block {
        *batch = batch.slice(0, batch.num_rows().min(rows));
        rows -= batch.num_rows();
    }
}

/// The plan over sources that give about `rows` rows, a block in each partition.
fn few_rows(
    plan: &Arc<dyn ExecutionPlan>,
    rows: usize,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
        let any: &dyn Any = source.data_source().as_ref();
        return match any.downcast_ref::<MemorySourceConfig>() {
            Some(memory) => slices(memory, rows).map(Some),
            None => pieces(plan, rows, config),
        };
    }
    let inputs = plan.children();
    let passes_rows = plan.is::<FilterExec>() || plan.is::<ProjectionExec>();
    if !(passes_rows || plan.is::<UnionExec>()) || plan.fetch().is_some() {
        return Ok(None);
    }
    let share = (rows / inputs.len().max(1)).max(1);
    let inputs = inputs.into_iter();
    let few = inputs.map(|input| few_rows(input, share, config));
    match few.collect::<Result<Option<Vec<_>>>>()? {
        Some(few) => {
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Arc::clone(plan).replace_children(few, options).map(Some)
        }
        None => Ok(None),
    }
}

/// Slices of the rows in memory, evenly over all of them.
fn slices(memory: &MemorySourceConfig, rows: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let batches = || memory.partitions().iter().flatten();
    let all: usize = batches().map(RecordBatch::num_rows).sum();
    let blocks = match all <= rows {
        true => 1,
        false => BLOCKS.min(rows),
    };
    let mut slices = vec![vec![]; blocks];
    let mut first = 0;
    for batch in batches() {
        let end = first + batch.num_rows();
        for (number, block) in slices.iter_mut().enumerate() {
            let from = number * all / blocks;
            let to = from + (rows / blocks).min(all);
            let (from, to) = (from.max(first), to.min(end));
            if from < to {
                block.push(batch.slice(from - first, to - from));
            }
        }
        first = end;
    }
    let projection = memory.projection().clone();
    let source = MemorySourceConfig::try_new(&slices, memory.original_schema(), projection)?;
    Ok(DataSourceExec::from_data_source(source))
}

/// The first rows of pieces of files.
fn pieces(
    plan: &Arc<dyn ExecutionPlan>,
    rows: usize,
    config: &ConfigOptions,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    // Files that come in an order, or with a partitioning, are not cut. A sample needs neither.
    let scan = match file_scan(plan) {
        Some(files) => {
            let files = FileScanConfigBuilder::from(files.clone())
                .with_output_ordering(vec![])
                .with_output_partitioning(None);
            DataSourceExec::from_data_source(files.build()) as _
        }
        None => Arc::clone(plan),
    };
    // Pinned, so that no piece is read in the place of another.
    let Some(scan) = pinned(&scan) else {
        return Ok(None);
    };
    if scan.fetch().is_some() || scan.boundedness().is_unbounded() {
        return Ok(None);
    }
    let mut config = config.clone();
    config.optimizer.repartition_file_min_size = PIECE_BYTES;
    let scan = scan.repartitioned(BLOCKS, &config)?.unwrap_or(scan);
    let pieces = scan.output_partitioning().partition_count();
    let of_each = rows.div_ceil(pieces.clamp(1, PIECES));
    Ok(scan.with_fetch(Some(of_each)))
}

fn bytes_read(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan
        .metrics()
        .and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let below: usize = plan.children().into_iter().map(bytes_read).sum();
    below + own.map_or(0, |bytes| bytes.as_usize())
}
