//! Ids of right rows, and what matching a batch of left rows comes to.

use std::ops::AddAssign;

/// The place of a right row among the batches a driver keeps: batch number and row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId {
    pub batch: u32,
    pub row: u32,
}

impl RowId {
    /// No row: the left row stays unmatched.
    pub(crate) const NONE: Self = Self {
        batch: u32::MAX,
        row: u32::MAX,
    };

    pub(crate) fn is_some(self) -> bool {
        self.batch != u32::MAX
    }
}

/// How many left rows found a match, and why the others did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MatchCounts {
    pub matched: usize,
    /// A key of the left row is NULL.
    pub null_key: usize,
    /// The as-of value of the left row is NULL or NaN.
    pub null_time: usize,
    /// No right row has the key.
    pub no_key: usize,
    /// The key has right rows, all on the wrong side of the left row's time.
    pub wrong_side: usize,
    /// The nearest right row on the right side is farther than the tolerance.
    pub beyond_tolerance: usize,
    /// A further predicate refuses the left row or all its candidates.
    pub refused: usize,
}

impl MatchCounts {
    /// The left rows counted.
    pub(crate) fn total(&self) -> usize {
        self.matched
            + self.null_key
            + self.null_time
            + self.no_key
            + self.wrong_side
            + self.beyond_tolerance
            + self.refused
    }
}

impl AddAssign for MatchCounts {
    fn add_assign(&mut self, other: Self) {
        self.matched += other.matched;
        self.null_key += other.null_key;
        self.null_time += other.null_time;
        self.no_key += other.no_key;
        self.wrong_side += other.wrong_side;
        self.beyond_tolerance += other.beyond_tolerance;
        self.refused += other.refused;
    }
}
