//! The two inputs of a merge, made ready for it: keys as ordinals, times on the line.
//!
//! Where a merge has one partition only, and there are tasks for more, tasks read and prepare
//! batches ahead of it ([`in_order`](crate::exec::in_order)). What is left to one core is to go along
//! both sides.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;

use crate::exec::in_order::InOrder;
use crate::exec::matching::Matching;
use crate::exec::metrics::{BuildMetrics, ProbeMetrics};
use crate::exec::read_in_order::ReadInOrderExec;
use crate::kernel::merge::OrderedBatch;
use crate::kernel::order::{Inspected, Inspection};
use crate::kernel::ordinals::{ABSENT, KeyOrdinals, refuse};
use crate::spec::Side;

/// A batch that is ready to be merged.
pub(super) struct Ready {
    /// Of the left the columns that come out, of the right those that are kept.
    pub rows: RecordBatch,
    pub batch: OrderedBatch,
    pub order: Inspected,
    /// Ordinals of its keys are below this.
    pub keys: usize,
}

/// Where batches come from.
pub(super) enum Feed {
    /// Read and prepared when asked for.
    Asked(SendableRecordBatchStream, Arc<Preparation>),
    Ahead(InOrder<Ready>),
}

impl Feed {
    /// Batches of one partition, on demand.
    pub(super) fn asked(
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: &Arc<TaskContext>,
        preparation: Preparation,
    ) -> Result<Self> {
        let input = input.execute(partition, Arc::clone(context))?;
        Ok(Self::Asked(input, Arc::new(preparation)))
    }

    /// Batches of the only partition, read and prepared ahead by tasks.
    pub(super) fn ahead(
        input: &Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
        preparation: Preparation,
    ) -> Self {
        let (input, tasks) = match input.downcast_ref::<ReadInOrderExec>() {
            Some(in_order) => (in_order.input(), in_order.tasks()),
            None => (input, 1),
        };
        let each = move |batch| preparation.prepare(&batch);
        Self::Ahead(InOrder::new(input, tasks, context, each))
    }

    /// The next batch that has rows.
    pub(super) async fn next(&mut self) -> Result<Option<Ready>> {
        match self {
            Self::Ahead(batches) => batches.next().await,
            Self::Asked(input, preparation) => {
                while let Some(batch) = input.next().await.transpose()? {
                    if batch.num_rows() > 0 {
                        return preparation.prepare(&batch).map(Some);
                    }
                }
                Ok(None)
            }
        }
    }
}

/// What becomes of the batches of a side.
pub(super) struct Preparation {
    pub matching: Arc<Matching>,
    pub keys: Arc<SharedKeys>,
    pub inspection: Inspection,
    pub side: OfSide,
}

/// What depends on the side.
pub(super) enum OfSide {
    Left(Arc<ProbeMetrics>),
    Right {
        /// Columns that take their own nearest value.
        own_values: Vec<usize>,
        metrics: BuildMetrics,
    },
}

impl Preparation {
    fn prepare(&self, batch: &RecordBatch) -> Result<Ready> {
        match &self.side {
            OfSide::Left(metrics) => {
                let _timer = metrics.baseline.elapsed_compute().timer();
                self.left(batch)
            }
            OfSide::Right {
                own_values,
                metrics,
            } => {
                let _timer = metrics.build_time.timer();
                metrics.right_rows.add(batch.num_rows());
                self.right(batch, own_values)
            }
        }
    }

    fn left(&self, batch: &RecordBatch) -> Result<Ready> {
        let inputs = self.matching.left_inputs(batch)?;
        let rows = batch.num_rows();
        let (mut ordinals, keys) = self.keys.of(&inputs.keys, rows)?;
        if let Some(mask) = &inputs.mask {
            refuse(&mut ordinals, mask);
        }
        let times = self.matching.domain.times(Side::Left, &inputs.time)?;
        Ok(Ready {
            rows: batch.project(&self.matching.columns.left)?,
            order: self.inspection.inspect(&times, rows, &[])?,
            batch: OrderedBatch {
                keys: ordinals,
                times,
                validity: vec![],
            },
            keys,
        })
    }

    fn right(&self, batch: &RecordBatch, own_values: &[usize]) -> Result<Ready> {
        let inputs = self.matching.right_inputs(batch)?;
        let rows = batch.num_rows();
        let (mut ordinals, keys) = self.keys.of(&inputs.keys, rows)?;
        if let Some(mask) = &inputs.mask {
            refuse(&mut ordinals, mask);
        }
        let times = self.matching.domain.times(Side::Right, &inputs.time)?;
        let (payload, _) = self.matching.split_place(batch)?;
        let validity = own_values.iter();
        let validity = validity.map(|column| payload.column(*column).logical_nulls());
        Ok(Ready {
            order: self.inspection.inspect(&times, rows, &inputs.ties)?,
            batch: OrderedBatch {
                keys: ordinals,
                times,
                validity: validity.collect(),
            },
            rows: payload,
            keys,
        })
    }
}

/// The ordinals of the keys of both sides, for all tasks.
pub(super) struct SharedKeys {
    ordinals: RwLock<KeyOrdinals>,
    /// Whether many keys of the last batches were new.
    grows: AtomicBool,
    reservation: MemoryReservation,
}

impl SharedKeys {
    pub(super) fn new(ordinals: KeyOrdinals, reservation: MemoryReservation) -> Self {
        Self {
            ordinals: RwLock::new(ordinals),
            grows: AtomicBool::new(true),
            reservation,
        }
    }

    /// The ordinals of so many keys, and what all ordinals are below.
    fn of(&self, keys: &[ArrayRef], rows: usize) -> Result<(Vec<u32>, usize)> {
        if !self.grows.load(Ordering::Relaxed) {
            // Most batches have no key that is new: tasks look them up side by side.
            let known = self.ordinals.read().unwrap_or_else(PoisonError::into_inner);
            let ordinals = known.lookup(keys, rows)?;
            if !ordinals.contains(&ABSENT) {
                return Ok((ordinals, known.len()));
            }
        }
        let mut known = self
            .ordinals
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        let held = known.size();
        self.reservation.try_resize(held + known.room(rows))?;
        let ordinals = known.intern(keys, rows)?;
        self.reservation.try_resize(known.size())?;
        let is_new = known.len() - before;
        self.grows.store(is_new > rows / 8, Ordering::Relaxed);
        Ok((ordinals, known.len()))
    }

    /// Bytes held, for the metrics.
    pub(super) fn size(&self) -> usize {
        self.reservation.size()
    }
}
