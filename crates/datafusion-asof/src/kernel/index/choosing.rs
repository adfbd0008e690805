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
//! 3  Choosing::choose    by position                                  jobs
//! 4  Placing             by number of the left row                    a task for each range of them
//! ```
//!
//! # Memory
//!
//! 8 bytes for each position and 8 for each left row.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::{Result, exec_err};

use super::SideIndex;
use super::candidates::{Best, Candidates, NOTHING};
use super::line::LineTimes;
use super::meeting::Gathered;
use crate::kernel::pieces::{PIECE, Pieces};
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
}

/// The best row so far of the key that is gone through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    key: usize,
    best: Best,
}

/// What some positions take, in the order in which they are gone through.
pub(crate) struct Chosen {
    /// The place of the first of them in that order.
    first: usize,
    rows: Vec<RowId>,
    pub counts: MatchCounts,
}

impl Choosing {
    /// `candidates` of the whole right side.
    pub(crate) fn new(
        index: Arc<SideIndex>,
        candidates: AllCandidates,
        (op, tolerance): (MatchOp, Option<Tolerance>),
    ) -> Self {
        Self {
            backward: op.direction() == AsOfDirection::Backward,
            index,
            candidates,
            tolerance,
        }
    }

    /// Bytes that the choices of all positions of an index hold.
    pub(crate) fn size(index: &SideIndex) -> usize {
        index.all.rows.len() * size_of::<RowId>()
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

    /// What the positions of a stretch take.
    ///
    /// # Errors
    /// An execution error for an index whose times are not of 64 bits, which has no candidates.
    pub(crate) fn choose(&self, stretch: Range<usize>, carried: Carried) -> Result<Chosen> {
        let LineTimes::I64(times) = &self.index.all.times else {
            return exec_err!("an as-of join has candidates of numbers");
        };
        let offsets = &self.index.all.offsets;
        let Carried { mut key, mut best } = carried;
        let (first, mut counts) = (stretch.start, MatchCounts::default());
        let mut rows = Vec::with_capacity(stretch.len());
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
            let mut row = RowId::NONE;
            match best.row.is_some() {
                true if self.tolerance.is_none_or(allows) => {
                    counts.matched += 1;
                    row = best.row;
                }
                true => counts.beyond_tolerance += 1,
                false => match self.has_seen(key) {
                    true => counts.wrong_side += 1,
                    false => counts.no_key += 1,
                },
            }
            rows.push(row);
        }
        Ok(Chosen {
            first,
            rows,
            counts,
        })
    }

    /// Lets the candidates go. `chosen` is of all stretches.
    pub(crate) fn finish(self, chosen: Vec<Chosen>) -> Choices {
        let mut counts = MatchCounts::default();
        for of_stretch in &chosen {
            counts += of_stretch.counts;
        }
        Choices {
            index: self.index,
            chosen,
            backward: self.backward,
            counts,
        }
    }

    fn position(&self, step: usize) -> usize {
        position(self.backward, step, self.index.all.rows.len())
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

/// What all positions of an index take.
pub(crate) struct Choices {
    index: Arc<SideIndex>,
    chosen: Vec<Chosen>,
    backward: bool,
    pub counts: MatchCounts,
}

/// Brings choices into the order of some of the left rows.
pub(crate) struct Placing {
    choices: Arc<Choices>,
    /// Numbers of left rows.
    of: Range<usize>,
    rows: Vec<RowId>,
    /// The next stretch.
    next: usize,
}

impl Placing {
    pub(crate) fn new(choices: Arc<Choices>, of: Range<usize>) -> Self {
        Self {
            choices,
            of,
            rows: vec![],
            next: 0,
        }
    }

    /// What each of the left rows takes.
    pub(crate) fn finish(self) -> Vec<RowId> {
        self.rows
    }
}

impl Pieces for Placing {
    fn size(&self) -> usize {
        self.rows.capacity() * size_of::<RowId>()
    }

    fn room(&self) -> usize {
        (self.of.len() * size_of::<RowId>()).saturating_sub(self.size())
    }

    fn piece(&mut self) -> Result<bool> {
        let (rows, total) = (&mut self.rows, self.of.len());
        if rows.len() < total {
            rows.reserve_exact(total - rows.len());
            rows.resize(total.min(rows.len() + PIECE), RowId::NONE);
            return Ok(true);
        }
        let Choices {
            index,
            chosen,
            backward,
            ..
        } = self.choices.as_ref();
        let Some(of_stretch) = chosen.get(self.next) else {
            return Ok(false);
        };
        let numbers = &index.all.rows;
        let mut place = |position: usize, chosen: RowId| {
            let row = (numbers[position] as usize).wrapping_sub(self.of.start);
            if let Some(row) = rows.get_mut(row) {
                *row = chosen;
            }
        };
        for (step, row) in (of_stretch.first..).zip(&of_stretch.rows) {
            place(position(*backward, step, numbers.len()), *row);
        }
        self.next += 1;
        Ok(self.next < chosen.len())
    }
}

/// The position that is gone through at a step.
#[inline]
fn position(backward: bool, step: usize, positions: usize) -> usize {
    match backward {
        true => step,
        false => positions - 1 - step,
    }
}
