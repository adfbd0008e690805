//! Building the index.
//!
//! Rows arrive batch by batch in any order. [`RightIndexBuilder::push`] notes for each its key
//! ordinal, time, place in the input and id; rows with a NULL key or an invalid time are left
//! out, they match nothing. [`RightIndexBuilder::finish`] counts the rows of each key, scatters
//! them to their key's stretch, and sorts the stretches that did not arrive in (time, place)
//! order.

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::row::Rows;
use datafusion::common::{Result, exec_err};

use super::ranks::Ranks;
use super::{Postings, RightIndex};
use crate::kernel::domain::{Line, TimeDomain, TimeValues};
use crate::kernel::ordinals::{KeyOrdinals, is_known, refuse};
use crate::kernel::rows::RowId;
use crate::kernel::ties::TieRanker;
use crate::kernel::zones::{Bound, Zones};
use crate::spec::Side;

/// A right batch as the index sees it.
pub(crate) struct RightBatch<'a> {
    pub keys: &'a [ArrayRef],
    pub time: &'a ArrayRef,
    /// The place of each row in the right input: decides between equal times.
    pub places: &'a [u64],
    /// Rows that can match at all; all of them if `None`.
    pub mask: Option<&'a BooleanArray>,
    /// The columns of `TIES BY`.
    pub ties: &'a [ArrayRef],
    /// What the bounds compare.
    pub bounds: &'a [ArrayRef],
    /// The right columns, if each takes its own nearest value.
    pub payload: &'a [ArrayRef],
}

/// Collects right rows.
pub(crate) struct RightIndexBuilder {
    domain: TimeDomain,
    ordinals: KeyOrdinals,
    ties: Option<TieRanker>,
    bounds: Vec<Bound>,
    batches: u32,
    /// Rows pushed, kept or not.
    pushed: usize,
    keys: Vec<u32>,
    rows: Vec<RowId>,
    places: Vec<u64>,
    times: Collected,
    /// The pushed row that each kept row was; only where something is looked up by it.
    kept: Vec<u32>,
    /// For each bound the values of the kept rows.
    bound_values: Vec<Vec<i128>>,
    /// For each batch and right column which rows are valid.
    validity: Vec<Vec<Option<NullBuffer>>>,
}

/// Times of the rows collected so far.
enum Collected {
    I64(Vec<i64>),
    I128(Vec<i128>),
    /// All values in arrival order, invalid ones included.
    Rows(Option<Rows>),
}

impl RightIndexBuilder {
    pub(crate) fn new(
        domain: &TimeDomain,
        ordinals: KeyOrdinals,
        ties: Option<TieRanker>,
        bounds: &[Bound],
    ) -> Self {
        Self {
            domain: domain.clone(),
            ordinals,
            ties,
            bounds: bounds.to_vec(),
            batches: 0,
            pushed: 0,
            keys: vec![],
            rows: vec![],
            places: vec![],
            times: match domain.line() {
                Line::I64 => Collected::I64(vec![]),
                Line::I128 => Collected::I128(vec![]),
                Line::Rows => Collected::Rows(None),
            },
            kept: vec![],
            bound_values: vec![vec![]; bounds.len()],
            validity: vec![],
        }
    }

    /// Adds the next batch; its rows get its number as [`RowId::batch`].
    pub(crate) fn push(&mut self, batch: &RightBatch<'_>) -> Result<()> {
        let number = self.batches;
        let count = batch.places.len();
        let before = self.pushed;
        self.pushed += count;
        self.batches += 1;
        if self.pushed > u32::MAX as usize || number == u32::MAX {
            return exec_err!("the right side of an as-of join has too many rows for one index");
        }
        let mut keys = self.ordinals.intern(batch.keys, count)?;
        if let Some(mask) = batch.mask {
            refuse(&mut keys, mask);
        }
        let times = self.domain.times(Side::Right, batch.time)?;
        let usable = |row: &usize| is_known(keys[*row]) && times.is_valid(*row);
        for row in (0..count).filter(usable) {
            self.keys.push(keys[row]);
            self.places.push(batch.places[row]);
            self.rows.push(RowId {
                batch: number,
                row: row as u32,
            });
        }
        let kept = (0..count).filter(usable);
        match (&mut self.times, &times.values) {
            (Collected::I64(all), TimeValues::I64(new)) => all.extend(kept.map(|row| new[row])),
            (Collected::I128(all), TimeValues::I128(new)) => all.extend(kept.map(|row| new[row])),
            (Collected::Rows(values), TimeValues::Rows(_)) => {
                self.domain.append_rows(values, batch.time)?;
            }
            _ => return exec_err!("as-of values changed their line"),
        }
        if self.needs_kept() {
            let kept = (0..count).filter(usable);
            self.kept.extend(kept.map(|row| (before + row) as u32));
        }
        if let Some(ties) = &mut self.ties {
            ties.push(batch.ties)?;
        }
        let values = self.bounds.iter().zip(batch.bounds);
        for ((bound, column), all) in values.zip(&mut self.bound_values) {
            let new = bound.values(column)?;
            all.extend((0..count).filter(usable).map(|row| new[row]));
        }
        let validity = batch.payload.iter().map(|column| column.logical_nulls());
        self.validity.push(validity.collect());
        Ok(())
    }

    fn needs_kept(&self) -> bool {
        self.ties.is_some() || matches!(self.times, Collected::Rows(_))
    }

    /// Bytes held now and needed by [`Self::finish`], for the memory pool.
    pub(crate) fn size(&self) -> usize {
        let rows = self.rows.len();
        let per_row = 2 * (size_of::<u32>() + size_of::<RowId>() + size_of::<u64>());
        let times = match &self.times {
            Collected::I64(times) => 2 * size_of_val(times.as_slice()),
            Collected::I128(times) => 2 * size_of_val(times.as_slice()),
            Collected::Rows(values) => {
                values.as_ref().map_or(0, Rows::size) + 3 * size_of::<i64>() * rows
            }
        };
        let kept = self.kept.len() * size_of::<u32>();
        let ties = self.ties.as_ref().map_or(0, TieRanker::size);
        let bounds = 3 * size_of::<i128>() * rows * self.bounds.len();
        let columns = self.validity.first().map_or(0, Vec::len);
        // A class has at most as many rows as there are.
        let classes = columns * rows * (size_of::<RowId>() + size_of::<i64>());
        self.ordinals.size() + rows * per_row + times + kept + ties + bounds + classes
    }

    /// Groups by key and orders by time.
    pub(crate) fn finish(self) -> Result<RightIndex> {
        let (times, ranks) = match self.times {
            Collected::Rows(values) => {
                let (times, ranks) = Ranks::of(values, &self.kept);
                (Collected::I64(times), Some(ranks))
            }
            times => (times, None),
        };
        let places = match self.ties {
            Some(ties) => ties.rank(&self.kept, &self.places),
            None => self.places,
        };
        let offsets = offsets(&self.keys, self.ordinals.len());
        let entries = Entries {
            keys: &self.keys,
            places: &places,
            offsets: &offsets,
        };
        let (times, order) = match &times {
            Collected::I64(times) => {
                let (times, order) = entries.grouped(times);
                (TimeValues::I64(times.into()), order)
            }
            Collected::I128(times) => {
                let (times, order) = entries.grouped(times);
                (TimeValues::I128(times), order)
            }
            Collected::Rows(_) => return exec_err!("values were not ranked"),
        };
        let rows: Vec<RowId> = order
            .iter()
            .map(|entry| self.rows[*entry as usize])
            .collect();
        let bound_values: Vec<Vec<i128>> = (self.bound_values.iter())
            .map(|values| order.iter().map(|entry| values[*entry as usize]).collect())
            .collect();
        drop(order);
        let (class_of_column, validity) = classes(&self.validity);
        let classes = validity.iter().map(|valid| {
            let is_valid = |row: &RowId| {
                let nulls = valid[row.batch as usize];
                nulls.is_none_or(|nulls| nulls.is_valid(row.row as usize))
            };
            let kept: Vec<usize> = (0..rows.len()).filter(|at| is_valid(&rows[*at])).collect();
            part(&kept, &offsets, &times, &rows, &bound_values)
        });
        let classes = classes.collect::<Result<_>>()?;
        Ok(RightIndex {
            domain: self.domain,
            ordinals: self.ordinals,
            bounds: self.bounds,
            all: Postings {
                offsets,
                times,
                rows,
                zones: Zones::new(bound_values.into_iter()),
            },
            classes,
            class_of_column,
            ranks,
        })
    }
}

/// Which rows are valid, by batch.
type Validity<'a> = Vec<Option<&'a NullBuffer>>;

/// The validity class of each column, and which rows are valid in each class. Columns that are
/// NULL in the same rows share one.
fn classes(validity: &[Vec<Option<NullBuffer>>]) -> (Vec<Option<usize>>, Vec<Validity<'_>>) {
    let columns = validity.first().map_or(0, Vec::len);
    let mut classes: Vec<Validity<'_>> = vec![];
    let class_of_column = (0..columns).map(|column| {
        let valid: Validity<'_> = (validity.iter())
            .map(|batch| {
                batch[column]
                    .as_ref()
                    .filter(|nulls| nulls.null_count() > 0)
            })
            .collect();
        if valid.iter().all(Option::is_none) {
            return None;
        }
        let known = classes.iter().position(|class| *class == valid);
        Some(known.unwrap_or_else(|| {
            classes.push(valid);
            classes.len() - 1
        }))
    });
    (class_of_column.collect(), classes)
}

/// The postings of some positions of others.
fn part(
    kept: &[usize],
    offsets: &[usize],
    times: &TimeValues,
    rows: &[RowId],
    bound_values: &[Vec<i128>],
) -> Result<Postings> {
    let offset = |end: &usize| kept.partition_point(|at| at < end);
    let values = bound_values
        .iter()
        .map(|values| kept.iter().map(|at| values[*at]).collect());
    Ok(Postings {
        offsets: offsets.iter().map(offset).collect(),
        times: match times {
            TimeValues::I64(times) => TimeValues::I64(kept.iter().map(|at| times[*at]).collect()),
            TimeValues::I128(times) => TimeValues::I128(kept.iter().map(|at| times[*at]).collect()),
            TimeValues::Rows(_) => return exec_err!("values were not ranked"),
        },
        rows: kept.iter().map(|at| rows[*at]).collect(),
        zones: Zones::new(values),
    })
}

/// Where the stretch of each key begins, and after the last where it ends.
fn offsets(keys: &[u32], distinct: usize) -> Vec<usize> {
    let mut offsets = vec![0; distinct + 1];
    for key in keys {
        offsets[*key as usize + 1] += 1;
    }
    let mut sum = 0;
    for offset in &mut offsets {
        sum += *offset;
        *offset = sum;
    }
    offsets
}

/// Collected rows on their way into the index.
struct Entries<'a> {
    keys: &'a [u32],
    places: &'a [u64],
    offsets: &'a [usize],
}

impl Entries<'_> {
    /// The times by key and time, and the entry that each comes from.
    fn grouped<T: Copy + Ord + Default>(&self, times: &[T]) -> (Vec<T>, Vec<u32>) {
        let count = times.len();
        let mut next = self.offsets.to_vec();
        let mut grouped_times = vec![T::default(); count];
        let mut grouped = vec![0; count];
        for (entry, number) in (0..count).zip(0u32..) {
            let slot = &mut next[self.keys[entry] as usize];
            grouped_times[*slot] = times[entry];
            grouped[*slot] = number;
            *slot += 1;
        }
        let mut scratch = vec![];
        for stretch in self.offsets.windows(2) {
            let stretch = stretch[0]..stretch[1];
            let (times, entries) = (
                &mut grouped_times[stretch.clone()],
                &mut grouped[stretch.clone()],
            );
            let key = |i: usize| (times[i], self.places[entries[i] as usize]);
            if (1..times.len()).all(|i| key(i - 1) <= key(i)) {
                continue;
            }
            scratch.clear();
            scratch.extend((0..times.len()).map(|i| (key(i), entries[i])));
            scratch.sort_unstable_by_key(|(key, _)| *key);
            for (i, ((time, _), entry)) in scratch.iter().enumerate() {
                times[i] = *time;
                entries[i] = *entry;
            }
        }
        (grouped_times, grouped)
    }
}
