//! [`AsOfRelationPlanner`]: parenthesised as-of joins to [`AsOfJoinNode`](crate::AsOfJoinNode)s.
//!
//! DataFusion offers every table factor. One that is a parenthesised join with an as-of join
//! in it is planned here: the factors of the join through DataFusion again, so that tables,
//! subqueries, CTEs and scopes are its business, and the conditions by the builder.

use datafusion::common::{Result, not_impl_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Join, JoinConstraint,
    JoinOperator, ObjectName, ObjectNamePart, Spanned, TableFactor, TableWithJoins, Value,
};

use super::tokens::{MARKER, location};
use crate::config::AsOfOptions;
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

fn planned(
    plan: LogicalPlan,
    alias: Option<datafusion::sql::sqlparser::ast::TableAlias>,
) -> Result<RelationPlanning> {
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
        plan, alias,
    ))))
}

/// The match condition as written, and what the marker adds to it.
struct Written {
    kind: Option<AsOfJoinType>,
    match_condition: Option<Expr>,
    tolerance: Option<Expr>,
    at: Option<Location>,
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
    let written = read_marker(match_condition)?;
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
    let schema = left.schema().join(right.schema())?;
    let mut plan_expr = |expr: Expr| -> Result<Located<datafusion::logical_expr::Expr>> {
        let at = location(expr.span()).or(written.at);
        let value = context.sql_to_expr(expr, &schema)?;
        Ok(Located { value, at })
    };
    let tolerance = written.tolerance.map(&mut plan_expr).transpose()?;
    if let Some(Expr::Function(call)) = &written.match_condition
        && call.name.to_string().eq_ignore_ascii_case("nearest")
    {
        let error = not_impl_datafusion_err!("nearest is not supported yet: write >=, >, <= or <");
        return Err(locate(error, location(call.span())));
    }
    let mut plan_condition = |expr: Expr| {
        let Located { value, at } = plan_expr(expr)?;
        Ok(Located {
            value: Condition::Predicate(value),
            at,
        })
    };
    let match_condition = written
        .match_condition
        .map(&mut plan_condition)
        .transpose()?;
    let (mut on, mut using) = (vec![], vec![]);
    match constraint {
        JoinConstraint::On(condition) => {
            refuse_columns(&condition)?;
            let mut conjuncts = vec![];
            split(condition, &mut conjuncts);
            on = conjuncts
                .into_iter()
                .map(plan_condition)
                .collect::<Result<_>>()?;
        }
        JoinConstraint::Using(columns) => {
            for column in columns {
                using.push(using_column(column, context)?);
            }
        }
        JoinConstraint::None => {}
        JoinConstraint::Natural => return plan_err!("an ASOF JOIN cannot be NATURAL"),
    }
    let options = AsOfOptions::of(context.context_provider().options());
    let kind = match written.kind {
        Some(kind) => Kind::Written(kind),
        None => Kind::Bare(options.bare_join),
    };
    let mut builder = AsOfJoinBuilder::new(left, right, kind);
    builder.match_condition = match_condition;
    builder.on = on;
    builder.using = using;
    builder.tolerance = tolerance;
    builder.at = written.at;
    builder.build()
}

fn read_marker(match_condition: Expr) -> Result<Written> {
    let at = location(match_condition.span());
    let plain = |match_condition| Written {
        kind: None,
        match_condition: Some(match_condition),
        tolerance: None,
        at,
    };
    let Expr::Function(call) = &match_condition else {
        return Ok(plain(match_condition));
    };
    let FunctionArguments::List(arguments) = &call.args else {
        return Ok(plain(match_condition));
    };
    if call.name.to_string() != MARKER {
        return Ok(plain(match_condition));
    }
    let mut arguments = arguments.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    let malformed = || plan_datafusion_err!("malformed {MARKER}: {match_condition}");
    let Some(Some(Expr::Value(kind))) = arguments.next() else {
        return Err(malformed());
    };
    let kind = match kind.value {
        Value::SingleQuotedString(kind) => match kind.as_str() {
            "" => None,
            "inner" => Some(AsOfJoinType::Inner),
            "left" => Some(AsOfJoinType::Left),
            _ => return Err(malformed()),
        },
        _ => return Err(malformed()),
    };
    let written = match arguments.next() {
        Some(Some(Expr::Value(none))) if none.value == Value::Null => None,
        Some(Some(condition)) => Some(condition),
        _ => return Err(malformed()),
    };
    let tolerance = arguments.next().flatten();
    Ok(Written {
        kind,
        match_condition: written,
        tolerance,
        at,
    })
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

/// QuestDB's `ON (sym)` names columns; as a predicate it would mean something else.
fn refuse_columns(condition: &Expr) -> Result<()> {
    let is_name = |expr: &Expr| matches!(expr, Expr::Identifier(_));
    let names = match condition {
        Expr::Nested(inner) => is_name(inner),
        Expr::Tuple(columns) => columns.iter().all(is_name),
        _ => false,
    };
    if names {
        let error = not_impl_datafusion_err!(
            "ON (columns) is not supported yet: write ON l.sym = r.sym, or USING (sym, ts)"
        );
        return Err(locate(error, location(condition.span())));
    }
    Ok(())
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
