//! As-of values that have an order but are no numbers.
//!
//! The i-th distinct right value becomes the place `2i + 1`; a left value gets that of the
//! right value it equals, or the even number between its neighbours.
//!
//! The rows are sorted in runs, the runs merged two by two: a sort that can be stopped.

use super::plan::OfPart;
use crate::kernel::domain::TimeValues;
use crate::kernel::ordinals::is_known;
use crate::kernel::pieces::PIECE;
use crate::kernel::rows::RowId;

/// The distinct right values in order.
#[derive(Debug, Default)]
pub(crate) struct Ranks {
    distinct: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Ranks {
    pub(super) fn place(&self, value: &[u8]) -> i64 {
        let below = self.distinct.partition_point(|known| **known < *value);
        let known = self
            .distinct
            .get(below)
            .is_some_and(|known| **known == *value);
        2 * below as i64 + i64::from(known)
    }

    pub(super) fn size(&self) -> usize {
        self.bytes + self.distinct.capacity() * size_of::<Box<[u8]>>()
    }

    /// Gives a value that is not less than all before it its place.
    fn push(&mut self, value: &[u8]) -> i64 {
        if self.distinct.last().is_none_or(|last| **last != *value) {
            self.distinct.push(value.into());
            self.bytes += value.len();
        }
        2 * self.distinct.len() as i64 - 1
    }
}

/// Ranks while they are made.
#[derive(Default)]
pub(super) struct Ranking {
    stage: Stage,
    /// Rows that can match, in sorted runs of `width`.
    rows: Vec<RowId>,
    width: usize,
    /// The runs of twice the width, so far, and how far each of the two of the next has come.
    merged: Vec<RowId>,
    left: usize,
    right: usize,
    /// By batch and row.
    places: Vec<Vec<i64>>,
    ranks: Ranks,
    /// Batches, or rows, done in this stage.
    done: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Collect,
    SortRuns,
    Merge,
    Place,
}

impl Ranking {
    /// Bytes held beyond those that [`super::collect::IndexPart::size`] has foreseen.
    pub(super) fn size(&self) -> usize {
        self.ranks.size()
    }

    /// Bytes that the next piece may take.
    pub(super) fn room(&self, batches: &[OfPart]) -> usize {
        if self.stage != Stage::Place {
            return 0;
        }
        let piece = &self.rows[self.done..self.rows.len().min(self.done + PIECE)];
        let bytes: usize = piece.iter().map(|row| value(batches, *row).len()).sum();
        let distinct = self.ranks.distinct.len() + piece.len();
        let list = match distinct > self.ranks.distinct.capacity() {
            true => 2 * distinct * size_of::<Box<[u8]>>(),
            false => 0,
        };
        bytes + list
    }

    /// The greatest place so far.
    pub(super) fn greatest(&self) -> i128 {
        2 * self.ranks.distinct.len() as i128
    }

    /// The places of the rows of each batch, and the ranks they come from.
    pub(super) fn finish(self) -> (Vec<Vec<i64>>, Ranks) {
        (self.places, self.ranks)
    }

    /// Does a piece of the work; gives whether there is another.
    pub(super) fn piece(&mut self, batches: &[OfPart]) -> bool {
        match self.stage {
            Stage::Collect => self.collect(batches),
            Stage::SortRuns => self.sort_run(batches),
            Stage::Merge => self.merge(batches),
            Stage::Place => self.place(batches),
        }
    }

    fn next(&mut self, stage: Stage) -> bool {
        self.stage = stage;
        self.done = 0;
        true
    }

    fn collect(&mut self, batches: &[OfPart]) -> bool {
        let Some(of_part) = batches.get(self.done) else {
            return self.next(Stage::SortRuns);
        };
        let batch = self.done as u32;
        let keys = of_part.batch.keys.each();
        let keys = keys.iter().zip(0..);
        let known = keys.filter(|(key, _)| is_known(**key));
        self.rows.extend(known.map(|(_, row)| RowId { batch, row }));
        self.places.push(vec![0; of_part.batch.rows()]);
        self.done += 1;
        true
    }

    fn sort_run(&mut self, batches: &[OfPart]) -> bool {
        let end = self.rows.len().min(self.done + PIECE);
        let run = &mut self.rows[self.done..end];
        run.sort_unstable_by(|a, b| value(batches, *a).cmp(value(batches, *b)));
        self.done = end;
        if end < self.rows.len() {
            return true;
        }
        self.width = PIECE;
        self.merged.reserve_exact(self.rows.len());
        self.begin_pair(0);
        self.next(Stage::Merge)
    }

    /// Begins to merge the two runs from `start` on.
    fn begin_pair(&mut self, start: usize) {
        self.left = start;
        self.right = self.rows.len().min(start + self.width);
    }

    fn merge(&mut self, batches: &[OfPart]) -> bool {
        let rows = self.rows.len();
        if self.width >= rows {
            self.merged = vec![];
            return self.next(Stage::Place);
        }
        for _ in 0..PIECE {
            let start = self.merged.len() / (2 * self.width) * (2 * self.width);
            let middle = rows.min(start + self.width);
            let end = rows.min(start + 2 * self.width);
            let of_left = |a: RowId, b: RowId| value(batches, a) <= value(batches, b);
            let takes_left = self.right == end
                || (self.left < middle && of_left(self.rows[self.left], self.rows[self.right]));
            let from = match takes_left {
                true => &mut self.left,
                false => &mut self.right,
            };
            self.merged.push(self.rows[*from]);
            *from += 1;
            if self.merged.len() == rows {
                std::mem::swap(&mut self.rows, &mut self.merged);
                self.merged.clear();
                self.width *= 2;
                self.begin_pair(0);
                break;
            }
            if self.merged.len() == end {
                self.begin_pair(end);
            }
        }
        true
    }

    fn place(&mut self, batches: &[OfPart]) -> bool {
        let end = self.rows.len().min(self.done + PIECE);
        for row in &self.rows[self.done..end] {
            let place = self.ranks.push(value(batches, *row));
            self.places[row.batch as usize][row.row as usize] = place;
        }
        self.done = end;
        end < self.rows.len()
    }
}

fn value(batches: &[OfPart], row: RowId) -> &[u8] {
    match &batches[row.batch as usize].batch.times.values {
        TimeValues::Rows(values) => values.row(row.row as usize).data(),
        _ => &[],
    }
}
