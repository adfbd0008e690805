//! The conjuncts of `ON` and the match condition, sorted out.
//!
//! | conjunct | is |
//! |---|---|
//! | `l = r`, `l IS NOT DISTINCT FROM r` | a key |
//! | the written match condition; without one, the one comparison of the two sides | the condition on time |
//! | `r.ts >= l.ts - X`, `l.ts - r.ts <= X` and the like | a tolerance, where exactly that |
//! | anything else | a predicate on candidates |
//!
//! Without any condition on time the two inputs may each have one declared time order
//! ([`declared_time`](super::declared_time)), as QuestDB's form has it.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, HashSet, Result, ScalarValue, plan_datafusion_err, plan_err,
};
use datafusion::logical_expr::expr_rewriter::normalize_col_with_schemas_and_ambiguity_check;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::builder::{Condition, Located, Location, locate};
use super::declared_time::declared_time;
use super::distance::{as_distance, limits_distance};
use crate::spec::{AsOfKey, MatchCondition, MatchOp, Side};

const HOW_TO_WRITE: &str = "write MATCH_CONDITION (l.ts >= r.ts), or ON … AND l.ts >= r.ts";

/// The two inputs that conditions read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'a> {
    left: &'a LogicalPlan,
    right: &'a LogicalPlan,
}

impl<'a> Sides<'a> {
    pub(super) fn of(left: &'a LogicalPlan, right: &'a LogicalPlan) -> Self {
        Self { left, right }
    }

    /// Qualifies the columns of a condition and refuses what a condition cannot hold.
    pub(super) fn resolve(&self, expr: Expr) -> Result<Expr> {
        refuse_parts(&expr)?;
        let schemas: &[&[&DFSchema]] = &[&[self.left.schema(), self.right.schema()]];
        normalize_col_with_schemas_and_ambiguity_check(expr, schemas, &[])
    }

    /// Whether the operands within a resolved expression fit: DataFusion would find out later,
    /// and not know the place.
    pub(super) fn check_types(&self, expr: &Expr) -> Result<()> {
        let open = |part: &Expr| Ok(matches!(part, Expr::Placeholder(_)));
        if !expr.exists(open)? {
            let both = self.left.schema().join(self.right.schema())?;
            ExprSimplifier::new(SimplifyContext::default()).coerce(expr.clone(), &both)?;
        }
        Ok(())
    }

    /// Which inputs a resolved expression reads.
    pub(super) fn read_by(&self, expr: &Expr) -> Side {
        let columns = expr.column_refs();
        let left = columns.iter().any(|c| self.left.schema().has_column(c));
        let right = columns.iter().any(|c| self.right.schema().has_column(c));
        match (left, right) {
            (false, false) => Side::Neither,
            (true, false) => Side::Left,
            (false, true) => Side::Right,
            (true, true) => Side::Both,
        }
    }

    pub(super) fn type_of(&self, expr: &Expr) -> Result<DataType> {
        match self.read_by(expr) {
            Side::Right => expr.get_type(self.right.schema()),
            _ => expr.get_type(self.left.schema()),
        }
    }

    fn check_boolean(&self, expr: &Expr) -> Result<()> {
        self.check_types(expr)?;
        let both = self.left.schema().join(self.right.schema())?;
        match expr.get_type(&both)? {
            DataType::Boolean | DataType::Null => Ok(()),
            other => plan_err!("a condition in ON is true or false, but {expr} is of type {other}"),
        }
    }

    /// A comparison of the two sides as `left op right`.
    fn comparison(&self, expr: &Expr) -> Option<MatchCondition<Expr>> {
        let (left, op, right) = comparison(expr)?;
        match (self.read_by(left), self.read_by(right)) {
            (Side::Left, Side::Right) => Some(condition(left, op, right)),
            (Side::Right, Side::Left) => Some(condition(right, op.swap(), left)),
            _ => None,
        }
    }

    fn nearest(&self, a: Expr, b: Expr) -> Result<MatchCondition<Expr>> {
        let (a, b) = (self.resolve(a)?, self.resolve(b)?);
        match (self.read_by(&a), self.read_by(&b)) {
            (Side::Left, Side::Right) => Ok(condition(&a, MatchOp::Nearest, &b)),
            (Side::Right, Side::Left) => Ok(condition(&b, MatchOp::Nearest, &a)),
            (side, Side::Left | Side::Right) => not_one_sided(&a, side),
            (_, side) => not_one_sided(&b, side),
        }
    }
}

fn condition(left: &Expr, op: MatchOp, right: &Expr) -> MatchCondition<Expr> {
    MatchCondition {
        left: left.clone(),
        op,
        right: right.clone(),
    }
}

/// What the conditions come to.
#[derive(Debug)]
pub(super) struct Sorted {
    pub keys: Vec<Located<AsOfKey<Expr>>>,
    pub condition: Located<MatchCondition<Expr>>,
    /// A tolerance that was written as a predicate.
    pub tolerance: Option<Located<Expr>>,
    /// Further predicates, each with the side that it reads.
    pub predicates: Vec<Located<(Expr, Side)>>,
    /// Whether the condition on time stands in `ON` or `USING`.
    pub like_duckdb: bool,
}

/// Collects conditions.
#[derive(Debug)]
pub(super) struct Conditions<'a> {
    sides: Sides<'a>,
    keys: Vec<Located<AsOfKey<Expr>>>,
    condition: Option<Located<MatchCondition<Expr>>>,
    like_duckdb: bool,
    predicates: Vec<Located<(Expr, Side)>>,
}

impl<'a> Conditions<'a> {
    pub(super) fn new(sides: Sides<'a>) -> Self {
        Self {
            sides,
            keys: vec![],
            condition: None,
            like_duckdb: false,
            predicates: vec![],
        }
    }

    /// What stands in `MATCH_CONDITION`.
    pub(super) fn take_match_condition(&mut self, written: Located<Condition>) -> Result<()> {
        let Located { value, at } = written;
        let value = match value {
            Condition::Nearest(a, b) => self.sides.nearest(a, b),
            Condition::Predicate(expr) => self.match_condition(expr),
        };
        let value = value.map_err(|e| locate(e, at))?;
        self.condition = Some(Located { value, at });
        Ok(())
    }

    fn match_condition(&self, expr: Expr) -> Result<MatchCondition<Expr>> {
        let expr = self.sides.resolve(expr)?;
        if let Some(condition) = self.sides.comparison(&expr) {
            return Ok(condition);
        }
        let Some((left, _, right)) = comparison(&expr) else {
            return plan_err!(
                "MATCH_CONDITION takes one comparison with >=, >, <= or <, or nearest(l.ts, r.ts), \
                 not {expr}: write other conditions in ON"
            );
        };
        match (self.sides.read_by(left), self.sides.read_by(right)) {
            (Side::Left, Side::Left) => not_one_sided(&expr, Side::Left),
            (Side::Right, Side::Right) => not_one_sided(&expr, Side::Right),
            (side @ (Side::Both | Side::Neither), _) => not_one_sided(left, side),
            (_, side) => not_one_sided(right, side),
        }
    }

    /// One conjunct of `ON`.
    pub(super) fn take_conjunct(&mut self, conjunct: Located<Condition>) -> Result<()> {
        let Located { value, at } = conjunct;
        let sorted = match value {
            Condition::Predicate(expr) => self.predicate(expr, at),
            Condition::Nearest(a, b) => self.sides.nearest(a, b).and_then(|value| {
                if self.condition.is_some() {
                    return second_condition("nearest");
                }
                self.condition = Some(Located { value, at });
                self.like_duckdb = true;
                Ok(())
            }),
        };
        sorted.map_err(|e| locate(e, at))
    }

    fn predicate(&mut self, expr: Expr, at: Option<Location>) -> Result<()> {
        if let Expr::Between(between) = &expr
            && !between.negated
        {
            // Two comparisons, of which one may be the condition on time.
            let Between {
                expr, low, high, ..
            } = between.clone();
            self.predicate(expr.as_ref().clone().gt_eq(*low), at)?;
            return self.predicate(expr.lt_eq(*high), at);
        }
        let expr = self.sides.resolve(expr)?;
        if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr
            && let Operator::Eq | Operator::IsNotDistinctFrom = op
        {
            let pair = match (self.sides.read_by(left), self.sides.read_by(right)) {
                (Side::Left, Side::Right) => Some((left, right)),
                (Side::Right, Side::Left) => Some((right, left)),
                _ => None,
            };
            if let Some((left, right)) = pair {
                let value = AsOfKey {
                    left: left.as_ref().clone(),
                    right: right.as_ref().clone(),
                    null_equals_null: *op == Operator::IsNotDistinctFrom,
                };
                self.keys.push(Located { value, at });
                return Ok(());
            }
        }
        let side = self.sides.read_by(&expr);
        let holds = expr == Expr::Literal(ScalarValue::Boolean(Some(true)), None);
        let again = self.predicates.iter().any(|known| known.value.0 == expr);
        if !holds && !again {
            let value = (expr, side);
            self.predicates.push(Located { value, at });
        }
        Ok(())
    }

    /// The columns of `USING` as keys and, without a match condition, the last as the as-of
    /// column. Returns the columns of both sides that come out once.
    pub(super) fn take_using(
        &mut self,
        using: Vec<Located<String>>,
    ) -> Result<Vec<(Column, Column)>> {
        let count = using.len();
        let mut merged: Vec<(Column, Column)> = vec![];
        for (i, name) in using.into_iter().enumerate() {
            let at = name.at;
            let (left, right) = self.column_pair(name, "USING")?;
            if merged.iter().any(|(known, _)| *known == left) {
                let twice = plan_datafusion_err!("USING names column {} twice", left.name);
                return Err(locate(twice, at));
            }
            merged.push((left.clone(), right.clone()));
            let (left, right) = (Expr::Column(left), Expr::Column(right));
            if i + 1 == count && self.condition.is_none() {
                let value = condition(&left, MatchOp::GtEq, &right);
                self.condition = Some(Located { value, at });
                self.like_duckdb = true;
            } else {
                self.key(left, right, at);
            }
        }
        Ok(merged)
    }

    /// The columns of QuestDB's `ON (…)` as keys.
    pub(super) fn take_key_columns(&mut self, columns: Vec<Located<String>>) -> Result<()> {
        let mut names = HashSet::new();
        for name in columns {
            let at = name.at;
            if !names.insert(name.value.clone()) {
                let twice = plan_datafusion_err!("ON names column {} twice", name.value);
                return Err(locate(twice, at));
            }
            let (left, right) = self.column_pair(name, "ON")?;
            self.key(Expr::Column(left), Expr::Column(right), at);
        }
        Ok(())
    }

    fn key(&mut self, left: Expr, right: Expr, at: Option<Location>) {
        let value = AsOfKey {
            left,
            right,
            null_equals_null: false,
        };
        self.keys.push(Located { value, at });
    }

    fn column_pair(&self, name: Located<String>, clause: &str) -> Result<(Column, Column)> {
        let Located { value: name, at } = name;
        let column = |plan: &LogicalPlan, side: &str| {
            let found = plan.schema().columns_with_unqualified_name(&name);
            match <[Column; 1]>::try_from(found) {
                Ok([column]) => Ok(column),
                Err(found) if found.is_empty() => {
                    plan_err!("{clause} column {name} is not a column of the {side} side")
                }
                Err(_) => plan_err!(
                    "{clause} column {name} is ambiguous on the {side} side: \
                     write the condition in ON"
                ),
            }
        };
        let left = column(self.sides.left, "left").map_err(|e| locate(e, at))?;
        let right = column(self.sides.right, "right").map_err(|e| locate(e, at))?;
        Ok((left, right))
    }

    /// Everything sorted out; `strict` as in `LT JOIN`.
    ///
    /// # Errors
    /// Planning errors if there is no condition on time, or more than one.
    pub(super) fn finish(mut self, strict: bool) -> Result<Sorted> {
        let using_or_on = self.like_duckdb;
        if self.condition.is_none() {
            self.choose_comparison()?;
        }
        let written = self.condition.is_some();
        let mut condition = match self.condition.take() {
            Some(condition) => condition,
            None => Located::nowhere(self.declared_condition()?),
        };
        if strict {
            let op = &mut condition.value.op;
            match *op {
                // `USING` and a declared order name no comparison.
                MatchOp::GtEq if using_or_on || !written => *op = MatchOp::Gt,
                MatchOp::Gt => {}
                _ => {
                    let refused = plan_datafusion_err!(
                        "LT JOIN means strictly earlier, {} does not: write > or ASOF JOIN",
                        condition.value
                    );
                    return Err(locate(refused, condition.at));
                }
            }
        }
        if condition.value.op == MatchOp::Nearest {
            self.refuse_inequality(&condition.value)?;
        }
        let mut tolerance = None;
        self.predicates.retain(|predicate| {
            let distance = match tolerance {
                None => as_distance(&predicate.value.0, &condition.value, self.sides),
                Some(_) => None,
            };
            match distance {
                Some(value) => {
                    tolerance = Some(Located {
                        value,
                        at: predicate.at,
                    });
                    false
                }
                None => true,
            }
        });
        for Located { value, at } in &self.predicates {
            let checked = self.sides.check_boolean(&value.0);
            checked.map_err(|e| locate(e, *at))?;
        }
        let MatchCondition { left, right, .. } = &condition.value;
        let times = [(left, condition.at), (right, condition.at)].into_iter();
        let keys = self.keys.iter();
        let keys = keys.flat_map(|key| [&key.value.left, &key.value.right].map(|e| (e, key.at)));
        for (operand, at) in times.chain(keys) {
            let checked = self.sides.check_types(operand);
            checked.map_err(|e| locate(e, at))?;
        }
        Ok(Sorted {
            keys: self.keys,
            condition,
            tolerance,
            predicates: self.predicates,
            like_duckdb: self.like_duckdb,
        })
    }

    /// `nearest` together with an inequality: with one of its own operands it looks one way, and
    /// in `ON` no one can tell which of the two is the condition on time.
    fn refuse_inequality(&self, nearest: &MatchCondition<Expr>) -> Result<()> {
        for Located { value, at } in &self.predicates {
            let predicate = &value.0;
            let Some(MatchCondition { left, right, .. }) = self.sides.comparison(predicate) else {
                continue;
            };
            let refused = if left == nearest.left && right == nearest.right {
                plan_err!(
                    "nearest takes the place of an inequality, {predicate} is one of the same \
                     values: write one or the other"
                )
            } else if self.like_duckdb {
                second_condition(&predicate.to_string())
            } else {
                continue;
            };
            return refused.map_err(|e| locate(e, *at));
        }
        Ok(())
    }

    /// Makes the one comparison of the two sides the condition on time. Of several it is the
    /// one for which all others are limits on the distance.
    fn choose_comparison(&mut self) -> Result<()> {
        let comparisons: Vec<(usize, MatchCondition<Expr>)> = (self.predicates.iter().enumerate())
            .filter_map(|(i, known)| Some((i, self.sides.comparison(&known.value.0)?)))
            .collect();
        let others_limit = |(i, condition): &&(usize, MatchCondition<Expr>)| {
            comparisons.iter().all(|(other, _)| {
                other == i || limits_distance(&self.predicates[*other].value.0, condition)
            })
        };
        let chosen: Vec<_> = comparisons.iter().filter(others_limit).collect();
        match (chosen.as_slice(), comparisons.as_slice()) {
            ([(i, condition)], _) => {
                let (i, value) = (*i, condition.clone());
                let at = self.predicates.remove(i).at;
                self.condition = Some(Located { value, at });
                self.like_duckdb = true;
                Ok(())
            }
            (_, []) => Ok(()),
            (_, [_, (second, _), ..]) | (_, [(second, _)]) => {
                let second = &self.predicates[*second];
                let refused = second_condition(&second.value.0.to_string());
                refused.map_err(|e| locate(e, second.at))
            }
        }
    }

    /// The condition on the declared time orders of both inputs.
    fn declared_condition(&self) -> Result<MatchCondition<Expr>> {
        let mut predicates = self.predicates.iter();
        if let Some(Located { value, at }) = predicates.find(|known| known.value.1 == Side::Both) {
            let no_comparison = plan_datafusion_err!(
                "an ASOF JOIN needs a condition on time, and {} reads both sides without \
                 comparing one with the other: {HOW_TO_WRITE}",
                value.0
            );
            return Err(locate(no_comparison, *at));
        }
        let keys = || self.keys.iter().map(|key| &key.value);
        let is = |expr: &Expr, column: &Column| *expr == Expr::Column(column.clone());
        match (
            declared_time(self.sides.left, |c| keys().any(|key| is(&key.left, c))),
            declared_time(self.sides.right, |c| keys().any(|key| is(&key.right, c))),
        ) {
            (Some(left), Some(right)) => Ok(condition(
                &Expr::Column(left),
                MatchOp::GtEq,
                &Expr::Column(right),
            )),
            (left, right) => {
                let missing = match (left, right) {
                    (None, None) => "neither side has",
                    (None, _) => "the left side has not",
                    _ => "the right side has not",
                };
                plan_err!(
                    "an ASOF JOIN needs a condition on time: {HOW_TO_WRITE} (without one, both \
                     sides need one declared time order, WITH ORDER (ts), and {missing})"
                )
            }
        }
    }
}

fn second_condition<T>(second: &str) -> Result<T> {
    plan_err!(
        "an ASOF JOIN takes one condition on time, {second} is a second one: write the condition \
         on time in MATCH_CONDITION, or the limit on distance as TOLERANCE"
    )
}

fn not_one_sided<T>(operand: &Expr, side: Side) -> Result<T> {
    let why = match side {
        Side::Both => "reads both sides",
        Side::Neither => "reads neither side",
        Side::Left => "reads the left side only",
        Side::Right => "reads the right side only",
    };
    plan_err!(
        "a condition on time compares an expression of the left side with one of the right, \
         but {operand} {why}: {HOW_TO_WRITE}"
    )
}

pub(super) fn comparison(expr: &Expr) -> Option<(&Expr, MatchOp, &Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return None;
    };
    let op = match op {
        Operator::GtEq => MatchOp::GtEq,
        Operator::Gt => MatchOp::Gt,
        Operator::LtEq => MatchOp::LtEq,
        Operator::Lt => MatchOp::Lt,
        _ => return None,
    };
    Some((left, op, right))
}

/// Refuses subqueries, volatile functions, aggregates and outer references.
pub(super) fn refuse_parts(expr: &Expr) -> Result<()> {
    expr.apply(|part| {
        let what = match part {
            Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_) => "a subquery",
            Expr::OuterReferenceColumn(_, _) => "a reference to an outer query",
            Expr::AggregateFunction(_) => "an aggregate function",
            Expr::WindowFunction(_) => "a window function",
            Expr::Unnest(_) => "UNNEST",
            Expr::ScalarFunction(_) if part.is_volatile_node() => "a volatile function",
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        plan_err!("{what} is not supported in the condition of an ASOF JOIN: {part}")
    })?;
    Ok(())
}
