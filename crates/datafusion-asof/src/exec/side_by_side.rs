//! Values of right rows side by side.
//!
//! # Motivation
//!
//! Right rows in no order are wanted by left rows from all over: each value that is fetched for them is waited for.
//! Values of one row that lie side by side are waited for together, and where rows are
//! [taken to the left](crate::kernel::index) they come along, so that nothing else of the others needs to be kept.
//!
//! # Layout
//!
//! Columns with values of eight bytes become words of a record, if they are few. The as-of column may be there
//! already: it is the time of the record. What cannot be a word, texts and narrow values among them, stays in batches
//! of its own, and a word tells the row:
//!
//! ```text
//! by column   bid: Float64          symbol: Utf8View   ask: Float64   ts: Timestamp
//! record      | ts | place | bid | ask | row |
//! batches                           symbol
//! ```
//!
//! Of a batch with a NULL in one of these columns the records have a mask besides: a bit for each column.

use std::hint::black_box;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayData, ArrayRef, NullArray, make_array};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;

use super::matching::Matching;
use crate::kernel::index::{HEAD, Payload, Records, Word};
use crate::kernel::rows::RowId;

/// Columns, at most: of wide rows it is cheaper to fetch what is wanted in the end than to copy each. (Joins of 0.5M
/// to 1M rows with 2M, and a sum of each column: to 5 columns no difference, with 9 a tenth slower, with 70 by half.)
const MOST_WORDS: usize = 6;
/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Rows that are brought to the first cache together.
const AHEAD: usize = 256;

/// Which kept columns are words of a record.
#[derive(Debug, Clone)]
pub(super) struct SideBySide {
    /// Ascending, in the order of their words; none if there are too many.
    columns: Vec<usize>,
    /// By kept column.
    types: Vec<DataType>,
    /// The kept column that the times of records are.
    time: Option<usize>,
    /// The kept columns with nothing in the place of words; `None` if there is nothing else.
    others: Option<SchemaRef>,
}

/// Right rows that were gathered or kept while they streamed by.
pub(super) struct LaidRows {
    of: SideBySide,
    blocks: Arc<[Records]>,
    /// By batch that came after the blocks and column.
    apart: Vec<Vec<(ScalarBuffer<u64>, Option<NullBuffer>)>>,
}

impl SideBySide {
    /// Of the rows that a join keeps.
    pub(super) fn of(matching: &Matching) -> Self {
        Self::new(&matching.columns.kept_schema, matching.right_time_column())
    }

    fn new(kept: &Schema, time: Option<usize>) -> Self {
        let fields = kept.fields();
        let types = fields.iter().map(|field| field.data_type().clone());
        let types: Vec<DataType> = types.collect();
        let words = (0..fields.len()).filter(|column| Some(*column) != time);
        let words = words.filter(|column| is_word(&types[*column]));
        let words: Vec<usize> = words.collect();
        let columns = match words.len() <= MOST_WORDS {
            true => words,
            false => vec![],
        };
        let is_laid = |column: usize| Some(column) == time || columns.contains(&column);
        let others = fields.iter().enumerate();
        let others = others.map(|(column, field)| match is_laid(column) {
            true => Arc::new(Field::new(field.name(), DataType::Null, true)),
            false => Arc::clone(field),
        });
        let others = Arc::new(Schema::new(others.collect::<Vec<_>>()));
        let has_others = !(0..fields.len()).all(is_laid);
        Self {
            others: has_others.then_some(others),
            columns,
            types,
            time,
        }
    }

    /// Words of the payload of a record, besides its mask.
    pub(super) fn words(&self) -> usize {
        self.columns.len() + usize::from(self.others.is_some())
    }

    /// Whether the records of a batch need a mask.
    pub(super) fn needs_mask(&self, batch: &RecordBatch) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|column| batch.column(*column).null_count() > 0)
    }

    /// What the rows of a batch bring along; those of its other columns have the number `number`.
    pub(super) fn payload(&self, batch: &RecordBatch, number: u32) -> Payload {
        let columns = || self.columns.iter().map(|column| batch.column(*column));
        let row = self.others.is_some();
        let row = row.then(|| {
            Word::From(word_of(RowId {
                batch: number,
                row: 0,
            }))
        });
        let words = columns().map(|column| Word::Each(words(column)));
        let mask = self.needs_mask(batch).then(|| {
            let mut mask = vec![u64::MAX; batch.num_rows()];
            for (bit, column) in columns().enumerate() {
                let Some(nulls) = column.nulls() else {
                    continue;
                };
                let rows = mask.iter_mut().zip(nulls);
                rows.for_each(|(mask, valid)| *mask &= !(u64::from(!valid) << bit));
            }
            mask.into()
        });
        Payload {
            words: words.chain(row).collect(),
            mask,
        }
    }

    /// The columns of a batch that are no words, if there are any.
    pub(super) fn others(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(schema) = &self.others else {
            return Ok(None);
        };
        let nothing: ArrayRef = Arc::new(NullArray::new(batch.num_rows()));
        let columns = (0..self.types.len()).map(|column| match self.word(column) {
            Some(_) => Arc::clone(&nothing),
            None => Arc::clone(batch.column(column)),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(Some(RecordBatch::try_new_with_options(
            Arc::clone(schema),
            columns.collect(),
            &options,
        )?))
    }

    /// Where the payload of a record tells the row that its other columns are in.
    pub(super) fn row(&self, payload: &[u64]) -> Option<RowId> {
        self.others.as_ref()?;
        payload.get(self.columns.len()).map(|word| row_of(*word))
    }

    /// Says that the other columns of a record are in another row now.
    pub(super) fn set_row(&self, payload: &mut [u64], row: RowId) {
        if let Some(word) = payload.get_mut(self.columns.len()) {
            *word = word_of(row);
        }
    }

    /// Which word of a record a column is, if it is one.
    pub(super) fn word(&self, column: usize) -> Option<usize> {
        if Some(column) == self.time {
            return Some(0);
        }
        let word = self.columns.binary_search(&column).ok()?;
        Some(HEAD + word)
    }

    /// Rows to be fetched from, those of the blocks and behind them those of `batches`.
    pub(super) fn rows(self, blocks: Arc<[Records]>, batches: &[RecordBatch]) -> LaidRows {
        let apart = |batch: &RecordBatch| {
            let columns = (0..self.types.len()).map(|column| {
                let array = batch.column(column);
                match self.word(column) {
                    Some(_) => (words(array), array.nulls().cloned()),
                    None => (ScalarBuffer::from(vec![]), None),
                }
            });
            columns.collect()
        };
        LaidRows {
            apart: batches.iter().map(apart).collect(),
            blocks,
            of: self,
        }
    }
}

impl LaidRows {
    pub(super) fn of(&self) -> &SideBySide {
        &self.of
    }

    /// Bytes of the blocks.
    pub(super) fn size(&self) -> usize {
        self.blocks.iter().map(Records::size).sum()
    }

    /// Rows as their other columns are kept: in the batches that came after the blocks, and behind these those
    /// of the rows that were gathered.
    pub(super) fn others(&self, rows: &[RowId]) -> Vec<RowId> {
        let (blocks, apart) = (self.blocks.len() as u32, self.apart.len() as u32);
        let other = |row: &RowId| match self.blocks.get(row.batch as usize) {
            Some(block) => {
                let word = block.record(row.row as usize)[HEAD + self.of.columns.len()];
                let other = row_of(word);
                RowId {
                    batch: apart + other.batch,
                    ..other
                }
            }
            None if row.is_some() => RowId {
                batch: row.batch - blocks,
                ..*row
            },
            None => *row,
        };
        rows.iter().map(other).collect()
    }

    /// Some columns that are words, NULL where there is no row.
    pub(super) fn gather(&self, columns: &[usize], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let words: Vec<(usize, usize)> = columns
            .iter()
            .filter_map(|column| Some((*column, self.of.word(*column)?)))
            .collect();
        let room = || Vec::with_capacity(rows.len());
        let mut values: Vec<Vec<u64>> = words.iter().map(|_| room()).collect();
        for rows in rows.chunks(AHEAD) {
            self.touch(rows);
            for ((column, word), values) in words.iter().zip(&mut values) {
                let value = |row: &RowId| match self.blocks.get(row.batch as usize) {
                    Some(block) => block.record(row.row as usize)[*word],
                    None => self
                        .apart(*row)
                        .map_or(0, |batch| batch[*column].0[row.row as usize]),
                };
                values.extend(rows.iter().map(value));
            }
        }
        let all = rows.iter().all(|row| row.is_some());
        let gathered = words.iter().zip(values).map(|((column, _), values)| {
            let valid = (!all || self.has_nulls(*column)).then(|| {
                let is_valid = |at: usize| self.is_valid(*column, rows[at]);
                NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), is_valid))
            });
            let data = ArrayData::builder(self.of.types[*column].clone())
                .len(rows.len())
                .add_buffer(Buffer::from(values))
                .nulls(valid.filter(|valid| valid.null_count() > 0));
            Ok(make_array(data.build()?))
        });
        gathered.collect()
    }

    /// Has the records of some rows come from memory together: nothing here waits for any of them.
    fn touch(&self, rows: &[RowId]) {
        let first = |row: &RowId| {
            Some(
                self.blocks
                    .get(row.batch as usize)?
                    .record(row.row as usize)[0],
            )
        };
        black_box(rows.iter().filter_map(first).max());
    }

    fn apart(&self, row: RowId) -> Option<&Vec<(ScalarBuffer<u64>, Option<NullBuffer>)>> {
        let number = (row.batch as usize).checked_sub(self.blocks.len())?;
        self.apart.get(number)
    }

    fn has_nulls(&self, column: usize) -> bool {
        let mut apart = self.apart.iter();
        let is_masked = Some(column) != self.of.time && self.blocks.iter().any(Records::has_mask);
        is_masked || apart.any(|batch| batch[column].1.is_some())
    }

    fn is_valid(&self, column: usize, row: RowId) -> bool {
        match self.blocks.get(row.batch as usize) {
            Some(block) => match self.of.columns.binary_search(&column) {
                Ok(bit) => block.mask(row.row as usize) >> bit & 1 == 1,
                Err(_) => true,
            },
            None => self.apart(row).is_some_and(|batch| {
                let nulls = batch[column].1.as_ref();
                nulls.is_none_or(|nulls| nulls.is_valid(row.row as usize))
            }),
        }
    }
}

/// Whether values can be taken as numbers of 64 bits.
fn is_word(data_type: &DataType) -> bool {
    // Its parts have four bytes each, and so it may be aligned.
    let has_parts = matches!(data_type, DataType::Interval(_));
    data_type.primitive_width() == Some(WORD) && !has_parts
}

fn words(array: &ArrayRef) -> ScalarBuffer<u64> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

fn word_of(row: RowId) -> u64 {
    u64::from(row.batch) << u32::BITS | u64::from(row.row)
}

fn row_of(word: u64) -> RowId {
    RowId {
        batch: (word >> u32::BITS) as u32,
        row: word as u32,
    }
}

#[cfg(test)]
mod tests;
