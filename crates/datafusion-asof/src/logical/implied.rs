//! What a filter on left rows says of the right rows that can match them.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, ExprSchema, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, lit};
use datafusion::scalar::ScalarValue;

use super::AsOfJoinNode;
use crate::kernel::domain::TimeDomain;
use crate::kernel::reach::{Span, reach};
use crate::kernel::tolerance::Tolerance;
use crate::spec::Side;

impl AsOfJoinNode {
    /// Conditions on right columns that every right row fulfils which matches a left row that
    /// fulfils `conjunct`: the same of its keys, if it reads keys alone, and bounds of its time,
    /// if it compares the left time with a constant.
    pub(crate) fn implied_on_right(&self, conjunct: &Expr) -> Result<Vec<Expr>> {
        let mut implied: Vec<Expr> = self.on_right_keys(conjunct)?.into_iter().collect();
        if let Some(span) = self.left_span(conjunct)? {
            implied.extend(self.on_right_time(span)?);
        }
        Ok(implied)
    }

    /// The conjunct with left keys replaced by right ones, if it can be asked of any key.
    fn on_right_keys(&self, conjunct: &Expr) -> Result<Option<Expr>> {
        if !has_value_for_every_row(conjunct) {
            return Ok(None);
        }
        let right_key = |column: &Column| {
            let keys = self.spec().on.iter();
            let mut of_column = keys.filter(|key| key.left == Expr::Column(column.clone()));
            of_column.next().map(|key| &key.right)
        };
        for column in conjunct.column_refs() {
            let Some(right) = right_key(column) else {
                return Ok(None);
            };
            let left_type = self.left().schema().data_type(column)?;
            let same_type = *left_type == right.get_type(self.right().schema())?;
            // Of two floats that are equal a filter may pass one.
            if !same_type || left_type.is_floating() || left_type.is_nested() {
                return Ok(None);
            }
        }
        let on_right = conjunct.clone().transform(|expr| {
            Ok(match &expr {
                Expr::Column(column) => match right_key(column) {
                    Some(right) => Transformed::yes(right.clone()),
                    None => Transformed::no(expr),
                },
                _ => Transformed::no(expr),
            })
        })?;
        Ok(Some(on_right.data))
    }

    /// The left times that fulfil a comparison with a constant.
    fn left_span(&self, conjunct: &Expr) -> Result<Option<Span>> {
        let time = &self.spec().match_condition.left;
        let (op, constant) = match conjunct {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
                (left, Expr::Literal(constant, _)) if left == time => (*op, constant),
                (Expr::Literal(constant, _), right) if right == time => match op.swap() {
                    Some(op) => (op, constant),
                    None => return Ok(None),
                },
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let domain = self.domain()?;
        if constant.data_type() != time.get_type(self.left().schema())? {
            return Ok(None);
        }
        let Some(place) = domain.place(Side::Left, &constant.to_array()?)? else {
            return Ok(None);
        };
        let (least, most) = match op {
            Operator::Eq => (Some(place), Some(place)),
            Operator::Lt => (None, Some(place.saturating_sub(1))),
            Operator::LtEq => (None, Some(place)),
            Operator::Gt => (Some(place.saturating_add(1)), None),
            Operator::GtEq => (Some(place), None),
            _ => return Ok(None),
        };
        Ok(Some(Span { least, most }))
    }

    fn on_right_time(&self, of_left: Span) -> Result<Vec<Expr>> {
        let domain = self.domain()?;
        let condition = &self.spec().match_condition;
        let tolerance = match &self.spec().tolerance {
            Some(Expr::Literal(limit, _)) => Some(Tolerance::try_new(&domain, &limit.to_array()?)?),
            _ => None,
        };
        let Span { least, most } = reach((condition.op, tolerance), of_left, Side::Right);
        let least = least.map(|place| domain.value_from(Side::Right, place));
        let most = most.map(|place| domain.value_up_to(Side::Right, place));
        let mut bounds = vec![];
        if let Some(least) = least.transpose()?.flatten() {
            let least = ScalarValue::try_from_array(&least, 0)?;
            bounds.push(condition.right.clone().gt_eq(lit(least)));
        }
        if let Some(most) = most.transpose()?.flatten() {
            let most = ScalarValue::try_from_array(&most, 0)?;
            bounds.push(condition.right.clone().lt_eq(lit(most)));
        }
        Ok(bounds)
    }

    fn domain(&self) -> Result<TimeDomain> {
        let condition = &self.spec().match_condition;
        TimeDomain::try_new(
            &condition.left.get_type(self.left().schema())?,
            &condition.right.get_type(self.right().schema())?,
        )
    }
}

/// Whether evaluating an expression cannot fail: the right has keys that the left has not, and
/// a cast or a division that the left allows must not fail for one of those.
fn has_value_for_every_row(expr: &Expr) -> bool {
    let may_fail = |part: &Expr| {
        Ok(match part {
            Expr::BinaryExpr(BinaryExpr { op, .. }) => !matches!(
                op,
                Operator::Eq
                    | Operator::NotEq
                    | Operator::Lt
                    | Operator::LtEq
                    | Operator::Gt
                    | Operator::GtEq
                    | Operator::IsDistinctFrom
                    | Operator::IsNotDistinctFrom
                    | Operator::And
                    | Operator::Or
            ),
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::InList(_)
            | Expr::Between(_)
            | Expr::Like(_) => false,
            _ => true,
        })
    };
    !expr.exists(may_fail).unwrap_or(true)
}
