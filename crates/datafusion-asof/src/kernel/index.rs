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
//! Rows arrive batch by batch in any order. [`RightIndexBuilder::push`] notes for each its
//! key ordinal, time, place in the input and id; rows with a NULL key or an invalid time are
//! left out, they match nothing. [`RightIndexBuilder::finish`] counts the rows of each key,
//! scatters them to their key's stretch, and sorts the stretches that did not arrive in
//! (time, place) order. A left row then finds its stretch by ordinal and the nearest row by
//! binary search.
//!
//! Values that have an order but are no numbers (strings) are ranked: the i-th distinct
//! right value becomes `2i + 1`, a left value its rank or the even number between two ranks.
//!
//! # Memory
//!
//! While it is built 28 to 44 bytes a row, then 16 to 24; payload is not touched.
//! [`RightIndexBuilder::size`] and [`RightIndex::size`] tell the pool.

use std::ops::Range;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::Rows;
use datafusion::common::{Result, exec_err};

use super::domain::{Line, TimeDomain, TimeValues, Times};
use super::ordinals::{ABSENT, KeyOrdinals, NULL_KEY};
use super::rows::{MatchCounts, RowId};
use super::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// A right batch as the index sees it.
pub(crate) struct RightBatch<'a> {
    pub keys: &'a [ArrayRef],
    pub time: &'a ArrayRef,
    /// The place of each row in the right input: decides between equal times.
    pub places: &'a [u64],
}

/// Collects right rows.
pub(crate) struct RightIndexBuilder {
    domain: TimeDomain,
    ordinals: KeyOrdinals,
    batches: u32,
    keys: Vec<u32>,
    rows: Vec<RowId>,
    places: Vec<u64>,
    times: Collected,
}

/// Times of the rows collected so far.
enum Collected {
    I64(Vec<i64>),
    I128(Vec<i128>),
    /// All values in arrival order, invalid ones included, and the row numbers kept.
    Rows {
        values: Option<Rows>,
        kept: Vec<u32>,
    },
}

impl RightIndexBuilder {
    pub(crate) fn try_new(domain: &TimeDomain, key_types: &[DataType]) -> Result<Self> {
        Ok(Self {
            domain: domain.clone(),
            ordinals: KeyOrdinals::try_new(key_types)?,
            batches: 0,
            keys: vec![],
            rows: vec![],
            places: vec![],
            times: match domain.line() {
                Line::I64 => Collected::I64(vec![]),
                Line::I128 => Collected::I128(vec![]),
                Line::Rows => Collected::Rows {
                    values: None,
                    kept: vec![],
                },
            },
        })
    }

    /// Adds the next batch; its rows get its number as [`RowId::batch`].
    pub(crate) fn push(&mut self, batch: &RightBatch<'_>) -> Result<()> {
        let number = self.batches;
        if number == u32::MAX {
            return exec_err!("the right side of an as-of join has too many batches");
        }
        self.batches += 1;
        let count = batch.places.len();
        let keys = self.ordinals.intern(batch.keys, count)?;
        let times = self.domain.times(Side::Right, batch.time)?;
        let usable = |row: &usize| keys[*row] != NULL_KEY && times.is_valid(*row);
        for row in (0..count).filter(usable) {
            self.keys.push(keys[row]);
            self.places.push(batch.places[row]);
            self.rows.push(RowId {
                batch: number,
                row: row as u32,
            });
        }
        let kept = (0..count).filter(usable);
        match (&mut self.times, &times.values) {
            (Collected::I64(all), TimeValues::I64(new)) => all.extend(kept.map(|row| new[row])),
            (Collected::I128(all), TimeValues::I128(new)) => all.extend(kept.map(|row| new[row])),
            (Collected::Rows { values, kept: all }, TimeValues::Rows(_)) => {
                let before = values.as_ref().map_or(0, Rows::num_rows);
                self.domain.append_rows(values, batch.time)?;
                all.extend(kept.map(|row| (before + row) as u32));
                if before + count > u32::MAX as usize {
                    return exec_err!("the right side of an as-of join has too many rows");
                }
            }
            _ => return exec_err!("as-of values changed their line"),
        }
        Ok(())
    }

    /// Bytes held now and needed by [`Self::finish`], for the memory pool.
    pub(crate) fn size(&self) -> usize {
        let per_row = 2 * (size_of::<u32>() + size_of::<RowId>() + size_of::<u64>());
        let times = match &self.times {
            Collected::I64(times) => 2 * size_of_val(times.as_slice()),
            Collected::I128(times) => 2 * size_of_val(times.as_slice()),
            Collected::Rows { values, kept } => {
                values.as_ref().map_or(0, Rows::size) + 4 * size_of::<i64>() * kept.len()
            }
        };
        self.ordinals.size() + self.rows.len() * per_row + times
    }

    /// Groups by key and orders by time.
    pub(crate) fn finish(self) -> Result<RightIndex> {
        let (times, ranks) = match self.times {
            Collected::I64(times) => (Collected::I64(times), None),
            Collected::I128(times) => (Collected::I128(times), None),
            Collected::Rows { values, kept } => {
                let (times, ranks) = Ranks::of(values, &kept);
                (Collected::I64(times), Some(ranks))
            }
        };
        let offsets = offsets(&self.keys, self.ordinals.len());
        let entries = Entries {
            keys: &self.keys,
            places: &self.places,
            rows: &self.rows,
            offsets: &offsets,
        };
        let (times, rows) = match times {
            Collected::I64(times) => {
                let (times, rows) = entries.grouped(&times);
                (TimeValues::I64(times.into()), rows)
            }
            Collected::I128(times) => {
                let (times, rows) = entries.grouped(&times);
                (TimeValues::I128(times), rows)
            }
            Collected::Rows { .. } => return exec_err!("values were not ranked"),
        };
        Ok(RightIndex {
            domain: self.domain,
            ordinals: self.ordinals,
            offsets,
            times,
            rows,
            ranks,
        })
    }
}

/// Where the stretch of each key begins, and after the last where it ends.
fn offsets(keys: &[u32], distinct: usize) -> Vec<usize> {
    let mut offsets = vec![0; distinct + 1];
    for key in keys {
        offsets[*key as usize + 1] += 1;
    }
    let mut sum = 0;
    for offset in &mut offsets {
        sum += *offset;
        *offset = sum;
    }
    offsets
}

/// Collected rows on their way into the index.
struct Entries<'a> {
    keys: &'a [u32],
    places: &'a [u64],
    rows: &'a [RowId],
    offsets: &'a [usize],
}

impl Entries<'_> {
    fn grouped<T: Copy + Ord + Default>(&self, times: &[T]) -> (Vec<T>, Vec<RowId>) {
        let count = times.len();
        let mut next = self.offsets.to_vec();
        let mut grouped_times = vec![T::default(); count];
        let mut grouped_rows = vec![RowId::NONE; count];
        let mut grouped_places = vec![0; count];
        for entry in 0..count {
            let slot = &mut next[self.keys[entry] as usize];
            grouped_times[*slot] = times[entry];
            grouped_rows[*slot] = self.rows[entry];
            grouped_places[*slot] = self.places[entry];
            *slot += 1;
        }
        let mut scratch = vec![];
        for stretch in self.offsets.windows(2) {
            let stretch = stretch[0]..stretch[1];
            let (times, places) = (
                &mut grouped_times[stretch.clone()],
                &grouped_places[stretch.clone()],
            );
            let key = |i: usize| (times[i], places[i]);
            if (1..times.len()).all(|i| key(i - 1) <= key(i)) {
                continue;
            }
            let rows = &mut grouped_rows[stretch];
            scratch.clear();
            scratch.extend((0..times.len()).map(|i| (times[i], places[i], rows[i])));
            scratch.sort_unstable_by_key(|(time, place, _)| (*time, *place));
            for (i, (time, _, row)) in scratch.iter().enumerate() {
                times[i] = *time;
                rows[i] = *row;
            }
        }
        (grouped_times, grouped_rows)
    }
}

/// The right side, ready to be looked up by any number of threads.
#[derive(Debug)]
pub(crate) struct RightIndex {
    domain: TimeDomain,
    ordinals: KeyOrdinals,
    offsets: Vec<usize>,
    times: TimeValues,
    rows: Vec<RowId>,
    ranks: Option<Ranks>,
}

/// The left batch to be matched.
pub(crate) struct LeftBatch<'a> {
    pub keys: &'a [ArrayRef],
    pub time: &'a ArrayRef,
}

impl RightIndex {
    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        let times = match &self.times {
            TimeValues::I64(times) => size_of_val(&**times),
            TimeValues::I128(times) => size_of_val(times.as_slice()),
            TimeValues::Rows(rows) => rows.size(),
        };
        self.ordinals.size()
            + size_of_val(self.offsets.as_slice())
            + times
            + size_of_val(self.rows.as_slice())
            + self.ranks.as_ref().map_or(0, Ranks::size)
    }

    /// The match of each left row, [`RowId::NONE`] where there is none.
    pub(crate) fn probe(
        &self,
        left: &LeftBatch<'_>,
        op: MatchOp,
        tolerance: Option<Tolerance>,
    ) -> Result<(Vec<RowId>, MatchCounts)> {
        let keys = self.ordinals.lookup(left.keys, left.time.len())?;
        let times = self.domain.times(Side::Left, left.time)?;
        let probe = Probe {
            index: self,
            keys: &keys,
            valid: &times,
            op,
            tolerance,
        };
        match (&self.times, &times.values) {
            (TimeValues::I64(right), TimeValues::I64(left)) => {
                Ok(probe.run(right, |row| left[row]))
            }
            (TimeValues::I128(right), TimeValues::I128(left)) => {
                Ok(probe.run(right, |row| left[row]))
            }
            (TimeValues::I64(right), TimeValues::Rows(left)) => {
                let Some(ranks) = &self.ranks else {
                    return exec_err!("as-of values were not ranked");
                };
                Ok(probe.run(right, |row| ranks.place(left.row(row).data())))
            }
            _ => exec_err!("as-of values of the sides are on different lines"),
        }
    }
}

struct Probe<'a> {
    index: &'a RightIndex,
    keys: &'a [u32],
    valid: &'a Times,
    op: MatchOp,
    tolerance: Option<Tolerance>,
}

impl Probe<'_> {
    fn run<T: Copy + Ord + Into<i128>>(
        &self,
        right: &[T],
        left: impl Fn(usize) -> T,
    ) -> (Vec<RowId>, MatchCounts) {
        let mut counts = MatchCounts::default();
        let matches = (0..self.keys.len())
            .map(|row| {
                let key = self.keys[row];
                if key == NULL_KEY {
                    counts.null_key += 1;
                    return RowId::NONE;
                }
                if !self.valid.is_valid(row) {
                    counts.null_time += 1;
                    return RowId::NONE;
                }
                let stretch = self.stretch(key);
                if stretch.is_empty() {
                    counts.no_key += 1;
                    return RowId::NONE;
                }
                let time = left(row);
                let Some(nearest) = nearest(&right[stretch.clone()], time, self.op) else {
                    counts.wrong_side += 1;
                    return RowId::NONE;
                };
                let nearest = stretch.start + nearest;
                if let Some(tolerance) = self.tolerance {
                    let (time, found) = (time.into(), right[nearest].into());
                    if !tolerance.allows(time.max(found), time.min(found)) {
                        counts.beyond_tolerance += 1;
                        return RowId::NONE;
                    }
                }
                counts.matched += 1;
                self.index.rows[nearest]
            })
            .collect();
        (matches, counts)
    }

    fn stretch(&self, key: u32) -> Range<usize> {
        if key == ABSENT {
            return 0..0;
        }
        let key = key as usize;
        self.index.offsets[key]..self.index.offsets[key + 1]
    }
}

/// The position of the nearest candidate among the ascending times of a key.
fn nearest<T: Copy + Ord>(times: &[T], time: T, op: MatchOp) -> Option<usize> {
    let before = |bound: bool| times.partition_point(|t| *t < time || (bound && *t == time));
    match op.direction() {
        AsOfDirection::Backward | AsOfDirection::Nearest => {
            before(op.allows_equal()).checked_sub(1)
        }
        AsOfDirection::Forward => {
            let first = before(!op.allows_equal());
            (first < times.len()).then_some(first)
        }
    }
}

/// The distinct right values in order, for values that are no numbers.
#[derive(Debug)]
struct Ranks {
    distinct: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Ranks {
    /// The place of each kept value, and the ranks they come from.
    fn of(values: Option<Rows>, kept: &[u32]) -> (Vec<i64>, Self) {
        let Some(values) = values else {
            let ranks = Self {
                distinct: vec![],
                bytes: 0,
            };
            return (vec![], ranks);
        };
        let value = |entry: u32| values.row(kept[entry as usize] as usize);
        let mut order: Vec<u32> = (0..kept.len() as u32).collect();
        order.sort_unstable_by(|a, b| value(*a).cmp(&value(*b)));
        let mut places = vec![0; kept.len()];
        let mut distinct: Vec<Box<[u8]>> = vec![];
        for entry in order {
            let bytes = value(entry);
            if distinct.last().is_none_or(|last| **last != *bytes.data()) {
                distinct.push(bytes.data().into());
            }
            places[entry as usize] = 2 * distinct.len() as i64 - 1;
        }
        let bytes = distinct.iter().map(|value| value.len()).sum();
        (places, Self { distinct, bytes })
    }

    fn place(&self, value: &[u8]) -> i64 {
        let below = self.distinct.partition_point(|known| **known < *value);
        let known = self
            .distinct
            .get(below)
            .is_some_and(|known| **known == *value);
        2 * below as i64 + i64::from(known)
    }

    fn size(&self) -> usize {
        self.bytes + size_of_val(self.distinct.as_slice())
    }
}
