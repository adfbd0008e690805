//! Broken promises.
//!
//! Each time is compared with the one before it, within batches ([`Inspection`]) and across them
//! ([`OrderCheck`]): an input that was declared ordered and is not ends the query with an error, never
//! with a wrong answer.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_err};

use super::domain::{TimeColumn, TimeValues, Times};
use super::place::Place;
use super::ties::chosen_last;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// Looks at batches one by one, in any order and by any task: each must be in order by itself.
#[derive(Debug)]
pub(crate) struct Inspection {
    descends: bool,
    /// Turns the columns of `TIES BY` into bytes in the order that a merge relies on.
    ties: Option<RowConverter>,
}

/// What an [`Inspection`] found in a batch.
#[derive(Debug)]
pub(crate) struct Inspected {
    rows: usize,
    /// The first row that breaks the order of the batch.
    broken: Option<usize>,
    /// The first and the last valid row, unless there is none.
    ends: Option<[End; 2]>,
}

/// A row at an end of a batch.
#[derive(Debug, Clone)]
struct End {
    row: usize,
    place: Place,
    tie: Option<OwnedRow>,
}

impl Inspection {
    /// Times descend in a forward join.
    pub(crate) fn new(op: MatchOp) -> Self {
        Self {
            descends: op.direction() == AsOfDirection::Forward,
            ties: None,
        }
    }

    /// The same, and rows of equal time are held to their order by `TIES BY`.
    pub(crate) fn with_ties(mut self, columns: &[(DataType, SortOptions)]) -> Result<Self> {
        let fields = columns.iter().map(|(data_type, options)| {
            SortField::new_with_options(data_type.clone(), chosen_last(*options))
        });
        self.ties = Some(RowConverter::new(fields.collect())?);
        Ok(self)
    }

    /// Looks at a batch; `ties` are those of its rows, if they matter.
    pub(crate) fn inspect(
        &self,
        times: &Times,
        rows: usize,
        ties: &[ArrayRef],
    ) -> Result<Inspected> {
        let ties = match &self.ties {
            Some(converter) => Some(converter.convert_columns(ties)?),
            None => None,
        };
        let (broken, ends) = match &times.values {
            TimeValues::I64(values) => self.follow(times, rows, values, ties.as_ref()),
            TimeValues::I128(values) => self.follow(times, rows, values, ties.as_ref()),
            TimeValues::Rows(values) => self.follow(times, rows, values, ties.as_ref()),
        };
        Ok(Inspected { rows, broken, ends })
    }

    /// The first row that breaks the order, and the ends.
    fn follow<T: TimeColumn>(
        &self,
        times: &Times,
        rows: usize,
        values: &T,
        ties: Option<&Rows>,
    ) -> (Option<usize>, Option<[End; 2]>) {
        let mut valid = (0..rows).filter(|row| times.is_valid(*row));
        let Some(first) = valid.next() else {
            return (None, None);
        };
        let end = |row: usize| End {
            row,
            place: T::owned(values.value(row)),
            tie: ties.map(|ties| ties.row(row).owned()),
        };
        let (mut previous, mut at) = (values.value(first), first);
        for row in valid {
            let value = values.value(row);
            let broken = match self.descends {
                false => value < previous,
                true => value > previous,
            };
            let tie_broken = |ties: &Rows| value == previous && ties.row(row) < ties.row(at);
            if broken || ties.is_some_and(tie_broken) {
                return (Some(row), Some([end(first), end(at)]));
            }
            (previous, at) = (value, row);
        }
        (None, Some([end(first), end(at)]))
    }
}

/// Holds one input to the time order it was declared to have, batch after batch.
#[derive(Debug)]
pub(crate) struct OrderCheck {
    side: Side,
    descends: bool,
    last: Option<End>,
    rows: usize,
}

impl OrderCheck {
    /// Times descend in a forward join.
    pub(crate) fn new(side: Side, op: MatchOp) -> Self {
        Self {
            side,
            descends: op.direction() == AsOfDirection::Forward,
            last: None,
            rows: 0,
        }
    }

    /// Takes what was found in the next batch of the input.
    ///
    /// # Errors
    /// An execution error that names the side and the row at which the order breaks.
    pub(crate) fn follow(&mut self, batch: Inspected) -> Result<()> {
        if let Some([first, last]) = batch.ends {
            let turned = self.last.as_ref().is_some_and(|before| {
                let turned = match self.descends {
                    false => first.place < before.place,
                    true => first.place > before.place,
                };
                turned || first.place == before.place && first.tie < before.tie
            });
            let broken = match turned {
                true => Some(first.row),
                false => batch.broken,
            };
            if let Some(row) = broken {
                let side = match self.side {
                    Side::Right => "right",
                    _ => "left",
                };
                return exec_err!(
                    "the {side} input of an ASOF JOIN breaks its declared time order at row {} of \
                     its partition: correct the declaration (WITH ORDER) or leave it out",
                    self.rows + row
                );
            }
            self.last = Some(last);
        }
        self.rows += batch.rows;
        Ok(())
    }
}
