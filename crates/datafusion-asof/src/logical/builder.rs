//! Conditions, as SQL or a caller wrote them, to a checked as-of join.
//!
//! [`AsOfJoinBuilder`] takes the conjuncts of `ON`, the match condition, the columns of
//! `USING` and the tolerance, each with its place in the user's text if it has one, and sorts
//! them out: equalities of the two sides are keys, the one inequality between the sides is
//! the match condition, and predicates on the right alone filter its rows before the choice.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, DataFusionError, Result, ScalarValue, plan_datafusion_err, plan_err,
};
use datafusion::logical_expr::expr_rewriter::normalize_col_with_schemas_and_ambiguity_check;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, Operator,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::align::{Operand, align_keys, align_times};
use super::node::AsOfJoinNode;
use crate::kernel::domain::TimeDomain;
use crate::kernel::tolerance::Tolerance;
use crate::spec::{AsOfJoinType, AsOfSpec, MatchCondition, MatchOp};

/// A place in the user's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub line: u64,
    pub column: u64,
}

impl Display for Location {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, " at Line: {}, Column: {}", self.line, self.column)
    }
}

/// The error with the place it is about, where it has none yet.
pub(crate) fn locate(error: DataFusionError, at: Option<Location>) -> DataFusionError {
    let Some(at) = at else { return error };
    match error {
        DataFusionError::Plan(message) if !message.contains(" at Line: ") => {
            DataFusionError::Plan(format!("{message}{at}"))
        }
        DataFusionError::NotImplemented(message) if !message.contains(" at Line: ") => {
            DataFusionError::NotImplemented(format!("{message}{at}"))
        }
        other => other,
    }
}

/// Something the user wrote, and where.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub value: T,
    pub at: Option<Location>,
}

impl<T> Located<T> {
    /// What no text says where it stands.
    pub(crate) fn nowhere(value: T) -> Self {
        Self { value, at: None }
    }
}

/// Builds an [`AsOfJoinNode`] from conditions.
#[derive(Debug)]
pub(crate) struct AsOfJoinBuilder {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    pub join_type: AsOfJoinType,
    /// The comparison of `MATCH_CONDITION`.
    pub match_condition: Option<Located<Expr>>,
    /// The conjuncts of `ON`.
    pub on: Vec<Located<Expr>>,
    /// The columns of `USING`; the last is the as-of column unless there is a match condition.
    pub using: Vec<Located<String>>,
    pub tolerance: Option<Located<Expr>>,
    /// Where the join itself stands.
    pub at: Option<Location>,
}

/// Which inputs an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Neither,
    Left,
    Right,
    Both,
}

/// The parts of the conditions, sorted out.
#[derive(Default)]
struct Parts {
    keys: Vec<Located<(Expr, Expr)>>,
    condition: Option<Located<MatchCondition<Expr>>>,
    right_filters: Vec<Expr>,
}

const HOW_TO_WRITE: &str = "write MATCH_CONDITION (l.ts >= r.ts), or ON … AND l.ts >= r.ts";

impl AsOfJoinBuilder {
    /// The join as a plan.
    ///
    /// # Errors
    /// Planning errors, with their place, for conditions that make no as-of join.
    pub(crate) fn build(mut self) -> Result<LogicalPlan> {
        let mut parts = Parts::default();
        if let Some(condition) = self.match_condition.take() {
            let at = condition.at;
            let found = self.resolve(condition.value);
            let found = found.and_then(|expr| self.match_condition_of(&expr));
            let value = found.map_err(|e| locate(e, at))?;
            parts.condition = Some(Located { value, at });
        }
        for conjunct in std::mem::take(&mut self.on) {
            let at = conjunct.at;
            let sorted = self.sort_out(conjunct, &mut parts);
            sorted.map_err(|e| locate(e, at))?;
        }
        let using = std::mem::take(&mut self.using);
        let merged = self.use_columns(using, &mut parts)?;
        let Some(Located {
            value: condition,
            at,
        }) = parts.condition
        else {
            let missing =
                plan_datafusion_err!("an ASOF JOIN needs a condition on time: {HOW_TO_WRITE}");
            return Err(locate(missing, self.at));
        };
        let (left_schema, right_schema) = (self.left.schema(), self.right.schema());
        let on = parts
            .keys
            .into_iter()
            .map(|key| {
                let (left, right) = key.value;
                let left = operand(left, left_schema);
                let aligned = align_keys(left, operand(right, right_schema));
                aligned.map_err(|e| locate(e, key.at))
            })
            .collect::<Result<_>>()?;
        let times = align_times(
            operand(condition.left, left_schema),
            operand(condition.right, right_schema),
        );
        let (left, right) = times.map_err(|e| locate(e, at))?;
        let tolerance = match self.tolerance.take() {
            Some(Located { value, at }) => {
                let domain = TimeDomain::try_new(
                    &left.get_type(left_schema)?,
                    &right.get_type(right_schema)?,
                )?;
                Some(constant(value, &domain).map_err(|e| locate(e, at))?)
            }
            None => None,
        };
        let spec = AsOfSpec {
            join_type: self.join_type,
            on,
            match_condition: MatchCondition {
                left,
                op: condition.op,
                right,
            },
            tolerance,
        };
        let right_filter = parts.right_filters.into_iter().reduce(Expr::and);
        let right = match right_filter {
            Some(filter) => LogicalPlanBuilder::from(self.right)
                .filter(filter)?
                .build()?,
            None => self.right,
        };
        let node = AsOfJoinNode::try_new(Arc::new(self.left), Arc::new(right), spec)
            .map_err(|e| locate(e, self.at))?;
        without(node, &merged)
    }

    fn match_condition_of(&self, expr: &Expr) -> Result<MatchCondition<Expr>> {
        let Some((left, op, right)) = comparison(expr) else {
            return plan_err!(
                "MATCH_CONDITION takes one comparison with >=, >, <= or <, not {expr}: \
                 write other conditions in ON"
            );
        };
        match (self.reads(&left), self.reads(&right)) {
            (Reads::Left, Reads::Right) => Ok(MatchCondition { left, op, right }),
            (Reads::Right, Reads::Left) => Ok(MatchCondition {
                left: right,
                op: op.swap(),
                right: left,
            }),
            (Reads::Both, _) => one_sided(&left, "reads both sides"),
            (_, Reads::Both) => one_sided(&right, "reads both sides"),
            (Reads::Neither, _) => one_sided(&left, "reads neither side"),
            (_, Reads::Neither) => one_sided(&right, "reads neither side"),
            (Reads::Left, Reads::Left) => one_sided(expr, "reads the left side only"),
            (Reads::Right, Reads::Right) => one_sided(expr, "reads the right side only"),
        }
    }

    /// Puts one conjunct of `ON` where it belongs.
    fn sort_out(&self, conjunct: Located<Expr>, parts: &mut Parts) -> Result<()> {
        let Located { value: expr, at } = conjunct;
        let expr = self.resolve(expr)?;
        if let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) = &expr
        {
            let pair = match (self.reads(left), self.reads(right)) {
                (Reads::Left, Reads::Right) => Some((left, right)),
                (Reads::Right, Reads::Left) => Some((right, left)),
                _ => None,
            };
            if let Some((left, right)) = pair {
                let value = (left.as_ref().clone(), right.as_ref().clone());
                parts.keys.push(Located { value, at });
                return Ok(());
            }
        }
        match self.reads(&expr) {
            Reads::Neither if expr == Expr::Literal(ScalarValue::Boolean(Some(true)), None) => {
                return Ok(());
            }
            Reads::Neither | Reads::Right => {
                parts.right_filters.push(expr);
                return Ok(());
            }
            Reads::Left => {
                return plan_err!(
                    "{expr} in ON reads the left side alone, which is not supported yet: \
                     filter the left side in a subquery, or use WHERE"
                );
            }
            Reads::Both => {}
        }
        if comparison(&expr).is_none() {
            return plan_err!(
                "{expr} in ON reads both sides and is neither an equality of keys nor the \
                 condition on time: such predicates are not supported yet"
            );
        }
        let value = self.match_condition_of(&expr)?;
        if parts.condition.is_some() {
            return plan_err!(
                "an ASOF JOIN takes one condition on time, {expr} is a second one: \
                 write the limit on distance as TOLERANCE"
            );
        }
        parts.condition = Some(Located { value, at });
        Ok(())
    }

    /// The columns of `USING` as keys and, without a match condition, the last as `>=`.
    /// Returns the right columns that the left ones stand for.
    fn use_columns(&self, using: Vec<Located<String>>, parts: &mut Parts) -> Result<Vec<Column>> {
        let count = using.len();
        let mut merged = vec![];
        for (i, Located { value: name, at }) in using.into_iter().enumerate() {
            let column = |plan: &LogicalPlan, side: &str| {
                let found = plan.schema().columns_with_unqualified_name(&name);
                match <[Column; 1]>::try_from(found) {
                    Ok([column]) => Ok(column),
                    Err(found) if found.is_empty() => {
                        plan_err!("USING column {name} is not a column of the {side} side")
                    }
                    Err(_) => plan_err!(
                        "USING column {name} is ambiguous on the {side} side: \
                         write the condition in ON"
                    ),
                }
            };
            let left = column(&self.left, "left").map_err(|e| locate(e, at))?;
            let right = column(&self.right, "right").map_err(|e| locate(e, at))?;
            if merged.contains(&right) {
                let twice = plan_datafusion_err!("USING names column {name} twice");
                return Err(locate(twice, at));
            }
            let pair = (Expr::Column(left), Expr::Column(right.clone()));
            merged.push(right);
            if i + 1 == count && parts.condition.is_none() {
                let value = MatchCondition {
                    left: pair.0,
                    op: MatchOp::GtEq,
                    right: pair.1,
                };
                parts.condition = Some(Located { value, at });
            } else {
                parts.keys.push(Located { value: pair, at });
            }
        }
        Ok(merged)
    }

    /// Qualifies the columns of a condition and refuses what a condition cannot hold.
    fn resolve(&self, expr: Expr) -> Result<Expr> {
        refuse_parts(&expr)?;
        let schemas: &[&[&DFSchema]] = &[&[self.left.schema(), self.right.schema()]];
        normalize_col_with_schemas_and_ambiguity_check(expr, schemas, &[])
    }

    fn reads(&self, expr: &Expr) -> Reads {
        let columns = expr.column_refs();
        let left = columns.iter().any(|c| self.left.schema().has_column(c));
        let right = columns.iter().any(|c| self.right.schema().has_column(c));
        match (left, right) {
            (false, false) => Reads::Neither,
            (true, false) => Reads::Left,
            (false, true) => Reads::Right,
            (true, true) => Reads::Both,
        }
    }
}

fn operand(expr: Expr, schema: &DFSchema) -> Operand<'_> {
    Operand { expr, schema }
}

fn one_sided<T>(operand: &Expr, why: &str) -> Result<T> {
    plan_err!(
        "a condition on time compares an expression of the left side with one of the right, \
         but {operand} {why}: {HOW_TO_WRITE}"
    )
}

fn comparison(expr: &Expr) -> Option<(Expr, MatchOp, Expr)> {
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
    Some((left.as_ref().clone(), op, right.as_ref().clone()))
}

/// Refuses subqueries, volatile functions, aggregates and outer references.
fn refuse_parts(expr: &Expr) -> Result<()> {
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

/// A tolerance as a literal of a fitting type, or as it is while it has parameters.
fn constant(expr: Expr, domain: &TimeDomain) -> Result<Expr> {
    refuse_parts(&expr)?;
    if let Some(column) = expr.column_refs().into_iter().next() {
        return plan_err!("TOLERANCE must be a constant, but it reads {column}");
    }
    if expr.exists(|part| Ok(matches!(part, Expr::Placeholder(_))))? {
        return Ok(expr);
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let coerced = simplifier.coerce(expr, &DFSchema::empty())?;
    match simplifier.simplify(coerced)? {
        Expr::Literal(value, metadata) => {
            Tolerance::try_new(domain, &value.to_array()?)?;
            Ok(Expr::Literal(value, metadata))
        }
        other => plan_err!("TOLERANCE must be a constant, not {other}"),
    }
}

/// The right columns of the join but for those that `USING` merged into the left's.
fn without(node: AsOfJoinNode, merged: &[Column]) -> Result<LogicalPlan> {
    let plan = LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    });
    if merged.is_empty() {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter();
    let kept = columns.filter(|column| !merged.contains(column));
    let kept: Vec<Expr> = kept.map(Expr::Column).collect();
    LogicalPlanBuilder::from(plan).project(kept)?.build()
}
