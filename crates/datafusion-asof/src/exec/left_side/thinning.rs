//! Batches without the rows that nobody needs any longer.
//!
//! # Algorithm
//!
//! The rows that are needed are marked, a bit for each row. Batches of which more than half are needed stay as
//! they are; of the others the marked rows are copied out in their order, those of several batches
//! together. What a row is called afterwards is known from the number of marked rows before it, which is
//! kept for every word of bits: few enough bytes to stay in cache while all that name rows are told.
//!
//! # Memory
//!
//! The copies, and 12 bytes for every 64 rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::BooleanArray;
use datafusion::arrow::buffer::{BooleanBuffer, Buffer};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;

use crate::exec::copies::{PIECE, row_width, without_rest};
use crate::exec::parallel::in_parallel;
use crate::kernel::rows::RowId;

/// Bytes of rows that are put together: texts of more than 2 GiB do not go into one column.
const GROUP_BYTES: usize = 64 << 20;

/// Rows for the bits of a word.
const WORD: usize = u64::BITS as usize;

/// Which rows of some batches are needed, while they are marked.
pub(super) struct Marks {
    /// By batch.
    words: Vec<Vec<AtomicU64>>,
}

/// Batches that take the place of others.
pub(super) struct Thinned {
    pub batches: Vec<RecordBatch>,
    /// By batch that was.
    of: Vec<Names>,
}

/// What the rows of a batch are called now.
enum Names {
    /// None is needed.
    None,
    /// They are all there still, in this batch.
    Same(u32),
    Ranks {
        batch: u32,
        /// Where the copied rows begin.
        start: u32,
        words: Vec<u64>,
        /// By word the marked rows before it.
        before: Vec<u32>,
    },
}

impl Marks {
    pub(super) fn new(batches: &[RecordBatch]) -> Self {
        let words = |batch: &RecordBatch| {
            let words = batch.num_rows().div_ceil(WORD);
            (0..words).map(|_| AtomicU64::new(0)).collect()
        };
        Self {
            words: batches.iter().map(words).collect(),
        }
    }

    pub(super) fn mark(&self, row: RowId) {
        let words = &self.words[row.batch as usize];
        let bit = 1 << (row.row as usize % WORD);
        words[row.row as usize / WORD].fetch_or(bit, Ordering::Relaxed);
    }

    /// Bytes that the copies of [`Self::thin`] will take.
    pub(super) fn copies_size(&self, batches: &[RecordBatch]) -> usize {
        let copies = batches.iter().zip(&self.words).map(|(batch, words)| {
            let words = words.iter().map(|word| word.load(Ordering::Relaxed));
            let marked = words.map(u64::count_ones).sum::<u32>() as usize;
            match marked == 0 || stays(batch, marked) {
                true => 0,
                false => marked * row_width(batch),
            }
        });
        copies.sum()
    }

    /// Leaves out what is not marked of `batches`, by so many tasks.
    pub(super) async fn thin(self, batches: Vec<RecordBatch>, tasks: usize) -> Result<Thinned> {
        let (mut kept, mut of, mut groups) = (vec![], vec![], Groups::default());
        for (batch, words) in batches.into_iter().zip(self.words) {
            let words: Vec<u64> = words.into_iter().map(AtomicU64::into_inner).collect();
            let mut before = Vec::with_capacity(words.len());
            let mut marked = 0;
            for word in &words {
                before.push(marked);
                marked += word.count_ones();
            }
            if marked == 0 {
                of.push(Names::None);
                continue;
            }
            if stays(&batch, marked as usize) {
                of.push(Names::Same(kept.len() as u32));
                kept.push(batch);
                continue;
            }
            let copied = marked as usize * row_width(&batch);
            let (group, start) = groups.add(&batch, &words, (marked, copied));
            of.push(Names::Ranks {
                // Copies come behind all others.
                batch: group,
                start,
                words,
                before,
            });
        }
        let copied_first = kept.len() as u32;
        for names in &mut of {
            if let Names::Ranks { batch, .. } = names {
                *batch += copied_first;
            }
        }
        let copies = in_parallel(tasks, groups.of, |group| group.copied()).await?;
        for copied in copies {
            kept.push(copied?);
        }
        Ok(Thinned { batches: kept, of })
    }
}

/// Whether a batch stays as it is, with so many marked rows.
fn stays(batch: &RecordBatch, marked: usize) -> bool {
    2 * marked > batch.num_rows()
}

impl Thinned {
    /// What a marked row is called now.
    #[inline]
    pub(super) fn name(&self, row: RowId) -> RowId {
        match &self.of[row.batch as usize] {
            Names::None => RowId::NONE,
            Names::Same(batch) => RowId {
                batch: *batch,
                ..row
            },
            Names::Ranks {
                batch,
                start,
                words,
                before,
            } => {
                let (word, bit) = (row.row as usize / WORD, row.row as usize % WORD);
                let below = words[word] & ((1 << bit) - 1);
                RowId {
                    batch: *batch,
                    row: start + before[word] + below.count_ones(),
                }
            }
        }
    }
}

/// Batches whose marked rows become one batch each.
#[derive(Default)]
struct Groups {
    of: Vec<Group>,
}

#[derive(Default)]
struct Group {
    batches: Vec<(RecordBatch, BooleanArray)>,
    rows: usize,
    bytes: usize,
}

impl Groups {
    /// Gives the number of the group, and where in it the marked rows begin.
    fn add(
        &mut self,
        batch: &RecordBatch,
        words: &[u64],
        (marked, bytes): (u32, usize),
    ) -> (u32, u32) {
        let is_full = |group: &Group| {
            group.rows >= PIECE || group.bytes + bytes > GROUP_BYTES || !group.takes(batch)
        };
        if self.of.last().is_none_or(is_full) {
            self.of.push(Group::default());
        }
        let number = self.of.len() - 1;
        let group = &mut self.of[number];
        let start = group.rows;
        let bits = BooleanBuffer::new(Buffer::from_slice_ref(words), 0, batch.num_rows());
        let picked = BooleanArray::new(bits, None);
        group.batches.push((batch.clone(), picked));
        group.rows += marked as usize;
        group.bytes += bytes;
        (number as u32, start as u32)
    }
}

impl Group {
    /// Whether a batch is laid out like those that are here.
    fn takes(&self, batch: &RecordBatch) -> bool {
        let first = self.batches.first();
        first.is_none_or(|(first, _)| first.schema_ref() == batch.schema_ref())
    }

    fn copied(self) -> Result<RecordBatch> {
        let picked = self.batches.iter();
        let picked = picked.map(|(batch, rows)| Ok(filter_record_batch(batch, rows)?));
        let picked = picked.collect::<Result<Vec<_>>>()?;
        let copied = match picked.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&several[0].schema(), several)?,
        };
        let columns = copied.columns().iter();
        let columns = columns.map(|column| without_rest(Arc::clone(column)));
        Ok(RecordBatch::try_new_with_options(
            copied.schema(),
            columns.collect::<Result<_>>()?,
            &RecordBatchOptions::new().with_row_count(Some(copied.num_rows())),
        )?)
    }
}

#[cfg(test)]
mod tests;
