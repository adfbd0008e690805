//! As-of joins in a parsed statement to parenthesised joins.
//!
//! DataFusion offers every table factor of a `FROM` to relation planners, but no joins. A
//! parenthesised join is a table factor, so `a JOIN b ASOF JOIN c … JOIN d` becomes
//! `(a JOIN b ASOF JOIN c …) JOIN d`: the same join, offered to
//! [`AsOfRelationPlanner`](super::AsOfRelationPlanner).

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result, not_impl_datafusion_err};
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    self, Expr, JoinOperator, Select, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

/// Parenthesises the as-of joins of a statement.
///
/// # Errors
/// "Not supported" for as-of joins where DataFusion does not plan a `FROM`.
pub(super) fn lift(statement: &mut Statement) -> Result<()> {
    visit(statement, &mut Lift)
}

/// Brackets a sign behind a sign, so that `- -1` is not printed as `--1`, a comment.
pub(super) fn separate_signs(statement: &mut Statement) -> Result<()> {
    visit(statement, &mut Signs)
}

fn visit(
    statement: &mut Statement,
    visitor: &mut impl VisitorMut<Break = DataFusionError>,
) -> Result<()> {
    let flow = match statement {
        Statement::Statement(statement) => statement.visit(visitor),
        Statement::Explain(explain) => return visit(&mut explain.statement, visitor),
        Statement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(visitor),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    };
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Signs;

impl VisitorMut for Signs {
    type Break = DataFusionError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        if let Expr::UnaryOp { expr: inner, .. } = expr
            && matches!(**inner, Expr::UnaryOp { .. })
        {
            let null = Expr::Value(ast::Value::Null.into());
            let bare = std::mem::replace(&mut **inner, null);
            **inner = Expr::Nested(Box::new(bare));
        }
        ControlFlow::Continue(())
    }
}

struct Lift;

impl VisitorMut for Lift {
    type Break = DataFusionError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        let from = std::mem::take(&mut select.from);
        select.from = from.into_iter().map(parenthesised).collect();
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(
        &mut self,
        statement: &mut ast::Statement,
    ) -> ControlFlow<DataFusionError> {
        let tables: Vec<&TableWithJoins> = match statement {
            ast::Statement::Update(update) => vec![&update.table],
            ast::Statement::Delete(delete) => match &delete.from {
                ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from) => {
                    from.iter().chain(delete.using.iter().flatten()).collect()
                }
            },
            _ => vec![],
        };
        if tables.into_iter().any(has_asof) {
            return ControlFlow::Break(not_impl_datafusion_err!(
                "ASOF JOIN in UPDATE or DELETE is not supported: join in a subquery"
            ));
        }
        ControlFlow::Continue(())
    }
}

fn has_asof(table: &TableWithJoins) -> bool {
    table.joins.iter().any(is_asof)
}

fn is_asof(join: &ast::Join) -> bool {
    matches!(join.join_operator, JoinOperator::AsOf { .. })
}

/// The joins up to the last as-of join as one table factor.
fn parenthesised(table: TableWithJoins) -> TableWithJoins {
    let Some(last) = table.joins.iter().rposition(is_asof) else {
        return table;
    };
    let TableWithJoins {
        relation,
        mut joins,
    } = table;
    let after = joins.split_off(last + 1);
    let nested = TableWithJoins { relation, joins };
    TableWithJoins {
        relation: TableFactor::NestedJoin {
            table_with_joins: Box::new(nested),
            alias: None,
        },
        joins: after,
    }
}
