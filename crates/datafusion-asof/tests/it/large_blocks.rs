//! Blocks of left rows that are so large, and choose from so many right rows, that their values are
//! fetched in the order of the right.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf};

const LEFT: usize = 60_000;
const RIGHT: usize = 1 << 20;

/// Times of both sides are scattered; the right's are unique, and every third value is NULL.
async fn answers(strategy: &str) -> Result<String> {
    let config = SessionConfig::new().with_target_partitions(1);
    let ctx = SessionContext::new_with_config(config).with_asof();
    for sql in [
        format!("SET asof.strategy = {strategy}"),
        format!(
            "CREATE TABLE l AS SELECT value AS id, value * 611953 % {RIGHT} * 3 - 5000 AS ts
             FROM generate_series(1, {LEFT})"
        ),
        format!(
            "CREATE TABLE r AS SELECT value * 524287 % {RIGHT} * 3 AS ts, value AS px,
             nullif(value % 3, 0) * 1.5 AS half, CAST(value AS VARCHAR) AS name
             FROM generate_series(1, {RIGHT})"
        ),
    ] {
        ctx.sql(&sql).await?.collect().await?;
    }
    let mut answers = String::new();
    for join in [
        "ASOF LEFT JOIN r ON l.ts >= r.ts",
        "ASOF INNER JOIN r ON l.ts >= r.ts",
        "ASOF LEFT JOIN r ON l.ts >= r.ts TOLERANCE 1",
        "ASOF INNER JOIN r ON l.ts >= r.ts TOLERANCE 1",
    ] {
        let sql = format!(
            "SELECT count(*), count(r.ts), count(r.half), sum(l.id * r.px), sum(l.id * r.half),
             sum(l.id * r.ts), sum(l.id * length(r.name)) FROM l {join}"
        );
        let batches = ctx.asof_sql(&sql).await?.collect().await?;
        answers += &pretty_format_batches(&batches)?.to_string();
    }
    Ok(answers)
}

#[tokio::test]
async fn rows_fetched_in_the_order_of_the_right_are_those_chosen() -> Result<()> {
    assert_eq!(answers("broadcast").await?, answers("sort_merge").await?);
    Ok(())
}
