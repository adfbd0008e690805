//! The other broadcast: the left side indexed, the right streaming by.
//!
//! # Sides
//!
//! The left input is read to its end and indexed, then the right is read, by tasks that share its
//! partitions out, and each of its rows offered to the left rows that it is a candidate of
//! (`kernel/index/candidates.rs`). When it has ended, left rows choose among their candidates
//! (`kernel/index/choosing.rs`), and every left partition comes out as it came in, in its own order
//! and batches. Tasks gather its right columns, so that all cores have work where all left rows are
//! in one partition.
//!
//! # Memory
//!
//! The left side with its index, 28 bytes for each left row and task, and the right
//! rows that are the best candidate so far of some left row: of a batch only those, once they
//! are few, are copied out, so the rest of it is let go at once. All of it is taken from the
//! memory pool as `AsOfJoinBuild`, before it is held. Nothing is spilled.
//!
//! # Degenerate cases
//!
//! Without a left row the right is not read. One row of the right may be the choice of
//! millions, and is kept once.

mod right_stream;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, TryEmitter, async_try_stream};
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{FutureExt, StreamExt};

use self::right_stream::RightStream;
use super::asof_join::AsOfJoinExec;
use super::build_side::{build_index, push};
use super::copies::KeptMemory;
use super::dynamic_filter::tell;
use super::gather::KeptBatches;
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use super::parallel::{Ahead, Queue, in_order, in_parallel, in_pieces, most_tasks, readers};
use crate::kernel::index::{
    Candidates, Choosing, Hopeless, IndexBatch, IndexPart, OfStream, Places, Placing, SideIndex,
};
use crate::kernel::rows::{MatchCounts, RowId};
use crate::spec::Side;

/// Room for the row numbers of a partition.
const PARTITION_SHIFT: u32 = 40;

/// The left side with what each of its rows chose.
pub(super) struct LeftSide {
    /// By partition.
    batches: Vec<Vec<LeftBatch>>,
    /// By section.
    choices: Vec<Vec<RowId>>,
    tasks: usize,
    /// Until a partition has reported them.
    counts: Mutex<Option<MatchCounts>>,
    kept: KeptBatches,
    _reservation: Arc<MemoryReservation>,
}

/// A left batch, of which the rows are numbered from `start` on in a section of the left.
struct LeftBatch {
    section: usize,
    start: usize,
    rows: RecordBatch,
}

/// The left batches while they are numbered.
struct Sections {
    /// Numbers of the left rows in each; tasks share them out.
    of: Vec<Range<usize>>,
    /// Rows from which on a section is full.
    full: usize,
}

impl Sections {
    fn add(&mut self, batch: &RecordBatch) -> LeftBatch {
        let end = self.of.last().map_or(0, |last| last.end);
        if self.of.last().is_none_or(|last| last.len() >= self.full) {
            self.of.push(end..end);
        }
        let section = self.of.len() - 1;
        let of = &mut self.of[section];
        of.end += batch.num_rows();
        LeftBatch {
            section,
            start: end - of.start,
            rows: batch.clone(),
        }
    }
}

/// The left rows of one partition.
pub(super) fn left_indexed_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let partitions = join.left().output_partitioning().partition_count();
    let (build, active) = join.left_side().join(partition, partitions, |attempt| {
        let reservation = MemoryConsumer::new("AsOfJoinBuild").register(context.memory_pool());
        let build = Build {
            matching: Arc::clone(join.matching()),
            left: attempt.input(join.left())?,
            right: attempt.input(join.right())?,
            metrics: join.metrics_set().clone(),
            dynamic_filter: join.dynamic_filter().cloned(),
            reservation: Arc::new(reservation),
            context: Arc::clone(context),
        };
        let build = build.run().map(|built| built.map_err(Arc::new));
        Ok(build.boxed().shared())
    })?;
    let output = Output::new(join.matching(), join.metrics_set(), partition);
    let output = Arc::new(output);
    let metrics = ProbeMetrics::new(join.metrics_set(), partition);
    let schema = Arc::clone(&join.matching().columns.schema);
    let stream = async_try_stream(move |mut out| async move {
        let _active = active;
        let side = build.await.map_err(DataFusionError::Shared)?;
        if let Some(counts) = side.take_counts() {
            metrics.record(counts);
        }
        // Another partition may have fewer rows, and its core nothing to do.
        let mut ahead = Ahead::new(1 + side.tasks / partitions);
        for batch in 0..side.batches[partition].len() {
            if ahead.is_full()
                && let Some(rows) = ahead.next().await?
            {
                emit(&mut out, rows, &metrics.baseline).await;
            }
            let (side, output) = (Arc::clone(&side), Arc::clone(&output));
            let time = metrics.baseline.elapsed_compute().clone();
            ahead.begin(async move {
                let _timer = time.timer();
                side.assemble(&output, &side.batches[partition][batch])
            });
        }
        while let Some(rows) = ahead.next().await? {
            emit(&mut out, rows, &metrics.baseline).await;
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

impl LeftSide {
    /// The output rows of a left batch.
    fn assemble(&self, output: &Output, batch: &LeftBatch) -> Result<RecordBatch> {
        let rows = batch.start..batch.start + batch.rows.num_rows();
        let choice = Choice {
            rows: &self.choices[batch.section][rows],
            by_class: &[],
            class_of_column: &[],
        };
        output.assemble(&batch.rows, choice, &self.kept)
    }

    fn take_counts(&self) -> Option<MatchCounts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.take()
    }
}

/// What the building of a [`LeftSide`] needs.
struct Build {
    matching: Arc<Matching>,
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    metrics: ExecutionPlanMetricsSet,
    reservation: Arc<MemoryReservation>,
    dynamic_filter: Option<Arc<DynamicFilterPhysicalExpr>>,
}

impl Build {
    async fn run(self) -> Result<Arc<LeftSide>> {
        let kept_left = Arc::new(KeptMemory::new(Arc::clone(&self.reservation)));
        let (mut parts, mut batches) = (vec![], vec![]);
        for (part, of_part) in self.read_left(&kept_left).await? {
            parts.push(part);
            batches.push(of_part);
        }
        let metrics = BuildMetrics::new(&self.metrics, 0);
        let timer = metrics.build_time.timer();
        let mut hopeless = Hopeless::default();
        for part in &parts {
            hopeless += part.hopeless();
        }
        let rows: usize = batches.iter().flatten().map(RecordBatch::num_rows).sum();
        let tasks = self.tasks();
        let mut sections = Sections {
            of: vec![],
            full: rows.div_ceil(tasks),
        };
        let numbered = batches
            .iter()
            .map(|of_part| of_part.iter().map(|batch| sections.add(batch)).collect());
        let numbered = numbered.collect();
        let (index, _) = build_index(parts, batches, tasks, &self.reservation).await?;
        metrics.peak_mem_used.set_max(self.reservation.size());
        let left_bytes = kept_left.size();
        self.reservation.try_resize(left_bytes + index.size())?;
        drop(timer);
        if let Some(filter) = &self.dynamic_filter {
            tell(filter, &self.matching, Side::Right, &index)?;
        }
        let index = Arc::new(index);
        let (mut candidates, mut kept) = (vec![], vec![]);
        if rows > 0 {
            for (of_stream, batches) in self.stream_right(&index).await? {
                candidates.push(OfStream {
                    candidates: of_stream,
                    before: kept.len() as u32,
                });
                kept.extend(batches);
            }
        }
        let timer = metrics.build_time.timer();
        let (choices, mut counts) = self.choose(index, candidates, sections.of).await?;
        counts.null_key += hopeless.null_key;
        counts.null_time += hopeless.null_time;
        counts.refused += hopeless.refused;
        metrics.peak_mem_used.set_max(self.reservation.size());
        let choices_bytes: usize = choices.iter().map(|of| size_of_val(of.as_slice())).sum();
        let mut memory = RecordBatchMemoryCounter::new();
        for batch in &kept {
            memory.count_batch(batch);
        }
        let held = left_bytes + choices_bytes + memory.memory_usage();
        self.reservation.try_resize(held)?;
        drop(timer);
        Ok(Arc::new(LeftSide {
            batches: numbered,
            choices,
            tasks,
            counts: Mutex::new(Some(counts)),
            kept: KeptBatches::new(kept, &self.matching.columns.kept_nulls),
            _reservation: self.reservation,
        }))
    }

    /// Tasks that work is shared out to.
    fn tasks(&self) -> usize {
        let partitions =
            |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count();
        let most = partitions(&self.left).max(partitions(&self.right));
        most_tasks(most, &self.context)
    }

    /// What left rows take, by section.
    async fn choose(
        &self,
        index: Arc<SideIndex>,
        candidates: Vec<OfStream>,
        sections: Vec<Range<usize>>,
    ) -> Result<(Vec<Vec<RowId>>, MatchCounts)> {
        let tasks = self.tasks();
        self.reservation.try_grow(Choosing::size(&index))?;
        let choosing = Arc::new(Choosing::new(index, candidates, self.matching.tolerance));
        let stretches = choosing.stretches();
        let of = Arc::clone(&choosing);
        let leaves = in_parallel(tasks, stretches.clone(), move |stretch| of.leaves(stretch));
        let carried = choosing.carried(leaves.await?);
        let stretches = stretches.into_iter().zip(carried).collect();
        let of = Arc::clone(&choosing);
        let chosen = in_parallel(tasks, stretches, move |(stretch, carried)| {
            of.choose(stretch, carried)
        });
        let chosen = chosen.await?.into_iter().collect::<Result<_>>()?;
        let Some(choosing) = Arc::into_inner(choosing) else {
            return exec_err!("a task of an ASOF JOIN did not end");
        };
        let choices = Arc::new(choosing.finish(chosen));
        let mut placing = JoinSet::new();
        for (section, of) in sections.into_iter().enumerate() {
            let mut work = Placing::new(Arc::clone(&choices), of);
            let reservation = Arc::clone(&self.reservation);
            placing.spawn(async move {
                in_pieces(&mut work, 0, &reservation).await?;
                Ok((section, work.finish()))
            });
        }
        Ok((in_order(placing).await?, choices.counts))
    }

    /// The left partitions, keys and times apart, with the columns that come out.
    async fn read_left(
        &self,
        memory: &Arc<KeptMemory>,
    ) -> Result<Vec<(IndexPart, Vec<RecordBatch>)>> {
        let mut readers = JoinSet::new();
        for partition in 0..self.left.output_partitioning().partition_count() {
            let reader = LeftReader {
                partition,
                input: self.left.execute(partition, Arc::clone(&self.context))?,
                matching: Arc::clone(&self.matching),
                memory: Arc::clone(memory),
                reservation: Arc::clone(&self.reservation),
                metrics: BuildMetrics::new(&self.metrics, partition),
            };
            readers.spawn(async move { Ok((partition, reader.read().await?)) });
        }
        in_order(readers).await
    }

    /// The best candidates that each task found in the right partitions that it read, and the rows
    /// that they are.
    async fn stream_right(
        &self,
        index: &Arc<SideIndex>,
    ) -> Result<Vec<(Candidates, Vec<RecordBatch>)>> {
        let partitions = 0..self.right.output_partitioning().partition_count();
        let tasks = readers(self.right.as_ref(), partitions.len(), &self.context);
        let inputs = partitions.map(|p| self.right.execute(p, Arc::clone(&self.context)));
        let inputs = Arc::new(Queue::new(inputs.collect::<Result<_>>()?));
        let mut readers = JoinSet::new();
        for task in 0..tasks {
            let stream = RightStream::new(
                Arc::clone(&self.matching),
                Arc::clone(index),
                Arc::clone(&self.reservation),
                BuildMetrics::new(&self.metrics, task),
            );
            let inputs = Arc::clone(&inputs);
            readers.spawn(async move { Ok((task, stream.read(inputs).await?)) });
        }
        in_order(readers).await
    }
}

/// One partition of the left side on its way into the index.
struct LeftReader {
    partition: usize,
    input: SendableRecordBatchStream,
    matching: Arc<Matching>,
    memory: Arc<KeptMemory>,
    reservation: Arc<MemoryReservation>,
    metrics: BuildMetrics,
}

impl LeftReader {
    async fn read(mut self) -> Result<(IndexPart, Vec<RecordBatch>)> {
        let mut part = IndexPart::try_new(&self.matching.index_spec(Side::Left))?;
        self.reservation.try_grow(part.size())?;
        let mut batches = vec![];
        let mut first = (self.partition as u64) << PARTITION_SHIFT;
        while let Some(batch) = self.input.next().await.transpose()? {
            let rows = batch.num_rows();
            if rows == 0 {
                continue;
            }
            let _timer = self.metrics.build_time.timer();
            let inputs = self.matching.left_inputs(&batch)?;
            let kept = batch.project(&self.matching.columns.left)?;
            self.memory.keep(&kept)?;
            let index_batch = IndexBatch {
                keys: &inputs.keys,
                time: &inputs.time,
                places: Places::run(first, rows),
                mask: inputs.mask.as_ref(),
                ties: &[],
                bounds: &[],
                own_values: &[],
            };
            push(&mut part, &index_batch, &self.reservation)?;
            first += rows as u64;
            batches.push(kept);
        }
        Ok((part, batches))
    }
}
