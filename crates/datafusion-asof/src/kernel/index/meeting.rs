//! Right rows that came in no order, merged with an index of the left.
//!
//! # Motivation
//!
//! A right row that is offered to a large index of the left ([`candidates`](super::candidates)) waits
//! for memory wherever its time happens to be, several times. Rows in time order find their bins one
//! after the other. To sort them takes far less than those waits, where what is sorted at a time
//! fits the cache.
//!
//! # Algorithm
//!
//! Right rows are gathered as they come ([`Arrivals`](super::Arrivals)), under the ordinals that their
//! keys have in the index of the left, some for each left row. Then they are taken
//! to shards as those of an index are ([`build`](super::build)). A shard of the right has a range of
//! positions of the left: those of its keys or, of a key with several shards, those with times in its cell.
//!
//! ```text
//! positions   | L1   L2   L3 | L4   L5 |      of one key
//! shards      | r1 r2     r3 | r4   r5 r6     each in time order
//!               ^bins, as in `candidates`     r6 is beyond its positions: for the next shard's first
//! ```
//!
//! Both are gone through together, once, which gives the best row of each bin among those that were
//! gathered; it stays if it is better than those of before. What a shard has beyond
//! its positions is a candidate of the position next to them. [`Choosing`](super::Choosing) does the rest.
//!
//! That both sides are partitioned until a part of them fits the cache, and then sorted and merged, is
//! the sort-merge join of Balkesen et al., "Multi-core, main-memory joins: sort vs. hash revisited"
//! (VLDB 2013).
//!
//! # Memory
//!
//! 28 bytes for each gathered row at most until all shards are merged, and 24 for each left row.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::{Result, exec_err};

use super::SideIndex;
use super::build::{Ordered, Sharded};
use super::candidates::{Best, NOTHING};
use super::line::LineTimes;
use super::plan::Layout;
use super::timeline::Timeline;
use crate::kernel::rows::RowId;
use crate::spec::AsOfDirection;

/// Positions whose bins are locked together.
const PIECE_BITS: u32 = 14;

/// The best gathered rows of all bins, while there may be better ones.
pub(crate) struct Bins {
    positions: usize,
    /// By position; empty where there is nothing yet.
    pieces: Vec<Mutex<Vec<Best>>>,
    /// By ordinal whether a row of the key was gathered.
    seen: Mutex<Vec<bool>>,
}

/// The best gathered rows of all bins.
pub(crate) struct Gathered {
    pieces: Vec<Vec<Best>>,
    seen: Vec<bool>,
}

/// An index of the left and right rows that were gathered.
pub(crate) struct Meeting {
    index: Arc<SideIndex>,
    bins: Arc<Bins>,
    right: Sharded<i64>,
    /// By shard.
    positions: Vec<Range<usize>>,
    /// Number of the first of the gathered batches.
    first_batch: u32,
}

impl Bins {
    pub(crate) fn new(index: &SideIndex) -> Self {
        let positions = index.all.rows.len();
        let pieces = (0..positions).step_by(1 << PIECE_BITS);
        Self {
            positions,
            pieces: pieces.map(|_| Mutex::default()).collect(),
            seen: Mutex::new(vec![false; index.ordinals.len()]),
        }
    }

    /// Bytes that are held at most, for the memory pool.
    pub(crate) fn size(index: &SideIndex) -> usize {
        index.all.rows.len() * size_of::<Best>() + index.ordinals.len()
    }

    /// Parts whose rows can be visited on their own.
    pub(crate) fn pieces(&self) -> Range<usize> {
        0..self.pieces.len()
    }

    /// How many bins of a piece have a row.
    pub(crate) fn count(&self, piece: usize) -> usize {
        let bins = self.lock(piece);
        bins.iter().filter(|best| best.row.is_some()).count()
    }

    /// Visits the best rows of a piece.
    pub(crate) fn each(&self, piece: usize, visit: impl FnMut(&mut RowId)) {
        let mut bins = self.lock(piece);
        let rows = bins.iter_mut().map(|best| &mut best.row);
        rows.filter(|row| row.is_some()).for_each(visit);
    }

    /// What has been gathered.
    pub(crate) fn finish(self) -> Gathered {
        let pieces = self.pieces.into_iter();
        let pieces = pieces.map(|piece| piece.into_inner().unwrap_or_else(PoisonError::into_inner));
        Gathered {
            pieces: pieces.collect(),
            seen: self
                .seen
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn lock(&self, piece: usize) -> MutexGuard<'_, Vec<Best>> {
        (self.pieces[piece].lock()).unwrap_or_else(PoisonError::into_inner)
    }

    /// The bins of the piece that a position is in, and the positions they are for.
    fn around(&self, position: usize) -> (MutexGuard<'_, Vec<Best>>, Range<usize>) {
        let piece = position >> PIECE_BITS;
        let start = piece << PIECE_BITS;
        let positions = start..self.positions.min(start + (1 << PIECE_BITS));
        let mut bins = self.lock(piece);
        bins.resize(positions.len(), NOTHING);
        (bins, positions)
    }

    /// Says that rows were gathered of keys, whose lists begin and end there.
    fn see(&self, offsets: &[usize]) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (seen, ends) in seen.iter_mut().zip(offsets.windows(2)) {
            *seen |= ends[0] < ends[1];
        }
    }
}

impl Gathered {
    /// The best row of a bin.
    #[inline]
    pub(super) fn best(&self, position: usize) -> Best {
        let piece = &self.pieces[position >> PIECE_BITS];
        let best = piece.get(position & ((1 << PIECE_BITS) - 1));
        best.copied().unwrap_or(NOTHING)
    }

    /// Whether a row of a key was gathered.
    pub(super) fn has_seen(&self, key: usize) -> bool {
        self.seen[key]
    }
}

impl Meeting {
    /// `right` with its batches numbered from `first_batch` on.
    ///
    /// # Errors
    /// An execution error for an index whose times are not of 64 bits.
    pub(crate) fn try_new(
        index: Arc<SideIndex>,
        bins: Arc<Bins>,
        right: Sharded<i64>,
        first_batch: u32,
    ) -> Result<Self> {
        let LineTimes::I64(line) = &index.all.times else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        bins.see(&right.layout.offsets);
        let positions = positions(&index, line, &right.layout);
        Ok(Self {
            right,
            positions,
            first_batch,
            bins,
            index,
        })
    }

    /// What there is to do: [`Self::meet`] each.
    pub(crate) fn shards(&self) -> Range<usize> {
        0..self.positions.len()
    }

    /// Merges the right rows of a shard with the left rows that they are for.
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub(crate) fn meet(&self, shard: usize) -> Result<()> {
        let LineTimes::I64(line) = &self.index.all.times else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let Ordered { times, rows, ends } = self.right.ordered(shard);
        let first_key = self.right.layout.shards[shard].start as usize;
        let mut start = 0;
        for (key, end) in (first_key..).zip(ends) {
            let list = start..end;
            start = end;
            if !list.is_empty() {
                let of_key = self.index.all.offsets[key]..self.index.all.offsets[key + 1];
                let list = List {
                    times: &times[list.clone()],
                    rows: &rows[list],
                };
                self.meet_key(line, of_key, &self.positions[shard], list);
            }
        }
        Ok(())
    }

    /// Merges the rows of one key with those of its positions that are the shard's.
    fn meet_key(
        &self,
        line: &Timeline<i64>,
        key: Range<usize>,
        of_shard: &Range<usize>,
        list: List<'_>,
    ) {
        let op = self.right.layout.spec.op;
        let here = key.start.max(of_shard.start)..key.end.min(of_shard.end);
        // What is beyond these positions is for the one next to them, if it is of this key too.
        let next = match op.direction() {
            AsOfDirection::Backward => {
                let beyond = match op.allows_equal() {
                    true => self.upward(line, here.clone(), list, |left, right| right <= left),
                    false => self.upward(line, here.clone(), list, |left, right| right < left),
                };
                (!beyond.is_empty() && here.end < key.end).then(|| (here.end, beyond.end - 1))
            }
            _ => {
                let beyond = match op.allows_equal() {
                    true => self.downward(line, here.clone(), list, |left, right| right >= left),
                    false => self.downward(line, here.clone(), list, |left, right| right > left),
                };
                (!beyond.is_empty() && here.start > key.start)
                    .then(|| (here.start - 1, beyond.start))
            }
        };
        if let Some((position, row)) = next {
            let (mut bins, positions) = self.bins.around(position);
            self.offer(&mut bins[position - positions.start], list, row);
        }
    }

    /// Offers each position the last of the rows that it is the first to be `reached` by. Gives those
    /// that reach none.
    #[inline]
    fn upward(
        &self,
        line: &Timeline<i64>,
        here: Range<usize>,
        list: List<'_>,
        reached: impl Fn(i64, i64) -> bool,
    ) -> Range<usize> {
        let (mut next, mut position) = (0, here.start);
        while position < here.end && next < list.times.len() {
            let (mut bins, positions) = self.bins.around(position);
            let end = here.end.min(positions.end);
            let bins = &mut bins[position - positions.start..end - positions.start];
            for (left, bin) in line.stretch(position..end).iter().zip(bins) {
                let start = next;
                while next < list.times.len() && reached(*left, list.times[next]) {
                    next += 1;
                }
                if next > start {
                    self.offer(bin, list, next - 1);
                }
            }
            position = end;
        }
        next..list.times.len()
    }

    /// The same, going down: the first of the rows that a position is the last to be reached by.
    #[inline]
    fn downward(
        &self,
        line: &Timeline<i64>,
        here: Range<usize>,
        list: List<'_>,
        reached: impl Fn(i64, i64) -> bool,
    ) -> Range<usize> {
        let (mut next, mut position) = (list.times.len(), here.end);
        while position > here.start && next > 0 {
            let (mut bins, positions) = self.bins.around(position - 1);
            let start = here.start.max(positions.start);
            let bins = &mut bins[start - positions.start..position - positions.start];
            for (left, bin) in line.stretch(start..position).iter().zip(bins).rev() {
                let end = next;
                while next > 0 && reached(*left, list.times[next - 1]) {
                    next -= 1;
                }
                if next < end {
                    self.offer(bin, list, next);
                }
            }
            position = start;
        }
        0..next
    }

    #[inline]
    fn offer(&self, bin: &mut Best, list: List<'_>, at: usize) {
        let layout = &self.right.layout;
        let row = layout.numbers.id(list.rows[at]);
        let candidate = Best {
            time: list.times[at],
            place: layout.equals.places[row.batch as usize].at(row.row as usize),
            row: RowId {
                batch: self.first_batch + row.batch,
                row: row.row,
            },
        };
        let backward = layout.spec.op.direction() == AsOfDirection::Backward;
        if candidate.is_better_than(bin, backward) {
            *bin = candidate;
        }
    }
}

/// Right rows of one key, in time order.
#[derive(Clone, Copy)]
struct List<'a> {
    times: &'a [i64],
    rows: &'a [u32],
}

/// The positions of each shard, one after the other.
fn positions(index: &SideIndex, line: &Timeline<i64>, layout: &Layout<i64>) -> Vec<Range<usize>> {
    let offsets = &index.all.offsets;
    let shards = (0u32..).zip(&layout.shards);
    let ranges = shards.map(|(shard, keys)| {
        let of_keys = offsets[keys.start as usize]..offsets[keys.end as usize];
        let route = layout.routes[keys.start as usize];
        let from = |cell: u32| match cell {
            0 => of_keys.start,
            cell if cell > route.last_cell => of_keys.end,
            cell => {
                let before = (u64::from(cell) << route.shift).cast_signed();
                let least = layout.least.wrapping_add(before);
                line.partition_point(of_keys.clone(), |time| time < least)
            }
        };
        match route.last_cell {
            0 => of_keys.clone(),
            _ => from(shard - route.first)..from(shard - route.first + 1),
        }
    });
    ranges.collect()
}
