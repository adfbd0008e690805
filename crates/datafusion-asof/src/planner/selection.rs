//! The strategy, chosen once, from statistics and options.
//!
//! [`select`] is a pure function of what is known; [`AsOfJoinSelection`] gathers that for
//! each join of a plan. It runs just before DataFusion adds exchanges and sorts, when the
//! inputs are final and nothing has been added for the wrong strategy yet.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};

use crate::config::{AsOfOptions, StrategyOption};
use crate::exec::{AsOfJoinExec, AsOfStrategy, file_scan};

/// The physical rule that chooses how each as-of join executes, by `asof.strategy` or from
/// the statistics of its right side. `EXPLAIN` shows the choice with its reason.
#[derive(Debug, Default, Clone, Copy)]
pub struct AsOfJoinSelection;

impl PhysicalOptimizerRule for AsOfJoinSelection {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = AsOfOptions::of(config);
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<AsOfJoinExec>() else {
                return Ok(Transformed::no(plan));
            };
            let known = Known {
                strategy: options.strategy,
                threshold: options.broadcast_threshold,
                right_bytes: bytes_of(join.right())?,
            };
            let (strategy, reason) = select(&known);
            let chosen = join.with_strategy(strategy, reason)?;
            Ok(Transformed::yes(Arc::new(chosen) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "AsOfJoinSelection"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What the choice is made from.
#[derive(Debug, Clone, Copy)]
struct Known {
    strategy: StrategyOption,
    threshold: usize,
    right_bytes: Option<usize>,
}

/// The strategy and the reason for it.
fn select(known: &Known) -> (AsOfStrategy, String) {
    let threshold = format!("asof.broadcast_threshold = {}", size(known.threshold));
    match (known.strategy, known.right_bytes) {
        (StrategyOption::Broadcast, _) => {
            (AsOfStrategy::Broadcast, "asof.strategy = broadcast".into())
        }
        (StrategyOption::SortMerge, _) => {
            (AsOfStrategy::SortMerge, "asof.strategy = sort_merge".into())
        }
        (StrategyOption::Auto, None) => (
            AsOfStrategy::SortMerge,
            "the size of the right side is not known".into(),
        ),
        (StrategyOption::Auto, Some(bytes)) if bytes <= known.threshold => (
            AsOfStrategy::Broadcast,
            format!("right side about {}, within {threshold}", size(bytes)),
        ),
        (StrategyOption::Auto, Some(bytes)) => (
            AsOfStrategy::SortMerge,
            format!("right side about {}, above {threshold}", size(bytes)),
        ),
    }
}

fn size(bytes: usize) -> String {
    let units = [("GB", 30), ("MB", 20), ("KB", 10)];
    match units.iter().find(|(_, shift)| bytes >= 1 << shift) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

/// About how many bytes of memory a plan's output takes.
fn bytes_of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<usize>> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())?;
    match statistics.num_rows.get_value() {
        Some(rows) => Ok(Some(
            rows.saturating_mul(row_bytes(&plan.schema(), &statistics)),
        )),
        None => Ok(file_bytes(plan)),
    }
}

fn row_bytes(schema: &Schema, statistics: &Statistics) -> usize {
    /// A view, and now and then a longer string behind it.
    const VARIABLE: usize = 24;
    let columns = schema.fields().iter().enumerate();
    columns
        .map(|(column, field)| match field.data_type() {
            DataType::Boolean => 1,
            DataType::Dictionary(code, _) => code.primitive_width().unwrap_or(VARIABLE),
            fixed => match (fixed.primitive_width(), statistics.num_rows.get_value()) {
                (Some(width), _) => width,
                (None, Some(rows)) if *rows > 0 => {
                    let bytes = statistics.column_statistics.get(column);
                    let bytes = bytes.and_then(|c| c.byte_size.get_value());
                    bytes.map_or(VARIABLE, |bytes| bytes / rows)
                }
                _ => VARIABLE,
            },
        })
        .sum()
}

/// About the size of the files under a plan of which the rows are not known, uncompressed.
fn file_bytes(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    /// Formats that are stored as they are; others are compressed, most of them well.
    const PLAIN: [&str; 6] = ["csv", "tsv", "txt", "json", "ndjson", "jsonl"];
    const COMPRESSED_TO: u64 = 8;
    if let Some(files) = file_scan(plan) {
        let groups = files.file_groups.iter();
        let bytes: u64 = groups
            .flat_map(|group| group.iter())
            .map(|file| {
                let stored = match &file.range {
                    Some(range) => (range.end - range.start).unsigned_abs(),
                    None => file.object_meta.size,
                };
                let extension = file.object_meta.location.extension();
                match extension.is_some_and(|extension| PLAIN.contains(&extension)) {
                    true => stored,
                    false => stored.saturating_mul(COMPRESSED_TO),
                }
            })
            .sum();
        return usize::try_from(bytes).ok();
    }
    match plan.children().as_slice() {
        // Mostly rows pass or are dropped.
        [input] => file_bytes(input),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
