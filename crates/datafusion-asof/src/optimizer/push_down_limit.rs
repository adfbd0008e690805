//! LIMIT above an as-of join.
//!
//! A LEFT join gives one row for each left row, in the left's order, so of the left no more
//! rows are wanted than of the join. The limit stays above it too, for the rows to be skipped.
//! DataFusion's own rule takes it on from there.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{
    Extension, FetchType, Limit, LogicalPlan, SkipType, UserDefinedLogicalNodeCore, lit,
};
use datafusion::optimizer::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::logical::AsOfJoinNode;
use crate::spec::AsOfJoinType;

/// Limits the left input of a LEFT join.
#[derive(Debug)]
pub(crate) struct AsOfPushDownLimit;

impl AsOfPushDownLimit {
    /// DataFusion's rule, which it stands behind.
    pub(crate) const AFTER: &'static str = "push_down_limit";
}

impl OptimizerRule for AsOfPushDownLimit {
    fn name(&self) -> &'static str {
        "asof_push_down_limit"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let Some((limit, join, rows)) = limited_join(&plan)? else {
            return Ok(Transformed::no(plan));
        };
        if join.spec().join_type != AsOfJoinType::Left || has_limit(join.left(), rows)? {
            return Ok(Transformed::no(plan));
        }
        let left = LogicalPlan::Limit(Limit {
            skip: None,
            fetch: Some(Box::new(lit(rows))),
            input: Arc::clone(join.left()),
        });
        let inputs = vec![left, join.right().as_ref().clone()];
        let join = join.with_exprs_and_inputs(join.expressions(), inputs)?;
        let join = LogicalPlan::Extension(Extension {
            node: Arc::new(join),
        });
        Ok(Transformed::yes(LogicalPlan::Limit(Limit {
            input: Arc::new(join),
            ..limit.clone()
        })))
    }
}

/// An as-of join directly below a limit, and how many of its rows are wanted.
fn limited_join(plan: &LogicalPlan) -> Result<Option<(&Limit, &AsOfJoinNode, i64)>> {
    let LogicalPlan::Limit(limit) = plan else {
        return Ok(None);
    };
    let LogicalPlan::Extension(extension) = limit.input.as_ref() else {
        return Ok(None);
    };
    let join = extension.node.as_any().downcast_ref();
    Ok(join
        .zip(wanted(limit)?)
        .map(|(join, rows)| (limit, join, rows)))
}

/// Rows that a limit takes of its input, if a limit can say so many.
fn wanted(limit: &Limit) -> Result<Option<i64>> {
    match (limit.get_skip_type()?, limit.get_fetch_type()?) {
        (SkipType::Literal(skip), FetchType::Literal(Some(fetch))) => {
            let rows = skip.checked_add(fetch);
            Ok(rows.and_then(|rows| i64::try_from(rows).ok()))
        }
        _ => Ok(None),
    }
}

/// Whether a plan is limited to so many rows already.
fn has_limit(plan: &LogicalPlan, rows: i64) -> Result<bool> {
    let is_within = |most: usize| i64::try_from(most).is_ok_and(|most| most <= rows);
    match plan {
        LogicalPlan::Limit(limit) => Ok(wanted(limit)?.is_some_and(|wanted| wanted <= rows)),
        LogicalPlan::TableScan(scan) => Ok(scan.fetch.is_some_and(is_within)),
        LogicalPlan::Projection(projection) => has_limit(&projection.input, rows),
        LogicalPlan::SubqueryAlias(alias) => has_limit(&alias.input, rows),
        _ => Ok(plan.max_rows().is_some_and(is_within)),
    }
}
