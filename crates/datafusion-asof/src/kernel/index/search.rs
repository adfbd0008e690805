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
//! pairs at a time ([`decide`](super::decide)), so that the usual case costs one evaluation and a
//! bad one few. A predicate that accepts nothing is asked about all pairs, which takes long; so
//! looking up is work in pieces, of which there is one where nobody has to be asked.
//!
//! # Batches
//!
//! Each left row is looked up for itself. But where they come in no order and the index is too
//! large for the caches, every search would wait for memory several times, at addresses that no
//! one foresees. Left rows of many batches together, looked up in the order of the places they
//! have in the index, share those waits ([`probe`](super::probe)). [`SideIndex::gains_together`]
//! says how many that takes.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::{Result, exec_err};

use super::decide::{Deciding, OPEN_BYTES};
use super::line::{IndexTime, LineTimes};
use super::probe::{Asking, Found, Line, Probe};
use super::timeline::Timeline;
use super::{Postings, SideIndex};
use crate::kernel::distance::Metric;
use crate::kernel::ordinals::{ABSENT, refuse};
use crate::kernel::pieces::Pieces;
use crate::kernel::rows::{MatchCounts, RowId};
use crate::kernel::tolerance::Tolerance;
use crate::spec::{MatchOp, Side};

/// An index of fewer rows than this is in cache soon.
pub(super) const CACHED_ROWS: usize = 1 << 18;
/// The places of so many keys that go up together are in cache.
const CACHED_KEYS: u32 = 1 << 16;

/// Rows of the index for each left row, for which most that is read from memory is used by many.
const ROWS_OF_QUERY: usize = 32;
/// Left rows that are waited for at least, and at most: nobody can end what is done with them before it is
/// done.
const LEAST_TOGETHER: usize = 1 << 17;
const MOST_TOGETHER: usize = 1 << 19;

/// A left batch to be matched.
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
pub(crate) type Accept<'a> = &'a mut (dyn FnMut(&[u32], &[RowId]) -> Result<BooleanArray> + Send);

/// The matches of left batches, whose rows are numbered from the first batch on.
#[derive(Debug)]
pub(crate) struct Matches {
    /// The chosen row of each left row, [`RowId::NONE`] where there is none.
    pub rows: Vec<RowId>,
    /// The same within each validity class.
    pub by_class: Vec<Vec<RowId>>,
    pub counts: MatchCounts,
    /// Whether left rows came in time order, by and large.
    pub in_order: bool,
}

impl SideIndex {
    /// Looks for the match of each row of some left batches; `accept` is the predicate that
    /// bounds do not cover.
    pub(crate) fn probe<'a>(
        &'a self,
        left: &[LeftBatch<'_>],
        search: Search,
        accept: Option<Accept<'a>>,
    ) -> Result<Probing<'a>> {
        let (mut all_keys, mut all_times) = (vec![], vec![]);
        let mut limits = vec![vec![]; self.bounds.len()];
        for batch in left {
            let mut keys = self.ordinals.lookup(batch.keys, batch.time.len())?;
            if let Some(mask) = batch.mask {
                refuse(&mut keys, mask);
            }
            match all_keys.is_empty() {
                true => all_keys = keys,
                false => all_keys.extend(keys),
            }
            all_times.push(self.domain.times(Side::Left, batch.time)?);
            let bounds = self.bounds.iter().zip(batch.bounds);
            for ((bound, column), limits) in bounds.zip(&mut limits) {
                limits.extend(bound.limits(column)?);
            }
        }
        Ok(Probing {
            index: self,
            probe: Probe {
                metric: Metric::of(&self.domain),
                search,
                ranks: self.ranks.as_ref(),
            },
            asking: Asking {
                keys: all_keys,
                times: all_times,
                limits: limits.into(),
                has_predicate: accept.is_some(),
            },
            accept,
            found: vec![],
            run: None,
        })
    }

    /// Left rows that are looked up together with gain: many where they come in no order, or
    /// under more keys than are in cache, and the index is not in cache; else none.
    pub(crate) fn gains_together(&self, in_order: bool) -> usize {
        let rows = self.all.rows.len();
        let local = in_order && self.ordinals.len() <= CACHED_KEYS as usize;
        match rows >= CACHED_ROWS && !local {
            true => (rows / ROWS_OF_QUERY).clamp(LEAST_TOGETHER, MOST_TOGETHER),
            false => 0,
        }
    }
}

/// Left rows on their way to their matches.
pub(crate) struct Probing<'a> {
    index: &'a SideIndex,
    probe: Probe<'a>,
    asking: Asking,
    accept: Option<Accept<'a>>,
    /// Among all right rows, then within each validity class.
    found: Vec<Found>,
    /// The search that is under way.
    run: Option<Box<dyn Run + 'a>>,
}

impl Pieces for Probing<'_> {
    fn size(&self) -> usize {
        self.run.as_ref().map_or(0, |run| run.size())
    }

    fn room(&self) -> usize {
        match &self.run {
            Some(run) => run.room(),
            None if self.asking.decides() => self.asking.keys.len() * OPEN_BYTES,
            None => 0,
        }
    }

    fn piece(&mut self) -> Result<bool> {
        let run = match self.run.take() {
            Some(mut run) => {
                run.piece(self.accept.as_mut())?;
                run
            }
            None => self.next_run()?,
        };
        if run.is_over() {
            self.end(run.finish());
        } else {
            self.run = Some(run);
        }
        Ok(self.run.is_some() || self.found.len() <= self.index.classes.len())
    }
}

impl<'a> Probing<'a> {
    fn next_run(&self) -> Result<Box<dyn Run + 'a>> {
        let class = self.found.len().checked_sub(1);
        let index = self.index;
        let postings = class.map_or(&index.all, |class| &index.classes[class]);
        Ok(match &postings.times {
            LineTimes::I64(times) => Box::new(self.run_on(postings, times)?),
            LineTimes::I128(times) => Box::new(self.run_on(postings, times)?),
        })
    }

    fn run_on<T: IndexTime>(
        &self,
        postings: &'a Postings,
        times: &'a Timeline<T>,
    ) -> Result<LineRun<'a, T>> {
        let line = Line {
            postings,
            times,
            numbers: &self.index.numbers,
        };
        let (found, deciding) = self.probe.run(&self.asking, &line)?;
        Ok(LineRun {
            probe: self.probe,
            line,
            limits: Arc::clone(&self.asking.limits),
            found,
            deciding,
        })
    }

    fn end(&mut self, found: Found) {
        if self.found.is_empty() && !self.index.classes.is_empty() {
            for (key, row) in self.asking.keys.iter_mut().zip(&found.rows) {
                if !row.is_some() {
                    *key = ABSENT;
                }
            }
        }
        self.found.push(found);
    }

    /// The matches, when all pieces are done.
    pub(crate) fn finish(self) -> Result<Matches> {
        let mut found = self.found.into_iter();
        let Some(Found {
            rows,
            counts,
            in_order,
        }) = found.next()
        else {
            return exec_err!("left rows of an ASOF JOIN were not looked up");
        };
        Ok(Matches {
            rows,
            by_class: found.map(|found| found.rows).collect(),
            counts,
            in_order,
        })
    }
}

/// A search in one list of rows.
trait Run: Send {
    fn size(&self) -> usize;
    fn room(&self) -> usize;
    fn is_over(&self) -> bool;
    fn piece(&mut self, accept: Option<&mut Accept<'_>>) -> Result<()>;
    fn finish(self: Box<Self>) -> Found;
}

struct LineRun<'a, T: IndexTime> {
    probe: Probe<'a>,
    line: Line<'a, T>,
    limits: Arc<[Vec<i128>]>,
    found: Found,
    deciding: Deciding<T>,
}

impl<T: IndexTime> Run for LineRun<'_, T> {
    fn size(&self) -> usize {
        self.deciding.size()
    }

    fn room(&self) -> usize {
        self.deciding.room()
    }

    fn is_over(&self) -> bool {
        self.deciding.is_over()
    }

    fn piece(&mut self, accept: Option<&mut Accept<'_>>) -> Result<()> {
        self.deciding
            .piece(&self.probe, &self.line, &self.limits, accept)
    }

    fn finish(self: Box<Self>) -> Found {
        let Self {
            line,
            mut found,
            deciding,
            ..
        } = *self;
        let (asked, matched) = deciding.finish();
        found.counts.matched += matched.len();
        found.counts.refused += asked - matched.len();
        for (row, at) in matched {
            found.rows[row] = line.row(at);
        }
        found
    }
}
