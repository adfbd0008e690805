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
fn infinities() {
    let infinity = f64::INFINITY;
    assert!(of_floats(-infinity, 0.0, infinity));
    assert!(!of_floats(-infinity, 0.0, 1.0));
    assert!(of_floats(0.0, 1.0, infinity));
    assert!(of_floats(infinity, infinity, infinity));
    assert!(!of_floats(1.0, infinity, infinity));
    assert!(of_floats(-infinity, -infinity, 0.0));
}
