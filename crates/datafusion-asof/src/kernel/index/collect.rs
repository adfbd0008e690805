//! Rows on their way into an index: what is taken of each batch as it is read.
//!
//! Several partitions of a side are read at a time, each into a [`IndexPart`] with
//! ordinals of its own; [`Planning`](super::Planning) brings them together.

use std::borrow::Cow;
use std::ops::AddAssign;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_err};

use crate::kernel::domain::{Line, TimeDomain, TimeValues, Times};
use crate::kernel::ordinals::{KeyOrdinals, KeyType, NULL_KEY, REFUSED, is_known, refuse};
use crate::kernel::ties::chosen_last;
use crate::kernel::zones::Bound;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// What an index needs to know of a join.
#[derive(Debug, Clone)]
pub(crate) struct IndexSpec {
    /// The side that is indexed.
    pub side: Side,
    pub domain: TimeDomain,
    pub keys: Vec<KeyType>,
    pub ties: Vec<(DataType, SortOptions)>,
    pub bounds: Vec<Bound>,
    pub op: MatchOp,
}

/// A batch of the side that is indexed.
pub(crate) struct IndexBatch<'a> {
    pub keys: &'a [ArrayRef],
    pub time: &'a ArrayRef,
    /// The place of each row in the input: decides between equal times.
    pub places: Places,
    /// Rows that can match at all; all of them if `None`.
    pub mask: Option<&'a BooleanArray>,
    /// The columns of `TIES BY`.
    pub ties: &'a [ArrayRef],
    /// What the bounds compare.
    pub bounds: &'a [ArrayRef],
    /// The right columns that each take their own nearest value.
    pub own_values: &'a [ArrayRef],
}

/// Bytes for each row of which the time is ranked once all are known.
const RANK_ROW: usize = 3 * size_of::<u64>();

/// The batches of one partition of the side that is indexed.
pub(crate) struct IndexPart {
    pub(super) spec: IndexSpec,
    pub(super) ordinals: KeyOrdinals,
    pub(super) rows: Arrivals,
    hopeless: Hopeless,
    ties: Option<RowConverter>,
}

/// What is taken of batches, whose keys have numbers.
#[derive(Default)]
pub(crate) struct Arrivals {
    pub(super) batches: Vec<Collected>,
    /// By ordinal, how many rows can match.
    pub(super) counts: Vec<u32>,
    /// The least and the greatest time, if times are numbers.
    pub(super) span: Option<(i128, i128)>,
    /// Bytes that the batches hold.
    pub(super) bytes: usize,
}

/// Rows of the other side, of which the keys have the ordinals of an index.
#[derive(Debug)]
pub(crate) struct Offered {
    pub keys: Vec<u32>,
    pub times: Times,
    pub places: Places,
}

/// Rows that cannot match whatever the other side has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hopeless {
    pub null_key: usize,
    pub refused: usize,
    pub null_time: usize,
}

impl AddAssign for Hopeless {
    fn add_assign(&mut self, other: Self) {
        self.null_key += other.null_key;
        self.refused += other.refused;
        self.null_time += other.null_time;
    }
}

impl Hopeless {
    /// Counts rows by what stands for their key.
    fn add(&mut self, keys: &[u32]) {
        if keys.iter().all(|key| is_known(*key)) {
            return;
        }
        self.null_key += keys.iter().filter(|key| **key == NULL_KEY).count();
        self.refused += keys.iter().filter(|key| **key == REFUSED).count();
    }
}

/// What an index needs of one batch.
pub(super) struct Collected {
    pub keys: RowKeys,
    pub times: Times,
    pub places: Places,
    pub ties: Option<Rows>,
    pub bounds: Vec<Vec<i128>>,
    /// For each of the own values which rows are valid.
    pub validity: Vec<Option<NullBuffer>>,
}

/// The ordinals of the keys of a batch; rows without a known key cannot match.
#[derive(Debug)]
pub(super) enum RowKeys {
    /// The same for all rows, as without key columns.
    Same {
        key: u32,
        rows: usize,
    },
    Each(Vec<u32>),
}

impl RowKeys {
    fn new(keys: Vec<u32>) -> Self {
        match keys.first() {
            Some(first) if keys.iter().all(|key| key == first) => Self::Same {
                key: *first,
                rows: keys.len(),
            },
            _ => Self::Each(keys),
        }
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Same { rows, .. } => *rows,
            Self::Each(keys) => keys.len(),
        }
    }

    /// By row.
    pub(super) fn each(&self) -> Cow<'_, [u32]> {
        match self {
            Self::Same { key, rows } => vec![*key; *rows].into(),
            Self::Each(keys) => keys.into(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Same { .. } => 0,
            Self::Each(keys) => size_of_val(keys.as_slice()),
        }
    }
}

/// The places of the rows of a batch.
#[derive(Debug, Clone)]
pub(crate) enum Places {
    /// One after the other from the first.
    Run {
        first: u64,
        rows: usize,
    },
    Ascending(ScalarBuffer<u64>),
    Mixed(ScalarBuffer<u64>),
}

impl Places {
    pub(crate) fn run(first: u64, rows: usize) -> Self {
        Self::Run { first, rows }
    }

    pub(crate) fn new(places: ScalarBuffer<u64>) -> Self {
        let ascends = places.windows(2).all(|pair| pair[0] < pair[1]);
        match (ascends, places.first(), places.last()) {
            (true, Some(first), Some(last)) if last - first == places.len() as u64 - 1 => {
                Self::Run {
                    first: *first,
                    rows: places.len(),
                }
            }
            (true, ..) => Self::Ascending(places),
            (false, ..) => Self::Mixed(places),
        }
    }

    /// The first and the last place of rows that ascend.
    pub(super) fn ends(&self) -> Option<(u64, u64)> {
        match self {
            Self::Run { first, rows } => Some((*first, first + *rows as u64 - 1)),
            Self::Ascending(places) => Some((*places.first()?, *places.last()?)),
            Self::Mixed(_) => None,
        }
    }

    /// Orders batches, exactly if [`Self::ends`] are known of all.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Run { first, .. } => *first,
            Self::Ascending(places) | Self::Mixed(places) => places.first().copied().unwrap_or(0),
        }
    }

    pub(super) fn at(&self, row: usize) -> u64 {
        match self {
            Self::Run { first, .. } => first + row as u64,
            Self::Ascending(places) | Self::Mixed(places) => places[row],
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Run { .. } => 0,
            Self::Ascending(places) | Self::Mixed(places) => size_of_val(&**places),
        }
    }
}

impl IndexPart {
    pub(crate) fn try_new(spec: &IndexSpec) -> Result<Self> {
        // The row to be chosen is last among equals, in a forward join the first.
        let chosen_first = spec.op.direction() == AsOfDirection::Forward;
        let fields = spec.ties.iter().map(|(data_type, options)| {
            let options = match chosen_first {
                true => *options,
                false => chosen_last(*options),
            };
            SortField::new_with_options(data_type.clone(), options)
        });
        Ok(Self {
            ordinals: KeyOrdinals::try_new(&spec.keys)?,
            ties: match spec.ties.as_slice() {
                [] => None,
                _ => Some(RowConverter::new(fields.collect())?),
            },
            spec: spec.clone(),
            rows: Arrivals::default(),
            hopeless: Hopeless::default(),
        })
    }

    /// Adds the next batch, which is not empty.
    pub(crate) fn push(&mut self, batch: &IndexBatch<'_>) -> Result<()> {
        let rows = batch.time.len();
        let mut keys = self.ordinals.intern(batch.keys, rows)?;
        if let Some(mask) = batch.mask {
            refuse(&mut keys, mask);
        }
        let times = self.spec.domain.times(self.spec.side, batch.time)?;
        self.hopeless.add(&keys);
        self.hopeless.null_time += refuse_untimed(&mut keys, &times);
        let keys = RowKeys::new(keys);
        self.rows.count(&keys, &times, self.ordinals.len());
        let bounds = self.spec.bounds.iter().zip(batch.bounds);
        let bounds = bounds.map(|(bound, column)| bound.values(column));
        let ties = self.ties.as_ref();
        let ties = ties.map(|converter| converter.convert_columns(batch.ties));
        let validity = batch.own_values.iter();
        let validity = validity.map(|column| column.logical_nulls().filter(has_nulls));
        let collected = Collected {
            keys,
            times,
            places: batch.places.clone(),
            ties: ties.transpose()?,
            bounds: bounds.collect::<Result<_>>()?,
            validity: validity.collect(),
        };
        self.rows.push(collected);
        Ok(())
    }

    /// Bytes that pushing a batch of so many rows may take, so far as that is known before.
    pub(crate) fn room(&self, rows: usize) -> usize {
        let time = match self.spec.domain.line() {
            Line::I64 => size_of::<i64>(),
            Line::I128 => size_of::<i128>(),
            Line::Rows => RANK_ROW,
        };
        let row = size_of::<u32>() + time + size_of::<i128>() * self.spec.bounds.len();
        let keys = self.ordinals.len() + rows;
        let counts = match keys > self.rows.counts.capacity() {
            true => 2 * keys * size_of::<u32>(),
            false => 0,
        };
        size_of::<Collected>() + rows * row + self.ordinals.room(rows) + counts
    }

    pub(crate) fn hopeless(&self) -> Hopeless {
        self.hopeless
    }

    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        let ties = self.ties.as_ref().map_or(0, RowConverter::size);
        self.rows.size() + ties + self.ordinals.size()
    }
}

impl Offered {
    /// Whether most times are not before the one before.
    pub(crate) fn ascends(&self) -> bool {
        let TimeValues::I64(times) = &self.times.values else {
            return false;
        };
        let ascents = times.windows(2).filter(|pair| pair[0] <= pair[1]).count();
        8 * (ascents + 1) >= 7 * times.len()
    }

    /// How many rows can match.
    pub(crate) fn known(&self) -> usize {
        self.keys.iter().filter(|key| is_known(**key)).count()
    }

    /// The rows that can match.
    pub(crate) fn known_rows(&self) -> Vec<u32> {
        let rows = (0..).zip(&self.keys);
        let known = rows.filter(|(_, key)| is_known(**key));
        known.map(|(row, _)| row).collect()
    }

    /// Some of the rows alone.
    pub(crate) fn only(&self, rows: &[u32]) -> Result<Self> {
        let TimeValues::I64(times) = &self.times.values else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let rows = || rows.iter().map(|row| *row as usize);
        let times: ScalarBuffer<i64> = rows().map(|row| times[row]).collect();
        Ok(Self {
            keys: rows().map(|row| self.keys[row]).collect(),
            times: Times::all_known(times),
            places: Places::new(rows().map(|row| self.places.at(row)).collect()),
        })
    }
}

impl Arrivals {
    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        self.bytes + self.counts.capacity() * size_of::<u32>()
    }

    /// Counts rows of a side with so many keys.
    fn count(&mut self, of_rows: &RowKeys, times: &Times, keys: usize) {
        self.counts.resize(keys, 0);
        match of_rows {
            RowKeys::Same { key, rows } if is_known(*key) => {
                self.counts[*key as usize] += *rows as u32;
            }
            RowKeys::Same { .. } => {}
            RowKeys::Each(of_rows) => {
                for key in of_rows.iter().filter(|key| is_known(**key)) {
                    self.counts[*key as usize] += 1;
                }
            }
        }
        self.span = match &times.values {
            TimeValues::I64(places) => widened(self.span, of_rows, places),
            TimeValues::I128(places) => widened(self.span, of_rows, places),
            TimeValues::Rows(_) => None,
        };
    }

    fn push(&mut self, collected: Collected) {
        self.bytes += collected.size();
        self.batches.push(collected);
    }
}

/// Takes the keys from rows that have no time; gives how many had one.
pub(super) fn refuse_untimed(keys: &mut [u32], times: &Times) -> usize {
    if times.all_valid() {
        return 0;
    }
    let mut refused = 0;
    for (row, key) in keys.iter_mut().enumerate() {
        if !times.is_valid(row) && is_known(*key) {
            *key = REFUSED;
            refused += 1;
        }
    }
    refused
}

fn has_nulls(valid: &NullBuffer) -> bool {
    valid.null_count() > 0
}

fn widened<T: Copy + Ord + Into<i128>>(
    span: Option<(i128, i128)>,
    keys: &RowKeys,
    times: &[T],
) -> Option<(i128, i128)> {
    // Rows that cannot match have times of any kind; without such rows the loop is plain.
    let known = |(key, time): (&u32, &T)| is_known(*key).then_some(*time);
    let ends = match keys {
        RowKeys::Same { key, .. } if !is_known(*key) => None,
        RowKeys::Each(keys) if !keys.iter().all(|key| is_known(*key)) => {
            ends(keys.iter().zip(times).filter_map(known))
        }
        _ => ends(times.iter().copied()),
    };
    match (
        span,
        ends.map(|(least, greatest)| (least.into(), greatest.into())),
    ) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

fn ends<T: Copy + Ord>(mut times: impl Iterator<Item = T>) -> Option<(T, T)> {
    let first = times.next()?;
    let wider = |ends: (T, T), time: T| (ends.0.min(time), ends.1.max(time));
    Some(times.fold((first, first), wider))
}

impl Collected {
    pub(super) fn rows(&self) -> usize {
        self.keys.rows()
    }

    fn size(&self) -> usize {
        let rows = self.rows();
        let times = match &self.times.values {
            TimeValues::I64(_) => rows * size_of::<i64>(),
            TimeValues::I128(_) => rows * size_of::<i128>(),
            // Ranked once all are known.
            TimeValues::Rows(values) => values.size() + rows * RANK_ROW,
        };
        size_of::<Self>()
            + self.keys.size()
            + times
            + self.places.size()
            + self.ties.as_ref().map_or(0, Rows::size)
            + rows * size_of::<i128>() * self.bounds.len()
    }
}
