//! How unevenly keys hold the work of a join, and where to cut those that hold much.
//!
//! Judged by a sample of both sides, of which each row stands for as many as there are of its
//! side for each of the sample. The *load* of a key is its share of all rows in partitions: a
//! key of load 3 holds three times what each partition would hold if all held the same.
//!
//! A sample is taken in *blocks* of rows that follow each other, each of which stands for what of the input is
//! nearer to it than to others. Of a side that comes key by key, a block
//! has one key, as if that held all of this. So a load is judged without the block in
//! which the key holds most, and as one and a half deviations less than it then seems. A deviation follows
//! from how much of the key there is in each block more or less than in the one before, which is what a
//! sample is wrong by: next to nothing where rows come in any order, about a block
//! where they come key by key, and much where each key comes now and then for a while, so that some are
//! met more often than others by chance. None of these is taken for a hot one (`held.rs`). If another key is,
//! and the join is salted for it, keys are cut by what they seem to hold: to cut one for nothing costs a few carried rows.
//!
//! Of some files the first rows can be read and no others. They are believed as far as they come in no order: a key
//! holds what it has in each eighth of them, nothing if it is all that there is, and if the times of all or of the
//! key ascend or descend they tell nothing of those to come.
//!
//! Where statistics tell exactly how much each key holds, but of their times no more than the ends, a sample
//! tells the times: of each key from its own rows.
//!
//! Rows meet in a partition as an exchange by key has them: there NULL equals NULL. Rows of a key that
//! the join takes to equal nothing are no less work for that. If salted, those of the left are spread by
//! their times and those of the right are not sent at all. Left rows without a time match nothing
//! whatever their key, and are spread by all that they have.
//!
//! A key is cut at quantiles of its times, so that its ranges hold equal work (`cuts.rs`), and between the
//! blocks of an input in time order too (`fill.rs`).

mod cuts;
mod fill;
mod held;

use std::borrow::Borrow;
use std::iter;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::common::Result;

use self::cuts::{most_at_one_time, quantiles, ranges_for};
use self::held::Blocks;
use super::domain::TimeDomain;
use super::ordinals::{KeyOrdinals, KeyType};
use super::place::Place;
use crate::spec::Side;

/// How many standard deviations a load may be less than it seems.
const DEVIATIONS: f64 = 1.5;

/// More keys than this are not worth to be told apart.
const MOST_HOT_KEYS: usize = 1024;

/// A sample of one side. It may have no rows and yet stand for some: their keys are not known.
#[derive(Debug, Clone)]
pub(crate) struct SampledSide {
    /// By column of the key.
    pub keys: Vec<ArrayRef>,
    pub time: ArrayRef,
    /// In the order of the input; none is without rows.
    pub blocks: Vec<SampledBlock>,
    /// How many rows the sample stands for.
    pub stands_for: f64,
    /// Whether there are no others.
    pub is_whole: bool,
    /// The least and the greatest time of all of them, if they are known.
    pub ends: [Option<ArrayRef>; 2],
}

/// Rows of a sample that follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampledBlock {
    pub rows: usize,
    /// How many rows of the side each of them stands for.
    pub each: f64,
    /// How much of the input is nearer to the block than to others, before and after it, in any unit.
    pub reach: [f64; 2],
    /// Whether its place was chosen for the sample; if not, what could be read were the first rows of a file alone.
    pub is_drawn: bool,
}

/// The rows of all blocks, and nothing else, once.
pub(crate) fn whole_blocks(rows: usize) -> Vec<SampledBlock> {
    let reach = [rows as f64 / 2.0; 2];
    let block = SampledBlock {
        rows,
        each: 1.0,
        reach,
        is_drawn: true,
    };
    match rows {
        0 => vec![],
        _ => vec![block],
    }
}

/// What the answer depends on besides the samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SkewSpec<'a> {
    pub domain: &'a TimeDomain,
    pub key_types: &'a [KeyType],
    pub partitions: usize,
    /// Keys of at least this load are cut.
    pub cut_from: f64,
    /// Ranges of each key that is cut; by its load if not given.
    pub ranges: Option<usize>,
    /// Whether left rows without a time, which match nothing, are spread by what else they have.
    pub spreads_without_time: bool,
}

/// A key that holds much.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoadedKey {
    /// A row of the samples that has the key: whether it is a right row, and its number.
    pub example: (bool, usize),
    /// Of all rows, as the samples have it.
    pub share: f64,
    /// What it holds for certain, in partitions.
    pub load: f64,
    /// About how much of that stays together if the join is salted by time.
    pub rest: f64,
    /// Whether it has a NULL that equals nothing.
    pub is_null: bool,
    /// Into how many ranges it is to be cut; 1 if it has a NULL that equals nothing.
    pub ranges: usize,
    /// Where its ranges but the first begin; fewer where it has few times.
    pub cuts: Vec<Place>,
    /// By range its share of all rows.
    pub weights: Vec<f64>,
}

/// A row of a sample.
struct Point {
    ordinal: u32,
    /// `None` for NULL and NaN.
    place: Option<Place>,
    weight: f64,
    example: (bool, usize),
}

/// So many sampled times of a key tell more than the ends of all of them.
const ENOUGH_TIMES: usize = 16;

/// The keys that seem to hold much, the most loaded first, if any does for certain; their times as other samples have them, where such are given
/// and have enough of a key.
pub(crate) fn loaded_keys(
    spec: &SkewSpec<'_>,
    sides: [&SampledSide; 2],
    times: Option<[&SampledSide; 2]>,
) -> Result<Vec<LoadedKey>> {
    let exchanged = spec.key_types.iter().map(|key| KeyType {
        data_type: key.data_type.clone(),
        null_equals_null: true,
    });
    let mut ordinals = KeyOrdinals::try_new(&exchanged.collect::<Vec<_>>())?;
    let nulls = sides.map(|sample| nulls_that_equal_nothing(spec.key_types, &sample.keys));
    let points = points_of(spec, sides, &mut ordinals)?;
    let points_in_time = match times {
        Some(times) => points_of(spec, times, &mut ordinals)?,
        None => vec![],
    };
    let in_order = in_time_order(&points, sides);
    let others_in_order = in_time_order(&points_in_time, times.unwrap_or(sides));
    let total: f64 = sides.iter().map(|sample| sample.stands_for).sum();
    let blocks = sides.map(Blocks::of);
    let mut timed = by_key(&points_in_time, ordinals.len());
    let loaded = by_key(&points, ordinals.len()).into_iter().enumerate();
    let loaded = loaded.map(|(ordinal, of_key)| {
        let Some(first) = of_key.first() else {
            return Ok(None);
        };
        let example = first.example;
        let weight: f64 = of_key.iter().map(|point| point.weight).sum();
        // No key holds more for certain than it seems to.
        let seems = weight / total * spec.partitions as f64;
        if seems.is_nan() || seems < spec.cut_from {
            return Ok(None);
        }
        let of_sides = of_key.split_at(of_key.partition_point(|point| !point.example.0));
        let (of_left, of_right) = (blocks[0].held(of_sides.0), blocks[1].held(of_sides.1));
        let deviation = (of_left.variance + of_right.variance).sqrt();
        let held = of_left.rows + of_right.rows - DEVIATIONS * deviation;
        let load = held.max(0.0) / total * spec.partitions as f64;
        let of_side = nulls[usize::from(example.0)].as_ref();
        let is_null = of_side.is_some_and(|nulls| nulls.is_null(example.1));
        let ranges = match is_null {
            true => 1,
            false => spec
                .ranges
                .unwrap_or_else(|| ranges_for(seems, spec.partitions)),
        };
        let of_times = std::mem::take(&mut timed[ordinal]);
        let (of_times, samples, in_order) = match times {
            Some(times) if of_times.len() >= ENOUGH_TIMES => (of_times, times, &others_in_order),
            _ => (of_key, sides, &in_order),
        };
        let of_all: f64 = of_times.iter().map(|point| point.weight).sum();
        let (cuts, weights) = match is_null {
            true => (vec![], vec![most_at_one_time(&sent(spec, &of_times))]),
            false => quantiles(filled(spec, &of_times, (samples, in_order))?, ranges),
        };
        let stays = weights.iter().copied().fold(0.0, f64::max);
        let of_all_times: f64 = weights.iter().sum();
        let share = weight / total;
        let of_share = |weight| share * weight / of_all_times.max(f64::MIN_POSITIVE);
        Ok(Some(LoadedKey {
            example,
            share,
            load,
            rest: load * stays / of_all.max(f64::MIN_POSITIVE),
            is_null,
            ranges,
            cuts,
            weights: weights.into_iter().map(of_share).collect(),
        }))
    });
    let loaded: Vec<Option<LoadedKey>> = loaded.collect::<Result<_>>()?;
    let mut loaded: Vec<LoadedKey> = loaded.into_iter().flatten().collect();
    if !loaded.iter().any(|key| key.load >= spec.cut_from) {
        return Ok(vec![]);
    }
    loaded.sort_by(|a, b| {
        let by_load = b.load.total_cmp(&a.load);
        by_load.then(b.share.total_cmp(&a.share))
    });
    loaded.truncate(MOST_HOT_KEYS);
    Ok(loaded)
}

/// The rows of both sides, the left first.
fn points_of(
    spec: &SkewSpec<'_>,
    sides: [&SampledSide; 2],
    ordinals: &mut KeyOrdinals,
) -> Result<Vec<Point>> {
    let mut points = vec![];
    for (side, sample) in [Side::Left, Side::Right].into_iter().zip(sides) {
        let rows = sample.time.len();
        let times = spec.domain.times(side, &sample.time)?;
        let keys = ordinals.intern(&sample.keys, rows)?;
        let blocks = sample.blocks.iter();
        let weights = blocks.flat_map(|block| iter::repeat_n(block.each, block.rows));
        let rows = keys.into_iter().zip(weights).enumerate();
        points.extend(rows.map(|(row, (ordinal, weight))| Point {
            ordinal,
            place: times.is_valid(row).then(|| times.place(row)),
            weight,
            example: (side == Side::Right, row),
        }));
    }
    Ok(points)
}

fn by_key(points: &[Point], keys: usize) -> Vec<Vec<&Point>> {
    let mut by_key: Vec<Vec<&Point>> = vec![vec![]; keys];
    for point in points {
        by_key[point.ordinal as usize].push(point);
    }
    by_key
}

/// The rows that come to places by their times.
fn sent<'a>(spec: &SkewSpec<'_>, points: &[&'a Point]) -> Vec<&'a Point> {
    let sent = points.iter().filter(|point| {
        // Right rows without a time are not sent anywhere.
        let is_right = point.example.0;
        point.place.is_some() || !(is_right || spec.spreads_without_time)
    });
    sent.copied().collect()
}

/// The times of a key and what each weighs, spread over those between the blocks.
fn filled(
    spec: &SkewSpec<'_>,
    points: &[&Point],
    (sides, in_order): ([&SampledSide; 2], &[Vec<bool>; 2]),
) -> Result<Vec<(Option<Place>, f64)>> {
    let points = sent(spec, points);
    let of_sides = points.split_at(points.partition_point(|point| !point.example.0));
    let mut filled = vec![];
    for (side, points) in [(Side::Left, of_sides.0), (Side::Right, of_sides.1)] {
        let sample = sides[usize::from(side == Side::Right)];
        let start = filled.len();
        let of_side = points.iter();
        filled.extend(of_side.map(|point| (point.place.clone(), point.weight)));
        if sample.is_whole {
            continue;
        }
        let mut ends = [None, None];
        for (end, known) in ends.iter_mut().zip(&sample.ends) {
            if let Some(known) = known {
                let known = spec.domain.times(side, known)?;
                *end = known.is_valid(0).then(|| known.place(0).wide());
            }
        }
        let block_ends = sample.blocks.iter().scan(0, |end, block| {
            *end += block.rows;
            Some(*end)
        });
        let block_ends: Vec<usize> = block_ends.collect();
        let block_of = |point: &Point| block_ends.partition_point(|end| *end <= point.example.1);
        let mut numbers = vec![];
        let mut times = vec![];
        let mut next = start;
        for of_block in points.chunk_by(|a, b| block_of(a) == block_of(b)) {
            let block = block_of(of_block[0]);
            let rows = next..next + of_block.len();
            next = rows.end;
            if in_order[usize::from(side == Side::Right)][block]
                || !sample.blocks[block].is_drawn && fill::is_in_order(&places_of(of_block))
            {
                // These tell nothing of the times to come.
                filled[rows].iter_mut().for_each(|(place, _)| *place = None);
                continue;
            }
            for (number, point) in rows.zip(of_block) {
                if let Some(Place::Number(time)) = point.place {
                    numbers.push(number);
                    times.push((time, block));
                }
            }
        }
        fill::fill(&mut times, &sample.blocks, ends);
        for (number, (time, _)) in numbers.into_iter().zip(times) {
            filled[number].0 = Some(Place::Number(time));
        }
    }
    Ok(filled)
}

/// By side and block whether it is from the beginning of a file and goes one way in time, whatever its keys; or is too
/// small to tell.
fn in_time_order(points: &[Point], sides: [&SampledSide; 2]) -> [Vec<bool>; 2] {
    let of_sides = points.split_at(points.partition_point(|point| !point.example.0));
    let of_side = |(sample, mut points): (&SampledSide, &[Point])| {
        let blocks = sample.blocks.iter().map(|block| {
            let (of_block, others) = points.split_at(points.len().min(block.rows));
            points = others;
            if block.is_drawn {
                return false;
            }
            let places = places_of(of_block);
            places.len() < fill::LEAST_ORDERED || fill::is_in_order(&places)
        });
        blocks.collect()
    };
    [(sides[0], of_sides.0), (sides[1], of_sides.1)].map(of_side)
}

fn places_of<P: Borrow<Point>>(points: &[P]) -> Vec<&Place> {
    let places = points.iter().map(|point| point.borrow().place.as_ref());
    places.flatten().collect()
}

/// Which rows have a NULL in a column in which it equals nothing.
fn nulls_that_equal_nothing(types: &[KeyType], keys: &[ArrayRef]) -> Option<NullBuffer> {
    let columns = types.iter().zip(keys);
    let columns = columns.filter(|(key, _)| !key.null_equals_null);
    columns.fold(None, |nulls, (_, column)| {
        NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
    })
}

#[cfg(test)]
mod tests;
