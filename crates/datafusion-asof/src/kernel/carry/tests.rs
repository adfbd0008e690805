//! What is carried, of rows few enough to see.

use std::sync::Arc;

use datafusion::arrow::array::Int64Array;

use super::*;
use crate::kernel::domain::TimeDomain;
use crate::kernel::time_cut::TimeCutSpec;
use crate::spec::Side;

/// Ranges before 10, 20 and 30, and from there on, in as many slots.
fn cut(slots: u32) -> TimeCut {
    let spec = TimeCutSpec {
        key_types: &[],
        keys: &[],
        cuts: vec![[10, 20, 30].map(Place::Number).to_vec()],
        slots,
        dealt: vec![],
    };
    TimeCut::try_new(spec).expect("a valid cut")
}

fn spec(op: MatchOp) -> CarrySpec<'static> {
    CarrySpec {
        op,
        tolerance: None,
        ties: &[],
        classes: 1,
    }
}

struct Rows<'a> {
    times: &'a [i64],
    ties: &'a [i64],
    places: &'a [u64],
    valid: Option<&'a [bool]>,
}

fn rows(times: &[i64]) -> Rows<'_> {
    Rows {
        times,
        ties: &[],
        places: &[0, 1, 2, 3, 4, 5, 6, 7],
        valid: None,
    }
}

fn note(carry: &mut Carry, rows: &Rows<'_>, number: u32) -> Vec<u32> {
    let domain = TimeDomain::try_new(&DataType::Int64, &DataType::Int64).expect("one type");
    let column = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let times = domain
        .times(Side::Right, &column(rows.times))
        .expect("times of the type");
    let ranges: Vec<u32> = rows.times.iter().map(|time| (*time / 10) as u32).collect();
    let validity = rows
        .valid
        .map(|valid| Some(NullBuffer::from(valid.to_vec())));
    let batch = CarryBatch {
        ranges: &ranges,
        times: &times,
        ties: &[column(rows.ties)],
        places: rows.places,
        validity: validity.as_slice(),
    };
    carry.note(&batch, number).expect("a valid batch")
}

/// What is carried of one batch: the time of a row and the slot it is sent to.
fn carried(spec: &CarrySpec<'_>, cut: &TimeCut, batch: &Rows<'_>) -> Vec<(i64, u32)> {
    let mut carry = Carry::try_new(spec, cut).expect("a valid specification");
    let kept = note(&mut carry, batch, 0);
    let time = |row: RowId| batch.times[kept[row.row as usize] as usize];
    let carried = carry.carried(cut).into_iter();
    carried
        .map(|carried| (time(carried.row), carried.slot))
        .collect()
}

#[test]
fn each_range_gets_the_last_row_before_it() {
    let batch = rows(&[11, 3, 5, 31, 4]);
    let sent = carried(&spec(MatchOp::GtEq), &cut(4), &batch);
    assert_eq!(
        sent,
        [(5, 1), (11, 2), (11, 3)],
        "also where the range has rows of its own"
    );
}

#[test]
fn looking_forward_each_range_gets_the_first_row_behind_it() {
    let batch = rows(&[11, 3, 12, 35, 31]);
    let sent = carried(&spec(MatchOp::Lt), &cut(4), &batch);
    assert_eq!(sent, [(11, 0), (31, 1), (31, 2)]);
}

#[test]
fn nearest_looks_both_ways() {
    let sent = carried(&spec(MatchOp::Nearest), &cut(4), &rows(&[15, 35]));
    assert_eq!(sent, [(15, 0), (35, 1), (15, 2), (35, 2), (15, 3)]);
}

#[test]
fn within_the_tolerance_of_the_edge() {
    let within = |op, steps| {
        let mut spec = spec(op);
        spec.tolerance = Some(Tolerance::Steps(steps));
        carried(&spec, &cut(4), &rows(&[5, 35]))
    };
    assert_eq!(within(MatchOp::GtEq, 4), []);
    assert_eq!(within(MatchOp::GtEq, 5), [(5, 1)]);
    assert_eq!(within(MatchOp::GtEq, 15), [(5, 1), (5, 2)]);
    assert_eq!(within(MatchOp::LtEq, 15), [(35, 1), (35, 2)]);
}

#[test]
fn a_row_is_not_sent_where_it_is() {
    let batch = rows(&[5]);
    assert_eq!(carried(&spec(MatchOp::GtEq), &cut(1), &batch), []);
    assert_eq!(
        carried(&spec(MatchOp::GtEq), &cut(2), &batch),
        [(5, 1)],
        "once, though two ranges of the slot want it"
    );
}

#[test]
fn equal_times() {
    let batch = Rows {
        times: &[5, 5, 5],
        ties: &[],
        places: &[7, 9, 8],
        valid: None,
    };
    let place = |op| {
        let mut carry = Carry::try_new(&spec(op), &cut(4)).expect("a valid specification");
        batch.places[note(&mut carry, &batch, 0)[0] as usize]
    };
    assert_eq!(place(MatchOp::GtEq), 9, "the last of the input");
    assert_eq!(place(MatchOp::Nearest), 9);
    assert_eq!(place(MatchOp::LtEq), 7, "the first of the input");
}

#[test]
fn equal_times_by_their_ties() {
    let ties = [(DataType::Int64, SortOptions::new(true, false))];
    let spec = CarrySpec {
        ties: &ties,
        ..spec(MatchOp::GtEq)
    };
    let mut carry = Carry::try_new(&spec, &cut(4)).expect("a valid specification");
    let tied = |ties, places| Rows {
        times: &[5, 5],
        ties,
        places,
        valid: None,
    };
    assert_eq!(
        note(&mut carry, &tied(&[3, 1], &[0, 1]), 0),
        [0],
        "the first by TIES BY"
    );
    assert_eq!(
        note(&mut carry, &tied(&[3, 2], &[2, 3]), 1),
        [0],
        "then the last of the input"
    );
    assert!(note(&mut carry, &tied(&[3, 2], &[1, 4]), 2).is_empty());
}

#[test]
fn each_class_has_its_own_last_row() {
    let spec = CarrySpec {
        classes: 2,
        ..spec(MatchOp::GtEq)
    };
    let batch = Rows {
        valid: Some(&[true, false, true, false]),
        ..rows(&[3, 5, 13, 25])
    };
    let sent = carried(&spec, &cut(4), &batch);
    assert_eq!(sent, [(3, 1), (5, 1), (13, 2), (13, 3), (25, 3)]);
}

#[test]
fn later_batches_take_the_place_of_earlier_ones() {
    let cut = cut(4);
    let mut carry = Carry::try_new(&spec(MatchOp::GtEq), &cut).expect("a valid specification");
    assert_eq!(note(&mut carry, &rows(&[5, 1, 12, 4]), 0), [0, 2]);
    assert_eq!(note(&mut carry, &rows(&[2, 3]), 1), [0u32; 0]);
    assert_eq!(note(&mut carry, &rows(&[2, 14, 9]), 1), [1, 2]);
    let row = |batch, row| RowId { batch, row };
    assert_eq!(carry.live(), [row(1, 0), row(1, 1)]);
    let live = carry.live();
    carry.gathered(&live, 7);
    let sent = |slot, row| Carried { slot, row };
    assert_eq!(
        carry.carried(&cut),
        [sent(1, row(7, 1)), sent(2, row(7, 0)), sent(3, row(7, 0))]
    );
}
