//! What left rows chose, and the rows that come of it.
//!
//! The left batches of a partition come out one after the other, but the values that they chose are fetched for
//! blocks of them ([`fetch`](crate::exec::fetch)), where the pool has room for that. Left rows that come out of a join below come
//! batch by batch, and are not held back.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::Time;

use super::left_index::LeftBatch;
use crate::exec::fetch::{Fetched, fetch, row_bytes};
use crate::exec::gather::KeptBatches;
use crate::exec::matching::Matching;
use crate::exec::output::{Choice, Output};
use crate::kernel::rows::{MatchCounts, RowId};

/// Left rows whose right values are fetched together: as many as choose most parts of a large right side.
const BLOCK_ROWS: usize = 1 << 18;

/// What the left rows chose.
pub(super) struct Chosen {
    /// By section of the left.
    pub choices: Vec<Vec<RowId>>,
    pub tasks: usize,
    /// Until a partition has reported them.
    pub counts: Mutex<Option<MatchCounts>>,
    pub kept: KeptBatches,
    /// Holds the memory of all that until the last partition is done.
    pub reservation: Arc<MemoryReservation>,
}

/// Left batches of a section whose right values are fetched together.
pub(super) struct Block {
    pub batches: Range<usize>,
    section: usize,
    /// Of the section.
    rows: Range<usize>,
}

/// The left batches of a partition in blocks, or each by itself.
pub(super) fn blocks(batches: &[LeftBatch], together: bool) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    for (number, batch) in batches.iter().enumerate() {
        let end = batch.start + batch.rows.num_rows();
        match blocks.last_mut() {
            Some(block)
                if together
                    && block.section == batch.section
                    && end - block.rows.start <= BLOCK_ROWS =>
            {
                block.batches.end = number + 1;
                block.rows.end = end;
            }
            _ => blocks.push(Block {
                batches: number..number + 1,
                section: batch.section,
                rows: batch.start..end,
            }),
        }
    }
    blocks
}

/// A block and what is fetched for it.
pub(super) struct FetchedBlock {
    pub of: Block,
    columns: Vec<Option<ArrayRef>>,
    _reservation: MemoryReservation,
}

impl Chosen {
    /// Fetches right values of a block, if that saves time and there is memory.
    pub(super) async fn fetch(
        &self,
        matching: &Matching,
        of: Block,
        time: &Time,
    ) -> Result<FetchedBlock> {
        let rows = &self.choices[of.section][of.rows.clone()];
        let columns = &matching.columns;
        let row = size_of::<RowId>() + row_bytes(columns, &self.kept);
        let reservation = self.reservation.new_empty();
        let fetched = match reservation.try_grow(rows.len() * row) {
            Ok(()) => fetch(columns, (&self.kept, rows), usize::MAX, time).await?,
            Err(_) => vec![],
        };
        if fetched.is_empty() {
            reservation.free();
        }
        Ok(FetchedBlock {
            of,
            columns: fetched,
            _reservation: reservation,
        })
    }

    /// The output rows of a left batch of a block, of which the columns that come out are given.
    pub(super) fn assemble(
        &self,
        output: &Output,
        (block, batch): (&FetchedBlock, &LeftBatch),
        left: &RecordBatch,
    ) -> Result<RecordBatch> {
        if left.num_rows() != batch.rows.num_rows() {
            return exec_err!("left batches of an ASOF JOIN are not those that were indexed");
        }
        let rows = batch.start..batch.start + left.num_rows();
        let choice = Choice {
            rows: &self.choices[batch.section][rows],
            by_class: &[],
            class_of_column: &[],
            fetched: Fetched {
                columns: &block.columns,
                start: batch.start - block.of.rows.start,
            },
        };
        output.assemble(left, choice, &self.kept)
    }

    pub(super) fn take_counts(&self) -> Option<MatchCounts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.take()
    }
}
