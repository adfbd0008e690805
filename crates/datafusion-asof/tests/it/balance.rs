//! Time-salted joins of skewed keys: partitions that hold about the same, few rows carried, and the same answer.

use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf};

use crate::types::Dice;

const ROWS: usize = 40_000;
const PARTITIONS: usize = 16;

/// A share of the rows in one key, the others in a thousand; most times are early.
fn table(seed: u64, hot_percent: u32, in_order: bool) -> Result<MemTable> {
    let dice = &mut Dice::new(seed);
    let mut rows: Vec<(i64, String)> = (0..ROWS)
        .map(|_| {
            let time = dice.below(100_000) as i64;
            let key = match dice.percent(hot_percent) {
                true => "the hot key".to_string(),
                false => format!("key {}", dice.below(1000)),
            };
            (time * time, key)
        })
        .collect();
    if in_order {
        rows.sort();
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("k", DataType::Utf8, false),
        Field::new("ts", DataType::Int64, false),
    ]));
    let each = ROWS / PARTITIONS;
    let partition = |number: usize| {
        let rows = &rows[number * each..(number + 1) * each];
        let ids = (number * each..).map(|id| id as i64);
        let columns = vec![
            Arc::new(ids.take(each).collect::<Int64Array>()) as _,
            Arc::new(rows.iter().map(|row| Some(&row.1)).collect::<StringArray>()) as _,
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()) as _,
        ];
        Ok(vec![RecordBatch::try_new(Arc::clone(&schema), columns)?])
    };
    let partitions = (0..PARTITIONS).map(partition).collect::<Result<_>>()?;
    MemTable::try_new(Arc::clone(&schema), partitions)
}

struct Run {
    answer: String,
    /// The rows of the partitions that are joined.
    joined: Vec<usize>,
    carried: usize,
}

async fn run(strategy: &str, hot_percent: u32, condition: &str) -> Result<Run> {
    let config = SessionConfig::new().with_target_partitions(PARTITIONS);
    let ctx = SessionContext::new_with_config(config).with_asof();
    ctx.register_table("l", Arc::new(table(1, hot_percent, false)?))?;
    ctx.register_table("r", Arc::new(table(2, hot_percent, true)?))?;
    ctx.sql(&format!("SET asof.strategy = {strategy}")).await?;
    let sql = format!(
        "SELECT count(*), count(r_id), sum(l_id * r_id) FROM
         (SELECT l.id AS l_id, r.id AS r_id FROM l ASOF LEFT JOIN r ON {condition})"
    );
    let plan = ctx.asof_sql(&sql).await?.create_physical_plan().await?;
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await?;
    let mut run = Run {
        answer: pretty_format_batches(&batches)?.to_string(),
        joined: vec![0; PARTITIONS],
        carried: 0,
    };
    note(&plan, &mut run);
    Ok(run)
}

fn note(plan: &Arc<dyn ExecutionPlan>, run: &mut Run) {
    let metrics = plan.metrics().unwrap_or_default();
    if plan.name() == "AsOfJoinExec" {
        for metric in metrics.iter() {
            if ["left_rows", "right_rows"].contains(&metric.value().name()) {
                let partition = metric.partition().expect("counted by partition");
                run.joined[partition] += metric.value().as_usize();
            }
        }
    }
    let carried = metrics.sum_by_name("carry_rows");
    run.carried += carried.map_or(0, |carried| carried.as_usize());
    for child in plan.children() {
        note(child, run);
    }
}

#[tokio::test]
async fn skewed_joins_fill_their_partitions() -> Result<()> {
    let by_key = "l.k = r.k AND l.ts >= r.ts";
    let cases = [
        (50, by_key),
        (90, by_key),
        (100, by_key),
        (0, "l.ts >= r.ts"),
        (90, "l.k = r.k AND l.ts <= r.ts"),
        // Keys that equal nothing, which could be one partition's.
        (
            50,
            "CASE WHEN l.id % 4 = 0 THEN l.k END = r.k AND l.ts >= r.ts",
        ),
    ];
    for (hot_percent, condition) in cases {
        let salted = run("time_salted", hot_percent, condition).await?;
        let rows: usize = salted.joined.iter().sum();
        let mean = rows as f64 / PARTITIONS as f64;
        let largest = salted.joined.iter().max().map_or(0.0, |rows| *rows as f64);
        println!(
            "{hot_percent} % in one key, {condition}: largest partition {:.2} of the mean, {} carried",
            largest / mean,
            salted.carried
        );
        assert!(
            largest <= 1.5 * mean,
            "{hot_percent} %: {:?}",
            salted.joined
        );
        assert_eq!(rows, 2 * ROWS + salted.carried);
        // Four ranges of each partition, a row into each from each partition of the input: what
        // is carried does not grow with the rows.
        assert!(salted.carried > 0);
        assert!(salted.carried <= 4 * PARTITIONS * PARTITIONS);
        let merged = run("sort_merge", hot_percent, condition).await?;
        assert_eq!(salted.answer, merged.answer, "{hot_percent} %, {condition}");
    }
    Ok(())
}
