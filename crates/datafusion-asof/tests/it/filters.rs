//! A filter above a join, used by the optimizer as it likes, gives the rows that it gives where
//! the optimizer cannot move it: beside a volatile term that changes nothing.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfContext, WithAsOf};

const LEFT: &str = "CREATE TABLE l AS SELECT value AS v, value % 9 * 3 AS t,
    arrow_cast(value % 9 * 3000, 'Timestamp(Microsecond, None)') AS us,
    CASE WHEN value % 7 = 0 THEN NULL WHEN value % 4 = 0 THEN 'A' WHEN value % 4 = 1 THEN 'B'
        WHEN value % 4 = 2 THEN 'C' ELSE 'D' END AS k,
    CASE WHEN value % 5 = 0 THEN 0.0 WHEN value % 5 = 1 THEN -0.0 ELSE value % 5 END AS f
    FROM generate_series(1, 60)";
const RIGHT: &str = "CREATE TABLE r AS SELECT value AS v, value * 7 % 29 AS t,
    arrow_cast(value * 7 % 29, 'Timestamp(Millisecond, None)') AS ms,
    CASE WHEN value % 6 = 0 THEN NULL WHEN value % 3 = 0 THEN 'A' WHEN value % 3 = 1 THEN 'B'
        ELSE 'C' END AS k,
    CASE WHEN value % 3 = 0 THEN -0.0 ELSE value % 3 END AS f
    FROM generate_series(1, 40)";

/// Filters on left columns, on right ones and on both.
const FILTERS: [&str; 24] = [
    "l.k = 'A'",
    "l.k > 'A'",
    "l.k IS NULL",
    "l.k IN ('A', 'D')",
    "l.k = 'A' OR l.k IS NULL",
    "l.k = 'A' OR l.t > 15",
    "l.t <= 12",
    "l.t < 12",
    "l.t > 12",
    "l.t >= 12",
    "l.t = 12",
    "12 > l.t",
    "l.t <> 12",
    "l.t BETWEEN 5 AND 15",
    "l.us > arrow_cast(11500, 'Timestamp(Microsecond, None)')",
    "l.us <= arrow_cast(11500, 'Timestamp(Microsecond, None)')",
    "1 / l.f > 0",
    "l.f = 0",
    "r.v > 3",
    "r.v IS NULL",
    "r.t >= 10 AND l.k = 'B'",
    "coalesce(r.v, 0) < 9",
    "l.v > r.v",
    "r.k = 'A' AND r.v IS NOT NULL",
];

/// As-of values, tolerance and key.
const JOINS: [(&str, &str, &str); 4] = [
    ("l.t, r.t", "TOLERANCE 4", "l.k = r.k"),
    ("l.t, r.t", "", "l.k IS NOT DISTINCT FROM r.k"),
    (
        "l.us, r.ms",
        "TOLERANCE INTERVAL '2500 microseconds'",
        "l.k = r.k",
    ),
    ("l.t, r.t", "TOLERANCE 1", "l.f = r.f"),
];

#[tokio::test]
async fn a_filter_means_the_same_wherever_it_runs() -> Result<()> {
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = AsOfContext::from(SessionContext::new_with_config(config).with_asof());
    ctx.sql(LEFT).await?.collect().await?;
    ctx.sql(RIGHT).await?.collect().await?;
    let mut passed = 0;
    for kind in ["INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI"] {
        for (turn, op) in [">=", ">", "<=", "<", "nearest"].into_iter().enumerate() {
            for (number, filter) in FILTERS.iter().enumerate() {
                let left_only = matches!(kind, "SEMI" | "ANTI");
                if left_only && filter.contains("r.") {
                    continue;
                }
                let (times, tolerance, on) = JOINS[(turn + number) % JOINS.len()];
                let condition = match op {
                    "nearest" => format!("nearest({times})"),
                    _ => times.replace(',', &format!(" {op}")),
                };
                let join = format!(
                    "SELECT * FROM l ASOF {kind} JOIN r MATCH_CONDITION ({condition}) ON {on} {tolerance}"
                );
                let moved = rows(&ctx, &format!("{join} WHERE {filter}")).await?;
                let pinned = format!("{join} WHERE ({filter}) OR random() < 0");
                assert_eq!(moved, rows(&ctx, &pinned).await?, "{join} WHERE {filter}");
                passed += usize::from(!moved.is_empty());
            }
        }
    }
    assert!(passed > 400, "{passed} filters let a row pass");
    Ok(())
}

async fn rows(ctx: &AsOfContext, sql: &str) -> Result<Vec<String>> {
    let batches = ctx.sql(sql).await?.collect().await?;
    let shown = pretty_format_batches(&batches)?.to_string();
    let mut rows: Vec<String> = shown.lines().skip(3).map(str::to_owned).collect();
    rows.pop();
    rows.sort_unstable();
    Ok(rows)
}
