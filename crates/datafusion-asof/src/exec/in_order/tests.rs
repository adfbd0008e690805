//! Partitions that tasks read ahead: all rows in their order, within the room that there is.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::exec_err;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use futures::FutureExt;

use super::*;

const PARTITIONS: usize = 24;
const BATCHES: usize = 9;
const ROWS: usize = 512;

/// Numbers in their order, the first partition without any.
fn numbers() -> Arc<dyn ExecutionPlan> {
    let batch = |number: usize| {
        let first = (number * ROWS) as i64;
        let values: Int64Array = (first..first + ROWS as i64).collect();
        RecordBatch::try_from_iter([("n", Arc::new(values) as ArrayRef)]).expect("a batch")
    };
    let of = |partition: usize| -> Vec<RecordBatch> {
        let first = (partition - 1) * BATCHES;
        (first..first + BATCHES).map(batch).collect()
    };
    let partitions: Vec<Vec<RecordBatch>> = std::iter::once(vec![])
        .chain((1..PARTITIONS).map(of))
        .collect();
    let schema = partitions[1][0].schema();
    MemorySourceConfig::try_new_exec(&partitions, schema, None).expect("a plan")
}

fn with_pool(bytes: usize) -> Arc<TaskContext> {
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0);
    let runtime = runtime.build_arc().expect("a runtime");
    Arc::new(TaskContext::default().with_runtime(runtime))
}

fn first_of(batch: &RecordBatch) -> i64 {
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

/// The first number of every batch, and the error that ended them.
async fn all(mut batches: InOrder<RecordBatch>) -> (Vec<i64>, Option<String>) {
    let mut firsts = vec![];
    loop {
        // A slow reader, so that there is much to wait for.
        tokio::task::yield_now().await;
        match batches.next().await {
            Ok(Some(batch)) => firsts.push(first_of(&batch)),
            Ok(None) => return (firsts, None),
            Err(error) => {
                assert!(batches.next().await.is_ok_and(|next| next.is_none()));
                return (firsts, Some(error.to_string()));
            }
        }
    }
}

fn expected(batches: usize) -> Vec<i64> {
    (0..batches).map(|batch| (batch * ROWS) as i64).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn partitions_come_one_behind_the_other() {
    for tasks in [1, 3, 100] {
        for pool in [1 << 30, 400 << 10] {
            let context = with_pool(pool);
            let batches = InOrder::new(&numbers(), tasks, &context, Ok);
            let (firsts, error) = all(batches).await;
            assert_eq!(error, None, "{tasks} tasks, {pool} bytes");
            assert_eq!(firsts, expected((PARTITIONS - 1) * BATCHES));
            assert_eq!(context.memory_pool().reserved(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn not_more_waits_than_there_is_room_for() {
    let context = with_pool(1 << 20);
    let made = Arc::new(AtomicUsize::new(0));
    let of_each = Arc::clone(&made);
    let each = move |batch| {
        of_each.fetch_add(1, Ordering::Relaxed);
        Ok(batch)
    };
    let mut batches = InOrder::new(&numbers(), 3, &context, each);
    let first = batches.next().await.expect("a batch").expect("a batch");
    assert_eq!(first_of(&first), 0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // A part of the pool ahead, and as much of the partition that is read.
    let most = 2 * (1 << 20) / PART_OF_POOL;
    let size = get_record_batch_memory_size(&first);
    assert!(context.memory_pool().reserved() <= most);
    let made = made.load(Ordering::Relaxed);
    assert!((2..=1 + most / size).contains(&made), "{made} batches");
    drop(batches);
    for _ in 0..1_000 {
        if context.memory_pool().reserved() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("memory is held after the reader was dropped");
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_an_error() {
    let batches = InOrder::new(&numbers(), 2, &with_pool(1_000), Ok);
    let (firsts, error) = all(batches).await;
    assert_eq!(firsts, expected(0));
    assert!(error.is_some_and(|error| error.contains("AsOfJoinReadAhead")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_error_comes_behind_the_rows_before_it() {
    let fails_at = 5 * BATCHES + 3;
    let each = move |batch| match first_of(&batch) == (fails_at * ROWS) as i64 {
        true => exec_err!("a broken file"),
        false => Ok(batch),
    };
    let batches = InOrder::new(&numbers(), 3, &with_pool(1 << 30), each);
    let (firsts, error) = all(batches).await;
    assert_eq!(firsts, expected(fails_at));
    assert!(error.is_some_and(|error| error.contains("a broken file")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_panic_of_a_task_goes_on_in_the_reader() {
    let panics_at = 7 * BATCHES + 1;
    let each = move |batch| {
        assert!(first_of(&batch) != (panics_at * ROWS) as i64, "a bug");
        Ok(batch)
    };
    let batches = InOrder::new(&numbers(), 2, &with_pool(1 << 30), each);
    let panic = AssertUnwindSafe(all(batches)).catch_unwind().await;
    let panic = panic.expect_err("the panic of the task");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a bug"));
}
