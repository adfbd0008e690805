//! The layout of an index: which list each key has, and which shard each row goes to.

use std::sync::Arc;

use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::row::Rows;
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::collect::{Collected, IndexSpec, Places, RowKeys};
use super::line::IndexTime;
use super::numbers::RowNumbers;
use super::ranks::Ranks;
use crate::kernel::domain::TimeValues;
use crate::kernel::ordinals::KeyOrdinals;

/// Rows that are scattered at a time.
const SCATTER_ROWS: usize = 1 << 18;

/// An index that is ready to be built, on a narrow or on a wide line of times.
pub(crate) enum IndexPlan {
    I64(LinePlan<i64>),
    I128(LinePlan<i128>),
}

/// What is to be built, and the jobs to begin with.
pub(crate) struct LinePlan<T: IndexTime> {
    pub(super) layout: Layout<T>,
    pub(super) scatters: Vec<Scatter<T>>,
    /// Where the batches of the index are among those collected: part and batch.
    pub(super) order: Vec<(usize, usize)>,
}

/// What all jobs read.
pub(crate) struct Layout<T> {
    pub(super) spec: IndexSpec,
    pub(super) ordinals: KeyOrdinals,
    pub(super) numbers: RowNumbers,
    pub(super) ranks: Option<Ranks>,
    /// By ordinal where its list begins, and after the last where it ends.
    pub(super) offsets: Vec<usize>,
    /// By ordinal.
    pub(super) routes: Vec<Route>,
    pub(super) shards: Vec<ShardKeys>,
    /// The least time of all.
    pub(super) least: T,
    /// Of the number of a row, if rows are packed on their way to their lists.
    pub(super) packed_below: Option<u32>,
    pub(super) equals: Equals,
    /// For each bound, by batch, the values of its rows.
    pub(super) bounds: Vec<Vec<Vec<i128>>>,
    /// By batch and own value which rows are valid.
    pub(super) validity: Vec<Vec<Option<NullBuffer>>>,
}

/// To which shards the rows of a key go: range of times by range of times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub first: u32,
    /// The last range of times, counted from 0.
    pub last_cell: u32,
    pub shift: u32,
}

/// The keys of a shard; one of several shards of a key has that alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardKeys {
    pub start: u32,
    pub end: u32,
}

/// What orders rows of equal keys and times that their numbers do not.
#[derive(Default)]
pub(super) struct Equals {
    /// By batch the columns of `TIES BY`.
    pub ties: Vec<Rows>,
    /// By batch; only if they do not grow with the numbers.
    pub places: Vec<Places>,
    /// Whether numbers order rows as their places do.
    pub places_ascend: bool,
}

/// Some batches whose rows are to be scattered to shards.
pub(crate) struct Scatter<T: IndexTime> {
    pub(super) batches: Vec<ScatterBatch<T>>,
}

pub(super) struct ScatterBatch<T: IndexTime> {
    /// The number of the first row.
    pub start: u32,
    /// Ordinals of the part, and what they are in the index.
    pub keys: RowKeys,
    pub ordinals: Arc<Vec<u32>>,
    pub times: ScalarBuffer<T>,
}

/// A batch and the part that it comes from.
pub(crate) struct OfPart {
    pub part: usize,
    pub number: usize,
    pub batch: Collected,
}

/// What [`Planning`](super::Planning) has come to.
pub(super) struct Planned {
    pub spec: IndexSpec,
    pub ordinals: KeyOrdinals,
    /// By part, what its ordinals are in the index.
    pub ordinals_of: Vec<Arc<Vec<u32>>>,
    /// In the order of the index.
    pub batches: Vec<OfPart>,
    pub least: i128,
    pub offsets: Vec<usize>,
    pub routes: Vec<Route>,
    pub shards: Vec<ShardKeys>,
    /// The times of each batch and how they were ranked, if they are no numbers.
    pub places: Option<Vec<Vec<i64>>>,
    pub ranks: Option<Ranks>,
}

impl<T: PlanTime> LinePlan<T> {
    pub(super) fn try_new(planned: Planned) -> Result<Self> {
        let Planned {
            spec,
            ordinals_of,
            mut batches,
            ..
        } = planned;
        let numbers = RowNumbers::new(batches.iter().map(|b| b.batch.rows()));
        let row_bits = usize::BITS - numbers.len().leading_zeros();
        let mut layout = Layout {
            packed_below: packs(&planned.shards, &planned.routes, row_bits).then_some(row_bits),
            equals: Equals::of(&mut batches),
            offsets: planned.offsets,
            ordinals: planned.ordinals,
            numbers,
            ranks: planned.ranks,
            routes: planned.routes,
            shards: planned.shards,
            least: T::least(planned.least)?,
            bounds: vec![vec![]; spec.bounds.len()],
            validity: vec![],
            spec,
        };
        let order = batches.iter().map(|b| (b.part, b.number)).collect();
        let mut places = planned.places.into_iter().flatten();
        let mut scatters: Vec<Scatter<T>> = vec![];
        let mut room = 0;
        for (number, of_part) in batches.into_iter().enumerate() {
            let Collected {
                keys,
                times,
                bounds,
                validity,
                ..
            } = of_part.batch;
            for (all, new) in layout.bounds.iter_mut().zip(bounds) {
                all.push(new);
            }
            layout.validity.push(validity);
            if room == 0 {
                scatters.push(Scatter { batches: vec![] });
                room = SCATTER_ROWS;
            }
            room = room.saturating_sub(keys.rows());
            if let Some(scatter) = scatters.last_mut() {
                scatter.batches.push(ScatterBatch {
                    start: layout.numbers.start(number),
                    ordinals: Arc::clone(&ordinals_of[of_part.part]),
                    keys,
                    times: T::of_batch(times.values, places.next())?,
                });
            }
        }
        Ok(Self {
            layout,
            scatters,
            order,
        })
    }
}

/// Whether a row is told by its shard, its time in the range of that and its number, in 64 bits with the latter
/// two: if no keys share a shard.
fn packs(shards: &[ShardKeys], routes: &[Route], row_bits: u32) -> bool {
    let own = |keys: &ShardKeys| {
        let route = &routes[keys.start as usize];
        keys.end - keys.start == 1 && route.shift + row_bits <= u64::BITS
    };
    shards.iter().all(own)
}

impl<T> Layout<T> {
    /// How many rows are valid for an own value.
    pub(super) fn numbers_valid(&self, value: usize) -> usize {
        let nulls = self.validity.iter().map(|batch| batch[value].as_ref());
        let nulls = nulls.map(|nulls| nulls.map_or(0, NullBuffer::null_count));
        self.numbers.len() - nulls.sum::<usize>()
    }
}

impl Equals {
    fn of(batches: &mut [OfPart]) -> Self {
        let ends = batches.iter().map(|of_part| of_part.batch.places.ends());
        let ends: Vec<_> = ends.collect();
        let ascend = |pair: &[Option<(u64, u64)>]| match pair {
            [Some((_, end)), Some((start, _))] => end < start,
            _ => false,
        };
        let ascend = ends.iter().all(Option::is_some) && ends.windows(2).all(ascend);
        let batches = batches.iter_mut();
        let (ties, places): (Vec<_>, Vec<_>) = batches
            .map(|of_part| (of_part.batch.ties.take(), of_part.batch.places.clone()))
            .unzip();
        Self {
            ties: ties.into_iter().flatten().collect(),
            places: match ascend {
                true => vec![],
                false => places,
            },
            places_ascend: ascend,
        }
    }
}

/// What differs between the lines while an index is planned.
pub(crate) trait PlanTime: IndexTime {
    /// The least time.
    fn least(least: i128) -> Result<Self>;

    /// The times of a batch; `places` are its ranks.
    fn of_batch(times: TimeValues, places: Option<Vec<i64>>) -> Result<ScalarBuffer<Self>>;
}

impl PlanTime for i64 {
    fn least(least: i128) -> Result<Self> {
        let wide = |_| exec_datafusion_err!("as-of values changed their line");
        Self::try_from(least).map_err(wide)
    }

    fn of_batch(times: TimeValues, places: Option<Vec<i64>>) -> Result<ScalarBuffer<Self>> {
        match (times, places) {
            (TimeValues::I64(times), _) => Ok(times),
            (TimeValues::Rows(_), Some(places)) => Ok(places.into()),
            _ => exec_err!("as-of values changed their line"),
        }
    }
}

impl PlanTime for i128 {
    fn least(least: i128) -> Result<Self> {
        Ok(least)
    }

    fn of_batch(times: TimeValues, _: Option<Vec<i64>>) -> Result<ScalarBuffer<Self>> {
        match times {
            TimeValues::I128(times) => Ok(times.into()),
            _ => exec_err!("as-of values changed their line"),
        }
    }
}
