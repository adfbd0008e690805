//! Broken promises.
//!
//! [`OrderCheck`] compares each time with the one before it, across batches: an input that was
//! declared ordered and is not ends the query with an error, never with a wrong answer.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_err};

use super::domain::{TimeColumn, TimeValues, Times};
use super::place::Place;
use super::ties::chosen_last;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// Holds one input to the time order it was declared to have.
#[derive(Debug)]
pub(crate) struct OrderCheck {
    side: Side,
    descends: bool,
    last: Option<Place>,
    /// Turns the columns of `TIES BY` into bytes in the order that a merge relies on.
    ties: Option<RowConverter>,
    last_tie: Option<OwnedRow>,
    rows: usize,
}

impl OrderCheck {
    /// Times descend in a forward join.
    pub(crate) fn new(side: Side, op: MatchOp) -> Self {
        Self {
            side,
            descends: op.direction() == AsOfDirection::Forward,
            last: None,
            ties: None,
            last_tie: None,
            rows: 0,
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

    /// Checks the next batch of the input.
    ///
    /// # Errors
    /// An execution error that names the side and the row at which the order breaks.
    pub(crate) fn check(&mut self, times: &Times, rows: usize, ties: &[ArrayRef]) -> Result<()> {
        let ties = match &self.ties {
            Some(converter) => Some(converter.convert_columns(ties)?),
            None => None,
        };
        let rows_and_ties = (rows, ties.as_ref());
        let broken = match &times.values {
            TimeValues::I64(values) => self.follow(times, rows_and_ties, values),
            TimeValues::I128(values) => self.follow(times, rows_and_ties, values),
            TimeValues::Rows(values) => self.follow(times, rows_and_ties, values),
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
        self.rows += rows;
        Ok(())
    }

    fn follow<T: TimeColumn>(
        &mut self,
        times: &Times,
        (rows, ties): (usize, Option<&Rows>),
        values: &T,
    ) -> Option<usize> {
        let mut valid = (0..rows).filter(|row| times.is_valid(*row));
        let first = valid.next()?;
        let mut previous = values.value(first);
        let first_place = T::owned(previous);
        let turned = |before: &Place, after: &Place| match self.descends {
            false => after < before,
            true => after > before,
        };
        if self
            .last
            .as_ref()
            .is_some_and(|last| turned(last, &first_place))
        {
            return Some(first);
        }
        if let (Some(ties), Some(last)) = (ties, &self.last_tie)
            && self.last.as_ref() == Some(&first_place)
            && ties.row(first) < last.row()
        {
            return Some(first);
        }
        let mut at = first;
        for row in valid {
            let value = values.value(row);
            let broken = match self.descends {
                false => value < previous,
                true => value > previous,
            };
            let tie_broken = |ties: &Rows| value == previous && ties.row(row) < ties.row(at);
            if broken || ties.is_some_and(tie_broken) {
                return Some(row);
            }
            (previous, at) = (value, row);
        }
        self.last_tie = ties.map(|ties| ties.row(at).owned());
        self.last = Some(T::owned(previous));
        None
    }
}
