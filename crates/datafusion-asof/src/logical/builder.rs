//! Conditions, as SQL or a caller wrote them, to a checked as-of join.
//!
//! [`AsOfJoinBuilder`] takes what was written, each part with its place in the user's text if
//! it has one. [`conditions`](super::conditions) sorts the conjuncts out, types are aligned
//! ([`align`](super::align)), the tolerance becomes a constant ([`distance`](super::distance)),
//! and the checked [`AsOfSpec`] goes into a node.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::common::{Column, DataFusionError, Result, plan_datafusion_err, plan_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder};

use super::align::{Operand, align_keys, align_times};
use super::conditions::{Conditions, Sides};
use super::distance::constant;
use super::node::AsOfJoinNode;
use crate::kernel::domain::TimeDomain;
use crate::spec::{AsOfJoinType, AsOfSpec, MatchOp, NullPolicy, Side, TieOrder};

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
        DataFusionError::Diagnostic(diagnostic, inner) if diagnostic.span.is_none() => {
            DataFusionError::Diagnostic(diagnostic, Box::new(locate(*inner, Some(at))))
        }
        // Of a literal that cannot be read.
        DataFusionError::ArrowError(error, _) => DataFusionError::Plan(format!("{error}{at}")),
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

/// A condition as it is written.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// A predicate; in `MATCH_CONDITION` a comparison.
    Predicate(Expr),
    /// `nearest(a, b)`.
    Nearest(Expr, Expr),
}

/// Which join it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Written(AsOfJoinType),
    /// No kind is written, and the form of the condition says which it is.
    ByForm {
        /// With the condition on time in `ON` or `USING`.
        like_duckdb: AsOfJoinType,
        otherwise: AsOfJoinType,
    },
}

/// Builds an [`AsOfJoinNode`] from conditions.
#[derive(Debug)]
pub(crate) struct AsOfJoinBuilder {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    pub kind: Kind,
    /// Whether it is an `LT JOIN`: strictly earlier.
    pub strict: bool,
    /// What `MATCH_CONDITION` holds.
    pub match_condition: Option<Located<Condition>>,
    /// The conjuncts of `ON`.
    pub on: Vec<Located<Condition>>,
    /// The columns of `USING`; the last is the as-of column unless there is a match condition.
    pub using: Vec<Located<String>>,
    /// The columns of QuestDB's `ON (…)`: keys.
    pub on_columns: Vec<Located<String>>,
    pub tolerance: Option<Located<Expr>>,
    /// `TIES BY`.
    pub ties: Vec<Located<Sort>>,
    pub null_policy: NullPolicy,
    /// Where the join itself stands.
    pub at: Option<Location>,
}

impl AsOfJoinBuilder {
    /// A join of which nothing is said yet.
    pub(crate) fn new(left: LogicalPlan, right: LogicalPlan, kind: Kind) -> Self {
        Self {
            left,
            right,
            kind,
            strict: false,
            match_condition: None,
            on: vec![],
            using: vec![],
            on_columns: vec![],
            tolerance: None,
            ties: vec![],
            null_policy: NullPolicy::default(),
            at: None,
        }
    }

    /// The join as a plan.
    ///
    /// # Errors
    /// Planning errors, with their place, for conditions that make no as-of join.
    pub(crate) fn build(mut self) -> Result<LogicalPlan> {
        let at = self.at;
        let mut conditions = Conditions::new(Sides::of(&self.left, &self.right));
        if let Some(condition) = self.match_condition.take() {
            conditions.take_match_condition(condition)?;
        }
        for conjunct in std::mem::take(&mut self.on) {
            conditions.take_conjunct(conjunct)?;
        }
        let merged = conditions.take_using(std::mem::take(&mut self.using))?;
        conditions.take_key_columns(std::mem::take(&mut self.on_columns))?;
        let sorted = conditions.finish(self.strict).map_err(|e| locate(e, at))?;

        let join_type = match self.kind {
            Kind::Written(join_type) => join_type,
            Kind::ByForm { like_duckdb, .. } if sorted.like_duckdb => like_duckdb,
            Kind::ByForm { otherwise, .. } => otherwise,
        };
        if join_type.keeps_unmatched_right() && self.null_policy == NullPolicy::IgnoreNulls {
            let kind = join_type.to_string().to_uppercase();
            let refused = plan_datafusion_err!(
                "IGNORE NULLS takes each right column from a row of its own, so no right row is \
                 left over for {kind}: use LEFT or INNER"
            );
            return Err(locate(refused, at));
        }

        let (left_schema, right_schema) = (self.left.schema(), self.right.schema());
        let on = sorted.keys.into_iter().map(|key| {
            let mut aligned = key.value;
            align_keys(
                Operand {
                    expr: &mut aligned.left,
                    schema: left_schema,
                },
                Operand {
                    expr: &mut aligned.right,
                    schema: right_schema,
                },
            )
            .map_err(|e| locate(e, key.at))?;
            Ok(aligned)
        });
        let on = on.collect::<Result<_>>()?;
        let Located {
            value: mut condition,
            at: condition_at,
        } = sorted.condition;
        align_times(
            Operand {
                expr: &mut condition.left,
                schema: left_schema,
            },
            Operand {
                expr: &mut condition.right,
                schema: right_schema,
            },
        )
        .map_err(|e| locate(e, condition_at))?;
        let left_type = condition.left.get_type(left_schema)?;
        let domain = TimeDomain::try_new(&left_type, &condition.right.get_type(right_schema)?)?;
        if condition.op == MatchOp::Nearest && !domain.has_distance() {
            let refused = plan_datafusion_err!(
                "nearest needs as-of values with a distance: timestamps, dates, times, durations \
                 or numbers, not {left_type}"
            );
            return Err(locate(refused, condition_at));
        }
        let tolerance = match self.tolerance.take().or(sorted.tolerance) {
            Some(Located { value, at }) => {
                Some(constant(value, &domain).map_err(|e| locate(e, at))?)
            }
            None => None,
        };
        let ties = std::mem::take(&mut self.ties);
        let ties = ties.into_iter().map(|tie| self.tie_order(tie));
        let mut spec = AsOfSpec {
            join_type,
            on,
            match_condition: condition,
            tolerance,
            filter: None,
            ties: ties.collect::<Result<_>>()?,
            null_policy: self.null_policy,
        };

        // A predicate on one side filters that side where rows it refuses do not come out.
        let (mut of_left, mut of_right, mut rest) = (vec![], vec![], vec![]);
        for Located { value, .. } in sorted.predicates {
            let (predicate, side) = value;
            match side {
                Side::Left if !join_type.keeps_unmatched_left() => of_left.push(predicate),
                Side::Right | Side::Neither if !join_type.keeps_unmatched_right() => {
                    of_right.push(predicate);
                }
                _ => rest.push(predicate),
            }
        }
        spec.filter = conjunction(rest);
        let (left, right) = (
            filtered(self.left, of_left)?,
            filtered(self.right, of_right)?,
        );
        let node = AsOfJoinNode::try_new(Arc::new(left), Arc::new(right), spec)
            .map_err(|e| locate(e, at))?;
        with_merged(node, &merged)
    }

    fn tie_order(&self, tie: Located<Sort>) -> Result<TieOrder<Expr>> {
        let Located { value, at } = tie;
        let Sort {
            expr,
            asc,
            nulls_first,
        } = value;
        let sides = Sides::of(&self.left, &self.right);
        let resolved = sides
            .resolve(expr)
            .and_then(|expr| match sides.read_by(&expr) {
                Side::Right => sides.check_types(&expr).map(|()| expr),
                _ => plan_err!(
                    "TIES BY orders right rows, but {expr} does not read the right side alone"
                ),
            });
        let expr = resolved.map_err(|e| locate(e, at))?;
        Ok(TieOrder {
            expr,
            options: SortOptions::new(!asc, nulls_first),
        })
    }
}

fn filtered(plan: LogicalPlan, predicates: Vec<Expr>) -> Result<LogicalPlan> {
    match conjunction(predicates) {
        Some(predicate) => LogicalPlanBuilder::from(plan).filter(predicate)?.build(),
        None => Ok(plan),
    }
}

/// The join with the columns that `USING` names once.
fn with_merged(node: AsOfJoinNode, merged: &[(Column, Column)]) -> Result<LogicalPlan> {
    let join_type = node.spec().join_type;
    let plan = LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    });
    if merged.is_empty() || !join_type.has_right_columns() {
        return Ok(plan);
    }
    let columns = plan.schema().columns().into_iter();
    let kept = columns.filter(|column| !merged.iter().any(|(_, right)| right == column));
    let exprs = kept.map(
        |column| match merged.iter().find(|(left, _)| *left == column) {
            // A right row that no left row chose has no left value.
            Some((left, right)) if join_type.keeps_unmatched_right() => {
                let value = coalesce(vec![
                    Expr::Column(left.clone()),
                    Expr::Column(right.clone()),
                ]);
                value.alias_qualified(left.relation.clone(), left.name.clone())
            }
            _ => Expr::Column(column),
        },
    );
    let exprs: Vec<Expr> = exprs.collect();
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}
