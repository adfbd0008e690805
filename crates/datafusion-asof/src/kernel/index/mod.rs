//! A side as an index, mostly the right: for every key, its rows in time order.
//!
//! # Shape
//!
//! ```text
//! ordinal      0        1     2
//! offsets    [ 0,       4,    6,    9 ]
//! times      [ 3 5 5 8 | 1 9 | 2 4 6 ]     places on the line, ascending within a key
//! rows       [ . . . . | . . | . . . ]     numbers of the right rows, ties in input order
//! ```
//!
//! # Algorithm
//!
//! [`collect`] takes keys and times of the batches as they are read, several partitions at a
//! time; [`planning`] lays the lists out as a [`plan`] and [`build`] fills them, many threads at
//! a time; [`finish`] adds what predicates and NULLs ask for. A left
//! row then finds its stretch by ordinal and the nearest row in the [`timeline`]. Where a
//! predicate has a say in the choice, [`decide`] walks the stretch from the nearest row on,
//! passing over what [`zones`](super::zones) exclude, until the predicate accepts.
//!
//! Nothing here spawns or waits: the driver runs the jobs of each phase, and the pieces of those
//! that one thread does, as it likes.
//!
//! # NULLs ignored
//!
//! With IGNORE NULLS each right column takes its own nearest value. Columns that are NULL in
//! the same rows make a *validity class*; for each class there is one more list of rows, those
//! that are valid in it, and the same search is run on it. A class without NULLs needs none.
//!
//! # Memory
//!
//! 12 to 20 bytes a row and a sixteenth for the timeline, and as much again for every validity
//! class; while it is built up to 28 more (see [`build`]). A small index has its [`cells`] besides.
//! Payload is not touched.
//! [`IndexPart::size`], [`Planning`], [`LinePlan::lists_size`] and the like tell the pool.

mod build;
mod candidates;
mod cells;
mod choosing;
mod collect;
mod decide;
mod finish;
mod line;
mod meeting;
mod numbers;
mod plan;
mod planning;
mod probe;
mod ranks;
mod records;
mod routes;
mod search;
mod sort;
mod timeline;
mod walk;

pub(crate) use self::build::Sharded;
pub(crate) use self::candidates::{Candidates, Offer};
pub(crate) use self::choosing::{AllCandidates, Choices, Choosing, OfStream};
pub(crate) use self::collect::{Hopeless, IndexBatch, IndexPart, IndexSpec, Offered, Places};
pub(crate) use self::line::IndexTime;
pub(crate) use self::meeting::{Bins, Dealt, Gathered, Payload, Word};
pub(crate) use self::plan::{IndexPlan, LinePlan};
pub(crate) use self::planning::Planning;
pub(crate) use self::records::{HEAD, Records};
pub(crate) use self::search::{Accept, LeftBatch, Matches, Search};

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::common::Result;

use self::line::LineTimes;
use self::numbers::RowNumbers;
use self::ranks::Ranks;
use super::domain::TimeDomain;
use super::ordinals::{KeyOrdinals, KeyType};
use super::zones::{Bound, Zones};

/// A side, ready to be looked up by any number of threads.
#[derive(Debug)]
pub(crate) struct SideIndex {
    domain: TimeDomain,
    ordinals: KeyOrdinals,
    bounds: Vec<Bound>,
    numbers: RowNumbers,
    /// Every row that can match.
    all: Postings,
    /// Those that are valid in a validity class.
    classes: Vec<Postings>,
    /// For each own value the validity class in which it is looked up; `None` where every row
    /// is valid.
    class_of_value: Vec<Option<usize>>,
    ranks: Option<Ranks>,
}

/// Rows grouped by key and ordered by time.
#[derive(Debug)]
struct Postings {
    offsets: Vec<usize>,
    times: LineTimes,
    rows: ScalarBuffer<u32>,
    zones: Zones,
}

impl Postings {
    fn size(&self) -> usize {
        size_of_val(self.offsets.as_slice())
            + self.times.size()
            + size_of_val(&*self.rows)
            + self.zones.size()
    }
}

impl SideIndex {
    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        let classes: usize = self.classes.iter().map(Postings::size).sum();
        self.ordinals.size()
            + self.numbers.size()
            + self.all.size()
            + classes
            + self.ranks.as_ref().map_or(0, Ranks::size)
    }

    /// The earliest and the latest time of all rows that can match; `None` without any.
    pub(crate) fn span(&self) -> Option<(i128, i128)> {
        let ends = self.all.offsets.windows(2);
        let ends = ends.filter(|ends| ends[0] < ends[1]);
        let spans = ends.map(|ends| match &self.all.times {
            LineTimes::I64(times) => (times.at(ends[0]).into(), times.at(ends[1] - 1).into()),
            LineTimes::I128(times) => (times.at(ends[0]), times.at(ends[1] - 1)),
        });
        spans.reduce(|a: (i128, i128), b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The distinct keys, by key column, if there are at most so many; `None` without key
    /// columns and where a NULL may be among them.
    pub(crate) fn keys(&self, types: &[KeyType], most: usize) -> Result<Option<Vec<ArrayRef>>> {
        match self.ordinals.len() <= most {
            true => self.ordinals.keys(types),
            false => Ok(None),
        }
    }

    /// For each own value the validity class of [`Matches::by_class`] that it is taken from;
    /// `None` for the chosen row itself.
    pub(crate) fn class_of_value(&self) -> &[Option<usize>] {
        &self.class_of_value
    }
}

#[cfg(test)]
mod tests;
