//! The right batches that are still needed.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{HashMap, HashSet, Result};

use crate::exec::gather::{RightRows, gather};
use crate::exec::matching::Matching;
use crate::kernel::rows::RowId;

/// So many full batches are kept without being looked through.
const FEW_BATCHES: usize = 16;
/// Where few rows are needed, so many times as many may be kept before they are looked through, up to
/// [`MANY_BATCHES`]; else [`LESS_IN_VAIN`] times as many. Batches of few rows are counted by themselves:
/// each may hold buffers of a large one.
const IN_VAIN: usize = 32;
const LESS_IN_VAIN: usize = 4;
const MANY_BATCHES: usize = 64;

/// The batches of the right that hold the last row of a key, or a row that a left row at hand chose.
pub(super) struct Kept {
    /// By number; shared with tasks that gather rows of them.
    batches: Arc<HashMap<u32, RecordBatch>>,
    memory: RecordBatchMemoryCounter,
    rows: usize,
    next_number: u32,
    look_through_at: usize,
    look_through_at_batches: usize,
    batch_size: usize,
}

impl Kept {
    /// None yet, of batches of mostly so many rows.
    pub(super) fn new(batch_size: usize) -> Self {
        Self {
            batches: Arc::default(),
            memory: RecordBatchMemoryCounter::new(),
            rows: 0,
            next_number: 0,
            look_through_at: FEW_BATCHES * batch_size,
            look_through_at_batches: MANY_BATCHES,
            batch_size,
        }
    }

    /// Counts a batch that is to be kept.
    pub(super) fn count(&mut self, batch: &RecordBatch) {
        self.memory.count_batch(batch);
    }

    /// Keeps a batch that was counted.
    pub(super) fn keep(&mut self, batch: RecordBatch) -> u32 {
        let number = self.next_number;
        // Numbers of batches long dropped may come again after 2^32 batches.
        self.next_number = (number + 1) % u32::MAX;
        self.rows += batch.num_rows();
        Arc::make_mut(&mut self.batches).insert(number, batch);
        number
    }

    /// Whether there may be much that is not needed any more.
    pub(super) fn are_many(&self) -> bool {
        self.rows >= self.look_through_at || self.batches.len() >= self.look_through_at_batches
    }

    /// How many rows are kept.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether, with so many rows needed, they are few of those that are kept.
    pub(super) fn are_in_vain(&self, needed: usize) -> bool {
        let few = self.rows < FEW_BATCHES * self.batch_size && self.batches.len() < MANY_BATCHES;
        self.rows > 2 * needed && !few
    }

    /// Says that so many rows are needed of those that are kept now.
    pub(super) fn looked_through(&mut self, needed: usize) {
        let many = (IN_VAIN * needed).min(MANY_BATCHES * self.batch_size);
        let few = FEW_BATCHES * self.batch_size;
        let more = many.max(LESS_IN_VAIN * needed).max(few);
        self.look_through_at = more.max(self.rows + self.rows / 2);
        self.look_through_at_batches = MANY_BATCHES.max(LESS_IN_VAIN * self.batches.len());
    }

    pub(super) fn retain(&mut self, used: &HashSet<u32>) {
        let batches = Arc::make_mut(&mut self.batches);
        batches.retain(|number, _| used.contains(number));
        self.memory = RecordBatchMemoryCounter::new();
        self.rows = 0;
        for batch in batches.values() {
            self.memory.count_batch(batch);
            self.rows += batch.num_rows();
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&RecordBatch> {
        self.batches.get(&number)
    }

    /// Bytes held, for the memory pool.
    pub(super) fn size(&self) -> usize {
        self.memory.memory_usage()
    }

    /// Where rows of the batches kept now can be fetched from, whatever is dropped later.
    pub(super) fn rows_now(&self, matching: &Arc<Matching>) -> RowsNow {
        RowsNow {
            matching: Arc::clone(matching),
            batches: Arc::clone(&self.batches),
        }
    }
}

/// The rows of batches that were kept at a time.
pub(super) struct RowsNow {
    matching: Arc<Matching>,
    batches: Arc<HashMap<u32, RecordBatch>>,
}

impl RightRows for RowsNow {
    fn gather(&self, columns: &[usize], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let nulls = &self.matching.columns.kept_nulls;
        gather(nulls, columns, rows, |number| self.batches.get(&number))
    }
}
