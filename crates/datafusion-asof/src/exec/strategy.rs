//! [`AsOfStrategy`]: the names of the ways to execute a join.

use std::fmt::{self, Display, Formatter};

/// How an as-of join executes. Every strategy gives the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AsOfStrategy {
    /// The right side is read into one shared index; the left streams by.
    Broadcast,
    /// The left side is read into one shared index; the right streams by.
    BroadcastLeft,
    /// Both sides, partitioned by key and in time order, are merged.
    SortMerge,
    /// As [`Self::SortMerge`], the rows of hot keys partitioned by time.
    TimeSalted,
}

impl Display for AsOfStrategy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broadcast => "broadcast",
            Self::BroadcastLeft => "broadcast_left",
            Self::SortMerge => "sort_merge",
            Self::TimeSalted => "time_salted",
        })
    }
}
