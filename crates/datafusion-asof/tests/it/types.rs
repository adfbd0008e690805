//! Which types a column may have, and which values of them are worth trying.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::case::Tolerance;
use crate::oracle::nanoseconds;
use crate::value::Value;

/// The source of all choices of one case.
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// A number below the bound.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        among
            .choose(&mut self.0)
            .expect("there is something to pick")
    }
}

pub(crate) const UNITS: [TimeUnit; 4] = [
    TimeUnit::Second,
    TimeUnit::Millisecond,
    TimeUnit::Microsecond,
    TimeUnit::Nanosecond,
];

const INTEGERS: [DataType; 8] = [
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::UInt8,
    DataType::UInt16,
    DataType::UInt32,
    DataType::UInt64,
];

const ORDER_ONLY: [DataType; 7] = [
    DataType::Utf8,
    DataType::Utf8View,
    DataType::LargeUtf8,
    DataType::Binary,
    DataType::BinaryView,
    DataType::FixedSizeBinary(2),
    DataType::Boolean,
];

/// What kind of line two as-of columns lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Timestamps, dates, times of day, durations.
    Temporal,
    /// Integers and decimals.
    Exact,
    /// Floats, and floats against integers.
    Float,
    /// Ordered, but without distances.
    OrderOnly,
}

pub(crate) fn family(left: &DataType, right: &DataType) -> Family {
    if left.is_floating() || right.is_floating() {
        Family::Float
    } else if left.is_temporal() {
        Family::Temporal
    } else if left.is_numeric() {
        Family::Exact
    } else {
        Family::OrderOnly
    }
}

/// The types of the two as-of columns.
pub(crate) fn time_types(dice: &mut Dice) -> (DataType, DataType) {
    let same = dice.percent(50);
    let floats = [DataType::Float32, DataType::Float64];
    match dice.below(100) {
        0..35 => {
            let zoned = dice.percent(40);
            two(dice, same, |dice| {
                match dice.below(if zoned { 8 } else { 10 }) {
                    8 => DataType::Date32,
                    9 => DataType::Date64,
                    n => {
                        let zone = zoned.then(|| (*dice.pick(&["UTC", "+02:00"])).into());
                        DataType::Timestamp(UNITS[n % 4], zone)
                    }
                }
            })
        }
        35..41 => two(dice, same, |dice| match dice.pick(&UNITS) {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(*unit),
            unit => DataType::Time64(*unit),
        }),
        41..45 => two(dice, same, |dice| DataType::Duration(*dice.pick(&UNITS))),
        45..63 => two(dice, same, |dice| dice.pick(&INTEGERS).clone()),
        63..71 => two(dice, same, |dice| dice.pick(&floats).clone()),
        71..80 => {
            let (float, integer) = (dice.pick(&floats).clone(), dice.pick(&INTEGERS).clone());
            if dice.percent(50) {
                (float, integer)
            } else {
                (integer, float)
            }
        }
        80..88 => two(dice, same, |dice| match dice.below(6) {
            5 => dice.pick(&INTEGERS).clone(),
            n => {
                let (precision, scale) = [(10, 2), (12, 4), (18, 0), (3, 1), (9, 9)][n];
                DataType::Decimal128(precision, scale)
            }
        }),
        88..90 => (DataType::Decimal128(38, 2), DataType::Decimal128(38, 2)),
        _ => {
            let one = dice.pick(&ORDER_ONLY).clone();
            (one.clone(), one)
        }
    }
}

fn two(dice: &mut Dice, same: bool, one: impl Fn(&mut Dice) -> DataType) -> (DataType, DataType) {
    let left = one(dice);
    let right = if same { left.clone() } else { one(dice) };
    (left, right)
}

/// The type of a key column.
pub(crate) fn key_type(dice: &mut Dice) -> DataType {
    let strings = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    match dice.below(14) {
        0 | 1 => DataType::Utf8,
        2 => DataType::Utf8View,
        3 => strings,
        4 => DataType::Int32,
        5 => DataType::Int64,
        6 => DataType::Boolean,
        7 | 8 => DataType::Float64,
        9 => DataType::Float32,
        10 => DataType::Date32,
        11 => DataType::Decimal128(10, 2),
        12 => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Float64)),
        _ => dice.pick(&INTEGERS).clone(),
    }
}

/// The few values that a key column takes.
pub(crate) fn key_values(dice: &mut Dice, data_type: &DataType, distinct: usize) -> Vec<Value> {
    let all: Vec<Value> = match data_type {
        DataType::Dictionary(_, value_type) => return key_values(dice, value_type, distinct),
        DataType::Boolean => vec![Value::Int(0), Value::Int(1)],
        DataType::Float32 | DataType::Float64 => [0.0, -0.0, f64::NAN, 1.5, f64::INFINITY]
            .map(Value::Float)
            .to_vec(),
        DataType::Utf8 | DataType::Utf8View => [
            "a",
            "",
            "b",
            "a key longer than a view holds",
            "a key longer than a view h\u{f6}lds",
        ]
        .map(Value::text)
        .to_vec(),
        unsigned if unsigned.is_unsigned_integer() => [0, 1, 2, 255].map(Value::Int).to_vec(),
        _ => [0, 1, -1, 100].map(Value::Int).to_vec(),
    };
    (0..distinct).map(|_| dice.pick(&all).clone()).collect()
}

/// Values of an as-of column that lie near each other, and near those of the other side.
pub(crate) fn near_times(
    dice: &mut Dice,
    own: &DataType,
    other: &DataType,
    distinct: usize,
) -> Vec<Value> {
    (0..distinct)
        .map(|n| near_time(dice, own, other, n as i128))
        .collect()
}

fn near_time(dice: &mut Dice, own: &DataType, other: &DataType, n: i128) -> Value {
    let jitter = if dice.percent(30) {
        dice.below(3) as i128 - 1
    } else {
        0
    };
    match own {
        DataType::Float32 | DataType::Float64 => {
            let fraction = if dice.percent(30) {
                *dice.pick(&[0.5, -0.5, 0.25])
            } else {
                0.0
            };
            Value::Float(n as f64 + fraction)
        }
        DataType::Boolean => Value::Int(n % 2),
        DataType::Decimal128(precision, scale) => {
            let limit = 10i128.pow(u32::from(*precision)) - 1;
            Value::Int((n * 10i128.pow(*scale as u32) + jitter).min(limit))
        }
        DataType::FixedSizeBinary(width) => Value::Bytes(vec![n as u8; *width as usize]),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            Value::Bytes(vec![(n * 60) as u8; dice.below(3)])
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = [
                "",
                "a",
                "aa",
                "ab",
                "b",
                "a time longer than a view holds",
                "a time longer than a view h\u{f6}lds",
                "\u{10ffff}",
            ];
            Value::text(texts[n as usize % texts.len()])
        }
        _ => match unit_nanoseconds(own).zip(unit_nanoseconds(other)) {
            Some((own_unit, other_unit)) => {
                let time = n * own_unit.max(other_unit) / own_unit + jitter;
                let of_day = matches!(own, DataType::Time32(_) | DataType::Time64(_));
                Value::Int(if of_day { time.max(0) } else { time })
            }
            None if own.is_unsigned_integer() => Value::Int((n + jitter).max(0)),
            None => Value::Int(n + jitter),
        },
    }
}

/// The nanoseconds of one unit of a temporal type.
pub(crate) fn unit_nanoseconds(data_type: &DataType) -> Option<i128> {
    match data_type {
        DataType::Date32 => Some(86_400_000_000_000),
        DataType::Date64 => Some(1_000_000),
        DataType::Timestamp(unit, _)
        | DataType::Time32(unit)
        | DataType::Time64(unit)
        | DataType::Duration(unit) => Some(nanoseconds(*unit)),
        _ => None,
    }
}

/// The values at which arithmetic goes wrong: of the type, and those of the other type that the type can hold.
pub(crate) fn extreme_times(own: &DataType, other: &DataType) -> Vec<Value> {
    if own.is_floating() {
        let mut floats = vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        if own == &DataType::Float32 {
            floats.extend([f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45].map(f64::from));
        } else {
            floats.extend([f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e19]);
            floats.extend([2f64.powi(53) - 1.0, 2f64.powi(53) + 2.0]);
            floats.extend([2f64.powi(63).next_down(), 2f64.powi(64).next_down()]);
        }
        floats.extend([2f64.powi(53), 2f64.powi(63), -2f64.powi(63), 2f64.powi(64)]);
        return floats.into_iter().map(Value::Float).collect();
    }
    let Some((min, max)) = limits(own) else {
        return match own {
            DataType::Boolean => [0, 1].map(Value::Int).to_vec(),
            DataType::FixedSizeBinary(width) => [0, 1, 127, 128, 255]
                .map(|byte| Value::Bytes(vec![byte; *width as usize]))
                .to_vec(),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => [
                vec![],
                vec![0],
                vec![0, 0],
                vec![255],
                vec![255; 20],
                vec![127],
            ]
            .map(Value::Bytes)
            .to_vec(),
            _ => [
                "",
                "\0",
                "\0\0",
                "a",
                "a time of many bytes: 1",
                "a time of many bytes: 2",
                "\u{10ffff}",
            ]
            .map(Value::text)
            .to_vec(),
        };
    };
    let mut ints = vec![min, min + 1, -1, 0, 1, max - 1, max];
    match (unit_nanoseconds(own), unit_nanoseconds(other)) {
        (Some(own_unit), Some(other_unit)) => {
            // Where the other side's unit ends, and the last second of the year 9999.
            if let Some((other_min, other_max)) = limits(other) {
                ints.extend([other_min, other_max].map(|limit| limit * other_unit / own_unit));
                ints.extend([
                    other_max * other_unit / own_unit + 1,
                    other_min * other_unit / own_unit - 1,
                ]);
            }
            ints.push(253_402_300_799 * 1_000_000_000 / own_unit);
        }
        _ => {
            ints.extend([
                1 << 53,
                (1 << 53) + 1,
                i128::from(i64::MAX),
                i128::from(i64::MAX) + 1,
            ]);
            if let Some((other_min, other_max)) = limits(other) {
                ints.extend([other_min, other_max, other_max.saturating_add(1)]);
            }
        }
    }
    ints.retain(|int| (min..=max).contains(int));
    ints.sort_unstable();
    ints.dedup();
    ints.into_iter().map(Value::Int).collect()
}

/// The least and the greatest integer that a column of the type holds.
fn limits(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 | DataType::Date32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        DataType::Int64 | DataType::Date64 | DataType::Timestamp(_, _) | DataType::Duration(_) => {
            (i64::MIN.into(), i64::MAX.into())
        }
        DataType::Time32(unit) | DataType::Time64(unit) => {
            (0, 86_400_000_000_000 / nanoseconds(*unit) - 1)
        }
        DataType::Decimal128(precision, _) => {
            let beyond = 10i128.pow(u32::from(*precision));
            (1 - beyond, beyond - 1)
        }
        _ => return None,
    })
}

/// Tolerances that fit two as-of columns, from nothing to more than everything.
pub(crate) fn tolerances(left: &DataType, right: &DataType) -> Vec<Tolerance> {
    match family(left, right) {
        Family::OrderOnly => vec![],
        Family::Float => {
            let mut all: Vec<Tolerance> = [0.0, 0.5, 1.0, 2.5, 1e19, f64::MAX]
                .map(Tolerance::float)
                .to_vec();
            all.push(Tolerance::whole_float(3));
            all
        }
        Family::Exact => vec![
            Tolerance::count(0, &DataType::Int64),
            Tolerance::count(1, &DataType::Int64),
            Tolerance::count(3, &DataType::Int64),
            Tolerance::count(i64::MAX, &DataType::Int64),
            Tolerance::decimal(25, 2, 1),
            Tolerance::decimal(1, 9, 9),
            Tolerance::decimal(10i128.pow(38) - 1, 38, 0),
        ],
        Family::Temporal => {
            let (left_unit, right_unit) = (unit_nanoseconds(left), unit_nanoseconds(right));
            let (Some(left_unit), Some(right_unit)) = (left_unit, right_unit) else {
                return vec![];
            };
            let (fine, coarse) = (left_unit.min(right_unit), left_unit.max(right_unit));
            let nanoseconds = |n: i128| {
                i64::try_from(n).map_or_else(
                    |_| Tolerance::interval(i32::MAX, 0),
                    |n| Tolerance::interval(0, n),
                )
            };
            let mut all = vec![
                Tolerance::interval(0, 0),
                nanoseconds(fine),
                nanoseconds(coarse),
                nanoseconds(3 * coarse),
                nanoseconds(2 * coarse - 1),
                Tolerance::interval(1, 1),
                Tolerance::interval(i32::MAX, i64::MAX),
                Tolerance::duration(2, TimeUnit::Second),
                Tolerance::duration(0, TimeUnit::Nanosecond),
            ];
            all.extend(UNITS.map(|unit| Tolerance::duration(i64::MAX, unit)));
            if left_unit == right_unit {
                all.extend([0, 1, 3, i64::MAX].map(|n| Tolerance::count(n, left)));
            }
            all
        }
    }
}
