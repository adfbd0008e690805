//! End-to-end joins in memory: strategy × order of the input.

#![expect(missing_docs, reason = "criterion_group makes a public function")]

use benches::memory;
use benches::workload::Workload;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf};
use tokio::runtime::Runtime;

/// Of the rows that engines are compared on.
const SCALE: f64 = 0.05;
const BATCH_ROWS: usize = 8192;

async fn context(strategy: &str, workload: &Workload) -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = SessionContext::new_with_config(config).with_asof();
    ctx.asof_sql(&format!("SET asof.strategy = {strategy}"))
        .await?;
    for table in workload.tables() {
        let batches = table.batches(BATCH_ROWS).collect::<Result<Vec<_>, _>>()?;
        memory::register(&ctx, table, table.schema(), vec![batches])?;
    }
    Ok(ctx)
}

fn joins(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("join");
    group.sample_size(10);
    for name in ["sorted", "shuffled"] {
        let workload = Workload::named(name, SCALE).expect("there is one");
        let query = workload.query();
        let rows = workload.tables().map(|table| table.rows).sum();
        group.throughput(Throughput::Elements(rows));
        for strategy in ["broadcast", "sort_merge"] {
            let ctx = runtime
                .block_on(context(strategy, &workload))
                .expect("tables are registered");
            group.bench_function(BenchmarkId::new(strategy, name), |bencher| {
                bencher.to_async(&runtime).iter(|| async {
                    let frame = ctx.asof_sql(&query).await.expect("plans");
                    frame.collect().await.expect("executes")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benchmarks, joins);
criterion_main!(benchmarks);
