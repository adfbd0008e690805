//! What the side that is read first knows about the other: a filter that grows into its scan.
//!
//! # Algorithm
//!
//! A broadcast has read one side whole before it reads the first row of the other. A row of
//! the other side can only match if it has one of the keys seen, and a time that the earliest
//! or the latest time seen [reaches](reach). DataFusion carries this as a dynamic filter down
//! to the scan, which leaves out files, row groups and pages that hold no such row. Nothing
//! depends on it: rows that pass are matched as ever.
//!
//! # Where
//!
//! The right side is filtered by the left where the left is indexed; the left by the right
//! where that is indexed, if left rows without a match do not come out. A merge reads both
//! sides at a time, and what it reads of one tells nothing about the other.
//!
//! Neither this filter nor those of the plan above go where they would be taken for filters on
//! other columns ([`filter_names`](super::filter_names)).

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::sort;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, DynamicFilterPhysicalExpr, in_list, lit,
};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExprRef, conjunction};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
};
use datafusion::scalar::ScalarValue;

use super::asof_join::AsOfJoinExec;
use super::columns::Source;
use super::filter_names::{Pushdown, is_alone, keeps_meaning};
use super::matching::Matching;
use super::strategy::AsOfStrategy;
use crate::kernel::index::SideIndex;
use crate::kernel::reach::{Span, reach};
use crate::spec::Side;

/// Keys that are listed one by one; of more only the least and the greatest are given.
const LISTED_KEYS: usize = 20;
/// Keys that are looked at at all.
const MOST_KEYS: usize = 1 << 16;

/// What filters the inputs of a join: of the filters above it those that read left columns
/// alone, and its own.
pub(super) fn filters_for_inputs(
    join: &AsOfJoinExec,
    phase: FilterPushdownPhase,
    parent_filters: &[PhysicalExprRef],
    config: &ConfigOptions,
) -> Result<FilterDescription> {
    let pushdown = Pushdown { phase, config };
    let mut left = match join.spec().join_type.keeps_unmatched_right() {
        // Not even a filter that reads no column: right rows come out whatever the left has.
        true => ChildFilterDescription::all_unsupported(parent_filters),
        false => ChildFilterDescription::from_child_with_allowed_indices(
            parent_filters,
            filtered_left_columns(join, parent_filters, pushdown)?,
            join.left(),
        )?,
    };
    let mut right = ChildFilterDescription::all_unsupported(parent_filters);
    if phase == FilterPushdownPhase::Post
        && config.optimizer.enable_join_dynamic_filter_pushdown
        && join.dynamic_filter().is_none()
        && let Some(side) = filtered_side(join)
    {
        let filter: PhysicalExprRef = dynamic_filter(join.matching(), side);
        let (input, description) = match side {
            Side::Right => (join.right(), &mut right),
            _ => (join.left(), &mut left),
        };
        if keeps_meaning(&filter, input, pushdown)? {
            *description = description.clone().with_self_filter(filter);
        }
    }
    let description = FilterDescription::new();
    Ok(description.with_child(left).with_child(right))
}

/// The join's own filter among those that went down.
pub(super) fn own_filter(result: &ChildPushdownResult) -> Option<Arc<DynamicFilterPhysicalExpr>> {
    let own = result.self_filters.iter().flatten().next()?;
    let own: Arc<dyn Any + Send + Sync> = Arc::clone(&own.predicate) as _;
    own.downcast().ok()
}

/// The side that is read last, if rows of it without a match do not come out. On a cluster it may
/// be read by others.
fn filtered_side(join: &AsOfJoinExec) -> Option<Side> {
    match join.strategy() {
        _ if join.is_distributed() => None,
        AsOfStrategy::BroadcastLeft => Some(Side::Right),
        AsOfStrategy::Broadcast if !join.spec().join_type.keeps_unmatched_left() => {
            Some(Side::Left)
        }
        _ => None,
    }
}

/// The columns of the output that some filter above reads and that are columns of the left
/// input, of which what filters them here filters the same there.
fn filtered_left_columns(
    join: &AsOfJoinExec,
    parent_filters: &[PhysicalExprRef],
    pushdown: Pushdown<'_>,
) -> Result<HashSet<usize>> {
    let columns = &join.matching().columns;
    let read = parent_filters.iter().flat_map(collect_columns);
    let read: HashSet<usize> = read.map(|column| column.index()).collect();
    let mut filtered = HashSet::new();
    for output in read {
        // What comes as a filter on the first column of a name may have been one on another.
        if let Some(Source::Left(kept)) = columns.output.get(output)
            && is_alone(&columns.schema, output)
        {
            let name = columns.schema.field(output).name();
            let column: PhysicalExprRef = Arc::new(Column::new(name, columns.left[*kept]));
            if keeps_meaning(&column, join.left(), pushdown)? {
                filtered.insert(output);
            }
        }
    }
    Ok(filtered)
}

/// A filter on rows of `side` that lets all of them pass until it is [told](tell) better.
fn dynamic_filter(matching: &Matching, side: Side) -> Arc<DynamicFilterPhysicalExpr> {
    let keys = matching.spec.on.iter();
    let columns = keys
        .map(|key| key.of(side))
        .chain([time_of(matching, side)]);
    let columns = columns.map(Arc::clone).collect();
    Arc::new(DynamicFilterPhysicalExpr::new(columns, lit(true)))
}

/// Tells a filter on rows of `side` what the index of the other side knows.
pub(super) fn tell(
    filter: &DynamicFilterPhysicalExpr,
    matching: &Matching,
    side: Side,
    index: &SideIndex,
) -> Result<()> {
    filter.update(can_match(matching, side, index)?)?;
    filter.mark_complete();
    Ok(())
}

fn time_of(matching: &Matching, side: Side) -> &PhysicalExprRef {
    let condition = &matching.spec.match_condition;
    match side {
        Side::Right => &condition.right,
        _ => &condition.left,
    }
}

/// What must hold of a row of `side` that finds a match in the index.
fn can_match(matching: &Matching, side: Side, index: &SideIndex) -> Result<PhysicalExprRef> {
    let Some(span) = index.span() else {
        return Ok(lit(false));
    };
    let schema = match side {
        Side::Right => &matching.right_schema,
        _ => &matching.left_schema,
    };
    let (least, most) = (Some(span.0), Some(span.1));
    let mut conditions = time_conditions(matching, side, Span { least, most })?;
    if let Some(keys) = index.keys(&matching.key_types, MOST_KEYS)? {
        for (key, values) in matching.spec.on.iter().zip(&keys) {
            conditions.extend(key_condition(key.of(side), values, schema)?);
        }
    }
    Ok(conjunction(conditions))
}

fn time_conditions(matching: &Matching, side: Side, span: Span) -> Result<Vec<PhysicalExprRef>> {
    let op = matching.spec.match_condition.op;
    let Span { least, most } = reach((op, matching.tolerance), span, side);
    let least = least.map(|place| matching.domain.value_from(side, place));
    let most = most.map(|place| matching.domain.value_up_to(side, place));
    let time = time_of(matching, side);
    let mut conditions = vec![];
    for (op, value) in [
        (Operator::GtEq, least.transpose()?.flatten()),
        (Operator::LtEq, most.transpose()?.flatten()),
    ] {
        if let Some(value) = value {
            let value = ScalarValue::try_from_array(&value, 0)?;
            conditions.push(compare(time, op, value));
        }
    }
    Ok(conditions)
}

/// A condition on a key column of which some values were seen; `None` for floats, of which
/// two are equal that files may tell apart.
fn key_condition(
    key: &PhysicalExprRef,
    values: &ArrayRef,
    schema: &Schema,
) -> Result<Option<PhysicalExprRef>> {
    if values.data_type().is_floating() || values.data_type().is_nested() {
        return Ok(None);
    }
    let key_type = key.data_type(schema)?;
    let values = sort(values, None)?;
    let value = |row: usize| ScalarValue::try_from_array(&values, row)?.cast_to(&key_type);
    if values.len() <= LISTED_KEYS {
        let list = (0..values.len()).map(|row| Ok(lit(value(row)?)));
        let list = list.collect::<Result<_>>()?;
        return in_list(Arc::clone(key), list, &false, schema).map(Some);
    }
    Ok(Some(conjunction([
        compare(key, Operator::GtEq, value(0)?),
        compare(key, Operator::LtEq, value(values.len() - 1)?),
    ])))
}

fn compare(column: &PhysicalExprRef, op: Operator, value: ScalarValue) -> PhysicalExprRef {
    Arc::new(BinaryExpr::new(Arc::clone(column), op, lit(value)))
}
