//! Cells of lists of every kind, against where times are.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Lists with few rows, with runs of equal times, with far outliers and over the whole line.
fn lists<T: IndexTime>(
    draw: &mut dyn FnMut(usize) -> T,
    lengths: &[usize],
) -> (Vec<T>, Vec<usize>) {
    let (mut times, mut offsets) = (vec![], vec![0]);
    for (list, length) in lengths.iter().enumerate() {
        let start = times.len();
        times.extend((0..*length).map(|_| draw(list)));
        times[start..].sort_unstable();
        offsets.push(times.len());
    }
    (times, offsets)
}

const LENGTHS: [usize; 12] = [1, 2, 3, 0, 17, 100, 1000, 1, 4096, 5000, 0, 1];

fn holds<T: IndexTime>(times: &[T], offsets: &[usize], probes: &[T]) {
    let cells = Cells::of(times, offsets).expect("few rows, fewer keys");
    assert!(cells.size() <= Cells::<T>::size_of(times.len(), offsets.len() - 1));
    around_and_at(&cells, times, offsets, probes);
    for finer in 1..4 {
        let lists = offsets.len() - 1;
        let room = (times.len() << finer) + 2 * lists;
        let mut cells = Cells::with_capacity(lists, room);
        for ends in offsets.windows(2) {
            cells.add(times, ends[0]..ends[1], finer);
        }
        assert_eq!(cells.starts.capacity(), room);
        around_and_at(&cells, times, offsets, probes);
    }
}

fn around_and_at<T: IndexTime>(cells: &Cells<T>, times: &[T], offsets: &[usize], probes: &[T]) {
    for (key, ends) in offsets.windows(2).enumerate() {
        let list = &times[ends[0]..ends[1]];
        if list.is_empty() {
            continue;
        }
        for time in list.iter().chain(probes) {
            let around = cells.around(key, *time);
            assert!(ends[0] <= around.start && around.end <= ends[1]);
            let first = ends[0] + list.partition_point(|than| than < time);
            let last = ends[0] + list.partition_point(|than| than <= time);
            assert!(
                around.start <= first && last <= around.end,
                "{time:?} in {around:?}"
            );
            let of_list = (key, *time);
            assert_eq!(cells.point(times, of_list, |than| than < *time), first);
            assert_eq!(cells.point(times, of_list, |than| than <= *time), last);
        }
    }
}

#[test]
fn a_time_is_within_its_cell() {
    let dice = &mut StdRng::seed_from_u64(11);
    let spreads = [1, 10, 1_000_000, 1 << 40, i64::MAX];
    let mut draw = |list: usize| match spreads[list % spreads.len()] {
        1 => 7,
        i64::MAX => [i64::MIN, i64::MAX, 0][dice.random_range(0..3)],
        // One of many is far away, and the others share a cell.
        spread if dice.random_ratio(1, 500) => spread.saturating_mul(1 << 20),
        spread => dice.random_range(-spread..spread),
    };
    let (times, offsets) = lists(&mut draw, &LENGTHS);
    holds(
        &times,
        &offsets,
        &[i64::MIN, -1, 0, 7, 8, 1 << 30, i64::MAX],
    );
}

#[test]
fn wide_times_too() {
    let dice = &mut StdRng::seed_from_u64(12);
    let mut draw = |list: usize| match list % 3 {
        0 => [i128::MIN, i128::MAX, 0][dice.random_range(0..3)],
        1 => dice.random_range(-(1i128 << 100)..1 << 100),
        _ => i128::from(dice.random::<i32>()),
    };
    let (times, offsets) = lists(&mut draw, &LENGTHS);
    holds(&times, &offsets, &[i128::MIN, 0, 1 << 99, i128::MAX]);
}

#[test]
fn even_times_have_few_neighbours() {
    let times: Vec<i64> = (0..100_000).map(|row| row * 1000 + row % 7).collect();
    let cells = Cells::of(&times, &[0, times.len()]).expect("one key");
    let most = times.iter().map(|time| cells.around(0, *time).len()).max();
    assert!(most.is_some_and(|most| most <= 4), "{most:?}");
}

#[test]
fn short_lists_and_large_indexes_have_none() {
    let (times, offsets) = (
        [0i64; 150],
        (0..=10).map(|key| key * 15).collect::<Vec<_>>(),
    );
    assert!(Cells::of(&times, &offsets).is_none());
    assert!(Cells::of(&vec![0i64; CACHED_ROWS], &[0, CACHED_ROWS]).is_none());
    assert_eq!(Cells::<i64>::size_of(CACHED_ROWS, 1), 0);
    let largest = Cells::of(&vec![0i64; CACHED_ROWS - 1], &[0, CACHED_ROWS - 1]);
    let size = largest.expect("it is small").size();
    assert!(size <= Cells::<i64>::most_size_of(2 * CACHED_ROWS, 1));
    assert!(Cells::<i64>::of(&[], &[0]).is_none_or(|cells| cells.size() == 0));
}
