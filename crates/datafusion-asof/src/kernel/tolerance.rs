//! The farthest distance in time at which a match still counts, in steps of the line.
//!
//! A tolerance is given once, as a constant; it is converted once, rounding down, which is
//! exact because distances are whole steps. Intervals count days as 24 hours. Months have no
//! fixed length and are refused.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Result, plan_err};

use super::domain::{Repr, Step, TimeDomain, float_of_key, split_int_float};
use super::place::Place;

/// A distance on the line of a [`TimeDomain`], inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tolerance {
    Steps(u128),
    Float(f64),
    IntFloat(f64),
}

impl Tolerance {
    /// The tolerance of a one-row array holding the constant, for as-of values of `domain`.
    ///
    /// # Errors
    /// Planning errors for a constant that is NULL, negative, in months or years, or of a
    /// type that does not fit the as-of values.
    pub(crate) fn try_new(domain: &TimeDomain, constant: &ArrayRef) -> Result<Self> {
        if constant.len() != 1 {
            return plan_err!("TOLERANCE must be one constant");
        }
        if constant.is_null(0) || constant.data_type() == &DataType::Null {
            return plan_err!("TOLERANCE must not be NULL: leave it out for no limit");
        }
        match domain.step {
            Step::Nanos { per_step, one_unit } => {
                let steps = match nanos(constant)? {
                    Some(nanos) => checked(nanos)? / per_step.unsigned_abs(),
                    None => match decimal(constant)? {
                        Some(_) if !one_unit => {
                            return plan_err!(
                                "TOLERANCE as a bare number needs as-of values of one unit on \
                                 both sides: write an interval, as in INTERVAL '5 seconds'"
                            );
                        }
                        Some(number) if number.is_whole() => number.scaled_down_to(0)?,
                        Some(_) => {
                            return plan_err!(
                                "TOLERANCE as a bare number counts whole units of the as-of \
                                 values: write a whole number, or an interval"
                            );
                        }
                        None => return unfit(constant, "an interval, as in INTERVAL '5 seconds'"),
                    },
                };
                Ok(Self::Steps(steps))
            }
            Step::Decimal { scale } => match decimal(constant)? {
                Some(number) => Ok(Self::Steps(number.scaled_down_to(scale)?)),
                None => unfit(constant, "a number"),
            },
            Step::Float => {
                if decimal(constant)?.is_none() {
                    return unfit(constant, "a number");
                }
                let number = cast(constant, &DataType::Float64)?;
                let number = number.as_primitive::<Float64Type>().value(0);
                if number.is_nan() {
                    return plan_err!("TOLERANCE must be a number, not NaN");
                }
                if number < 0.0 {
                    return negative();
                }
                Ok(match domain.repr {
                    Repr::IntFloat => Self::IntFloat(number),
                    _ => Self::Float(number),
                })
            }
            Step::OrderOnly => plan_err!(
                "TOLERANCE needs as-of values with a distance: \
                 timestamps, dates, times, durations or numbers"
            ),
        }
    }

    /// Whether two places on the line, `later >= earlier`, are near enough.
    #[inline]
    pub(crate) fn allows(self, later: i128, earlier: i128) -> bool {
        match self {
            // The difference of two i128 always fits a u128.
            Self::Steps(steps) => later.wrapping_sub(earlier).cast_unsigned() <= steps,
            Self::Float(limit) => {
                let float = |place: i128| float_of_key(place as i64);
                // Two equal infinities are no distance apart, though their difference is NaN.
                later == earlier || float(later) - float(earlier) <= limit
            }
            Self::IntFloat(limit) => later == earlier || int_float_allows(later, earlier, limit),
        }
    }

    /// Whether nothing from `later` on is near enough to `earlier`, nor to anything before it.
    /// May be `false` although nothing is.
    pub(crate) fn rules_out(self, later: &Place, earlier: &Place) -> bool {
        match self {
            Self::Steps(_) | Self::Float(_) => !self.allows(later.wide(), earlier.wide()),
            // Exact distances among rounded ones: a greater one may come out as less.
            Self::IntFloat(_) => false,
        }
    }
}

/// Distances of integers are exact; where a fraction takes part they are those of floats.
fn int_float_allows(later: i128, earlier: i128, limit: f64) -> bool {
    const EXACT: f64 = (1u128 << 100) as f64;
    let (later, later_above) = split_int_float(later);
    let (earlier, earlier_above) = split_int_float(earlier);
    let whole = |x: f64| x.abs() < EXACT && x.fract() == 0.0;
    if whole(later) && whole(earlier) {
        let distance = (later as i128 + later_above) - (earlier as i128 + earlier_above);
        return distance <= limit as i128;
    }
    (later - earlier) + (later_above - earlier_above) as f64 <= limit
}

fn negative<T>() -> Result<T> {
    plan_err!("TOLERANCE must not be negative")
}

fn checked(nanos: i128) -> Result<u128> {
    u128::try_from(nanos).or_else(|_| negative())
}

fn unfit<T>(constant: &ArrayRef, wanted: &str) -> Result<T> {
    let what = match constant.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            format!("'{}'", array_value_to_string(constant, 0)?)
        }
        other => format!("of type {other}"),
    };
    plan_err!("TOLERANCE {what} does not fit the as-of values: write {wanted}")
}

/// A constant span of time in nanoseconds; `None` if it is no span.
fn nanos(constant: &ArrayRef) -> Result<Option<i128>> {
    match constant.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = array_value_to_string(constant, 0)?;
            if text.trim().parse::<f64>().is_ok() {
                // Arrow would take it for months.
                return plan_err!(
                    "TOLERANCE '{text}' has no unit: write it as in '5 seconds', or a number"
                );
            }
            match cast(constant, &DataType::Interval(IntervalUnit::MonthDayNano)) {
                Ok(interval) if interval.is_valid(0) => nanos(&interval),
                _ => unfit(constant, "an interval, as in INTERVAL '5 seconds'"),
            }
        }
        DataType::Interval(_) => {
            let interval = cast(constant, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            let interval = interval.as_primitive::<IntervalMonthDayNanoType>().value(0);
            if interval.months != 0 {
                return plan_err!(
                    "TOLERANCE must have a fixed length: months and years have none, \
                     write days, as in INTERVAL '30 days'"
                );
            }
            let days = i128::from(interval.days) * 86_400_000_000_000;
            Ok(Some(days + i128::from(interval.nanoseconds)))
        }
        DataType::Duration(unit) => {
            let ticks = cast(constant, &DataType::Int64)?;
            let ticks = i128::from(ticks.as_primitive::<Int64Type>().value(0));
            Ok(Some(ticks * nanos_of(*unit)))
        }
        _ => Ok(None),
    }
}

fn nanos_of(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// A number as `mantissa * 10^-scale`.
struct Number {
    mantissa: i128,
    scale: i32,
}

impl Number {
    fn is_whole(&self) -> bool {
        let unit = u32::try_from(self.scale).map(|scale| 10i128.checked_pow(scale));
        match unit {
            Ok(Some(unit)) => self.mantissa % unit == 0,
            Ok(None) => self.mantissa == 0,
            Err(_) => true,
        }
    }

    /// In steps of `10^-scale`, rounded down; what exceeds every distance is no limit.
    fn scaled_down_to(&self, scale: i32) -> Result<u128> {
        let Ok(mantissa) = u128::try_from(self.mantissa) else {
            return negative();
        };
        let shift = scale - self.scale;
        let power = 10u128.checked_pow(shift.unsigned_abs());
        Ok(match power {
            Some(power) if shift >= 0 => mantissa.saturating_mul(power),
            Some(power) => mantissa / power,
            None if shift >= 0 && mantissa > 0 => u128::MAX,
            None => 0,
        })
    }
}

/// A constant number; `None` if it is none.
fn decimal(constant: &ArrayRef) -> Result<Option<Number>> {
    let data_type = constant.data_type();
    Ok(match data_type {
        DataType::UInt64 => {
            let wide = cast(constant, &DataType::Decimal128(20, 0))?;
            let mantissa = wide.as_primitive::<Decimal128Type>().value(0);
            Some(Number { mantissa, scale: 0 })
        }
        _ if data_type.is_integer() => {
            let wide = cast(constant, &DataType::Int64)?;
            let mantissa = i128::from(wide.as_primitive::<Int64Type>().value(0));
            Some(Number { mantissa, scale: 0 })
        }
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => {
            let wide = cast(constant, &DataType::Decimal128(38, *scale))?;
            let mantissa = wide.as_primitive::<Decimal128Type>().value(0);
            let scale = i32::from(*scale);
            Some(Number { mantissa, scale })
        }
        _ if data_type.is_floating() => {
            let float = cast(constant, &DataType::Float64)?;
            Some(shortest_decimal(
                float.as_primitive::<Float64Type>().value(0),
            )?)
        }
        _ => None,
    })
}

/// The decimal that a float is written as: `0.1` means a tenth, not its nearest double.
fn shortest_decimal(float: f64) -> Result<Number> {
    if float.is_nan() {
        return plan_err!("TOLERANCE must be a number, not NaN");
    }
    if float < 0.0 {
        return negative();
    }
    let text = format!("{float:e}");
    let parsed = text.split_once('e').and_then(|(digits, exponent)| {
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mantissa = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()? - exponent.parse::<i32>().ok()?;
        Some(Number { mantissa, scale })
    });
    // Only an infinity has no digits.
    Ok(parsed.unwrap_or(Number {
        mantissa: i128::MAX,
        scale: -38,
    }))
}

#[cfg(test)]
mod tests;
