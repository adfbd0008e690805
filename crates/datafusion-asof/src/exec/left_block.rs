//! Left batches that are matched together.
//!
//! # Motivation
//!
//! An index larger than the caches answers many left rows that come in no order faster than few
//! (`kernel/index/probe.rs`). So batches are held back until there are enough of them: twice as
//! many every time, so that a query that wants few rows does not wait for many. Each comes out
//! as it came in.
//!
//! # Memory
//!
//! Batches held back are taken from the memory pool; where it has no room they are matched at
//! once.

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::execution::memory_pool::MemoryReservation;

/// Left rows from which on waiting for more gains nothing.
const MOST_ROWS: usize = 1 << 18;
/// What matching holds for each left row at most.
const ROW_BYTES: usize = 104;

/// Left batches on their way to be matched.
pub(super) struct LeftBlock {
    pub batches: Vec<RecordBatch>,
    /// Of what matching them holds; freed when the block is dropped.
    pub reservation: MemoryReservation,
}

/// The left batches that are held back.
pub(super) struct HeldBack {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Rows to wait for.
    wanted: usize,
    counter: RecordBatchMemoryCounter,
    reservation: MemoryReservation,
}

impl HeldBack {
    pub(super) fn new(reservation: MemoryReservation) -> Self {
        Self {
            batches: vec![],
            rows: 0,
            wanted: 0,
            counter: RecordBatchMemoryCounter::default(),
            reservation,
        }
    }

    /// Takes a batch in; says whether those taken in are to be matched now.
    pub(super) fn push(&mut self, batch: RecordBatch) -> bool {
        let held = self.counter.count_batch(&batch) + batch.num_rows() * ROW_BYTES;
        self.rows += batch.num_rows();
        self.batches.push(batch);
        self.reservation.try_grow(held).is_err() || self.rows >= self.wanted
    }

    /// Gives the batches back, to be matched; `None` if there are none.
    pub(super) fn take(&mut self) -> Option<LeftBlock> {
        if self.batches.is_empty() {
            return None;
        }
        self.rows = 0;
        self.counter = RecordBatchMemoryCounter::default();
        Some(LeftBlock {
            batches: std::mem::take(&mut self.batches),
            reservation: self.reservation.take(),
        })
    }

    /// Says of a block of so many rows whether one of more would have been matched faster.
    pub(super) fn learn(&mut self, rows: usize, gains_by_more: bool) {
        self.wanted = match gains_by_more {
            true => (2 * rows).min(MOST_ROWS),
            false => 0,
        };
    }
}
