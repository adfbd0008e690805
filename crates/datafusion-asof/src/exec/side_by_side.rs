//! Values of kept rows laid side by side.
//!
//! # Motivation
//!
//! Left rows in no order choose right rows from all over a side that does not fit the caches, so each
//! value that is fetched for them is waited for. Values of one row that lie side by side are waited for
//! together.
//!
//! # Layout
//!
//! Columns with values of eight bytes become one column, row by row, in the place of the first of them.
//! The places of the others are taken by columns of type Null, which hold nothing, so that every column
//! keeps its number:
//!
//! ```text
//! by column   bid: Float64          symbol: Utf8View   ask: Float64   ts: Timestamp
//! laid        FixedSizeBinary(24)   Utf8View           Null           Null
//! ```
//!
//! Such batches can be filtered and put together like any. A batch with a NULL in one of these columns
//! stays as it is.
//!
//! To be fetched, rows are copied whole, as many as stay in the first cache, and taken apart from there.
//!
//! # Memory
//!
//! What the columns took; batches are laid one at a time.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, FixedSizeBinaryArray, NullArray, make_array,
};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;

use crate::kernel::rows::RowId;

/// Bytes of a value that is laid.
const WORD: usize = size_of::<u64>();
/// Rows of which the values stay in the first cache.
const ROWS: usize = 256;

/// Which columns are laid side by side.
#[derive(Debug, Clone)]
pub(super) struct SideBySide {
    /// Ascending; at least two.
    columns: Vec<usize>,
    types: Vec<DataType>,
    schema: SchemaRef,
}

/// Batches of which the values may have been laid.
pub(super) struct LaidRows {
    of: SideBySide,
    batches: Vec<Words>,
    has_nulls: bool,
}

/// The values of one batch.
enum Words {
    Laid(ScalarBuffer<u64>),
    /// By column.
    Apart(Vec<(ScalarBuffer<u64>, Option<NullBuffer>)>),
}

impl SideBySide {
    /// `None` if there is nothing to be laid together.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        let fields = schema.fields();
        let columns = (0..fields.len()).filter(|column| is_word(fields[*column].data_type()));
        let columns: Vec<usize> = columns.collect();
        let (first, others) = columns.split_first()?;
        if others.is_empty() {
            return None;
        }
        let width = i32::try_from(columns.len() * WORD).ok()?;
        let laid = fields.iter().enumerate().map(|(column, field)| {
            let (name, is_other) = (field.name(), others.contains(&column));
            match column {
                _ if is_other => Arc::new(Field::new(name, DataType::Null, true)),
                _ if column == *first => {
                    Arc::new(Field::new(name, DataType::FixedSizeBinary(width), false))
                }
                _ => Arc::clone(field),
            }
        });
        let laid: Vec<_> = laid.collect();
        let types = columns.iter().map(|column| fields[*column].data_type());
        Some(Self {
            schema: Arc::new(Schema::new(laid)),
            types: types.cloned().collect(),
            columns,
        })
    }

    /// The same rows with their values side by side, if none of these is NULL.
    pub(super) fn lay(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let of_words = || self.columns.iter().map(|column| batch.column(*column));
        if of_words().any(|column| column.null_count() > 0) {
            return Ok(batch);
        }
        let (rows, of_row) = (batch.num_rows(), self.columns.len());
        let columns: Vec<ScalarBuffer<u64>> = of_words().map(words).collect();
        let mut laid = Vec::with_capacity(rows * of_row);
        for start in (0..rows).step_by(ROWS) {
            let end = rows.min(start + ROWS);
            laid.resize(end * of_row, 0);
            let laid = &mut laid[start * of_row..];
            for (column, values) in columns.iter().enumerate() {
                let slots = laid[column..].iter_mut().step_by(of_row);
                slots
                    .zip(&values[start..end])
                    .for_each(|(slot, value)| *slot = *value);
            }
        }
        let width = (of_row * WORD) as i32;
        let laid = FixedSizeBinaryArray::try_new(width, Buffer::from(laid), None)?;
        let mut arrays = batch.columns().to_vec();
        let nothing: ArrayRef = Arc::new(NullArray::new(rows));
        for column in &self.columns {
            arrays[*column] = Arc::clone(&nothing);
        }
        arrays[self.columns[0]] = Arc::new(laid);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    /// Whether the values of a batch have been laid.
    pub(super) fn has_laid(&self, batch: &RecordBatch) -> bool {
        self.laid(batch).is_some()
    }

    /// Which of the values of a row is that of a column, if it is one.
    pub(super) fn place(&self, column: usize) -> Option<usize> {
        self.columns.binary_search(&column).ok()
    }

    /// Batches of which the values may have been laid, to be fetched from.
    pub(super) fn rows(&self, batches: &[RecordBatch]) -> LaidRows {
        let apart = |column: ArrayRef| (words(&column), column.nulls().cloned());
        let of_batch = |batch: &RecordBatch| match self.laid(batch) {
            Some(laid) => Words::Laid(laid_words(laid)),
            None => {
                let columns = self.columns.iter();
                let columns = columns.map(|column| apart(Arc::clone(batch.column(*column))));
                Words::Apart(columns.collect())
            }
        };
        let batches: Vec<Words> = batches.iter().map(of_batch).collect();
        let has_nulls = |words: &Words| match words {
            Words::Laid(_) => false,
            Words::Apart(columns) => columns.iter().any(|(_, nulls)| nulls.is_some()),
        };
        LaidRows {
            of: self.clone(),
            has_nulls: batches.iter().any(has_nulls),
            batches,
        }
    }

    fn laid<'a>(&self, batch: &'a RecordBatch) -> Option<&'a FixedSizeBinaryArray> {
        batch.column(self.columns[0]).as_fixed_size_binary_opt()
    }
}

impl LaidRows {
    /// As of what was laid.
    pub(super) fn place(&self, column: usize) -> Option<usize> {
        self.of.place(column)
    }

    /// Some of the values of rows by their places, NULL where there is no row.
    pub(super) fn gather(&self, places: &[usize], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        if places.is_empty() {
            return Ok(vec![]);
        }
        let of_row = self.of.columns.len();
        let mut copied = vec![0; ROWS.min(rows.len()) * of_row];
        let mut values: Vec<Vec<u64>> = places
            .iter()
            .map(|_| Vec::with_capacity(rows.len()))
            .collect();
        for rows in rows.chunks(ROWS) {
            let copied = &mut copied[..rows.len() * of_row];
            for (row, copied) in rows.iter().zip(copied.chunks_exact_mut(of_row)) {
                self.copy(*row, copied);
            }
            for (place, values) in places.iter().zip(&mut values) {
                values.extend(copied[*place..].iter().step_by(of_row));
            }
        }
        let all = rows.iter().all(|row| row.is_some());
        let gathered = places.iter().zip(values).map(|(place, values)| {
            let valid = (!all || self.has_nulls).then(|| {
                let is_valid = |at: usize| self.is_valid(*place, rows[at]);
                NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), is_valid))
            });
            let data = ArrayData::builder(self.of.types[*place].clone())
                .len(rows.len())
                .add_buffer(Buffer::from(values))
                .nulls(valid.filter(|valid| valid.null_count() > 0));
            Ok(make_array(data.build()?))
        });
        gathered.collect()
    }

    #[inline]
    fn copy(&self, row: RowId, copied: &mut [u64]) {
        if !row.is_some() {
            return copied.fill(0);
        }
        let at = row.row as usize;
        match &self.batches[row.batch as usize] {
            Words::Laid(words) => {
                let start = at * copied.len();
                copied.copy_from_slice(&words[start..start + copied.len()]);
            }
            Words::Apart(columns) => {
                let columns = columns.iter().zip(copied);
                columns.for_each(|((values, _), copied)| *copied = values[at]);
            }
        }
    }

    fn is_valid(&self, place: usize, row: RowId) -> bool {
        row.is_some()
            && match &self.batches[row.batch as usize] {
                Words::Laid(_) => true,
                Words::Apart(columns) => {
                    let nulls = columns[place].1.as_ref();
                    nulls.is_none_or(|nulls| nulls.is_valid(row.row as usize))
                }
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

fn laid_words(laid: &FixedSizeBinaryArray) -> ScalarBuffer<u64> {
    let bytes = laid.values();
    // Allocators align large blocks more than bytes ask for; none has to.
    match bytes.as_ptr().align_offset(align_of::<u64>()) {
        0 => bytes.clone().into(),
        _ => Buffer::from_slice_ref(&**bytes).into(),
    }
}

#[cfg(test)]
mod tests;
