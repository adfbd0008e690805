//! Values that a block of left rows chose, fetched before the block's batches are put together.
//!
//! # Motivation
//!
//! One left batch after the other, each value waits for memory. Of a large block values can be fetched in the order of
//! the right ([`by_batch`](super::by_batch)), which takes a fraction of that; the parts of its batches are
//! copied out then, because a part would hold the whole.

use datafusion::arrow::array::{Array, ArrayRef, MutableArrayData, make_array};
use datafusion::common::Result;
use datafusion::physical_plan::metrics::Time;

use super::by_batch::ByBatch;
use super::columns::Columns;
use super::gather::KeptBatches;
use crate::kernel::rows::RowId;

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

/// The values of the rows that a block chose, if that saves time: of as many columns as take no more than `room` bytes
/// a row. By kept column, or nothing at all.
pub(super) async fn fetch(
    columns: &Columns,
    (kept, rows): (&KeptBatches, &[RowId]),
    mut room: usize,
    time: &Time,
) -> Result<Vec<Option<ArrayRef>>> {
    let comes_out = columns.right_in_output().next().is_some();
    if !comes_out || !ByBatch::pays(rows, kept.rows()) {
        return Ok(vec![]);
    }
    let timer = time.timer();
    let by_batch = ByBatch::new(rows, kept.batches().len());
    drop(timer);
    let mut fetched = vec![None; columns.kept.len()];
    for column in columns.right_in_output() {
        if let Some(bytes) = kept.width(column).map(value_bytes)
            && bytes <= room
        {
            room -= bytes;
            tokio::task::yield_now().await;
            let _timer = time.timer();
            fetched[column] = kept.gather_by_batch(column, &by_batch)?;
        }
    }
    Ok(fetched)
}

/// Bytes that [`fetch`] may take for a row, beside the row's number in the order of the right.
pub(super) fn row_bytes(columns: &Columns, kept: &KeptBatches) -> usize {
    let widths = columns.right_in_output().filter_map(|c| kept.width(c));
    widths.map(value_bytes).sum()
}

/// A value, and whether it is valid.
fn value_bytes(width: usize) -> usize {
    width + 1
}

/// A copy of a part, so that it does not hold the whole.
pub(super) fn copy(part: &ArrayRef) -> Result<ArrayRef> {
    let data = part.to_data();
    let mut copied = MutableArrayData::new(vec![&data], false, part.len());
    copied.try_extend(0, 0, part.len())?;
    Ok(make_array(copied.freeze()))
}
