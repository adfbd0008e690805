//! Joins of which one key is hot, measured: the time, and how evenly partitions are filled.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use datafusion_asof::{AsOfJoinExec, AsOfSql, AsOfStrategy, WithAsOf};

use crate::workload::Workload;

/// One key with so many percent of the rows, or no key at all.
pub const WORKLOADS: [&str; 6] = [
    "skew_0", "skew_50", "skew_90", "skew_99", "skew_100", "no_key",
];
/// How many partitions a join is planned for.
pub const PARTITIONS: [usize; 3] = [4, 16, 64];
/// What is compared, by the name that `asof.strategy` has for it.
pub const STRATEGIES: [&str; 3] = ["time_salted", "sort_merge", "auto"];

/// How a join is to be executed.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// A value of `asof.strategy`.
    pub strategy: &'static str,
    /// The value of `datafusion.execution.target_partitions`.
    pub partitions: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How it was executed.
    pub strategy: AsOfStrategy,
    /// Of planning and executing.
    pub seconds: f64,
    /// The rows of the largest partition over the mean of as many as it was planned for; `None` if one index
    /// serves all.
    pub balance: Option<f64>,
    /// Carried rows over all rows.
    pub carried: f64,
    /// Left rows that a carried row matched.
    pub matched_by_carried: usize,
    /// The row that the query gives.
    pub answer: Vec<f64>,
}

/// Runs the query of a workload whose tables are in a directory.
///
/// # Errors
/// Those of the query.
pub async fn measure(
    directory: &Path,
    workload: &Workload,
    setting: Setting,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let config = SessionConfig::from_env()?.with_target_partitions(setting.partitions);
    let ctx = SessionContext::new_with_config(config).with_asof();
    for table in workload.tables() {
        let file = directory.join(format!("{}.parquet", table.name));
        let file = file.to_str().ok_or("the path is not UTF-8")?;
        ctx.register_parquet(&table.name, file, ParquetReadOptions::default())
            .await?;
    }
    let strategy = format!("SET asof.strategy = {}", setting.strategy);
    ctx.asof_sql(&strategy).await?;
    let started = Instant::now();
    let query = ctx.asof_sql(&workload.query()).await?;
    let plan = query.create_physical_plan().await?;
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await?;
    let seconds = started.elapsed().as_secs_f64();
    let mut answer = vec![];
    for column in batches.iter().flat_map(|batch| batch.columns()) {
        let column = cast(column, &DataType::Float64)?;
        answer.extend(column.as_primitive::<Float64Type>().iter().flatten());
    }
    let join = join_of(&plan).ok_or("the plan has no as-of join")?;
    // Without a key a merge has one partition, whatever it is planned for.
    let mut rows = rows_of_partitions(join);
    rows.resize(rows.len().max(setting.partitions), 0);
    let all: usize = rows.iter().sum();
    let mean = all as f64 / rows.len().max(1) as f64;
    let largest = rows.iter().max().copied().unwrap_or(0);
    let is_partitioned = [AsOfStrategy::SortMerge, AsOfStrategy::TimeSalted];
    Ok(Measured {
        strategy: join.strategy(),
        seconds,
        balance: (is_partitioned.contains(&join.strategy())).then(|| largest as f64 / mean),
        carried: sum(&plan, "carry_rows") as f64 / all.max(1) as f64,
        matched_by_carried: sum(&plan, "carry_matched_rows"),
        answer,
    })
}

fn join_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&AsOfJoinExec> {
    let below = || plan.children().into_iter().find_map(join_of);
    plan.downcast_ref::<AsOfJoinExec>().or_else(below)
}

/// The rows that each partition of a join reads, of both sides.
fn rows_of_partitions(join: &AsOfJoinExec) -> Vec<usize> {
    let mut rows = vec![0; join.properties().output_partitioning().partition_count()];
    for metric in join.metrics().unwrap_or_default().iter() {
        let of_side = ["left_rows", "right_rows"].contains(&metric.value().name());
        if let (Some(partition), true) = (metric.partition(), of_side)
            && let Some(rows) = rows.get_mut(partition)
        {
            *rows += metric.value().as_usize();
        }
    }
    rows
}

fn sum(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let metrics = plan.metrics().unwrap_or_default();
    let own = metrics.sum_by_name(name);
    let below = plan.children().into_iter().map(|plan| sum(plan, name));
    own.map_or(0, |own| own.as_usize()) + below.sum::<usize>()
}

/// Whether two answers are the same, but for the order in which floats were added.
pub fn agree(a: &[f64], b: &[f64]) -> bool {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    a.len() == b.len() && a.iter().zip(b).all(near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet;

    #[tokio::test]
    async fn a_hot_key_is_spread_by_time() -> Result<(), Box<dyn std::error::Error>> {
        let workload = Workload::named("skew_90", 0.001)?;
        let directory = std::env::temp_dir().join(format!("asof-skew-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        for table in workload.tables() {
            parquet::write(&directory.join(format!("{}.parquet", table.name)), table)?;
        }
        let measured = async |strategy| {
            let setting = Setting {
                strategy,
                partitions: 4,
            };
            measure(&directory, &workload, setting).await
        };
        let salted = measured("time_salted").await?;
        let merged = measured("sort_merge").await?;
        std::fs::remove_dir_all(&directory)?;
        assert_eq!(salted.strategy, AsOfStrategy::TimeSalted);
        assert!(agree(&salted.answer, &merged.answer));
        assert!(salted.balance < merged.balance && merged.balance > Some(3.0));
        assert!(salted.carried > 0.0 && merged.carried == 0.0);
        Ok(())
    }
}
