//! Predicates of `ON`, as the definition, the operator, a `DataFrame` and SQL are told them.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Operator, binary_expr};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column as ColumnExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::prelude::{Expr, col, lit, not};

use crate::table::Table;
use crate::types::Dice;
use crate::value::Value;

#[derive(Clone, Debug)]
pub(crate) enum Predicate {
    Compare(Operand, Operator, Operand),
    IsNull(Operand),
    Not(Box<Predicate>),
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
}

/// Something of type Int64, but for the times, of which both have one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    LeftExtra,
    RightExtra,
    LeftTime,
    RightTime,
    Number(i64),
}

/// A random predicate; `times` says whether those of the two sides can be compared as they are.
pub(crate) fn predicate(dice: &mut Dice, depth: usize, times: bool) -> Predicate {
    use Operand::{LeftExtra, LeftTime, Number, RightExtra, RightTime};
    let deeper = |dice: &mut Dice| Box::new(predicate(dice, depth - 1, times));
    if depth > 0 && dice.percent(35) {
        return match dice.below(4) {
            0 => Predicate::Not(deeper(dice)),
            1 => Predicate::Or(deeper(dice), deeper(dice)),
            _ => Predicate::And(deeper(dice), deeper(dice)),
        };
    }
    let number = |dice: &mut Dice| Number(dice.below(6) as i64);
    let op = *dice.pick(&[
        Operator::GtEq,
        Operator::LtEq,
        Operator::LtEq,
        Operator::Lt,
        Operator::Gt,
        Operator::NotEq,
    ]);
    match dice.below(10) {
        0 => Predicate::IsNull(*dice.pick(&[LeftExtra, RightExtra])),
        1 => Predicate::Compare(LeftExtra, op, number(dice)),
        2 | 3 => Predicate::Compare(RightExtra, op, number(dice)),
        4 if times => Predicate::Compare(LeftTime, op, RightTime),
        5 => Predicate::Compare(LeftExtra, op, RightExtra),
        _ => Predicate::Compare(RightExtra, op, LeftExtra),
    }
}

impl Predicate {
    /// Whether one of its conjuncts is an inequality of the two times, which `nearest` refuses.
    pub(crate) fn compares_times(&self) -> bool {
        use Operand::{LeftTime, RightTime};
        match self {
            Self::Compare(LeftTime, op, RightTime) => *op != Operator::NotEq,
            Self::And(a, b) => a.compares_times() || b.compares_times(),
            _ => false,
        }
    }

    /// Three-valued: none is SQL's NULL.
    pub(crate) fn holds(
        &self,
        (left, l): (&Table, usize),
        (right, r): (&Table, usize),
    ) -> Option<bool> {
        let value = |operand: &Operand| match operand {
            Operand::LeftExtra => left.columns[left.extra].values[l].clone(),
            Operand::LeftTime => left.columns[left.time].values[l].clone(),
            Operand::RightExtra => right.columns[right.extra].values[r].clone(),
            Operand::RightTime => right.columns[right.time].values[r].clone(),
            Operand::Number(number) => Value::Int((*number).into()),
        };
        let holds = |predicate: &Predicate| predicate.holds((left, l), (right, r));
        match self {
            Self::Compare(a, op, b) => match (value(a), value(b)) {
                (Value::Int(a), Value::Int(b)) => Some(match op {
                    Operator::GtEq => a >= b,
                    Operator::Gt => a > b,
                    Operator::LtEq => a <= b,
                    Operator::Lt => a < b,
                    Operator::NotEq => a != b,
                    other => panic!("the generator does not use {other}"),
                }),
                _ => None,
            },
            Self::IsNull(operand) => Some(value(operand).is_null()),
            Self::Not(inner) => holds(inner).map(|holds| !holds),
            Self::And(a, b) => match (holds(a), holds(b)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (holds(a), holds(b)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }

    /// Over the left columns followed by the right columns.
    pub(crate) fn physical(&self, left: &Table, right: &Table) -> PhysicalExprRef {
        let column = |table: &Table, index: usize, before: usize| -> PhysicalExprRef {
            Arc::new(ColumnExpr::new(&table.columns[index].name, before + index))
        };
        let width = left.columns.len();
        let operand = |operand: &Operand| -> PhysicalExprRef {
            match operand {
                Operand::LeftExtra => column(left, left.extra, 0),
                Operand::LeftTime => column(left, left.time, 0),
                Operand::RightExtra => column(right, right.extra, width),
                Operand::RightTime => column(right, right.time, width),
                Operand::Number(number) => {
                    Arc::new(Literal::new(ScalarValue::Int64(Some(*number))))
                }
            }
        };
        let binary = |a, op, b| -> PhysicalExprRef { Arc::new(BinaryExpr::new(a, op, b)) };
        let inner = |predicate: &Predicate| predicate.physical(left, right);
        match self {
            Self::Compare(a, op, b) => binary(operand(a), *op, operand(b)),
            Self::IsNull(a) => Arc::new(IsNullExpr::new(operand(a))),
            Self::Not(a) => Arc::new(NotExpr::new(inner(a))),
            Self::And(a, b) => binary(inner(a), Operator::And, inner(b)),
            Self::Or(a, b) => binary(inner(a), Operator::Or, inner(b)),
        }
    }

    /// Over tables `l` and `r`.
    pub(crate) fn logical(&self, left: &Table, right: &Table) -> Expr {
        let operand = |operand: &Operand| match operand {
            Operand::Number(number) => lit(*number),
            column => col(name(column, left, right)),
        };
        let inner = |predicate: &Predicate| predicate.logical(left, right);
        match self {
            Self::Compare(a, op, b) => binary_expr(operand(a), *op, operand(b)),
            Self::IsNull(a) => operand(a).is_null(),
            Self::Not(a) => not(inner(a)),
            Self::And(a, b) => inner(a).and(inner(b)),
            Self::Or(a, b) => inner(a).or(inner(b)),
        }
    }

    /// Over tables `l` and `r`.
    pub(crate) fn sql(&self, left: &Table, right: &Table) -> String {
        let operand = |operand: &Operand| name(operand, left, right);
        let inner = |predicate: &Predicate| predicate.sql(left, right);
        match self {
            Self::Compare(a, op, b) => format!("{} {op} {}", operand(a), operand(b)),
            Self::IsNull(a) => format!("{} IS NULL", operand(a)),
            Self::Not(a) => format!("NOT ({})", inner(a)),
            Self::And(a, b) => format!("({}) AND ({})", inner(a), inner(b)),
            Self::Or(a, b) => format!("(({}) OR ({}))", inner(a), inner(b)),
        }
    }

    /// Smaller predicates that might fail the same way.
    pub(crate) fn parts(&self) -> Vec<Predicate> {
        match self {
            Self::Compare(..) | Self::IsNull(_) => vec![],
            Self::Not(a) => vec![a.as_ref().clone()],
            Self::And(a, b) | Self::Or(a, b) => vec![a.as_ref().clone(), b.as_ref().clone()],
        }
    }

    /// How many predicates it is made of.
    pub(crate) fn size(&self) -> usize {
        1 + self.parts().iter().map(Predicate::size).sum::<usize>()
    }

    /// Whether a conjunct compares the two sides: in `ON`, it might be the condition on time.
    pub(crate) fn compares_sides(&self) -> bool {
        let of_left = |operand: &Operand| matches!(operand, Operand::LeftExtra | Operand::LeftTime);
        match self {
            Self::And(a, b) => a.compares_sides() || b.compares_sides(),
            Self::Compare(a, op, b) => *op != Operator::NotEq && of_left(a) != of_left(b),
            _ => false,
        }
    }
}

fn name(operand: &Operand, left: &Table, right: &Table) -> String {
    match operand {
        Operand::LeftExtra => format!("l.{}", left.columns[left.extra].name),
        Operand::LeftTime => format!("l.{}", left.columns[left.time].name),
        Operand::RightExtra => format!("r.{}", right.columns[right.extra].name),
        Operand::RightTime => format!("r.{}", right.columns[right.time].name),
        Operand::Number(number) => number.to_string(),
    }
}
