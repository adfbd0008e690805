//! Equality keys as dense ordinals.
//!
//! A join compares keys often and reads them once: [`KeyOrdinals`] gives each distinct key a
//! number, in the order of first sight, and everything after works on numbers. NULL in a key
//! column makes a key that equals nothing, [`NULL_KEY`], unless NULL equals NULL there.
//!
//! Three encodings, chosen by the key types: no key at all (one group), a single string or
//! binary column by its bytes, and anything else by arrow's row format, with `-0.0` and the
//! NaNs of float columns brought to one pattern first so that equal keys have equal bytes.
//! A dictionary column is looked up once per distinct value, then its codes are gathered.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float16Array, Float32Array, Float64Array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Float16Type, Float32Type, Float64Type,
};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{HashMap, Result, exec_err};

/// The ordinal of a key with a NULL in it.
pub(crate) const NULL_KEY: u32 = u32::MAX;
/// The ordinal of a key that was looked up and never interned.
pub(crate) const ABSENT: u32 = u32::MAX - 1;
/// Stands for the key of a row that a predicate on its own side refuses.
pub(crate) const REFUSED: u32 = u32::MAX - 2;

/// Whether the ordinal stands for a key.
#[inline]
pub(crate) fn is_known(ordinal: u32) -> bool {
    ordinal < REFUSED
}

/// Takes the keys from the rows that a predicate does not let pass.
pub(crate) fn refuse(ordinals: &mut [u32], passes: &BooleanArray) {
    for (row, ordinal) in ordinals.iter_mut().enumerate() {
        if !(passes.is_valid(row) && passes.value(row)) {
            *ordinal = REFUSED;
        }
    }
}

/// The type of a key column.
#[derive(Debug, Clone)]
pub(crate) struct KeyType {
    pub data_type: DataType,
    /// Whether NULL equals NULL.
    pub null_equals_null: bool,
}

/// Distinct keys and their ordinals.
#[derive(Debug)]
pub(crate) struct KeyOrdinals {
    encoding: Encoding,
    ordinals: HashMap<Box<[u8]>, u32>,
    key_bytes: usize,
}

#[derive(Debug)]
enum Encoding {
    NoKey,
    Bytes,
    Rows {
        converter: RowConverter,
        /// For each column whether NULL equals NULL.
        null_equals_null: Vec<bool>,
    },
}

impl KeyOrdinals {
    /// Ordinals for keys of the given types.
    pub(crate) fn try_new(types: &[KeyType]) -> Result<Self> {
        let encoding = match types {
            [] => Encoding::NoKey,
            [single] if is_bytes(value_type(&single.data_type)) && !single.null_equals_null => {
                Encoding::Bytes
            }
            _ => {
                let field = |key: &KeyType| SortField::new(value_type(&key.data_type).clone());
                Encoding::Rows {
                    converter: RowConverter::new(types.iter().map(field).collect())?,
                    null_equals_null: types.iter().map(|key| key.null_equals_null).collect(),
                }
            }
        };
        Ok(Self {
            encoding,
            ordinals: HashMap::new(),
            key_bytes: 0,
        })
    }

    /// How many distinct keys have an ordinal: ordinals are below this.
    pub(crate) fn len(&self) -> usize {
        match self.encoding {
            Encoding::NoKey => 1,
            _ => self.ordinals.len(),
        }
    }

    /// Bytes held, for the memory pool.
    pub(crate) fn size(&self) -> usize {
        self.ordinals.allocation_size() + self.key_bytes
    }

    /// The ordinals of `rows` keys; unknown keys get the next one.
    pub(crate) fn intern(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let Self {
            encoding,
            ordinals,
            key_bytes,
        } = self;
        encode(encoding, keys, rows, |key| {
            if let Some(&ordinal) = ordinals.get(key) {
                return Ok(ordinal);
            }
            let ordinal = ordinals.len() as u32;
            if !is_known(ordinal) {
                return exec_err!("an as-of join takes fewer than {REFUSED} distinct keys");
            }
            ordinals.insert(key.into(), ordinal);
            *key_bytes += key.len();
            Ok(ordinal)
        })
    }

    /// The ordinals of `rows` keys; unknown keys are [`ABSENT`].
    pub(crate) fn lookup(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        encode(&self.encoding, keys, rows, |key| {
            Ok(self.ordinals.get(key).copied().unwrap_or(ABSENT))
        })
    }
}

fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}

fn encode(
    encoding: &Encoding,
    keys: &[ArrayRef],
    rows: usize,
    mut ordinal: impl FnMut(&[u8]) -> Result<u32>,
) -> Result<Vec<u32>> {
    match encoding {
        Encoding::NoKey => Ok(vec![0; rows]),
        Encoding::Bytes => bytes_ordinals(&keys[0], &mut ordinal),
        Encoding::Rows {
            converter,
            null_equals_null,
        } => {
            let (columns, nulls) = comparable_columns(keys, null_equals_null)?;
            let encoded = converter.convert_columns(&columns)?;
            (0..rows)
                .map(|row| match &nulls {
                    Some(nulls) if nulls.is_null(row) => Ok(NULL_KEY),
                    _ => ordinal(encoded.row(row).data()),
                })
                .collect()
        }
    }
}

/// Ordinals of a column of strings, binaries, or a dictionary of them.
fn bytes_ordinals(
    keys: &ArrayRef,
    ordinal: &mut impl FnMut(&[u8]) -> Result<u32>,
) -> Result<Vec<u32>> {
    macro_rules! each {
        ($array:expr, $bytes:expr) => {
            $array
                .iter()
                .map(|key| key.map_or(Ok(NULL_KEY), |key| ordinal($bytes(key))))
                .collect()
        };
    }
    match keys.data_type() {
        DataType::Utf8 => each!(keys.as_string::<i32>(), str::as_bytes),
        DataType::LargeUtf8 => each!(keys.as_string::<i64>(), str::as_bytes),
        DataType::Utf8View => each!(keys.as_string_view(), str::as_bytes),
        DataType::Binary => each!(keys.as_binary::<i32>(), |key| key),
        DataType::LargeBinary => each!(keys.as_binary::<i64>(), |key| key),
        DataType::BinaryView => each!(keys.as_binary_view(), |key| key),
        DataType::Dictionary(_, _) => {
            let dictionary = keys.as_any_dictionary();
            if keys.null_count() == keys.len() {
                // There may be no value at all that a code could stand for.
                return Ok(vec![NULL_KEY; keys.len()]);
            }
            let codes = dictionary.normalized_keys();
            let mut of_value = vec![None; dictionary.values().len()];
            let values = dictionary.values();
            (0..keys.len())
                .map(|row| {
                    if dictionary.keys().is_null(row) {
                        return Ok(NULL_KEY);
                    }
                    // Only values that occur: a slice keeps its whole dictionary.
                    let code = codes[row];
                    match of_value[code] {
                        Some(known) => Ok(known),
                        None => {
                            let one = bytes_ordinals(&values.slice(code, 1), ordinal)?[0];
                            of_value[code] = Some(one);
                            Ok(one)
                        }
                    }
                })
                .collect()
        }
        other => exec_err!("not a key of bytes: {other}"),
    }
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
                DataType::Dictionary(_, value) => &datafusion::arrow::compute::cast(key, value)?,
                _ => key,
            };
            Ok(one_pattern_per_float(key))
        })
        .collect::<Result<_>>()?;
    Ok((columns, nulls))
}

/// `-0.0` becomes `0.0` and every NaN the same NaN; other arrays stay as they are.
fn one_pattern_per_float(array: &ArrayRef) -> ArrayRef {
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
        DataType::Float16 => {
            let zero = <Float16Type as ArrowPrimitiveType>::Native::usize_as(0);
            let floats = array.as_primitive::<Float16Type>();
            let normal: Float16Array = floats.unary(|x| if x == zero { zero } else { x });
            Arc::new(normal)
        }
        _ => Arc::clone(array),
    }
}
