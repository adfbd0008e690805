//! The broadcast driver: the right side as one shared index, the left streaming by.
//!
//! # Sides
//!
//! The right input is read once, driven by whichever left partition is polled first, and
//! indexed (`kernel/index.rs`); all partitions share the index. The left keeps its
//! partitions, its order and its batches.
//!
//! # Memory
//!
//! The whole right side and 16 to 24 bytes a row for the index are taken from the memory
//! pool, as `AsOfJoinBuild`, before they are held. Nothing is spilled: when they do not fit,
//! the query ends in DataFusion's resources-exhausted error.
//!
//! # Degenerate cases
//!
//! An empty right side leaves every left row unmatched. A right side of which no column is
//! wanted is indexed all the same; its batches are then only row counts.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, SharedResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::physical_plan::metrics::RecordOutput;
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};

use super::asof_join::AsOfJoinExec;
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::Output;
use crate::kernel::index::{LeftBatch, RightBatch, RightIndex, RightIndexBuilder};

/// The right side, read and indexed.
struct BuildSide {
    index: RightIndex,
    batches: Vec<RecordBatch>,
    /// Holds the memory of both until the last partition is done.
    _reservation: MemoryReservation,
}

type BuildFuture = Shared<BoxFuture<'static, SharedResult<Arc<BuildSide>>>>;

/// The one reading of the right side that all left partitions wait for.
///
/// A shared future rather than a once-cell: when the partition that drives it is dropped,
/// another goes on from where it is, and the right input is never executed twice. When
/// every partition has been executed and is done, the index is let go.
#[derive(Default)]
pub(super) struct SharedBuild(Arc<Mutex<BuildState>>);

#[derive(Default)]
struct BuildState {
    build: Option<BuildFuture>,
    /// Left partitions executed so far, and those of them not yet done.
    executed: usize,
    active: usize,
}

/// Counts as one active left partition while it lives.
struct ActivePartition {
    state: Arc<Mutex<BuildState>>,
    partitions: usize,
}

impl Debug for SharedBuild {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SharedBuild")
    }
}

impl SharedBuild {
    /// The build for one more of `partitions` left partitions.
    fn join(
        &self,
        partitions: usize,
        start: impl FnOnce() -> Result<BuildFuture>,
    ) -> Result<(BuildFuture, ActivePartition)> {
        let mut state = lock(&self.0);
        let build = match &state.build {
            Some(build) => build.clone(),
            None => state.build.insert(start()?).clone(),
        };
        state.executed += 1;
        state.active += 1;
        let active = ActivePartition {
            state: Arc::clone(&self.0),
            partitions,
        };
        Ok((build, active))
    }
}

impl Drop for ActivePartition {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.active -= 1;
        if state.active == 0 && state.executed >= self.partitions {
            *state = BuildState::default();
        }
    }
}

fn lock(state: &Mutex<BuildState>) -> MutexGuard<'_, BuildState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn broadcast_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let matching = Arc::clone(join.matching());
    let partitions = join.left().output_partitioning().partition_count();
    let (build, active) = join.build().join(partitions, || {
        let right = join.right().execute(0, Arc::clone(context))?;
        let reservation = MemoryConsumer::new("AsOfJoinBuild").register(context.memory_pool());
        let metrics = BuildMetrics::new(join.metrics_set(), 0);
        let build = build_side(Arc::clone(&matching), right, reservation, metrics);
        Ok(build.map(|built| built.map_err(Arc::new)).boxed().shared())
    })?;
    let left = join.left().execute(partition, Arc::clone(context))?;
    let metrics = ProbeMetrics::new(join.metrics_set(), partition);
    let schema = Arc::clone(&matching.schema);
    let stream = async_try_stream(move |mut out| async move {
        let mut left = left;
        let _active = active;
        let output = Output::new(&matching);
        let build = build.await.map_err(DataFusionError::Shared)?;
        while let Some(batch) = left.next().await.transpose()? {
            let timer = metrics.baseline.elapsed_compute().timer();
            let inputs = matching.left_inputs(&batch)?;
            let left_batch = LeftBatch {
                keys: &inputs.keys,
                time: &inputs.time,
            };
            let op = matching.spec.match_condition.op;
            let (matches, counts) = build.index.probe(&left_batch, op, matching.tolerance)?;
            metrics.record(counts);
            let rows = output.assemble(&batch, &matches, |number| {
                build.batches.get(number as usize)
            })?;
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

/// Reads the right side to its end and indexes it.
async fn build_side(
    matching: Arc<Matching>,
    mut right: SendableRecordBatchStream,
    reservation: MemoryReservation,
    metrics: BuildMetrics,
) -> Result<Arc<BuildSide>> {
    let mut builder = RightIndexBuilder::try_new(&matching.domain, &matching.key_types)?;
    let mut batches = vec![];
    let mut batch_bytes = 0;
    while let Some(batch) = right.next().await.transpose()? {
        let _timer = metrics.build_time.timer();
        metrics.right_rows.add(batch.num_rows());
        let inputs = matching.right_inputs(&batch)?;
        let (payload, places) = matching.split_place(&batch)?;
        batch_bytes += get_record_batch_memory_size(&payload);
        builder.push(&RightBatch {
            keys: &inputs.keys,
            time: &inputs.time,
            places: &places,
        })?;
        batches.push(payload);
        let held = batch_bytes + builder.size();
        reservation.try_resize(held)?;
        metrics.peak_mem_used.set_max(held);
    }
    let timer = metrics.build_time.timer();
    let index = builder.finish()?;
    reservation.try_resize(batch_bytes + index.size())?;
    drop(timer);
    Ok(Arc::new(BuildSide {
        index,
        batches,
        _reservation: reservation,
    }))
}
