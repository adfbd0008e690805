//! The same rows as on one machine, and the work where it should be.

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use serde_json::Value;

use crate::data::{ALL, Data, join, run, shown};
use crate::process::{LocalCluster, VCORES, local_session};

const STRATEGIES: [&str; 4] = ["broadcast", "sort_merge", "time_salted", "auto"];

async fn set(ctx: &SessionContext, strategy: &str) -> Result<()> {
    run(ctx, &format!("SET asof.strategy = '{strategy}'")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_gives_the_rows_of_one_machine() -> Result<()> {
    let cluster = LocalCluster::start(2).await;
    let (remote, local) = (cluster.session().await, local_session());
    let data = Data::write().await?;
    data.register(&remote).await?;
    data.register(&local).await?;
    let ties = "TIES BY q.id DESC";
    let joins = [
        join("INNER", ties),
        join("LEFT", "TOLERANCE INTERVAL '5 seconds' TIES BY q.x, q.id"),
        join("LEFT", "IGNORE NULLS TIES BY q.id"),
        join("FULL", ties),
        join("LEFT", ""),
        // Without keys, with rows of both sides compared, and the earliest after.
        "SELECT count(*), sum(q.id) FROM trades t ASOF JOIN quotes q ON t.ts < q.ts \
         TIES BY q.id"
            .to_owned(),
        "SELECT count(*), sum(q.id) FROM trades t ASOF JOIN quotes q \
         ON t.sym = q.sym AND t.ts >= q.ts AND (q.x + t.x) % 7 <> 0 TIES BY q.id"
            .to_owned(),
        // Rows rather than sums, in order.
        "SELECT t.id, t.ts, q.id, q.ts, q.x FROM trades t ASOF LEFT JOIN quotes q \
         MATCH_CONDITION (t.ts > q.ts) ON t.sym = q.sym TIES BY q.id \
         WHERE t.id % 400 = 3 ORDER BY t.id"
            .to_owned(),
    ];
    for join in &joins {
        let expected = shown(&local, join).await?;
        for strategy in STRATEGIES {
            set(&remote, strategy).await?;
            let rows = shown(&remote, join).await;
            let rows =
                rows.unwrap_or_else(|e| panic!("{strategy}: {join}\n{e}\n{}", cluster.logs()));
            assert_eq!(rows, expected, "{strategy}: {join}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_joins_give_the_rows_of_one_machine() -> Result<()> {
    let cluster = LocalCluster::start(2).await;
    let (remote, local) = (cluster.session().await, local_session());
    let data = Data::write().await?;
    data.register(&remote).await?;
    data.register(&local).await?;
    let few = "(SELECT * FROM trades WHERE id % 1500 = 0) t";
    let later = "t.x > q.x + 900 AND q.id % 3 = 0";
    for sql in [
        // By no equal column, so in nested loops, with left rows that no right row matches.
        format!("SELECT count(*), sum(t.id), sum(q.id) FROM {few} LEFT JOIN quotes q ON {later}"),
        format!("SELECT count(*), sum(t.id), sum(q.id) FROM {few} RIGHT JOIN quotes q ON {later}"),
        format!("SELECT count(*), sum(t.id), sum(q.id) FROM {few} FULL JOIN quotes q ON {later}"),
        format!("SELECT count(*) FROM {few} WHERE EXISTS (SELECT 1 FROM quotes q WHERE {later})"),
        format!(
            "SELECT count(*) FROM {few} WHERE NOT EXISTS (SELECT 1 FROM quotes q WHERE {later})"
        ),
        format!("SELECT count(*) FROM {few} WHERE t.x NOT IN (SELECT x FROM quotes WHERE x > 3)"),
        format!("SELECT count(*), sum(q.id) FROM {few} LEFT JOIN quotes q ON t.x + 999 = q.x"),
    ] {
        let expected = shown(&local, &sql).await?;
        let rows = shown(&remote, &sql).await;
        let rows = rows.unwrap_or_else(|e| panic!("{sql}\n{e}\n{}", cluster.logs()));
        assert_eq!(rows, expected, "{sql}");
    }
    Ok(())
}

/// Limits and unions of tables that are sent along, and the types of what comes back.
#[tokio::test(flavor = "multi_thread")]
async fn tables_in_memory_and_results_are_as_planned() -> Result<()> {
    let cluster = LocalCluster::start(1).await;
    let (remote, local) = (cluster.session().await, local_session());
    let values = "(VALUES (1, 0.5), (2, 1.5), (3, 2.5)) AS v(x, y)";
    for sql in [
        format!("SELECT x FROM {values} LIMIT 2"),
        format!("SELECT x, 7 FROM {values} UNION ALL SELECT 8, 9 ORDER BY x"),
        format!("SELECT arrow_cast(x, 'Dictionary(Int32, Int64)') AS d, y FROM {values}"),
        format!(
            "SELECT l.x, v.y FROM {values2} ASOF JOIN {values} ON l.x >= v.x \
             AND arrow_cast(l.y, 'Float16') = arrow_cast(v.y, 'Float16') ORDER BY l.x",
            values2 = values.replace(" v(", " l("),
        ),
    ] {
        let expected = run(&local, &sql).await?;
        let rows = run(&remote, &sql).await;
        let rows = rows.unwrap_or_else(|e| panic!("{sql}\n{e}\n{}", cluster.logs()));
        let types = |batches: &[RecordBatch]| batches.first().map(RecordBatch::schema);
        let text = |batches: &[RecordBatch]| pretty_format_batches(batches).map(|t| t.to_string());
        assert_eq!(types(&rows), types(&expected), "{sql}");
        assert_eq!(text(&rows)?, text(&expected)?, "{sql}");
    }
    Ok(())
}

/// What would give other rows than on one machine, or write them elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_would_do_otherwise_is_refused() -> Result<()> {
    let cluster = LocalCluster::start(1).await;
    let ctx = cluster.session().await;
    let data = Data::write().await?;
    data.register(&ctx).await?;
    let refused = async |sql: &str, why: &str| {
        let error = run(&ctx, sql).await.expect_err(sql).to_string();
        assert!(error.contains(why), "{sql}: {error}");
    };
    let to = std::env::temp_dir().join("asof-not-written.parquet");
    let copy = format!(
        "EXPLAIN ANALYZE COPY trades TO '{}' STORED AS PARQUET",
        to.display()
    );
    refused(&copy, "EXPLAIN ANALYZE of a statement that writes").await;
    assert!(!to.exists());

    let asof = join("LEFT", "TIES BY q.id");
    run(&ctx, "SET asof.distributed = false").await?;
    refused(&asof, "SET asof.distributed = true").await;
    run(&ctx, "SET asof.distributed = true").await?;

    run(&ctx, "SET ballista.planner.adaptive.enabled = true").await?;
    refused(&asof, "SET ballista.planner.adaptive.enabled = false").await;
    run(&ctx, "SET ballista.planner.adaptive.enabled = false").await?;

    let by_hash = "SELECT count(*) FROM trades t FULL JOIN quotes q ON t.id = q.id";
    run(&ctx, by_hash).await?;
    run(&ctx, "SET datafusion.optimizer.prefer_hash_join = true").await?;
    refused(by_hash, "SET datafusion.optimizer.prefer_hash_join = false").await;
    run(&ctx, &asof).await?;
    run(&ctx, &by_hash.replace("FULL ", "")).await?;
    Ok(())
}

/// What tasks counted of the join, under a strategy.
async fn counted(ctx: &SessionContext, strategy: &str) -> Result<String> {
    set(ctx, strategy).await?;
    let sql = format!("EXPLAIN ANALYZE {}", join("LEFT", "TIES BY q.id"));
    let stages = shown(ctx, &sql).await?;
    let of_join = stages.lines().find(|line| line.contains("AsOfJoinExec"));
    Ok(of_join
        .unwrap_or_else(|| panic!("no join in\n{stages}"))
        .to_owned())
}

/// The number of a metric, which is shown as in `right_rows=80.00 K`.
fn metric(line: &str, name: &str) -> f64 {
    let from = line
        .find(&format!("{name}="))
        .unwrap_or_else(|| panic!("no {name} in {line}"));
    let text = &line[from + name.len() + 1..];
    let end = text.find([',', ']', '%', '(']).unwrap_or(text.len());
    let (number, unit) = text[..end]
        .trim()
        .split_once(' ')
        .unwrap_or_else(|| (text[..end].trim(), ""));
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{name}: {text}"));
    number
        * match unit {
            "K" => 1e3,
            "M" => 1e6,
            _ => 1.0,
        }
}

/// The stage of the last query that joins, as the scheduler's REST API tells of it.
fn joining_stage(cluster: &LocalCluster) -> Value {
    let jobs = cluster.rest("/api/jobs");
    let jobs = jobs.as_array().into_iter().flatten();
    // Ids are in the order of time.
    let last = jobs.filter_map(|job| job["job_id"].as_str()).max();
    let last = last.expect("a job");
    let mut stages = cluster.rest(&format!("/api/job/{last}/stages?plan_format=metrics"));
    let stages = stages["stages"].as_array_mut().expect("stages");
    let joins = |stage: &Value| stage["stage_plan"].to_string().contains("AsOfJoinExec");
    let place = stages.iter().position(joins).expect("a join");
    stages.swap_remove(place)
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_where_it_should_be() -> Result<()> {
    let cluster = LocalCluster::start(2).await;
    let ctx = cluster.session().await;
    let data = Data::write().await?;
    data.register(&ctx).await?;
    let all = ALL as f64;

    // A broadcast side is whole in every task: each of several read all of it.
    let broadcast = counted(&ctx, "broadcast").await?;
    assert!(broadcast.contains("strategy=broadcast"), "{broadcast}");
    assert_eq!(metric(&broadcast, "left_rows"), all, "{broadcast}");
    let copies = metric(&broadcast, "right_rows") / all;
    assert!(
        copies >= 2.0 && copies.fract() == 0.0,
        "{copies} copies: {broadcast}"
    );

    // Nine tenths of the rows have one key, and partitions hold about the same.
    let salted = counted(&ctx, "time_salted").await?;
    assert!(salted.contains("strategy=time_salted"), "{salted}");
    assert_eq!(metric(&salted, "left_rows"), all, "{salted}");
    let right = metric(&salted, "right_rows");
    assert!(
        (all..1.02 * all).contains(&right),
        "few rows are carried: {salted}"
    );
    let largest = metric(&salted, "largest_partition_of_mean");
    assert!(
        largest < 140.0,
        "the largest partition holds {largest} % of the mean: {salted}"
    );
    // The REST API tells the same, and of each partition, which is a task, that executors share.
    let stage = joining_stage(&cluster);
    let plan = stage["stage_plan"].as_str().expect("a plan");
    let told = plan.lines().find(|line| line.contains("AsOfJoinExec"));
    let told = told.expect("a join");
    for name in ["left_rows", "right_rows", "largest_partition_of_mean"] {
        assert_eq!(
            metric(told, name),
            metric(&salted, name),
            "{told}\n{salted}"
        );
    }
    let tasks = stage["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 2 * VCORES);
    for task in tasks {
        let rows = task["input_rows"].as_f64().expect("rows");
        let mean = (all + right) / tasks.len() as f64;
        assert!(rows < 1.4 * mean, "{task}");
    }
    Ok(())
}
