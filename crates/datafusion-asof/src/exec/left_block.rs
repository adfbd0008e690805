//! Left batches that are matched together.
//!
//! # Motivation
//!
//! An index larger than the caches answers many left rows that come in no order faster than few
//! (`kernel/index/probe.rs`). So batches are held back until there are enough of them: four times as
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

/// How many times as many as before are waited for.
const GROWTH: usize = 4;
/// What matching holds for each left row at most.
const ROW_BYTES: usize = 104;
/// Of these, what is free again when the row is matched.
pub(super) const FREE_BYTES: usize = 96;

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

    /// Says of a block of so many rows in which ones like it would be matched with gain.
    pub(super) fn learn(&mut self, rows: usize, gains_together: usize) {
        self.wanted = gains_together.min(GROWTH * rows);
    }
}
