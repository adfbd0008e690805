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
//! predicate has a say in the choice, [`search`] walks the stretch from the nearest row on,
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
//! class; while it is built up to 28 more (see [`build`]). Payload is not touched.
//! [`IndexPart::size`], [`Planning`], [`LinePlan::lists_size`] and the like tell the pool.

mod build;
mod candidates;
mod collect;
mod finish;
mod line;
mod numbers;
mod plan;
mod planning;
mod ranks;
mod search;
mod timeline;

pub(crate) use self::build::Sharded;
pub(crate) use self::candidates::{Candidates, Choosing, OfPartition, Offer};
pub(crate) use self::collect::{Hopeless, IndexBatch, IndexPart, IndexSpec, Places};
pub(crate) use self::line::IndexTime;
pub(crate) use self::plan::{IndexPlan, LinePlan};
pub(crate) use self::planning::Planning;
pub(crate) use self::search::{Accept, LeftBatch, Matches, Search};

use datafusion::arrow::buffer::ScalarBuffer;

use self::line::LineTimes;
use self::numbers::RowNumbers;
use self::ranks::Ranks;
use super::domain::TimeDomain;
use super::ordinals::KeyOrdinals;
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

    /// For each own value the validity class of [`Matches::by_class`] that it is taken from;
    /// `None` for the chosen row itself.
    pub(crate) fn class_of_value(&self) -> &[Option<usize>] {
        &self.class_of_value
    }
}

#[cfg(test)]
mod tests;
