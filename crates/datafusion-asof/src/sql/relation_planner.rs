//! [`AsOfRelationPlanner`]: parenthesised as-of joins to [`AsOfJoinNode`](crate::AsOfJoinNode)s.
//!
//! DataFusion offers every table factor. One that is a parenthesised join with an as-of join
//! in it is planned here: the factors of the join through DataFusion again, so that tables,
//! subqueries, CTEs and scopes are its business, and the conditions by the builder.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::common::{
    DFSchema, Result, not_impl_datafusion_err, plan_datafusion_err, plan_err,
};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::planner::NullOrdering;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join,
    JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, OrderByExpr, OrderByOptions, Spanned,
    TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::marker;
use super::tokens::location;
use crate::config::{AsOfOptions, BareJoin};
use crate::logical::builder::{AsOfJoinBuilder, Condition, Kind, Located, Location, locate};
use crate::spec::AsOfJoinType;

/// Plans parenthesised as-of joins; installed by [`WithAsOf`](crate::WithAsOf).
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AsOfRelationPlanner;

impl RelationPlanner for AsOfRelationPlanner {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let TableFactor::NestedJoin {
            table_with_joins,
            alias,
        } = relation
        else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let is_asof = |join: &Join| matches!(join.join_operator, JoinOperator::AsOf { .. });
        let joins = &table_with_joins.joins;
        let Some(last) = joins.iter().rposition(is_asof) else {
            return Ok(RelationPlanning::Original(Box::new(
                TableFactor::NestedJoin {
                    table_with_joins,
                    alias,
                },
            )));
        };
        let TableWithJoins {
            relation,
            mut joins,
        } = *table_with_joins;
        let after = joins.split_off(last + 1);
        if !after.is_empty() {
            // What follows is an ordinary join of the as-of join: DataFusion's, which will
            // offer its first factor again.
            let first = nested(relation, joins);
            let plan = context.plan(TableFactor::NestedJoin {
                table_with_joins: Box::new(TableWithJoins {
                    relation: first,
                    joins: after,
                }),
                alias: None,
            })?;
            return planned(plan, alias);
        }
        let chain = joins.iter().rposition(|join| !is_asof(join));
        let chained = joins.split_off(chain.map_or(0, |last| last + 1));
        let first = if joins.is_empty() {
            relation
        } else {
            nested(relation, joins)
        };
        let mut plan = context.plan(first)?;
        for join in chained {
            plan = plan_join(plan, join, context)?;
        }
        planned(plan, alias)
    }
}

fn nested(relation: TableFactor, joins: Vec<Join>) -> TableFactor {
    TableFactor::NestedJoin {
        table_with_joins: Box::new(TableWithJoins { relation, joins }),
        alias: None,
    }
}

fn planned(plan: LogicalPlan, alias: Option<ast::TableAlias>) -> Result<RelationPlanning> {
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
        plan, alias,
    ))))
}

fn plan_join(
    left: LogicalPlan,
    join: Join,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let JoinOperator::AsOf {
        match_condition,
        constraint,
    } = join.join_operator
    else {
        return plan_err!("not an ASOF JOIN: {join}");
    };
    let written = marker::read(match_condition)?;
    refuse_lateral(&join.relation)?;
    let right_at = location(join.relation.span());
    let right = context.plan(join.relation)?;
    for (side, plan) in [("left", &left), ("right", &right)] {
        if let Some(outer) = plan.all_out_ref_exprs().first() {
            let error = not_impl_datafusion_err!(
                "the {side} side of an ASOF JOIN cannot refer to the outer query, as it does with {outer}: \
                 filter above the join instead"
            );
            return Err(locate(error, right_at));
        }
    }
    let schema = left.schema().join(right.schema()).map_err(|e| {
        let clash = plan_datafusion_err!(
            "both sides of an ASOF JOIN have columns of one name: give one side an alias ({})",
            e.strip_backtrace()
        );
        locate(clash, right_at)
    })?;
    let mut conditions = ConditionPlanner {
        context,
        schema: &schema,
        at: written.at,
    };
    let tolerance = written.tolerance.map(|t| conditions.expr(t)).transpose()?;
    let match_condition = written
        .match_condition
        .map(|condition| conditions.condition(condition))
        .transpose()?;
    let ties = written.ties.into_iter().map(|tie| conditions.sort(tie));
    let ties = ties.collect::<Result<_>>()?;
    let (mut on, mut using, mut on_columns) = (vec![], vec![], vec![]);
    match constraint {
        JoinConstraint::On(condition) => match column_names(&condition) {
            Some(names) => {
                for name in names {
                    let at = location(name.span);
                    let value = conditions.context.normalize_ident(name);
                    on_columns.push(Located { value, at });
                }
            }
            None => {
                let mut conjuncts = vec![];
                split(repaired(condition), &mut conjuncts);
                let planned = conjuncts.into_iter().map(|c| conditions.condition(c));
                on = planned.collect::<Result<_>>()?;
            }
        },
        JoinConstraint::Using(columns) => {
            for column in columns {
                using.push(using_column(column, conditions.context)?);
            }
        }
        JoinConstraint::None => {}
        JoinConstraint::Natural => return plan_err!("an ASOF JOIN cannot be NATURAL"),
    }
    let options = AsOfOptions::of(context.context_provider().options());
    let kind = match written.kind {
        Some(kind) => Kind::Written(kind),
        None => bare(options.bare_join),
    };
    let mut builder = AsOfJoinBuilder::new(left, right, kind);
    builder.strict = written.strict;
    builder.match_condition = match_condition;
    builder.on = on;
    builder.using = using;
    builder.on_columns = on_columns;
    builder.tolerance = tolerance;
    builder.ties = ties;
    builder.null_policy = written.null_policy;
    builder.at = written.at;
    builder.build()
}

/// What a join without a kind is.
fn bare(option: BareJoin) -> Kind {
    let (like_duckdb, otherwise) = match option {
        BareJoin::Dialect => (AsOfJoinType::Inner, AsOfJoinType::Left),
        BareJoin::Inner => (AsOfJoinType::Inner, AsOfJoinType::Inner),
        BareJoin::Left => (AsOfJoinType::Left, AsOfJoinType::Left),
    };
    Kind::ByForm {
        like_duckdb,
        otherwise,
    }
}

/// Plans the conditions of one join.
struct ConditionPlanner<'a> {
    context: &'a mut dyn RelationPlannerContext,
    schema: &'a DFSchema,
    /// The place of what has none of its own.
    at: Option<Location>,
}

impl ConditionPlanner<'_> {
    fn expr(&mut self, expr: Expr) -> Result<Located<datafusion::logical_expr::Expr>> {
        let at = location(expr.span()).or(self.at);
        let value = self.context.sql_to_expr(expr, self.schema);
        let value = value.map_err(|e| {
            if e.to_string().contains("Invalid function 'nearest'") {
                let misplaced = plan_datafusion_err!(
                    "nearest(l.ts, r.ts) is a condition on time, not a value: write it in \
                     MATCH_CONDITION, or in ON as one of the conditions between AND"
                );
                return locate(misplaced, at);
            }
            locate(e, at)
        })?;
        Ok(Located { value, at })
    }

    /// A predicate, or `nearest(a, b)`.
    fn condition(&mut self, expr: Expr) -> Result<Located<Condition>> {
        let at = location(expr.span()).or(self.at);
        let value = match nearest(&expr).map_err(|e| locate(e, at))? {
            Some([a, b]) => Condition::Nearest(self.expr(a)?.value, self.expr(b)?.value),
            None => Condition::Predicate(self.expr(expr)?.value),
        };
        Ok(Located { value, at })
    }

    fn sort(&mut self, sort: OrderByExpr) -> Result<Located<Sort>> {
        let OrderByOptions { asc, nulls_first } = sort.options;
        let Located { value, at } = self.expr(sort.expr)?;
        let asc = asc.unwrap_or(true);
        let options = self.context.context_provider().options();
        let ordering = NullOrdering::from(options.sql_parser.default_null_ordering.as_str());
        let nulls_first = nulls_first.unwrap_or_else(|| ordering.nulls_first(asc));
        let value = Sort::new(value, asc, nulls_first);
        Ok(Located { value, at })
    }
}

/// The operands of `nearest(a, b)`.
fn nearest(expr: &Expr) -> Result<Option<[Expr; 2]>> {
    let Expr::Function(call) = expr else {
        return Ok(None);
    };
    if !call.name.to_string().eq_ignore_ascii_case("nearest") {
        return Ok(None);
    }
    let arguments: Option<Vec<Expr>> = match &call.args {
        FunctionArguments::List(list) => list.args.iter().map(argument).collect(),
        _ => None,
    };
    match arguments.map(<[Expr; 2]>::try_from) {
        Some(Ok(operands)) => Ok(Some(operands)),
        _ => plan_err!("nearest takes the two as-of values: write nearest(l.ts, r.ts)"),
    }
}

fn argument(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// The conjuncts of a condition, so that each can be told apart in an error.
fn split(condition: Expr, conjuncts: &mut Vec<Expr>) {
    match condition {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split(*left, conjuncts);
            split(*right, conjuncts);
        }
        Expr::Nested(inner) => split(*inner, conjuncts),
        other => conjuncts.push(other),
    }
}

/// sqlparser reads `a IS NOT DISTINCT FROM b AND c` as `a IS NOT DISTINCT FROM (b AND c)`,
/// which no one can have meant: here as everywhere else AND binds less.
fn repaired(mut condition: Expr) -> Expr {
    struct Repair;
    impl VisitorMut for Repair {
        type Break = Infallible;

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
            type Compare = fn(Box<Expr>, Box<Expr>) -> Expr;
            let compare: Compare = match expr {
                Expr::IsNotDistinctFrom(_, b) if is_logical(b) => Expr::IsNotDistinctFrom,
                Expr::IsDistinctFrom(_, b) if is_logical(b) => Expr::IsDistinctFrom,
                _ => return ControlFlow::Continue(()),
            };
            let null = Expr::Value(ast::Value::Null.into());
            *expr = match std::mem::replace(expr, null) {
                Expr::IsNotDistinctFrom(a, b) | Expr::IsDistinctFrom(a, b) => {
                    with_first(*b, compare, a)
                }
                other => other,
            };
            ControlFlow::Continue(())
        }
    }
    let _ = condition.visit(&mut Repair);
    condition
}

fn is_logical(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryOp {
            op: BinaryOperator::And | BinaryOperator::Or,
            ..
        }
    )
}

/// Compares `a` with the first operand alone.
fn with_first(expr: Expr, compare: fn(Box<Expr>, Box<Expr>) -> Expr, a: Box<Expr>) -> Expr {
    match expr {
        Expr::BinaryOp { left, op, right }
            if matches!(op, BinaryOperator::And | BinaryOperator::Or) =>
        {
            Expr::BinaryOp {
                left: Box::new(with_first(*left, compare, a)),
                op,
                right,
            }
        }
        first => compare(a, Box::new(first)),
    }
}

fn using_column(
    name: ObjectName,
    context: &mut dyn RelationPlannerContext,
) -> Result<Located<String>> {
    let at = location(name.span());
    match <[ObjectNamePart; 1]>::try_from(name.0) {
        Ok([ObjectNamePart::Identifier(ident)]) => Ok(Located {
            value: context.normalize_ident(ident),
            at,
        }),
        _ => {
            let error = plan_datafusion_err!("USING takes plain column names");
            Err(locate(error, at))
        }
    }
}

/// The columns of QuestDB's `ON (sym, …)`, which names keys; a boolean column alone would be
/// written without parentheses.
fn column_names(condition: &Expr) -> Option<Vec<Ident>> {
    let name = |expr: &Expr| match expr {
        Expr::Identifier(name) => Some(name.clone()),
        _ => None,
    };
    match condition {
        Expr::Nested(inner) => Some(vec![name(inner)?]),
        Expr::Tuple(columns) => columns.iter().map(name).collect(),
        _ => None,
    }
}

fn refuse_lateral(right: &TableFactor) -> Result<()> {
    let what = match right {
        TableFactor::Derived { lateral: true, .. }
        | TableFactor::Function { lateral: true, .. } => "LATERAL",
        TableFactor::UNNEST { .. } => "UNNEST",
        _ => return Ok(()),
    };
    let error = not_impl_datafusion_err!(
        "{what} is not supported as the right side of an ASOF JOIN: use a subquery that does \
         not read the left side"
    );
    Err(locate(error, location(right.span())))
}
