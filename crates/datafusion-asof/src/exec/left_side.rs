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
//! The left side with its index, 24 bytes for each left row and right partition, and the right
//! rows that are the best candidate so far of some left row: of a batch only those, once they
//! are few, are copied out, so the rest of it is let go at once. All of it is taken from the
//! memory pool as `AsOfJoinBuild`. Nothing is spilled.
//!
//! # Degenerate cases
//!
//! Without a left row the right is not read. One row of the right may be the choice of
//! millions, and is kept once.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::compute::take_arrays;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{FutureExt, StreamExt};

use super::asof_join::AsOfJoinExec;
use super::build_side::{build_index, kept_size};
use super::gather::{KeptBatches, gather};
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use super::parallel::joined;
use crate::kernel::index::{
    Candidates, Choices, Hopeless, IndexBatch, IndexPart, IndexPlan, Offer, Places, SideIndex,
};
use crate::kernel::rows::{MatchCounts, RowId};
use crate::spec::Side;

/// Room for the row numbers of a partition.
const PARTITION_SHIFT: u32 = 40;
/// Rows that may be kept in vain before those needed are copied together.
const IN_VAIN: usize = 1 << 16;

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
            reservation: Arc::new(reservation),
            context: Arc::clone(context),
        };
        let build = build.run().map(|built| built.map_err(Arc::new));
        Ok(build.boxed().shared())
    })?;
    let matching = Arc::clone(join.matching());
    let metrics = ProbeMetrics::new(join.metrics_set(), partition);
    let schema = Arc::clone(&matching.columns.schema);
    let stream = async_try_stream(move |mut out| async move {
        let _active = active;
        let output = Output::new(&matching);
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
}

impl Build {
    async fn run(self) -> Result<Arc<LeftSide>> {
        let (mut parts, mut batches) = (vec![], vec![]);
        for (part, of_part) in self.read_left().await? {
            parts.push(part);
            batches.push(of_part);
        }
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
        let left_bytes: usize = batches.iter().flatten().map(kept_size).sum();
        let tasks = batches.len();
        let IndexPlan::I64(plan) = IndexPlan::try_new(parts)? else {
            return exec_err!("a left side is indexed by times of 64 bits only");
        };
        let (index, _) = build_index(plan, batches, tasks, &self.reservation).await?;
        let choices_bytes = rows * size_of::<RowId>();
        let held = left_bytes + index.size() + choices_bytes;
        self.reservation.try_resize(held)?;
        let index = Arc::new(index);
        let (mut candidates, mut kept) = (vec![], vec![]);
        if rows > 0 {
            for (mut of_part, batches) in self.stream_right(&index).await? {
                let before = kept.len() as u32;
                of_part.relocate(|row| RowId {
                    batch: row.batch + before,
                    ..row
                });
                candidates.push(of_part);
                kept.extend(batches);
            }
        }
        let choices = Choices::of(
            &index,
            candidates,
            self.matching.tolerance,
            (rows, hopeless),
        )?;
        let kept_bytes: usize = kept.iter().map(kept_size).sum();
        let held = left_bytes + choices_bytes + kept_bytes;
        self.reservation.try_resize(held)?;
        Ok(Arc::new(LeftSide {
            batches: numbered,
            choices: choices.rows,
            counts: Mutex::new(Some(choices.counts)),
            kept: KeptBatches::new(kept, &self.matching.columns.kept_nulls),
            _reservation: self.reservation,
        }))
    }

    /// The left partitions, keys and times apart, with the columns that come out.
    async fn read_left(&self) -> Result<Vec<(IndexPart, Vec<RecordBatch>)>> {
        let mut readers = JoinSet::new();
        for partition in 0..self.left.output_partitioning().partition_count() {
            let left = self.left.execute(partition, Arc::clone(&self.context))?;
            let matching = Arc::clone(&self.matching);
            let reservation = Arc::clone(&self.reservation);
            readers.spawn(async move {
                let read = read_left(partition, &matching, left, &reservation).await?;
                Ok::<_, DataFusionError>((partition, read))
            });
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
            let candidates = Candidates::new(index, self.matching.spec.match_condition.op);
            let held = candidates.size();
            self.reservation.try_grow(held)?;
            let stream = RightStream {
                candidates,
                index: Arc::clone(index),
                matching: Arc::clone(&self.matching),
                metrics: BuildMetrics::new(&self.metrics, partition),
                reservation: Arc::clone(&self.reservation),
                kept: vec![],
                kept_rows: 0,
                kept_bytes: 0,
                held,
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

async fn read_left(
    partition: usize,
    matching: &Matching,
    mut left: SendableRecordBatchStream,
    reservation: &MemoryReservation,
) -> Result<(IndexPart, Vec<RecordBatch>)> {
    let mut part = IndexPart::try_new(&matching.index_spec(Side::Left))?;
    let mut batches = vec![];
    let mut first = (partition as u64) << PARTITION_SHIFT;
    while let Some(batch) = left.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let inputs = matching.left_inputs(&batch)?;
        let before = part.size();
        part.push(&IndexBatch {
            keys: &inputs.keys,
            time: &inputs.time,
            places: Places::run(first, batch.num_rows()),
            mask: inputs.mask.as_ref(),
            ties: &[],
            bounds: &[],
            own_values: &[],
        })?;
        first += batch.num_rows() as u64;
        let kept = batch.project(&matching.columns.left)?;
        reservation.try_grow(kept_size(&kept) + part.size().saturating_sub(before))?;
        batches.push(kept);
    }
    Ok((part, batches))
}

/// One partition of the right side on its way past the left.
struct RightStream {
    matching: Arc<Matching>,
    index: Arc<SideIndex>,
    candidates: Candidates,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    kept_bytes: usize,
    metrics: BuildMetrics,
    reservation: Arc<MemoryReservation>,
    held: usize,
}

impl RightStream {
    async fn read(
        mut self,
        mut input: SendableRecordBatchStream,
    ) -> Result<(Candidates, Vec<RecordBatch>)> {
        while let Some(batch) = input.next().await.transpose()? {
            if batch.num_rows() > 0 {
                let time = self.metrics.build_time.clone();
                let _timer = time.timer();
                self.offer(&batch)?;
            }
        }
        Ok((self.candidates, self.kept))
    }

    fn offer(&mut self, batch: &RecordBatch) -> Result<()> {
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
            return Ok(());
        }
        let rows = match 2 * won.len() <= batch.num_rows() {
            true => {
                self.candidates.kept_alone();
                let columns = take_arrays(rows.columns(), &UInt32Array::from(won), None)?;
                self.matching.kept_batch(columns, self.candidates.won())?
            }
            false => rows,
        };
        self.kept_rows += rows.num_rows();
        self.kept_bytes += kept_size(&rows);
        self.kept.push(rows);
        if self.kept_rows > 2 * self.candidates.live() + IN_VAIN {
            self.copy_together()?;
        }
        self.account()
    }

    /// Lets rows go that are no longer the best of anything.
    fn copy_together(&mut self) -> Result<()> {
        let rows: Vec<RowId> = self.candidates.live_rows().collect();
        let columns: Vec<usize> = (0..self.matching.columns.kept.len()).collect();
        let nulls = &self.matching.columns.kept_nulls;
        let columns = gather(nulls, &columns, &rows, |number| {
            self.kept.get(number as usize)
        })?;
        self.kept = vec![self.matching.kept_batch(columns, rows.len())?];
        self.kept_rows = rows.len();
        self.kept_bytes = self.kept.iter().map(kept_size).sum();
        let mut row = 0..;
        self.candidates.relocate(|_| RowId {
            batch: 0,
            row: row.next().unwrap_or_default(),
        });
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        let held = self.kept_bytes + self.candidates.size();
        match held.checked_sub(self.held) {
            Some(more) => self.reservation.try_grow(more)?,
            None => self.reservation.shrink(self.held - held),
        }
        self.held = held;
        self.metrics.peak_mem_used.set_max(held);
        Ok(())
    }
}
