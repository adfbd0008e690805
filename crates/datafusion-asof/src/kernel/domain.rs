//! As-of values of both sides on one line.
//!
//! The two sides of a match condition may have different types: microseconds against
//! nanoseconds, a signed against an unsigned integer, an integer against a float. Casting
//! one to the other can overflow (the year 9999 in nanoseconds) or round (2^53 + 1 as a
//! float), so values are instead laid on a common line of integers on which order is exact:
//!
//! | types | line | a step is |
//! |---|---|---|
//! | one temporal type, signed integers | `i64` | the unit of the type |
//! | temporal types of different units | `i64` if it cannot overflow, else `i128` | the finer unit |
//! | unsigned 64-bit integers, decimals | `i128` | 1, or the finer scale |
//! | floats | `i64` | the next float: the order-preserving bits, `-0.0` as `0.0` |
//! | an integer against a float | `i128` | 2^-16 of the next float: see [`floats`] |
//! | strings, binaries, booleans, ... | bytes of arrow's row format | none: no distance |
//!
//! NULL and NaN have no place on the line: they are *invalid* and never match.

mod floats;

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, new_empty_array,
};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::{can_cast_types, cast, is_not_null};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, UInt64Type,
};
use datafusion::arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::{Result, exec_err, plan_err};

use self::floats::{BETWEEN_FLOATS, integer_among_floats};
pub(super) use self::floats::{float_key, float_of_key, split_int_float};
use super::place::Place;
use crate::spec::Side;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;
/// The common line of two as-of types.
#[derive(Debug, Clone)]
pub(crate) struct TimeDomain {
    pub(super) repr: Repr,
    left: Lane,
    right: Lane,
    pub(super) step: Step,
}

#[derive(Debug, Clone)]
pub(super) enum Repr {
    I64,
    I128,
    Float,
    IntFloat,
    Bytes(Arc<RowConverter>),
}

/// What places on a line are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    I64,
    I128,
    Rows,
}

/// How the values of one side come onto the line.
#[derive(Debug, Clone, PartialEq)]
struct Lane {
    data_type: DataType,
    factor: i128,
}

/// What a step of the line measures: what a tolerance is converted to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Nanoseconds per step, and whether both sides have this very unit.
    Nanos {
        per_step: i128,
        one_unit: bool,
    },
    /// A step is `10^-scale`.
    Decimal {
        scale: i32,
    },
    Float,
    /// There is an order but no distance.
    OrderOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Instant { zoned: bool },
    TimeOfDay,
    Duration,
}

enum Class {
    Temporal {
        family: Family,
        nanos: i128,
        bits: u32,
    },
    Exact {
        scale: i32,
        digits: i32,
        fits_i64: bool,
    },
    Float,
    Bytes,
}

fn unit_nanos(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn classify(data_type: &DataType) -> Option<Class> {
    let temporal = |family, nanos, bits| {
        Some(Class::Temporal {
            family,
            nanos,
            bits,
        })
    };
    let exact = |scale, digits, fits_i64| {
        Some(Class::Exact {
            scale,
            digits,
            fits_i64,
        })
    };
    let naive = Family::Instant { zoned: false };
    match data_type {
        DataType::Date32 => temporal(naive, NANOS_PER_DAY, 32),
        DataType::Date64 => temporal(naive, 1_000_000, 64),
        DataType::Timestamp(unit, zone) => {
            let zoned = zone.is_some();
            temporal(Family::Instant { zoned }, unit_nanos(*unit), 64)
        }
        DataType::Time32(unit) => temporal(Family::TimeOfDay, unit_nanos(*unit), 32),
        DataType::Time64(unit) => temporal(Family::TimeOfDay, unit_nanos(*unit), 64),
        DataType::Duration(unit) => temporal(Family::Duration, unit_nanos(*unit), 64),
        DataType::Int8 | DataType::UInt8 => exact(0, 3, true),
        DataType::Int16 | DataType::UInt16 => exact(0, 5, true),
        DataType::Int32 | DataType::UInt32 => exact(0, 10, true),
        DataType::Int64 => exact(0, 19, true),
        DataType::UInt64 => exact(0, 20, false),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => {
            exact(i32::from(*scale), i32::from(*precision), false)
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Some(Class::Float),
        DataType::Null
        | DataType::Interval(_)
        | DataType::Dictionary(_, _)
        | DataType::Map(_, _)
        | DataType::Union(_, _) => None,
        other => {
            RowConverter::supports_fields(&[SortField::new(other.clone())]).then_some(Class::Bytes)
        }
    }
}

/// Whether values of `data_type` can be as-of values at all.
pub(crate) fn is_orderable(data_type: &DataType) -> bool {
    classify(data_type).is_some()
}

impl TimeDomain {
    /// Whether values of the left have the same places on both lines.
    pub(crate) fn has_places_of(&self, other: &Self) -> bool {
        self.left == other.left && self.right == other.right
    }

    /// The line for as-of values of these types.
    ///
    /// # Errors
    /// A planning error that names both types if they cannot be compared exactly.
    pub(crate) fn try_new(left: &DataType, right: &DataType) -> Result<Self> {
        let incomparable = || {
            plan_err!(
                "an ASOF JOIN cannot compare as-of values of type {left} with {right}: \
                 cast one side to the type of the other"
            )
        };
        let (Some(left_class), Some(right_class)) = (classify(left), classify(right)) else {
            return incomparable();
        };
        let lanes = |left_factor, right_factor| {
            let lane = |data_type: &DataType, factor| Lane {
                data_type: data_type.clone(),
                factor,
            };
            (lane(left, left_factor), lane(right, right_factor))
        };
        let (repr, (left, right), step) = match (left_class, right_class) {
            (
                Class::Temporal {
                    family: left_family,
                    nanos: left_nanos,
                    bits: left_bits,
                },
                Class::Temporal {
                    family: right_family,
                    nanos: right_nanos,
                    bits: right_bits,
                },
            ) if left_family == right_family => {
                let per_step = left_nanos.min(right_nanos);
                let (left_factor, right_factor) = (left_nanos / per_step, right_nanos / per_step);
                let fits = |bits: u32, factor: i128| {
                    (1i128 << (bits - 1)) * factor <= i128::from(i64::MAX) + 1
                };
                let repr = if fits(left_bits, left_factor) && fits(right_bits, right_factor) {
                    Repr::I64
                } else {
                    Repr::I128
                };
                let one_unit = left_nanos == right_nanos;
                let step = Step::Nanos { per_step, one_unit };
                (repr, lanes(left_factor, right_factor), step)
            }
            (
                Class::Exact {
                    scale: left_scale,
                    digits: left_digits,
                    fits_i64: left_fits,
                },
                Class::Exact {
                    scale: right_scale,
                    digits: right_digits,
                    fits_i64: right_fits,
                },
            ) => {
                let scale = left_scale.max(right_scale);
                let shifts = (scale - left_scale, scale - right_scale);
                if (left_digits + shifts.0).max(right_digits + shifts.1) > 38 {
                    return incomparable();
                }
                let factor = |shift: i32| 10i128.pow(shift.unsigned_abs());
                let repr = if left_fits && right_fits {
                    Repr::I64
                } else {
                    Repr::I128
                };
                let step = Step::Decimal { scale };
                (repr, lanes(factor(shifts.0), factor(shifts.1)), step)
            }
            (Class::Float, Class::Float) => (Repr::Float, lanes(1, 1), Step::Float),
            (Class::Float, Class::Exact { .. }) if right.is_integer() => {
                (Repr::IntFloat, lanes(1, 1), Step::Float)
            }
            (Class::Exact { .. }, Class::Float) if left.is_integer() => {
                (Repr::IntFloat, lanes(1, 1), Step::Float)
            }
            (Class::Bytes, Class::Bytes) if left == right => {
                let converter = RowConverter::new(vec![SortField::new(left.clone())])?;
                let repr = Repr::Bytes(Arc::new(converter));
                (repr, lanes(1, 1), Step::OrderOnly)
            }
            _ => return incomparable(),
        };
        Ok(Self {
            repr,
            left,
            right,
            step,
        })
    }

    /// Whether two as-of values have a distance, or only an order.
    pub(crate) fn has_distance(&self) -> bool {
        self.step != Step::OrderOnly
    }

    /// What the places of this line are stored as.
    pub(crate) fn line(&self) -> Line {
        match self.repr {
            Repr::I64 | Repr::Float => Line::I64,
            Repr::I128 | Repr::IntFloat => Line::I128,
            Repr::Bytes(_) => Line::Rows,
        }
    }

    /// The places of no rows at all.
    pub(crate) fn no_times(&self, side: Side) -> Result<Times> {
        self.times(side, &new_empty_array(&self.lane(side).data_type))
    }

    /// The place of a value alone in an array; `None` for NULL, NaN and values that are not
    /// numbers.
    pub(crate) fn place(&self, side: Side, value: &ArrayRef) -> Result<Option<i128>> {
        let times = self.times(side, value)?;
        if !times.is_valid(0) {
            return Ok(None);
        }
        Ok(match &times.values {
            TimeValues::I64(places) => places.first().map(|place| i128::from(*place)),
            TimeValues::I128(places) => places.first().copied(),
            TimeValues::Rows(_) => None,
        })
    }

    /// The least value of a side that is not before a place, alone in an array; `None` if the
    /// line does not consist of whole units, or no value is.
    pub(crate) fn value_from(&self, side: Side, place: i128) -> Result<Option<ArrayRef>> {
        let factor = self.lane(side).factor;
        let on_the_way = i128::from(place.rem_euclid(factor) != 0);
        self.value(side, place.div_euclid(factor) + on_the_way)
    }

    /// The greatest value of a side that is not after a place, likewise.
    pub(crate) fn value_up_to(&self, side: Side, place: i128) -> Result<Option<ArrayRef>> {
        self.value(side, place.div_euclid(self.lane(side).factor))
    }

    fn value(&self, side: Side, units: i128) -> Result<Option<ArrayRef>> {
        let data_type = &self.lane(side).data_type;
        let in_units = matches!(self.repr, Repr::I64 | Repr::I128) && !data_type.is_decimal();
        let Ok(units) = i64::try_from(units) else {
            return Ok(None);
        };
        if !in_units || !can_cast_types(&DataType::Int64, data_type) {
            return Ok(None);
        }
        // What is out of range becomes NULL.
        let value = cast(&Int64Array::from(vec![units]), data_type)?;
        let back = cast(&value, &DataType::Int64)?;
        let back = back.as_primitive::<Int64Type>();
        Ok((back.is_valid(0) && back.value(0) == units).then_some(value))
    }

    /// Whether as-of values of one side are of a type.
    pub(crate) fn takes(&self, side: Side, data_type: &DataType) -> bool {
        self.lane(side).data_type == *data_type
    }

    /// Whether the places of a side are its values, which have 64 bits.
    pub(crate) fn is_of_values(&self, side: Side) -> bool {
        let Lane { data_type, factor } = self.lane(side);
        let is_integer = *data_type == DataType::Int64 || data_type.is_temporal();
        let is_wide = data_type.primitive_width() == Some(size_of::<i64>());
        matches!(self.repr, Repr::I64) && *factor == 1 && is_integer && is_wide
    }

    fn lane(&self, side: Side) -> &Lane {
        match side {
            Side::Right => &self.right,
            _ => &self.left,
        }
    }

    /// The places on the line of a column of one side.
    pub(crate) fn times(&self, side: Side, values: &ArrayRef) -> Result<Times> {
        let lane = self.lane(side);
        if values.data_type() != &lane.data_type {
            return exec_err!(
                "as-of values arrived as {}, planned as {}",
                values.data_type(),
                lane.data_type
            );
        }
        match &self.repr {
            Repr::I64 => {
                let ticks = cast(values, &DataType::Int64)?;
                let ticks = ticks.as_primitive::<Int64Type>();
                let values = match i64::try_from(lane.factor) {
                    Ok(1) => ticks.values().clone(),
                    // NULL slots may hold anything, valid ones fit by choice of the line.
                    Ok(factor) => ticks
                        .values()
                        .iter()
                        .map(|t| t.wrapping_mul(factor))
                        .collect(),
                    Err(_) => return exec_err!("as-of unit factor {} too large", lane.factor),
                };
                Ok(Times {
                    values: TimeValues::I64(values),
                    valid: ticks.nulls().cloned(),
                })
            }
            Repr::I128 => {
                let (mut wide, valid) = exact_i128(values)?;
                if lane.factor != 1 {
                    for (row, value) in wide.iter_mut().enumerate() {
                        *value = match value.checked_mul(lane.factor) {
                            Some(scaled) => scaled,
                            None if valid.as_ref().is_some_and(|v| v.is_null(row)) => 0,
                            None => return exec_err!("as-of value {value} is out of range"),
                        };
                    }
                }
                Ok(Times {
                    values: TimeValues::I128(wide),
                    valid,
                })
            }
            Repr::Float => {
                let floats = cast(values, &DataType::Float64)?;
                let floats = floats.as_primitive::<Float64Type>();
                let values = floats.values().iter().map(|x| float_key(*x)).collect();
                Ok(Times {
                    values: TimeValues::I64(values),
                    valid: not_nan(floats),
                })
            }
            Repr::IntFloat if lane.data_type.is_integer() => {
                let (mut wide, valid) = exact_i128(values)?;
                for value in &mut wide {
                    *value = integer_among_floats(*value);
                }
                Ok(Times {
                    values: TimeValues::I128(wide),
                    valid,
                })
            }
            Repr::IntFloat => {
                let floats = cast(values, &DataType::Float64)?;
                let floats = floats.as_primitive::<Float64Type>();
                let wide = |x: &f64| i128::from(float_key(*x)) << BETWEEN_FLOATS;
                Ok(Times {
                    values: TimeValues::I128(floats.values().iter().map(wide).collect()),
                    valid: not_nan(floats),
                })
            }
            Repr::Bytes(converter) => Ok(Times {
                values: TimeValues::Rows(converter.convert_columns(&[Arc::clone(values)])?),
                valid: values.logical_nulls(),
            }),
        }
    }
}

/// As-of values of one batch, on the line of their [`TimeDomain`].
#[derive(Debug)]
pub(crate) struct Times {
    pub values: TimeValues,
    valid: Option<NullBuffer>,
}

#[derive(Debug)]
pub(crate) enum TimeValues {
    I64(ScalarBuffer<i64>),
    I128(Vec<i128>),
    Rows(Rows),
}

impl Times {
    /// Places of rows that all have one.
    pub(crate) fn all_known(places: ScalarBuffer<i64>) -> Self {
        Self {
            values: TimeValues::I64(places),
            valid: None,
        }
    }

    pub(crate) fn all_valid(&self) -> bool {
        self.valid
            .as_ref()
            .is_none_or(|valid| valid.null_count() == 0)
    }

    /// Whether the row has a place on the line: neither NULL nor NaN.
    #[inline]
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.is_valid(row))
    }

    /// The place of a row that is valid.
    pub(crate) fn place(&self, row: usize) -> Place {
        match &self.values {
            TimeValues::I64(times) => ScalarBuffer::<i64>::owned(times[row]),
            TimeValues::I128(times) => Vec::<i128>::owned(times[row]),
            TimeValues::Rows(times) => Rows::owned(times.row(row)),
        }
    }
}

/// A column of places on the line, so that kernels are compiled once for each kind.
pub(crate) trait TimeColumn {
    type Value<'a>: Copy + Ord
    where
        Self: 'a;
    fn value(&self, row: usize) -> Self::Value<'_>;
    /// The value as a distance can be taken of it; meaningless for bytes, which have none.
    fn wide(value: Self::Value<'_>) -> i128;
    /// The value on its own.
    fn owned(value: Self::Value<'_>) -> Place {
        Place::Number(Self::wide(value))
    }
    /// Whether the value is at a place or after it.
    fn is_from(value: Self::Value<'_>, place: &Place) -> bool {
        match place {
            Place::Number(number) => *number <= Self::wide(value),
            Place::Bytes(_) => false,
        }
    }
}

impl TimeColumn for ScalarBuffer<i64> {
    type Value<'a> = i64;
    #[inline]
    fn value(&self, row: usize) -> i64 {
        self[row]
    }
    #[inline]
    fn wide(value: i64) -> i128 {
        i128::from(value)
    }
}

impl TimeColumn for Vec<i128> {
    type Value<'a> = i128;
    #[inline]
    fn value(&self, row: usize) -> i128 {
        self[row]
    }
    #[inline]
    fn wide(value: i128) -> i128 {
        value
    }
}

impl TimeColumn for Rows {
    type Value<'a> = Row<'a>;
    #[inline]
    fn value(&self, row: usize) -> Row<'_> {
        self.row(row)
    }
    fn wide(_: Row<'_>) -> i128 {
        0
    }
    fn owned(value: Row<'_>) -> Place {
        Place::Bytes(value.data().into())
    }
    fn is_from(value: Row<'_>, place: &Place) -> bool {
        match place {
            Place::Bytes(bytes) => **bytes <= *value.data(),
            Place::Number(_) => false,
        }
    }
}

/// Integers and decimals of up to 128 bits, and temporal values, as they are stored.
fn exact_i128(values: &ArrayRef) -> Result<(Vec<i128>, Option<NullBuffer>)> {
    let wide = match values.data_type() {
        DataType::UInt64 => {
            let values = values.as_primitive::<UInt64Type>().values();
            values.iter().map(|v| i128::from(*v)).collect()
        }
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            let decimals = cast(values, &DataType::Decimal128(38, *scale))?;
            decimals.as_primitive::<Decimal128Type>().values().to_vec()
        }
        DataType::Decimal128(_, _) => values.as_primitive::<Decimal128Type>().values().to_vec(),
        _ => {
            let ticks = cast(values, &DataType::Int64)?;
            let ticks = ticks.as_primitive::<Int64Type>().values();
            ticks.iter().map(|v| i128::from(*v)).collect()
        }
    };
    Ok((wide, values.nulls().cloned()))
}

fn not_nan(floats: &Float64Array) -> Option<NullBuffer> {
    if floats.null_count() == 0 && !floats.values().iter().any(|x| x.is_nan()) {
        return None;
    }
    let present = is_not_null(floats).ok()?;
    let numbers = BooleanArray::from_unary(floats, |x| !x.is_nan());
    Some(NullBuffer::new(present.values() & numbers.values()))
}

#[cfg(test)]
mod tests;
