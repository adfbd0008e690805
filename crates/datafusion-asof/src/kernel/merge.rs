//! Both sides in time order, with one "last row seen" per key.
//!
//! # Algorithm
//!
//! ```text
//! time ─────────────────────────────────────►      (descending for a forward join)
//! left            L1        L2    L3
//! right    r r  r    r r r     r        r ...
//! last[key]  the newest r of the key so far; L takes last[key of L]
//! ```
//!
//! Right rows that precede a left row are noted in `last` under their key, then the left row
//! takes the entry of its own key: one pass, no search. A forward join is the mirror image:
//! both sides descend and "precedes" means "is not earlier". Equal times on the right come
//! in the order of their place (reversed for forward), so the entry that stays is the last
//! in input order looking backward and the first looking forward.
//!
//! # Batch edges
//!
//! [`Merge::advance`] works on one left and one right batch and stops where it needs the
//! next of either; all state between calls is in [`Merge`] and two positions. A left row is
//! matched only when a right row that does not precede it has been seen, or the right has
//! ended.
//!
//! # Broken promises
//!
//! [`OrderCheck`] compares each time with the one before it, across batches: an input that
//! was declared ordered and is not ends the query with an error.

use datafusion::common::{Result, exec_err};

use super::domain::{TimeColumn, TimeValues, Times};
use super::ordinals::NULL_KEY;
use super::rows::{MatchCounts, RowId};
use super::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// A batch of one side, with its keys as ordinals and its times on the line.
#[derive(Debug)]
pub(crate) struct OrderedBatch {
    pub keys: Vec<u32>,
    pub times: Times,
}

/// A batch and how far the merge has come in it.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub batch: OrderedBatch,
    /// The number that its rows get as [`RowId::batch`].
    pub number: u32,
    pub position: usize,
}

/// What [`Merge::advance`] stopped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Every row of the left batch has its match.
    Left,
    /// The next left row may still find right rows that precede it.
    Right,
}

/// The state of a merge between batches.
#[derive(Debug)]
pub(crate) struct Merge {
    op: MatchOp,
    tolerance: Option<Tolerance>,
    /// By ordinal: the last row seen.
    last: Vec<RowId>,
    /// By ordinal: its time; kept only for a tolerance.
    last_times: Vec<i128>,
    /// By ordinal: left rows that met no right row of their key so far.
    unseen: Vec<usize>,
    pub counts: MatchCounts,
}

impl Merge {
    pub(crate) fn new(op: MatchOp, tolerance: Option<Tolerance>) -> Self {
        Self {
            op,
            tolerance,
            last: vec![],
            last_times: vec![],
            unseen: vec![],
            counts: MatchCounts::default(),
        }
    }

    /// Makes room for ordinals below `distinct`.
    pub(crate) fn grow(&mut self, distinct: usize) {
        self.last.resize(distinct, RowId::NONE);
        self.unseen.resize(distinct, 0);
        if self.tolerance.is_some() {
            self.last_times.resize(distinct, 0);
        }
    }

    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        self.last.capacity() * size_of::<RowId>()
            + self.last_times.capacity() * size_of::<i128>()
            + self.unseen.capacity() * size_of::<usize>()
    }

    /// Matches left rows until one batch or the other is used up. `right` is `None` when
    /// the right side has ended. Matches are appended to `matches`, one per left row.
    pub(crate) fn advance(
        &mut self,
        left: &mut Cursor,
        right: Option<&mut Cursor>,
        matches: &mut Vec<RowId>,
    ) -> Result<Needs> {
        let Some(right) = right else {
            for row in left.position..left.batch.keys.len() {
                matches.push(match &left.batch.times.values {
                    TimeValues::I64(times) => self.take(left, row, times),
                    TimeValues::I128(times) => self.take(left, row, times),
                    TimeValues::Rows(times) => self.take(left, row, times),
                });
            }
            left.position = left.batch.keys.len();
            return Ok(Needs::Left);
        };
        // Disjoint borrows: positions move while the columns are read.
        let (mut at_left, mut at_right) = (left.position, right.position);
        let needs = match (&left.batch.times.values, &right.batch.times.values) {
            (TimeValues::I64(l), TimeValues::I64(r)) => {
                self.merge((left, l, &mut at_left), (right, r, &mut at_right), matches)
            }
            (TimeValues::I128(l), TimeValues::I128(r)) => {
                self.merge((left, l, &mut at_left), (right, r, &mut at_right), matches)
            }
            (TimeValues::Rows(l), TimeValues::Rows(r)) => {
                self.merge((left, l, &mut at_left), (right, r, &mut at_right), matches)
            }
            _ => return exec_err!("as-of values of the sides are on different lines"),
        };
        (left.position, right.position) = (at_left, at_right);
        Ok(needs)
    }

    fn merge<'a, T: TimeColumn>(
        &mut self,
        (left, left_times, at_left): (&Cursor, &'a T, &mut usize),
        (right, right_times, at_right): (&Cursor, &'a T, &mut usize),
        matches: &mut Vec<RowId>,
    ) -> Needs {
        let equal = self.op.allows_equal();
        let descends = self.op.direction() == AsOfDirection::Forward;
        let precedes = |r: T::Value<'a>, l: T::Value<'a>| match descends {
            false => r < l || (equal && r == l),
            true => r > l || (equal && r == l),
        };
        let end = right.batch.keys.len();
        while *at_left < left.batch.keys.len() {
            if left.batch.times.is_valid(*at_left) {
                let time = left_times.value(*at_left);
                while *at_right < end
                    && (!right.batch.times.is_valid(*at_right)
                        || precedes(right_times.value(*at_right), time))
                {
                    self.note(right, *at_right, right_times);
                    *at_right += 1;
                }
                if *at_right == end {
                    return Needs::Right;
                }
            }
            matches.push(self.take(left, *at_left, left_times));
            *at_left += 1;
        }
        Needs::Left
    }

    /// Makes a right row the last one seen of its key.
    #[inline]
    fn note<T: TimeColumn>(&mut self, right: &Cursor, row: usize, times: &T) {
        let key = right.batch.keys[row];
        if key == NULL_KEY || !right.batch.times.is_valid(row) {
            return;
        }
        let key = key as usize;
        self.last[key] = RowId {
            batch: right.number,
            row: row as u32,
        };
        if self.tolerance.is_some() {
            self.last_times[key] = T::wide(times.value(row));
        }
        self.see(key);
    }

    /// The key has right rows: left rows that wondered now know that they were too early.
    #[inline]
    fn see(&mut self, key: usize) {
        let early = std::mem::take(&mut self.unseen[key]);
        self.counts.wrong_side += early;
        self.counts.no_key -= early;
    }

    /// The match of a left row, every right row that precedes it having been noted.
    #[inline]
    fn take<T: TimeColumn>(&mut self, left: &Cursor, row: usize, times: &T) -> RowId {
        let key = left.batch.keys[row];
        if key == NULL_KEY {
            self.counts.null_key += 1;
            return RowId::NONE;
        }
        if !left.batch.times.is_valid(row) {
            self.counts.null_time += 1;
            return RowId::NONE;
        }
        let key = key as usize;
        let last = self.last[key];
        if !last.is_some() {
            self.unseen[key] += 1;
            self.counts.no_key += 1;
            return RowId::NONE;
        }
        if let Some(tolerance) = self.tolerance {
            let (time, found) = (T::wide(times.value(row)), self.last_times[key]);
            if !tolerance.allows(time.max(found), time.min(found)) {
                self.counts.beyond_tolerance += 1;
                return RowId::NONE;
            }
        }
        self.counts.matched += 1;
        last
    }

    /// Whether some left row has met no right row of its key yet.
    pub(crate) fn wonders(&self) -> bool {
        self.counts.no_key > 0
    }

    /// Looks at right rows behind the last left row, only to tell a key that does not exist
    /// from one whose rows are all on the wrong side.
    pub(crate) fn look_at(&mut self, right: &Cursor) {
        for row in right.position..right.batch.keys.len() {
            let key = right.batch.keys[row];
            if key != NULL_KEY && right.batch.times.is_valid(row) {
                self.see(key as usize);
            }
        }
    }

    /// The rows that later left rows may still match.
    pub(crate) fn live(&self) -> impl Iterator<Item = RowId> {
        self.last.iter().copied().filter(|row| row.is_some())
    }

    /// Gives the rows of [`Self::live`] new ids, in the same order.
    pub(crate) fn relocate(&mut self, mut ids: impl Iterator<Item = RowId>) {
        for row in self.last.iter_mut().filter(|row| row.is_some()) {
            if let Some(id) = ids.next() {
                *row = id;
            }
        }
    }
}

/// Holds one input to the time order it was declared to have.
#[derive(Debug)]
pub(crate) struct OrderCheck {
    side: Side,
    descends: bool,
    last: Option<Place>,
    rows: usize,
}

/// An owned place on the line.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Number(i128),
    Bytes(Box<[u8]>),
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

    /// Checks the next batch of the input.
    ///
    /// # Errors
    /// An execution error that names the side and the row at which the order breaks.
    pub(crate) fn check(&mut self, times: &Times, rows: usize) -> Result<()> {
        let broken = match &times.values {
            TimeValues::I64(values) => {
                self.follow(times, rows, values, |v| Place::Number(i128::from(v)))
            }
            TimeValues::I128(values) => self.follow(times, rows, values, Place::Number),
            TimeValues::Rows(values) => {
                self.follow(times, rows, values, |v| Place::Bytes(v.data().into()))
            }
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

    fn follow<'a, T: TimeColumn>(
        &mut self,
        times: &Times,
        rows: usize,
        values: &'a T,
        place: impl Fn(T::Value<'a>) -> Place,
    ) -> Option<usize> {
        let mut valid = (0..rows).filter(|row| times.is_valid(*row));
        let first = valid.next()?;
        let mut previous = values.value(first);
        let first_place = place(previous);
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
        for row in valid {
            let value = values.value(row);
            let broken = match self.descends {
                false => value < previous,
                true => value > previous,
            };
            if broken {
                return Some(row);
            }
            previous = value;
        }
        self.last = Some(place(previous));
        None
    }
}
