//! The definition of the as-of join, as a loop over every pair of rows.
//!
//! Nothing here is clever, and nothing here is shared with the library: plain values, exact numbers, no arrow compute, no plans.
//! Everything else is held against it.

use std::cmp::Ordering;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, TimeUnit, i256};
use num_bigint::BigInt;

use crate::table::sort_order;
use crate::value::Value;

/// `left op right`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    GtEq,
    Gt,
    LtEq,
    Lt,
    /// `nearest(left, right)`.
    Nearest,
}

impl Op {
    pub const ALL: [Op; 5] = [Op::GtEq, Op::Gt, Op::LtEq, Op::Lt, Op::Nearest];

    fn holds(self, left_to_right: Ordering) -> bool {
        match self {
            Op::GtEq => left_to_right.is_ge(),
            Op::Gt => left_to_right.is_gt(),
            Op::LtEq => left_to_right.is_le(),
            Op::Lt => left_to_right.is_lt(),
            Op::Nearest => true,
        }
    }

    /// Whether the chosen row lies before the left row.
    pub fn is_backward(self) -> bool {
        matches!(self, Op::GtEq | Op::Gt)
    }

    /// The condition on two as-of values.
    pub fn sql(self, left: &str, right: &str) -> String {
        let op = match self {
            Op::GtEq => ">=",
            Op::Gt => ">",
            Op::LtEq => "<=",
            Op::Lt => "<",
            Op::Nearest => return format!("nearest({left}, {right})"),
        };
        format!("{left} {op} {right}")
    }

    /// The operator when its operands change places.
    pub fn swapped(self) -> Op {
        match self {
            Op::GtEq => Op::LtEq,
            Op::Gt => Op::Lt,
            Op::LtEq => Op::GtEq,
            Op::Lt => Op::Gt,
            Op::Nearest => Op::Nearest,
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
    /// Its place in the input, which is also the order that decides ties in the end.
    pub place: usize,
    pub keys: Vec<Value>,
    pub time: Moment,
    /// The values of `TIES BY`.
    pub ties: Vec<Value>,
}

/// What is asked.
pub(crate) struct Question<'a> {
    pub op: Op,
    pub tolerance: Option<Span>,
    /// For each key whether NULL equals NULL.
    pub null_safe: &'a [bool],
    /// The order of [`Row::ties`].
    pub ties: &'a [SortOptions],
    /// Whether the other predicates of `ON` hold for a left and a right row, by their places.
    pub accepts: &'a dyn Fn(usize, usize) -> bool,
}

/// For each left row, the place of the right row that the join attaches to it. Only right rows that `counts` are candidates.
pub(crate) fn asof_join(
    left: &[Row],
    right: &[Row],
    question: &Question<'_>,
    counts: impl Fn(&Row) -> bool,
) -> Vec<Option<usize>> {
    left.iter()
        .map(|l| {
            let mut chosen: Option<&Row> = None;
            for r in right {
                if counts(r)
                    && is_candidate(l, r, question)
                    && (question.accepts)(l.place, r.place)
                    && chosen.is_none_or(|best| is_better(l, r, best, question))
                {
                    chosen = Some(r);
                }
            }
            chosen.map(|row| row.place)
        })
        .collect()
}

/// Whether a candidate is chosen over an earlier one of the input.
fn is_better(l: &Row, r: &Row, best: &Row, question: &Question<'_>) -> bool {
    let later = compare(&r.time, &best.time).expect("a candidate's time can be compared");
    let by_time = match question.op {
        Op::GtEq | Op::Gt => later,
        Op::LtEq | Op::Lt => later.reverse(),
        Op::Nearest => {
            let side =
                |r: &Row| compare(&r.time, &l.time).expect("a candidate's time can be compared");
            match (side(r), side(best)) {
                (Ordering::Greater, Ordering::Greater) => later.reverse(),
                // Less distance first; of two as near, the earlier.
                (Ordering::Greater, _) | (_, Ordering::Greater) => {
                    compare_distances(&l.time, &best.time, &r.time).then(later.reverse())
                }
                // On one side the order says which is nearer, even if both are infinitely far.
                _ => later,
            }
        }
    };
    let by_ties = question
        .ties
        .iter()
        .zip(r.ties.iter().zip(&best.ties))
        .fold(Ordering::Equal, |so_far, (options, (r, best))| {
            so_far.then_with(|| sort_order(best, r, *options))
        });
    match by_time.then(by_ties) {
        Ordering::Greater => true,
        Ordering::Less => false,
        // The last in the input, but for a forward join the first.
        Ordering::Equal => !matches!(question.op, Op::LtEq | Op::Lt),
    }
}

/// The order of the distances of two moments from a third.
fn compare_distances(from: &Moment, a: &Moment, b: &Moment) -> Ordering {
    match (distance(from, a), distance(from, b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// The exact distance; none if it is infinite.
fn distance(a: &Moment, b: &Moment) -> Option<BigInt> {
    if compare(a, b) == Some(Ordering::Equal) {
        return Some(BigInt::ZERO);
    }
    if let (Moment::Exact(a), Moment::Exact(b)) = (a, b) {
        let (late, early) = if a > b { (a, b) } else { (b, a) };
        let distance = late.checked_sub(*early).expect("moments stay below 10^76");
        return Some(BigInt::from_signed_bytes_be(&distance.to_be_bytes()));
    }
    let exact = |moment: &Moment| match moment {
        Moment::Exact(int) => Some(BigInt::from(whole(*int)) << SCALE),
        Moment::Float(float) => scaled(*float),
        other => panic!("{other:?} has no distance"),
    };
    let difference = exact(a)? - exact(b)?;
    Some(difference.magnitude().clone().into())
}

/// Every finite float is a whole multiple of 2^-SCALE.
const SCALE: u64 = 1_074;

fn scaled(float: f64) -> Option<BigInt> {
    if !float.is_finite() {
        return None;
    }
    let bits = float.to_bits();
    let exponent = (bits >> 52) & 0x7ff;
    let fraction = bits & ((1 << 52) - 1);
    let magnitude = match exponent {
        0 => BigInt::from(fraction),
        _ => BigInt::from(fraction | (1 << 52)) << (exponent - 1),
    };
    Some(if float < 0.0 { -magnitude } else { magnitude })
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

/// The causes of a question whose `accepts` is always true.
pub(crate) fn causes(left: &[Row], right: &[Row], question: &Question<'_>) -> Causes {
    let mut causes = Causes::default();
    let unlimited = Question {
        tolerance: None,
        ..*question
    };
    for l in left {
        let same_key = || {
            right
                .iter()
                .filter(|r| keys_equal(l, r, question.null_safe) && has_time(r))
        };
        let mut on_side = same_key().filter(|r| is_candidate(l, r, &unlimited));
        let nulls = l.keys.iter().zip(question.null_safe);
        let count = if nulls
            .into_iter()
            .any(|(key, null_safe)| key.is_null() && !null_safe)
        {
            &mut causes.null_key
        } else if !has_time(l) {
            &mut causes.null_time
        } else if same_key().next().is_none() {
            &mut causes.no_such_key
        } else if same_key().any(|r| is_candidate(l, r, question)) {
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

/// Whether keys, match condition and tolerance hold.
fn is_candidate(l: &Row, r: &Row, question: &Question<'_>) -> bool {
    keys_equal(l, r, question.null_safe)
        && compare(&l.time, &r.time).is_some_and(|order| question.op.holds(order))
        && (question.tolerance).is_none_or(|span| within(&l.time, &r.time, span))
}

fn keys_equal(l: &Row, r: &Row, null_safe: &[bool]) -> bool {
    let mut keys = l.keys.iter().zip(&r.keys).zip(null_safe);
    keys.all(|((l, r), null_safe)| match (l.is_null(), r.is_null()) {
        (true, true) => *null_safe,
        _ => key_equal(l, r),
    })
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
            ties: vec![],
        };
        times.iter().enumerate().map(row).collect()
    }

    fn join(left: &[Row], right: &[Row], op: Op, tolerance: Option<Span>) -> Vec<Option<usize>> {
        let question = Question {
            op,
            tolerance,
            null_safe: &[false],
            ties: &[],
            accepts: &|_, _| true,
        };
        asof_join(left, right, &question, |_| true)
    }

    #[test]
    fn the_definition_by_example() {
        let left = rows(&[10, 4]);
        let right = rows(&[3, 9, 9, 10, 12, 12]);
        assert_eq!(join(&left, &right, Op::GtEq, None), [Some(3), Some(0)]);
        assert_eq!(join(&left, &right, Op::Gt, None), [Some(2), Some(0)]);
        assert_eq!(join(&left, &right, Op::LtEq, None), [Some(3), Some(1)]);
        assert_eq!(join(&left, &right, Op::Lt, None), [Some(4), Some(1)]);
        let one = Some(Span::Exact(on_scale(1, &DataType::Int64)));
        assert_eq!(join(&left, &right, Op::Gt, one), [Some(2), Some(0)]);
        assert_eq!(join(&left, &right, Op::Lt, one), [None, None]);
        let zero = Some(Span::Exact(i256::ZERO));
        assert_eq!(join(&left, &right, Op::GtEq, zero), [Some(3), None]);
        assert_eq!(join(&left, &right, Op::Gt, zero), [None, None]);
    }

    #[test]
    fn nulls_and_nan_never_match_in_time_and_nan_matches_as_a_key() {
        let mut left = rows(&[10]);
        let mut right = rows(&[10]);
        left[0].time = Moment::Never;
        assert_eq!(join(&left, &right, Op::GtEq, None), [None]);
        left[0].time = Moment::Float(f64::NAN);
        right[0].time = Moment::Float(f64::NAN);
        assert_eq!(join(&left, &right, Op::GtEq, None), [None]);
        left[0].time = Moment::Float(-0.0);
        right[0].time = Moment::Float(0.0);
        assert_eq!(join(&left, &right, Op::GtEq, None), [Some(0)]);
        assert_eq!(join(&left, &right, Op::Gt, None), [None]);
        (left[0].keys[0], right[0].keys[0]) = (Value::Float(f64::NAN), Value::Float(f64::NAN));
        assert_eq!(join(&left, &right, Op::GtEq, None), [Some(0)]);
        (left[0].keys[0], right[0].keys[0]) = (Value::Null, Value::Null);
        assert_eq!(join(&left, &right, Op::GtEq, None), [None]);
    }

    #[test]
    fn the_nearest_by_example() {
        let right = rows(&[3, 9, 9, 11, 12]);
        let left = rows(&[10, 6, 5, 100, 11]);
        let expected = [Some(2), Some(0), Some(0), Some(4), Some(3)];
        assert_eq!(join(&left, &right, Op::Nearest, None), expected);
        let float = |x: f64| Moment::Float(x);
        let order = |from, a, b| compare_distances(&float(from), &float(a), &float(b));
        assert_eq!(order(0.0, -f64::MAX, f64::MAX), Ordering::Equal);
        assert_eq!(order(1.0, -f64::MAX, f64::MAX), Ordering::Greater);
        assert_eq!(order(5e-324, 0.0, 1e-323), Ordering::Equal);
        assert_eq!(order(1e-17, -1.0, 1.0), Ordering::Greater);
        assert_eq!(order(0.0, f64::INFINITY, 1.0), Ordering::Greater);
    }

    #[test]
    fn ties_and_null_safe_keys_by_example() {
        let left = rows(&[10]);
        let mut right = rows(&[9, 9, 9]);
        for (row, tie) in right.iter_mut().zip([2, 1, 2]) {
            row.ties = vec![Value::Int(tie)];
        }
        let mut question = Question {
            op: Op::GtEq,
            tolerance: None,
            null_safe: &[true],
            ties: &[SortOptions::new(false, false)],
            accepts: &|_, _| true,
        };
        assert_eq!(asof_join(&left, &right, &question, |_| true), [Some(1)]);
        let descending = [SortOptions::new(true, false)];
        question.ties = &descending;
        assert_eq!(asof_join(&left, &right, &question, |_| true), [Some(2)]);
        right[0].keys = vec![Value::Null];
        let mut null = left.clone();
        null[0].keys = vec![Value::Null];
        assert_eq!(asof_join(&null, &right, &question, |_| true), [Some(0)]);
        question.accepts = &|_, r| r != 2;
        assert_eq!(asof_join(&left, &right, &question, |_| true), [Some(1)]);
        assert_eq!(
            asof_join(&left, &right, &question, |r| r.place == 2),
            [None]
        );
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
