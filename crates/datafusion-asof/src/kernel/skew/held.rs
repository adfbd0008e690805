//! How much of a side a key holds for certain, by the blocks of its sample.

use std::ops::Range;

use super::{Point, SampledSide};

/// About how many rows of a side a key holds.
#[derive(Default)]
pub(super) struct Held {
    pub rows: f64,
    pub variance: f64,
}

/// The blocks of one side's sample.
pub(super) struct Blocks<'a> {
    sample: &'a SampledSide,
    /// What is judged by: the blocks, or each row where there is only one.
    parts: Vec<Part>,
}

/// Rows of a sample and how many rows of the side they stand for.
struct Part {
    rows: Range<usize>,
    weight: f64,
}

/// Into how many parts the first rows of a file are divided.
const PARTS_OF_A_START: usize = 8;

impl<'a> Blocks<'a> {
    pub(super) fn of(sample: &'a SampledSide) -> Self {
        let mut parts = vec![];
        let mut start = 0;
        for block in &sample.blocks {
            let end = start + block.rows;
            match sample.blocks.len() {
                1 => parts.extend((start..end).map(|row| Part {
                    rows: row..row + 1,
                    weight: block.each,
                })),
                _ => parts.push(Part {
                    rows: start..end,
                    weight: block.rows as f64 * block.each,
                }),
            }
            start = end;
        }
        Self { sample, parts }
    }

    /// About how many rows of the side a key holds, by the sampled rows that have it.
    pub(super) fn held(&self, of_key: &[&Point]) -> Held {
        let seems: f64 = of_key.iter().map(|point| point.weight).sum();
        if self.sample.is_whole || of_key.is_empty() || self.sample.keys.is_empty() {
            return Held {
                rows: seems,
                variance: 0.0,
            };
        }
        if self.sample.blocks.iter().any(|block| !block.is_drawn) {
            return self.held_of_starts(of_key);
        }
        let mut points = of_key.iter().peekable();
        let mut met = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let mut of_part = 0.0;
            while let Some(point) = points.next_if(|point| point.example.1 < part.rows.end) {
                of_part += point.weight;
            }
            met.push((of_part, part.weight));
        }
        let most = met.iter().enumerate();
        let most = most.max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let Some((left_out, most)) = most else {
            return Held::default();
        };
        let others: f64 = met.iter().map(|(_, weight)| weight).sum::<f64>() - most.1;
        let others = others.max(f64::MIN_POSITIVE);
        let stands_for = self.sample.stands_for / others;
        let share = (seems - most.0) / others;
        let (mut before, mut changes) = (None, 0.0);
        for (number, (of_key, weight)) in met.iter().enumerate() {
            if number == left_out {
                continue;
            }
            // What the block has beyond the share of the key.
            let beyond = of_key - share * weight;
            changes += before.map_or(0.0, |before: f64| (beyond - before).powi(2));
            before = Some(beyond);
        }
        Held {
            rows: (seems - most.0).max(0.0) * stands_for,
            variance: changes / 2.0 * stands_for.powi(2),
        }
    }

    /// The same where blocks are the first rows of files: what the key has of each part of them, but of
    /// those that it has alone.
    fn held_of_starts(&self, of_key: &[&Point]) -> Held {
        let mut parts = [(0.0, 0.0); PARTS_OF_A_START];
        let (mut total, mut variance) = (0.0, 0.0);
        let (mut start, mut points) = (0, of_key);
        for block in &self.sample.blocks {
            let end = start + block.rows;
            let (of_block, others) =
                points.split_at(points.partition_point(|point| point.example.1 < end));
            points = others;
            let part_of = |row: usize| row * PARTS_OF_A_START / block.rows;
            for row in 0..block.rows {
                parts[part_of(row)].1 += block.each;
            }
            total += block.rows as f64 * block.each;
            if of_block.len() < block.rows {
                for point in of_block {
                    parts[part_of(point.example.1 - start)].0 += point.weight;
                    variance += point.weight.powi(2);
                }
            }
            start = end;
        }
        // Starts of few rows have not all parts.
        let parts = parts.iter().filter(|(_, all)| *all > 0.0);
        let least = parts.map(|(of_key, all)| of_key / all);
        Held {
            rows: total * least.fold(1.0, f64::min),
            variance,
        }
    }
}
