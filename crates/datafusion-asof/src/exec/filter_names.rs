//! Which filters are asked, all the way down, of the columns that they mean.
//!
//! # Motivation
//!
//! DataFusion hands a filter to an input by the *names* of its columns, and where an input has
//! two columns of a name it takes the first (its `FilterRemapper`). Both sides of an as-of join
//! mostly have a column of the same name, the time. A bound on the time of the right side, handed
//! through an exchange above the join, becomes one on the time of the left side, and rows are lost.
//!
//! # Algorithm
//!
//! A filter goes down only if each column that it reads is alone of its name, at every plan on
//! its way to the scans. The way is found by asking the plans themselves, as the filter
//! will be handed on: projections rename, joins choose a side. A filter that is refused for
//! this leaves out no rows, and nothing else depends on it.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, FilterDescription, FilterPushdownPhase, PushedDown,
};
use datafusion::physical_plan::union::UnionExec;

use super::asof_join::AsOfJoinExec;

/// Whether no other column of the schema has the name of this one.
pub(super) fn is_alone(schema: &Schema, column: usize) -> bool {
    let name = schema.field(column).name();
    schema.fields().iter().filter(|f| f.name() == name).count() == 1
}

/// What a node that drops no columns of its input hands on to it: filters on columns that are alone of
/// their names there.
pub(super) fn hand_on(
    filters: &[PhysicalExprRef],
    input: &Arc<dyn ExecutionPlan>,
) -> Result<FilterDescription> {
    let schema = input.schema();
    let of_input = (0..schema.fields().len()).filter(|column| is_alone(&schema, *column));
    let input = ChildFilterDescription::from_child_with_allowed_indices(
        filters,
        of_input.collect(),
        input,
    )?;
    Ok(FilterDescription::new().with_child(input))
}

/// When filters are handed down, and with which options.
#[derive(Clone, Copy)]
pub(super) struct Pushdown<'a> {
    pub phase: FilterPushdownPhase,
    pub config: &'a ConfigOptions,
}

/// Whether a filter on the rows of a plan means the same wherever the plan hands it on to.
pub(super) fn keeps_meaning(
    filter: &PhysicalExprRef,
    plan: &Arc<dyn ExecutionPlan>,
    pushdown: Pushdown<'_>,
) -> Result<bool> {
    let schema = plan.schema();
    let mut columns = collect_columns(filter).into_iter();
    if !columns.all(|column| is_alone(&schema, column.index())) {
        return Ok(false);
    }
    // A join of ours looks further down itself before it hands a filter on.
    if plan.is::<AsOfJoinExec>() || plan.children().is_empty() {
        return Ok(true);
    }
    let Pushdown { phase, config } = pushdown;
    let handed = plan.gather_filters_for_pushdown(phase, vec![Arc::clone(filter)], config)?;
    let mut inputs = 0;
    for (input, filters) in plan.children().into_iter().zip(handed.parent_filters()) {
        for handed in filters {
            if !matches!(handed.discriminant, PushedDown::Yes) {
                continue;
            }
            inputs += 1;
            // DataFusion hands a filter to the inputs of a union by name, though their columns
            // are united by place, and one on the keys of a semi join to both sides by the
            // name that the key has on one.
            let is_meant = match plan.is::<UnionExec>() {
                true => handed.predicate.eq(filter),
                false => inputs == 1,
            };
            if !is_meant || !keeps_meaning(&handed.predicate, input, pushdown)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
