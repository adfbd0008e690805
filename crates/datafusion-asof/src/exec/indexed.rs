//! The index driver: the right side in memory by key and time, the left streaming by.
//!
//! # Sides
//!
//! The right input is read to its end and indexed ([`build_side`](super::build_side)). A
//! broadcast join has one index, which the left partition that is polled first has read and
//! which all share. A sort-merge join
//! that cannot merge in time order, because one row per key is not all it has to remember
//! (nearest, predicates that have a say in the choice), has one index for each partition. The
//! left keeps its partitions, its order and its batches; blocks of them ([`left_block`](super::left_block))
//! are matched by tasks, while the next is read, and the rows that come out are put together by tasks, of
//! few batches at a time.
//!
//! # Right rows that come out alone
//!
//! RIGHT and FULL note which right rows were chosen and, when the left has ended, emit the
//! others. That takes one left partition for each index: no partition knows what others chose.
//!
//! # Degenerate cases
//!
//! An empty right side leaves every left row unmatched. A right side of which no column is
//! wanted is indexed all the same; its batches are then only row counts.

use std::collections::VecDeque;
use std::future::pending;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_plan::metrics::RecordOutput;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::{Either, select};
use futures::{FutureExt, StreamExt};

use super::asof_join::AsOfJoinExec;
use super::build_side::{BuildSide, RightInput, build_side};
use super::by_batch::{ByBatch, Fetched};
use super::left_block::{FREE_BYTES, HeldBack, LeftBlock};
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use super::parallel::{Ahead, readers};
use super::shared_build::{ActivePartition, BuildFuture};
use crate::kernel::index::Matches;
use crate::kernel::rows::RowId;

/// The join of one left partition with the index that all left partitions share.
pub(super) fn broadcast_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let partitions = join.left().output_partitioning().partition_count();
    let right_partitions = join.right().output_partitioning().partition_count();
    let (build, active) = join.build().join(partition, partitions, |attempt| {
        let right = attempt.input(join.right_to_read()?)?;
        start_build(join, &right, 0..right_partitions, context)
    })?;
    indexed_stream(join, partition, context, (build, Some(active)))
}

/// The join of one left partition with an index of its right partition.
pub(super) fn partitioned_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let build = start_build(
        join,
        join.right_to_read()?,
        partition..partition + 1,
        context,
    )?;
    indexed_stream(join, partition, context, (build, None))
}

/// Begins to read some partitions of the right side.
fn start_build(
    join: &AsOfJoinExec,
    right: &Arc<dyn ExecutionPlan>,
    partitions: Range<usize>,
    context: &Arc<TaskContext>,
) -> Result<BuildFuture<BuildSide>> {
    // Their metrics are those of partitions where there is one of each.
    let readers = readers(right.as_ref(), partitions.len(), context);
    let tasks = partitions.start..partitions.start + readers;
    let partitions = partitions.map(|partition| right.execute(partition, Arc::clone(context)));
    let right = RightInput {
        partitions: partitions.collect::<Result<_>>()?,
        metrics: tasks
            .map(|task| BuildMetrics::new(join.metrics_set(), task))
            .collect(),
        reservation: MemoryConsumer::new("AsOfJoinBuild").register(context.memory_pool()),
    };
    let (matching, filter) = (Arc::clone(join.matching()), join.dynamic_filter().cloned());
    let build = build_side(matching, right, filter);
    Ok(build.map(|built| built.map_err(Arc::new)).boxed().shared())
}

fn indexed_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
    (build, active): (
        BuildFuture<BuildSide>,
        Option<ActivePartition<BuildFuture<BuildSide>>>,
    ),
) -> Result<SendableRecordBatchStream> {
    let matching = Arc::clone(join.matching());
    let left = join
        .left_to_read()?
        .execute(partition, Arc::clone(context))?;
    // Rows without end are not held back for more.
    let bounded = !join.left().boundedness().is_unbounded();
    let reservation = MemoryConsumer::new("AsOfJoinProbe").register(context.memory_pool());
    let metrics = ProbeMetrics::new(join.metrics_set(), partition);
    let output = Output::new(&matching, join.metrics_set(), partition);
    let schema = Arc::clone(&matching.columns.schema);
    let most = tasks_ahead(join.left().output_partitioning().partition_count(), context);
    let stream = async_try_stream(move |mut out| async move {
        let (mut left, mut ended) = (left, false);
        let _active = active;
        let build = build.await.map_err(DataFusionError::Shared)?;
        let probe = Arc::new(Probe {
            output,
            matching,
            build,
            metrics,
        });
        let mut chosen = probe
            .keeps_unchosen()
            .then(|| Chosen::none_of(probe.right_batches()));
        let mut held = HeldBack::new(reservation);
        let (mut matching, mut gathering) = (Ahead::new(most), Gathering::new(most));
        while !ended || !matching.is_empty() || !gathering.is_empty() {
            match next(&mut left, &mut matching, &mut gathering, ended).await? {
                Next::Left(batch) => {
                    ended = batch.is_none();
                    let is_full = batch.is_none_or(|batch| held.push(batch));
                    if is_full && let Some(block) = held.take() {
                        let probe = Arc::clone(&probe);
                        matching.begin(async move { probe.run(block).await });
                    }
                }
                Next::Matched(block) => {
                    if bounded {
                        held.learn(block.matches.rows.len(), block.gains_together);
                    }
                    if let Some(chosen) = &mut chosen {
                        chosen.note(&block.matches.rows);
                    }
                    gathering.add(&probe, block);
                }
                Next::Gathered(rows) => {
                    if rows.num_rows() > 0 {
                        out.emit(rows.record_output(&probe.metrics.baseline)).await;
                    }
                }
            }
        }
        let chosen = chosen.into_iter().flat_map(|chosen| chosen.0);
        for (batch, chosen) in probe.right_batches().iter().zip(chosen) {
            let rows = probe.alone(batch, &chosen.free())?;
            if rows.num_rows() > 0 {
                out.emit(rows.record_output(&probe.metrics.baseline)).await;
            }
        }
        probe.metrics.baseline.done();
        Ok(())
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// How many blocks of a left partition are matched at a time, one more than its share of the tasks:
/// while one is matched the next is read, and when other partitions have ended their cores help out.
fn tasks_ahead(left_partitions: usize, context: &TaskContext) -> usize {
    1 + context.session_config().target_partitions() / left_partitions.max(1)
}

/// What comes next.
enum Next {
    /// Of the left; `None` at its end.
    Left(Option<RecordBatch>),
    Matched(MatchedBlock),
    /// What comes out for a left batch.
    Gathered(RecordBatch),
}

/// Waits for rows that come out, else for a block that is matched if all before it are being gathered,
/// or for a left batch if another block may be begun.
async fn next(
    left: &mut SendableRecordBatchStream,
    matching: &mut Ahead<MatchedBlock>,
    gathering: &mut Gathering,
    ended: bool,
) -> Result<Next> {
    gathering.begin();
    let more = !ended && !matching.is_full();
    let left = async {
        match more {
            true => Ok(Next::Left(left.next().await.transpose()?)),
            false => pending().await,
        }
    };
    let takes = gathering.waiting.is_empty();
    let matched = async {
        match takes {
            true => match matching.next().await? {
                Some(block) => Ok(Next::Matched(block)),
                None => pending().await,
            },
            false => pending().await,
        }
    };
    let gathered = async {
        match gathering.running.next().await? {
            Some(rows) => Ok(Next::Gathered(rows)),
            None => pending().await,
        }
    };
    // None loses anything by being dropped.
    match select(pin!(gathered), select(pin!(matched), pin!(left))).await {
        Either::Left((next, _)) => next,
        Either::Right((Either::Left((next, _)) | Either::Right((next, _)), _)) => next,
    }
}

/// A block that is matched.
struct MatchedBlock {
    block: LeftBlock,
    matches: Matches,
    /// By kept column, the values that are fetched for the whole block, if any are.
    fetched: Vec<Option<ArrayRef>>,
    gains_together: usize,
}

/// The left batches of matched blocks, one after the other, while their rows are put together: of few
/// at a time, because what comes out may be much larger than what matching takes.
struct Gathering {
    /// Those not begun yet.
    waiting: VecDeque<MatchedBatch>,
    running: Ahead<RecordBatch>,
}

/// A left batch of a block.
struct MatchedBatch {
    probe: Arc<Probe>,
    block: Arc<MatchedBlock>,
    number: usize,
    /// Its rows among those of the block.
    rows: Range<usize>,
}

impl Gathering {
    fn new(most: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: Ahead::new(most),
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    fn add(&mut self, probe: &Arc<Probe>, block: MatchedBlock) {
        let (block, mut end) = (Arc::new(block), 0);
        for (number, batch) in block.block.batches.iter().enumerate() {
            let start = end;
            end += batch.num_rows();
            self.waiting.push_back(MatchedBatch {
                probe: Arc::clone(probe),
                block: Arc::clone(&block),
                number,
                rows: start..end,
            });
        }
    }

    /// Begins as many as may be.
    fn begin(&mut self) {
        while !self.running.is_full()
            && let Some(batch) = self.waiting.pop_front()
        {
            self.running
                .begin(async move { batch.probe.assemble(&batch) });
        }
    }
}

/// What matching one left partition takes.
struct Probe {
    matching: Arc<Matching>,
    build: Arc<BuildSide>,
    output: Output,
    metrics: ProbeMetrics,
}

impl Probe {
    async fn run(&self, block: LeftBlock) -> Result<MatchedBlock> {
        let time = self.metrics.baseline.elapsed_compute();
        let (build, matching) = (&self.build, &self.matching);
        let deciding = block.reservation.new_empty();
        let probing = build.probe(matching, &block.batches, (time, &deciding));
        let matches = probing.await?;
        self.metrics.record(matches.counts);
        Ok(MatchedBlock {
            gains_together: build.gains_together(matching, &matches),
            fetched: self.fetch(&matches).await?,
            block,
            matches,
        })
    }

    /// Values of all rows that a block chose, if that saves time: of as many columns as have room in what
    /// matching took.
    async fn fetch(&self, matches: &Matches) -> Result<Vec<Option<ArrayRef>>> {
        let (kept, rows) = (self.build.kept(), matches.rows.as_slice());
        let columns = &self.matching.columns;
        let comes_out = columns.right_in_output().next().is_some();
        if !comes_out || !matches.by_class.is_empty() || !ByBatch::pays(rows, kept.rows()) {
            return Ok(vec![]);
        }
        let time = self.metrics.baseline.elapsed_compute();
        let timer = time.timer();
        let by_batch = ByBatch::new(rows, kept.batches().len());
        drop(timer);
        let mut free = FREE_BYTES - size_of::<RowId>();
        let mut fetched = vec![None; columns.kept.len()];
        for column in columns.right_in_output() {
            // A value, and whether it is valid.
            let bytes = kept.width(column).map(|width| width + 1);
            if let Some(bytes) = bytes
                && bytes <= free
            {
                free -= bytes;
                tokio::task::yield_now().await;
                let _timer = time.timer();
                fetched[column] = kept.gather_by_batch(column, &by_batch)?;
            }
        }
        Ok(fetched)
    }

    /// What comes out for a left batch.
    fn assemble(&self, batch: &MatchedBatch) -> Result<RecordBatch> {
        let _timer = self.metrics.baseline.elapsed_compute().timer();
        let matched = batch.block.as_ref();
        let (block, matches) = (&matched.block, &matched.matches);
        let rows = batch.rows.clone();
        let by_class = matches.by_class.iter().map(|of| &of[rows.clone()]);
        let choice = Choice {
            rows: &matches.rows[rows.clone()],
            by_class: &by_class.collect::<Vec<_>>(),
            class_of_column: self.build.class_of_column(),
            fetched: Fetched {
                columns: &matched.fetched,
                start: rows.start,
            },
        };
        let left = block.batches[batch.number].project(&self.matching.columns.left)?;
        self.output.assemble(&left, choice, self.build.kept())
    }

    fn keeps_unchosen(&self) -> bool {
        self.matching.spec.join_type.keeps_unmatched_right()
    }

    fn right_batches(&self) -> &[RecordBatch] {
        self.build.kept().batches()
    }

    /// The rows of a right batch that no left row chose.
    fn alone(&self, batch: &RecordBatch, unchosen: &BooleanArray) -> Result<RecordBatch> {
        let _timer = self.metrics.baseline.elapsed_compute().timer();
        let alone = filter_record_batch(batch, unchosen)?;
        self.output.alone(alone.columns(), alone.num_rows())
    }
}

/// Which right rows were chosen, by batch.
struct Chosen(Vec<ChosenRows>);

/// One bit for each row of a batch.
struct ChosenRows(BooleanBufferBuilder);

impl Chosen {
    fn none_of(batches: &[RecordBatch]) -> Self {
        let none = |batch: &RecordBatch| {
            let mut rows = BooleanBufferBuilder::new(batch.num_rows());
            rows.append_n(batch.num_rows(), false);
            ChosenRows(rows)
        };
        Self(batches.iter().map(none).collect())
    }

    fn note(&mut self, rows: &[RowId]) {
        for row in rows.iter().filter(|row| row.is_some()) {
            self.0[row.batch as usize].0.set_bit(row.row as usize, true);
        }
    }
}

impl ChosenRows {
    fn free(mut self) -> BooleanArray {
        BooleanArray::new(!&self.0.finish(), None)
    }
}
