//! From key columns to what a key is looked up as.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float16Array, Float32Array, Float64Array, GenericByteArray,
    GenericByteViewArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, ByteArrayType, ByteViewType, DataType, Float16Type,
    Float32Type, Float64Type,
};
use datafusion::common::{Result, exec_err};

use super::dictionaries::Dictionaries;
use super::{Encoding, Find, NULL_KEY};

pub(super) fn encode(
    encoding: &Encoding,
    keys: &[ArrayRef],
    rows: usize,
    (dictionaries, memo): (&Dictionaries, (usize, usize)),
    find: &mut impl Find,
) -> Result<Vec<u32>> {
    match encoding {
        Encoding::NoKey => Ok(vec![0; rows]),
        Encoding::Word | Encoding::Bytes => match keys[0].data_type() {
            DataType::Dictionary(_, _) => dictionaries.ordinals(&keys[0], memo, find),
            _ => plain(&keys[0], find),
        },
        Encoding::Rows {
            converter,
            null_equals_null,
        } => {
            let (columns, nulls) = comparable_columns(keys, null_equals_null)?;
            let encoded = converter.convert_columns(&columns)?;
            (0..rows)
                .map(|row| match &nulls {
                    Some(nulls) if nulls.is_null(row) => Ok(NULL_KEY),
                    _ => find.long(encoded.row(row).data()),
                })
                .collect()
        }
    }
}

/// Ordinals of a column of strings, binaries or numbers.
pub(super) fn plain(keys: &ArrayRef, find: &mut impl Find) -> Result<Vec<u32>> {
    match keys.data_type() {
        DataType::Utf8 => strings(keys.as_string::<i32>(), find),
        DataType::LargeUtf8 => strings(keys.as_string::<i64>(), find),
        DataType::Binary => strings(keys.as_binary::<i32>(), find),
        DataType::LargeBinary => strings(keys.as_binary::<i64>(), find),
        DataType::Utf8View => views(keys.as_string_view(), find),
        DataType::BinaryView => views(keys.as_binary_view(), find),
        _ => words(keys, find),
    }
}

/// Ordinals of keys that are cheap to compare: a key equal to the one before is not found
/// again.
fn by_run<K: Copy + PartialEq>(
    keys: impl ExactSizeIterator<Item = K>,
    nulls: Option<&NullBuffer>,
    mut find: impl FnMut(usize, K) -> Result<u32>,
) -> Result<Vec<u32>> {
    let mut ordinals = Vec::with_capacity(keys.len());
    let mut last = None;
    for (row, key) in keys.enumerate() {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            ordinals.push(NULL_KEY);
            continue;
        }
        let ordinal = match last {
            Some((same, ordinal)) if same == key => ordinal,
            _ => find(row, key)?,
        };
        last = Some((key, ordinal));
        ordinals.push(ordinal);
    }
    Ok(ordinals)
}

fn words(keys: &ArrayRef, find: &mut impl Find) -> Result<Vec<u32>> {
    let keys = one_pattern_per_float(keys);
    let data = keys.to_data();
    let mut find = |_, word| find.word(word);
    macro_rules! each {
        ($word:ty) => {{
            let words = data.buffer::<$word>(0)[..keys.len()].iter();
            by_run(words.map(|word| u64::from(*word)), keys.nulls(), &mut find)
        }};
    }
    match keys.data_type().primitive_width() {
        Some(1) => each!(u8),
        Some(2) => each!(u16),
        Some(4) => each!(u32),
        Some(8) => each!(u64),
        _ => exec_err!("no key of at most 64 bits: {}", keys.data_type()),
    }
}

fn views<T: ByteViewType>(
    keys: &GenericByteViewArray<T>,
    find: &mut impl Find,
) -> Result<Vec<u32>> {
    let mut long = None;
    by_run(keys.views().iter().copied(), keys.nulls(), |row, view| {
        if view as u32 <= MAX_SHORT {
            return find.short(view);
        }
        // Views of the same bytes differ by where these are.
        let bytes: &[u8] = keys.value(row).as_ref();
        match long {
            Some((same, ordinal)) if same == bytes => Ok(ordinal),
            _ => {
                let ordinal = find.long(bytes)?;
                long = Some((bytes, ordinal));
                Ok(ordinal)
            }
        }
    })
}

fn strings<T: ByteArrayType>(keys: &GenericByteArray<T>, find: &mut impl Find) -> Result<Vec<u32>> {
    let bytes = keys.value_data();
    let slices = keys.offsets().windows(2);
    let slices = slices.map(|ends| &bytes[ends[0].as_usize()..ends[1].as_usize()]);
    by_run(slices, keys.nulls(), |_, bytes| match bytes.len() {
        len if len <= MAX_SHORT as usize => find.short(view_of(bytes)),
        _ => find.long(bytes),
    })
}

/// The most bytes that a view holds itself.
const MAX_SHORT: u32 = 12;

fn view_of(bytes: &[u8]) -> u128 {
    let mut view = [0; 16];
    view[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    view[4..4 + bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(view)
}

/// The columns as arrow's row format should see them, and which rows have a NULL that equals
/// nothing.
fn comparable_columns(
    keys: &[ArrayRef],
    null_equals_null: &[bool],
) -> Result<(Vec<ArrayRef>, Option<NullBuffer>)> {
    let mut nulls: Option<NullBuffer> = None;
    let columns = keys
        .iter()
        .zip(null_equals_null)
        .map(|(key, null_equals_null)| {
            if !null_equals_null {
                nulls = NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref());
            }
            let key = match key.data_type() {
                DataType::Dictionary(_, value) => &cast(key, value)?,
                _ => key,
            };
            Ok(one_pattern_per_float(key))
        })
        .collect::<Result<_>>()?;
    Ok((columns, nulls))
}

/// The numbers of `Float16` columns.
pub(super) type F16 = <Float16Type as ArrowPrimitiveType>::Native;

/// `-0.0` becomes `0.0` and every NaN the same NaN; other arrays stay as they are.
pub(crate) fn one_pattern_per_float(array: &ArrayRef) -> ArrayRef {
    macro_rules! normalize {
        ($native:ty, $array:ty, $nan:expr, $zero:expr) => {{
            let floats = array.as_primitive::<$native>();
            let normal: $array = floats.unary(|x| if x.is_nan() { $nan } else { x + $zero });
            Arc::new(normal) as ArrayRef
        }};
    }
    match array.data_type() {
        DataType::Float64 => normalize!(Float64Type, Float64Array, f64::NAN, 0.0),
        DataType::Float32 => normalize!(Float32Type, Float32Array, f32::NAN, 0.0),
        DataType::Float16 => normalize!(Float16Type, Float16Array, F16::NAN, F16::ZERO),
        _ => Arc::clone(array),
    }
}
