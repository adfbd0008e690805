//! Where the ranges of a key begin, and how much of it stays together.

use super::Point;
use crate::kernel::place::Place;

/// Into how many ranges a key is cut: each holds a quarter of what a partition does at most, so that
/// ranges that were judged wrong even out; as many for each partition where there is one for each.
pub(super) fn ranges_for(load: f64, partitions: usize) -> usize {
    let ranges = ((4.0 * load * NEARLY).ceil() as usize).max(2);
    match ranges > partitions {
        true => ranges.next_multiple_of(partitions.max(1)),
        false => ranges,
    }
}

/// Where ranges of equal weight begin, as far as times allow it, and what each of them weighs, the first one too.
pub(super) fn quantiles(
    mut times: Vec<(Option<Place>, f64)>,
    ranges: usize,
) -> (Vec<Place>, Vec<f64>) {
    // Without a place first: they are in the first range.
    times.sort_by(|a, b| a.0.cmp(&b.0));
    let total: f64 = times.iter().map(|(_, weight)| weight).sum();
    let of_range = total / ranges as f64;
    let (mut cuts, mut weights) = (vec![], vec![]);
    let (mut before, mut cut_at, mut begun_at) = (0.0, of_range, 0.0);
    // Equal times are in one range. If they fill it nothing else is in it.
    for equal in times.chunk_by(|a, b| a.0 == b.0) {
        let weight: f64 = equal.iter().map(|(_, weight)| weight).sum();
        let fills = weight >= NEARLY * of_range && before > begun_at;
        if let Some(place) = &equal[0].0
            && (before >= NEARLY * cut_at || fills)
        {
            cuts.push(place.clone());
            weights.push(before - begun_at);
            begun_at = before;
            cut_at = ((before / of_range / NEARLY).floor() + 1.0) * of_range;
        }
        before += weight;
    }
    weights.push(before - begun_at);
    (cuts, weights)
}

/// Sums of the same floats may differ in their last digits.
const NEARLY: f64 = 1.0 - 1e-9;

/// The weight of the left rows that have the most frequent time, or none. Those of the right do not stay anywhere.
pub(super) fn most_at_one_time(points: &[&Point]) -> f64 {
    let of_left = points.iter().filter(|point| !point.example.0);
    let mut sorted: Vec<&Point> = of_left.copied().collect();
    sorted.sort_by(|a, b| a.place.cmp(&b.place));
    let by_time = sorted.chunk_by(|a, b| a.place == b.place);
    let weights = by_time.map(|equal| equal.iter().map(|point| point.weight).sum());
    weights.fold(0.0_f64, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_have_equally_many_ranges() {
        // A sum of shares may be a little more than it is.
        assert_eq!(ranges_for(16.000_000_000_000_002, 16), 64);
        assert_eq!(ranges_for(14.4, 16), 64);
        assert_eq!(ranges_for(4.1, 16), 32);
        assert_eq!(ranges_for(4.0, 16), 16);
        assert_eq!(ranges_for(2.3, 16), 10, "not one for each");
        assert_eq!(ranges_for(0.1, 16), 2);
    }
}
