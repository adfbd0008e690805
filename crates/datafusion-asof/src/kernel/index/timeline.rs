//! The times of an index, and how one is found among them.
//!
//! # Algorithm
//!
//! A binary search in a list of millions waits for memory at every step. Here every 16th,
//! every 256th and every 4096th time is kept apart as well: the few of the last kind stay in
//! cache and are searched first, then sixteen neighbours of each finer kind are compared at
//! once. Two or three waits, whatever the length, and none of them depends on how times are
//! spread, as an interpolation would.
//!
//! ```text
//! every 4096th   [ t0        t4096        t8192  ... ]      binary search
//! every 256th              [ t4096 t4352 .. t7936 ]         count those that precede
//! every 16th                     [ t4352 .. t4592 ]         count
//! times                                [ t4368 .. ]         count
//! ```
//!
//! The idea is that of static search trees with the values of a node side by side (Rao and
//! Ross, "Making B+-trees cache conscious in main memory", SIGMOD 2000).

use std::ops::Range;

use datafusion::arrow::buffer::ScalarBuffer;
use datafusion::arrow::datatypes::ArrowNativeType;

const FAN_OUT_BITS: u32 = 4;
const FAN_OUT: usize = 1 << FAN_OUT_BITS;
const LEVELS: usize = 3;

/// Times, ascending within each stretch that is searched.
#[derive(Debug)]
pub(crate) struct Timeline<T: ArrowNativeType> {
    times: ScalarBuffer<T>,
    /// Every 16th of them, every 256th, every 4096th.
    samples: [Vec<T>; LEVELS],
}

impl<T: ArrowNativeType> Timeline<T> {
    pub(super) fn new(times: ScalarBuffer<T>) -> Self {
        let sample = |of: &[T]| of.iter().step_by(FAN_OUT).copied().collect::<Vec<_>>();
        let first = sample(&times);
        let second = sample(&first);
        let third = sample(&second);
        Self {
            times,
            samples: [first, second, third],
        }
    }

    #[inline]
    pub(super) fn at(&self, position: usize) -> T {
        self.times[position]
    }

    /// The first position of a stretch that does not precede; those that precede come first.
    #[inline]
    pub(super) fn partition_point(
        &self,
        stretch: Range<usize>,
        precedes: impl Fn(T) -> bool,
    ) -> usize {
        let Range { mut start, mut end } = stretch;
        for level in (0..LEVELS).rev() {
            let bits = FAN_OUT_BITS * (level as u32 + 1);
            if end - start <= 1 << bits {
                continue;
            }
            // The samples that stand for positions of the stretch.
            let first = start.div_ceil(1 << bits);
            let samples = &self.samples[level][first..end.div_ceil(1 << bits)];
            let before = match level + 1 {
                LEVELS => samples.partition_point(|time| precedes(*time)),
                _ => count(samples, &precedes),
            };
            if before < samples.len() {
                end = (first + before) << bits;
            }
            if before > 0 {
                start = ((first + before - 1) << bits) + 1;
            }
        }
        start + count(&self.times[start..end], &precedes)
    }

    /// Where the run of times equal to that at `start` ends.
    pub(super) fn end_of_run(&self, start: usize, end: usize) -> usize
    where
        T: Ord,
    {
        let time = self.at(start);
        self.partition_point(start..end, |t| t <= time)
    }

    pub(super) fn size(&self) -> usize {
        let samples = self.samples.iter().map(|level| size_of_val(&**level));
        size_of_val(&*self.times) + samples.sum::<usize>()
    }

    /// The times at some positions.
    pub(super) fn part(&self, positions: &[usize]) -> Self {
        Self::new(positions.iter().map(|at| self.at(*at)).collect())
    }
}

/// How many precede, all of them at the front: without a branch for each.
#[inline]
fn count<T: Copy>(times: &[T], precedes: impl Fn(T) -> bool) -> usize {
    times.iter().map(|time| usize::from(precedes(*time))).sum()
}
