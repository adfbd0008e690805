//! The right rows that a block of left rows chose, in the order of the right batches.
//!
//! # Motivation
//!
//! Left rows in no order choose right rows from all over the right side, and every value that is fetched
//! for them one after the other waits for memory. Of a large block, though, many left rows chose rows of
//! the same right batch. Fetched batch by batch they come out of few pages, and what is written, in the
//! order of the left, stays in cache.
//!
//! # Algorithm
//!
//! One pass of a counting sort by batch. It pays where the right side is larger than the caches, the
//! block has a match on every few pages of it, and its matches are not in the right's order anyway.
//!
//! # Memory
//!
//! 8 bytes for each row of the block, beside the values.

use datafusion::arrow::array::{Array, ArrayRef, MutableArrayData, make_array};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::common::Result;

use crate::kernel::rows::RowId;

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

    /// Of rows that are of so many batches.
    pub(super) fn new(rows: &[RowId], batches: usize) -> Self {
        let chosen = || (0..).zip(rows).filter(|(_, row)| row.is_some());
        let mut next = vec![0; batches + 1];
        for (_, row) in chosen() {
            next[row.batch as usize] += 1;
        }
        let mut start = 0;
        for slot in &mut next {
            start += std::mem::replace(slot, start);
        }
        let mut ordered = vec![Chosen::default(); start];
        for (by, row) in chosen() {
            let slot = &mut next[row.batch as usize];
            ordered[*slot] = Chosen { row: row.row, by };
            *slot += 1;
        }
        let all = ordered.len() == rows.len();
        Self {
            matched: (!all).then(|| {
                let matched = BooleanBuffer::collect_bool(rows.len(), |at| rows[at].is_some());
                NullBuffer::new(matched)
            }),
            // Each begins where the one before it ends by now.
            ends: next,
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
