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
//! of a key is tried first, so that rows in time order find theirs at once. Those that come in none may
//! be gathered instead ([`meeting`](super::meeting)).
//!
//! Several streams of right rows are offered at a time, each to [`Candidates`] of its own;
//! [`choosing`](super::choosing) brings them together. The idea is Daft's (`asof_join` of its local
//! engine).
//!
//! # Memory
//!
//! 28 bytes for each left row and stream, and 32 for each key, from the start.

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, exec_err};

use super::SideIndex;
use super::collect::{Offered, Places, refuse_untimed};
use super::line::LineTimes;
use super::timeline::Timeline;
use crate::kernel::domain::TimeValues;
use crate::kernel::ordinals::{is_known, refuse};
use crate::kernel::pieces::PIECE;
use crate::kernel::rows::RowId;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// Neighbouring bins that are tried before a bin is searched for.
const NEAR: usize = 4;

/// The best right row of a bin so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Best {
    pub time: i64,
    pub place: u64,
    pub row: RowId,
}

impl Best {
    /// Whether it is chosen rather than another of the same bin.
    #[inline]
    pub(super) fn is_better_than(&self, other: &Self, backward: bool) -> bool {
        let better = match backward {
            true => (self.time, self.place) > (other.time, other.place),
            false => (self.time, self.place) < (other.time, other.place),
        };
        better || !other.row.is_some()
    }
}

pub(super) const NOTHING: Best = Best {
    time: 0,
    place: 0,
    row: RowId::NONE,
};

/// What a right row needs to know of its key, side by side.
#[derive(Debug, Clone, Copy)]
struct OfKey {
    /// The positions of its left rows.
    start: u32,
    end: u32,
    /// The position that its last right row was found at.
    last: u32,
    /// Whether the right has the key.
    seen: bool,
    /// The times before and at that position: rows between them are found there too, without a look
    /// at the left rows.
    before: i64,
    at: i64,
}

impl OfKey {
    fn new(start: u32, end: u32) -> Self {
        Self {
            start,
            end,
            last: start,
            seen: false,
            // Nothing is between them.
            before: i64::MAX,
            at: i64::MIN,
        }
    }

    /// The first position that does not precede.
    #[inline]
    fn point(&mut self, line: &Timeline<i64>, precedes: impl Fn(i64) -> bool) -> usize {
        if precedes(self.before) & !precedes(self.at) {
            return self.last as usize;
        }
        let (start, end) = (self.start as usize, self.end as usize);
        let point = point(line, (start, end), self.last as usize, precedes);
        self.last = point as u32;
        self.before = match point > start {
            true => line.at(point - 1),
            false => i64::MIN,
        };
        self.at = match point < end {
            true => line.at(point),
            false => i64::MAX,
        };
        point
    }
}

/// The best right rows of one stream.
pub(crate) struct Candidates {
    pub(super) op: MatchOp,
    /// By position in the index.
    pub(super) best: Vec<Best>,
    /// By ordinal.
    keys: Vec<OfKey>,
    /// Positions of which the last batch offered has the best row.
    won: Vec<u32>,
    /// Positions that have a best row, in the order in which they got one.
    live: Vec<u32>,
}

/// A batch of right rows.
pub(crate) struct Offer<'a> {
    pub keys: &'a [ArrayRef],
    pub time: &'a ArrayRef,
    /// Rows that can match at all; all of them if `None`.
    pub mask: Option<&'a BooleanArray>,
    pub places: Places,
}

impl SideIndex {
    /// A batch of the right as an index of the left has its keys and times.
    pub(crate) fn offered(&self, offer: Offer<'_>) -> Result<Offered> {
        let mut keys = self.ordinals.lookup(offer.keys, offer.time.len())?;
        if let Some(mask) = offer.mask {
            refuse(&mut keys, mask);
        }
        let times = self.domain.times(Side::Right, offer.time)?;
        refuse_untimed(&mut keys, &times);
        Ok(Offered {
            keys,
            times,
            places: offer.places,
        })
    }

    /// How many rows it has that can match.
    pub(crate) fn rows(&self) -> usize {
        self.all.rows.len()
    }

    /// How many keys it has.
    pub(crate) fn keys_len(&self) -> usize {
        self.ordinals.len()
    }
}

impl Candidates {
    /// None yet; [`Self::fill`] is to be called until it has made room for them.
    pub(crate) fn new(op: MatchOp) -> Self {
        Self {
            op,
            best: vec![],
            keys: vec![],
            won: vec![],
            live: vec![],
        }
    }

    /// Bytes that the candidates of an index hold, for the memory pool.
    pub(crate) fn size(index: &SideIndex) -> usize {
        let row = size_of::<Best>() + size_of::<u32>();
        index.all.rows.len() * row + index.ordinals.len() * size_of::<OfKey>()
    }

    /// Makes room for some more of the rows; gives whether there are others.
    pub(crate) fn fill(&mut self, index: &SideIndex) -> bool {
        let (rows, keys) = (index.all.rows.len(), index.ordinals.len());
        if self.best.capacity() < rows || self.keys.capacity() < keys {
            // Address space only: memory is touched piece by piece.
            self.best.reserve_exact(rows);
            self.live.reserve_exact(rows);
            self.keys.reserve_exact(keys);
        }
        let end = rows.min(self.best.len() + PIECE);
        self.best.resize(end, NOTHING);
        let first = self.keys.len();
        let end = keys.min(first + PIECE);
        let of_key = index.all.offsets[first..=end].windows(2);
        self.keys
            .extend(of_key.map(|ends| OfKey::new(ends[0] as u32, ends[1] as u32)));
        self.best.len() < rows || self.keys.len() < keys
    }

    /// Offers the rows of a batch, which get a number as [`RowId::batch`]; gives those that are the
    /// best of a bin so far.
    pub(crate) fn offer(
        &mut self,
        index: &SideIndex,
        batch: &Offered,
        number: u32,
    ) -> Result<Vec<u32>> {
        let (LineTimes::I64(line), TimeValues::I64(times)) =
            (&index.all.times, &batch.times.values)
        else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let backward = self.op.direction() == AsOfDirection::Backward;
        // Whether a left row of equal time is passed over.
        let equal_precedes = backward != self.op.allows_equal();
        self.won.clear();
        for (row, (key, time)) in batch.keys.iter().zip(times.iter()).enumerate() {
            if !is_known(*key) {
                continue;
            }
            let key = &mut self.keys[*key as usize];
            key.seen = true;
            let (start, end) = (key.start as usize, key.end as usize);
            let precedes = |left: i64| left < *time || (equal_precedes && left == *time);
            let point = key.point(line, precedes);
            let bin = match backward {
                true if point < end => point,
                false if point > start => point - 1,
                _ => continue,
            };
            let candidate = Best {
                time: *time,
                place: batch.places.at(row),
                row: RowId {
                    batch: number,
                    row: row as u32,
                },
            };
            let best = &mut self.best[bin];
            if !best.row.is_some() {
                self.live.push(bin as u32);
            } else if !candidate.is_better_than(best, backward) {
                continue;
            }
            if best.row.batch != number {
                self.won.push(bin as u32);
            }
            *best = candidate;
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

    /// Whether a row of a key was offered.
    pub(super) fn has_seen(&self, key: usize) -> bool {
        self.keys[key].seen
    }

    /// How many rows are the best of a bin.
    pub(crate) fn live(&self) -> usize {
        self.live.len()
    }

    /// The rows that are the best of a bin, always in the same order.
    pub(crate) fn live_rows(&self) -> impl Iterator<Item = RowId> {
        self.live.iter().map(|at| self.best[*at as usize].row)
    }

    /// Gives some rows of [`Self::live_rows`], those from `first` on, other ids.
    pub(crate) fn relocate(&mut self, first: usize, ids: impl Iterator<Item = RowId>) {
        for (at, id) in self.live[first..].iter().zip(ids) {
            self.best[*at as usize].row = id;
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
