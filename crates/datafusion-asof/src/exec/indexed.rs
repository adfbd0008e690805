//! The index driver: the right side in memory by key and time, the left streaming by.
//!
//! # Sides
//!
//! The right input is read to its end and indexed ([`build_side`](super::build_side)). A
//! broadcast join has one index, which the left partition that is polled first has read and
//! which all share. A sort-merge join
//! that cannot merge in time order, because one row per key is not all it has to remember
//! (nearest, predicates that have a say in the choice), has one index for each partition. The
//! left keeps its partitions, its order and its batches.
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

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, BooleanBufferBuilder};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_plan::metrics::RecordOutput;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{FutureExt, StreamExt};

use super::asof_join::AsOfJoinExec;
use super::build_side::{BuildSide, RightInput, build_side};
use super::left_block::LeftBlock;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use super::shared_build::{ActivePartition, BuildFuture};
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
        let right = attempt.input(join.right())?;
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
    let build = start_build(join, join.right(), partition..partition + 1, context)?;
    indexed_stream(join, partition, context, (build, None))
}

/// Begins to read some partitions of the right side.
fn start_build(
    join: &AsOfJoinExec,
    right: &Arc<dyn ExecutionPlan>,
    partitions: Range<usize>,
    context: &Arc<TaskContext>,
) -> Result<BuildFuture<BuildSide>> {
    let right = partitions.map(|partition| {
        Ok(RightInput {
            stream: right.execute(partition, Arc::clone(context))?,
            metrics: BuildMetrics::new(join.metrics_set(), partition),
        })
    });
    let right = right.collect::<Result<_>>()?;
    let reservation = MemoryConsumer::new("AsOfJoinBuild").register(context.memory_pool());
    let (matching, filter) = (Arc::clone(join.matching()), join.dynamic_filter().cloned());
    let build = build_side(matching, right, reservation, filter);
    Ok(build.map(|built| built.map_err(Arc::new)).boxed().shared())
}

fn indexed_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
    (build, active): (BuildFuture<BuildSide>, Option<ActivePartition<BuildSide>>),
) -> Result<SendableRecordBatchStream> {
    let matching = Arc::clone(join.matching());
    let left = join.left().execute(partition, Arc::clone(context))?;
    // Rows without end are not held back for more.
    let bounded = !join.left().boundedness().is_unbounded();
    let reservation = MemoryConsumer::new("AsOfJoinProbe").register(context.memory_pool());
    let metrics = ProbeMetrics::new(join.metrics_set(), partition);
    let schema = Arc::clone(&matching.columns.schema);
    let stream = async_try_stream(move |mut out| async move {
        let mut left = left;
        let _active = active;
        let output = Output::new(&matching);
        let deciding = reservation.new_empty();
        let mut block = LeftBlock::new(reservation);
        let build = build.await.map_err(DataFusionError::Shared)?;
        let keeps_unchosen = matching.spec.join_type.keeps_unmatched_right();
        let mut chosen = keeps_unchosen.then(|| Chosen::none_of(build.kept().batches()));
        let mut ended = false;
        while !ended {
            match left.next().await.transpose()? {
                Some(batch) => {
                    if !block.push(batch) {
                        continue;
                    }
                }
                None => ended = true,
            }
            if block.batches().is_empty() {
                break;
            }
            let time = metrics.baseline.elapsed_compute();
            let probing = build.probe(&matching, block.batches(), (time, &deciding));
            let matches = probing.await?;
            metrics.record(matches.counts);
            if let Some(chosen) = &mut chosen {
                let _timer = time.timer();
                chosen.note(&matches.rows);
            }
            let more = bounded && build.gains_by_more(&matching, &matches);
            let mut end = 0;
            for batch in block.take(more) {
                let timer = metrics.baseline.elapsed_compute().timer();
                let rows = end..end + batch.num_rows();
                end = rows.end;
                let by_class = matches.by_class.iter().map(|of| &of[rows.clone()]);
                let choice = Choice {
                    rows: &matches.rows[rows.clone()],
                    by_class: &by_class.collect::<Vec<_>>(),
                    class_of_column: build.class_of_column(),
                };
                let left = batch.project(&matching.columns.left)?;
                let rows = output.assemble(&left, choice, build.kept())?;
                drop(timer);
                if rows.num_rows() > 0 {
                    out.emit(rows.record_output(&metrics.baseline)).await;
                }
            }
        }
        for (batch, chosen) in build
            .kept()
            .batches()
            .iter()
            .zip(chosen.into_iter().flat_map(|c| c.0))
        {
            let timer = metrics.baseline.elapsed_compute().timer();
            let alone = filter_record_batch(batch, &chosen.free())?;
            let rows = output.alone(alone.columns(), alone.num_rows())?;
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
