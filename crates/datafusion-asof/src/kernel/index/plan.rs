//! The layout of an index: which list each key has, and which shard each row goes to.

use std::sync::Arc;

use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::row::Rows;
use datafusion::common::{Result, exec_err};

use super::collect::{Collected, IndexPart, IndexSpec, Places};
use super::line::IndexTime;
use super::numbers::RowNumbers;
use super::ranks::Ranks;
use crate::kernel::domain::{Line, TimeValues};
use crate::kernel::ordinals::{KeyOrdinals, is_known};

/// Rows that a shard should have.
const SHARD_ROWS: usize = 1 << 16;
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
}

/// Some batches whose rows are to be scattered to shards.
pub(crate) struct Scatter<T: IndexTime> {
    pub(super) batches: Vec<ScatterBatch<T>>,
}

pub(super) struct ScatterBatch<T: IndexTime> {
    /// The number of the first row.
    pub start: u32,
    /// Ordinals of the part, and what they are in the index.
    pub keys: Vec<u32>,
    pub ordinals: Arc<Vec<u32>>,
    pub times: ScalarBuffer<T>,
}

impl IndexPlan {
    /// Brings the parts of the right side together.
    ///
    /// # Errors
    /// An execution error for more rows than an index can number.
    pub(crate) fn try_new(parts: Vec<IndexPart>) -> Result<Self> {
        let line = parts.first().map(|part| part.spec.domain.line());
        Ok(match line {
            Some(Line::I128) => Self::I128(LinePlan::try_new(parts)?),
            _ => Self::I64(LinePlan::try_new(parts)?),
        })
    }
}

/// A batch and the part that it comes from.
pub(crate) struct OfPart {
    part: usize,
    number: usize,
    batch: Collected,
}

impl<T: PlanTime> LinePlan<T> {
    fn try_new(parts: Vec<IndexPart>) -> Result<Self> {
        let Some(spec) = parts.first().map(|part| part.spec.clone()) else {
            return exec_err!("an index of an as-of join has at least one part");
        };
        let mut ordinals = KeyOrdinals::try_new(&spec.keys)?;
        let (mut ordinals_of, mut counts) = (vec![], vec![]);
        let mut span: Option<(i64, i64)> = None;
        let mut batches = vec![];
        for (part, collected) in parts.into_iter().enumerate() {
            let here = match ordinals.len() {
                0 => {
                    ordinals = collected.ordinals;
                    (0..ordinals.len() as u32).collect()
                }
                _ => ordinals.absorb(&collected.ordinals)?,
            };
            counts.resize(ordinals.len(), 0);
            for (ordinal, count) in here.iter().zip(&collected.counts) {
                counts[*ordinal as usize] += *count as usize;
            }
            ordinals_of.push(Arc::new(here));
            span = match (span, collected.span) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
            let of_part = collected.batches.into_iter().enumerate();
            batches.extend(of_part.map(|(number, batch)| OfPart {
                part,
                number,
                batch,
            }));
        }
        let rows: usize = batches.iter().map(|b| b.batch.rows()).sum();
        if u32::try_from(rows).is_err() {
            return exec_err!("a side of an as-of join has too many rows for one index");
        }
        batches.sort_by_key(|of_part| of_part.batch.places.first());
        let numbers = RowNumbers::new(batches.iter().map(|b| b.batch.rows()));
        let (least, width) = T::span(span);
        let (routes, shards) = routes(&counts, width);
        let mut layout = Layout {
            equals: Equals::of(&mut batches),
            offsets: offsets(&counts),
            ordinals,
            numbers,
            ranks: None,
            routes,
            shards,
            least,
            bounds: vec![vec![]; spec.bounds.len()],
            validity: vec![],
            spec,
        };
        let order = batches.iter().map(|b| (b.part, b.number)).collect();
        let times = T::of_batches(&mut batches, &mut layout.ranks)?;
        let mut scatters: Vec<Scatter<T>> = vec![];
        let mut room = 0;
        for (number, (of_part, times)) in batches.into_iter().zip(times).enumerate() {
            let Collected {
                keys,
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
            room = room.saturating_sub(keys.len());
            if let Some(scatter) = scatters.last_mut() {
                scatter.batches.push(ScatterBatch {
                    start: layout.numbers.start(number),
                    ordinals: Arc::clone(&ordinals_of[of_part.part]),
                    keys,
                    times,
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

/// Where the list of each key begins, and after the last where it ends.
fn offsets(counts: &[usize]) -> Vec<usize> {
    let mut end = 0;
    let ends = counts.iter().map(|count| {
        end += count;
        end
    });
    std::iter::once(0).chain(ends).collect()
}

/// Shards of about [`SHARD_ROWS`] rows: neighbouring keys share one, a frequent key has several.
fn routes(counts: &[usize], width: u64) -> (Vec<Route>, Vec<ShardKeys>) {
    let bits = u64::BITS - width.leading_zeros();
    let mut shards: Vec<ShardKeys> = vec![];
    let mut room = 0;
    let routes = counts.iter().zip(0u32..).map(|(count, key)| {
        let cells = (count / SHARD_ROWS).next_power_of_two().ilog2();
        let shift = bits.saturating_sub(cells);
        let last_cell = match cells {
            0 => 0,
            _ => (width >> shift) as u32,
        };
        let own = ShardKeys {
            start: key,
            end: key + 1,
        };
        if last_cell > 0 {
            let first = shards.len() as u32;
            shards.extend(vec![own; last_cell as usize + 1]);
            room = 0;
            return Route {
                first,
                last_cell,
                shift,
            };
        }
        match shards.last_mut() {
            Some(shard) if room > *count => {
                shard.end = key + 1;
                room -= count;
            }
            _ => {
                shards.push(own);
                room = SHARD_ROWS.saturating_sub(*count);
            }
        }
        Route {
            first: shards.len() as u32 - 1,
            last_cell: 0,
            shift: u64::BITS - 1,
        }
    });
    (routes.collect(), shards)
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
            places: if ascend { vec![] } else { places },
        }
    }
}

/// What differs between the lines while an index is planned.
pub(crate) trait PlanTime: IndexTime {
    /// The least time, and how far the greatest is from it.
    fn span(span: Option<(i64, i64)>) -> (Self, u64);

    /// The times of each batch.
    fn of_batches(
        batches: &mut [OfPart],
        ranks: &mut Option<Ranks>,
    ) -> Result<Vec<ScalarBuffer<Self>>>;
}

impl PlanTime for i64 {
    fn span(span: Option<(i64, i64)>) -> (Self, u64) {
        let (least, greatest) = span.unwrap_or_default();
        (least, greatest.wrapping_sub(least).cast_unsigned())
    }

    fn of_batches(
        batches: &mut [OfPart],
        ranks: &mut Option<Ranks>,
    ) -> Result<Vec<ScalarBuffer<Self>>> {
        let mut values = vec![];
        for of_part in batches.iter() {
            if let TimeValues::Rows(rows) = &of_part.batch.times.values {
                let keys = of_part.batch.keys.iter().enumerate();
                let known = keys.filter(|(_, key)| is_known(**key));
                values.extend(known.map(|(row, _)| rows.row(row)));
            }
        }
        let (places, known) = Ranks::of(&values);
        let mut places = places.into_iter();
        let mut ranked = false;
        let times = batches
            .iter()
            .map(|of_part| match &of_part.batch.times.values {
                TimeValues::I64(times) => Ok(times.clone()),
                TimeValues::Rows(_) => {
                    ranked = true;
                    let keys = of_part.batch.keys.iter();
                    let place = |key: &u32| match is_known(*key) {
                        true => places.next().unwrap_or(0),
                        false => 0,
                    };
                    Ok(keys.map(place).collect())
                }
                TimeValues::I128(_) => exec_err!("as-of values changed their line"),
            });
        let times = times.collect::<Result<_>>()?;
        *ranks = ranked.then_some(known);
        Ok(times)
    }
}

impl PlanTime for i128 {
    fn span(_: Option<(i64, i64)>) -> (Self, u64) {
        (0, 0)
    }

    fn of_batches(
        batches: &mut [OfPart],
        _: &mut Option<Ranks>,
    ) -> Result<Vec<ScalarBuffer<Self>>> {
        let times = batches
            .iter_mut()
            .map(|of_part| match &mut of_part.batch.times.values {
                TimeValues::I128(times) => Ok(ScalarBuffer::from(std::mem::take(times))),
                _ => exec_err!("as-of values changed their line"),
            });
        times.collect()
    }
}
