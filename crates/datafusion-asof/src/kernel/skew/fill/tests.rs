//! Times of few blocks, before and after.

use super::*;

/// Blocks of these times, ten rows of the input before and after the middle of each.
fn filled(blocks: &[&[i128]], ends: [Option<i128>; 2]) -> Vec<Vec<i128>> {
    let of_block = |(number, times): (usize, &&[i128])| {
        let times = times.iter().map(move |time| (*time, number));
        times.collect::<Vec<_>>()
    };
    let mut times: Vec<_> = blocks.iter().enumerate().flat_map(of_block).collect();
    let sampled: Vec<_> = (blocks.iter())
        .map(|times| SampledBlock {
            rows: times.len(),
            each: 1.0,
            reach: [10.0; 2],
            is_drawn: true,
        })
        .collect();
    fill(&mut times, &sampled, ends);
    let by_block = times.chunk_by(|a, b| a.1 == b.1);
    by_block
        .map(|of_block| of_block.iter().map(|(time, _)| *time).collect())
        .collect()
}

#[test]
fn blocks_in_time_order_reach_halfway_to_their_neighbours() {
    let blocks: [&[i128]; 3] = [&[100, 101, 102], &[200, 201, 202], &[300, 301, 302]];
    assert_eq!(
        filled(&blocks, [None, None]),
        [[50, 100, 151], [151, 201, 251], [251, 301, 352]]
    );
    assert_eq!(
        filled(&blocks, [Some(80), Some(310)]),
        [[80, 115, 151], [151, 201, 251], [251, 280, 310]],
        "not beyond the ends"
    );
    let backwards: Vec<_> = blocks.into_iter().rev().collect();
    let mut of_backwards = filled(&backwards, [None, None]);
    of_backwards.reverse();
    assert_eq!(of_backwards, filled(&blocks, [None, None]));
}

#[test]
fn strays_stay_and_do_not_hinder() {
    let blocks: [&[i128]; 2] = [&[7, 101, 102, 103, 104], &[201, 202, 203, 204, 5]];
    assert_eq!(
        filled(&blocks, [Some(100), Some(205)]),
        [[7, 100, 117, 134, 152], [152, 169, 187, 205, 5]]
    );
}

#[test]
fn blocks_of_equal_times_are_spread_too() {
    let blocks: [&[i128]; 3] = [&[100; 4], &[200; 4], &[200; 4]];
    assert_eq!(
        filled(&blocks, [None, None]),
        [[62, 87, 112, 137], [200; 4], [200; 4]],
        "but not those of a time that is frequent"
    );
}

#[test]
fn nothing_is_moved_in_random_order() {
    let blocks: [&[i128]; 3] = [
        &[1, 900, 500, 300],
        &[800, 2, 400, 700],
        &[350, 650, 10, 990],
    ];
    assert_eq!(filled(&blocks, [Some(0), Some(1000)]), blocks);
    let whole: [&[i128]; 1] = [&[1, 2, 100]];
    assert_eq!(filled(&whole, [Some(0), Some(1000)]), whole);
}

#[test]
fn runs_over_the_same_times_are_filled_each_for_itself() {
    let one = [0, 100, 200, 300];
    let other = [30, 130, 230, 330];
    let blocks: Vec<[i128; 2]> = (one.iter().chain(&other))
        .map(|time| [*time, time + 1])
        .collect();
    let blocks: Vec<&[i128]> = blocks.iter().map(|block| block.as_slice()).collect();
    let both = filled(&blocks, [None, None]);
    assert_eq!(both[1], [50, 150]);
    assert_eq!(both[5], [80, 180], "as if there were no other run");
    let fewer: Vec<_> = [&blocks[..2], &blocks[4..6]].concat();
    assert_eq!(
        filled(&fewer, [None, None])[1],
        [65, 115],
        "a few may follow each other by chance: then the nearest of all"
    );
}
