//! Rows that are kept, and the memory that they hold.
//!
//! A kept batch holds the buffers that its columns point into, which may be those of a larger
//! batch, and several batches may share them: each is counted once, in full.
//!
//! Readers may give batches of few rows in buffers for many; those let go of what they do not need.
//!
//! When few rows of a batch are still needed they are copied out, so that it can be let go.
//! What arrow copies of a string view is the pointer, so views are also given bytes of their
//! own. Memory is taken before rows are copied, some thousand at a time, by the width that rows
//! have on average in their batches.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, make_array};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::utils::memory::{RecordBatchMemoryCounter, get_record_batch_memory_size};
use datafusion::common::{DataFusionError, HashMap, Result};
use datafusion::execution::memory_pool::MemoryReservation;

use super::gather::gather;
use super::matching::Matching;
use crate::kernel::rows::RowId;

/// Rows copied at a time.
pub(super) const PIECE: usize = 8_192;

/// Takes the memory of batches that several tasks read and keep, until a reservation ends.
#[derive(Debug)]
pub(super) struct KeptMemory {
    reservation: Arc<MemoryReservation>,
    counter: Mutex<RecordBatchMemoryCounter>,
}

impl KeptMemory {
    pub(super) fn new(reservation: Arc<MemoryReservation>) -> Self {
        Self {
            reservation,
            counter: Mutex::default(),
        }
    }

    /// Takes the memory of a batch that is to be kept.
    pub(super) fn keep(&self, batch: &RecordBatch) -> Result<()> {
        let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        let more = counter.count_batch(batch);
        drop(counter);
        self.reservation.try_grow(more)
    }

    /// Bytes held by all batches kept so far.
    pub(super) fn size(&self) -> usize {
        let counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        counter.memory_usage()
    }
}

/// Copies rows out of kept batches.
pub(super) struct Copying<'a, F> {
    matching: &'a Matching,
    reservation: &'a MemoryReservation,
    batch: F,
    /// By number of the batch.
    widths: HashMap<u32, usize>,
}

impl<'a, F: Fn(u32) -> Option<&'a RecordBatch>> Copying<'a, F> {
    /// `reservation` takes what the copies hold; `batch` is the kept batch of a number.
    pub(super) fn new(
        matching: &'a Matching,
        reservation: &'a MemoryReservation,
        batch: F,
    ) -> Self {
        Self {
            matching,
            reservation,
            batch,
            widths: HashMap::new(),
        }
    }

    /// The rows in batches of their own, one row after the other.
    pub(super) async fn copy(&mut self, rows: &[RowId]) -> Result<Vec<RecordBatch>> {
        let mut copied = vec![];
        let (mut at, mut most) = (0, PIECE);
        while at < rows.len() {
            let piece = &rows[at..rows.len().min(at + most)];
            match self.copy_piece(piece) {
                Ok(batch) => {
                    copied.push(batch);
                    at += piece.len();
                }
                // Texts of more than 2 GiB do not go into one column.
                Err(error) if is_too_long(&error) && piece.len() > 1 => most = piece.len() / 2,
                Err(error) => return Err(error),
            }
            tokio::task::yield_now().await;
        }
        Ok(copied)
    }

    /// Some rows as one batch.
    pub(super) fn copy_piece(&mut self, rows: &[RowId]) -> Result<RecordBatch> {
        let batch = &self.batch;
        let width = |row: &RowId| {
            let width = || batch(row.batch).map_or(0, row_width);
            *self.widths.entry(row.batch).or_insert_with(width)
        };
        let bytes = rows.iter().map(width).sum();
        self.reservation.try_grow(bytes)?;
        let copied = self.gather(rows);
        let held = copied.as_ref().map_or(0, get_record_batch_memory_size);
        match held.checked_sub(bytes) {
            Some(more) => self.reservation.try_grow(more)?,
            None => self.reservation.shrink(bytes - held),
        }
        copied
    }

    fn gather(&self, rows: &[RowId]) -> Result<RecordBatch> {
        let nulls = &self.matching.columns.kept_nulls;
        let all: Vec<usize> = (0..nulls.len()).collect();
        let columns = gather(nulls, &all, rows, &self.batch)?;
        let columns = columns.into_iter().map(without_rest);
        self.matching
            .kept_batch(columns.collect::<Result<_>>()?, rows.len())
    }
}

/// The same batch; buffers that it alone has give back the room that no value is in. A reader makes room for a
/// whole batch even if a row group has few rows.
pub(super) fn without_room(batch: RecordBatch) -> Result<RecordBatch> {
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let (schema, mut columns, _) = batch.into_parts();
    columns.iter_mut().for_each(Array::shrink_to_fit);
    Ok(RecordBatch::try_new_with_options(schema, columns, &rows)?)
}

fn is_too_long(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => {
            matches!(**error, ArrowError::OffsetOverflowError(_))
        }
        _ => false,
    }
}

/// About the bytes of a row, not of the buffers that it is in.
pub(super) fn row_width(batch: &RecordBatch) -> usize {
    let bytes: usize = batch.columns().iter().map(used_bytes).sum();
    bytes.div_ceil(batch.num_rows().max(1))
}

fn used_bytes(array: &ArrayRef) -> usize {
    let views = match array.data_type() {
        DataType::Utf8View => array.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => array.as_binary_view().total_buffer_bytes_used(),
        _ => 0,
    };
    let slice = array.to_data().get_slice_memory_size();
    views + slice.unwrap_or_else(|_| array.get_buffer_memory_size())
}

/// The same values, without the bytes that no view, at any depth, points to.
pub(super) fn without_rest(array: ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Utf8View => return Ok(Arc::new(array.as_string_view().gc())),
        DataType::BinaryView => return Ok(Arc::new(array.as_binary_view().gc())),
        data_type if !has_views(data_type) => return Ok(array),
        _ => {}
    }
    let data = array.to_data();
    let children = data.child_data().iter();
    let children = children.map(|child| Ok(without_rest(make_array(child.clone()))?.to_data()));
    let children = children.collect::<Result<_>>()?;
    let data = data.into_builder().child_data(children).build()?;
    Ok(make_array(data))
}

fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::Dictionary(_, value) => has_views(value),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => has_views(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.data_type())),
        DataType::Union(fields, _) => {
            (fields.iter()).any(|(_, field)| has_views(field.data_type()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
