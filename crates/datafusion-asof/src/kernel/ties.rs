//! `TIES BY`: which of several right rows equal in keys and time is the one.
//!
//! Everywhere else the *place* of a row in its input decides, a number. So the columns of
//! `TIES BY` are turned into such numbers: rows are ranked by them, and by their place where
//! they are equal, with the row to be chosen last among equals for a backward or nearest join
//! and first for a forward one, as places have it.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

use crate::spec::{AsOfDirection, MatchOp};

/// The order in which the row to be chosen comes last: it is first by `TIES BY`, so the
/// options are turned around. A forward merge sees rows backwards and a forward index keeps
/// the chosen row first; both are the mirror image of this order.
pub(crate) fn chosen_last(options: SortOptions) -> SortOptions {
    SortOptions::new(!options.descending, !options.nulls_first)
}

/// Collects the tie columns of right rows.
pub(crate) struct TieRanker {
    converter: RowConverter,
    rows: Rows,
}

impl TieRanker {
    pub(crate) fn try_new(columns: &[(DataType, SortOptions)], op: MatchOp) -> Result<Self> {
        let chosen_first = op.direction() == AsOfDirection::Forward;
        let fields = columns.iter().map(|(data_type, options)| {
            let options = match chosen_first {
                true => *options,
                false => chosen_last(*options),
            };
            SortField::new_with_options(data_type.clone(), options)
        });
        let converter = RowConverter::new(fields.collect())?;
        let rows = converter.empty_rows(0, 0);
        Ok(Self { converter, rows })
    }

    /// Adds the tie columns of the next batch, every row of it.
    pub(crate) fn push(&mut self, columns: &[ArrayRef]) -> Result<()> {
        Ok(self.converter.append(&mut self.rows, columns)?)
    }

    pub(crate) fn size(&self) -> usize {
        self.rows.size()
    }

    /// Numbers for the kept rows that order them by tie columns and then place.
    /// `kept` are numbers of pushed rows.
    pub(crate) fn rank(self, kept: &[u32], places: &[u64]) -> Vec<u64> {
        let key = |entry: &usize| (self.rows.row(kept[*entry] as usize), places[*entry]);
        let mut order: Vec<usize> = (0..kept.len()).collect();
        order.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let mut ranks = vec![0; kept.len()];
        for (rank, entry) in (0..).zip(order) {
            ranks[entry] = rank;
        }
        ranks
    }
}
