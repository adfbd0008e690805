//! Little memory, and readers that walk away: what was taken is given back, and no answer is wrong.

use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumerMetrics, MemoryPool, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_asof::AsOfStrategy;
use futures::StreamExt;

use crate::case::Case;
use crate::engine::{STRATEGIES, compare, execute, plan, rows};
use crate::oracle::Op;
use crate::table::{Column, Table};
use crate::types::Dice;
use crate::value::Value;

const ROWS: usize = 2_500;

/// A join whose sides are a few hundred kilobytes each, in no order.
fn large_case(seed: u64, op: Op, sorted: bool) -> Case {
    let dice = &mut Dice::new(seed);
    let mut table = || {
        let mut column =
            |name: &str, data_type, cell: &mut dyn FnMut(&mut Dice, usize) -> Value| Column {
                name: name.to_string(),
                data_type,
                nullable: true,
                values: (0..ROWS).map(|row| cell(dice, row)).collect(),
            };
        let text = |dice: &mut Dice| Value::text(&format!("{:0>60}", dice.below(1_000_000)));
        let mut table = Table {
            columns: vec![
                column("id", DataType::Int32, &mut |_, row| Value::Int(row as i128)),
                column("k", DataType::Utf8, &mut |dice, _| {
                    Value::text(&format!("key {}", dice.below(150)))
                }),
                column("t", DataType::Int64, &mut |dice, _| {
                    Value::Int(dice.below(5_000) as i128)
                }),
                column("s", DataType::Utf8, &mut |dice, _| text(dice)),
            ],
            id: 0,
            keys: vec![1],
            time: 2,
            extra: 0,
            cuts: vec![vec![100; ROWS / 100 - 10], vec![250; 4]],
            order: None,
        };
        if sorted {
            table.order = Some(vec![(2, SortOptions::new(!op.is_backward(), true))]);
            table.sort_partitions();
        }
        table
    };
    let (left, right) = (table(), table());
    Case {
        seed,
        ..Case::plain(left, right, op)
    }
}

fn config(target_partitions: usize) -> SessionConfig {
    SessionConfig::new()
        .with_target_partitions(target_partitions)
        .with_batch_size(100)
        .with_sort_spill_reservation_bytes(20_000)
        .with_repartition_file_scans(false)
        .with_round_robin_repartition(false)
}

fn runtime(pool: Arc<dyn MemoryPool>) -> Arc<RuntimeEnv> {
    RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .build_arc()
        .expect("defaults")
}

fn context(runtime: &Arc<RuntimeEnv>, target_partitions: usize) -> Arc<TaskContext> {
    let context = TaskContext::default().with_session_config(config(target_partitions));
    Arc::new(context.with_runtime(Arc::clone(runtime)))
}

fn spill_files(runtime: &RuntimeEnv) -> Vec<PathBuf> {
    let entries = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    runtime
        .disk_manager
        .temp_dir_paths()
        .into_iter()
        .flat_map(entries)
        .map(|entry| entry.path())
        .collect()
}

/// Waits until nothing is held: aborted tasks let go a moment after they are dropped.
async fn assert_let_go(runtime: &RuntimeEnv, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let (held, files) = (runtime.memory_pool.reserved(), spill_files(runtime));
        if held == 0 && files.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: {held} bytes still held, spill files {files:?}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn little_memory_gives_the_right_answer_or_a_clear_error() {
    let (mut finished, mut exhausted) = (0, 0);
    for sorted in [false, true] {
        let mut case = large_case(1, Op::GtEq, sorted);
        // One partition a side, and below one that is not split again: when two inputs of one
        // exchange spill, DataFusion 55 can wait forever (apache/datafusion#24883).
        for table in [&mut case.left, &mut case.right] {
            table.cuts = vec![table.cuts.concat()];
            table.sort_partitions();
        }
        let expected = case.expected();
        for strategy in STRATEGIES {
            for target_partitions in [1, 3] {
                for kilobytes in [20, 60, 120, 250, 500, 1_000, 2_000, 100_000] {
                    let bytes = kilobytes * 1_000;
                    let pools: [Arc<dyn MemoryPool>; 2] = [
                        Arc::new(GreedyMemoryPool::new(bytes)),
                        Arc::new(FairSpillPool::new(bytes)),
                    ];
                    for pool in pools {
                        let runtime = runtime(pool);
                        let context = context(&runtime, target_partitions);
                        let plan = plan(&case, strategy, &context).expect("plans");
                        let what = format!(
                            "{strategy:?}, sorted {sorted}, {target_partitions} partitions, {kilobytes} kB"
                        );
                        match execute(&plan, &context).await {
                            Ok(partitions) => {
                                let answer = partitions
                                    .iter()
                                    .flat_map(|batches| rows(batches))
                                    .collect();
                                compare(answer, &expected)
                                    .unwrap_or_else(|e| panic!("{what}: {e}"));
                                finished += 1;
                            }
                            Err(error) => {
                                let root = error.find_root();
                                assert!(
                                    matches!(root, DataFusionError::ResourcesExhausted(_)),
                                    "{what}: {error}"
                                );
                                assert!(kilobytes < 100_000, "{what}: {error}");
                                exhausted += 1;
                            }
                        }
                        drop(plan);
                        assert_let_go(&runtime, &what).await;
                    }
                }
            }
        }
    }
    println!("{finished} finished, {exhausted} ran out of memory");
    assert!(
        finished > 0 && exhausted > 0,
        "{finished} finished, {exhausted} ran out of memory"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_query_holds_nothing_while_its_plan_lives() {
    for strategy in STRATEGIES {
        let case = large_case(2, Op::LtEq, false);
        let runtime = runtime(Arc::new(GreedyMemoryPool::new(100_000_000)));
        let context = context(&runtime, 2);
        let plan = plan(&case, strategy, &context).expect("plans");
        execute(&plan, &context).await.expect("executes");
        assert_let_go(&runtime, &format!("{strategy:?}")).await;
        drop(plan);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_lets_go_of_memory_and_files() {
    for strategy in STRATEGIES {
        for round in 0..60 {
            let dice = &mut Dice::new(round);
            let case = large_case(round, *dice.pick(&Op::ALL), dice.percent(40));
            // Little enough that sorts spill now and then.
            let bytes = *dice.pick(&[200_000, 400_000, 100_000_000]);
            let runtime = runtime(Arc::new(FairSpillPool::new(bytes)));
            let context = context(&runtime, *dice.pick(&[1, 2, 5]));
            let plan = plan(&case, strategy, &context).expect("plans");
            read_a_little(&plan, &context, dice).await;
            drop(plan);
            assert_let_go(&runtime, &format!("{strategy:?}, round {round}")).await;
        }
    }
}

/// Reads some batches of some partitions, and drops every stream.
async fn read_a_little(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>, dice: &mut Dice) {
    let partitions = plan.properties().partitioning.partition_count();
    let mut streams = vec![];
    for partition in 0..partitions {
        if dice.percent(80) {
            streams.extend(plan.execute(partition, Arc::clone(context)).ok());
        }
    }
    for _ in 0..dice.below(30) {
        if streams.is_empty() {
            break;
        }
        let at = dice.below(streams.len());
        // Polled once: a stream that waits is one that is dropped in the middle of things.
        let polled = futures::poll!(streams[at].next());
        let ended = matches!(polled, std::task::Poll::Ready(None | Some(Err(_))));
        if ended || dice.percent(5) {
            drop(streams.swap_remove(at));
        }
        tokio::task::yield_now().await;
    }
}

/// A build of which nobody waits for the end is dropped although the plan lives and some
/// partitions were never executed; one that is executed later reads everything anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_build_is_dropped_and_begun_anew() {
    let case = large_case(3, Op::GtEq, false);
    let expected = case.expected();
    for strategy in [AsOfStrategy::Broadcast, AsOfStrategy::BroadcastLeft] {
        let what = format!("{strategy:?}");
        let pool = GreedyMemoryPool::new(100_000_000);
        let pool = Arc::new(TrackConsumersPool::new(pool, NonZero::<usize>::MIN));
        let runtime = runtime(Arc::clone(&pool) as Arc<dyn MemoryPool>);
        // With exchanges below the join: they cannot be executed twice, and those that were
        // not read to the end hold their own buffers as long as the plan lives.
        let config = config(3).with_round_robin_repartition(true);
        let context = TaskContext::default().with_session_config(config);
        let context = Arc::new(context.with_runtime(Arc::clone(&runtime)));
        let plan = plan(&case, strategy, &context).expect("plans");
        let partitions = plan.properties().partitioning.partition_count();
        assert!(partitions > 1, "{what} has {partitions} partitions");
        let mut first = plan.execute(0, Arc::clone(&context)).expect("executes");
        assert!(futures::poll!(first.next()).is_pending(), "{what}");
        tokio::task::yield_now().await;
        drop(first);
        let deadline = Instant::now() + Duration::from_secs(5);
        let of_join = |held: &MemoryConsumerMetrics| held.name.starts_with("AsOfJoin");
        while pool.metrics().iter().any(of_join) {
            assert!(Instant::now() < deadline, "{what}: {}", pool.report_top(9));
            tokio::task::yield_now().await;
        }
        let answer = execute(&plan, &context).await;
        let answer = answer.unwrap_or_else(|e| panic!("{what}: {e}"));
        let answer = answer.iter().flat_map(|batches| rows(batches)).collect();
        compare(answer, &expected).unwrap_or_else(|e| panic!("{what}: {e}"));
        drop(plan);
        assert_let_go(&runtime, &what).await;
    }
}
