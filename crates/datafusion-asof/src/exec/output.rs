//! From row ids to record batches: where payload is touched.
//!
//! Left columns pass as they are; an inner join filters them. Right columns are gathered
//! from the batches that hold the matched rows, with one NULL row for the left rows that
//! have no match.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, new_null_array};
use datafusion::arrow::compute::{filter_record_batch, interleave};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{HashMap, Result};

use super::matching::Matching;
use crate::kernel::rows::RowId;
use crate::spec::AsOfJoinType;

/// Builds output batches of one partition.
#[derive(Debug)]
pub(super) struct Output {
    schema: SchemaRef,
    join_type: AsOfJoinType,
    /// For each right column, one NULL.
    nulls: Vec<ArrayRef>,
}

impl Output {
    pub(super) fn new(matching: &Matching) -> Self {
        let right = matching.schema.fields().iter().skip(matching.left_columns);
        let nulls = right.map(|field| new_null_array(field.data_type(), 1));
        Self {
            schema: Arc::clone(&matching.schema),
            join_type: matching.spec.join_type,
            nulls: nulls.collect(),
        }
    }

    /// One row of NULLs, by column.
    pub(super) fn nulls(&self) -> &[ArrayRef] {
        &self.nulls
    }

    /// The output rows of a left batch, in its order; `right` finds a batch by its number.
    pub(super) fn assemble<'a>(
        &self,
        left: &RecordBatch,
        matches: &[RowId],
        right: impl Fn(u32) -> Option<&'a RecordBatch>,
    ) -> Result<RecordBatch> {
        let (left, matches) = match self.join_type {
            AsOfJoinType::Inner if !matches.iter().all(|row| row.is_some()) => {
                let matched: BooleanArray = matches.iter().map(|row| Some(row.is_some())).collect();
                let matches = matches.iter().copied().filter(|row| row.is_some());
                (
                    Cow::Owned(filter_record_batch(left, &matched)?),
                    Cow::Owned(matches.collect::<Vec<_>>()),
                )
            }
            _ => (Cow::Borrowed(left), Cow::Borrowed(matches)),
        };
        let gathered = gather(&self.nulls, &matches, right)?;
        let columns = left.columns().iter().cloned().chain(gathered).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(matches.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}

/// For each right column, the values of the given rows; `nulls` stand in for no row.
pub(super) fn gather<'a>(
    nulls: &[ArrayRef],
    rows: &[RowId],
    batch: impl Fn(u32) -> Option<&'a RecordBatch>,
) -> Result<Vec<ArrayRef>> {
    if nulls.is_empty() {
        return Ok(vec![]);
    }
    // Source 0 is the NULL row, then each batch in the order of first use.
    let mut sources: Vec<&RecordBatch> = vec![];
    let mut source_of: HashMap<u32, usize> = HashMap::new();
    let mut latest = (u32::MAX, 0);
    let mut indices = Vec::with_capacity(rows.len());
    for row in rows {
        if row.batch != latest.0 {
            latest = match source_of.get(&row.batch) {
                Some(source) => (row.batch, *source),
                None => match row.is_some().then(|| batch(row.batch)).flatten() {
                    Some(found) => {
                        sources.push(found);
                        source_of.insert(row.batch, sources.len());
                        (row.batch, sources.len())
                    }
                    None => (u32::MAX, 0),
                },
            };
        }
        let at = if latest.1 == 0 { 0 } else { row.row as usize };
        indices.push((latest.1, at));
    }
    nulls
        .iter()
        .enumerate()
        .map(|(column, null)| {
            let null: &dyn Array = null;
            let arrays: Vec<&dyn Array> = [null]
                .into_iter()
                .chain(sources.iter().map(|source| source.column(column).as_ref()))
                .collect();
            Ok(interleave(&arrays, &indices)?)
        })
        .collect()
}
