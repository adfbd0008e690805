//! The definition of the as-of join, as a loop over every pair of rows.
//!
//! Nothing here is clever, and nothing here is shared with the library: plain values, exact numbers, no arrow compute, no plans.
//! Everything else is held against it.

use std::cmp::Ordering;

use datafusion::arrow::datatypes::{DataType, TimeUnit, i256};

use crate::value::Value;

/// `left op right`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    GtEq,
    Gt,
    LtEq,
    Lt,
}

impl Op {
    pub const ALL: [Op; 4] = [Op::GtEq, Op::Gt, Op::LtEq, Op::Lt];

    fn holds(self, left_to_right: Ordering) -> bool {
        match self {
            Op::GtEq => left_to_right.is_ge(),
            Op::Gt => left_to_right.is_gt(),
            Op::LtEq => left_to_right.is_le(),
            Op::Lt => left_to_right.is_lt(),
        }
    }

    /// Whether the chosen row lies before the left row.
    pub fn is_backward(self) -> bool {
        matches!(self, Op::GtEq | Op::Gt)
    }

    pub fn sql(self) -> &'static str {
        match self {
            Op::GtEq => ">=",
            Op::Gt => ">",
            Op::LtEq => "<=",
            Op::Lt => "<",
        }
    }
}

/// An as-of value on a scale that both sides share.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// NULL.
    Never,
    /// Nanoseconds for times and dates; 10^-38 for integers, booleans and decimals.
    Exact(i256),
    Float(f64),
    Bytes(Vec<u8>),
}

/// A tolerance, on the scale of [`Moment`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Span {
    Exact(i256),
    Float(f64),
}

/// What the definition sees of a row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its place in the input, which is also the order that decides ties.
    pub place: usize,
    pub keys: Vec<Value>,
    pub time: Moment,
}

/// For each left row, the place of the right row that the join attaches to it.
pub(crate) fn asof_join(
    left: &[Row],
    right: &[Row],
    op: Op,
    tolerance: Option<Span>,
) -> Vec<Option<usize>> {
    left.iter()
        .map(|l| {
            let mut chosen: Option<&Row> = None;
            for r in right {
                if !is_candidate(l, r, op, tolerance) {
                    continue;
                }
                let better = match chosen {
                    None => true,
                    // Backward wants the latest row, and of equally late ones the last; forward the earliest, and the first.
                    Some(best) => match compare(&r.time, &best.time) {
                        Some(Ordering::Greater) => op.is_backward(),
                        Some(Ordering::Less) => !op.is_backward(),
                        Some(Ordering::Equal) => op.is_backward(),
                        None => unreachable!("a candidate's time can be compared"),
                    },
                };
                if better {
                    chosen = Some(r);
                }
            }
            chosen.map(|row| row.place)
        })
        .collect()
}

/// How many left rows found a match, and why the others did not; the first cause that holds counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Causes {
    pub matched: usize,
    pub null_key: usize,
    pub null_time: usize,
    /// No right row that has a time has the key.
    pub no_such_key: usize,
    pub wrong_side: usize,
    pub beyond_tolerance: usize,
}

pub(crate) fn causes(left: &[Row], right: &[Row], op: Op, tolerance: Option<Span>) -> Causes {
    let mut causes = Causes::default();
    for l in left {
        let same_key = || right.iter().filter(|r| keys_equal(l, r) && has_time(r));
        let mut on_side = same_key().filter(|r| is_candidate(l, r, op, None));
        let count = if l.keys.iter().any(Value::is_null) {
            &mut causes.null_key
        } else if !has_time(l) {
            &mut causes.null_time
        } else if same_key().next().is_none() {
            &mut causes.no_such_key
        } else if same_key().any(|r| is_candidate(l, r, op, tolerance)) {
            &mut causes.matched
        } else if on_side.next().is_none() {
            &mut causes.wrong_side
        } else {
            &mut causes.beyond_tolerance
        };
        *count += 1;
    }
    causes
}

fn has_time(row: &Row) -> bool {
    compare(&row.time, &row.time).is_some()
}

fn is_candidate(l: &Row, r: &Row, op: Op, tolerance: Option<Span>) -> bool {
    keys_equal(l, r)
        && compare(&l.time, &r.time).is_some_and(|order| op.holds(order))
        && tolerance.is_none_or(|span| within(&l.time, &r.time, span))
}

fn keys_equal(l: &Row, r: &Row) -> bool {
    l.keys.iter().zip(&r.keys).all(|(l, r)| key_equal(l, r))
}

/// `=` of SQL, where NaN equals NaN and `-0.0` equals `0.0`.
fn key_equal(l: &Value, r: &Value) -> bool {
    match (l, r) {
        (Value::Int(l), Value::Int(r)) => l == r,
        (Value::Float(l), Value::Float(r)) => l == r || (l.is_nan() && r.is_nan()),
        (Value::Bytes(l), Value::Bytes(r)) => l == r,
        (Value::Null, _) | (_, Value::Null) => false,
        (l, r) => panic!("the keys {l:?} and {r:?} are of different types"),
    }
}

/// The order of two as-of values; none if either is NULL or NaN.
fn compare(l: &Moment, r: &Moment) -> Option<Ordering> {
    match (l, r) {
        (Moment::Never, _) | (_, Moment::Never) => None,
        (Moment::Exact(l), Moment::Exact(r)) => Some(l.cmp(r)),
        (Moment::Float(l), Moment::Float(r)) => l.partial_cmp(r),
        (Moment::Bytes(l), Moment::Bytes(r)) => Some(l.cmp(r)),
        (Moment::Exact(l), Moment::Float(r)) => compare_with_float(whole(*l), *r),
        (Moment::Float(l), Moment::Exact(r)) => {
            compare_with_float(whole(*r), *l).map(Ordering::reverse)
        }
        (l, r) => panic!("{l:?} and {r:?} cannot be compared"),
    }
}

/// An integer against a float, without rounding the integer.
fn compare_with_float(int: i128, float: f64) -> Option<Ordering> {
    const TWO_TO_127: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    if float.is_nan() {
        None
    } else if float >= TWO_TO_127 {
        Some(Ordering::Less)
    } else if float < -TWO_TO_127 {
        Some(Ordering::Greater)
    } else {
        let floor = float.floor();
        let fraction = if float > floor {
            Ordering::Less
        } else {
            Ordering::Equal
        };
        Some(int.cmp(&(floor as i128)).then(fraction))
    }
}

/// Whether two as-of values, already known to be in the right order, are no further apart than the span.
fn within(l: &Moment, r: &Moment, span: Span) -> bool {
    if compare(l, r) == Some(Ordering::Equal) {
        return true; // also of two infinities, whose difference is NaN
    }
    match (l, r, span) {
        (Moment::Exact(l), Moment::Exact(r), Span::Exact(span)) => {
            let (late, early) = if l > r { (l, r) } else { (r, l) };
            late.checked_sub(*early).expect("moments stay below 10^76") <= span
        }
        (Moment::Float(l), Moment::Float(r), Span::Float(span)) => (l - r).abs() <= span,
        (Moment::Exact(int), Moment::Float(float), Span::Float(span))
        | (Moment::Float(float), Moment::Exact(int), Span::Float(span)) => {
            let int = whole(*int);
            if float.fract() == 0.0 && float.abs() < 2f64.powi(100) {
                int.abs_diff(*float as i128) <= span as u128
            } else {
                (int as f64 - float).abs() <= span
            }
        }
        other => panic!("no tolerance is defined for {other:?}"),
    }
}

/// The value on the scale that every type comparable with its own shares.
pub(crate) fn moment(value: &Value, data_type: &DataType) -> Moment {
    match value {
        Value::Null => Moment::Never,
        Value::Float(float) => Moment::Float(*float),
        Value::Bytes(bytes) => Moment::Bytes(bytes.clone()),
        Value::Int(int) => Moment::Exact(on_scale(*int, data_type)),
    }
}

/// `int`, which counts units of the type, in nanoseconds or in 10^-38.
pub(crate) fn on_scale(int: i128, data_type: &DataType) -> i256 {
    let unit = match data_type {
        DataType::Date32 => i256::from_i128(86_400_000_000_000),
        DataType::Date64 => i256::from_i128(1_000_000),
        DataType::Timestamp(unit, _)
        | DataType::Time32(unit)
        | DataType::Time64(unit)
        | DataType::Duration(unit) => i256::from_i128(nanoseconds(*unit)),
        DataType::Decimal128(_, scale) => ten_to(38 - *scale as u32),
        _ => ten_to(38),
    };
    i256::from_i128(int)
        .checked_mul(unit)
        .expect("moments stay below 10^76")
}

pub(crate) fn nanoseconds(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn ten_to(exponent: u32) -> i256 {
    i256::from_i128(10)
        .checked_pow(exponent)
        .expect("10^76 fits")
}

/// The integer that [`on_scale`] put on the scale.
fn whole(exact: i256) -> i128 {
    exact
        .checked_div(ten_to(38))
        .and_then(i256::to_i128)
        .expect("it was an integer")
}

mod tests {
    use super::*;

    fn rows(times: &[i128]) -> Vec<Row> {
        let row = |(place, &time): (usize, &i128)| Row {
            place,
            keys: vec![Value::Int(1)],
            time: moment(&Value::Int(time), &DataType::Int64),
        };
        times.iter().enumerate().map(row).collect()
    }

    #[test]
    fn the_definition_by_example() {
        let left = rows(&[10, 4]);
        let right = rows(&[3, 9, 9, 10, 12, 12]);
        assert_eq!(asof_join(&left, &right, Op::GtEq, None), [Some(3), Some(0)]);
        assert_eq!(asof_join(&left, &right, Op::Gt, None), [Some(2), Some(0)]);
        assert_eq!(asof_join(&left, &right, Op::LtEq, None), [Some(3), Some(1)]);
        assert_eq!(asof_join(&left, &right, Op::Lt, None), [Some(4), Some(1)]);
        let one = Some(Span::Exact(on_scale(1, &DataType::Int64)));
        assert_eq!(asof_join(&left, &right, Op::Gt, one), [Some(2), Some(0)]);
        assert_eq!(asof_join(&left, &right, Op::Lt, one), [None, None]);
        let zero = Some(Span::Exact(i256::ZERO));
        assert_eq!(asof_join(&left, &right, Op::GtEq, zero), [Some(3), None]);
        assert_eq!(asof_join(&left, &right, Op::Gt, zero), [None, None]);
    }

    #[test]
    fn nulls_and_nan_never_match_in_time_and_nan_matches_as_a_key() {
        let mut left = rows(&[10]);
        let mut right = rows(&[10]);
        left[0].time = Moment::Never;
        assert_eq!(asof_join(&left, &right, Op::GtEq, None), [None]);
        left[0].time = Moment::Float(f64::NAN);
        right[0].time = Moment::Float(f64::NAN);
        assert_eq!(asof_join(&left, &right, Op::GtEq, None), [None]);
        left[0].time = Moment::Float(-0.0);
        right[0].time = Moment::Float(0.0);
        assert_eq!(asof_join(&left, &right, Op::GtEq, None), [Some(0)]);
        assert_eq!(asof_join(&left, &right, Op::Gt, None), [None]);
        (left[0].keys[0], right[0].keys[0]) = (Value::Float(f64::NAN), Value::Float(f64::NAN));
        assert_eq!(asof_join(&left, &right, Op::GtEq, None), [Some(0)]);
        (left[0].keys[0], right[0].keys[0]) = (Value::Null, Value::Null);
        assert_eq!(asof_join(&left, &right, Op::GtEq, None), [None]);
    }

    #[test]
    fn units_and_kinds_of_number_compare_exactly() {
        let second = |n| moment(&Value::Int(n), &DataType::Timestamp(TimeUnit::Second, None));
        let nano = |n| {
            moment(
                &Value::Int(n),
                &DataType::Timestamp(TimeUnit::Nanosecond, None),
            )
        };
        assert_eq!(
            compare(&second(1), &nano(1_000_000_001)),
            Some(Ordering::Less)
        );
        assert_eq!(
            compare(&second(253_402_300_799), &nano(i64::MAX.into())),
            Some(Ordering::Greater)
        );
        let int = |n| moment(&Value::Int(n), &DataType::Int64);
        assert_eq!(
            compare(&int((1 << 53) + 1), &Moment::Float(2f64.powi(53))),
            Some(Ordering::Greater)
        );
        assert_eq!(
            compare(&int(i64::MAX.into()), &Moment::Float(2f64.powi(63))),
            Some(Ordering::Less)
        );
        assert_eq!(
            compare(&Moment::Float(-0.5), &int(-1)),
            Some(Ordering::Greater)
        );
        let decimal = |n, scale| moment(&Value::Int(n), &DataType::Decimal128(38, scale));
        assert_eq!(
            compare(&decimal(10, 1), &decimal(100, 2)),
            Some(Ordering::Equal)
        );
        assert_eq!(
            compare(&decimal(10i128.pow(38) - 1, 0), &decimal(1, 38)),
            Some(Ordering::Greater)
        );
    }
}
