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
//!
//! # Batches
//!
//! Each left row is looked up for itself. But where they come in no order and the index is too
//! large for the caches, every search would wait for memory several times, at addresses that no
//! one foresees. Left rows of many batches together, looked up in the order of the places they
//! have in the index, share those waits ([`probe`](super::probe)). [`SideIndex::gains_by_more`]
//! says whether that is so.

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::common::Result;

use super::SideIndex;
use super::line::LineTimes;
use super::probe::{Asking, Found, Line, Probe};
use crate::kernel::distance::Metric;
use crate::kernel::ordinals::{ABSENT, refuse};
use crate::kernel::rows::{MatchCounts, RowId};
use crate::kernel::tolerance::Tolerance;
use crate::spec::{MatchOp, Side};

/// An index of fewer rows than this is in cache soon.
const CACHED_ROWS: usize = 1 << 18;
/// The places of so many keys that go up together are in cache.
const CACHED_KEYS: u32 = 1 << 16;

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
pub(crate) type Accept<'a> = &'a mut dyn FnMut(&[u32], &[RowId]) -> Result<BooleanArray>;

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
    /// The match of each row of some left batches; `accept` is the predicate that bounds do not
    /// cover.
    pub(crate) fn probe(
        &self,
        left: &[LeftBatch<'_>],
        search: Search,
        mut accept: Option<Accept<'_>>,
    ) -> Result<Matches> {
        let mut asking = Asking {
            keys: vec![],
            times: vec![],
            limits: vec![vec![]; self.bounds.len()],
        };
        for batch in left {
            let mut keys = self.ordinals.lookup(batch.keys, batch.time.len())?;
            if let Some(mask) = batch.mask {
                refuse(&mut keys, mask);
            }
            match asking.keys.is_empty() {
                true => asking.keys = keys,
                false => asking.keys.extend(keys),
            }
            let times = self.domain.times(Side::Left, batch.time)?;
            asking.times.push(times);
            let bounds = self.bounds.iter().zip(batch.bounds);
            for ((bound, column), limits) in bounds.zip(&mut asking.limits) {
                limits.extend(bound.limits(column)?);
            }
        }
        let probe = Probe {
            metric: Metric::of(&self.domain),
            search,
            ranks: self.ranks.as_ref(),
        };
        let mut run = |asking: &Asking, class: Option<usize>| {
            let postings = class.map_or(&self.all, |class| &self.classes[class]);
            let numbers = &self.numbers;
            match &postings.times {
                LineTimes::I64(times) => {
                    let line = Line {
                        postings,
                        times,
                        numbers,
                    };
                    probe.run(asking, &line, accept.as_mut())
                }
                LineTimes::I128(times) => {
                    let line = Line {
                        postings,
                        times,
                        numbers,
                    };
                    probe.run(asking, &line, accept.as_mut())
                }
            }
        };
        let Found {
            rows,
            counts,
            in_order,
        } = run(&asking, None)?;
        if !self.classes.is_empty() {
            for (key, row) in asking.keys.iter_mut().zip(&rows) {
                if !row.is_some() {
                    *key = ABSENT;
                }
            }
        }
        let classes = 0..self.classes.len();
        let by_class = classes.map(|class| Ok(run(&asking, Some(class))?.rows));
        Ok(Matches {
            by_class: by_class.collect::<Result<_>>()?,
            rows,
            counts,
            in_order,
        })
    }

    /// Whether looking up more left rows at a time is worth holding them back for: where they
    /// come in no order, or under more keys than are in cache, and the index is not in cache.
    pub(crate) fn gains_by_more(&self, in_order: bool) -> bool {
        let local = in_order && self.ordinals.len() <= CACHED_KEYS as usize;
        self.all.rows.len() >= CACHED_ROWS && !local
    }
}
