//! Time-salted joins of skewed keys: partitions that hold about the same, few rows carried, and the same answer.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
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

/// Files of a table, all but a tenth of the rows in one key, written in an order.
#[derive(Clone, Copy)]
struct Files {
    what: &'static str,
    /// The time of the row `value`.
    time: &'static str,
    order: &'static str,
    /// The files have slices of the rows.
    files: i64,
    rows_of_group: usize,
}

const IN_FILES: i64 = 60_000;

async fn write(files: &Files, folder: &Path) -> Result<()> {
    // One partition, so that rows are written as they are ordered.
    let config = SessionConfig::new().with_target_partitions(1);
    let ctx = SessionContext::new_with_config(config);
    let rows_of_group = files.rows_of_group;
    let group = format!("SET datafusion.execution.parquet.max_row_group_size = {rows_of_group}");
    ctx.sql(&group).await?;
    let of_file = IN_FILES / files.files;
    for file in 0..files.files {
        let sql = format!(
            "COPY (SELECT k, {time} AS ts FROM (
                SELECT value, CASE WHEN value * 7919 % 10 = 0 THEN value % 997 ELSE -1 END AS k
                FROM generate_series({from}, {to})) ORDER BY {order})
             TO '{folder}/{file}.parquet' STORED AS PARQUET",
            time = files.time,
            order = files.order,
            from = file * of_file,
            to = (file + 1) * of_file - 1,
            folder = folder.display(),
        );
        ctx.sql(&sql).await?.collect().await?;
    }
    Ok(())
}

/// The rows of the largest partition over the mean, of a join of files with themselves.
async fn largest_of_mean(folder: &Path, condition: &str) -> Result<f64> {
    let config = SessionConfig::new().with_target_partitions(PARTITIONS);
    let ctx = SessionContext::new_with_config(config).with_asof();
    let url = format!("{}/", folder.display());
    let options = ParquetReadOptions::new();
    ctx.register_parquet("t", &url, options).await?;
    ctx.sql("SET asof.strategy = time_salted").await?;
    let sql = format!("SELECT count(*) FROM t l ASOF JOIN t r ON {condition}");
    let plan = ctx.asof_sql(&sql).await?.create_physical_plan().await?;
    collect(Arc::clone(&plan), ctx.task_ctx()).await?;
    let mut run = Run {
        answer: String::new(),
        joined: vec![0; PARTITIONS],
        carried: 0,
    };
    note(&plan, &mut run);
    let mean = run.joined.iter().sum::<usize>() as f64 / PARTITIONS as f64;
    let largest = run.joined.iter().max();
    Ok(largest.map_or(0.0, |rows| *rows as f64 / mean))
}

#[tokio::test]
async fn files_in_any_order_fill_partitions() -> Result<()> {
    let in_order = Files {
        what: "in time order",
        time: "value",
        order: "value",
        files: 1,
        rows_of_group: 1 << 20,
    };
    let cases = [
        in_order,
        Files {
            what: "in random order",
            order: "value * 7919 % 60013",
            ..in_order
        },
        Files {
            what: "one row of a hundred late",
            time: "CASE WHEN value * 7919 % 100 = 0 THEN value - value * 104729 % 20000
                   ELSE value END",
            rows_of_group: 10_000,
            ..in_order
        },
        Files {
            what: "by key and time",
            order: "k, value",
            ..in_order
        },
        Files {
            what: "days by key and time",
            order: "k, value",
            files: 8,
            ..in_order
        },
        Files {
            what: "files over the same times",
            time: "value % 7500 * 8 + value / 7500",
            files: 8,
            ..in_order
        },
        Files {
            what: "ever more rows in a time",
            time: "CAST(sqrt(value) * 1000 AS BIGINT)",
            ..in_order
        },
    ];
    for files in cases {
        let folder = tempfile::tempdir()?;
        write(&files, folder.path()).await?;
        for condition in ["l.k = r.k AND l.ts + 0 >= r.ts + 0", "l.ts + 0 >= r.ts + 0"] {
            let largest = largest_of_mean(folder.path(), condition).await?;
            println!("{}, {condition}: {largest:.2}", files.what);
            assert!(largest <= 1.5, "{}, {condition}: {largest:.2}", files.what);
        }
    }
    Ok(())
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
