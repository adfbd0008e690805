//! Filters above an as-of join.
//!
//! A filter after the join sees chosen rows. One on left columns alone may run before it:
//! the left rows it drops would have been dropped anyway, and it has no say in what the
//! others match. One on right columns must stay above: run before the join it would change
//! which row is the nearest. But it changes the kind of join where it lets no NULL pass: LEFT
//! becomes INNER.
//!
//! What holds of all left rows tells what right rows can match: a condition on keys holds of
//! the right keys too, and one that compares the time with a constant bounds the right time as
//! far as the match condition and the tolerance [reach](crate::kernel::reach).
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
use datafusion::optimizer::utils::is_restrict_null_predicate;

use crate::logical::AsOfJoinNode;
use crate::spec::{AsOfJoinType, AsOfSpec};

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
    let stacked = matches!(&plan, LogicalPlan::Filter(filter)
        if matches!(filter.input.as_ref(), LogicalPlan::Filter(_)));
    let conjuncts = conjuncts(plan.clone());
    let join_type = without_padding(&join, &conjuncts);
    // A left row that is filtered away would free the right row that it chose.
    let fixed = join_type.keeps_unmatched_right();
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
    let (down, stay): (Vec<_>, Vec<_>) = conjuncts.into_iter().partition(can_pass);
    // Filters one above the other become one, as DataFusion's rule has it: its `FilterExec`
    // takes the columns of one above it by their names, and both sides may have one name.
    if down.is_empty() && join_type == join.spec().join_type && !stacked {
        return Ok(Transformed::no(plan));
    }
    let mut implied = vec![];
    for conjunct in &down {
        implied.extend(join.implied_on_right(conjunct)?);
    }
    let spec = AsOfSpec {
        join_type,
        ..join.spec().clone()
    };
    let node = AsOfJoinNode::try_new(
        filtered(down, Arc::clone(join.left()))?,
        filtered(implied, Arc::clone(join.right()))?,
        spec,
    )?;
    let join = LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    });
    let plan = filtered(stay, Arc::new(join))?;
    Ok(Transformed::yes(Arc::unwrap_or_clone(plan)))
}

fn filtered(conjuncts: Vec<Expr>, plan: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
    Ok(match conjunction(conjuncts) {
        Some(predicate) => Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, plan)?)),
        None => plan,
    })
}

/// The kind of join that gives the rows which pass the filters above it: without those that
/// are padded with NULLs where a filter lets no NULL pass.
fn without_padding(join: &AsOfJoinNode, filters: &[Expr]) -> AsOfJoinType {
    let refuses_nulls_of = |side: &LogicalPlan| {
        filters.iter().any(|filter| {
            let columns = filter.column_refs();
            !columns.is_empty()
                && columns
                    .iter()
                    .all(|column| side.schema().has_column(column))
                && !filter.is_volatile()
                && !has_subquery(filter)
                && is_restrict_null_predicate(filter.clone(), columns).unwrap_or(false)
        })
    };
    let join_type = join.spec().join_type;
    let mut kept = (
        join_type.keeps_unmatched_left(),
        join_type.keeps_unmatched_right(),
    );
    if kept.0 && join_type.has_right_columns() {
        kept.0 = !refuses_nulls_of(join.right());
    }
    if kept.1 {
        kept.1 = !refuses_nulls_of(join.left());
    }
    match (join_type, kept) {
        (AsOfJoinType::LeftSemi | AsOfJoinType::LeftAnti, _) => join_type,
        (_, (true, true)) => AsOfJoinType::Full,
        (_, (true, false)) => AsOfJoinType::Left,
        (_, (false, true)) => AsOfJoinType::Right,
        (_, (false, false)) => AsOfJoinType::Inner,
    }
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
