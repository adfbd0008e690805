//! The right rows that a range of time needs of the ranges before it.
//!
//! # Why it is exact
//!
//! ```text
//! ranges of a key      │    0    │    1    │    2    │    3    │
//! its right rows       │  a   b  │    c    │         │   d     │
//! carried              │         │ b       │ c       │ c       │
//! ```
//!
//! Looking backward, a left row of a range matches a right row of that range or, if none
//! precedes it there, the last one of all ranges before. So each range is sent that one: the
//! join of the range then sees one more candidate, older than its own. Looking forward is the
//! mirror image, nearest looks both ways, and with IGNORE NULLS each class of rows has a last
//! one of its own.
//!
//! Each partition of the input does so with the rows that it has. The last of the last rows of
//! all partitions is the last row, so a range is sent the one it needs, and others that do no
//! harm: they are right rows of the key like any other. No partition knows of another.
//!
//! # Cost
//!
//! At most one row for each range of each hot key, class and partition of the input; with a
//! tolerance only into ranges of which the nearest edge is within it. Where a range is in the
//! slot that the row is in by itself, nothing is sent.

use std::cmp::Ordering;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

use super::domain::{TimeColumn, TimeValues, Times};
use super::place::Place;
use super::rows::RowId;
use super::ties::chosen_last;
use super::time_cut::{TimeCut, UNCUT};
use super::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchOp};

/// What is carried.
#[derive(Debug, Clone)]
pub(crate) struct CarrySpec<'a> {
    pub op: MatchOp,
    pub tolerance: Option<Tolerance>,
    pub ties: &'a [(DataType, SortOptions)],
    /// One, and with IGNORE NULLS one more for each right column that may be NULL.
    pub classes: usize,
}

/// Of each range the rows that others may need.
#[derive(Debug)]
pub(crate) struct Carry {
    tolerance: Option<Tolerance>,
    classes: usize,
    /// Turns the columns of `TIES BY` into bytes, the row to be chosen last.
    ties: Option<RowConverter>,
    /// Whether of rows equal in all else the first in the input is chosen.
    first_of_equals: bool,
    ends: Vec<End>,
}

/// One end of the ranges, the row nearest to it by range and class.
#[derive(Debug)]
struct End {
    kind: EndKind,
    best: Vec<Option<Best>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndKind {
    /// The last row, for the ranges after.
    Last,
    /// The first row, for the ranges before.
    First,
}

/// The row nearest to an end so far.
#[derive(Debug)]
struct Best {
    time: Place,
    tie: Box<[u8]>,
    place: u64,
    row: RowId,
}

/// Rows that can match, by their ranges.
pub(crate) struct CarryBatch<'a> {
    pub ranges: &'a [u32],
    pub times: &'a Times,
    /// The columns of `TIES BY`.
    pub ties: &'a [ArrayRef],
    pub places: &'a [u64],
    /// For each class but the first, which rows are valid in it.
    pub validity: &'a [Option<NullBuffer>],
}

/// A row to be sent into a slot that it is not in by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Carried {
    pub slot: u32,
    pub row: RowId,
}

impl Carry {
    pub(crate) fn try_new(spec: &CarrySpec<'_>, cut: &TimeCut) -> Result<Self> {
        let kinds: &[EndKind] = match spec.op.direction() {
            AsOfDirection::Backward => &[EndKind::Last],
            AsOfDirection::Forward => &[EndKind::First],
            AsOfDirection::Nearest => &[EndKind::Last, EndKind::First],
        };
        let none = || std::iter::repeat_with(|| None).take(cut.ranges() * spec.classes);
        let ends = kinds.iter().map(|kind| End {
            kind: *kind,
            best: none().collect(),
        });
        let fields = spec.ties.iter().map(|(data_type, options)| {
            SortField::new_with_options(data_type.clone(), chosen_last(*options))
        });
        let ties = match spec.ties {
            [] => None,
            _ => Some(RowConverter::new(fields.collect())?),
        };
        Ok(Self {
            tolerance: spec.tolerance,
            classes: spec.classes,
            ties,
            first_of_equals: spec.op.direction() == AsOfDirection::Forward,
            ends: ends.collect(),
        })
    }

    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        let entries = self.ends.iter().map(|end| end.best.len());
        let of_bests = self.bests().map(|best| best.tie.len() + best.time.size());
        entries.sum::<usize>() * size_of::<Option<Best>>() + of_bests.sum::<usize>()
    }

    /// Takes note of a batch; gives those of its rows that now are the nearest to some end.
    /// From here on they are the rows, in this order, of the batch `number`.
    pub(crate) fn note(&mut self, batch: &CarryBatch<'_>, number: u32) -> Result<Vec<u32>> {
        let ties = match &self.ties {
            Some(converter) => Some(converter.convert_columns(batch.ties)?),
            None => None,
        };
        let ties = ties.as_ref();
        let mut noted = match &batch.times.values {
            TimeValues::I64(times) => self.note_typed(batch, times, ties, number),
            TimeValues::I128(times) => self.note_typed(batch, times, ties, number),
            TimeValues::Rows(times) => self.note_typed(batch, times, ties, number),
        };
        noted.sort_unstable();
        noted.dedup();
        let noted_rows = noted.iter().filter_map(|(end, entry)| {
            let best = self.ends[*end].best[*entry].as_ref();
            best.map(|best| best.row.row)
        });
        let mut rows: Vec<u32> = noted_rows.collect();
        rows.sort_unstable();
        rows.dedup();
        for (end, entry) in noted {
            if let Some(best) = &mut self.ends[end].best[entry] {
                best.row.row = rows.partition_point(|row| *row < best.row.row) as u32;
            }
        }
        Ok(rows)
    }

    /// Gives the ends and entries of which the best row is one of the batch.
    fn note_typed<T: TimeColumn>(
        &mut self,
        batch: &CarryBatch<'_>,
        times: &T,
        ties: Option<&Rows>,
        number: u32,
    ) -> Vec<(usize, usize)> {
        let (classes, first_of_equals) = (self.classes, self.first_of_equals);
        let in_input = |a: u64, b: u64| match first_of_equals {
            false => a.cmp(&b),
            true => b.cmp(&a),
        };
        let tie = |row: usize| ties.map_or(&[][..], |ties| ties.row(row).data());
        let mut noted = vec![];
        for (end_number, end) in self.ends.iter_mut().enumerate() {
            let kind = end.kind;
            let is_nearer = |row: usize, than: usize| {
                let time = times.value(row).cmp(&times.value(than));
                kind.nearer(time)
                    .then_with(|| tie(row).cmp(tie(than)))
                    .then_with(|| in_input(batch.places[row], batch.places[than]))
                    .is_gt()
            };
            let mut offer = |(entry, row): (usize, usize)| {
                let best = Best {
                    time: T::owned(times.value(row)),
                    tie: tie(row).into(),
                    place: batch.places[row],
                    row: RowId {
                        batch: number,
                        row: row as u32,
                    },
                };
                let is_nearest = end.best[entry].as_ref().is_none_or(|known| {
                    kind.nearer(best.time.cmp(&known.time))
                        .then_with(|| best.tie.cmp(&known.tie))
                        .then_with(|| in_input(best.place, known.place))
                        .is_gt()
                });
                if is_nearest {
                    end.best[entry] = Some(best);
                    noted.push((end_number, entry));
                }
            };
            // Rows of one range mostly follow each other: only the nearest of each run is
            // offered.
            for class in 0..classes {
                let validity = class
                    .checked_sub(1)
                    .and_then(|of| batch.validity[of].as_ref());
                let mut run: Option<(usize, usize)> = None;
                for (row, range) in batch.ranges.iter().enumerate() {
                    if *range == UNCUT || validity.is_some_and(|valid| valid.is_null(row)) {
                        continue;
                    }
                    let entry = *range as usize * classes + class;
                    match &mut run {
                        Some((of_run, nearest)) if *of_run == entry => {
                            if is_nearer(row, *nearest) {
                                *nearest = row;
                            }
                        }
                        _ => {
                            if let Some(ended) = run.replace((entry, row)) {
                                offer(ended);
                            }
                        }
                    }
                }
                if let Some(ended) = run {
                    offer(ended);
                }
            }
        }
        noted
    }

    /// The rows to be sent, each into every slot in which a left row may need it.
    pub(crate) fn carried(&self, cut: &TimeCut) -> Vec<Carried> {
        let mut carried = vec![];
        for (first, cuts) in cut.keys() {
            for end in &self.ends {
                let mut nearest: Vec<Option<(usize, &Best)>> = vec![None; self.classes];
                for at in 0..=cuts.len() {
                    let (range, edge) = match end.kind {
                        EndKind::Last => (at, at.checked_sub(1)),
                        EndKind::First => (cuts.len() - at, Some(cuts.len() - at)),
                    };
                    let edge = edge.and_then(|edge| cuts.get(edge));
                    let slot = cut.slot(first + range);
                    for (class, nearest) in nearest.iter_mut().enumerate() {
                        if let (Some((own, best)), Some(edge)) = (*nearest, edge)
                            && cut.slot(own) != slot
                            && !self.is_ruled_out(end.kind, best, edge)
                        {
                            carried.push(Carried {
                                slot,
                                row: best.row,
                            });
                        }
                        let entry = (first + range) * self.classes + class;
                        if let Some(best) = &end.best[entry] {
                            *nearest = Some((first + range, best));
                        }
                    }
                }
            }
        }
        // Nearest to several ranges of one slot, or in several classes.
        carried.sort_unstable();
        carried.dedup();
        carried
    }

    /// Whether no left row beyond the edge is near enough to the row.
    fn is_ruled_out(&self, kind: EndKind, best: &Best, edge: &Place) -> bool {
        let (later, earlier) = match kind {
            EndKind::Last => (edge, &best.time),
            EndKind::First => (&best.time, edge),
        };
        (self.tolerance).is_some_and(|tolerance| tolerance.rules_out(later, earlier))
    }

    /// The rows that may be sent.
    pub(crate) fn live(&self) -> Vec<RowId> {
        let mut rows: Vec<RowId> = self.bests().map(|best| best.row).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// The rows of [`Self::live`] are from here on those, in this order, of one batch.
    pub(crate) fn gathered(&mut self, live: &[RowId], number: u32) {
        for best in self.ends.iter_mut().flat_map(|end| &mut end.best).flatten() {
            best.row = RowId {
                batch: number,
                row: live.partition_point(|row| *row < best.row) as u32,
            };
        }
    }

    fn bests(&self) -> impl Iterator<Item = &Best> {
        self.ends.iter().flat_map(|end| &end.best).flatten()
    }
}

impl EndKind {
    /// How much nearer to the end a row is than another, by how their times compare.
    fn nearer(self, times: Ordering) -> Ordering {
        match self {
            Self::Last => times,
            Self::First => times.reverse(),
        }
    }
}

#[cfg(test)]
mod tests;
