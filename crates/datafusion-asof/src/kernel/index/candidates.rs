//! The other way around: the left side indexed, the right streaming by.
//!
//! # Motivation
//!
//! Where the left side is the smaller one, or both arrive in time order, a right row need not
//! be kept to be found later: it is asked once which left rows it is a candidate of, and
//! forgotten unless it is the best so far.
//!
//! # Algorithm
//!
//! ```text
//! left rows of a key      L1        L2   L3          L4        (indexed, in time order)
//! bins, backward      ...]  ........]  ..]  .........]
//! right rows          r1 r2    r3        r4   r5 r6     r7     in any order
//! ```
//!
//! A right row falls into the *bin* of the first left row that is not before it; of the rows
//! in a bin only the latest can be chosen by anyone. When the right has ended, each left row
//! takes the best of its own bin or, where that is empty, what the left row before it took. A
//! forward join is the mirror image. Right rows may come in any order, the bin of the last row
//! of a key is tried first, so that rows in time order find theirs at once.
//!
//! Several partitions of the right are offered at a time, each to [`Candidates`] of its own;
//! [`Choices`] brings them together. The idea is Daft's (`asof_join` of its local engine).
//!
//! # Memory
//!
//! 24 bytes for each left row and partition at work, and a few for each key.

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, exec_err};

use super::SideIndex;
use super::collect::{Hopeless, Places};
use super::line::LineTimes;
use super::timeline::Timeline;
use crate::kernel::domain::TimeValues;
use crate::kernel::ordinals::{is_known, refuse};
use crate::kernel::rows::{MatchCounts, RowId};
use crate::kernel::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// Neighbouring bins that are tried before a bin is searched for.
const NEAR: usize = 4;

/// The best right row of a bin so far.
#[derive(Debug, Clone, Copy)]
struct Best {
    time: i64,
    place: u64,
    row: RowId,
}

const NOTHING: Best = Best {
    time: 0,
    place: 0,
    row: RowId::NONE,
};

/// The best right rows of one partition.
pub(crate) struct Candidates {
    op: MatchOp,
    /// By position in the index.
    best: Vec<Best>,
    /// By ordinal the position that the last row of the key was found at.
    last: Vec<u32>,
    /// By ordinal whether the right has the key.
    seen: Vec<bool>,
    /// Positions of which the last batch offered has the best row.
    won: Vec<u32>,
    live: usize,
}

/// A batch of right rows.
pub(crate) struct Offer<'a> {
    pub keys: &'a [ArrayRef],
    pub time: &'a ArrayRef,
    /// Rows that can match at all; all of them if `None`.
    pub mask: Option<&'a BooleanArray>,
    pub places: &'a Places,
    /// The number that its rows get as [`RowId::batch`].
    pub number: u32,
}

impl Candidates {
    pub(crate) fn new(index: &SideIndex, op: MatchOp) -> Self {
        let keys = index.ordinals.len();
        let starts = index.all.offsets[..keys].iter();
        Self {
            op,
            best: vec![NOTHING; index.all.rows.len()],
            last: starts.map(|start| *start as u32).collect(),
            seen: vec![false; keys],
            won: vec![],
            live: 0,
        }
    }

    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        size_of_val(self.best.as_slice())
            + size_of_val(self.last.as_slice())
            + self.seen.len()
            + self.won.capacity() * size_of::<u32>()
    }

    /// Offers the rows of a batch; gives those that are the best of a bin so far.
    pub(crate) fn offer(&mut self, index: &SideIndex, batch: &Offer<'_>) -> Result<Vec<u32>> {
        let mut keys = index.ordinals.lookup(batch.keys, batch.time.len())?;
        if let Some(mask) = batch.mask {
            refuse(&mut keys, mask);
        }
        let timed = index.domain.times(Side::Right, batch.time)?;
        let (LineTimes::I64(line), TimeValues::I64(times)) = (&index.all.times, &timed.values)
        else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let backward = self.op.direction() == AsOfDirection::Backward;
        // Whether a left row of equal time is passed over.
        let equal_precedes = backward != self.op.allows_equal();
        self.won.clear();
        for (row, (key, time)) in keys.iter().zip(times.iter()).enumerate() {
            if !is_known(*key) || !timed.is_valid(row) {
                continue;
            }
            let key = *key as usize;
            self.seen[key] = true;
            let (start, end) = (index.all.offsets[key], index.all.offsets[key + 1]);
            let precedes = |left: i64| left < *time || (equal_precedes && left == *time);
            let point = point(line, (start, end), self.last[key] as usize, precedes);
            self.last[key] = point as u32;
            let bin = match backward {
                true if point < end => point,
                false if point > start => point - 1,
                _ => continue,
            };
            let place = batch.places.at(row);
            let best = &mut self.best[bin];
            let better = match backward {
                true => (*time, place) > (best.time, best.place),
                false => (*time, place) < (best.time, best.place),
            };
            if !best.row.is_some() {
                self.live += 1;
            } else if !better {
                continue;
            }
            if best.row.batch != batch.number {
                self.won.push(bin as u32);
            }
            *best = Best {
                time: *time,
                place,
                row: RowId {
                    batch: batch.number,
                    row: row as u32,
                },
            };
        }
        let rows = self.won.iter().map(|bin| self.best[*bin as usize].row.row);
        Ok(rows.collect())
    }

    /// Says that of the last batch only the rows that [`Self::offer`] gave are kept, one after
    /// the other.
    pub(crate) fn kept_alone(&mut self) {
        for (row, bin) in self.won.iter().enumerate() {
            self.best[*bin as usize].row.row = row as u32;
        }
    }

    /// How many rows of the last batch are the best of a bin.
    pub(crate) fn won(&self) -> usize {
        self.won.len()
    }

    /// How many rows are the best of a bin.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// The rows that are the best of a bin.
    pub(crate) fn live_rows(&self) -> impl Iterator<Item = RowId> {
        let rows = self.best.iter().map(|best| best.row);
        rows.filter(|row| row.is_some())
    }

    /// Gives the rows of [`Self::live_rows`] other ids, or all of them another first batch.
    pub(crate) fn relocate(&mut self, mut id: impl FnMut(RowId) -> RowId) {
        for best in &mut self.best {
            if best.row.is_some() {
                best.row = id(best.row);
            }
        }
    }
}

/// The first position of a list that does not precede, looked for near `last` first.
#[inline]
fn point(
    line: &Timeline<i64>,
    (start, end): (usize, usize),
    last: usize,
    precedes: impl Fn(i64) -> bool,
) -> usize {
    if last > start && !precedes(line.at(last - 1)) {
        return line.partition_point(start..last - 1, precedes);
    }
    let near = (last + NEAR).min(end);
    for position in last..near {
        if !precedes(line.at(position)) {
            return position;
        }
    }
    line.partition_point(near..end, precedes)
}

/// What each left row takes.
pub(crate) struct Choices {
    /// By number of the left row.
    pub rows: Vec<RowId>,
    pub counts: MatchCounts,
}

impl Choices {
    /// `candidates` of all partitions, none if no left row can match, of `total` left rows.
    pub(crate) fn of(
        index: &SideIndex,
        candidates: Vec<Candidates>,
        tolerance: Option<Tolerance>,
        (total, hopeless): (usize, Hopeless),
    ) -> Result<Self> {
        let mut counts = MatchCounts {
            null_key: hopeless.null_key,
            null_time: hopeless.null_time,
            refused: hopeless.refused,
            ..MatchCounts::default()
        };
        let mut rows = vec![RowId::NONE; total];
        let mut candidates = candidates.into_iter();
        let Some(mut all) = candidates.next() else {
            return Ok(Self { rows, counts });
        };
        let LineTimes::I64(line) = &index.all.times else {
            return exec_err!("an as-of join has candidates of numbers");
        };
        for others in candidates {
            all.add(&others);
        }
        let backward = all.op.direction() == AsOfDirection::Backward;
        for (key, ends) in index.all.offsets.windows(2).enumerate() {
            let mut carried = NOTHING;
            let mut take = |position: usize| {
                if all.best[position].row.is_some() {
                    carried = all.best[position];
                }
                let time = i128::from(line.at(position));
                let found = i128::from(carried.time);
                let allows = |t: Tolerance| t.allows(time.max(found), time.min(found));
                match carried.row.is_some() {
                    true if tolerance.is_none_or(allows) => {
                        counts.matched += 1;
                        rows[index.all.rows[position] as usize] = carried.row;
                    }
                    true => counts.beyond_tolerance += 1,
                    false if all.seen[key] => counts.wrong_side += 1,
                    false => counts.no_key += 1,
                }
            };
            match backward {
                true => (ends[0]..ends[1]).for_each(&mut take),
                false => (ends[0]..ends[1]).rev().for_each(&mut take),
            }
        }
        Ok(Self { rows, counts })
    }
}

impl Candidates {
    fn add(&mut self, others: &Self) {
        let backward = self.op.direction() == AsOfDirection::Backward;
        for (best, other) in self.best.iter_mut().zip(&others.best) {
            let better = match backward {
                true => (other.time, other.place) > (best.time, best.place),
                false => (other.time, other.place) < (best.time, best.place),
            };
            if other.row.is_some() && (better || !best.row.is_some()) {
                *best = *other;
            }
        }
        for (seen, other) in self.seen.iter_mut().zip(&others.seen) {
            *seen |= other;
        }
    }
}
