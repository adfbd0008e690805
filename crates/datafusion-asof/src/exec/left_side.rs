//! The other broadcast: the left side indexed, the right streaming by.
//!
//! # Sides
//!
//! The left input is read to its end and indexed, then the right is read, every partition by a
//! task, and each of its rows offered to the left rows that it is a candidate of
//! (`kernel/index/candidates.rs`). When it has ended, every left partition comes out as it came
//! in, in its own order and batches.
//!
//! # Memory
//!
//! The left side with its index, 28 bytes for each left row and right partition, and the right
//! rows that are the best candidate so far of some left row: of a batch only those, once they
//! are few, are copied out, so the rest of it is let go at once. All of it is taken from the
//! memory pool as `AsOfJoinBuild`, before it is held. Nothing is spilled.
//!
//! # Degenerate cases
//!
//! Without a left row the right is not read. One row of the right may be the choice of
//! millions, and is kept once.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::common::utils::memory::{RecordBatchMemoryCounter, get_record_batch_memory_size};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{FutureExt, StreamExt};

use super::asof_join::AsOfJoinExec;
use super::build_side::{build_index, push};
use super::copies::{Copying, KeptMemory, PIECE};
use super::dynamic_filter::tell;
use super::gather::KeptBatches;
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use super::parallel::{in_pieces, joined};
use crate::kernel::index::{
    Candidates, Choosing, Hopeless, IndexBatch, IndexPart, OfPartition, Offer, Places, SideIndex,
};
use crate::kernel::pieces::Pieces;
use crate::kernel::rows::{MatchCounts, RowId};
use crate::spec::Side;

/// Room for the row numbers of a partition.
const PARTITION_SHIFT: u32 = 40;
/// Rows, and bytes, that may be kept in vain before those needed are copied together.
const IN_VAIN: usize = 1 << 16;
const BYTES_IN_VAIN: usize = 1 << 20;

/// The left side with what each of its rows chose.
pub(super) struct LeftSide {
    /// By partition.
    batches: Vec<Vec<LeftBatch>>,
    choices: Vec<RowId>,
    /// Until a partition has reported them.
    counts: Mutex<Option<MatchCounts>>,
    kept: KeptBatches,
    _reservation: Arc<MemoryReservation>,
}

/// A left batch, of which the rows are numbered from `start` on.
struct LeftBatch {
    start: usize,
    rows: RecordBatch,
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
    let matching = Arc::clone(join.matching());
    let metrics = ProbeMetrics::new(join.metrics_set(), partition);
    let output = Output::new(&matching, join.metrics_set(), partition);
    let schema = Arc::clone(&matching.columns.schema);
    let stream = async_try_stream(move |mut out| async move {
        let _active = active;
        let side = build.await.map_err(DataFusionError::Shared)?;
        if let Some(counts) = side.take_counts() {
            metrics.record(counts);
        }
        for batch in side.batches.get(partition).into_iter().flatten() {
            let timer = metrics.baseline.elapsed_compute().timer();
            let end = batch.start + batch.rows.num_rows();
            let choice = Choice {
                rows: &side.choices[batch.start..end],
                by_class: &[],
                class_of_column: &[],
            };
            let rows = output.assemble(&batch.rows, choice, &side.kept)?;
            drop(timer);
            if rows.num_rows() > 0 {
                out.emit(rows.record_output(&metrics.baseline)).await;
            }
        }
        metrics.baseline.done();
        Ok(())
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

impl LeftSide {
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
        let mut rows = 0;
        let mut number = |batch: &RecordBatch| {
            rows += batch.num_rows();
            LeftBatch {
                start: rows - batch.num_rows(),
                rows: batch.clone(),
            }
        };
        let numbered = batches
            .iter()
            .map(|of_part| of_part.iter().map(&mut number).collect());
        let numbered = numbered.collect();
        let tasks = batches.len();
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
            for (of_part, batches) in self.stream_right(&index).await? {
                candidates.push(OfPartition {
                    candidates: of_part,
                    before: kept.len() as u32,
                });
                kept.extend(batches);
            }
        }
        let timer = metrics.build_time.timer();
        let (tolerance, left) = (self.matching.tolerance, (rows, hopeless));
        let mut choosing = Choosing::try_new(&index, candidates, tolerance, left)?;
        in_pieces(&mut choosing, 0, &self.reservation).await?;
        metrics.peak_mem_used.set_max(self.reservation.size());
        let choices_bytes = choosing.size();
        let choices = choosing.finish();
        drop(index);
        let mut memory = RecordBatchMemoryCounter::new();
        for batch in &kept {
            memory.count_batch(batch);
        }
        let held = left_bytes + choices_bytes + memory.memory_usage();
        self.reservation.try_resize(held)?;
        drop(timer);
        Ok(Arc::new(LeftSide {
            batches: numbered,
            choices: choices.rows,
            counts: Mutex::new(Some(choices.counts)),
            kept: KeptBatches::new(kept, &self.matching.columns.kept_nulls),
            _reservation: self.reservation,
        }))
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

    /// The best candidates of each right partition, and the rows that they are.
    async fn stream_right(
        &self,
        index: &Arc<SideIndex>,
    ) -> Result<Vec<(Candidates, Vec<RecordBatch>)>> {
        let mut readers = JoinSet::new();
        for partition in 0..self.right.output_partitioning().partition_count() {
            let input = self.right.execute(partition, Arc::clone(&self.context))?;
            self.reservation.try_grow(Candidates::size(index))?;
            let stream = RightStream {
                candidates: Candidates::new(self.matching.spec.match_condition.op),
                index: Arc::clone(index),
                matching: Arc::clone(&self.matching),
                metrics: BuildMetrics::new(&self.metrics, partition),
                reservation: Arc::clone(&self.reservation),
                kept: vec![],
                kept_rows: 0,
                memory: RecordBatchMemoryCounter::new(),
                held: 0,
            };
            readers.spawn(async move { Ok((partition, stream.read(input).await?)) });
        }
        in_order(readers).await
    }
}

/// What tasks came to, in the order of their partitions.
async fn in_order<T: 'static>(mut tasks: JoinSet<Result<(usize, T)>>) -> Result<Vec<T>> {
    let mut done = vec![];
    while let Some(task) = tasks.join_next().await {
        done.push(joined(task)??);
    }
    done.sort_by_key(|(partition, _)| *partition);
    Ok(done.into_iter().map(|(_, result)| result).collect())
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

/// One partition of the right side on its way past the left.
struct RightStream {
    matching: Arc<Matching>,
    index: Arc<SideIndex>,
    candidates: Candidates,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    /// Counts `kept`, of which `held` bytes have been taken.
    memory: RecordBatchMemoryCounter,
    held: usize,
    metrics: BuildMetrics,
    reservation: Arc<MemoryReservation>,
}

impl RightStream {
    async fn read(
        mut self,
        mut input: SendableRecordBatchStream,
    ) -> Result<(Candidates, Vec<RecordBatch>)> {
        while self.candidates.fill(&self.index) {
            tokio::task::yield_now().await;
        }
        while let Some(batch) = input.next().await.transpose()? {
            if batch.num_rows() > 0 {
                let time = self.metrics.build_time.clone();
                let timer = time.timer();
                let kept = self.offer(&batch)?;
                drop((batch, timer));
                if kept {
                    self.let_go().await?;
                }
            }
        }
        Ok((self.candidates, self.kept))
    }

    /// Offers the rows of a batch; gives whether any is kept.
    fn offer(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.metrics.right_rows.add(batch.num_rows());
        let inputs = self.matching.right_inputs(batch)?;
        let (rows, places) = self.matching.split_place(batch)?;
        let offer = Offer {
            keys: &inputs.keys,
            time: &inputs.time,
            mask: inputs.mask.as_ref(),
            places: &places,
            number: self.kept.len() as u32,
        };
        let won = self.candidates.offer(&self.index, &offer)?;
        if won.is_empty() {
            return Ok(false);
        }
        let rows = match 2 * won.len() <= batch.num_rows() {
            true => {
                self.candidates.kept_alone();
                let won = won.into_iter().map(|row| RowId { batch: 0, row });
                let won: Vec<RowId> = won.collect();
                let batch = |_| Some(&rows);
                let mut copying = Copying::new(&self.matching, &self.reservation, batch);
                let copied = copying.copy_piece(&won)?;
                self.held += get_record_batch_memory_size(&copied);
                copied
            }
            false => rows,
        };
        self.kept_rows += rows.num_rows();
        self.memory.count_batch(&rows);
        self.kept.push(rows);
        Ok(true)
    }

    /// Takes the memory of what is kept, having let go of rows that are no longer the best of
    /// anything if they are many or memory is short.
    async fn let_go(&mut self) -> Result<()> {
        let in_vain = self.kept_rows - self.candidates.live();
        let bytes = self.memory.memory_usage() / self.kept_rows.max(1) * in_vain;
        let many = in_vain > IN_VAIN || bytes > BYTES_IN_VAIN;
        if many && in_vain > self.candidates.live() {
            return self.copy_together().await;
        }
        match self.account() {
            Err(_) if in_vain > 0 => self.copy_together().await,
            accounted => accounted,
        }
    }

    /// Copies the rows that are the best of something out of their batches.
    async fn copy_together(&mut self) -> Result<()> {
        let batch = |number| self.kept.get(number as usize);
        let mut copying = Copying::new(&self.matching, &self.reservation, batch);
        let mut memory = RecordBatchMemoryCounter::new();
        let (mut copies, mut copied) = (vec![], 0);
        while copied < self.candidates.live() {
            let rows = self.candidates.live_rows().skip(copied).take(PIECE);
            let rows: Vec<RowId> = rows.collect();
            for batch in copying.copy(&rows).await? {
                let number = copies.len() as u32;
                let ids = (0..batch.num_rows() as u32).map(|row| RowId { batch: number, row });
                self.candidates.relocate(copied, ids);
                copied += batch.num_rows();
                self.held += get_record_batch_memory_size(&batch);
                memory.count_batch(&batch);
                copies.push(batch);
            }
        }
        self.kept = copies;
        self.kept_rows = copied;
        self.memory = memory;
        self.account()
    }

    fn account(&mut self) -> Result<()> {
        let held = self.memory.memory_usage();
        match held.checked_sub(self.held) {
            Some(more) => self.reservation.try_grow(more)?,
            None => self.reservation.shrink(self.held - held),
        }
        self.held = held;
        Ok(())
    }
}
