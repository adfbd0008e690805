//! Chosen rows alone, in the order of those that chose them.
//!
//! # Motivation
//!
//! Of the right rows kept while they streamed by, many are nobody's choice in the end: better ones came
//! after them, or they are beyond the tolerance. A join that gives its rows at once need not care. But of joins above each other that share an index of
//! their left rows every one has to wait for those below it with what it kept.
//!
//! A row that several left rows chose is copied for each, so only rows of one width are: of those it is
//! known before how many bytes copies take.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};

use crate::exec::copies::PIECE;
use crate::exec::gather::{KeptBatches, RightRows};
use crate::exec::matching::Matching;
use crate::exec::parallel::in_parallel;
use crate::kernel::index::Choices;
use crate::kernel::rows::RowId;

/// The rows that left rows chose.
pub(super) struct Packing {
    pub matching: Arc<Matching>,
    pub kept: KeptBatches,
    pub choices: Choices,
}

/// Rows in batches of their own, and the choices that name them.
pub(super) struct Packed {
    pub batches: Vec<RecordBatch>,
    pub choices: Choices,
}

impl Packing {
    /// The bytes of a copied row; `None` if rows differ in width.
    pub(super) fn row_bytes(matching: &Matching) -> Option<usize> {
        let fields = matching.columns.kept_schema.fields().iter();
        // Its values, and whether they are valid.
        let widths = fields.map(|field| Some(field.data_type().primitive_width()? + 1));
        widths.sum()
    }

    /// Copies the rows that so many left rows chose, by so many tasks.
    pub(super) async fn run(self, left_rows: usize, tasks: usize) -> Result<Packed> {
        let packing = Arc::new(self);
        let pieces = (0..left_rows).step_by(PIECE);
        let pieces = pieces.map(|start| start..left_rows.min(start + PIECE));
        let of = Arc::clone(&packing);
        let pack = move |(number, left): (usize, Range<usize>)| of.pack(number as u32, left);
        let batches = in_parallel(tasks, pieces.enumerate().collect(), pack).await?;
        let Some(packing) = Arc::into_inner(packing) else {
            return exec_err!("a task of an ASOF JOIN did not end");
        };
        Ok(Packed {
            batches: batches.into_iter().collect::<Result<_>>()?,
            choices: packing.choices,
        })
    }

    /// Copies the rows that some left rows chose into the batch of a number.
    fn pack(&self, number: u32, left: Range<usize>) -> Result<RecordBatch> {
        let columns: Vec<usize> = (0..self.matching.columns.kept_nulls.len()).collect();
        let choices = self.choices.of(left.clone());
        let chosen = choices.iter().filter(|row| row.is_some()).copied();
        let chosen: Vec<RowId> = chosen.collect();
        let copied = self.kept.gather(&columns, &chosen)?;
        let copied = self.matching.kept_batch(copied, chosen.len())?;
        let chose = left.zip(&choices).filter(|(_, row)| row.is_some());
        for ((left, _), row) in chose.zip(0..) {
            let batch = number;
            self.choices.put(left, RowId { batch, row });
        }
        Ok(copied)
    }
}
