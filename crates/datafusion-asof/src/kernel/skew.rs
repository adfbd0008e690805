//! How unevenly keys hold the work of a join, and where to cut those that hold much.
//!
//! Judged by a sample of both sides, of which each row stands for as many as there are of its
//! side for each of the sample. The *load* of a key is its share of all rows in partitions: a
//! key of load 3 holds three times what each partition would hold if all held the same.
//!
//! A sample is taken in *blocks* of rows that follow each other. Of a side that comes key by key, a block
//! has one key, as if that held all rows up to the next block. So a load is judged without the block in
//! which the key holds most: where rows come in any order that changes next to nothing, and a key that
//! one block happened to meet is not taken for a hot one.
//!
//! A key is cut at quantiles of its times, so that its ranges hold equal work. Where the blocks of a
//! side follow each other in time, each stands for the time up to the next, and the last for the time up
//! to the greatest: its rows are stretched over it. Else the side is in no order, and its rows are as
//! good as drawn at random.

use std::ops::Range;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::Result;

use super::domain::TimeDomain;
use super::ordinals::{KeyOrdinals, KeyType, is_known};
use super::place::Place;
use crate::spec::Side;

/// More keys than this are not worth to be told apart.
const MOST_HOT_KEYS: usize = 1024;

/// A sample of one side. It may have no rows and yet stand for some: their keys are not known.
#[derive(Debug, Clone)]
pub(crate) struct SampledSide {
    /// By column of the key.
    pub keys: Vec<ArrayRef>,
    pub time: ArrayRef,
    /// The rows of each block; none is without.
    pub blocks: Vec<usize>,
    /// How many rows the sample stands for.
    pub stands_for: f64,
    /// Whether there are no others.
    pub is_whole: bool,
    /// The greatest time of all of them, if it is known.
    pub greatest: Option<ArrayRef>,
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
    /// Into how many ranges it is to be cut.
    pub ranges: usize,
    /// Where its ranges but the first begin; fewer where it has few times.
    pub cuts: Vec<Place>,
}

/// A row of a sample.
struct Point {
    ordinal: u32,
    /// `None` for NULL and NaN.
    place: Option<Place>,
    weight: f64,
    example: (bool, usize),
}

/// The keys to be cut, the most loaded first. A key with a NULL that equals nothing is none.
pub(crate) fn loaded_keys(spec: &SkewSpec<'_>, sides: [&SampledSide; 2]) -> Result<Vec<LoadedKey>> {
    let mut ordinals = KeyOrdinals::try_new(spec.key_types)?;
    let mut points = vec![];
    for (side, sample) in [Side::Left, Side::Right].into_iter().zip(sides) {
        let rows = sample.time.len();
        let times = spec.domain.times(side, &sample.time)?;
        let places = (0..rows).map(|row| times.is_valid(row).then(|| times.place(row)));
        let greatest = match &sample.greatest {
            Some(greatest) => Some(spec.domain.times(side, greatest)?),
            None => None,
        };
        let greatest = greatest.filter(|times| times.is_valid(0));
        let greatest = greatest.map(|times| times.place(0));
        let places = stretched(places.collect(), &sample.blocks, greatest);
        let keys = ordinals.intern(&sample.keys, rows)?;
        let weight = sample.stands_for / rows.max(1) as f64;
        let rows = keys.into_iter().zip(places).enumerate();
        points.extend(rows.map(|(row, (ordinal, place))| Point {
            ordinal,
            place,
            weight,
            example: (side == Side::Right, row),
        }));
    }
    let total: f64 = sides.iter().map(|sample| sample.stands_for).sum();
    let blocks = sides.map(Blocks::of);
    let mut by_key: Vec<Vec<&Point>> = vec![vec![]; ordinals.len()];
    for point in points.iter().filter(|point| is_known(point.ordinal)) {
        by_key[point.ordinal as usize].push(point);
    }
    let loaded = by_key.into_iter().filter_map(|of_key| {
        let example = of_key.first()?.example;
        let weight: f64 = of_key.iter().map(|point| point.weight).sum();
        let of_sides = of_key.split_at(of_key.partition_point(|point| !point.example.0));
        let held = blocks[0].held(of_sides.0) + blocks[1].held(of_sides.1);
        let load = held / total * spec.partitions as f64;
        let ranges = spec.ranges.unwrap_or_else(|| ranges_for(load));
        (load >= spec.cut_from).then(|| LoadedKey {
            example,
            share: weight / total,
            load,
            ranges,
            cuts: quantiles(&of_key, ranges),
        })
    });
    let mut loaded: Vec<LoadedKey> = loaded.collect();
    loaded.sort_by(|a, b| {
        let by_load = b.load.total_cmp(&a.load);
        by_load.then(b.share.total_cmp(&a.share))
    });
    loaded.truncate(MOST_HOT_KEYS);
    Ok(loaded)
}

/// The blocks of one side's sample.
struct Blocks<'a> {
    sample: &'a SampledSide,
    /// Where they end.
    ends: Vec<usize>,
}

impl<'a> Blocks<'a> {
    fn of(sample: &'a SampledSide) -> Self {
        let ends = sample.blocks.iter().scan(0, |end, rows| {
            *end += rows;
            Some(*end)
        });
        let ends = ends.collect();
        Self { sample, ends }
    }

    /// The rows of the block that a row is in; where there is only one, each row is a block.
    fn around(&self, row: usize) -> Range<usize> {
        if self.ends.len() < 2 {
            return row..row + 1;
        }
        let block = self.ends.partition_point(|end| *end <= row);
        let start = block.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[block]
    }

    /// About how many rows of the side a key holds, by the sampled rows that have it.
    fn held(&self, of_key: &[&Point]) -> f64 {
        let blocks = of_key.iter().map(|point| self.around(point.example.1));
        let blocks: Vec<Range<usize>> = blocks.collect();
        let by_block = blocks.chunk_by(|a, b| a == b);
        let most = by_block.map(|same| (same.len(), same[0].len())).max();
        let (left_out, of_rows) = most.filter(|_| !self.sample.is_whole).unwrap_or((0, 0));
        let rows = (self.sample.time.len() - of_rows).max(1);
        (of_key.len() - left_out) as f64 / rows as f64 * self.sample.stands_for
    }
}

/// Into how many ranges a key is cut: each holds a quarter of what a partition does, so that
/// ranges that were judged wrong even out.
fn ranges_for(load: f64) -> usize {
    ((4.0 * load).ceil() as usize).max(2)
}

/// Where ranges of equal weight begin.
fn quantiles(points: &[&Point], ranges: usize) -> Vec<Place> {
    let valid = points.iter();
    let mut valid: Vec<(&Place, f64)> = valid
        .filter_map(|point| Some((point.place.as_ref()?, point.weight)))
        .collect();
    valid.sort_by(|a, b| a.0.cmp(b.0));
    let total: f64 = valid.iter().map(|(_, weight)| weight).sum();
    let of_range = total / ranges as f64;
    let mut cuts: Vec<Place> = vec![];
    let (mut before, mut cut_at, mut last) = (0.0, of_range, None);
    for (place, weight) in valid {
        // Equal times are in one range.
        if before >= cut_at && last != Some(place) {
            cuts.push(place.clone());
            cut_at = ((before / of_range).floor() + 1.0) * of_range;
        }
        before += weight;
        last = Some(place);
    }
    cuts
}

/// The places with those of each block spread up to where the next one begins, or up to the
/// greatest, if the blocks follow each other in time; as they are if they do not, or are no numbers.
fn stretched(
    mut places: Vec<Option<Place>>,
    blocks: &[usize],
    greatest: Option<Place>,
) -> Vec<Option<Place>> {
    let number = |place: &Option<Place>| match place {
        Some(Place::Number(number)) => Some(*number),
        _ => None,
    };
    let mut spans = vec![];
    let mut start = 0;
    for rows in blocks {
        let block = places[start..start + rows].iter().filter_map(number);
        if let (Some(least), Some(greatest)) = (block.clone().min(), block.max()) {
            spans.push((least, greatest, start..start + rows));
        }
        start += rows;
    }
    spans.sort_by_key(|span| (span.0, span.1));
    let follow = spans.windows(2).all(|two| two[0].1 <= two[1].0);
    if !follow {
        return places;
    }
    let end = match (greatest, spans.last()) {
        (Some(Place::Number(end)), Some((_, last, _))) if end > *last => Some(end),
        _ => None,
    };
    let ends = spans.iter().skip(1).map(|span| span.0).chain(end);
    for ((least, greatest, rows), end) in spans.iter().zip(ends) {
        let room = end.wrapping_sub(*least) as f64;
        let span = greatest.wrapping_sub(*least) as f64 + 1.0;
        for place in &mut places[rows.clone()] {
            if let Some(Place::Number(number)) = place {
                let share = number.wrapping_sub(*least) as f64 / span;
                *number = least.wrapping_add((share * room) as i128);
            }
        }
    }
    places
}

#[cfg(test)]
mod tests;
