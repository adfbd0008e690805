//! Left rows of which a predicate decides, candidate by candidate.
//!
//! # Algorithm
//!
//! In rounds: every left row that has no match yet proposes its next candidates, one in the first
//! round and four times as many in each further one, and the predicate is asked about many
//! pairs at a time. Each of these times is a piece of the work, because a predicate that accepts
//! nothing is asked about all pairs of rows there are.
//!
//! # Memory
//!
//! [`OPEN_BYTES`] for each left row, [`PAIR_BYTES`] for each pair that is asked about, of which
//! there are at most twice [`PAIRS`] at a time.

use datafusion::common::Result;

use super::line::IndexTime;
use super::probe::{Line, Probe};
use super::search::Accept;
use super::walk::{Open, Proposals};
use crate::kernel::pieces::PIECE;

/// Pairs proposed to the predicate at a time, or up to twice as many.
const PAIRS: usize = 32_768;
/// Candidates that one left row proposes at most, on each side of its time.
const WIDEST: usize = PAIRS / 2;
/// A left row that looks for a match, and its match.
pub(super) const OPEN_BYTES: usize = 192;
/// A pair, and about what a predicate reads of it.
const PAIR_BYTES: usize = 128;

/// Left rows that have candidates.
pub(super) struct Deciding<T> {
    /// Those without a match yet; the first of them have proposed in this round.
    open: Vec<Open<T>>,
    proposed: usize,
    /// Candidates that each proposes in this round.
    width: usize,
    /// Left rows with the position of their match.
    matched: Vec<(usize, usize)>,
    /// Left rows there were.
    asked: usize,
}

impl<T: IndexTime> Deciding<T> {
    pub(super) fn new(open: Vec<Open<T>>) -> Self {
        Self {
            asked: open.len(),
            open,
            proposed: 0,
            width: 1,
            matched: vec![],
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.asked * OPEN_BYTES
    }

    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Bytes that the next piece takes beyond.
    pub(super) fn room(&self) -> usize {
        let pairs = 2 * self.width * (self.open.len() - self.proposed);
        pairs.min(2 * PAIRS) * PAIR_BYTES
    }

    /// Asks the predicate once; `limits` are those of the bounds, by left row.
    pub(super) fn piece(
        &mut self,
        probe: &Probe<'_>,
        line: &Line<'_, T>,
        limits: &[Vec<i128>],
        accept: Option<&mut Accept<'_>>,
    ) -> Result<()> {
        let from = self.proposed;
        let mut proposals = Proposals::default();
        let mut of_row = vec![0; limits.len()];
        for left in self.open[from..].iter_mut().take(PIECE) {
            for (limit, column) in of_row.iter_mut().zip(limits) {
                *limit = column[left.row];
            }
            let zones = &line.postings.zones;
            left.propose(line, zones, &of_row, self.width, &mut proposals);
            self.proposed += 1;
            if proposals.pairs() >= PAIRS {
                break;
            }
        }
        let accepted = match accept {
            Some(accept) if proposals.pairs() > 0 => {
                Some(accept(&proposals.left, &proposals.right)?)
            }
            _ => None,
        };
        proposals.settle(accepted.as_ref(), &mut self.open[from..self.proposed]);
        if self.proposed == self.open.len() {
            self.end_round(probe, line);
        }
        Ok(())
    }

    fn end_round(&mut self, probe: &Probe<'_>, line: &Line<'_, T>) {
        let matched = &mut self.matched;
        self.open.retain(|left| {
            if left.is_settled() {
                let (before, after) = (left.found_before, left.found_after);
                let found = probe.nearer(line.times, left.time, before, after);
                matched.extend(found.map(|found| (left.row, found)));
            }
            !left.is_settled()
        });
        self.proposed = 0;
        self.width = (4 * self.width).min(WIDEST);
    }

    /// How many left rows there were, and those that found a match, with its position.
    pub(super) fn finish(self) -> (usize, Vec<(usize, usize)>) {
        (self.asked, self.matched)
    }
}
