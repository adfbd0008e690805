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
//! # NULLs ignored, and rows that nobody chose
//!
//! With IGNORE NULLS there is one entry more per key for each right column that may be NULL:
//! the last row in which it is valid. Where right rows come out alone (RIGHT, FULL), an entry
//! that gives way to a newer row before any left row took it has become such a row.
//!
//! # Batch edges
//!
//! [`Merge::advance`] works on one left and one right batch and stops where it needs the
//! next of either; all state between calls is in [`Merge`] and two positions. A left row is
//! matched only when a right row that does not precede it has been seen, or the right has
//! ended.
//!
use datafusion::arrow::buffer::NullBuffer;
use datafusion::common::{Result, exec_err};

use super::domain::{TimeColumn, TimeValues, Times};
use super::ordinals::{NULL_KEY, REFUSED, is_known};
use super::rows::{MatchCounts, RowId};
use super::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchOp};

/// A batch of one side, with its keys as ordinals and its times on the line.
#[derive(Debug)]
pub(crate) struct OrderedBatch {
    pub keys: Vec<u32>,
    pub times: Times,
    /// Of a right batch, for each class but the first, which rows are valid in it.
    pub validity: Vec<Option<NullBuffer>>,
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

/// What is merged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MergeSpec {
    pub op: MatchOp,
    pub tolerance: Option<Tolerance>,
    /// One, and with IGNORE NULLS one more for each right column.
    pub classes: usize,
    /// Whether right rows come out that no left row chose.
    pub keeps_unchosen: bool,
}

/// The state of a merge between batches.
#[derive(Debug)]
pub(crate) struct Merge {
    spec: MergeSpec,
    /// By ordinal and class: the last row seen.
    last: Vec<RowId>,
    /// By ordinal and class: its time; kept only for a tolerance.
    last_times: Vec<i128>,
    /// By ordinal: whether a left row took the last row seen; only if that matters.
    chosen: Vec<bool>,
    /// By ordinal: left rows that met no right row of their key so far.
    unseen: Vec<usize>,
    /// Right rows that no left row will choose.
    unchosen: Vec<RowId>,
    pub counts: MatchCounts,
}

impl Merge {
    pub(crate) fn new(spec: MergeSpec) -> Self {
        Self {
            spec,
            last: vec![],
            last_times: vec![],
            chosen: vec![],
            unseen: vec![],
            unchosen: vec![],
            counts: MatchCounts::default(),
        }
    }

    /// Makes room for ordinals below `distinct`; batches may be read in another order than prepared.
    pub(crate) fn grow(&mut self, distinct: usize) {
        let distinct = distinct.max(self.unseen.len());
        self.last.resize(distinct * self.spec.classes, RowId::NONE);
        self.unseen.resize(distinct, 0);
        if self.spec.tolerance.is_some() {
            self.last_times.resize(distinct * self.spec.classes, 0);
        }
        if self.spec.keeps_unchosen {
            self.chosen.resize(distinct, false);
        }
    }

    /// Bytes that [`Self::grow`] and the noting of `rows` right rows may take.
    pub(crate) fn room(&self, distinct: usize, rows: usize) -> usize {
        let entries = distinct * self.spec.classes;
        let larger = |needed: usize, capacity: usize, width: usize| match needed > capacity {
            // Vectors grow to twice their size.
            true => needed.max(2 * capacity) * width,
            false => 0,
        };
        let mut room = larger(entries, self.last.capacity(), size_of::<RowId>())
            + larger(distinct, self.unseen.capacity(), size_of::<usize>());
        if self.spec.tolerance.is_some() {
            room += larger(entries, self.last_times.capacity(), size_of::<i128>());
        }
        if self.spec.keeps_unchosen {
            let unchosen = self.unchosen.len() + rows;
            room += larger(distinct, self.chosen.capacity(), size_of::<bool>())
                + larger(unchosen, self.unchosen.capacity(), size_of::<RowId>());
        }
        room
    }

    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        (self.last.capacity() + self.unchosen.capacity()) * size_of::<RowId>()
            + self.last_times.capacity() * size_of::<i128>()
            + self.chosen.capacity()
            + self.unseen.capacity() * size_of::<usize>()
    }

    /// Matches left rows until one batch or the other is used up. `right` is `None` when
    /// the right side has ended. Matches are appended to `matches`, for each class one per
    /// left row.
    pub(crate) fn advance(
        &mut self,
        left: &mut Cursor,
        right: Option<&mut Cursor>,
        matches: &mut [Vec<RowId>],
    ) -> Result<Needs> {
        let Some(right) = right else {
            for row in left.position..left.batch.keys.len() {
                match &left.batch.times.values {
                    TimeValues::I64(times) => self.take(left, row, times, matches),
                    TimeValues::I128(times) => self.take(left, row, times, matches),
                    TimeValues::Rows(times) => self.take(left, row, times, matches),
                }
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
        matches: &mut [Vec<RowId>],
    ) -> Needs {
        let equal = self.spec.op.allows_equal();
        let descends = self.spec.op.direction() == AsOfDirection::Forward;
        let precedes = |r: T::Value<'a>, l: T::Value<'a>| match descends {
            false => r < l || (equal && r == l),
            true => r > l || (equal && r == l),
        };
        let end = right.batch.keys.len();
        // One entry to be written for a right row, and one to be read for a left row.
        let plain = self.spec.classes == 1
            && self.spec.tolerance.is_none()
            && !self.spec.keeps_unchosen
            && right.batch.times.all_valid();
        while *at_left < left.batch.keys.len() {
            if left.batch.times.is_valid(*at_left) {
                let time = left_times.value(*at_left);
                let mut at = *at_right;
                match plain {
                    true => {
                        while at < end && precedes(right_times.value(at), time) {
                            self.note_alone(right, at);
                            at += 1;
                        }
                    }
                    false => {
                        while at < end
                            && (!right.batch.times.is_valid(at)
                                || precedes(right_times.value(at), time))
                        {
                            self.note(right, at, right_times);
                            at += 1;
                        }
                    }
                }
                *at_right = at;
                if at == end {
                    return Needs::Right;
                }
            }
            self.take(left, *at_left, left_times, matches);
            *at_left += 1;
        }
        Needs::Left
    }

    /// As [`Self::note`], where all that is noted of a row is which it is.
    #[inline]
    fn note_alone(&mut self, right: &Cursor, row: usize) {
        let key = right.batch.keys[row];
        if !is_known(key) {
            return;
        }
        let last = &mut self.last[key as usize];
        let is_first = !last.is_some();
        *last = RowId {
            batch: right.number,
            row: row as u32,
        };
        if is_first {
            self.see(key as usize);
        }
    }

    /// Makes a right row the last one seen of its key.
    #[inline]
    fn note<T: TimeColumn>(&mut self, right: &Cursor, row: usize, times: &T) {
        let key = right.batch.keys[row];
        let id = RowId {
            batch: right.number,
            row: row as u32,
        };
        if !is_known(key) || !right.batch.times.is_valid(row) {
            if self.spec.keeps_unchosen {
                self.unchosen.push(id);
            }
            return;
        }
        let key = key as usize;
        let entry = key * self.spec.classes;
        if self.spec.keeps_unchosen {
            let taken = std::mem::take(&mut self.chosen[key]);
            if !taken && self.last[entry].is_some() {
                self.unchosen.push(self.last[entry]);
            }
        }
        self.note_entry(entry, id, times, row);
        for (class, valid) in right.batch.validity.iter().enumerate() {
            if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
                self.note_entry(entry + 1 + class, id, times, row);
            }
        }
        self.see(key);
    }

    #[inline]
    fn note_entry<T: TimeColumn>(&mut self, entry: usize, id: RowId, times: &T, row: usize) {
        self.last[entry] = id;
        if self.spec.tolerance.is_some() {
            self.last_times[entry] = T::wide(times.value(row));
        }
    }

    /// The key has right rows: left rows that wondered now know that they were too early.
    fn see(&mut self, key: usize) {
        let early = std::mem::take(&mut self.unseen[key]);
        self.counts.wrong_side += early;
        self.counts.no_key -= early;
    }

    /// Appends the matches of a left row, every right row that precedes it having been noted.
    #[inline]
    fn take<T: TimeColumn>(
        &mut self,
        left: &Cursor,
        row: usize,
        times: &T,
        matches: &mut [Vec<RowId>],
    ) {
        let Some(entry) = self.entry_of(left, row, times) else {
            for class in matches {
                class.push(RowId::NONE);
            }
            return;
        };
        self.counts.matched += 1;
        if self.spec.keeps_unchosen {
            self.chosen[entry / self.spec.classes] = true;
        }
        matches[0].push(self.last[entry]);
        for (class, matches) in matches.iter_mut().enumerate().skip(1) {
            let entry = entry + class;
            let near = self.last[entry].is_some() && self.near_enough::<T>(times.value(row), entry);
            matches.push(if near { self.last[entry] } else { RowId::NONE });
        }
    }

    /// The entry that a left row matches, or a count of why there is none.
    #[inline]
    fn entry_of<T: TimeColumn>(&mut self, left: &Cursor, row: usize, times: &T) -> Option<usize> {
        let key = match left.batch.keys[row] {
            NULL_KEY => {
                self.counts.null_key += 1;
                return None;
            }
            REFUSED => {
                self.counts.refused += 1;
                return None;
            }
            key => key as usize,
        };
        if !left.batch.times.is_valid(row) {
            self.counts.null_time += 1;
            return None;
        }
        let entry = key * self.spec.classes;
        if !self.last[entry].is_some() {
            self.unseen[key] += 1;
            self.counts.no_key += 1;
            return None;
        }
        if !self.near_enough::<T>(times.value(row), entry) {
            self.counts.beyond_tolerance += 1;
            return None;
        }
        Some(entry)
    }

    #[inline]
    fn near_enough<T: TimeColumn>(&self, time: T::Value<'_>, entry: usize) -> bool {
        self.spec.tolerance.is_none_or(|tolerance| {
            let (time, found) = (T::wide(time), self.last_times[entry]);
            tolerance.allows(time.max(found), time.min(found))
        })
    }

    /// Whether some left row has met no right row of its key yet.
    pub(crate) fn wonders(&self) -> bool {
        self.counts.no_key > 0
    }

    /// Looks at right rows behind the last left row: to tell a key that does not exist from
    /// one whose rows are all on the wrong side, and because nobody will choose them.
    pub(crate) fn look_at(&mut self, right: &mut Cursor) {
        for row in right.position..right.batch.keys.len() {
            if self.spec.keeps_unchosen {
                match &right.batch.times.values {
                    TimeValues::I64(times) => self.note(right, row, times),
                    TimeValues::I128(times) => self.note(right, row, times),
                    TimeValues::Rows(times) => self.note(right, row, times),
                }
            } else if is_known(right.batch.keys[row]) && right.batch.times.is_valid(row) {
                self.see(right.batch.keys[row] as usize);
            }
        }
        right.position = right.batch.keys.len();
    }

    /// Both sides have ended: what no left row took, none will.
    pub(crate) fn end(&mut self) {
        if self.spec.keeps_unchosen {
            let entries = self.last.iter().step_by(self.spec.classes);
            let free = entries.zip(&self.chosen).filter(|(_, chosen)| !**chosen);
            let free = free.map(|(row, _)| *row).filter(|row| row.is_some());
            self.unchosen.extend(free);
            self.last.clear();
        }
    }

    /// Right rows known by now to be chosen by no left row; each is given once.
    pub(crate) fn take_unchosen(&mut self) -> Vec<RowId> {
        std::mem::take(&mut self.unchosen)
    }

    /// The rows that later left rows may still match.
    pub(crate) fn live(&self) -> impl Iterator<Item = RowId> {
        self.last.iter().copied().filter(|row| row.is_some())
    }

    /// Gives the rows of [`Self::live`] new ids.
    pub(crate) fn relocate(&mut self, id: impl Fn(RowId) -> RowId) {
        for row in self.last.iter_mut().filter(|row| row.is_some()) {
            *row = id(*row);
        }
    }
}
