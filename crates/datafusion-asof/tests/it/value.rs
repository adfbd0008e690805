//! Plain values, and the two ways between them and arrow arrays.
//!
//! Everything the tests say about a table they say in [`Value`]s; arrow appears only where a table enters the engine and where
//! its answer comes back.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray,
    FixedSizeBinaryArray, Int32Array, LargeBinaryArray, LargeStringArray, PrimitiveArray,
    StringArray, StringViewArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

/// One cell. What an `Int` counts (days, nanoseconds, hundredths…) is said by the column's arrow type.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Int(i128),
    Float(f64),
    Bytes(Vec<u8>),
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Value::Bytes(text.as_bytes().to_vec())
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The same bits, so that `-0.0` is not `0.0`: what must hold of a cell that a join hands through.
    pub(crate) fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

/// Calls `$then!(arrow type, native type)` for the integer-like primitive types.
macro_rules! integer_like {
    ($data_type:expr, $then:ident, $otherwise:expr) => {
        match $data_type {
            DataType::Int8 => $then!(Int8Type, i8),
            DataType::Int16 => $then!(Int16Type, i16),
            DataType::Int32 => $then!(Int32Type, i32),
            DataType::Int64 => $then!(Int64Type, i64),
            DataType::UInt8 => $then!(UInt8Type, u8),
            DataType::UInt16 => $then!(UInt16Type, u16),
            DataType::UInt32 => $then!(UInt32Type, u32),
            DataType::UInt64 => $then!(UInt64Type, u64),
            DataType::Date32 => $then!(Date32Type, i32),
            DataType::Date64 => $then!(Date64Type, i64),
            DataType::Time32(TimeUnit::Second) => $then!(Time32SecondType, i32),
            DataType::Time32(_) => $then!(Time32MillisecondType, i32),
            DataType::Time64(TimeUnit::Microsecond) => $then!(Time64MicrosecondType, i64),
            DataType::Time64(_) => $then!(Time64NanosecondType, i64),
            DataType::Timestamp(TimeUnit::Second, _) => $then!(TimestampSecondType, i64),
            DataType::Timestamp(TimeUnit::Millisecond, _) => $then!(TimestampMillisecondType, i64),
            DataType::Timestamp(TimeUnit::Microsecond, _) => $then!(TimestampMicrosecondType, i64),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => $then!(TimestampNanosecondType, i64),
            DataType::Duration(TimeUnit::Second) => $then!(DurationSecondType, i64),
            DataType::Duration(TimeUnit::Millisecond) => $then!(DurationMillisecondType, i64),
            DataType::Duration(TimeUnit::Microsecond) => $then!(DurationMicrosecondType, i64),
            DataType::Duration(TimeUnit::Nanosecond) => $then!(DurationNanosecondType, i64),
            DataType::Decimal128(_, _) => $then!(Decimal128Type, i128),
            _ => $otherwise,
        }
    };
}

/// The values as an array of the type.
pub(crate) fn array(data_type: &DataType, values: &[Value]) -> ArrayRef {
    macro_rules! build {
        ($arrow:ty, $native:ty) => {
            Arc::new(
                values
                    .iter()
                    .map(|value| match value {
                        Value::Int(int) => Some(
                            <$native>::try_from(*int)
                                .unwrap_or_else(|_| panic!("{int} does not fit {data_type}")),
                        ),
                        Value::Null => None,
                        other => panic!("{other:?} is no {data_type}"),
                    })
                    .collect::<PrimitiveArray<$arrow>>()
                    // Names the zone or the precision, which the collected array does not know.
                    .with_data_type(data_type.clone()),
            )
        };
    }
    integer_like!(data_type, build, other_array(data_type, values))
}

fn other_array(data_type: &DataType, values: &[Value]) -> ArrayRef {
    let floats = || {
        values.iter().map(|value| match value {
            Value::Float(float) => Some(*float),
            Value::Null => None,
            other => panic!("{other:?} is no float"),
        })
    };
    let bytes = || {
        values.iter().map(|value| match value {
            Value::Bytes(bytes) => Some(bytes.as_slice()),
            Value::Null => None,
            other => panic!("{other:?} is no {data_type}"),
        })
    };
    let texts = || bytes().map(|b| b.map(|b| std::str::from_utf8(b).expect("utf-8")));
    match data_type {
        DataType::Boolean => Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Value::Int(int) => Some(*int != 0),
                    Value::Null => None,
                    other => panic!("{other:?} is no boolean"),
                })
                .collect::<BooleanArray>(),
        ),
        DataType::Float32 => Arc::new(
            floats()
                .map(|f| f.map(|f| f as f32))
                .collect::<PrimitiveArray<Float32Type>>(),
        ),
        DataType::Float64 => Arc::new(floats().collect::<PrimitiveArray<Float64Type>>()),
        DataType::Utf8 => Arc::new(texts().collect::<StringArray>()),
        DataType::LargeUtf8 => Arc::new(texts().collect::<LargeStringArray>()),
        DataType::Utf8View => Arc::new(texts().collect::<StringViewArray>()),
        DataType::Binary => Arc::new(bytes().collect::<BinaryArray>()),
        DataType::LargeBinary => Arc::new(bytes().collect::<LargeBinaryArray>()),
        DataType::BinaryView => Arc::new(bytes().collect::<BinaryViewArray>()),
        DataType::FixedSizeBinary(width) => Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes(), *width).expect("width"),
        ),
        DataType::Dictionary(_, value_type) => dictionary(value_type, values),
        other => panic!("the tests make no {other}"),
    }
}

/// A dictionary as unhelpful as the format allows: a value that stands in it twice, NULLs both as keys and as values, and no
/// values at all when no row needs one.
fn dictionary(value_type: &DataType, values: &[Value]) -> ArrayRef {
    let mut distinct: Vec<Value> = vec![];
    for value in values {
        if !value.is_null() && !distinct.iter().any(|seen| seen.same(value)) {
            distinct.push(value.clone());
        }
    }
    let null_place = distinct.len();
    let is_null_value =
        |(row, value): (usize, &Value)| value.is_null() && row % 2 == 0 && null_place > 0;
    if values.iter().enumerate().any(is_null_value) {
        distinct.push(Value::Null);
    }
    let twin_place = distinct.len();
    if null_place > 0 {
        distinct.push(distinct[0].clone());
    }
    let keys: Int32Array = values
        .iter()
        .enumerate()
        .map(|(row, value)| {
            let place = if value.is_null() {
                is_null_value((row, value)).then_some(null_place)
            } else {
                let place = distinct
                    .iter()
                    .position(|seen| seen.same(value))
                    .expect("collected");
                Some(if place == 0 && row % 2 == 1 {
                    twin_place
                } else {
                    place
                })
            };
            place.map(|place| place as i32)
        })
        .collect();
    Arc::new(DictionaryArray::new(keys, array(value_type, &distinct)))
}

/// The array as plain values.
pub(crate) fn values(array: &dyn Array) -> Vec<Value> {
    macro_rules! read {
        ($arrow:ty, $native:ty) => {
            array
                .as_primitive::<$arrow>()
                .iter()
                .map(|value| value.map_or(Value::Null, |value| Value::Int(value.into())))
                .collect()
        };
    }
    integer_like!(array.data_type(), read, other_values(array))
}

fn other_values(array: &dyn Array) -> Vec<Value> {
    fn texts<'a>(cells: impl Iterator<Item = Option<&'a str>>) -> Vec<Value> {
        cells
            .map(|cell| cell.map_or(Value::Null, Value::text))
            .collect()
    }
    fn bytes<'a>(cells: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<Value> {
        cells
            .map(|cell| cell.map_or(Value::Null, |cell| Value::Bytes(cell.to_vec())))
            .collect()
    }
    fn floats(cells: impl Iterator<Item = Option<f64>>) -> Vec<Value> {
        cells
            .map(|cell| cell.map_or(Value::Null, Value::Float))
            .collect()
    }
    match array.data_type() {
        DataType::Boolean => array
            .as_boolean()
            .iter()
            .map(|cell| cell.map_or(Value::Null, |cell| Value::Int(cell.into())))
            .collect(),
        DataType::Float32 => floats(
            array
                .as_primitive::<Float32Type>()
                .iter()
                .map(|cell| cell.map(f64::from)),
        ),
        DataType::Float64 => floats(array.as_primitive::<Float64Type>().iter()),
        DataType::Utf8 => texts(array.as_string::<i32>().iter()),
        DataType::LargeUtf8 => texts(array.as_string::<i64>().iter()),
        DataType::Utf8View => texts(array.as_string_view().iter()),
        DataType::Binary => bytes(array.as_binary::<i32>().iter()),
        DataType::LargeBinary => bytes(array.as_binary::<i64>().iter()),
        DataType::BinaryView => bytes(array.as_binary_view().iter()),
        DataType::FixedSizeBinary(_) => bytes(array.as_fixed_size_binary().iter()),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let distinct = values(dictionary.values().as_ref());
            dictionary
                .keys()
                .iter()
                .map(|key| key.map_or(Value::Null, |key| distinct[key as usize].clone()))
                .collect()
        }
        other => panic!("the tests read no {other}"),
    }
}
