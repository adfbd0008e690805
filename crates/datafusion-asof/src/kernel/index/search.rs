//! Looking left rows up.
//!
//! # Order of candidates
//!
//! A stretch ascends in time, and among equal times the row to be chosen is last (first in a
//! forward join). So the candidates of a left row, best first, are the rows before its time
//! going down, or those after it going up. `nearest` looks both ways and takes the nearer of
//! two finds; going up it takes each run of equal times from its end.
//!
//! # Predicates
//!
//! Without a predicate the first candidate is the match. Bounds ([`zones`](crate::kernel::zones))
//! are passed over in place. Any other predicate is an expression, which is evaluated for many
//! pairs at a time: in each round every left row that has no match yet proposes its next
//! candidates, one at first, then four times as many each round, so that the usual case costs
//! one evaluation and a bad one few.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::{Result, exec_err};

use super::line::{IndexTime, LineTimes};
use super::numbers::RowNumbers;
use super::timeline::{Query, Timeline};
use super::{Postings, SideIndex};
use crate::kernel::distance::Metric;
use crate::kernel::domain::{TimeValues, Times};
use crate::kernel::ordinals::{ABSENT, NULL_KEY, REFUSED, refuse};
use crate::kernel::rows::{MatchCounts, RowId};
use crate::kernel::tolerance::Tolerance;
use crate::kernel::zones::Zones;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// Pairs proposed to the predicate at a time.
const PAIRS: usize = 32_768;

/// The left batch to be matched.
pub(crate) struct LeftBatch<'a> {
    pub keys: &'a [ArrayRef],
    pub time: &'a ArrayRef,
    /// Rows that can match at all; all of them if `None`.
    pub mask: Option<&'a BooleanArray>,
    /// What the bounds compare with.
    pub bounds: &'a [ArrayRef],
}

/// How matches are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    pub op: MatchOp,
    pub tolerance: Option<Tolerance>,
}

/// Which of the proposed pairs, left rows and right rows, the predicate accepts.
pub(crate) type Accept<'a> = &'a mut dyn FnMut(&[u32], &[RowId]) -> Result<BooleanArray>;

/// The matches of a left batch.
#[derive(Debug)]
pub(crate) struct Matches {
    /// The chosen row of each left row, [`RowId::NONE`] where there is none.
    pub rows: Vec<RowId>,
    /// The same within each validity class.
    pub by_class: Vec<Vec<RowId>>,
    pub counts: MatchCounts,
}

impl SideIndex {
    /// The match of each left row; `accept` is the predicate that bounds do not cover.
    pub(crate) fn probe(
        &self,
        left: &LeftBatch<'_>,
        search: Search,
        mut accept: Option<Accept<'_>>,
    ) -> Result<Matches> {
        let mut keys = self.ordinals.lookup(left.keys, left.time.len())?;
        if let Some(mask) = left.mask {
            refuse(&mut keys, mask);
        }
        let times = self.domain.times(Side::Left, left.time)?;
        let limits = self.bounds.iter().zip(left.bounds);
        let limits = limits.map(|(bound, column)| bound.limits(column));
        let probe = Probe {
            metric: Metric::of(&self.domain),
            search,
            valid: &times,
            limits: limits.collect::<Result<_>>()?,
        };
        let mut run = |keys: &[u32], postings: &Postings| match (&postings.times, &times.values) {
            (LineTimes::I64(right), TimeValues::I64(left)) => {
                let line = self.line(postings, right);
                probe.run(keys, &line, |row| left[row], accept.as_mut())
            }
            (LineTimes::I128(right), TimeValues::I128(left)) => {
                let line = self.line(postings, right);
                probe.run(keys, &line, |row| left[row], accept.as_mut())
            }
            (LineTimes::I64(right), TimeValues::Rows(left)) => {
                let line = self.line(postings, right);
                let ranks = self.ranks.as_ref();
                let place = |row: usize| ranks.map_or(0, |r| r.place(left.row(row).data()));
                probe.run(keys, &line, place, accept.as_mut())
            }
            _ => exec_err!("as-of values of the sides are on different lines"),
        };
        let (rows, counts) = run(&keys, &self.all)?;
        for (key, row) in keys.iter_mut().zip(&rows) {
            if !row.is_some() {
                *key = ABSENT;
            }
        }
        let by_class = self.classes.iter().map(|class| Ok(run(&keys, class)?.0));
        let by_class = by_class.collect::<Result<_>>()?;
        Ok(Matches {
            rows,
            by_class,
            counts,
        })
    }

    fn line<'a, T: IndexTime>(
        &'a self,
        postings: &'a Postings,
        times: &'a Timeline<T>,
    ) -> Line<'a, T> {
        Line {
            postings,
            times,
            numbers: &self.numbers,
        }
    }
}

/// The rows to look in, with their times.
struct Line<'a, T: IndexTime> {
    postings: &'a Postings,
    times: &'a Timeline<T>,
    numbers: &'a RowNumbers,
}

impl<T: IndexTime> Line<'_, T> {
    #[inline]
    fn row(&self, at: usize) -> RowId {
        self.numbers.id(self.postings.rows[at])
    }

    fn stretch(&self, key: u32) -> Range<usize> {
        if key == ABSENT {
            return 0..0;
        }
        let key = key as usize;
        self.postings.offsets[key]..self.postings.offsets[key + 1]
    }
}

struct Probe<'a> {
    metric: Metric,
    search: Search,
    valid: &'a Times,
    /// For each bound, by left row.
    limits: Vec<Vec<i128>>,
}

impl Probe<'_> {
    fn run<T: IndexTime>(
        &self,
        keys: &[u32],
        line: &Line<'_, T>,
        time: impl Fn(usize) -> T,
        accept: Option<&mut Accept<'_>>,
    ) -> Result<(Vec<RowId>, MatchCounts)> {
        let mut counts = MatchCounts::default();
        let mut rows = vec![RowId::NONE; keys.len()];
        // Left rows that may have a match, and where they look for it.
        let mut asking = Vec::with_capacity(keys.len());
        let mut queries = Vec::with_capacity(keys.len());
        for (row, key) in keys.iter().enumerate() {
            let stretch = match *key {
                NULL_KEY => {
                    counts.null_key += 1;
                    continue;
                }
                REFUSED => {
                    counts.refused += 1;
                    continue;
                }
                key => line.stretch(key),
            };
            if !self.valid.is_valid(row) {
                counts.null_time += 1;
                continue;
            }
            if stretch.is_empty() {
                counts.no_key += 1;
                continue;
            }
            asking.push((row as u32, stretch.start as u32..stretch.end as u32));
            queries.push(Query {
                time: time(row),
                start: stretch.start as u32,
                end: stretch.end as u32,
            });
        }
        line.times.search(&mut queries, self.equal_precedes());
        // Left rows of which the predicate decides.
        let mut open = vec![];
        let decides = accept.is_some() || !self.limits.is_empty();
        for ((row, stretch), query) in asking.into_iter().zip(&queries) {
            let (row, stretch) = (row as usize, stretch.start as usize..stretch.end as usize);
            let (time, point) = (query.time, query.start as usize);
            let Some(nearest) = self.nearest(line.times, stretch.clone(), time, point) else {
                counts.wrong_side += 1;
                continue;
            };
            if self.search.tolerance.is_some() && !self.near_enough(time, line.times.at(nearest)) {
                counts.beyond_tolerance += 1;
            } else if decides {
                open.push(self.candidates(line, stretch, (row, time), point));
            } else {
                counts.matched += 1;
                rows[row] = line.row(nearest);
            }
        }
        if decides {
            let asked = open.len();
            for (row, found) in self.decide(line, open, accept)? {
                rows[row] = line.row(found);
                counts.matched += 1;
            }
            counts.refused += asked - rows.iter().filter(|row| row.is_some()).count();
        }
        Ok((rows, counts))
    }

    /// Whether times equal to that of the left row come before the point that a search finds:
    /// before it are the rows that a backward join may match, from it on those of a forward
    /// join, and nearest joins look both ways.
    fn equal_precedes(&self) -> bool {
        let op = self.search.op;
        match op.direction() {
            AsOfDirection::Backward => op.allows_equal(),
            AsOfDirection::Forward => !op.allows_equal(),
            AsOfDirection::Nearest => true,
        }
    }

    /// The position of the nearest row of a stretch, tolerance aside; `point` is what the
    /// search found.
    #[inline]
    fn nearest<T: IndexTime>(
        &self,
        times: &Timeline<T>,
        stretch: Range<usize>,
        time: T,
        point: usize,
    ) -> Option<usize> {
        let before = (point > stretch.start).then(|| point - 1);
        let after = (point < stretch.end).then_some(point);
        match self.search.op.direction() {
            AsOfDirection::Backward => before,
            AsOfDirection::Forward => after,
            AsOfDirection::Nearest => {
                let after = after.map(|after| times.end_of_run(after, stretch.end) - 1);
                self.nearer(times, time, before, after)
            }
        }
    }

    /// The nearer of a find at or before the time and one after it.
    fn nearer<T: IndexTime>(
        &self,
        times: &Timeline<T>,
        time: T,
        before: Option<usize>,
        after: Option<usize>,
    ) -> Option<usize> {
        match (before, after) {
            (Some(before), Some(after)) => {
                let place = |at: usize| times.at(at).into();
                let earlier_wins =
                    self.metric
                        .earlier_wins(place(before), time.into(), place(after));
                Some(if earlier_wins { before } else { after })
            }
            (before, after) => before.or(after),
        }
    }

    fn near_enough<T: IndexTime>(&self, time: T, found: T) -> bool {
        let (time, found) = (time.into(), found.into());
        let allows = |tolerance: Tolerance| tolerance.allows(time.max(found), time.min(found));
        self.search.tolerance.is_none_or(allows)
    }

    /// The candidates of a left row, on both sides of its time as far as they count.
    fn candidates<T: IndexTime>(
        &self,
        line: &Line<'_, T>,
        stretch: Range<usize>,
        (row, time): (usize, T),
        point: usize,
    ) -> Open<T> {
        let (times, direction) = (line.times, self.search.op.direction());
        // Both are within the stretch: where the rows before end, and where those after begin.
        let (end, start) = match direction {
            AsOfDirection::Backward => (point, stretch.end),
            AsOfDirection::Forward => (stretch.start, point),
            AsOfDirection::Nearest => (point, point),
        };
        let near = |at: T| self.near_enough(time, at);
        let first = times.partition_point(stretch.start..end, |at| !near(at));
        let last = times.partition_point(start..stretch.end, near);
        Open {
            row,
            time,
            before: Walk::Down(first..end),
            after: match direction {
                AsOfDirection::Nearest => Walk::up_by_run(start..last),
                _ => Walk::Up(start..last),
            },
            found_before: None,
            found_after: None,
        }
    }

    /// Walks the candidates of all open left rows; gives the left rows that found one.
    fn decide<T: IndexTime>(
        &self,
        line: &Line<'_, T>,
        mut open: Vec<Open<T>>,
        mut accept: Option<&mut Accept<'_>>,
    ) -> Result<Vec<(usize, usize)>> {
        let mut done = vec![];
        let mut width = 1;
        let mut limits = vec![0; self.limits.len()];
        while !open.is_empty() {
            let mut proposals = Proposals::default();
            let mut still_open = vec![];
            let mut next = open.into_iter().peekable();
            while let Some(mut left) = next.next() {
                for (limit, column) in limits.iter_mut().zip(&self.limits) {
                    *limit = column[left.row];
                }
                let zones = &line.postings.zones;
                left.propose(line, zones, &limits, width, &mut proposals);
                still_open.push(left);
                if proposals.pairs() >= PAIRS || next.peek().is_none() {
                    let accepted = match accept.as_mut() {
                        Some(accept) => Some(accept(&proposals.left, &proposals.right)?),
                        None => None,
                    };
                    proposals.settle(accepted.as_ref(), &mut still_open);
                    proposals = Proposals::default();
                }
            }
            open = vec![];
            for left in still_open {
                if left.is_settled() {
                    let found =
                        self.nearer(line.times, left.time, left.found_before, left.found_after);
                    done.extend(found.map(|found| (left.row, found)));
                } else {
                    open.push(left);
                }
            }
            width *= 4;
        }
        Ok(done)
    }
}

/// A left row that has candidates, and how far they have been looked at.
struct Open<T> {
    row: usize,
    time: T,
    before: Walk,
    after: Walk,
    found_before: Option<usize>,
    found_after: Option<usize>,
}

impl<T: IndexTime> Open<T> {
    fn is_settled(&self) -> bool {
        let settled = |found: &Option<usize>, walk: &Walk| found.is_some() || walk.is_over();
        settled(&self.found_before, &self.before) && settled(&self.found_after, &self.after)
    }

    /// Proposes the next candidates of both walks.
    fn propose(
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
struct Proposals {
    left: Vec<u32>,
    right: Vec<RowId>,
    at: Vec<(usize, Way)>,
}

impl Proposals {
    fn pairs(&self) -> usize {
        self.left.len()
    }

    /// Gives each left row its first accepted candidate; all are, without a predicate. The
    /// left rows are the last ones of `open`, in order.
    fn settle<T>(&self, accepted: Option<&BooleanArray>, open: &mut [Open<T>]) {
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
enum Walk {
    Down(Range<usize>),
    Up(Range<usize>),
    /// Up, but every run of equal times from its end.
    UpByRun {
        run: Range<usize>,
        rest: Range<usize>,
    },
}

impl Walk {
    fn up_by_run(rest: Range<usize>) -> Self {
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
