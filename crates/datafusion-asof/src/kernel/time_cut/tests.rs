//! Ranges and slots, row by row.

use std::sync::Arc;

use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;

use super::*;
use crate::kernel::domain::TimeDomain;
use crate::spec::Side;

fn numbers(cuts: &[i128]) -> Vec<Place> {
    cuts.iter().map(|cut| Place::Number(*cut)).collect()
}

fn key_types() -> [KeyType; 1] {
    [KeyType {
        data_type: DataType::Utf8,
        null_equals_null: false,
    }]
}

fn cut(keys: &[Option<&str>], cuts: Vec<Vec<Place>>, slots: u32) -> TimeCut {
    let keys: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
    let spec = TimeCutSpec {
        key_types: &key_types(),
        keys: &[keys],
        cuts,
        slots,
        dealt: vec![],
    };
    TimeCut::try_new(spec).expect("a valid cut")
}

fn spread(cut: &TimeCut, rows: &[(Option<&str>, Option<i64>, u64)]) -> Vec<(u32, u32)> {
    let keys: StringArray = rows.iter().map(|row| row.0).collect();
    let times: Int64Array = rows.iter().map(|row| row.1).collect();
    let hashes: Vec<u64> = rows.iter().map(|row| row.2).collect();
    let domain = TimeDomain::try_new(&DataType::Int64, &DataType::Int64).expect("one type");
    let times: ArrayRef = Arc::new(times);
    let ordinals = cut.ordinals(&[Arc::new(keys)], rows.len());
    let spread = cut.spread(&SpreadBatch {
        ordinals: &ordinals.expect("keys of the type"),
        times: &domain
            .times(Side::Right, &times)
            .expect("times of the type"),
        hashes: &hashes,
    });
    spread.ranges.into_iter().zip(spread.slots).collect()
}

#[test]
fn a_range_begins_at_its_cut() {
    let cut = cut(&[Some("A")], vec![numbers(&[20, 10, 20])], 2);
    let at = |time| (Some("A"), time, 99);
    let rows = [
        at(Some(9)),
        at(Some(10)),
        at(Some(19)),
        at(Some(20)),
        at(Some(i64::MAX)),
    ];
    assert_eq!(cut.ranges(), 3);
    assert_eq!(
        spread(&cut, &rows),
        [(0, 0), (1, 1), (1, 1), (2, 1), (2, 1)],
        "ranges are dealt to slots in turn, each turn from the next slot on"
    );
    assert_eq!(spread(&cut, &[at(None)]), [(0, 0)]);
}

#[test]
fn keys_that_are_not_cut_go_by_their_hash() {
    let cut = cut(&[Some("A")], vec![numbers(&[10])], 3);
    let rows = [(Some("B"), Some(50), 4), (None, Some(1), 5)];
    assert_eq!(spread(&cut, &rows), [(UNCUT, 1), (UNCUT, 2)]);
}

#[test]
fn ranges_of_all_keys_are_numbered_through() {
    let keys = [Some("A"), None, Some("B"), Some("A")];
    let cuts = vec![
        numbers(&[10]),
        numbers(&[1, 2, 3]),
        numbers(&[5]),
        numbers(&[]),
    ];
    let cut = cut(&keys, cuts, 16);
    let rows = [
        (Some("A"), Some(10), 0),
        (Some("B"), Some(4), 0),
        (Some("B"), Some(5), 0),
    ];
    assert_eq!(
        cut.ranges(),
        4,
        "a NULL and a repeated key count for nothing"
    );
    assert_eq!(spread(&cut, &rows), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn without_a_key_time_alone_is_cut() {
    let spec = TimeCutSpec {
        key_types: &[],
        keys: &[],
        cuts: vec![numbers(&[10])],
        slots: 2,
        dealt: vec![],
    };
    let cut = TimeCut::try_new(spec).expect("a valid cut");
    let domain = TimeDomain::try_new(&DataType::Float64, &DataType::Float64).expect("one type");
    let times: ArrayRef = Arc::new(Float64Array::from(vec![-1.0, f64::INFINITY, f64::NAN]));
    let spread = cut.spread(&SpreadBatch {
        ordinals: &cut.ordinals(&[], 3).expect("no keys"),
        times: &domain.times(Side::Left, &times).expect("times of the type"),
        hashes: &[0; 3],
    });
    assert_eq!(spread.ranges, [0, 1, 0]);
}

#[test]
fn some_slot_there_must_be() {
    let spec = TimeCutSpec {
        key_types: &[],
        keys: &[],
        cuts: vec![],
        slots: 0,
        dealt: vec![],
    };
    assert!(TimeCut::try_new(spec).is_err());
}

#[test]
fn each_slot_has_ranges_of_all_hours() {
    // Four days of four hours over four slots.
    let hours = (1..16).map(|hour| hour * 10).collect::<Vec<_>>();
    let cut = cut(&[Some("A")], vec![numbers(&hours)], 4);
    let mut of_slots = vec![vec![]; 4];
    for range in 0..16 {
        of_slots[cut.slot(range) as usize].push(range % 4);
    }
    for of_slot in &mut of_slots {
        of_slot.sort_unstable();
    }
    assert_eq!(of_slots, vec![vec![0, 1, 2, 3]; 4]);
}

#[test]
fn ranges_are_dealt_out_as_given() {
    let dealt = |dealt: &[u32]| {
        TimeCut::try_new(TimeCutSpec {
            key_types: &[],
            keys: &[],
            cuts: vec![numbers(&[10, 20])],
            slots: 2,
            dealt: dealt.to_vec(),
        })
    };
    let cut = dealt(&[1, 0, 0]).expect("a slot for each range");
    assert_eq!([0, 1, 2].map(|range| cut.slot(range)), [1, 0, 0]);
    assert!(dealt(&[1, 0]).is_err(), "a range has none");
    assert!(dealt(&[1, 0, 2]).is_err(), "there is no such slot");
}
