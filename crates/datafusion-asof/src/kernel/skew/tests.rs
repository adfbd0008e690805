//! Loads and cuts of samples that can be counted by hand.

use std::sync::Arc;

use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;

use std::ops::Range;

use super::*;

fn side(keys: &[Option<&str>], times: &[Option<i64>], stands_for: f64) -> SampledSide {
    SampledSide {
        keys: vec![Arc::new(StringArray::from(keys.to_vec()))],
        time: Arc::new(Int64Array::from(times.to_vec())),
        blocks: blocks(&[times.len()], stands_for),
        stands_for,
        is_whole: true,
        ends: [None, None],
    }
}

/// Blocks of so many rows, each row of which stands for as many.
fn blocks(rows: &[usize], stand_for: f64) -> Vec<SampledBlock> {
    let all: usize = rows.iter().sum();
    let each = stand_for / all.max(1) as f64;
    let block = |rows: &usize| SampledBlock {
        rows: *rows,
        each,
        reach: [*rows as f64 * each / 2.0; 2],
        is_drawn: true,
    };
    rows.iter().map(block).collect()
}

fn all_of(key: &'static str, times: Range<i64>) -> SampledSide {
    let times: Vec<_> = times.map(Some).collect();
    side(&vec![Some(key); times.len()], &times, times.len() as f64)
}

fn empty() -> SampledSide {
    side(&[], &[], 0.0)
}

fn loaded(sides: [&SampledSide; 2], cut_from: f64, ranges: Option<usize>) -> Vec<LoadedKey> {
    let spec = SkewSpec {
        domain: &TimeDomain::try_new(&DataType::Int64, &DataType::Int64).expect("one type"),
        key_types: &[KeyType {
            data_type: DataType::Utf8,
            null_equals_null: false,
        }],
        partitions: 4,
        cut_from,
        ranges,
        spreads_without_time: false,
    };
    loaded_keys(&spec, sides, None).expect("samples of the types")
}

fn numbers(cuts: &[i128]) -> Vec<Place> {
    cuts.iter().map(|cut| Place::Number(*cut)).collect()
}

#[test]
fn the_load_is_the_share_of_both_sides() {
    let keys = [Some("A"), Some("A"), Some("A"), Some("B")];
    let left = side(&keys, &[Some(1); 4], 100.0);
    let right = side(&[Some("B"), None], &[Some(1); 2], 300.0);
    let loaded = loaded([&left, &right], 0.1, None);
    let loads: Vec<_> = loaded.iter().map(|key| (key.example, key.load)).collect();
    assert_eq!(
        loads,
        [((false, 3), 1.75), ((true, 1), 1.5), ((false, 0), 0.75)],
        "of 400 rows B has 25 and 150, NULL has 150, and A has 75"
    );
}

/// Ten rows in blocks, standing for a hundred.
fn sampled(keys: &[&'static str; 10], of_blocks: &[usize]) -> SampledSide {
    let keys: Vec<_> = keys.iter().copied().map(Some).collect();
    SampledSide {
        blocks: blocks(of_blocks, 100.0),
        is_whole: false,
        ..side(&keys, &[Some(1); 10], 100.0)
    }
}

#[test]
fn a_key_is_judged_without_the_block_that_has_most_of_it() {
    let loads = |sample: &SampledSide| -> Vec<f64> {
        let loaded = loaded([sample, &empty()], 0.0, None);
        let load = |key: &LoadedKey| (100.0 * key.load).round() / 100.0;
        loaded.iter().map(load).collect()
    };
    let by_key = ["A", "A", "B", "B", "C", "C", "C", "C", "D", "D"];
    let sample = sampled(&by_key, &[2, 2, 2, 2, 2]);
    assert_eq!(
        loads(&sample),
        [0.0; 4],
        "C has one block of four, which could be chance"
    );
    let mixed = ["A", "B", "A", "B", "A", "B", "A", "B", "A", "B"];
    assert_eq!(loads(&sampled(&mixed, &[2, 2, 2, 2, 2])), [2.0, 2.0]);
    let met_once = ["A", "A", "A", "A", "A", "A", "A", "A", "B", "C"];
    let of_one_block = loads(&sampled(&met_once, &[10]));
    assert_eq!(of_one_block, [2.64, 0.0, 0.0], "row by row");
    let sure = SampledSide {
        is_whole: true,
        ..sampled(&met_once, &[10])
    };
    assert_eq!(loads(&sure), [3.2, 0.4, 0.4]);
    let share = |sample: &SampledSide| loaded([sample, &empty()], 0.0, None)[0].share;
    assert_eq!(share(&sample), 0.4, "as the sample has it");
}

#[test]
fn a_key_is_hot_for_certain() {
    // In 64 blocks of four rows "A" has so many rows of each; all others are of keys of their own.
    let load = |of_block: &dyn Fn(usize) -> usize| {
        let rows = 256;
        let has_it = |row: usize| row % 4 < of_block(row / 4);
        let keys = (0..rows).map(|row| match has_it(row) {
            true => "A".to_owned(),
            false => row.to_string(),
        });
        let sample = SampledSide {
            keys: vec![Arc::new(StringArray::from_iter_values(keys))],
            time: Arc::new(Int64Array::from(vec![1; rows])),
            blocks: blocks(&vec![4; rows / 4], 1000.0),
            stands_for: 1000.0,
            is_whole: false,
            ends: [None, None],
        };
        let loaded = loaded([&sample, &empty()], 0.0, None);
        let most = loaded.iter().map(|key| key.load).fold(0.0, f64::max);
        (100.0 * most).round() / 100.0
    };
    assert_eq!(load(&|_| 2), 2.0, "half of each block");
    assert_eq!(load(&|block| 1 + 2 * (block % 2)), 1.72, "more or less");
    assert_eq!(
        load(&|block| 4 * usize::from(block < 16)),
        0.89,
        "in one go"
    );
    let now_and_then =
        |every: usize| move |block: usize| 4 * usize::from(block.is_multiple_of(every));
    assert_eq!(load(&now_and_then(16)), 0.04, "four times, by chance");
    assert_eq!(load(&now_and_then(2)), 1.44, "every other time");
}

#[test]
fn keys_that_hold_little_are_not_cut() {
    let left = side(&[Some("A"), Some("B"), Some("A")], &[Some(1); 3], 3.0);
    let keys = |cut_from| loaded([&left, &empty()], cut_from, None).len();
    assert_eq!((keys(1.0), keys(2.0), keys(3.0)), (2, 1, 0));
}

#[test]
fn ranges_hold_equal_work() {
    let left = all_of("A", 0..100);
    let cuts = |ranges| loaded([&left, &empty()], 0.0, ranges)[0].cuts.clone();
    assert_eq!(cuts(Some(4)), numbers(&[25, 50, 75]));
    assert_eq!(cuts(Some(1)), []);
    assert_eq!(
        cuts(None).len(),
        15,
        "four for each partition that it fills"
    );
    let right = all_of("A", 100..200);
    let cuts = loaded([&left, &right], 0.0, Some(2))[0].cuts.clone();
    assert_eq!(cuts, numbers(&[100]), "of both sides together");
}

#[test]
fn one_time_is_one_range() {
    let mut times = vec![Some(7); 50];
    times.extend([Some(9), None]);
    let left = side(&vec![Some("A"); 52], &times, 52.0);
    assert_eq!(
        loaded([&left, &empty()], 0.0, Some(8))[0].cuts,
        numbers(&[7, 9])
    );
    // A time that fills several ranges leaves fewer to the others.
    let times = [1, 5, 5, 5, 5, 5, 8, 9].map(Some);
    let left = side(&[Some("A"); 8], &times, 8.0);
    assert_eq!(
        loaded([&left, &empty()], 0.0, Some(4))[0].cuts,
        numbers(&[5, 8]),
        "which are not with it"
    );
    let left = side(&[Some("A"); 3], &[None; 3], 3.0);
    assert_eq!(loaded([&left, &empty()], 0.0, Some(8))[0].cuts, []);
}

#[test]
fn what_stays_together_is_the_heaviest_range() {
    let rest = |times: Vec<Option<i64>>, ranges| {
        let left = side(&vec![Some("A"); times.len()], &times, times.len() as f64);
        let loaded = loaded([&left, &empty()], 0.0, Some(ranges));
        (loaded[0].load, loaded[0].rest)
    };
    let even = || (0..8).map(Some).collect::<Vec<_>>();
    assert_eq!(rest(even(), 4), (4.0, 1.0));
    assert_eq!(rest(even(), 1), (4.0, 4.0));
    assert_eq!(rest(vec![Some(7); 8], 4), (4.0, 4.0), "of one time");
    let some = [5, 5, 5, 5, 5, 5, 8, 9].map(Some).to_vec();
    assert_eq!(rest(some, 4), (4.0, 3.0), "six of eight at one time");
    let mut without = vec![None; 8];
    assert_eq!(rest(without.clone(), 4), (4.0, 4.0), "without a time");
    without.extend(even());
    assert_eq!(rest(without, 4), (4.0, 2.0), "half of them without one");
    let right = side(&[Some("A"); 8], &[None; 8], 8.0);
    let key = &loaded([&empty(), &right], 0.0, None)[0];
    assert_eq!(
        (key.load, key.rest),
        (4.0, 0.0),
        "right rows that are not sent"
    );
}

#[test]
fn null_keys_are_spread_by_the_times_of_the_left() {
    let null = |times: Vec<Option<i64>>, stands_for: f64| {
        side(&vec![None; times.len()], &times, stands_for)
    };
    let distinct = || (0..8).map(Some).collect::<Vec<_>>();
    let other = || side(&[Some("A")], &[Some(1)], 20.0);
    let table = [
        (null(distinct(), 80.0), other(), 0.4),
        (null(vec![Some(1); 8], 80.0), other(), 3.2),
        (null(vec![None; 8], 80.0), other(), 3.2),
        (other(), null(distinct(), 80.0), 0.0),
        (null(distinct(), 40.0), null(vec![Some(1); 4], 60.0), 0.2),
    ];
    for (left, right, rest) in table {
        let loaded = loaded([&left, &right], 1.0, None);
        let key = &loaded[0];
        let of_right = key.example.0;
        assert_eq!((loaded.len(), key.is_null, key.ranges), (1, true, 1));
        assert!(
            key.cuts.is_empty() && (key.rest - rest).abs() < 1e-9,
            "{key:?}"
        );
        assert_eq!(of_right, left.keys[0].is_valid(0));
    }
}

#[test]
fn null_keys_meet_as_an_exchange_has_them() {
    let columns: [ArrayRef; 2] = [
        Arc::new(StringArray::from(vec![None, None, None, Some("A")])),
        Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(2), None])),
    ];
    let side = SampledSide {
        keys: columns.to_vec(),
        ..side(&[None; 4], &[1, 2, 3, 4].map(Some), 4.0)
    };
    let key_type = |data_type, null_equals_null| KeyType {
        data_type,
        null_equals_null,
    };
    let spec = SkewSpec {
        domain: &TimeDomain::try_new(&DataType::Int64, &DataType::Int64).expect("one type"),
        key_types: &[
            key_type(DataType::Utf8, false),
            key_type(DataType::Int64, true),
        ],
        partitions: 4,
        cut_from: 0.0,
        ranges: None,
        spreads_without_time: false,
    };
    let no_rows = SampledSide {
        keys: columns.iter().map(|column| column.slice(0, 0)).collect(),
        ..empty()
    };
    let loaded = loaded_keys(&spec, [&side, &no_rows], None).expect("samples of the types");
    let found: Vec<_> = (loaded.iter())
        .map(|key| (key.example.1, key.load, key.is_null))
        .collect();
    assert_eq!(
        found,
        [(0, 2.0, true), (2, 1.0, true), (3, 1.0, false)],
        "NULL and 1 twice, NULL and 2, and A with a NULL that equals NULL"
    );
}

#[test]
fn without_a_key_all_rows_have_one() {
    let spec = SkewSpec {
        domain: &TimeDomain::try_new(&DataType::Float64, &DataType::Float64).expect("one type"),
        key_types: &[],
        partitions: 16,
        cut_from: 0.5,
        ranges: Some(2),
        spreads_without_time: false,
    };
    let side = |times: Vec<f64>| SampledSide {
        keys: vec![],
        blocks: blocks(&[times.len()], times.len() as f64),
        stands_for: times.len() as f64,
        is_whole: true,
        ends: [None, None],
        time: Arc::new(Float64Array::from(times)),
    };
    let sides = [side(vec![0.5, f64::NAN, 1.5]), side(vec![])];
    let loaded = loaded_keys(&spec, [&sides[0], &sides[1]], None).expect("samples of the types");
    assert_eq!(
        (loaded.len(), loaded[0].load, loaded[0].cuts.len()),
        (1, 16.0, 1)
    );
}
#[test]
fn left_rows_without_a_time_may_be_spread_by_what_else_they_have() {
    let mut times = vec![None; 8];
    times.extend((0..8).map(Some));
    let null_keys = side(&[None; 16], &times, 16.0);
    let hot_key = side(&[Some("A"); 16], &times, 16.0);
    let rest = |left: &SampledSide, spreads_without_time| {
        let spec = SkewSpec {
            domain: &TimeDomain::try_new(&DataType::Int64, &DataType::Int64).expect("one type"),
            key_types: &[KeyType {
                data_type: DataType::Utf8,
                null_equals_null: false,
            }],
            partitions: 4,
            cut_from: 0.0,
            ranges: Some(4),
            spreads_without_time,
        };
        let loaded = loaded_keys(&spec, [left, &empty()], None).expect("samples of the types");
        loaded[0].rest
    };
    assert_eq!(
        [false, true].map(|spreads| rest(&hot_key, spreads)),
        [2.0, 0.5]
    );
    assert_eq!(
        [false, true].map(|spreads| rest(&null_keys, spreads)),
        [2.0, 0.25]
    );
}

#[test]
fn times_are_those_of_another_sample_that_has_enough() {
    let stated = all_of("A", 0..100);
    let spec = SkewSpec {
        domain: &TimeDomain::try_new(&DataType::Int64, &DataType::Int64).expect("one type"),
        key_types: &[KeyType {
            data_type: DataType::Utf8,
            null_equals_null: false,
        }],
        partitions: 4,
        cut_from: 0.0,
        ranges: Some(4),
        spreads_without_time: false,
    };
    let cuts = |sampled: &SampledSide| {
        let times = Some([sampled, sampled]);
        let loaded = loaded_keys(&spec, [&stated, &empty()], times).expect("samples of the types");
        assert_eq!(loaded[0].load, 4.0);
        loaded[0].cuts.clone()
    };
    assert_eq!(cuts(&all_of("A", 1000..1016)), numbers(&[1004, 1008, 1012]));
    assert_eq!(cuts(&all_of("A", 1000..1002)), numbers(&[25, 50, 75]));
    assert_eq!(cuts(&all_of("B", 1000..1016)), numbers(&[25, 50, 75]));
}

#[test]
fn blocks_weigh_what_they_stand_for() {
    // One row of ten blocks has the key; the block that has another stands for 90 rows.
    let mut keys = vec![Some("A"); 9];
    keys.push(Some("B"));
    let mut sample = SampledSide {
        is_whole: false,
        ..side(&keys, &[Some(1); 10], 99.0)
    };
    sample.blocks = blocks(&[1; 10], 10.0);
    sample.blocks[9].each = 90.0;
    let loaded = loaded([&sample, &empty()], 0.0, None);
    let shares: Vec<f64> = loaded
        .iter()
        .map(|key| (100.0 * key.share).round())
        .collect();
    assert_eq!(shares, [91.0, 9.0]);
}

#[test]
fn the_first_rows_of_a_file_are_believed_as_far_as_they_come_in_no_order() {
    let of = |key: &dyn Fn(i64) -> Option<i64>, time: &dyn Fn(i64) -> i64| {
        let rows = 800;
        let keys = (0..rows).map(|row| key(row).map_or_else(|| "A".to_owned(), |k| k.to_string()));
        let mut blocks = blocks(&[rows as usize], 80_000.0);
        blocks[0].is_drawn = false;
        let start = SampledSide {
            keys: vec![Arc::new(StringArray::from_iter_values(keys))],
            time: Arc::new(Int64Array::from_iter_values((0..rows).map(time))),
            blocks,
            stands_for: 80_000.0,
            is_whole: false,
            ends: [None, None],
        };
        let loaded = loaded([&start, &empty()], 0.5, Some(4));
        let shown = loaded.iter().map(|key| {
            let stays = key.rest / key.load;
            (key.example.1, key.load, (100.0 * stays).round() / 100.0)
        });
        shown.collect::<Vec<_>>()
    };
    let mixed = |row: i64| row * 7_919 % 1_009;
    let half = |row: i64| (mixed(row) % 2 == 0).then_some(row);
    let found = of(&half, &mixed);
    let [(_, load, stays)] = found[..] else {
        panic!("one key has half: {found:?}");
    };
    assert!((1.6..2.0).contains(&load), "{load}");
    assert!(
        stays < 0.3,
        "of its times a quarter is in each range: {stays}"
    );
    let by_key = |row: i64| (row >= 500).then_some(row);
    assert_eq!(of(&by_key, &mixed), [], "the first key of many");
    assert_eq!(of(&|_| None, &mixed), [], "it may be the first of many");
    for in_order in [|row: i64| row, |row: i64| -row] {
        let found = of(&half, &in_order);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].2, 1.0, "nothing is known of later times");
    }
}

/// The first rows of files, each of as many rows, by key and time.
fn starts(of: &[Vec<(&str, i64)>]) -> SampledSide {
    let rows: Vec<_> = of.concat();
    let each = 10_000.0 / rows.len() as f64;
    let mut blocks = vec![];
    for start in of {
        blocks.extend(blocks_of_start(start.len(), each));
    }
    SampledSide {
        keys: vec![Arc::new(StringArray::from_iter_values(
            rows.iter().map(|(key, _)| key),
        ))],
        time: Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|(_, time)| *time),
        )),
        blocks,
        stands_for: 10_000.0,
        is_whole: false,
        ends: [None, None],
    }
}

fn blocks_of_start(rows: usize, each: f64) -> Vec<SampledBlock> {
    let mut of_start = blocks(&[rows], rows as f64 * each);
    of_start[0].is_drawn = false;
    of_start
}

#[test]
fn each_of_several_starts_is_judged_by_itself() {
    let mixed = |row: i64| row * 7_919 % 1_009;
    let half = |row: i64| match mixed(row) % 2 {
        0 => "A",
        _ => "B",
    };
    let rows = |key: &dyn Fn(i64) -> &'static str, time: &dyn Fn(i64) -> i64| {
        let rows = (0..400).map(|row| (key(row), time(row)));
        rows.collect::<Vec<_>>()
    };
    let load_of = |side: &SampledSide, key: usize| {
        let found = loaded([side, &empty()], 0.1, Some(4));
        let found = found
            .iter()
            .find(|found| found.example.1 == key && found.load > 0.0);
        found.map(|found| (found.load, found.rest / found.load))
    };
    // All that one file begins with counts for nothing, and does not hide what is known of another.
    let side = starts(&[rows(&|_| "C", &mixed), rows(&half, &mixed)]);
    assert_eq!(load_of(&side, 0), None);
    let first = 400 + usize::from(half(0) != "A");
    let (load, _) = load_of(&side, first).expect("a quarter");
    assert!((0.7..1.0).contains(&load), "{load}");
    // Of a file in time order the times are not known, of the other they are.
    let side = starts(&[rows(&half, &|row| row), rows(&half, &mixed)]);
    let (load, stays) = load_of(&side, 0).expect("half");
    assert!((1.6..2.0).contains(&load), "{load}");
    assert!((0.5..0.6).contains(&stays), "{stays}");
}

#[test]
fn starts_of_few_rows_tell_something_too() {
    let of_file = |file: usize, shift: usize| {
        let mut keys = ["A", "A", "A", "B", "A"];
        keys.rotate_left(file * shift % 5);
        let times = (0..5).map(|row| (file as i64 * 5 + row) * 7_919 % 1_009);
        keys.into_iter().zip(times).collect::<Vec<_>>()
    };
    let hot = |shift: usize| {
        let files: Vec<_> = (0..64).map(|file| of_file(file, shift)).collect();
        loaded([&starts(&files), &empty()], 1.0, Some(4)).len()
    };
    assert_eq!([0, 1].map(hot), [0, 1], "if always at one place, in turns");
}
