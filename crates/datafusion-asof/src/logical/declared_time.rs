//! The time order that an input declares, for QuestDB's form, which names no time column.
//!
//! A table declares it by `WITH ORDER (ts)` (or `MemTable::with_sort_order`), a subquery by
//! `ORDER BY ts LIMIT n` (DataFusion's planner drops an `ORDER BY` without a limit). Filters,
//! limits, aliases and projections that keep the column keep it, and an as-of join keeps that
//! of its left side.

use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::node::AsOfJoinNode;

/// The column by which the plan's one declared order ascends.
pub(super) fn declared_time(plan: &LogicalPlan) -> Option<Column> {
    match plan {
        LogicalPlan::Sort(sort) => leading(&sort.expr),
        LogicalPlan::Filter(filter) => declared_time(&filter.input),
        LogicalPlan::Limit(limit) => declared_time(&limit.input),
        LogicalPlan::SubqueryAlias(alias) => {
            let column = declared_time(&alias.input)?;
            let at = alias.input.schema().maybe_index_of_column(&column)?;
            Some(Column::from(alias.schema.qualified_field(at)))
        }
        LogicalPlan::Projection(projection) => {
            let column = declared_time(&projection.input)?;
            let at = (projection.expr.iter()).position(|expr| match expr {
                Expr::Alias(alias) => alias.expr.as_ref() == &Expr::Column(column.clone()),
                expr => *expr == Expr::Column(column.clone()),
            })?;
            Some(Column::from(projection.schema.qualified_field(at)))
        }
        LogicalPlan::TableScan(scan) => {
            let table = source_as_provider(&scan.source).ok()?;
            let column = declared_by(table.as_ref())?;
            let schema = &scan.projected_schema;
            let found = schema.columns_with_unqualified_name(&column.name);
            found.into_iter().next()
        }
        LogicalPlan::Extension(extension) => {
            // So that a chain goes on: rows come out at the times of the left rows.
            let join = extension.node.as_any().downcast_ref::<AsOfJoinNode>()?;
            let keeps = !join.spec().join_type.keeps_unmatched_right();
            keeps.then(|| declared_time(join.left())).flatten()
        }
        _ => None,
    }
}

fn declared_by(table: &dyn TableProvider) -> Option<Column> {
    let orders = if let Some(files) = table.downcast_ref::<ListingTable>() {
        files.options().file_sort_order.clone()
    } else {
        let memory = table.downcast_ref::<MemTable>()?;
        memory.sort_order.lock().clone()
    };
    match orders.as_slice() {
        [order] => leading(order),
        _ => None,
    }
}

fn leading(order: &[Sort]) -> Option<Column> {
    match order.first()? {
        Sort {
            expr: Expr::Column(column),
            asc: true,
            ..
        } => Some(column.clone()),
        _ => None,
    }
}
