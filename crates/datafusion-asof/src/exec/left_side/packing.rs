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

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::runtime::JoinSet;

use crate::exec::copies::PIECE;
use crate::exec::gather::{KeptBatches, RightRows};
use crate::exec::matching::Matching;
use crate::exec::parallel::in_order;
use crate::kernel::rows::RowId;

/// The rows that sections of the left chose.
pub(super) struct Packing {
    pub matching: Arc<Matching>,
    pub kept: Arc<KeptBatches>,
}

/// Rows in batches of their own, and the choices that name them.
struct Packed {
    batches: Vec<RecordBatch>,
    choices: Vec<RowId>,
}

impl Packing {
    /// The bytes of a copied row; `None` if rows differ in width.
    pub(super) fn row_bytes(matching: &Matching) -> Option<usize> {
        let fields = matching.columns.kept_schema.fields().iter();
        // Its values, and whether they are valid.
        let widths = fields.map(|field| Some(field.data_type().primitive_width()? + 1));
        widths.sum()
    }

    /// Copies the chosen rows, a task for each section; gives them and the choices of sections anew.
    pub(super) async fn run(
        self,
        choices: Vec<Vec<RowId>>,
    ) -> Result<(Vec<RecordBatch>, Vec<Vec<RowId>>)> {
        let packing = Arc::new(self);
        let mut sections = JoinSet::new();
        for (section, choices) in choices.into_iter().enumerate() {
            let packing = Arc::clone(&packing);
            sections.spawn(async move { Ok((section, packing.pack(choices).await?)) });
        }
        let (mut batches, mut choices) = (vec![], vec![]);
        for mut of_section in in_order(sections).await? {
            for row in of_section.choices.iter_mut().filter(|row| row.is_some()) {
                row.batch += batches.len() as u32;
            }
            batches.extend(of_section.batches);
            choices.push(of_section.choices);
        }
        Ok((batches, choices))
    }

    async fn pack(&self, mut choices: Vec<RowId>) -> Result<Packed> {
        let columns: Vec<usize> = (0..self.matching.columns.kept_nulls.len()).collect();
        let mut batches = vec![];
        for choices in choices.chunks_mut(PIECE) {
            let chosen = choices.iter().filter(|row| row.is_some()).copied();
            let chosen: Vec<RowId> = chosen.collect();
            let copied = self.kept.gather(&columns, &chosen)?;
            let copied = self.matching.kept_batch(copied, chosen.len())?;
            let rows = choices.iter_mut().filter(|row| row.is_some());
            for (choice, row) in rows.zip(0..) {
                *choice = RowId {
                    batch: batches.len() as u32,
                    row,
                };
            }
            batches.push(copied);
            tokio::task::yield_now().await;
        }
        Ok(Packed { batches, choices })
    }
}
