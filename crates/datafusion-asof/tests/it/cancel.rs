//! Large joins under a limit of memory, and large joins that are dropped: no byte that is not
//! counted, and no work that goes on.

use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn context(pool: Arc<dyn MemoryPool>, partitions: usize) -> SessionContext {
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool);
    let runtime = runtime.build_arc().expect("defaults");
    let config = SessionConfig::new().with_target_partitions(partitions);
    SessionContext::new_with_config_rt(config, runtime).with_asof()
}

async fn run(context: &SessionContext, sql: &str) -> Result<usize> {
    let batches = context.asof_sql(sql).await?.collect().await?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

/// 400,000 left rows have 28 bytes of candidates each for each of 16 right partitions, of a batch each.
#[tokio::test]
async fn candidates_are_counted() {
    const SQL: &str = "SELECT l.value, r.value FROM generate_series(1, 400000) l \
        ASOF JOIN generate_series(1, 131072) r MATCH_CONDITION (l.value >= r.value)";
    const LEAST: usize = 400_000 * 28 * 16;
    let unlimited = TrackConsumersPool::new(UnboundedMemoryPool::default(), NonZero::<usize>::MIN);
    let unlimited = Arc::new(unlimited);
    for (pool, fits) in [
        (Arc::clone(&unlimited) as Arc<dyn MemoryPool>, true),
        (Arc::new(GreedyMemoryPool::new(40 << 20)) as _, false),
    ] {
        let context = context(Arc::clone(&pool), 16);
        let forced = "SET asof.strategy = 'broadcast_left'";
        run(&context, forced).await.expect("an option");
        let plan = context.asof_sql(SQL).await.expect("plans");
        let plan = plan.create_physical_plan().await.expect("plans");
        let ended = datafusion::physical_plan::collect(Arc::clone(&plan), context.task_ctx()).await;
        match ended {
            Ok(batches) => {
                assert!(fits, "within 40 MB");
                let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                assert_eq!(rows, 400_000);
                let peak = plan
                    .metrics()
                    .and_then(|all| all.sum_by_name("peak_mem_used"));
                let peak = peak.map_or(0, |peak| peak.as_usize());
                assert!(peak >= LEAST, "only {peak} bytes were counted");
            }
            Err(error) => {
                let root = error.find_root();
                assert!(
                    matches!(root, DataFusionError::ResourcesExhausted(_)),
                    "{error}"
                );
                assert!(!fits, "{error}");
            }
        }
        drop(plan);
        assert_eq!(pool.reserved(), 0);
    }
}

/// An aggregate emits slices of one large batch, which is held once.
#[tokio::test]
async fn a_buffer_of_many_batches_is_counted_once() {
    for strategy in ["auto", "broadcast", "broadcast_left", "sort_merge"] {
        let context = context(Arc::new(GreedyMemoryPool::new(60_000_000)), 2);
        run(&context, &format!("SET asof.strategy = '{strategy}'"))
            .await
            .expect("an option");
        let rows = run(
            &context,
            "SELECT sum(lid), sum(rid) FROM \
             (SELECT value % 300000 AS lid, max(value) AS t FROM generate_series(1, 400000) GROUP BY 1) l \
             ASOF LEFT JOIN (SELECT value AS rid, value AS t FROM generate_series(1, 400000)) r \
             MATCH_CONDITION (l.t >= r.t)",
        )
        .await;
        assert_eq!(
            rows.unwrap_or_else(|error| panic!("{strategy}: {error}")),
            1
        );
    }
}

const JOINS: [(&str, &str); 4] = [
    ("broadcast", "l.t >= r.t"),
    ("broadcast_left", "l.t >= r.t"),
    ("sort_merge", "l.t >= r.t"),
    ("sort_merge", "nearest(l.t, r.t)"),
];

/// Begins a join of so many rows a side, drops it after a while, and gives how long tasks of it
/// and memory went on to be there; `None` if it ended before.
fn drop_after(
    delay: Duration,
    rows: usize,
    (strategy, condition): (&str, &str),
) -> Option<Duration> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let sql = format!(
        "SELECT * FROM (SELECT value * 7919 % {rows} AS t, value % 1000 AS k FROM generate_series(1, {rows})) l \
         ASOF JOIN (SELECT value * 6007 % {rows} AS t, value % 1000 AS k, value AS v FROM generate_series(1, {rows})) r \
         MATCH_CONDITION ({condition}) ON l.k = r.k"
    );
    let stream = runtime.block_on(async {
        let context = context(Arc::clone(&pool), 4);
        let strategy = format!("SET asof.strategy = '{strategy}'");
        run(&context, &strategy).await.expect("an option");
        let plan = context.asof_sql(&sql).await.expect("plans");
        let mut stream = plan.execute_stream().await.expect("executes");
        let read = async { while stream.next().await.is_some() {} };
        tokio::time::timeout(delay, read)
            .await
            .is_err()
            .then_some(stream)
    })?;
    let start = Instant::now();
    drop(stream);
    while runtime.metrics().num_alive_tasks() > 0 || pool.reserved() > 0 {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{strategy}: work goes on"
        );
        std::thread::yield_now();
    }
    Some(start.elapsed())
}

/// A predicate that accepts nothing is asked about 800 million pairs of rows, of which a few
/// thousand at a time are held and counted; the join gives way between them.
#[test]
fn a_join_that_tries_all_pairs_can_be_dropped() {
    const SQL: &str = "SELECT count(*) FROM (SELECT value AS v FROM generate_series(1, 4000)) l \
        ASOF JOIN (SELECT value AS v FROM generate_series(1, 200000)) r \
        MATCH_CONDITION (l.v + 200000 >= r.v) ON l.v + r.v < 0";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for strategy in ["broadcast", "sort_merge"] {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(48 << 20));
        let start = Instant::now();
        runtime.block_on(async {
            let context = context(Arc::clone(&pool), 1);
            let strategy = format!("SET asof.strategy = '{strategy}'");
            run(&context, &strategy).await.expect("an option");
            let joined = run(&context, SQL);
            let ended = tokio::time::timeout(Duration::from_secs(2), joined).await;
            assert!(ended.is_err(), "ended within seconds: {ended:?}");
            // Tasks that are dropped end when they are next polled.
            while pool.reserved() > 0 {
                assert!(start.elapsed() < Duration::from_secs(20), "work goes on");
                tokio::task::yield_now().await;
            }
        });
    }
}

/// Whatever a join is at when it is dropped: all of its tasks end and give their memory back.
#[test]
fn a_dropped_join_leaves_no_task_behind() {
    let dice = &mut StdRng::seed_from_u64(5);
    let mut dropped = 0;
    for join in JOINS {
        for _ in 0..12 {
            let delay = Duration::from_micros(dice.random_range(0..120_000));
            dropped += usize::from(drop_after(delay, 60_000, join).is_some());
        }
    }
    assert!(dropped > 10, "{dropped} joins were dropped on the way");
}

/// How long dropped joins of a million rows a side go on. Run by hand, as optimized as can be:
/// `cargo test --test it --release -- --ignored --nocapture cancellation`.
#[test]
#[ignore = "a measurement"]
fn cancellation_latency() {
    let rows = std::env::var("ASOF_CANCEL_ROWS").ok();
    let rows = rows.and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let dice = &mut StdRng::seed_from_u64(6);
    for join in JOINS {
        let start = Instant::now();
        drop_after(Duration::from_secs(600), rows, join);
        let whole = start.elapsed().as_micros() as u64;
        let mut latencies = vec![];
        while latencies.len() < 40 {
            let delay = Duration::from_micros(dice.random_range(0..whole));
            latencies.extend(drop_after(delay, rows, join));
        }
        latencies.sort_unstable();
        let (p50, worst) = (latencies[20], latencies[39]);
        println!("{join:?}: {whole} us in all; p50 {p50:?}, longest of 40 {worst:?}");
    }
}
