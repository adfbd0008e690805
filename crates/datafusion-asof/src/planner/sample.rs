//! A few rows of an input, read while it is planned.
//!
//! Rows are taken in blocks from all over the input, of tables in memory as of files (`files.rs`), each from another
//! place of its part (`line.rs`), but of files that can be read from the start alone. Only columns of keys and times are read.
//! Each block stands for what of its input is nearer to it than to others, so a large file counts for more than
//! a small one, and rows that a filter drops for as much as rows that it lets pass. A filter
//! may let few pass, so more are read below one, and what is too much is left out. All that is bounded by what
//! the sources give;
//! inputs that have to be computed before they give a row (aggregates, joins, sorts, limits)
//! are not sampled.

mod files;
mod line;
#[cfg(feature = "parquet")]
mod parquet;
mod unmetered;

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use datafusion::arrow::compute::{concat, concat_batches, filter_record_batch, take_record_batch};
use datafusion::common::Result;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use futures::FutureExt;
use futures::future::BoxFuture;

use self::line::{draws, reaches, spots, spread};
use crate::exec::{SampledBlock, file_scan, whole_blocks};

/// Blocks of a sample: with as many, ranges of equal work are found to a percent or two.
const BLOCKS: usize = 64;
/// So many times more rows are read below a filter.
const BELOW_A_FILTER: usize = 8;

/// Rows of an input.
pub(super) struct Sample {
    /// Of each expression the values.
    pub columns: Vec<ArrayRef>,
    pub blocks: Vec<SampledBlock>,
    /// Whether there are no others.
    pub whole: bool,
    pub rows: usize,
    pub bytes: usize,
}

/// About `rows` rows of a plan, as some expressions see them; `None` for a plan that is not
/// sampled. Of the same table samples of another `number` have other rows.
pub(super) async fn sample(
    plan: &Arc<dyn ExecutionPlan>,
    exprs: &[&PhysicalExprRef],
    (rows, number): (usize, usize),
    context: &Arc<TaskContext>,
) -> Result<Option<Sample>> {
    let named = exprs.iter().zip(0..).map(|(expr, number)| ProjectionExpr {
        expr: Arc::clone(expr),
        alias: format!("c{number}"),
    });
    let plan: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(named, Arc::clone(plan))?);
    let config = context.session_config().options();
    let plan = ProjectionPushdown::new().optimize(plan, config)?;
    let want = Want {
        rows,
        blocks: BLOCKS.min(rows),
        first: number * BLOCKS,
    };
    let Some(mut taken) = take(&plan, want, context).await? else {
        return Ok(None);
    };
    let blocks = &mut taken.blocks;
    blocks.retain(|block| block.batch.num_rows() > 0);
    // Of what was read whole nothing is too much.
    if !taken.whole {
        let share = rows / blocks.len().max(1);
        for (number, block) in blocks.iter_mut().enumerate() {
            block.thin_out(share.max(1), want.first + number)?;
        }
    }
    let empty = RecordBatch::new_empty(plan.schema());
    let batches = || blocks.iter().map(|block| &block.batch).chain([&empty]);
    let column = |column: usize| {
        let parts: Vec<&dyn Array> =
            (batches().map(|batch| batch.column(column).as_ref())).collect();
        Ok(concat(&parts)?)
    };
    let found = batches().map(RecordBatch::num_rows).sum();
    let of_block = |block: &Block| SampledBlock {
        rows: block.batch.num_rows(),
        each: block.each,
        reach: block.reach,
        is_drawn: block.is_drawn,
    };
    Ok(Some(Sample {
        columns: (0..exprs.len()).map(column).collect::<Result<_>>()?,
        blocks: match taken.whole {
            true => whole_blocks(found),
            false => blocks.iter().map(of_block).collect(),
        },
        whole: taken.whole,
        rows: found,
        bytes: taken.bytes,
    }))
}

/// How much of an input is asked for.
#[derive(Debug, Clone, Copy)]
struct Want {
    rows: usize,
    /// Into which these are divided.
    blocks: usize,
    /// The number of the first of these.
    first: usize,
}

impl Want {
    fn of_block(self) -> usize {
        (self.rows / self.blocks.max(1)).max(1)
    }
}

/// What was taken of an input.
struct Taken {
    blocks: Vec<Block>,
    /// Whether that is all of it.
    whole: bool,
    bytes: usize,
}

/// Rows that follow each other, or some of these.
struct Block {
    batch: RecordBatch,
    /// How many rows of its input each stands for.
    each: f64,
    /// How many rows of the input are nearer to it than to others, before and after its middle.
    reach: [f64; 2],
    /// Whether its place was chosen for the sample; if not, it is the beginning of a file.
    is_drawn: bool,
}

impl Block {
    /// Rows that are so much of a line, of which so much is nearer to them than to others.
    fn of(batch: RecordBatch, length: f64, reach: [f64; 2]) -> Self {
        let rows = batch.num_rows() as f64;
        let rows_of = |length_of| length_of * rows / length.max(f64::MIN_POSITIVE);
        Self {
            each: (reach[0] + reach[1]) / length.max(f64::MIN_POSITIVE),
            reach: reach.map(rows_of),
            is_drawn: true,
            batch,
        }
    }

    /// Leaves so many rows, from all over it: it may be a whole file. Of another `first` others are left.
    ///
    /// Not at equal distances, at which rows that repeat themselves could be the same every time, but those whose
    /// numbers in a sequence that is spread evenly are the least.
    fn thin_out(&mut self, rows: usize, first: usize) -> Result<()> {
        let all = self.batch.num_rows();
        if all <= rows {
            return Ok(());
        }
        let mut left: Vec<u32> = (0..all as u32).collect();
        let number = |row: &u32| spread(first + *row as usize);
        left.select_nth_unstable_by(rows, |a, b| number(a).total_cmp(&number(b)));
        left.truncate(rows);
        left.sort_unstable();
        self.batch = take_record_batch(&self.batch, &UInt32Array::from(left))?;
        self.each *= all as f64 / rows as f64;
        Ok(())
    }

    /// The rows as columns of a plan above.
    fn through(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            let rows = self.batch.num_rows();
            let passes = filter.predicate().evaluate(&self.batch)?.into_array(rows)?;
            self.batch = filter_record_batch(&self.batch, passes.as_boolean())?;
            if let Some(projection) = filter.projection() {
                self.batch = self.batch.project(projection)?;
            }
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let rows = self.batch.num_rows();
            let column = |of: &ProjectionExpr| of.expr.evaluate(&self.batch)?.into_array(rows);
            let columns = projection.expr().iter().map(column);
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let schema = plan.schema();
            self.batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        }
        Ok(())
    }
}

/// Blocks of a plan; `None` for one that is not sampled.
fn take<'a>(
    plan: &'a Arc<dyn ExecutionPlan>,
    want: Want,
    context: &'a Arc<TaskContext>,
) -> BoxFuture<'a, Result<Option<Taken>>> {
    async move {
        if let Some(files) = file_scan(plan) {
            return files::take(files, want, context).await;
        }
        if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
            let any: &dyn Any = source.data_source().as_ref();
            let memory = any.downcast_ref::<MemorySourceConfig>();
            // Some rows of each partition have no place on a line.
            return match memory.filter(|_| plan.fetch().is_none()) {
                Some(memory) => slices(memory, want).map(Some),
                None => Ok(None),
            };
        }
        let is_filter = plan.is::<FilterExec>();
        let passes_rows = is_filter || plan.is::<ProjectionExec>();
        if !(passes_rows || plan.is::<UnionExec>()) || plan.fetch().is_some() {
            return Ok(None);
        }
        let inputs = plan.children();
        let number = inputs.len().max(1);
        let more = match is_filter {
            true => BELOW_A_FILTER,
            false => 1,
        };
        let of_each = Want {
            rows: (want.rows.saturating_mul(more) / number).max(1),
            blocks: (want.blocks / number).max(1),
            first: want.first,
        };
        let mut all = Taken {
            blocks: vec![],
            whole: true,
            bytes: 0,
        };
        for input in inputs {
            let Some(mut taken) = take(input, of_each, context).await? else {
                return Ok(None);
            };
            for block in &mut taken.blocks {
                block.through(plan)?;
            }
            all.blocks.append(&mut taken.blocks);
            all.whole &= taken.whole;
            all.bytes += taken.bytes;
        }
        Ok(Some(all))
    }
    .boxed()
}

/// Slices of the rows in memory.
fn slices(memory: &MemorySourceConfig, want: Want) -> Result<Taken> {
    let batches: Vec<&RecordBatch> = memory.partitions().iter().flatten().collect();
    let all: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    let whole = all <= want.rows;
    let (places, rows) = match whole {
        true => (vec![0.0], all),
        false => (draws(all as f64, want.blocks, want.first), want.of_block()),
    };
    let reaches = reaches(&places, all as f64);
    let places: Vec<_> = places
        .into_iter()
        .zip(reaches)
        .map(|(at, reach)| (0, at, reach))
        .collect();
    let schema = memory.original_schema();
    let starts: Vec<usize> = batches
        .iter()
        .scan(0, |next, batch| {
            let start = *next;
            *next += batch.num_rows();
            Some(start)
        })
        .collect();
    let spots = spots(&[all], &places, rows).into_iter();
    let blocks = spots.map(|spot| {
        let mut slices = vec![];
        let first = starts.partition_point(|start| *start <= spot.rows.start);
        for number in first.saturating_sub(1)..batches.len() {
            let (batch, start) = (batches[number], starts[number]);
            if start >= spot.rows.end {
                break;
            }
            let (from, to) = (
                spot.rows.start.max(start),
                spot.rows.end.min(start + batch.num_rows()),
            );
            if from < to {
                slices.push(batch.slice(from - start, to - from));
            }
        }
        let mut batch = concat_batches(&schema, &slices)?;
        if let Some(projection) = memory.projection() {
            batch = batch.project(projection)?;
        }
        Ok(Block::of(batch, spot.rows.len() as f64, spot.reach))
    });
    Ok(Taken {
        blocks: blocks.collect::<Result<_>>()?,
        whole,
        bytes: 0,
    })
}
