//! The right rows that a block of left rows chose, in the order of the right.
//!
//! # Motivation
//!
//! Every value that is fetched for one left row after the other may wait for memory: left rows in no order
//! choose right rows from all over the right side, and even those in time order go back and forth among
//! the last rows of all keys. Of a large block, though, many left rows chose rows of
//! the same right batch. Fetched batch by batch they come out of few pages, and what is written, in the
//! order of the left, stays in cache. Fetched in the order of the rows, as nearly as that is had
//! for nothing, they come one after the other, as memory gives them fastest.
//!
//! # Algorithm
//!
//! One pass of a counting sort by batch and part of the batch, parts as small as the counters fit the
//! cache. It pays where the values of several columns are to be fetched in that order, or where the right side is
//! larger than the caches, the block has a match on every few pages of it, and its matches are not in the
//! right's order anyway.
//!
//! # Memory
//!
//! 8 bytes for each row of the block, beside the values.

use datafusion::arrow::array::{Array, ArrayRef, MutableArrayData, make_array};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::common::Result;

use crate::kernel::rows::RowId;

/// Columns for which it pays however few the rows are.
const COLUMNS: usize = 4;
/// Counters that fit the cache.
const COUNTERS: usize = 1 << 13;
/// Rows of a block for which it pays.
const MANY: usize = 32_768;
/// Right rows that do not fit in the caches.
const LARGE: usize = 1 << 20;
/// Right rows for each row of the block.
const SPARSE: usize = 64;

/// Rows that were chosen, by right batch.
pub(super) struct ByBatch {
    /// Where the rows of each batch end.
    ends: Vec<usize>,
    rows: Vec<Chosen>,
    /// Which left rows chose one; `None` if all did.
    matched: Option<NullBuffer>,
    len: usize,
}

/// A right row, and which row of the block chose it.
#[derive(Clone, Copy, Default)]
pub(super) struct Chosen {
    pub row: u32,
    pub by: u32,
}

impl ByBatch {
    /// Whether values of these rows are better fetched batch by batch, if there are so many right rows.
    pub(super) fn pays(rows: &[RowId], right_rows: usize) -> bool {
        let changes = rows.windows(2).filter(|two| two[0].batch != two[1].batch);
        rows.len() >= MANY
            && right_rows >= LARGE
            && right_rows / SPARSE <= rows.len()
            && changes.count() > rows.len() / 2
    }

    /// Whether values of so many columns are better fetched in this order whatever the rows are.
    pub(super) fn pays_for(columns: usize) -> bool {
        columns >= COLUMNS
    }

    /// Of rows that are of so many batches.
    pub(super) fn new(rows: &[RowId], batches: usize) -> Self {
        let chosen = || (0..).zip(rows).filter(|(_, row)| row.is_some());
        let last = chosen().map(|(_, row)| row.row).max().unwrap_or(0);
        // As many counters as rows at most: clearing them would take longer than they save.
        let counters = rows.len().min(COUNTERS);
        let mut part_bits = 0;
        while part_bits < u32::BITS - 1 && batches * parts(last, part_bits) > counters {
            part_bits += 1;
        }
        let parts = parts(last, part_bits);
        let slot = |row: &RowId| row.batch as usize * parts + (row.row >> part_bits) as usize;
        let mut next = vec![0; batches * parts];
        for (_, row) in chosen() {
            next[slot(row)] += 1;
        }
        let mut start = 0;
        for slot in &mut next {
            start += std::mem::replace(slot, start);
        }
        let mut ordered = vec![Chosen::default(); start];
        for (by, row) in chosen() {
            let next = &mut next[slot(row)];
            ordered[*next] = Chosen { row: row.row, by };
            *next += 1;
        }
        let all = ordered.len() == rows.len();
        Self {
            matched: (!all).then(|| {
                let matched = BooleanBuffer::collect_bool(rows.len(), |at| rows[at].is_some());
                NullBuffer::new(matched)
            }),
            // Each part ends by now where the next one begins.
            ends: next
                .chunks(parts)
                .filter_map(<[_]>::last)
                .copied()
                .collect(),
            rows: ordered,
            len: rows.len(),
        }
    }

    /// Rows of the block.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn matched(&self) -> Option<&NullBuffer> {
        self.matched.as_ref()
    }

    /// Each batch with the rows that were chosen of it.
    pub(super) fn batches(&self) -> impl Iterator<Item = (usize, &[Chosen])> {
        let mut start = 0;
        let ends = self.ends.iter().enumerate();
        let batches = ends.map(move |(batch, end)| {
            let rows = start..*end;
            start = *end;
            (batch, &self.rows[rows])
        });
        batches.filter(|(_, rows)| !rows.is_empty())
    }
}

/// The parts of a batch whose last row is this.
fn parts(last: u32, part_bits: u32) -> usize {
    (last >> part_bits) as usize + 1
}

/// Values fetched for a block of left rows, of some of which rows come out.
#[derive(Clone, Copy, Default)]
pub(super) struct Fetched<'a> {
    /// By kept column, `None` if they are yet to be fetched; none at all if all are.
    pub columns: &'a [Option<ArrayRef>],
    /// Which of the block's rows come out.
    pub start: usize,
}

impl Fetched<'_> {
    /// The values of so many rows, as a part of what was fetched.
    pub(super) fn column(&self, column: usize, rows: usize) -> Option<ArrayRef> {
        let values = self.columns.get(column)?.as_ref()?;
        Some(values.slice(self.start, rows))
    }
}

/// A copy of a part, so that it does not hold the whole.
pub(super) fn copy(part: &ArrayRef) -> Result<ArrayRef> {
    let data = part.to_data();
    let mut copied = MutableArrayData::new(vec![&data], false, part.len());
    copied.try_extend(0, 0, part.len())?;
    Ok(make_array(copied.freeze()))
}

#[cfg(test)]
mod tests;
