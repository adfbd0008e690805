//! Conversion of constants, and distances at the limits.

use std::sync::Arc;

use super::*;
use datafusion::arrow::array::{
    Decimal128Array, DurationMillisecondArray, Float64Array, Int64Array, IntervalMonthDayNanoArray,
    StringArray,
};
use datafusion::arrow::datatypes::IntervalMonthDayNano;

fn nanos_domain() -> TimeDomain {
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    TimeDomain::try_new(&nanos, &nanos).expect("domain")
}

fn interval(months: i32, days: i32, nanos: i64) -> ArrayRef {
    let interval = IntervalMonthDayNano::new(months, days, nanos);
    Arc::new(IntervalMonthDayNanoArray::from(vec![interval]))
}

#[test]
fn spans_become_steps() {
    let domain = nanos_domain();
    let steps = |constant: ArrayRef| Tolerance::try_new(&domain, &constant).expect("fits");
    assert_eq!(
        steps(interval(0, 1, 5)),
        Tolerance::Steps(86_400_000_000_005)
    );
    assert_eq!(
        steps(Arc::new(DurationMillisecondArray::from(vec![3]))),
        Tolerance::Steps(3_000_000)
    );
    assert_eq!(
        steps(Arc::new(StringArray::from(vec!["2 seconds"]))),
        Tolerance::Steps(2_000_000_000)
    );
    assert_eq!(
        steps(Arc::new(Int64Array::from(vec![7]))),
        Tolerance::Steps(7)
    );
}

#[test]
fn what_is_no_distance_is_refused() {
    let domain = nanos_domain();
    let refused = |constant: ArrayRef, why: &str| {
        let error = Tolerance::try_new(&domain, &constant).expect_err("refused");
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(interval(1, 0, 0), "fixed length");
    refused(interval(0, -1, 0), "negative");
    refused(Arc::new(Int64Array::from(vec![-7])), "negative");
    refused(Arc::new(Int64Array::from(vec![None])), "NULL");
    refused(Arc::new(StringArray::from(vec!["soon"])), "interval");
}

#[test]
fn a_written_tenth_is_a_tenth() {
    let decimals = DataType::Decimal128(10, 2);
    let domain = TimeDomain::try_new(&decimals, &decimals).expect("domain");
    let steps = |constant: ArrayRef| Tolerance::try_new(&domain, &constant).expect("fits");
    assert_eq!(
        steps(Arc::new(Float64Array::from(vec![0.1]))),
        Tolerance::Steps(10)
    );
    assert_eq!(
        steps(Arc::new(Float64Array::from(vec![1e300]))),
        Tolerance::Steps(u128::MAX)
    );
    assert_eq!(
        steps(Arc::new(Float64Array::from(vec![f64::INFINITY]))),
        Tolerance::Steps(u128::MAX)
    );
    let fine = Decimal128Array::from(vec![12_345])
        .with_precision_and_scale(10, 4)
        .expect("decimal");
    assert_eq!(steps(Arc::new(fine)), Tolerance::Steps(123));
}

#[test]
fn distances_do_not_overflow() {
    let limit = Tolerance::Steps(u128::from(u64::MAX));
    assert!(limit.allows(i128::from(i64::MAX), i128::from(i64::MIN)));
    assert!(
        !Tolerance::Steps(u128::from(u64::MAX) - 1)
            .allows(i128::from(i64::MAX), i128::from(i64::MIN))
    );
    assert!(!limit.allows(i128::MAX, i128::MIN));
}
