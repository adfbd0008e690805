//! How far one side of a match condition reaches into the other.

use super::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchOp, Side};

/// Bounds of places on the line, inclusive; `None` where nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub least: Option<i128>,
    pub most: Option<i128>,
}

/// Where the rows of `side` are that can match a row of the other side in `span`.
///
/// | match | the other side is | `side` is |
/// |---|---|---|
/// | `l.ts >= r.ts` | left | up to its most; with a tolerance, from its least less that |
/// | `l.ts >= r.ts` | right | from its least; with a tolerance, up to its most and that |
/// | `nearest` | either | with a tolerance only: from its least less that to its most and that |
///
/// and the mirror images.
pub(crate) fn reach((op, tolerance): (MatchOp, Option<Tolerance>), span: Span, side: Side) -> Span {
    let steps = match tolerance {
        Some(Tolerance::Steps(steps)) => i128::try_from(steps).ok(),
        _ => None,
    };
    // Saturated bounds are beyond every value.
    let within =
        |place: Option<i128>, move_by: fn(i128, i128) -> i128| Some(move_by(place?, steps?));
    let before = within(span.least, i128::saturating_sub);
    let after = within(span.most, i128::saturating_add);
    let strict = i128::from(!op.allows_equal());
    match (op.direction(), side) {
        (AsOfDirection::Nearest, _) => Span {
            least: before,
            most: after,
        },
        (AsOfDirection::Backward, Side::Right) | (AsOfDirection::Forward, Side::Left) => Span {
            least: before,
            most: span.most.map(|most| most.saturating_sub(strict)),
        },
        (AsOfDirection::Backward, _) | (AsOfDirection::Forward, _) => Span {
            least: span.least.map(|least| least.saturating_add(strict)),
            most: after,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_pair_that_matches_each_reaches_the_other() {
        let tolerances = [None, Some(0), Some(2)];
        for op in [
            MatchOp::GtEq,
            MatchOp::Gt,
            MatchOp::LtEq,
            MatchOp::Lt,
            MatchOp::Nearest,
        ] {
            for steps in tolerances {
                let tolerance = steps.map(Tolerance::Steps);
                let matches = |left: i128, right: i128| {
                    let ordered = match op {
                        MatchOp::GtEq => left >= right,
                        MatchOp::Gt => left > right,
                        MatchOp::LtEq => left <= right,
                        MatchOp::Lt => left < right,
                        MatchOp::Nearest => true,
                    };
                    ordered && steps.is_none_or(|steps| left.abs_diff(right) <= steps)
                };
                for side in [Side::Left, Side::Right] {
                    let span = Span {
                        least: Some(4),
                        most: Some(6),
                    };
                    let reached = reach((op, tolerance), span, side);
                    for place in -5..15 {
                        let can_match = (4..=6).any(|other| match side {
                            Side::Left => matches(place, other),
                            _ => matches(other, place),
                        });
                        let within = reached.least.is_none_or(|least| least <= place)
                            && reached.most.is_none_or(|most| place <= most);
                        assert!(within || !can_match, "{op:?} {steps:?} {side:?} {place}");
                        // Of times that must differ by 1 at least none is within 0.
                        let exact = op.allows_equal() || steps != Some(0);
                        assert!(can_match || !within || !exact, "{op:?} {steps:?} {side:?}");
                    }
                }
            }
        }
    }
}
