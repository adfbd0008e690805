//! The right side as an index: for every key, its rows in time order.
//!
//! # Shape
//!
//! ```text
//! ordinal      0        1     2
//! offsets    [ 0,       4,    6,    9 ]
//! times      [ 3 5 5 8 | 1 9 | 2 4 6 ]     places on the line, ascending within a key
//! rows       [ . . . . | . . | . . . ]     ids of the right rows, ties in input order
//! ```
//!
//! # Algorithm
//!
//! [`build`] groups the rows by key and orders them; a left row then finds its stretch by
//! ordinal and the nearest row by binary search. Where a predicate has a say in the choice,
//! [`search`] walks the stretch from the nearest row on, passing over what
//! [`zones`](super::zones) exclude, until the predicate accepts.
//!
//! # NULLs ignored
//!
//! With IGNORE NULLS each right column takes its own nearest value. Columns that are NULL in
//! the same rows make a *validity class*; for each class there is one more list of rows, those
//! that are valid in it, and the same search is run on it. A class without NULLs needs none.
//!
//! # Memory
//!
//! While it is built 28 to 44 bytes a row, then 16 to 24, and as much again for every validity
//! class; payload is not touched. [`RightIndexBuilder::size`] and [`RightIndex::size`] tell the
//! pool.

mod build;
mod ranks;
mod search;

pub(crate) use self::build::{RightBatch, RightIndexBuilder};
pub(crate) use self::search::{Accept, LeftBatch, Matches, Search};

use self::ranks::Ranks;
use super::domain::{TimeDomain, TimeValues};
use super::ordinals::KeyOrdinals;
use super::rows::RowId;
use super::zones::{Bound, Zones};

/// The right side, ready to be looked up by any number of threads.
#[derive(Debug)]
pub(crate) struct RightIndex {
    domain: TimeDomain,
    ordinals: KeyOrdinals,
    bounds: Vec<Bound>,
    /// Every row that can match.
    all: Postings,
    /// Those that are valid in a validity class.
    classes: Vec<Postings>,
    /// For each right column the validity class in which it is looked up; `None` where every
    /// row is valid.
    class_of_column: Vec<Option<usize>>,
    ranks: Option<Ranks>,
}

/// Rows grouped by key and ordered by time.
#[derive(Debug)]
struct Postings {
    offsets: Vec<usize>,
    times: TimeValues,
    rows: Vec<RowId>,
    zones: Zones,
}

impl Postings {
    fn size(&self) -> usize {
        let times = match &self.times {
            TimeValues::I64(times) => size_of_val(&**times),
            TimeValues::I128(times) => size_of_val(times.as_slice()),
            TimeValues::Rows(rows) => rows.size(),
        };
        size_of_val(self.offsets.as_slice())
            + times
            + size_of_val(self.rows.as_slice())
            + self.zones.size()
    }
}

impl RightIndex {
    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        let classes: usize = self.classes.iter().map(Postings::size).sum();
        self.ordinals.size()
            + self.all.size()
            + classes
            + self.ranks.as_ref().map_or(0, Ranks::size)
    }

    /// For each right column the validity class of [`Matches::by_class`] that it takes its
    /// values from; `None` for the chosen row itself.
    pub(crate) fn class_of_column(&self) -> &[Option<usize>] {
        &self.class_of_column
    }
}
