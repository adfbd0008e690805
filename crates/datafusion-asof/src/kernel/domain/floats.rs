//! Floats, and integers among them, on a line of integers.

/// Room between two neighbouring floats for the integers that lie there: at most 2^11.
pub(super) const BETWEEN_FLOATS: u32 = 16;

/// The float's place among all floats: order-preserving, `-0.0` as `0.0`.
pub(in crate::kernel) fn float_key(x: f64) -> i64 {
    let bits = (x + 0.0).to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The inverse of [`float_key`].
pub(in crate::kernel) fn float_of_key(key: i64) -> f64 {
    let bits = key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed();
    f64::from_bits(bits.cast_unsigned())
}

/// The integer's place among all floats: that of the greatest float not above it, and in the
/// room up to the next float the distance from it.
pub(super) fn integer_among_floats(integer: i128) -> i128 {
    let mut below = integer as f64;
    if below as i128 > integer {
        below = below.next_down();
    }
    (i128::from(float_key(below)) << BETWEEN_FLOATS) + (integer - below as i128)
}

/// The value at a place of [`Repr::IntFloat`](super::Repr::IntFloat): a float and the integer distance above it.
pub(in crate::kernel) fn split_int_float(place: i128) -> (f64, i128) {
    let key = (place >> BETWEEN_FLOATS) as i64;
    (float_of_key(key), place & ((1 << BETWEEN_FLOATS) - 1))
}
