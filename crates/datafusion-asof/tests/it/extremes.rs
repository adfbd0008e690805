//! The values at which arithmetic goes wrong, all against all: every pair of as-of types, operator and tolerance.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::runtime::SpawnedTask;
use futures::future::join_all;

use crate::case::Case;
use crate::engine::{STRATEGIES, Setup, check};
use crate::oracle::Op;
use crate::table::{Column, Table};
use crate::types::{Family, UNITS, extreme_times, family, tolerances};
use crate::value::Value;

/// Pairs of as-of types that can be compared, each in both directions.
fn type_pairs() -> Vec<(DataType, DataType)> {
    use DataType::{
        Binary, Boolean, Date32, Date64, Decimal128, Duration, FixedSizeBinary, Float32, Float64,
        Int8, Int16, Int32, Int64, Time32, Time64, Timestamp, UInt8, UInt16, UInt32, UInt64, Utf8,
        Utf8View,
    };
    let naive = UNITS.map(|unit| Timestamp(unit, None));
    let zoned = UNITS.map(|unit| Timestamp(unit, Some("+02:00".into())));
    let groups = [
        [naive.to_vec(), vec![Date32, Date64]].concat(),
        zoned.to_vec(),
        vec![
            Time32(TimeUnit::Second),
            Time32(TimeUnit::Millisecond),
            Time64(TimeUnit::Microsecond),
            Time64(TimeUnit::Nanosecond),
        ],
        UNITS.map(Duration).to_vec(),
        vec![
            Int8,
            Int16,
            Int32,
            Int64,
            UInt8,
            UInt16,
            UInt32,
            UInt64,
            Decimal128(3, 1),
            Decimal128(18, 4),
        ],
        vec![Decimal128(38, 0)],
        vec![Decimal128(38, 10)],
        vec![Float32, Float64],
        vec![Utf8],
        vec![Utf8View],
        vec![Binary],
        vec![FixedSizeBinary(2)],
        vec![Boolean],
    ];
    let mut pairs: Vec<_> = (groups.iter())
        .flat_map(|group| {
            group
                .iter()
                .flat_map(|l| group.iter().map(|r| (l.clone(), r.clone())))
        })
        .collect();
    for integer in [Int8, Int32, Int64, UInt32, UInt64] {
        for float in [Float32, Float64] {
            pairs.push((integer.clone(), float.clone()));
            pairs.push((float, integer.clone()));
        }
    }
    pairs
}

/// Each value twice and a NULL, in an order that is not that of time.
fn table(own: &DataType, other: &DataType) -> Table {
    let mut values = extreme_times(own, other);
    values.push(Value::Null);
    values.extend(values.clone());
    let shuffled: Vec<Value> = (0..values.len())
        .map(|place| values[place * 7919 % values.len()].clone())
        .collect();
    let rows = shuffled.len();
    let column = |name: &str, data_type: &DataType, nullable, values| Column {
        name: name.to_string(),
        data_type: data_type.clone(),
        nullable,
        values,
    };
    Table {
        columns: vec![
            column(
                "id",
                &DataType::Int32,
                false,
                (0..rows).map(|row| Value::Int(row as i128)).collect(),
            ),
            column("t", own, true, shuffled),
        ],
        id: 0,
        keys: vec![],
        time: 1,
        extra: 0,
        cuts: vec![vec![rows / 3, rows - rows / 3]],
        order: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extremes() {
    let checks = type_pairs()
        .into_iter()
        .map(|(left, right)| SpawnedTask::spawn(pair(left, right)));
    let mut failures = vec![];
    let mut cases = 0;
    for outcome in join_all(checks).await {
        let (tried, failed) = outcome.expect("no panic");
        cases += tried;
        failures.extend(failed);
    }
    println!("{cases} joins of extreme values");
    assert!(
        failures.is_empty(),
        "{} of {cases} fail; the first:\n{}",
        failures.len(),
        failures
            .iter()
            .take(5)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

async fn pair(left: DataType, right: DataType) -> (usize, Vec<String>) {
    let mut tolerances: Vec<_> = tolerances(&left, &right).into_iter().map(Some).collect();
    tolerances.push(None);
    let (mut tried, mut failures) = (0, vec![]);
    for tolerance in tolerances {
        for op in Op::ALL {
            if op == Op::Nearest && family(&left, &right) == Family::OrderOnly {
                continue;
            }
            let mut case = Case::plain(table(&left, &right), table(&right, &left), op);
            case.tolerance = tolerance.clone();
            let expected = case.expected();
            for strategy in STRATEGIES {
                let setup = Setup {
                    strategy,
                    target_partitions: 2,
                    batch_size: 8192,
                    keep_order: false,
                    twice: false,
                    sent: true,
                };
                tried += 1;
                if let Err(message) = check(&case, &expected, setup).await {
                    let tolerance = tolerance.as_ref().map(|tolerance| &tolerance.scalar);
                    failures.push(format!(
                        "{}, tolerance {tolerance:?}, {strategy:?}: {message}",
                        op.sql(&left.to_string(), &right.to_string())
                    ));
                }
            }
        }
    }
    (tried, failures)
}
