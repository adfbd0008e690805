//! The right side of an index join: read, indexed, kept.
//!
//! # Algorithm
//!
//! Tasks share out the partitions of the right side, which may be more than they are, and take keys
//! and times of the batches as they come; then as many tasks build the index (`kernel/index`). They
//! are DataFusion's tasks: dropping the join ends them.
//!
//! # Memory
//!
//! The kept columns of the whole right side and 13 to 21 bytes a row are taken from the memory
//! pool, as `AsOfJoinBuild`, before they are held; while the index is built up to 28 bytes a
//! row more. Nothing is spilled: when they do not fit, the query ends in DataFusion's
//! resources-exhausted error.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{Result, exec_err};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_plan::metrics::Time;
use futures::StreamExt;

use super::copies::{KeptMemory, without_room};
use super::dynamic_filter::tell;
use super::gather::KeptBatches;
use super::matching::{LeftInputs, Matching};
use super::metrics::BuildMetrics;
use super::parallel::{Queue, Timed, in_order, in_parallel, in_pieces};
use crate::kernel::index::{
    Accept, IndexBatch, IndexPart, IndexPlan, IndexTime, LinePlan, Matches, Planning, Search,
    Sharded, SideIndex,
};
use crate::kernel::rows::RowId;
use crate::spec::Side;

/// The right side, read and indexed.
pub(super) struct BuildSide {
    index: SideIndex,
    kept: KeptBatches,
    class_of_column: Vec<Option<usize>>,
    /// Holds the memory of all that until the last partition is done.
    _reservation: Arc<MemoryReservation>,
}

/// The right side before it is read.
pub(super) struct RightInput {
    pub partitions: Vec<SendableRecordBatchStream>,
    /// Of each task that reads them.
    pub metrics: Vec<BuildMetrics>,
    pub reservation: MemoryReservation,
}

impl BuildSide {
    /// Kept right rows, by which matches name them.
    pub(super) fn kept(&self) -> &KeptBatches {
        &self.kept
    }

    /// For each kept column the validity class that its values come from.
    pub(super) fn class_of_column(&self) -> &[Option<usize>] {
        &self.class_of_column
    }

    /// The matches of left batches: of one, if pairs of rows are tried. Dropping the future
    /// ends the work; `time` is what it took, and the reservation is for what it holds.
    pub(super) async fn probe(
        &self,
        matching: &Matching,
        left: &[RecordBatch],
        (time, reservation): (&Time, &MemoryReservation),
    ) -> Result<Matches> {
        let timer = time.timer();
        let inputs = left.iter().map(|batch| matching.left_inputs(batch));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let batches: Vec<_> = inputs.iter().map(LeftInputs::as_batch).collect();
        let search = Search {
            op: matching.spec.match_condition.op,
            tolerance: matching.tolerance,
        };
        let mut evaluate;
        let accept: Option<Accept<'_>> = match (&matching.residual.pairs, left) {
            (None, _) => None,
            (Some(pairs), [batch]) => {
                evaluate = |left: &[u32], right: &[RowId]| {
                    pairs.evaluate((batch, left), (&self.kept, right), &matching.columns)
                };
                Some(&mut evaluate)
            }
            _ => return exec_err!("pairs of an ASOF JOIN are of one left batch"),
        };
        let work = self.index.probe(&batches, search, accept)?;
        drop(timer);
        let mut probing = Timed { work, time };
        in_pieces(&mut probing, 0, reservation).await?;
        probing.work.finish()
    }

    /// Left rows like these that would be matched together with gain.
    pub(super) fn gains_together(&self, matching: &Matching, matches: &Matches) -> usize {
        match matching.residual.decides() {
            true => 0,
            false => self.index.gains_together(matches.in_order),
        }
    }
}

/// Reads the right side to its end and indexes it.
pub(super) async fn build_side(
    matching: Arc<Matching>,
    right: RightInput,
    dynamic_filter: Option<Arc<DynamicFilterPhysicalExpr>>,
) -> Result<Arc<BuildSide>> {
    let RightInput {
        partitions,
        metrics,
        reservation,
    } = right;
    let (reservation, tasks) = (Arc::new(reservation), metrics.len());
    let kept = Arc::new(KeptMemory::new(Arc::clone(&reservation)));
    let partitions = Arc::new(Queue::new(partitions));
    let mut readers = JoinSet::new();
    for (task, metrics) in metrics.iter().enumerate() {
        let reader = Reader {
            matching: Arc::clone(&matching),
            memory: Arc::clone(&kept),
            reservation: Arc::clone(&reservation),
            metrics: metrics.clone(),
        };
        let partitions = Arc::clone(&partitions);
        readers.spawn(async move { Ok((task, reader.read(&partitions).await?)) });
    }
    // Which task read which partition does not matter: the places of rows say where they were.
    let (parts, batches): (Vec<_>, Vec<_>) = in_order(readers).await?.into_iter().unzip();
    let Some(metrics) = metrics.first() else {
        return exec_err!("the right side of an ASOF JOIN is read by no task");
    };
    let timer = metrics.build_time.timer();
    let rows: usize = batches.iter().flatten().map(RecordBatch::num_rows).sum();
    let kept_bytes = kept.size() + bits_of(&matching, rows);
    let (index, batches) = build_index(parts, batches, tasks, &reservation).await?;
    metrics.peak_mem_used.set_max(reservation.size());
    reservation.try_resize(index.size() + kept_bytes)?;
    drop(timer);
    if let Some(filter) = dynamic_filter {
        tell(&filter, &matching, Side::Left, &index)?;
    }
    let mut class_of_column = vec![None; matching.columns.kept.len()];
    let own_values = matching.own_value_columns();
    for (column, class) in own_values.into_iter().zip(index.class_of_value()) {
        class_of_column[column] = *class;
    }
    Ok(Arc::new(BuildSide {
        index,
        kept: KeptBatches::new(batches, &matching.columns.kept_nulls),
        class_of_column,
        _reservation: reservation,
    }))
}

/// Builds the index of what was read. Also gives the batches in the order in which it has them.
pub(super) async fn build_index(
    parts: Vec<IndexPart>,
    batches: Vec<Vec<RecordBatch>>,
    tasks: usize,
    reservation: &MemoryReservation,
) -> Result<(SideIndex, Vec<RecordBatch>)> {
    let taken = parts.iter().map(IndexPart::size).sum();
    let mut planning = Planning::try_new(parts)?;
    in_pieces(&mut planning, taken, reservation).await?;
    match planning.finish()? {
        IndexPlan::I64(plan) => run_plan(plan, batches, tasks, reservation).await,
        IndexPlan::I128(plan) => run_plan(plan, batches, tasks, reservation).await,
    }
}

async fn run_plan<T: IndexTime>(
    plan: LinePlan<T>,
    batches: Vec<Vec<RecordBatch>>,
    tasks: usize,
    reservation: &MemoryReservation,
) -> Result<(SideIndex, Vec<RecordBatch>)> {
    let shards_size = plan.shards_size(tasks);
    reservation.try_grow(plan.lists_size() + shards_size)?;
    let (sharded, ordered) = sharded(plan, batches, tasks).await?;
    let jobs = sharded.shards();
    let sharded = Arc::new(sharded);
    let order = Arc::clone(&sharded);
    let shards = in_parallel(tasks, jobs, move |shard| order.order(shard)).await?;
    let Some(sharded) = Arc::into_inner(sharded) else {
        return exec_err!("a task of an ASOF JOIN did not end");
    };
    let mut finishing = sharded.finish(shards);
    in_pieces(&mut finishing, 0, reservation).await?;
    reservation.shrink(shards_size);
    Ok((finishing.finish(), ordered))
}

/// Takes rows to their shards. Also gives the batches in the order in which those number them.
async fn sharded<T: IndexTime>(
    plan: LinePlan<T>,
    batches: Vec<Vec<RecordBatch>>,
    tasks: usize,
) -> Result<(Sharded<T>, Vec<RecordBatch>)> {
    let mut batches: Vec<Vec<_>> = (batches.into_iter())
        .map(|of_part| of_part.into_iter().map(Some).collect())
        .collect();
    let ordered = plan.batches().iter();
    let ordered = ordered.filter_map(|(part, batch)| batches[*part][*batch].take());
    let ordered = ordered.collect();
    let (layout, jobs) = plan.into_jobs();
    let layout = Arc::new(layout);
    let scatter = Arc::clone(&layout);
    let scattered = in_parallel(tasks, jobs, move |job| scatter.scatter(job)).await?;
    let Some(layout) = Arc::into_inner(layout) else {
        return exec_err!("a task of an ASOF JOIN did not end");
    };
    Ok((Sharded::new(layout, scattered), ordered))
}

/// Reads partitions of the right side.
struct Reader {
    matching: Arc<Matching>,
    memory: Arc<KeptMemory>,
    reservation: Arc<MemoryReservation>,
    metrics: BuildMetrics,
}

impl Reader {
    /// Reads partitions that no other has taken, until there is none.
    async fn read(
        self,
        partitions: &Queue<SendableRecordBatchStream>,
    ) -> Result<(IndexPart, Vec<RecordBatch>)> {
        let mut part = IndexPart::try_new(&self.matching.index_spec(Side::Right))?;
        self.reservation.try_grow(part.size())?;
        let mut batches = vec![];
        while let Some(mut partition) = partitions.next() {
            while let Some(batch) = partition.next().await.transpose()? {
                if batch.num_rows() > 0 {
                    batches.push(self.take(&mut part, &without_room(batch)?)?);
                }
            }
        }
        Ok((part, batches))
    }

    /// Adds a batch; gives what is kept of it.
    fn take(&self, part: &mut IndexPart, batch: &RecordBatch) -> Result<RecordBatch> {
        let (matching, rows) = (&self.matching, batch.num_rows());
        let _timer = self.metrics.build_time.timer();
        self.metrics.right_rows.add(rows);
        let inputs = matching.right_inputs(batch)?;
        let (kept, places) = matching.split_place(batch)?;
        self.memory.keep(&kept)?;
        self.reservation.try_grow(bits_of(matching, rows))?;
        let own_values = matching.own_value_columns().into_iter();
        let own_values = own_values.map(|column| Arc::clone(kept.column(column)));
        let index_batch = IndexBatch {
            keys: &inputs.keys,
            time: &inputs.time,
            places,
            mask: inputs.mask.as_ref(),
            ties: &inputs.ties,
            bounds: &inputs.bounds,
            own_values: &own_values.collect::<Vec<_>>(),
        };
        push(part, &index_batch, &self.reservation)?;
        Ok(kept)
    }
}

/// Adds a batch to those of an index, having taken the memory for it.
pub(super) fn push(
    part: &mut IndexPart,
    batch: &IndexBatch<'_>,
    reservation: &MemoryReservation,
) -> Result<()> {
    let (before, room) = (part.size(), part.room(batch.time.len()));
    reservation.try_grow(room)?;
    part.push(batch)?;
    let taken = part.size().saturating_sub(before);
    match taken.checked_sub(room) {
        Some(more) => reservation.try_grow(more),
        None => {
            reservation.shrink(room - taken);
            Ok(())
        }
    }
}

/// One bit for each right row that may come out alone.
fn bits_of(matching: &Matching, rows: usize) -> usize {
    match matching.spec.join_type.keeps_unmatched_right() {
        true => rows.div_ceil(8),
        false => 0,
    }
}
