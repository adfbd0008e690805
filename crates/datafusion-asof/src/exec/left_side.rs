//! The other broadcast: the left side indexed, the right streaming by.
//!
//! # Sides
//!
//! The left input is read to its end and indexed ([`left_index`]), then the right is read, by tasks
//! that share its partitions out where these can be read apart, else by one for each. Its rows are
//! offered to the left rows that they are candidates of, as they come (`kernel/index/candidates.rs`), or,
//! where they come in no order and the left is large, gathered and merged with it
//! (`kernel/index/meeting.rs`): [`right_reader`] says which. When the right
//! has ended, left rows choose among their candidates (`kernel/index/choosing.rs`), and every left
//! partition comes out as it came in, in its own order and batches. Tasks gather its right columns, so
//! that all cores have work where all left rows are in one partition.
//!
//! A join above one with the same left rows, keys and times has its index from there, and takes the
//! left rows when they come out of it; until then it keeps the rows chosen alone ([`packing`]). Such
//! joins take turns at reading their right sides ([`turns`]).
//!
//! # Memory
//!
//! The left side with its index, 28 bytes for each left row and task, 8 for each left row once they
//! choose, and the right rows that are the best candidate so far of some left row: of
//! a batch only those, once they are few, are copied out, so the rest of it is let go at once. Rows that are
//! gathered are not many more than the left rows either ([`gathering`]). All of it is taken from the memory pool as `AsOfJoinBuild`, before it is held. Nothing is spilled.
//!
//! # Degenerate cases
//!
//! Without a left row the right is not read. One row of the right may be the choice of
//! millions, and is kept once.

mod gathering;
mod left_index;
mod packing;
mod right_reader;
mod right_stream;
mod thinning;
mod turns;

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, TryEmitter, async_try_stream};
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::try_join;
use futures::{FutureExt, StreamExt, TryFutureExt, stream};

use self::gathering::Gathering;
pub(super) use self::left_index::with_same_left;
use self::left_index::{LeftBatch, LeftIndex, LeftInput};
use self::packing::Packing;
use self::right_reader::{Offered, RightReader};
use super::asof_join::AsOfJoinExec;
use super::by_batch::Fetched;
use super::dynamic_filter::tell;
use super::gather::{KeptBatches, Laid};
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use super::parallel::{Ahead, Queue, in_order, in_parallel, most_tasks, readers};
use super::row_place::reads_apart;
use super::shared_build::{Attempt, Build, BuildFuture};
use crate::kernel::index::{AllCandidates, Choices, Choosing, OfStream};
use crate::kernel::rows::MatchCounts;
use crate::spec::Side;

/// Left rows of which an index does not stay in cache: right rows in no order are gathered for them.
const GATHERED_FROM: usize = 100_000;

/// The left side, and what its rows chose.
#[derive(Clone)]
pub(super) struct LeftSide {
    index: BuildFuture<LeftIndex>,
    chosen: BuildFuture<Chosen>,
}

impl Build for LeftSide {
    fn has_ended(&self) -> bool {
        self.chosen.has_ended()
    }
}

/// The right rows that are candidates.
#[derive(Default)]
struct Kept {
    laid: Option<Laid>,
    batches: Vec<RecordBatch>,
}

/// What the left rows chose.
pub(super) struct Chosen {
    choices: Choices,
    tasks: usize,
    /// Until a partition has reported them.
    counts: Mutex<Option<MatchCounts>>,
    kept: KeptBatches,
    _reservation: Arc<MemoryReservation>,
}

/// The left rows of one partition.
pub(super) fn left_indexed_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let partitions = join.left().output_partitioning().partition_count();
    let mut rows_below = None;
    let mut index_below = None;
    if let Some(below) = with_same_left(join) {
        rows_below = Some(below.execute(partition, Arc::clone(context))?.fuse());
        // These rows come in the order of the index that the join below has now.
        let Some(LeftSide { index, .. }) = below.left_side().current() else {
            return exec_err!("an ASOF JOIN has no index of its left side");
        };
        (join.left_side()).renounce(|side| !side.index.ptr_eq(&index));
        index_below = Some(index);
    }
    let (side, active) = join.left_side().join(partition, partitions, |attempt| {
        let index = match index_below {
            Some(index) => index,
            None => start_index(join, attempt, context)?,
        };
        start(join, index, attempt, context)
    })?;
    let output = Output::new(join.matching(), join.metrics_set(), partition);
    let output = Arc::new(output);
    let metrics = ProbeMetrics::new(join.metrics_set(), partition);
    let schema = Arc::clone(&join.matching().columns.schema);
    let matching = Arc::clone(join.matching());
    let stream = async_try_stream(move |mut out| async move {
        let _active = active;
        let chosen = side.chosen.map_err(DataFusionError::Shared);
        // The joins below read their right sides meanwhile.
        let below = async {
            match &mut rows_below {
                Some(rows) => rows.next().await.transpose(),
                None => Ok(None),
            }
        };
        let (chosen, first) = try_join(chosen, below).await?;
        let mut rows_below = rows_below.map(|rows| stream::iter(first.map(Ok)).chain(rows));
        let index = side.index.await.map_err(DataFusionError::Shared)?;
        if let Some(counts) = chosen.take_counts() {
            metrics.record(counts);
        }
        // Another partition may have fewer rows, and its core nothing to do.
        let mut ahead = Ahead::new(1 + chosen.tasks / partitions);
        for number in 0..index.batches[partition].len() {
            let left = match &mut rows_below {
                None => index.batches[partition][number].rows.clone(),
                Some(rows) => match rows.next().await.transpose()? {
                    Some(batch) => batch.project(&matching.columns.left)?,
                    None => return exec_err!("left rows of an ASOF JOIN are missing"),
                },
            };
            if ahead.is_full()
                && let Some(rows) = ahead.next().await?
            {
                emit(&mut out, rows, &metrics.baseline).await;
            }
            let (index, output) = (Arc::clone(&index), Arc::clone(&output));
            let chosen = Arc::clone(&chosen);
            let time = metrics.baseline.elapsed_compute().clone();
            ahead.begin(async move {
                let _timer = time.timer();
                chosen.assemble(&output, &index.batches[partition][number], &left)
            });
        }
        while let Some(rows) = ahead.next().await? {
            emit(&mut out, rows, &metrics.baseline).await;
        }
        if let Some(mut rows) = rows_below
            && rows.next().await.transpose()?.is_some()
        {
            return exec_err!("left rows of an ASOF JOIN were not indexed");
        }
        metrics.baseline.done();
        Ok(())
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

async fn emit(
    out: &mut TryEmitter<RecordBatch, DataFusionError>,
    rows: RecordBatch,
    metrics: &BaselineMetrics,
) {
    if rows.num_rows() > 0 {
        out.emit(rows.record_output(metrics)).await;
    }
}

impl Chosen {
    /// The output rows of a left batch, of which the columns that come out are given.
    fn assemble(
        &self,
        output: &Output,
        batch: &LeftBatch,
        left: &RecordBatch,
    ) -> Result<RecordBatch> {
        if left.num_rows() != batch.rows.num_rows() {
            return exec_err!("left batches of an ASOF JOIN are not those that were indexed");
        }
        let rows = self.choices.of(batch.start..batch.start + left.num_rows());
        let choice = Choice {
            rows: &rows,
            by_class: &[],
            class_of_column: &[],
            fetched: Fetched::default(),
        };
        output.assemble(left, choice, &self.kept)
    }

    fn take_counts(&self) -> Option<MatchCounts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.take()
    }
}

/// Begins to read and index the left side.
fn start_index(
    join: &AsOfJoinExec,
    attempt: Attempt,
    context: &Arc<TaskContext>,
) -> Result<BuildFuture<LeftIndex>> {
    let input = LeftInput {
        matching: Arc::clone(join.matching()),
        left: attempt.input(join.left_to_read()?)?,
        context: Arc::clone(context),
        metrics: join.metrics_set().clone(),
        tasks: tasks(join, context),
    };
    let index = input.index().map(|built| built.map_err(Arc::new));
    Ok(index.boxed().shared())
}

/// Begins to have left rows choose.
fn start(
    join: &AsOfJoinExec,
    index: BuildFuture<LeftIndex>,
    attempt: Attempt,
    context: &Arc<TaskContext>,
) -> Result<LeftSide> {
    let reservation = MemoryConsumer::new("AsOfJoinBuild").register(context.memory_pool());
    let choosing = RightInput {
        matching: Arc::clone(join.matching()),
        left: index.clone(),
        right: attempt.input(join.right_to_read()?)?,
        metrics: join.metrics_set().clone(),
        dynamic_filter: join.dynamic_filter().cloned(),
        reservation: Arc::new(reservation),
        context: Arc::clone(context),
        tasks: tasks(join, context),
        waits: with_same_left(join).is_some(),
    };
    let chosen = choosing.run().map(|chosen| chosen.map_err(Arc::new));
    let chosen = chosen.boxed().shared();
    Ok(LeftSide { index, chosen })
}

/// Tasks that work is shared out to.
fn tasks(join: &AsOfJoinExec, context: &TaskContext) -> usize {
    let partitions = |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count();
    let most = partitions(join.left()).max(partitions(join.right()));
    most_tasks(most, context)
}

/// What it takes to have left rows choose.
struct RightInput {
    matching: Arc<Matching>,
    left: BuildFuture<LeftIndex>,
    right: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    metrics: ExecutionPlanMetricsSet,
    reservation: Arc<MemoryReservation>,
    dynamic_filter: Option<Arc<DynamicFilterPhysicalExpr>>,
    tasks: usize,
    /// Whether the left rows come out of a join that has yet to choose.
    waits: bool,
}

impl RightInput {
    async fn run(self) -> Result<Arc<Chosen>> {
        let left = self.left.clone().await.map_err(DataFusionError::Shared)?;
        let metrics = BuildMetrics::new(&self.metrics, 0);
        let index = &left.index;
        if let Some(filter) = &self.dynamic_filter {
            tell(filter, &self.matching, Side::Right, index)?;
        }
        let _turn = left.turns.of_join().await;
        let (candidates, kept) = match left.rows {
            0 => (AllCandidates::default(), Kept::default()),
            _ => self.candidates(&left).await?,
        };
        let _timer = metrics.build_time.timer();
        let (mut choices, mut counts) = self.choose(&left, candidates).await?;
        counts.null_key += left.hopeless.null_key;
        counts.null_time += left.hopeless.null_time;
        counts.refused += left.hopeless.refused;
        let held = left.reservation.size() + self.reservation.size();
        metrics.peak_mem_used.set_max(held);
        let nulls = &self.matching.columns.kept_nulls;
        let mut kept = match kept.laid {
            Some(laid) => KeptBatches::of_laid(laid, kept.batches, nulls),
            None => KeptBatches::new(kept.batches, nulls),
        };
        if let Some(row) = Packing::row_bytes(&self.matching)
            && self.waits
            && kept.memory() > counts.matched * (row + row / 4)
        {
            self.reservation.try_grow(counts.matched * row)?;
            let packing = Packing {
                matching: Arc::clone(&self.matching),
                kept,
                choices,
            };
            let packed = packing.run(left.rows, self.tasks).await?;
            kept = KeptBatches::new(packed.batches, nulls);
            choices = packed.choices;
        }
        let held = Choices::size(left.rows) + kept.memory();
        self.reservation.try_resize(held)?;
        Ok(Arc::new(Chosen {
            choices,
            tasks: self.tasks,
            counts: Mutex::new(Some(counts)),
            kept,
            _reservation: self.reservation,
        }))
    }

    /// What left rows take.
    async fn choose(
        &self,
        left: &LeftIndex,
        candidates: AllCandidates,
    ) -> Result<(Choices, MatchCounts)> {
        let tasks = self.tasks;
        self.reservation.try_grow(Choices::size(left.rows))?;
        let pieces = in_parallel(tasks, Choices::pieces(left.rows), Choices::piece).await?;
        let search = (
            self.matching.spec.match_condition.op,
            self.matching.tolerance,
        );
        let choices = Choices::new(pieces);
        let choosing = Choosing::new(Arc::clone(&left.index), (candidates, choices), search);
        let choosing = Arc::new(choosing);
        let stretches = choosing.stretches();
        let of = Arc::clone(&choosing);
        let leaves = in_parallel(tasks, stretches.clone(), move |stretch| of.leaves(stretch));
        let carried = choosing.carried(leaves.await?);
        let stretches = stretches.into_iter().zip(carried).collect();
        let of = Arc::clone(&choosing);
        let chosen = in_parallel(tasks, stretches, move |(stretch, carried)| {
            of.choose(stretch, carried)
        });
        let mut counts = MatchCounts::default();
        for of_stretch in chosen.await? {
            counts += of_stretch?;
        }
        let Some(choosing) = Arc::into_inner(choosing) else {
            return exec_err!("a task of an ASOF JOIN did not end");
        };
        Ok((choosing.finish(), counts))
    }

    /// The right rows that are candidates, and their batches.
    async fn candidates(&self, left: &LeftIndex) -> Result<(AllCandidates, Kept)> {
        let partitions = self.right.output_partitioning().partition_count();
        let tasks = readers(self.right.as_ref(), partitions, &self.context);
        let gathering = match left.index.rows() >= GATHERED_FROM {
            true => {
                let work = (tasks, &self.metrics);
                let memory = (self.reservation.new_empty(), self.context.memory_pool());
                let gathering = Gathering::try_new(&self.matching, &left.index, work, memory)?;
                Some(Arc::new(gathering))
            }
            false => None,
        };
        let offered = self.read(left, (tasks, gathering.as_ref())).await?;
        let (mut all, mut kept) = (AllCandidates::default(), Kept::default());
        let mut before = 0;
        if let Some(gathering) = gathering {
            let Some(gathering) = Arc::into_inner(gathering) else {
                return exec_err!("a task of an ASOF JOIN did not end");
            };
            let best = gathering.finish().await?;
            let blocks = Arc::clone(best.gathered.blocks());
            before = blocks.len() as u32;
            all.gathered = Some(best.gathered);
            kept.laid = Some(Laid {
                side_by_side: best.side_by_side,
                blocks,
                others: best.others,
            });
            let held = best.reservation.free();
            self.reservation.try_grow(held)?;
        }
        for (candidates, batches) in offered.into_iter().flatten() {
            all.streams.push(OfStream { candidates, before });
            before += batches.len() as u32;
            kept.batches.extend(batches);
        }
        Ok((all, kept))
    }

    /// What each task found by offering in the right partitions that it read.
    async fn read(
        &self,
        left: &LeftIndex,
        (tasks, gathering): (usize, Option<&Arc<Gathering>>),
    ) -> Result<Vec<Option<Offered>>> {
        let partitions = 0..self.right.output_partitioning().partition_count();
        let inputs = partitions.map(|p| self.right.execute(p, Arc::clone(&self.context)));
        let inputs = Arc::new(Queue::new(inputs.collect::<Result<_>>()?));
        // Tasks that wait for each other must not wait for a turn.
        let turns = reads_apart(self.right.as_ref()).then(|| Arc::clone(&left.turns));
        let mut read = JoinSet::new();
        for task in 0..tasks {
            let reader = RightReader {
                task,
                matching: Arc::clone(&self.matching),
                index: Arc::clone(&left.index),
                reservation: Arc::clone(&self.reservation),
                metrics: BuildMetrics::new(&self.metrics, task),
                gathering: gathering.cloned(),
            };
            let (inputs, turns) = (Arc::clone(&inputs), turns.clone());
            read.spawn(async move {
                let _turn = match &turns {
                    Some(turns) => turns.of_reader().await,
                    None => None,
                };
                Ok((task, reader.read(inputs).await?))
            });
        }
        in_order(read).await
    }
}
