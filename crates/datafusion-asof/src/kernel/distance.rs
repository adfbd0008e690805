//! Which of two places is nearer, exactly.
//!
//! `nearest` weighs `at - earlier` against `later - at`. On a line of exact steps both fit an
//! unsigned 128-bit number. Differences of floats round, so instead of taking them the sign of
//! `earlier + later - 2 at` is found exactly, by summing floats into an expansion, a list of
//! floats that do not overlap (J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic
//! and Fast Robust Geometric Predicates", 1997).

use std::cmp::Ordering;

use super::domain::{Repr, TimeDomain, float_of_key, split_int_float};

/// How distances on a line are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Steps are distances.
    Steps,
    /// Places stand for floats.
    Float,
    /// Places stand for floats and integers among them.
    IntFloat,
}

impl Metric {
    pub(crate) fn of(domain: &TimeDomain) -> Self {
        match domain.repr {
            Repr::Float => Self::Float,
            Repr::IntFloat => Self::IntFloat,
            Repr::I64 | Repr::I128 | Repr::Bytes(_) => Self::Steps,
        }
    }

    /// Whether `earlier` is at least as near to `at` as `later` is;
    /// `earlier <= at <= later`.
    pub(crate) fn earlier_wins(self, earlier: i128, at: i128, later: i128) -> bool {
        let value = |place: i128| match self {
            Self::IntFloat => {
                let (float, above) = split_int_float(place);
                [float, above as f64]
            }
            _ => [float_of_key(place as i64), 0.0],
        };
        match self {
            Self::Steps => {
                let distance = |a: i128, b: i128| a.wrapping_sub(b).cast_unsigned();
                distance(at, earlier) <= distance(later, at)
            }
            _ if earlier == at => true,
            _ if later == at => false,
            _ => float_earlier_wins(value(earlier), value(at), value(later)),
        }
    }
}

/// The same of values given as sums of two floats, all three different.
fn float_earlier_wins(earlier: [f64; 2], at: [f64; 2], later: [f64; 2]) -> bool {
    let infinite = |value: [f64; 2]| value[0].is_infinite();
    if infinite(at) || infinite(earlier) || infinite(later) {
        // The distance to the later one is infinite, or that to the earlier one alone is.
        return infinite(at) || infinite(later);
    }
    // Scaling could lose the last bits of the smallest floats, so the sum goes by differences,
    // of which at most one overflows: that one is the greater.
    let (to_earlier, lost_earlier) = two_sum(at[0], -earlier[0]);
    let (to_later, lost_later) = two_sum(later[0], -at[0]);
    if to_earlier.is_infinite() || to_later.is_infinite() {
        return to_later.is_infinite();
    }
    let terms = [
        to_later,
        -to_earlier,
        lost_later,
        -lost_earlier,
        earlier[1],
        later[1],
        -2.0 * at[1],
    ];
    sign_of_sum(terms) != Ordering::Less
}

/// The sign of an exact sum of a few finite floats.
fn sign_of_sum(terms: [f64; 7]) -> Ordering {
    let mut expansion: Vec<f64> = vec![];
    for term in terms {
        let mut sum = term;
        for part in &mut expansion {
            let (high, low) = two_sum(sum, *part);
            *part = low;
            sum = high;
        }
        expansion.push(sum);
    }
    // The parts do not overlap and grow, so the last one that is not zero has the sign.
    let sign = expansion.iter().rev().find(|part| **part != 0.0);
    sign.map_or(Ordering::Equal, |sign| sign.total_cmp(&0.0))
}

/// The rounded sum and what rounding lost (T. J. Dekker, 1971: the greater first, so that no
/// step overflows unless the sum does).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let (a, b) = if a.abs() >= b.abs() { (a, b) } else { (b, a) };
    let sum = a + b;
    (sum, b - (sum - a))
}

#[cfg(test)]
mod tests;
