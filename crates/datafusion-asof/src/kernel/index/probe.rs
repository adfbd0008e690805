//! Left rows, where each looks for its match, and what it finds.
//!
//! # Algorithm
//!
//! ```text
//! ask      key → stretch, narrowed by the samples that are in cache      in the left's order
//! order    queries by the place they were narrowed to                    if there are many
//! answer   the finer samples, the times, the row found                   a few hundred at a time
//! ```
//!
//! A small index stays in cache and needs no order: queries are answered as they come, in the
//! [`cells`](super::cells) of their lists if there are any.
//!
//! Queries that end up near each other use the same cache lines and pages while these are at
//! hand. That accesses to an index be buffered and ordered so is the idea of Zhou and Ross,
//! "Buffering accesses to memory-resident index structures" (VLDB 2003). The order is rough, by
//! one pass of a counting sort: what it has to save is not comparisons but waits. Where queries
//! are so many that they meet in most cache lines of a part of the index, that part is read
//! through before, which the processor foresees and a search is not.
//!
//! # Memory
//!
//! 8 bytes for each left row, and up to 96 for one that looks for a match in a large index, until
//! it is found.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::{Result, exec_err};

use super::Postings;
use super::decide::Deciding;
use super::line::IndexTime;
use super::numbers::RowNumbers;
use super::ranks::Ranks;
use super::search::{CACHED_ROWS, Search};
use super::timeline::{NARROWED_BITS, Query, Timeline, read_through};
use super::walk::{Open, Walk};
use crate::kernel::distance::Metric;
use crate::kernel::domain::Times;
use crate::kernel::ordinals::{ABSENT, NULL_KEY, REFUSED};
use crate::kernel::rows::{MatchCounts, RowId};
use crate::kernel::tolerance::Tolerance;
use crate::spec::AsOfDirection;

/// Queries that are put in order before they are answered; fewer would not meet.
const MANY: usize = 32_768;
/// Queries answered together: their waits for memory overlap, and they stay in cache.
const TOGETHER: usize = 512;
/// Rows of the index for each query, up to which it is worth to read all of them ahead.
const READ_AHEAD: usize = 64;
/// Parts of the line that queries are put in the order of: so many open ends stay in cache.
const PART_BITS: u32 = 12;

/// Left rows that look for matches.
pub(super) struct Asking {
    /// Ordinals of the keys.
    pub keys: Vec<u32>,
    /// By batch.
    pub times: Vec<Times>,
    /// For each bound, by left row.
    pub limits: Arc<[Vec<i128>]>,
    /// Whether there is a predicate that bounds do not cover.
    pub has_predicate: bool,
}

impl Asking {
    /// Whether the nearest row need not be the match.
    pub(super) fn decides(&self) -> bool {
        self.has_predicate || !self.limits.is_empty()
    }
}

/// What they found.
pub(super) struct Found {
    pub rows: Vec<RowId>,
    pub counts: MatchCounts,
    /// Whether most times are not before the one before.
    pub in_order: bool,
}

/// The rows to look in, with their times.
#[derive(Clone, Copy)]
pub(super) struct Line<'a, T: IndexTime> {
    pub postings: &'a Postings,
    pub times: &'a Timeline<T>,
    pub numbers: &'a RowNumbers,
}

impl<T: IndexTime> Line<'_, T> {
    /// Whether all of it is in cache soon.
    fn is_small(&self) -> bool {
        self.postings.rows.len() < CACHED_ROWS
    }

    #[inline]
    pub(super) fn row(&self, at: usize) -> RowId {
        self.numbers.id(self.postings.rows[at])
    }

    /// Reads what queries will look at from end to end, if they will look at most of it:
    /// the processor foresees that, but not where each of them goes on.
    fn read_ahead(&self, queries: &[Query<T>]) {
        let start = queries.iter().map(|query| query.start).min();
        let end = queries.iter().map(|query| query.end).max();
        let (Some(start), Some(end)) = (start, end) else {
            return;
        };
        let places = start as usize..end as usize;
        if places.len() <= READ_AHEAD * queries.len() {
            read_through(&self.postings.rows[places.clone()]);
            self.times.read_ahead(places);
        }
    }

    #[inline]
    fn stretch(&self, key: u32) -> Range<u32> {
        if key == ABSENT {
            return 0..0;
        }
        let key = key as usize;
        self.postings.offsets[key] as u32..self.postings.offsets[key + 1] as u32
    }
}

#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub metric: Metric,
    pub search: Search,
    pub ranks: Option<&'a Ranks>,
}

impl Probe<'_> {
    /// What left rows find, and those of which a predicate has to decide.
    pub(super) fn run<T: IndexTime>(
        &self,
        asking: &Asking,
        line: &Line<'_, T>,
    ) -> Result<(Found, Deciding<T>)> {
        let mut answers = Answers {
            rows: vec![RowId::NONE; asking.keys.len()],
            counts: MatchCounts::default(),
            decides: asking.decides(),
            open: vec![],
            matched: vec![],
        };
        let in_order = match line.is_small() {
            true => self.in_passing(asking, line, &mut answers)?,
            false => self.in_order(asking, line, &mut answers)?,
        };
        let found = Found {
            rows: answers.rows,
            counts: answers.counts,
            in_order,
        };
        Ok((found, Deciding::new(answers.open)))
    }

    /// Answers left rows as they come; gives whether they came in time order.
    fn in_passing<T: IndexTime>(
        &self,
        asking: &Asking,
        line: &Line<'_, T>,
        answers: &mut Answers<T>,
    ) -> Result<bool> {
        let mut queries = Vec::with_capacity(TOGETHER);
        let in_order = self.ask(asking, line, answers, |asks, answers| {
            let cell = line.times.cell(asks.key as usize, asks.time);
            queries.push(Query::new(asks.row, asks.time, asks.stretch).within(cell));
            if queries.len() == TOGETHER {
                line.times.narrow(&mut queries, self.equal_precedes());
                self.answer(line, &mut queries, answers);
                queries.clear();
            }
        })?;
        line.times.narrow(&mut queries, self.equal_precedes());
        self.answer(line, &mut queries, answers);
        Ok(in_order)
    }

    /// Answers left rows by the place they look at; gives whether they came in time order.
    fn in_order<T: IndexTime>(
        &self,
        asking: &Asking,
        line: &Line<'_, T>,
        answers: &mut Answers<T>,
    ) -> Result<bool> {
        let mut queries = Vec::with_capacity(asking.keys.len());
        let mut narrowed = 0;
        let in_order = self.ask(asking, line, answers, |asks, _| {
            queries.push(Query::new(asks.row, asks.time, asks.stretch));
            if queries.len() == narrowed + TOGETHER {
                line.times
                    .narrow(&mut queries[narrowed..], self.equal_precedes());
                narrowed = queries.len();
            }
        })?;
        line.times
            .narrow(&mut queries[narrowed..], self.equal_precedes());
        if queries.len() >= MANY {
            queries = by_place(&queries, line.postings.rows.len());
        }
        for queries in queries.chunks_mut(TOGETHER) {
            line.read_ahead(queries);
            self.answer(line, queries, answers);
        }
        Ok(in_order)
    }

    /// The left rows that may have a match, one after the other; gives whether they came in
    /// order.
    fn ask<T: IndexTime>(
        &self,
        asking: &Asking,
        line: &Line<'_, T>,
        answers: &mut Answers<T>,
        mut each: impl FnMut(Asks<T>, &mut Answers<T>),
    ) -> Result<bool> {
        let mut keys = (0..).zip(&asking.keys);
        let (mut asked, mut ascents) = (0, 0);
        for times in &asking.times {
            let Some(places) = T::places(&times.values, self.ranks) else {
                return exec_err!("as-of values of the sides are on different lines");
            };
            let mut latest = None;
            for (place, time) in places.iter().enumerate() {
                let Some((row, key)) = keys.next() else {
                    break;
                };
                let stretch = match *key {
                    NULL_KEY => {
                        answers.counts.null_key += 1;
                        continue;
                    }
                    REFUSED => {
                        answers.counts.refused += 1;
                        continue;
                    }
                    key => line.stretch(key),
                };
                if !times.is_valid(place) {
                    answers.counts.null_time += 1;
                    continue;
                }
                if stretch.is_empty() {
                    answers.counts.no_key += 1;
                    continue;
                }
                ascents += usize::from(latest.is_none_or(|latest| latest <= *time));
                latest = Some(*time);
                asked += 1;
                let (key, time) = (*key, *time);
                let asks = Asks {
                    row,
                    key,
                    time,
                    stretch,
                };
                each(asks, answers);
            }
        }
        Ok(8 * ascents >= 7 * asked)
    }

    /// Finds what narrowed queries ask for. Each step is taken by all of them before the next, so
    /// that they wait for memory together.
    fn answer<T: IndexTime>(
        &self,
        line: &Line<'_, T>,
        queries: &mut [Query<T>],
        answers: &mut Answers<T>,
    ) {
        line.times.find(queries, self.equal_precedes());
        for query in queries {
            let (row, time) = (query.row as usize, query.time);
            let stretch = query.first as usize..query.last as usize;
            let point = query.start as usize;
            let Some(nearest) = self.nearest(line.times, stretch.clone(), time, point) else {
                answers.counts.wrong_side += 1;
                continue;
            };
            let limited = self.search.tolerance.is_some();
            if limited && !self.near_enough(time, line.times.at(nearest)) {
                answers.counts.beyond_tolerance += 1;
            } else if answers.decides {
                let open = self.candidates(line, stretch, (row, time), point);
                answers.open.push(open);
            } else {
                answers.matched.push((query.row, nearest as u32));
            }
        }
        answers.counts.matched += answers.matched.len();
        for (row, at) in answers.matched.drain(..) {
            answers.rows[row as usize] = line.row(at as usize);
        }
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
    pub(super) fn nearer<T: IndexTime>(
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
        let after = match direction {
            AsOfDirection::Nearest => Walk::up_by_run(start..last),
            _ => Walk::Up(start..last),
        };
        Open::new((row, time), Walk::Down(first..end), after)
    }
}

/// A left row that may have a match in a stretch.
struct Asks<T> {
    row: u32,
    key: u32,
    time: T,
    stretch: Range<u32>,
}

/// What left rows found so far.
struct Answers<T> {
    rows: Vec<RowId>,
    counts: MatchCounts,
    /// Whether the nearest row need not be the match.
    decides: bool,
    open: Vec<Open<T>>,
    /// Left rows with the position that each found.
    matched: Vec<(u32, u32)>,
}

/// Queries, roughly in the order of the places that they were narrowed to.
fn by_place<T: Copy>(queries: &[Query<T>], places: usize) -> Vec<Query<T>> {
    let bits = usize::BITS - places.leading_zeros();
    let shift = bits.saturating_sub(PART_BITS).max(NARROWED_BITS);
    let part = |query: &Query<T>| (query.start >> shift) as usize;
    let mut next = vec![0; (places >> shift) + 1];
    for query in queries {
        next[part(query)] += 1;
    }
    let mut start = 0;
    for slot in &mut next {
        start += std::mem::replace(slot, start);
    }
    let mut ordered = queries.to_vec();
    for query in queries {
        let slot = &mut next[part(query)];
        ordered[*slot] = *query;
        *slot += 1;
    }
    ordered
}
