//! How unevenly keys hold the work of a join, and where to cut those that hold much.
//!
//! Judged by a sample of both sides, of which each row stands for as many as there are of its
//! side for each of the sample. The *load* of a key is its share of all rows in partitions: a
//! key of load 3 holds three times what each partition would hold if all held the same.
//!
//! A sample is taken in *blocks* of rows that follow each other. Of a side that comes key by key, a block
//! has one key, as if that held all rows up to the next block. So a load is judged without the block in
//! which the key holds most, and as one and a half deviations less than it then seems. A deviation follows
//! from how much of the key there is in each block more or less than in the one before, which is what a
//! sample at equal distances is wrong by: next to nothing where rows come in any order, about a block
//! where they come key by key, and much where each key comes now and then for a while, so that some are
//! met more often than others by chance. None of these is taken for a hot one.
//!
//! Rows meet in a partition as an exchange by key has them: there NULL equals NULL. Rows of a key that
//! the join takes to equal nothing are no less work for that. If salted, those of the left are spread by
//! their times and those of the right are not sent at all.
//!
//! A key is cut at quantiles of its times, so that its ranges hold equal work. Where the blocks of a
//! side follow each other in time, each stands for the time up to the next, and the last for the time up
//! to the greatest: its rows are stretched over it. Else the side is in no order, and its rows are as
//! good as drawn at random.

use std::ops::Range;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::common::Result;

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
    /// About how much of that stays together if the join is salted by time.
    pub rest: f64,
    /// Whether it has a NULL that equals nothing.
    pub is_null: bool,
    /// Into how many ranges it is to be cut; 1 if it has a NULL that equals nothing.
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

/// The keys that hold much, the most loaded first.
pub(crate) fn loaded_keys(spec: &SkewSpec<'_>, sides: [&SampledSide; 2]) -> Result<Vec<LoadedKey>> {
    let exchanged = spec.key_types.iter().map(|key| KeyType {
        data_type: key.data_type.clone(),
        null_equals_null: true,
    });
    let mut ordinals = KeyOrdinals::try_new(&exchanged.collect::<Vec<_>>())?;
    let nulls = sides.map(|sample| nulls_that_equal_nothing(spec.key_types, &sample.keys));
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
    for point in &points {
        by_key[point.ordinal as usize].push(point);
    }
    let loaded = by_key.into_iter().filter_map(|of_key| {
        let example = of_key.first()?.example;
        let weight: f64 = of_key.iter().map(|point| point.weight).sum();
        // No key holds more for certain than it seems to.
        let seems = weight / total * spec.partitions as f64;
        if seems.is_nan() || seems < spec.cut_from {
            return None;
        }
        let of_sides = of_key.split_at(of_key.partition_point(|point| !point.example.0));
        let (of_left, of_right) = (blocks[0].held(of_sides.0), blocks[1].held(of_sides.1));
        let deviation = (of_left.variance + of_right.variance).sqrt();
        let held = of_left.rows + of_right.rows - DEVIATIONS * deviation;
        let load = held.max(0.0) / total * spec.partitions as f64;
        if load < spec.cut_from {
            return None;
        }
        let of_side = nulls[usize::from(example.0)].as_ref();
        let is_null = of_side.is_some_and(|nulls| nulls.is_null(example.1));
        let ranges = match is_null {
            true => 1,
            false => spec.ranges.unwrap_or_else(|| ranges_for(load)),
        };
        let (cuts, stays) = match is_null {
            true => (vec![], most_at_one_time(of_sides.0)),
            false => quantiles(&of_key, ranges),
        };
        Some(LoadedKey {
            example,
            share: weight / total,
            load,
            rest: load * stays / weight.max(f64::MIN_POSITIVE),
            is_null,
            ranges,
            cuts,
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

/// Which rows have a NULL in a column in which it equals nothing.
fn nulls_that_equal_nothing(types: &[KeyType], keys: &[ArrayRef]) -> Option<NullBuffer> {
    let columns = types.iter().zip(keys);
    let columns = columns.filter(|(key, _)| !key.null_equals_null);
    columns.fold(None, |nulls, (_, column)| {
        NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
    })
}

/// About how many rows of a side a key holds.
#[derive(Default)]
struct Held {
    rows: f64,
    variance: f64,
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
    fn held(&self, of_key: &[&Point]) -> Held {
        let all = self.sample.time.len();
        if self.sample.is_whole {
            return Held {
                rows: of_key.len() as f64 / all.max(1) as f64 * self.sample.stands_for,
                variance: 0.0,
            };
        }
        let blocks = of_key.iter().map(|point| self.around(point.example.1));
        let blocks: Vec<Range<usize>> = blocks.collect();
        let by_block = blocks.chunk_by(|a, b| a == b);
        let met: Vec<(usize, &Range<usize>)> =
            by_block.map(|same| (same.len(), &same[0])).collect();
        let most = met.iter().max_by_key(|(rows, block)| (*rows, block.len()));
        let Some((left_out, most)) = most else {
            return Held::default();
        };
        let rows = of_key.len() - left_out;
        let stands_for = self.sample.stands_for / (all - most.len()).max(1) as f64;
        let share = rows as f64 / (all - most.len()).max(1) as f64;
        let (mut met, mut before, mut changes, mut row) = (met.iter().peekable(), None, 0.0, 0);
        while row < all {
            let block = self.around(row);
            row = block.end;
            let of_block = met.next_if(|(_, of_key)| **of_key == block);
            if block == **most {
                continue;
            }
            // What the block has beyond the share of the key.
            let beyond =
                of_block.map_or(0.0, |(rows, _)| *rows as f64) - share * block.len() as f64;
            changes += before.map_or(0.0, |before: f64| (beyond - before).powi(2));
            before = Some(beyond);
        }
        Held {
            rows: rows as f64 * stands_for,
            variance: changes / 2.0 * stands_for.powi(2),
        }
    }
}

/// Into how many ranges a key is cut: each holds a quarter of what a partition does, so that
/// ranges that were judged wrong even out.
fn ranges_for(load: f64) -> usize {
    ((4.0 * load).ceil() as usize).max(2)
}

/// Where ranges of equal weight begin, and the weight of the heaviest.
fn quantiles(points: &[&Point], ranges: usize) -> (Vec<Place>, f64) {
    // Right rows without a place are not sent.
    let sent = points.iter().copied();
    let sent = sent.filter(|point| point.place.is_some() || !point.example.0);
    let mut sorted: Vec<&Point> = sent.collect();
    // Without a place first: they are in the first range.
    sorted.sort_by(|a, b| a.place.cmp(&b.place));
    let total: f64 = sorted.iter().map(|point| point.weight).sum();
    let of_range = total / ranges as f64;
    let mut cuts: Vec<Place> = vec![];
    let (mut before, mut cut_at, mut begun_at, mut heaviest) = (0.0, of_range, 0.0, 0.0_f64);
    // Equal times are in one range.
    for equal in sorted.chunk_by(|a, b| a.place == b.place) {
        if let Some(place) = &equal[0].place
            && before >= cut_at
        {
            cuts.push(place.clone());
            heaviest = heaviest.max(before - begun_at);
            begun_at = before;
            cut_at = ((before / of_range).floor() + 1.0) * of_range;
        }
        before += equal.iter().map(|point| point.weight).sum::<f64>();
    }
    (cuts, heaviest.max(before - begun_at))
}

/// The weight of the rows that have the most frequent time, or none.
fn most_at_one_time(points: &[&Point]) -> f64 {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.place.cmp(&b.place));
    let by_time = sorted.chunk_by(|a, b| a.place == b.place);
    let weights = by_time.map(|equal| equal.iter().map(|point| point.weight).sum());
    weights.fold(0.0_f64, f64::max)
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
