//! The farthest distance in time of a match: `TOLERANCE`, and predicates that mean one.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::conditions::{Sides, comparison, refuse_parts};
use crate::kernel::domain::TimeDomain;
use crate::kernel::tolerance::Tolerance;
use crate::spec::{AsOfDirection, MatchCondition, MatchOp};

/// A tolerance as a literal of a fitting type, or as it is while it has parameters.
pub(super) fn constant(expr: Expr, domain: &TimeDomain) -> Result<Expr> {
    refuse_parts(&expr)?;
    if let Some(column) = expr.column_refs().into_iter().next() {
        return plan_err!("TOLERANCE must be a constant, but it reads {column}");
    }
    if expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_))))? {
        return Ok(expr);
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let coerced = simplifier.coerce(expr, &DFSchema::empty())?;
    let simplified = simplifier.simplify(coerced).map_err(|e| {
        // An error of a cast has no place of its own.
        plan_datafusion_err!("TOLERANCE has no value: {}", e.find_root())
    })?;
    match simplified {
        Expr::Literal(value, metadata) => {
            Tolerance::try_new(domain, &value.to_array()?)?;
            Ok(Expr::Literal(value, metadata))
        }
        other => plan_err!("TOLERANCE must be a constant, not {other}"),
    }
}

/// A predicate that limits how far apart the two as-of values are.
///
/// With `earlier` and `later` the operands in the direction of the condition:
/// `later - earlier <= X`, `earlier >= later - X`, `later <= earlier + X`, and their mirror
/// images; or the same with `<`.
struct Limit<'a> {
    earlier: &'a Expr,
    later: &'a Expr,
    distance: Expr,
    inclusive: bool,
    /// Whether it is the difference that is compared.
    is_difference: bool,
}

impl<'a> Limit<'a> {
    fn read(predicate: &Expr, condition: &'a MatchCondition<Expr>) -> Option<Self> {
        let (later, earlier) = match condition.op.direction() {
            AsOfDirection::Backward => (&condition.left, &condition.right),
            AsOfDirection::Forward => (&condition.right, &condition.left),
            AsOfDirection::Nearest => return None,
        };
        let (left, op, right) = comparison(predicate)?;
        let (less, greater) = match op {
            MatchOp::LtEq | MatchOp::Lt => (left, right),
            _ => (right, left),
        };
        let arithmetic = |expr: &Expr, wanted: Operator| match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == wanted => {
                Some((left.as_ref().clone(), right.as_ref().clone()))
            }
            _ => None,
        };
        let (distance, is_difference) =
            if let Some((minuend, subtrahend)) = arithmetic(less, Operator::Minus) {
                if minuend == *later && subtrahend == *earlier {
                    // later - earlier <= X
                    (greater.clone(), true)
                } else if minuend == *later && greater == earlier {
                    // later - X <= earlier
                    (subtrahend, false)
                } else {
                    return None;
                }
            } else if let Some((a, b)) = arithmetic(greater, Operator::Plus)
                && less == later
            {
                // later <= earlier + X
                match (a == *earlier, b == *earlier) {
                    (true, _) => (b, false),
                    (_, true) => (a, false),
                    _ => return None,
                }
            } else {
                return None;
            };
        Some(Self {
            earlier,
            later,
            distance,
            inclusive: op.allows_equal(),
            is_difference,
        })
    }
}

/// Whether a predicate limits how far apart the two as-of values are.
pub(super) fn limits_distance(predicate: &Expr, condition: &MatchCondition<Expr>) -> bool {
    Limit::read(predicate, condition).is_some()
}

/// The limit as a tolerance, where it is the same to the last unit: constants not negative, of
/// whole units of the as-of values, of one type on both sides. Any other stays a predicate.
pub(super) fn as_distance(
    predicate: &Expr,
    condition: &MatchCondition<Expr>,
    sides: Sides<'_>,
) -> Option<Expr> {
    let limit = Limit::read(predicate, condition)?;
    let data_type = sides.type_of(limit.later).ok()?;
    if !limit.inclusive || data_type != sides.type_of(limit.earlier).ok()? {
        return None;
    }
    let is_difference = limit.is_difference;
    let Expr::Literal(value, _) = folded(limit.distance)? else {
        return None;
    };
    let same = match (&data_type, &value) {
        (DataType::Timestamp(unit, _), _) => is_whole(&value, *unit),
        (integer, number) if integer.is_signed_integer() => {
            number.data_type().is_signed_integer()
                && ScalarValue::new_zero(&number.data_type()).is_ok_and(|zero| zero <= *number)
        }
        // A rounded difference is what a tolerance compares, a rounded sum is not.
        (DataType::Float64, ScalarValue::Float64(Some(limit))) => is_difference && *limit >= 0.0,
        _ => false,
    };
    same.then_some(Expr::Literal(value, None))
}

/// The expression as a literal, if it is constant.
fn folded(expr: Expr) -> Option<Expr> {
    if !expr.column_refs().is_empty() || refuse_parts(&expr).is_err() {
        return None;
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let coerced = simplifier.coerce(expr, &DFSchema::empty()).ok()?;
    simplifier.simplify(coerced).ok()
}

/// Whether a span has a fixed length of whole units and is not negative.
fn is_whole(span: &ScalarValue, unit: TimeUnit) -> bool {
    let unit = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    match span {
        ScalarValue::IntervalMonthDayNano(Some(span)) => {
            span.months == 0
                && span.days >= 0
                && span.nanoseconds >= 0
                && span.nanoseconds % unit == 0
        }
        ScalarValue::IntervalDayTime(Some(span)) => {
            let nanos = i64::from(span.milliseconds) * 1_000_000;
            span.days >= 0 && nanos >= 0 && nanos % unit == 0
        }
        _ => false,
    }
}
