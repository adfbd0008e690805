//! The candidates of left rows that a predicate has a say about, best first.
//!
//! Every left row proposes its next candidates, the predicate is asked about many pairs at a
//! time, and each left row takes the first one that is accepted, of each way it looks.

use std::ops::Range;

use datafusion::arrow::array::{Array, BooleanArray};

use super::line::IndexTime;
use super::probe::Line;
use super::timeline::Timeline;
use crate::kernel::rows::RowId;
use crate::kernel::zones::Zones;

/// A left row that has candidates, and how far they have been looked at.
pub(super) struct Open<T> {
    pub row: usize,
    pub time: T,
    before: Walk,
    after: Walk,
    pub found_before: Option<usize>,
    pub found_after: Option<usize>,
}

impl<T: IndexTime> Open<T> {
    pub(super) fn new((row, time): (usize, T), before: Walk, after: Walk) -> Self {
        Self {
            row,
            time,
            before,
            after,
            found_before: None,
            found_after: None,
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        let settled = |found: &Option<usize>, walk: &Walk| found.is_some() || walk.is_over();
        settled(&self.found_before, &self.before) && settled(&self.found_after, &self.after)
    }

    /// Proposes the next candidates of both walks.
    pub(super) fn propose(
        &mut self,
        line: &Line<'_, T>,
        zones: &Zones,
        limits: &[i128],
        width: usize,
        proposals: &mut Proposals,
    ) {
        let walks = [
            (&mut self.before, self.found_before, Way::Before),
            (&mut self.after, self.found_after, Way::After),
        ];
        for (walk, found, way) in walks {
            if found.is_some() {
                continue;
            }
            for _ in 0..width {
                let Some(at) = walk.next(line.times, zones, limits) else {
                    break;
                };
                proposals.left.push(self.row as u32);
                proposals.right.push(line.row(at));
                proposals.at.push((at, way));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Before,
    After,
}

/// Pairs that wait for the predicate, those of a left row together and best first.
#[derive(Default)]
pub(super) struct Proposals {
    pub left: Vec<u32>,
    pub right: Vec<RowId>,
    at: Vec<(usize, Way)>,
}

impl Proposals {
    pub(super) fn pairs(&self) -> usize {
        self.left.len()
    }

    /// Gives each left row its first accepted candidate; all are, without a predicate. The
    /// left rows are the last ones of `open`, in order.
    pub(super) fn settle<T>(&self, accepted: Option<&BooleanArray>, open: &mut [Open<T>]) {
        let mut left = open.iter_mut().rev();
        let mut current = left.next();
        for pair in (0..self.pairs()).rev() {
            let row = self.left[pair] as usize;
            while current.as_ref().is_some_and(|open| open.row != row) {
                current = left.next();
            }
            let Some(open) = &mut current else { return };
            let accepts = |accepted: &BooleanArray| accepted.is_valid(pair) && accepted.value(pair);
            if accepted.is_none_or(accepts) {
                // Backwards over the pairs, so that the best one stays.
                let (at, way) = self.at[pair];
                match way {
                    Way::Before => open.found_before = Some(at),
                    Way::After => open.found_after = Some(at),
                }
            }
        }
    }
}

/// Positions of a stretch, best candidate first.
pub(super) enum Walk {
    Down(Range<usize>),
    Up(Range<usize>),
    /// Up, but every run of equal times from its end.
    UpByRun {
        run: Range<usize>,
        rest: Range<usize>,
    },
}

impl Walk {
    pub(super) fn up_by_run(rest: Range<usize>) -> Self {
        Self::UpByRun {
            run: rest.start..rest.start,
            rest,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Down(range) | Self::Up(range) => range.is_empty(),
            Self::UpByRun { run, rest } => run.is_empty() && rest.is_empty(),
        }
    }

    /// The next position that the bounds do not exclude.
    fn next<T: IndexTime>(
        &mut self,
        times: &Timeline<T>,
        zones: &Zones,
        limits: &[i128],
    ) -> Option<usize> {
        match self {
            Self::Down(range) => {
                let at = zones.last_in(range.clone(), limits);
                range.end = at.unwrap_or(range.start);
                at
            }
            Self::Up(range) => {
                let at = zones.first_in(range.clone(), limits);
                range.start = at.map_or(range.end, |at| at + 1);
                at
            }
            Self::UpByRun { run, rest } => loop {
                let at = zones.last_in(run.clone(), limits);
                run.end = at.unwrap_or(run.start);
                if at.is_some() {
                    return at;
                }
                let start = zones.first_in(rest.clone(), limits).unwrap_or(rest.end);
                if start == rest.end {
                    *rest = rest.end..rest.end;
                    return None;
                }
                let end = times.end_of_run(start, rest.end);
                *run = start..end;
                rest.start = end;
            },
        }
    }
}
