//! About where in its list a time is, told by the time itself.
//!
//! # Algorithm
//!
//! The span of each list is cut into cells of equal width, about one for each of its rows, and
//! for each cell it is kept where it begins in the list. A time is searched in its cell alone:
//!
//! ```text
//! times      [ 3  5  5  8 | 21 23 | 30 31 ]      cells of width 8 from 3 on
//! starts       0            4  4    6        8   the second cell has no time
//! ```
//!
//! That is as many steps as there are rows in a cell, one or two where times are spread evenly,
//! and none of them a guess of the processor's. Where they are not, a cell may hold nearly all,
//! and is searched as its list would be. It is interpolation search (Peterson, "Addressing for
//! random-access storage", IBM Journal 1957) with its first guess kept.
//!
//! # Memory
//!
//! Up to 4 bytes a row and 24 for each key. Only small indexes have cells, of which all of this
//! stays in cache; elsewhere a cell would be one more wait for memory.

use std::ops::Range;

use super::line::IndexTime;
use super::search::CACHED_ROWS;

/// Rows of a list, on average, from which on cells save more than they cost.
pub(super) const WORTH: usize = 16;
/// Rows of a cell that are all looked at.
const FEW: usize = 2;

#[derive(Debug)]
pub(super) struct Cells<T> {
    /// By ordinal.
    lists: Vec<List<T>>,
    /// Of each list where its cells begin, and where the last one ends.
    starts: Vec<u32>,
}

/// The cells of a list.
#[derive(Debug, Clone, Copy)]
struct List<T> {
    least: T,
    greatest: T,
    /// Of the width of a cell, a power of two.
    shift: u32,
    /// Where the first cell is among all.
    first: u32,
}

impl<T: IndexTime> Cells<T> {
    /// The cells of lists of ascending times, which begin at the offsets; `None` where they
    /// would not gain.
    pub(super) fn of(times: &[T], offsets: &[usize]) -> Option<Self> {
        let keys = offsets.len().saturating_sub(1);
        if !pays(times.len(), keys) {
            return None;
        }
        let mut cells = Self::with_capacity(keys, starts_of(times.len(), keys));
        for ends in offsets.windows(2) {
            cells.add(times, ends[0]..ends[1], 0);
        }
        Some(cells)
    }

    /// None yet, with room for so many lists and starts of cells.
    pub(super) fn with_capacity(lists: usize, starts: usize) -> Self {
        Self {
            lists: Vec::with_capacity(lists),
            starts: Vec::with_capacity(starts),
        }
    }

    /// The cells of the next list, those times of all that are at its places; two to the power of `finer`
    /// for each.
    pub(super) fn add(&mut self, times: &[T], places: Range<usize>, finer: u32) {
        let list = &times[places.clone()];
        let first = self.starts.len();
        let (least, greatest) = match list {
            [only] => (*only, *only),
            [least, .., greatest] => (*least, *greatest),
            [] => (T::default(), T::default()),
        };
        let span: u128 = greatest.into().wrapping_sub(least.into()).cast_unsigned();
        let bits = u128::BITS - span.leading_zeros();
        let shift = bits
            .saturating_sub(list.len().max(1).ilog2() + finer)
            .min(8 * size_of::<T>() as u32 - 1);
        let cells = greatest.cell(least, shift) as usize + 1;
        self.starts.resize(first + cells + 1, places.start as u32);
        let starts = &mut self.starts[first..];
        // Where the times of a cell end, then the same of those that have none.
        for (time, end) in list.iter().zip(places.start as u32 + 1..) {
            starts[time.cell(least, shift) as usize + 1] = end;
        }
        let mut before = places.start as u32;
        for start in starts {
            before = before.max(*start);
            *start = before;
        }
        self.lists.push(List {
            least,
            greatest,
            shift,
            first: first as u32,
        });
    }

    /// Positions of a list between which a time is: all before them are less, all after them
    /// greater. The list is not empty.
    #[inline]
    pub(super) fn around(&self, key: usize, time: T) -> Range<usize> {
        let list = &self.lists[key];
        let within = time.max(list.least).min(list.greatest);
        let cell = list.first as usize + within.cell(list.least, list.shift) as usize;
        self.starts[cell] as usize..self.starts[cell + 1] as usize
    }

    /// The first position of a list that does not precede a time, found without a guess of the processor's where
    /// cells are as fine as times are dense. `times` are those of all lists; this one is not empty.
    #[inline]
    pub(super) fn point(
        &self,
        times: &[T],
        (key, time): (usize, T),
        precedes: impl Fn(T) -> bool,
    ) -> usize {
        let Range { start, end } = self.around(key, time);
        if end - start > FEW {
            // Of equal times it is one of the ends.
            if !precedes(times[start]) {
                return start;
            }
            if precedes(times[end - 1]) {
                return end;
            }
            return start + times[start..end].partition_point(|time| precedes(*time));
        }
        let last = times.len() - 1;
        let passes = |at: usize| usize::from((at < end) & precedes(times[at.min(last)]));
        start + (start..start + FEW).map(passes).sum::<usize>()
    }

    pub(super) fn size(&self) -> usize {
        let lists = self.lists.capacity() * size_of::<List<T>>();
        lists + self.starts.capacity() * size_of::<u32>()
    }

    /// Bytes of [`Self::of`] for so many rows and keys.
    pub(super) fn size_of(rows: usize, keys: usize) -> usize {
        match pays(rows, keys) {
            true => starts_of(rows, keys) * size_of::<u32>() + keys * size_of::<List<T>>(),
            false => 0,
        }
    }

    /// The same for so many rows or fewer.
    pub(super) fn most_size_of(rows: usize, keys: usize) -> usize {
        Self::size_of(rows.min(CACHED_ROWS - 1), keys)
    }
}

/// Whether lists of so many rows in all gain by cells.
fn pays(rows: usize, keys: usize) -> bool {
    rows < CACHED_ROWS && rows >= WORTH * keys
}

/// Starts of cells, at most.
fn starts_of(rows: usize, keys: usize) -> usize {
    rows + 2 * keys
}

#[cfg(test)]
mod tests;
