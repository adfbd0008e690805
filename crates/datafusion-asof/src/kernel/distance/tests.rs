//! Distances that are equal, nearly equal, and too large to be taken.

use super::super::domain::float_key;
use super::*;

fn of_floats(earlier: f64, at: f64, later: f64) -> bool {
    let place = |x: f64| i128::from(float_key(x));
    Metric::Float.earlier_wins(place(earlier), place(at), place(later))
}

#[test]
fn steps_do_not_overflow() {
    let wins = |a, b, c| Metric::Steps.earlier_wins(a, b, c);
    assert!(wins(0, 5, 10));
    assert!(!wins(0, 6, 10));
    assert!(!wins(i128::MIN, 0, i128::MAX));
    assert!(wins(i128::MIN, -1, i128::MAX));
}

#[test]
fn floats_are_weighed_exactly() {
    assert!(of_floats(1.0, 2.0, 3.0));
    assert!(!of_floats(1.0, 2.0, 3.0f64.next_down()));
    // Both differences round to 1.
    let tiny = f64::EPSILON / 8.0;
    assert!(!of_floats(-1.0, tiny, 1.0));
    assert!(of_floats(-1.0, -tiny, 1.0));
    assert!(of_floats(f64::MIN, 0.0, f64::MAX));
    assert!(!of_floats(f64::MIN, 1.0, f64::MAX));
}

#[test]
fn the_smallest_floats_count() {
    let tiny = f64::from_bits(1);
    for far in [1.0, f64::MIN_POSITIVE, tiny, 2.0 * tiny, f64::MAX] {
        assert!(of_floats(-far, 0.0, far), "{far}");
        assert!(of_floats(-far, -tiny, far), "{far}");
        assert!(!of_floats(-far, tiny, far), "{far}");
        // The nearer end is the greatest of all floats.
        assert!(of_floats(far.next_down(), f64::MAX, f64::INFINITY), "{far}");
    }
    assert!(!of_floats(f64::MIN, f64::MAX.next_down(), f64::MAX));
    assert!(of_floats(f64::MIN, f64::MIN.next_up(), f64::MAX));
    // An integer among floats.
    let place = |x: f64| i128::from(float_key(x)) << 16;
    let wins = |a: f64, b: f64, c: f64| Metric::IntFloat.earlier_wins(place(a), place(b), place(c));
    assert!(!wins(-1.0, tiny, 1.0));
    assert!(wins(-1.0, -tiny, 1.0));
    assert!(wins(-1.0, 0.0, 1.0));
}

#[test]
fn infinities() {
    let infinity = f64::INFINITY;
    assert!(of_floats(-infinity, 0.0, infinity));
    assert!(!of_floats(-infinity, 0.0, 1.0));
    assert!(of_floats(0.0, 1.0, infinity));
    assert!(of_floats(infinity, infinity, infinity));
    assert!(!of_floats(1.0, infinity, infinity));
    assert!(of_floats(-infinity, -infinity, 0.0));
}
