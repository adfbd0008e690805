//! What each left row takes, once all right rows have been offered to the index of the left.
//!
//! # Algorithm
//!
//! Positions of the index are gone through in time order, for a forward join against it. Each
//! takes the best row of its bin in any right partition ([`candidates`](super::candidates),
//! [`meeting`](super::meeting)) or,
//! where all are empty, what the position before it took, if that has the same key. Threads share
//! the positions out in *stretches*; what a stretch leaves to the next one is the best row of its
//! last bin that is not empty, which is found from its end without going through the rest:
//!
//! ```text
//! 1  Choosing::leaves    of each stretch                              jobs
//! 2  Choosing::carried   from each stretch to the next                in one go
//! 3  Choosing::choose    by position, what it takes is put down by number of the left row          jobs
//! ```
//!
//! # Memory
//!
//! 8 bytes for each left row.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::{Result, exec_err};

use super::SideIndex;
use super::candidates::{Best, Candidates, NOTHING};
use super::line::LineTimes;
use super::meeting::Gathered;
use crate::kernel::pieces::PIECE;
use crate::kernel::rows::{MatchCounts, RowId};
use crate::kernel::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchOp};

/// The candidates in a part of the right side.
pub(crate) struct OfStream {
    pub candidates: Candidates,
    /// How many right batches those before it have.
    pub before: u32,
}

/// The right rows that are candidates, wherever they come from.
#[derive(Default)]
pub(crate) struct AllCandidates {
    /// Of the first batches, if any were gathered.
    pub gathered: Option<Gathered>,
    pub streams: Vec<OfStream>,
}

/// The left rows of an index, and the right rows that they choose among.
pub(crate) struct Choosing {
    index: Arc<SideIndex>,
    candidates: AllCandidates,
    backward: bool,
    tolerance: Option<Tolerance>,
    choices: Choices,
}

/// What left rows take, by their number.
#[derive(Default)]
pub(crate) struct Choices {
    /// Rows in [`PIECE`]s; of each what its id is not, so that zero is no row.
    pieces: Vec<Vec<AtomicU64>>,
}

/// The best row so far of the key that is gone through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    key: usize,
    best: Best,
}

impl Choices {
    /// None yet, of so many left rows; `pieces` are all [`Self::piece`]s.
    pub(crate) fn new(pieces: Vec<Vec<AtomicU64>>) -> Self {
        Self { pieces }
    }

    /// Room for some of the left rows; this many for so many of them.
    pub(crate) fn pieces(rows: usize) -> Vec<Range<usize>> {
        let starts = (0..rows).step_by(PIECE);
        starts.map(|start| start..rows.min(start + PIECE)).collect()
    }

    pub(crate) fn piece(rows: Range<usize>) -> Vec<AtomicU64> {
        rows.map(|_| AtomicU64::new(0)).collect()
    }

    /// Bytes for so many left rows, for the memory pool.
    pub(crate) fn size(rows: usize) -> usize {
        rows * size_of::<AtomicU64>()
    }

    /// What some left rows take.
    pub(crate) fn of(&self, rows: Range<usize>) -> Vec<RowId> {
        let mut taken = Vec::with_capacity(rows.len());
        let mut start = rows.start;
        while start < rows.end {
            let (piece, first) = (&self.pieces[start / PIECE], start % PIECE);
            let end = piece.len().min(first + rows.end - start);
            let words = piece[first..end].iter();
            taken.extend(words.map(|word| {
                let id = !word.load(Ordering::Relaxed);
                RowId {
                    batch: (id >> u32::BITS) as u32,
                    row: id as u32,
                }
            }));
            start += end - first;
        }
        taken
    }

    /// Puts down what a left row takes.
    #[inline]
    pub(crate) fn put(&self, left: usize, RowId { batch, row }: RowId) {
        let id = u64::from(batch) << u32::BITS | u64::from(row);
        self.pieces[left / PIECE][left % PIECE].store(!id, Ordering::Relaxed);
    }
}

impl Choosing {
    /// `candidates` of the whole right side; `choices` of all left rows.
    pub(crate) fn new(
        index: Arc<SideIndex>,
        (candidates, choices): (AllCandidates, Choices),
        (op, tolerance): (MatchOp, Option<Tolerance>),
    ) -> Self {
        Self {
            backward: op.direction() == AsOfDirection::Backward,
            index,
            candidates,
            tolerance,
            choices,
        }
    }

    /// Stretches that jobs may share out.
    pub(crate) fn stretches(&self) -> Vec<Range<usize>> {
        let positions = self.index.all.rows.len();
        let starts = (0..positions).step_by(PIECE);
        starts
            .map(|start| start..positions.min(start + PIECE))
            .collect()
    }

    /// What a stretch leaves to the next one; nothing if it has no right row of its last key.
    pub(crate) fn leaves(&self, stretch: Range<usize>) -> Carried {
        let last = self.position(stretch.end - 1);
        let key = self.key_of(last);
        let of_key = self.index.all.offsets[key]..self.index.all.offsets[key + 1];
        let positions = stretch.rev().map(|step| self.position(step));
        let mut of_key = positions.take_while(|position| of_key.contains(position));
        let best = of_key.find_map(|position| {
            let best = self.best(position);
            best.row.is_some().then_some(best)
        });
        Carried {
            key,
            best: best.unwrap_or(NOTHING),
        }
    }

    /// By stretch, what those before it leave to it.
    pub(crate) fn carried(&self, left: Vec<Carried>) -> Vec<Carried> {
        let key = match self.backward {
            true => 0,
            false => self.index.ordinals.len().saturating_sub(1),
        };
        let mut carried = Carried { key, best: NOTHING };
        let next = left.into_iter().map(|leaves| {
            let before = carried;
            if leaves.best.row.is_some() || leaves.key != carried.key {
                carried = leaves;
            }
            before
        });
        next.collect()
    }

    /// Puts down what the positions of a stretch take.
    ///
    /// # Errors
    /// An execution error for an index whose times are not of 64 bits, which has no candidates.
    pub(crate) fn choose(&self, stretch: Range<usize>, carried: Carried) -> Result<MatchCounts> {
        let LineTimes::I64(times) = &self.index.all.times else {
            return exec_err!("an as-of join has candidates of numbers");
        };
        let offsets = &self.index.all.offsets;
        let Carried { mut key, mut best } = carried;
        let numbers = &self.index.all.rows;
        let mut counts = MatchCounts::default();
        for step in stretch {
            let position = self.position(step);
            while position >= offsets[key + 1] {
                key += 1;
                best = NOTHING;
            }
            while position < offsets[key] {
                key -= 1;
                best = NOTHING;
            }
            let own = self.best(position);
            if own.row.is_some() {
                best = own;
            }
            let (time, found) = (i128::from(times.at(position)), i128::from(best.time));
            let allows = |t: Tolerance| t.allows(time.max(found), time.min(found));
            match best.row.is_some() {
                true if self.tolerance.is_none_or(allows) => {
                    counts.matched += 1;
                    self.choices.put(numbers[position] as usize, best.row);
                }
                true => counts.beyond_tolerance += 1,
                false => match self.has_seen(key) {
                    true => counts.wrong_side += 1,
                    false => counts.no_key += 1,
                },
            }
        }
        Ok(counts)
    }

    /// What all left rows take; the candidates are let go.
    pub(crate) fn finish(self) -> Choices {
        self.choices
    }

    /// The position that is gone through at a step.
    #[inline]
    fn position(&self, step: usize) -> usize {
        match self.backward {
            true => step,
            false => self.index.all.rows.len() - 1 - step,
        }
    }

    /// The key that a position belongs to.
    fn key_of(&self, position: usize) -> usize {
        let offsets = &self.index.all.offsets;
        offsets.partition_point(|start| *start <= position) - 1
    }

    /// Whether the right has a key.
    fn has_seen(&self, key: usize) -> bool {
        let AllCandidates { streams, gathered } = &self.candidates;
        let mut streams = streams.iter();
        streams.any(|stream| stream.candidates.has_seen(key))
            || gathered.as_ref().is_some_and(|of| of.has_seen(key))
    }

    /// The best right row of a bin in the whole right side.
    #[inline]
    fn best(&self, position: usize) -> Best {
        let AllCandidates { streams, gathered } = &self.candidates;
        let mut best = (gathered.as_ref()).map_or(NOTHING, |of| of.best(position));
        for OfStream { candidates, before } in streams {
            let found = candidates.best[position];
            if found.row.is_some() && found.is_better_than(&best, self.backward) {
                best = found;
                best.row.batch += before;
            }
        }
        best
    }
}
