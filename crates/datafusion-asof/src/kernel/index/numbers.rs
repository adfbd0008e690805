//! Numbers of the rows of an index.
//!
//! The index keeps a row as one `u32`: its number when all batches are laid end to end in the
//! order of the input. Numbers therefore grow with the place of a row, and rows that arrive in
//! order need nothing else to be told apart when their times are equal.

use crate::kernel::rows::RowId;

/// Rows looked up in [`RowNumbers::coarse`] at a time.
const COARSE_BITS: u32 = 12;

/// Which batch and row a number stands for.
#[derive(Debug)]
pub(super) struct RowNumbers {
    /// By batch the number of its first row, and after the last where it ends.
    starts: Vec<u32>,
    /// For every 4096th number the batch that it is in.
    coarse: Vec<u32>,
}

impl RowNumbers {
    /// `rows` of each batch, none of them empty.
    pub(super) fn new(rows: impl Iterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut coarse = vec![];
        let mut end = 0;
        for (rows, batch) in rows.zip(0u32..) {
            end += rows as u32;
            coarse.resize(end.div_ceil(1 << COARSE_BITS) as usize, batch);
            starts.push(end);
        }
        Self { starts, coarse }
    }

    #[inline]
    pub(super) fn id(&self, number: u32) -> RowId {
        let mut batch = self.coarse[(number >> COARSE_BITS) as usize];
        while self.starts[batch as usize + 1] <= number {
            batch += 1;
        }
        let row = number - self.starts[batch as usize];
        RowId { batch, row }
    }

    pub(super) fn start(&self, batch: usize) -> u32 {
        self.starts[batch]
    }

    /// How many rows have a number.
    pub(super) fn len(&self) -> usize {
        self.starts.last().map_or(0, |end| *end as usize)
    }

    pub(super) fn size(&self) -> usize {
        size_of_val(self.starts.as_slice()) + size_of_val(self.coarse.as_slice())
    }
}
