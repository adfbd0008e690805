//! Right rows in no order for a left side that is too large for the cache: they are gathered and merged
//! with it, many at a time.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf};

const LEFT: usize = 110_000;
/// So many that they are merged several times, and those in vain go, or merged twice where there is a predicate.
const RIGHT: usize = 900_000;

/// Most rows have one key, some none; times are scattered over fewer values than there are rows, some
/// are missing, and the right has keys that the left has not.
async fn tables(ctx: &SessionContext) -> Result<()> {
    for sql in [
        format!(
            "CREATE TABLE l AS SELECT value AS id, nullif(value * 7919 % 100 / 80 * (value % 60), 0) AS k,
             nullif(value * 611953 % 400009, 7) AS ts FROM generate_series(1, {LEFT})"
        ),
        format!(
            "CREATE TABLE r AS SELECT nullif(value * 7907 % 100 / 80 * (value % 77), 0) AS k,
             nullif(value * 524287 % 400009, 7) AS ts, value AS px, nullif(value % 3, 0) * 1.5 AS half,
             CAST(value AS VARCHAR) AS name FROM generate_series(1, {RIGHT})"
        ),
    ] {
        ctx.sql(&sql).await?.collect().await?;
    }
    Ok(())
}

async fn shown(ctx: &SessionContext, sql: &str) -> Result<String> {
    let batches = ctx.asof_sql(sql).await?.collect().await?;
    Ok(pretty_format_batches(&batches)?.to_string())
}

async fn answers(ctx: &SessionContext, strategy: &str) -> Result<String> {
    ctx.sql(&format!("SET asof.strategy = {strategy}"))
        .await?
        .collect()
        .await?;
    let sums = "count(*), sum(l.id)";
    // Without the column that is NULL in every batch values of most batches lie side by side.
    let no_nulls = "count(r.ts), sum(l.id * r.px), sum(l.id * r.ts), sum(l.id * length(r.name))";
    let of_right = format!("count(r.half), sum(l.id * r.half), {no_nulls}");
    let mut answers = String::new();
    for (join, on) in [
        ("LEFT", "l.k IS NOT DISTINCT FROM r.k AND l.ts >= r.ts"),
        ("LEFT", "l.k = r.k AND l.ts > r.ts"),
        ("INNER", "l.k IS NOT DISTINCT FROM r.k AND l.ts <= r.ts"),
        ("INNER", "l.ts < r.ts"),
        ("LEFT", "l.ts >= r.ts"),
        (
            "INNER",
            "l.k IS NOT DISTINCT FROM r.k AND l.ts >= r.ts TOLERANCE 1",
        ),
        // Few right rows have a key of the left, and all those of a batch, or none, are refused.
        (
            "LEFT",
            "l.k + 70 = r.k AND l.ts >= r.ts AND r.px % 50000 > 10000",
        ),
    ] {
        for of_right in [no_nulls, &of_right] {
            let sql = format!("SELECT {sums}, {of_right} FROM l ASOF {join} JOIN r ON {on}");
            answers += &shown(ctx, &sql).await?;
        }
    }
    for join in ["SEMI", "ANTI"] {
        let on = "l.k IS NOT DISTINCT FROM r.k AND l.ts >= r.ts TOLERANCE 0";
        let sql = format!("SELECT {sums} FROM l ASOF {join} JOIN r ON {on}");
        answers += &shown(ctx, &sql).await?;
    }
    Ok(answers)
}

fn config() -> SessionConfig {
    SessionConfig::new().with_target_partitions(3)
}

#[tokio::test]
async fn gathered_rows_are_matched_like_others() -> Result<()> {
    let ctx = SessionContext::new_with_config(config()).with_asof();
    tables(&ctx).await?;
    let expected = answers(&ctx, "broadcast").await?;
    assert_eq!(answers(&ctx, "broadcast_left").await?, expected);
    let sql = "EXPLAIN ANALYZE SELECT sum(r.px) FROM l ASOF JOIN r ON l.ts >= r.ts";
    let metrics = shown(&ctx, sql).await?;
    // Those without a time are not gathered.
    assert!(metrics.contains("gathered_rows=900.0 K"), "{metrics}");
    Ok(())
}

/// With little memory rows are merged as soon as there is no room for more; the answer is the same, and
/// nothing of the pool stays taken.
#[tokio::test]
async fn little_memory_merges_earlier() -> Result<()> {
    let ctx = SessionContext::new_with_config(config()).with_asof();
    tables(&ctx).await?;
    let expected = answers(&ctx, "broadcast").await?;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(40 << 20, 1.0)
        .build_arc()?;
    let small = SessionContext::new_with_config_rt(config(), runtime).with_asof();
    for table in ["l", "r"] {
        small.register_table(table, ctx.table_provider(table).await?)?;
    }
    assert_eq!(answers(&small, "broadcast_left").await?, expected);
    assert_eq!(small.runtime_env().memory_pool.reserved(), 0);
    Ok(())
}

/// What a join keeps once it has read its right side is held until the query ends: joins in a chain leave
/// room for each other.
#[tokio::test]
async fn joins_in_a_chain_share_little_memory() -> Result<()> {
    let ctx = SessionContext::new_with_config(config()).with_asof();
    tables(&ctx).await?;
    let sql = "SELECT count(*), max(a.name), max(b.name), max(c.name), max(d.name), max(e.name)
        FROM l ASOF LEFT JOIN r a ON l.k IS NOT DISTINCT FROM a.k AND l.ts >= a.ts
        ASOF LEFT JOIN r b ON l.k IS NOT DISTINCT FROM b.k AND l.ts > b.ts
        ASOF LEFT JOIN r c ON l.k IS NOT DISTINCT FROM c.k AND l.ts <= c.ts
        ASOF LEFT JOIN r d ON l.k IS NOT DISTINCT FROM d.k AND l.ts < d.ts
        ASOF LEFT JOIN r e ON l.k IS NOT DISTINCT FROM e.k AND l.ts >= e.ts TOLERANCE 5";
    ctx.sql("SET asof.strategy = broadcast")
        .await?
        .collect()
        .await?;
    let expected = shown(&ctx, sql).await?;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(48 << 20, 1.0)
        .build_arc()?;
    let small = SessionContext::new_with_config_rt(config(), runtime).with_asof();
    for table in ["l", "r"] {
        small.register_table(table, ctx.table_provider(table).await?)?;
    }
    let set = small.sql("SET asof.strategy = broadcast_left").await?;
    set.collect().await?;
    assert_eq!(shown(&small, sql).await?, expected);
    assert_eq!(small.runtime_env().memory_pool.reserved(), 0);
    Ok(())
}
