//! The line is exact where casts are not.

use super::*;
use datafusion::arrow::array::{Int64Array, TimestampMicrosecondArray, TimestampNanosecondArray};

fn wide(domain: &TimeDomain, side: Side, array: impl Array + 'static) -> Vec<i128> {
    match domain
        .times(side, &(Arc::new(array) as ArrayRef))
        .expect("times")
        .values
    {
        TimeValues::I64(values) => values.iter().map(|v| i128::from(*v)).collect(),
        TimeValues::I128(values) => values,
        TimeValues::Rows(_) => panic!("no number"),
    }
}

#[test]
fn float_keys_keep_order_and_come_back() {
    let ordered = [
        f64::NEG_INFINITY,
        f64::MIN,
        -1.0,
        -f64::MIN_POSITIVE,
        0.0,
        1e-300,
        1.0,
        f64::INFINITY,
    ];
    for pair in ordered.windows(2) {
        assert!(float_key(pair[0]) < float_key(pair[1]), "{pair:?}");
    }
    for x in ordered {
        assert_eq!(float_of_key(float_key(x)), x);
    }
    assert_eq!(float_key(-0.0), float_key(0.0));
}

#[test]
fn integers_lie_exactly_among_floats() {
    let domain = TimeDomain::try_new(&DataType::Int64, &DataType::Float64).expect("domain");
    let two53 = 1i64 << 53;
    let integers = wide(
        &domain,
        Side::Left,
        Int64Array::from(vec![
            two53,
            two53 + 1,
            two53 + 2,
            i64::MAX,
            i64::MIN,
            -two53 - 1,
        ]),
    );
    let floats = wide(
        &domain,
        Side::Right,
        Float64Array::from(vec![
            9007199254740992.0,
            9007199254740994.0,
            9223372036854775808.0,
            -9223372036854775808.0,
            -9007199254740992.0,
        ]),
    );
    assert_eq!(integers[0], floats[0]);
    assert!(integers[0] < integers[1] && integers[1] < floats[1]);
    assert_eq!(integers[2], floats[1]);
    assert!(integers[3] < floats[2]);
    assert_eq!(integers[4], floats[3]);
    assert!(integers[5] < floats[4]);
}

#[test]
fn the_year_9999_in_microseconds_is_after_every_nanosecond() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let domain = TimeDomain::try_new(&micros, &nanos).expect("domain");
    let late = wide(
        &domain,
        Side::Left,
        TimestampMicrosecondArray::from(vec![253402300799000000]),
    );
    let last = wide(
        &domain,
        Side::Right,
        TimestampNanosecondArray::from(vec![i64::MAX]),
    );
    assert!(late[0] > last[0]);
}

#[test]
fn types_without_a_common_line_are_refused_by_name() {
    let error = TimeDomain::try_new(&DataType::Utf8, &DataType::Int64).expect_err("refused");
    let message = error.to_string();
    assert!(
        message.contains("Utf8") && message.contains("Int64"),
        "{message}"
    );
}
