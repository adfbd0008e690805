//! The times of an index, and how one is found among them.
//!
//! # Algorithm
//!
//! A binary search in a list of millions waits for memory at every step. Here every 16th
//! time, every 256th, every 4096th and so on is kept apart as well: the few of the last kind
//! stay in cache and are searched first, then the fifteen of each finer kind that are left.
//! Few waits, whatever the length, and none of them depends on how times are spread, as an
//! interpolation would.
//!
//! ```text
//! every 4096th   [ t0        t4096        t8192  ... ]
//! every 256th              [ t4096 t4352 .. t7936 ]
//! every 16th                     [ t4352 .. t4592 ]
//! times                                [ t4368 .. ]
//! ```
//!
//! Searches that do not depend on each other go down together, level by level, and without
//! branches, so that the processor waits for many of them at once. They may pause after the
//! levels that stay in cache, to be put in an order in which the finer ones are met better.
//!
//! The shape is that of static search trees with the values of a node side by side (Rao and
//! Ross, "Making B+-trees cache conscious in main memory", SIGMOD 2000), the grouping of
//! searches that of Chen et al., "Improving hash join performance through prefetching" (ICDE
//! 2004).

use std::hint::black_box;
use std::ops::Range;

use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::ArrowNativeType;

use super::cells::Cells;
use super::line::IndexTime;

/// Bytes that come from memory together.
const CACHE_LINE: usize = 64;
const FAN_OUT_BITS: u32 = 4;
const FAN_OUT: usize = 1 << FAN_OUT_BITS;
/// Times, or samples of a level, between two samples of the next.
const MOST: usize = FAN_OUT - 1;
const LEVELS: usize = 4;

/// Times, ascending within each stretch that is searched.
#[derive(Debug)]
pub(crate) struct Timeline<T: ArrowNativeType> {
    times: ScalarBuffer<T>,
    /// Every 16th of them, every 256th, every 4096th, every 65,536th.
    samples: [Vec<T>; LEVELS],
    cells: Option<Cells<T>>,
}

/// Once narrowed, a search goes on among fewer times than two to the power of this.
pub(super) const NARROWED_BITS: u32 = FAN_OUT_BITS * (COARSE.start as u32 + 1);
/// Levels that stay in cache while others are read, and those that do not.
const COARSE: Range<usize> = 2..LEVELS;
const FINE: Range<usize> = 0..COARSE.start;

/// The search for a time in a stretch, and then its result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<T> {
    pub time: T,
    /// The left row that asks.
    pub row: u32,
    /// The stretch.
    pub first: u32,
    pub last: u32,
    /// What is left of it; once found the first position that does not precede.
    pub start: u32,
    pub end: u32,
}

impl<T> Query<T> {
    pub(super) fn new(row: u32, time: T, stretch: Range<u32>) -> Self {
        Self {
            time,
            row,
            first: stretch.start,
            last: stretch.end,
            start: stretch.start,
            end: stretch.end,
        }
    }

    /// The same, if it is known between which positions its result is.
    pub(super) fn within(self, part: Option<Range<usize>>) -> Self {
        match part {
            Some(part) => Self {
                start: part.start as u32,
                end: part.end as u32,
                ..self
            },
            None => self,
        }
    }
}

impl<T: IndexTime> Timeline<T> {
    /// Times of lists that begin at the offsets.
    pub(super) fn new(times: ScalarBuffer<T>, offsets: &[usize]) -> Self {
        let sample = |of: &[T]| of.iter().step_by(FAN_OUT).copied().collect::<Vec<_>>();
        let first = sample(&times);
        let second = sample(&first);
        let third = sample(&second);
        let fourth = sample(&third);
        Self {
            cells: Cells::of(&times, offsets),
            times,
            samples: [first, second, third, fourth],
        }
    }

    #[inline]
    pub(super) fn at(&self, position: usize) -> T {
        self.times[position]
    }

    pub(super) fn stretch(&self, stretch: Range<usize>) -> &[T] {
        &self.times[stretch]
    }

    /// Begins to search, among the samples that stay in cache.
    pub(super) fn narrow(&self, queries: &mut [Query<T>], equal_precedes: bool) {
        match equal_precedes {
            true => self.narrow_by(COARSE, queries, |time, than| time <= than),
            false => self.narrow_by(COARSE, queries, |time, than| time < than),
        }
    }

    /// Goes on where [`Self::narrow`] ended: for each query the first position of its stretch
    /// that does not precede, that is not less than the time, or with `equal_precedes` not less
    /// than or equal to it.
    pub(super) fn find(&self, queries: &mut [Query<T>], equal_precedes: bool) {
        match equal_precedes {
            true => self.find_by(queries, |time, than| time <= than),
            false => self.find_by(queries, |time, than| time < than),
        }
    }

    #[inline]
    fn narrow_by(
        &self,
        levels: Range<usize>,
        queries: &mut [Query<T>],
        precedes: impl Fn(T, T) -> bool,
    ) {
        let searched = |query: &Query<T>| (query.end - query.start) as usize <= MOST;
        if queries.iter().all(searched) {
            return;
        }
        for level in levels.rev() {
            for query in &mut *queries {
                let than = query.time;
                let stretch = query.start as usize..query.end as usize;
                let narrower = self.narrower(level, stretch, |time| precedes(time, than));
                (query.start, query.end) = (narrower.start as u32, narrower.end as u32);
            }
        }
    }

    #[inline]
    fn find_by(&self, queries: &mut [Query<T>], precedes: impl Fn(T, T) -> bool) {
        self.narrow_by(FINE, queries, &precedes);
        // Nothing here depends on what is read, so that far more is waited for at once than
        // where something is done with it.
        let first = |query: &Query<T>| self.times.get(query.start as usize).copied();
        black_box(queries.iter().filter_map(first).max());
        for query in queries {
            let than = query.time;
            let (start, end) = (query.start as usize, query.end as usize);
            let before = count(&self.times[start..], end - start, |time| {
                precedes(time, than)
            });
            query.start += before as u32;
        }
    }

    /// The part of the list of a key that a time is in or at an end of, where lists have cells.
    #[inline]
    pub(super) fn cell(&self, key: usize, time: T) -> Option<Range<usize>> {
        let cells = self.cells.as_ref()?;
        Some(cells.around(key, time))
    }

    /// The first position of a stretch that does not precede; those that precede come first.
    #[inline]
    pub(super) fn partition_point(
        &self,
        mut stretch: Range<usize>,
        precedes: impl Fn(T) -> bool,
    ) -> usize {
        for level in (0..LEVELS).rev() {
            stretch = self.narrower(level, stretch, &precedes);
        }
        let Range { start, end } = stretch;
        start + count(&self.times[start..], end - start, precedes)
    }

    /// The part of a stretch between two samples of a level in which the first position that
    /// does not precede is; it may also be the end of that part.
    #[inline]
    fn narrower(
        &self,
        level: usize,
        stretch: Range<usize>,
        precedes: impl Fn(T) -> bool,
    ) -> Range<usize> {
        let Range { mut start, mut end } = stretch;
        let bits = FAN_OUT_BITS * (level as u32 + 1);
        // Few enough for the next finer level.
        if end - start <= MOST << (bits - FAN_OUT_BITS) {
            return start..end;
        }
        // The samples that stand for positions of the stretch.
        let first = start.div_ceil(1 << bits);
        let samples = end.div_ceil(1 << bits) - first;
        let of_level = &self.samples[level][first..];
        let before = match level + 1 {
            LEVELS => of_level[..samples].partition_point(|time| precedes(*time)),
            _ => count(of_level, samples, precedes),
        };
        if before < samples {
            end = (first + before) << bits;
        }
        if before > 0 {
            start = ((first + before - 1) << bits) + 1;
        }
        start..end
    }

    /// Takes a stretch, and the samples of it that do not stay in cache, into the cache.
    pub(super) fn read_ahead(&self, stretch: Range<usize>) {
        let samples = stretch.start >> FAN_OUT_BITS..stretch.end >> FAN_OUT_BITS;
        read_through(&self.samples[0][samples]);
        read_through(&self.times[stretch]);
    }

    /// Where the run of times equal to that at `start` ends.
    pub(super) fn end_of_run(&self, start: usize, end: usize) -> usize {
        let time = self.at(start);
        self.partition_point(start..end, |t| t <= time)
    }

    pub(super) fn size(&self) -> usize {
        let samples = self.samples.iter().map(|level| size_of_val(&**level));
        size_of_val(&*self.times)
            + samples.sum::<usize>()
            + self.cells.as_ref().map_or(0, Cells::size)
    }
}

/// How many of the first `len` times, fifteen at most, precede: which quarter first and then
/// where in it, without a branch and with as few waits for one comparison before another.
#[inline]
fn count<T: Copy>(times: &[T], len: usize, precedes: impl Fn(T) -> bool) -> usize {
    let Some(times) = times.first_chunk::<FAN_OUT>() else {
        return times[..len].partition_point(|time| precedes(*time));
    };
    // Behind the end nothing is read that is not near it, and may not be in cache.
    let passes = |at: usize| usize::from((at < len) & precedes(times[at.min(len) % FAN_OUT]));
    let before = 4 * (passes(3) + passes(7) + passes(11));
    before + passes(before) + passes(before + 1) + passes(before + 2)
}

/// Takes memory that follows each other into the cache.
pub(super) fn read_through<T: Copy + Ord>(values: &[T]) {
    let of_each_line = values.iter().step_by(CACHE_LINE / size_of::<T>());
    black_box(of_each_line.max());
}

#[cfg(test)]
mod tests;
