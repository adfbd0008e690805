//! Filters above an as-of join.
//!
//! A filter after the join sees chosen rows. One on left columns alone may run before it:
//! the left rows it drops would have been dropped anyway, and it has no say in what the
//! others match. One on right columns must stay above: run before the join it would change
//! which row is the nearest.
//!
//! DataFusion's own rule treats a node it does not know by the names of its columns, and
//! pushes a conjunct without columns, like `random() < 0.5`, into *every* input. So this rule
//! takes the place of `push_down_filter`: filters on an as-of join are handled here, all
//! other plans go to DataFusion's rule as before.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan};
use datafusion::optimizer::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::logical::AsOfJoinNode;

/// `push_down_filter` that knows as-of joins.
#[derive(Debug)]
pub(crate) struct AsOfPushDownFilter {
    inner: Arc<dyn OptimizerRule + Send + Sync>,
}

impl AsOfPushDownFilter {
    /// The name of the rule whose place it takes.
    pub(crate) const NAME: &'static str = "push_down_filter";

    pub(crate) fn new(inner: Arc<dyn OptimizerRule + Send + Sync>) -> Self {
        Self { inner }
    }
}

impl OptimizerRule for AsOfPushDownFilter {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.inner.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if filtered_join(&plan).is_some() {
            return push_into_left(plan);
        }
        self.inner.rewrite(plan, config)
    }
}

/// The as-of join directly below one or more filters.
fn filtered_join(plan: &LogicalPlan) -> Option<&AsOfJoinNode> {
    let LogicalPlan::Filter(filter) = plan else {
        return None;
    };
    match filter.input.as_ref() {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        inner => filtered_join(inner),
    }
}

fn push_into_left(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let Some(join) = filtered_join(&plan).cloned() else {
        return Ok(Transformed::no(plan));
    };
    // A left row that is filtered away would free the right row that it chose.
    let fixed = join.spec().join_type.keeps_unmatched_right();
    let left_schema = join.left().schema();
    let of_left = |column: &&Column| left_schema.has_column(column);
    let can_pass = |conjunct: &Expr| {
        let columns = conjunct.column_refs();
        !fixed
            && !columns.is_empty()
            && columns.iter().all(of_left)
            && !conjunct.is_volatile()
            && !has_subquery(conjunct)
    };
    let stacked = matches!(&plan, LogicalPlan::Filter(filter)
        if matches!(filter.input.as_ref(), LogicalPlan::Filter(_)));
    let (down, stay): (Vec<_>, Vec<_>) = conjuncts(plan.clone()).into_iter().partition(can_pass);
    let Some(down) = conjunction(down) else {
        // Filters one above the other become one, as DataFusion's rule has it: its `FilterExec`
        // takes the columns of one above it by their names, and both sides may have one name.
        return match conjunction(stay) {
            Some(stay) if stacked => {
                let join = LogicalPlan::Extension(Extension {
                    node: Arc::new(join),
                });
                let filter = Filter::try_new(stay, Arc::new(join))?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            _ => Ok(Transformed::no(plan)),
        };
    };
    let left = LogicalPlan::Filter(Filter::try_new(down, Arc::clone(join.left()))?);
    let node = AsOfJoinNode::try_new(
        Arc::new(left),
        Arc::clone(join.right()),
        join.spec().clone(),
    )?;
    let join = LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    });
    let plan = match conjunction(stay) {
        Some(stay) => LogicalPlan::Filter(Filter::try_new(stay, Arc::new(join))?),
        None => join,
    };
    Ok(Transformed::yes(plan))
}

/// The conjuncts of a stack of filters, the lowest first.
fn conjuncts(plan: LogicalPlan) -> Vec<Expr> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let mut all = conjuncts(Arc::unwrap_or_clone(filter.input));
            all.extend(split_conjunction_owned(filter.predicate));
            all
        }
        _ => vec![],
    }
}

fn has_subquery(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let subquery = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
        ))
    };
    expr.exists(subquery).unwrap_or(true)
}
