//! Searches of every kind of stretch, against a plain binary search.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn timeline(times: &[i64]) -> Timeline<i64> {
    Timeline::new(times.iter().copied().collect(), &[])
}

/// Stretches with and without runs of equal times, one after the other.
fn stretches(dice: &mut StdRng, lengths: &[usize]) -> (Vec<i64>, Vec<Range<usize>>) {
    let (mut times, mut stretches) = (vec![], vec![]);
    for length in lengths {
        let start = times.len();
        let spread = [1, 10, 1_000_000, i64::MAX][dice.random_range(0..4)];
        times.extend((0..*length).map(|_| dice.random_range(-spread..spread)));
        times[start..].sort_unstable();
        stretches.push(start..times.len());
    }
    (times, stretches)
}

#[test]
fn every_search_is_a_binary_search() {
    let dice = &mut StdRng::seed_from_u64(7);
    let around = [15usize, 16, 17, 240, 256, 3840, 4096, 61_440, 65_536];
    let lengths = around
        .iter()
        .flat_map(|around| [around - 1, *around, around + 1]);
    let mut lengths: Vec<usize> = lengths.chain([0, 1, 2, 200_000]).collect();
    lengths.extend((0..40).map(|_| dice.random_range(0..500)));
    let (times, stretches) = stretches(dice, &lengths);
    let timeline = timeline(&times);
    for stretch in stretches {
        let list = &times[stretch.clone()];
        for _ in 0..200 {
            let time = match list {
                [] => 0,
                _ => {
                    let near = list[dice.random_range(0..list.len())];
                    near.saturating_add(dice.random_range(-1..=1))
                }
            };
            let start = dice.random_range(stretch.start..=stretch.end);
            let end = dice.random_range(start..=stretch.end);
            for equal_precedes in [false, true] {
                let precedes = |t: i64| t < time || (equal_precedes && t == time);
                let expected = start + times[start..end].partition_point(|t| precedes(*t));
                assert_eq!(timeline.partition_point(start..end, precedes), expected);
                let mut queries = [Query::new(0, time, start as u32..end as u32)];
                timeline.narrow(&mut queries, equal_precedes);
                let [Query { start, end, .. }] = queries;
                assert!((start as usize..=end as usize).contains(&expected));
                timeline.find(&mut queries, equal_precedes);
                assert_eq!(queries[0].start as usize, expected);
            }
        }
    }
}

#[test]
fn runs_of_equal_times_end_where_they_do() {
    let times = [vec![1; 40], vec![2; 300], vec![3; 1]].concat();
    let timeline = timeline(&times);
    let ends = [0, 39, 40, 41, 339, 340].map(|start| timeline.end_of_run(start, times.len()));
    assert_eq!(ends, [40, 40, 340, 340, 340, 341]);
    assert_eq!(timeline.end_of_run(41, 100), 100);
}
