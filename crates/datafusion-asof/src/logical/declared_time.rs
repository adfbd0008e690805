//! The time order that an input declares, for QuestDB's form, which names no time column.
//!
//! A table declares it by `WITH ORDER (ts)` (or `MemTable::with_sort_order`), a subquery by
//! `ORDER BY ts LIMIT n` (DataFusion's planner drops an `ORDER BY` without a limit). Filters,
//! limits, aliases and projections that keep the columns keep it, and an as-of join keeps that
//! of its left side. In an order by keys and time, as in `WITH ORDER (sym, ts)`, the time is
//! the first column that is no key.

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, DFSchemaRef, ExprSchema};
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::node::AsOfJoinNode;
use crate::kernel::domain::TimeDomain;

/// The time column of the plan's one declared order.
pub(super) fn declared_time(
    plan: &LogicalPlan,
    is_key: impl Fn(&Column) -> bool,
) -> Option<Column> {
    let order = declared_order(plan);
    let time = order.iter().find(|column| !is_key(column));
    let time = time.or_else(|| order.first())?.clone();
    let measures = |data_type: &DataType| {
        TimeDomain::try_new(data_type, data_type).is_ok_and(|domain| domain.has_distance())
    };
    measures(plan.schema().data_type(&time).ok()?).then_some(time)
}

/// The columns by which the plan is declared to ascend, the leading one first.
fn declared_order(plan: &LogicalPlan) -> Vec<Column> {
    match plan {
        LogicalPlan::Sort(sort) => leading(&sort.expr),
        LogicalPlan::Filter(filter) => declared_order(&filter.input),
        LogicalPlan::Limit(limit) => declared_order(&limit.input),
        LogicalPlan::SubqueryAlias(alias) => {
            let names = alias.input.schema();
            renamed(&declared_order(&alias.input), &alias.schema, |column| {
                names.maybe_index_of_column(column)
            })
        }
        LogicalPlan::Projection(projection) => {
            let is_column = |expr: &Expr, column: &Column| match expr {
                Expr::Alias(alias) => *alias.expr == Expr::Column(column.clone()),
                expr => *expr == Expr::Column(column.clone()),
            };
            let order = declared_order(&projection.input);
            renamed(&order, &projection.schema, |column| {
                let mut exprs = projection.expr.iter();
                exprs.position(|expr| is_column(expr, column))
            })
        }
        LogicalPlan::TableScan(scan) => {
            let Ok(table) = source_as_provider(&scan.source) else {
                return vec![];
            };
            let order = declared_by(table.as_ref());
            renamed(&order, &scan.projected_schema, |column| {
                scan.projected_schema
                    .index_of_column_by_name(None, &column.name)
            })
        }
        LogicalPlan::Extension(extension) => {
            // So that a chain goes on: rows come out at the times of the left rows.
            match extension.node.as_any().downcast_ref::<AsOfJoinNode>() {
                Some(join) if !join.spec().join_type.keeps_unmatched_right() => {
                    declared_order(join.left())
                }
                _ => vec![],
            }
        }
        _ => vec![],
    }
}

/// An order under the names of a schema, up to the first column that is not in it.
fn renamed(
    order: &[Column],
    schema: &DFSchemaRef,
    place: impl Fn(&Column) -> Option<usize>,
) -> Vec<Column> {
    let places = order.iter().map_while(place);
    places
        .map(|at| Column::from(schema.qualified_field(at)))
        .collect()
}

fn declared_by(table: &dyn TableProvider) -> Vec<Column> {
    let orders = if let Some(files) = table.downcast_ref::<ListingTable>() {
        files.options().file_sort_order.clone()
    } else if let Some(memory) = table.downcast_ref::<MemTable>() {
        memory.sort_order.lock().clone()
    } else {
        return vec![];
    };
    match orders.as_slice() {
        [order] => leading(order),
        _ => vec![],
    }
}

fn leading(order: &[Sort]) -> Vec<Column> {
    let ascends = |sort: &Sort| match sort {
        Sort {
            expr: Expr::Column(column),
            asc: true,
            ..
        } => Some(column.clone()),
        _ => None,
    };
    order.iter().map_while(ascends).collect()
}
