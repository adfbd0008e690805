//! Executors that are killed, schedulers that go away: all the rows, or an error, and soon.

use std::time::{Duration, Instant};

use asof_ballista::Cluster;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use serde_json::Value;

use crate::data::{ALL, Data, join, run, shown};
use crate::process::{LocalCluster, VCORES, local_session};

/// A query that takes so long hangs. On a machine that has time for it, it takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long a job may live that nobody waits for; it would go on for much longer.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// The environment variable `ASOF_KILLS` says how many, a few unless it does.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_is_killed_while_it_joins() -> Result<()> {
    let mut cluster = LocalCluster::start_watchful(2).await;
    let (remote, local) = (cluster.session().await, local_session());
    let data = Data::write().await?;
    data.register(&remote).await?;
    data.register(&local).await?;
    let sql = join("LEFT", "TIES BY q.id");
    let expected = shown(&local, &sql).await?;
    let kills: u64 =
        std::env::var("ASOF_KILLS").map_or(3, |kills| kills.parse().expect("a number"));
    let (mut whole, mut failed, mut longest) = (0, 0, Duration::ZERO);
    for kill in 0..kills {
        let strategy = ["broadcast", "sort_merge", "time_salted"][kill as usize % 3];
        run(&remote, &format!("SET asof.strategy = '{strategy}'")).await?;
        let started = Instant::now();
        let query = {
            let (remote, sql) = (remote.clone(), sql.clone());
            SpawnedTask::spawn(async move { shown(&remote, &sql).await })
        };
        // At another moment each time, over a time in which a query may end.
        tokio::time::sleep(Duration::from_millis(kill * 137 % 1100)).await;
        let victim = kill as usize % 2;
        cluster.kill_executor(victim);
        let rows = tokio::time::timeout(PATIENCE, query).await;
        let rows = rows.unwrap_or_else(|_| panic!("{strategy} hangs:\n{}", cluster.logs()));
        let took = started.elapsed();
        longest = longest.max(took);
        let rows = rows.expect("the query does not panic");
        println!(
            "kill {kill}, {strategy}, {took:.1?}: {:?}",
            rows.as_ref().err()
        );
        match rows {
            Ok(rows) => {
                assert_eq!(rows, expected, "{strategy}, kill {kill}");
                whole += 1;
            }
            Err(_) => failed += 1,
        }
        cluster.start_executor(victim);
        cluster.wait_for(2).await;
        assert_eq!(shown(&remote, &sql).await?, expected, "after kill {kill}");
    }
    println!(
        "{kills} kills: {whole} queries with all rows, {failed} errors, the longest {longest:?}"
    );
    Ok(())
}

/// How many tasks are at work on such a join.
fn at_work(cluster: &LocalCluster, join: &str) -> usize {
    let jobs = cluster.rest("/api/jobs");
    let jobs = jobs.as_array().into_iter().flatten();
    let running = jobs.filter(|job| job["status"] == "Running");
    let tasks = running.map(|job| {
        let id = job["job_id"].as_str().expect("an id");
        let stages = cluster.rest(&format!("/api/job/{id}/stages"));
        let stages = stages["stages"].as_array().into_iter().flatten();
        let joins = stages.filter(|stage| stage["stage_plan"].to_string().contains(join));
        let tasks = joins.flat_map(|stage| stage["tasks"].as_array().into_iter().flatten());
        tasks.filter(|task| task["status"] == "Running").count()
    });
    tasks.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cancelled_leaves_its_cores_to_others() -> Result<()> {
    let cluster = LocalCluster::start(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;
    let often = ["SELECT x FROM trades"; 8].join(" UNION ALL ");
    // Longer than anybody waits: what reads all the time, and what makes all rows of one batch.
    let nested = "a.x < b.x + 1 JOIN trades c ON b.x < c.x + 1";
    let joins = [
        ("NestedLoopJoinExec", nested),
        ("SortMergeJoinExec", "a.x - a.x = b.x - b.x"),
    ];
    for (join_exec, on) in joins {
        let long = format!("SELECT count(*) FROM ({often}) a JOIN ({often}) b ON {on}");
        let queries: Vec<_> = (0..VCORES)
            .map(|_| {
                let (remote, long) = (remote.clone(), long.clone());
                SpawnedTask::spawn(async move { shown(&remote, &long).await })
            })
            .collect();
        let since = Instant::now();
        while at_work(&cluster, join_exec) < VCORES {
            assert!(since.elapsed() < PATIENCE, "{}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Until they have read what they need.
        tokio::time::sleep(Duration::from_secs(8)).await;
        drop(queries);
        // It waits for a core no longer than queries wait for anything.
        let rows = shown(&remote, &join("LEFT", "TIES BY q.id")).await;
        rows.unwrap_or_else(|error| panic!("{join_exec}: {error}\n{}", cluster.logs()));
    }
    Ok(())
}

/// How many jobs the scheduler knows.
fn jobs(cluster: &LocalCluster) -> usize {
    cluster.rest("/api/jobs").as_array().map_or(0, Vec::len)
}

/// Whether it has given up all of them that it has not done.
fn is_idle(cluster: &LocalCluster) -> bool {
    let jobs = cluster.rest("/api/jobs");
    let live = |job: &Value| job["status"] == "Queued" || job["status"] == "Running";
    let jobs = jobs.as_array().expect("a list of jobs");
    !jobs.iter().any(live)
}

/// Ballista says of a job that it is planning that it is cancelled, and begins it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cancelled_while_it_is_planned_does_not_begin() -> Result<()> {
    let cluster = LocalCluster::start(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;
    let often = ["SELECT x FROM trades"; 8].join(" UNION ALL ");
    let long = format!("SELECT count(*) AS n FROM ({often}) a JOIN ({often}) b ON a.x < b.x + 1");
    // Each is a stage to plan.
    let long = vec![long; 20].join(" UNION ALL ");
    for millis in [0, 0, 10, 20, 50, 100, 200] {
        let before = jobs(&cluster);
        let query = {
            let (remote, long) = (remote.clone(), long.clone());
            SpawnedTask::spawn(async move { shown(&remote, &long).await })
        };
        let mut since = Instant::now();
        while jobs(&cluster) == before {
            assert!(since.elapsed() < PATIENCE, "{}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
        drop(query);
        since = Instant::now();
        // Between planning it and beginning it the scheduler knows nothing of it for a moment.
        let mut idle = 0;
        while idle < 3 {
            assert!(
                since.elapsed() < GIVEN_UP,
                "{millis} ms: {}",
                cluster.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            idle = if is_idle(&cluster) { idle + 1 } else { 0 };
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_goes_away() -> Result<()> {
    let mut cluster = LocalCluster::start(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;
    let sql = join("LEFT", "TIES BY q.id");
    let expected = shown(&remote, &sql).await?;
    cluster.stop_scheduler();
    let started = Instant::now();
    let error = shown(&remote, &sql)
        .await
        .expect_err("there is no scheduler");
    assert!(
        started.elapsed() < PATIENCE,
        "it took {:?}",
        started.elapsed()
    );
    let error = error.to_string();
    assert!(error.contains("the scheduler"), "{error}");

    // A scheduler in its place knows nothing of what was, and takes what comes.
    cluster.start_scheduler();
    cluster.wait_for(1).await;
    assert_eq!(shown(&remote, &sql).await?, expected);
    Ok(())
}

/// Why a query fails, which it does before long.
async fn failure(ctx: &SessionContext, sql: &str) -> String {
    let started = Instant::now();
    let error = shown(ctx, sql).await.expect_err("it cannot be done");
    let took = started.elapsed();
    assert!(took < PATIENCE, "{took:?}: {error}");
    error.to_string()
}

/// Processes that do nothing and keep their connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_frozen() -> Result<()> {
    let cluster = LocalCluster::start(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;
    let sql = join("LEFT", "TIES BY q.id");
    let expected = shown(&remote, &sql).await?;

    cluster.signal_scheduler("STOP");
    let error = failure(&remote, &sql).await;
    assert!(error.contains("has not answered for 20 s"), "{error}");
    let again = Cluster::connect(&cluster.url()).await;
    let error = again.expect_err("it does not answer").to_string();
    assert!(error.contains("no scheduler answers at"), "{error}");
    cluster.signal_scheduler("CONT");
    assert_eq!(shown(&remote, &sql).await?, expected);

    // A scheduler that has taken the query, of which no task is asked for.
    cluster.signal_executors("STOP");
    let query = {
        let (remote, sql) = (remote.clone(), sql.clone());
        SpawnedTask::spawn(async move { failure(&remote, &sql).await })
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.signal_scheduler("STOP");
    let error = query.await.expect("no panic");
    assert!(error.contains("has not answered for 20 s"), "{error}");
    cluster.signal_scheduler("CONT");
    let error = failure(&remote, &sql).await;
    assert!(error.contains("does not go on"), "{error}");
    cluster.signal_executors("CONT");
    assert_eq!(shown(&remote, &sql).await?, expected);
    Ok(())
}

/// Files that are where the client looks for them, and not where executors do.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_only_the_client_sees() -> Result<()> {
    let mut cluster = LocalCluster::start(0).await;
    cluster.start_executor_elsewhere();
    cluster.wait_for(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    // The same path is another folder for each process.
    let mine = tempfile::TempDir::new_in(".")?;
    let name = mine.path().file_name().expect("a name");
    let file = mine.path().join("trades.parquet");
    std::fs::copy(data.path().join("trades/0.parquet"), file)?;
    let path = format!("file:///proc/self/cwd/{}/", name.to_string_lossy());
    let sql = format!("CREATE EXTERNAL TABLE mine STORED AS PARQUET LOCATION '{path}'");
    run(&remote, &sql).await?;
    let error = failure(&remote, "SELECT sum(id) FROM mine").await;
    assert!(error.contains("same path"), "{error}");
    assert!(error.contains("trades.parquet"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said() -> Result<()> {
    let cluster = LocalCluster::start(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;

    // Constants, settings and the catalog are looked at here.
    for (sql, expected) in [
        ("SELECT 1 + 1 AS two", "2"),
        ("SHOW asof.distributed", "true"),
        (
            "SELECT count(*) AS n FROM information_schema.tables WHERE table_name = 'trades'",
            "1",
        ),
    ] {
        let rows = shown(&remote, sql).await?;
        assert!(rows.contains(expected), "{sql}: {rows}");
    }

    // Tables in memory are sent along, and written here.
    run(
        &remote,
        "CREATE TABLE few AS SELECT * FROM trades WHERE id < 5",
    )
    .await?;
    run(&remote, "INSERT INTO few SELECT * FROM trades WHERE id = 7").await?;
    let rows = shown(&remote, "SELECT count(*) AS n FROM few").await?;
    assert!(rows.contains("| 6 "), "{rows}");

    // What tasks cannot read is an error of the query, with the file's name.
    let broken = tempfile::TempDir::new()?;
    let file = broken.path().join("broken.parquet");
    std::fs::write(&file, "PAR1, it begins, and does not go on")?;
    let path = file.to_string_lossy();
    let sql =
        format!("CREATE EXTERNAL TABLE broken (id BIGINT) STORED AS PARQUET LOCATION '{path}'");
    run(&remote, &sql).await?;
    let started = Instant::now();
    let error = shown(&remote, "SELECT * FROM broken")
        .await
        .expect_err("it is no Parquet file");
    assert!(
        started.elapsed() < PATIENCE,
        "it took {:?}",
        started.elapsed()
    );
    assert!(error.to_string().contains("arquet"), "{error}");
    Ok(())
}

/// Where a task may write no more, as on a disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_cannot_write() -> Result<()> {
    let mut cluster = LocalCluster::start(0).await;
    cluster.start_executor_that_writes_little();
    cluster.wait_for(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;
    run(&remote, "SET asof.strategy = 'sort_merge'").await?;
    let sql = join("LEFT", "TIES BY q.id");
    let rows = tokio::time::timeout(PATIENCE, shown(&remote, &sql)).await;
    let rows = rows.unwrap_or_else(|_| panic!("it hangs:\n{}", cluster.logs()));
    let error = rows.expect_err("files are too large").to_string();
    assert!(error.contains("File too large"), "{error}");
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_whose_disk_is_full() -> Result<()> {
    let mut cluster = LocalCluster::start(0).await;
    if let Err(why) = cluster.start_executor_on_a_small_disk() {
        println!("not tried, a disk cannot be mounted here: {why}");
        return Ok(());
    }
    cluster.wait_for(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;
    run(&remote, "SET asof.strategy = 'sort_merge'").await?;
    let error = failure(&remote, &join("LEFT", "TIES BY q.id")).await;
    assert!(error.contains("No space left on device"), "{error}");
    Ok(())
}

/// Ballista's own executor knows no as-of joins, and the error says which to start.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_of_someone_else() -> Result<()> {
    let cluster = LocalCluster::start(0).await;
    let _executor = cluster.start_stock_executor();
    cluster.wait_for(1).await;
    let remote = cluster.session().await;
    let data = Data::write().await?;
    data.register(&remote).await?;
    let rows = shown(&remote, "SELECT count(*) AS n FROM trades").await?;
    assert!(rows.contains(&ALL.to_string()), "{rows}");
    let sql = join("LEFT", "TIES BY q.id");
    let rows = tokio::time::timeout(PATIENCE, shown(&remote, &sql)).await;
    let rows = rows.unwrap_or_else(|_| panic!("it hangs:\n{}", cluster.logs()));
    let error = rows.expect_err("it cannot read the plan").to_string();
    assert!(error.contains("asof-executor"), "{error}");
    Ok(())
}
