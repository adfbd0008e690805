//! End-to-end joins in memory: strategy × order of the input.

#![expect(missing_docs, reason = "criterion_group makes a public function")]

use std::sync::Arc;

use benches::Table;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf};
use tokio::runtime::Runtime;

const LEFT_ROWS: usize = 100_000;
const RIGHT_ROWS: usize = 1_000_000;
const QUERY: &str = "SELECT count(*), count(q.ts), sum(t.price), sum(q.bid), sum(q.ask)
    FROM trades t ASOF LEFT JOIN quotes q ON t.sym = q.sym AND t.ts >= q.ts";

async fn context(strategy: &str, in_time_order: bool) -> Result<SessionContext> {
    let config = SessionConfig::new().with_target_partitions(2);
    let ctx = SessionContext::new_with_config(config).with_asof();
    ctx.asof_sql(&format!("SET asof.strategy = {strategy}"))
        .await?;
    let tables = [
        ("trades", Table::trades(LEFT_ROWS)),
        ("quotes", Table::quotes(RIGHT_ROWS)),
    ];
    for (name, table) in tables {
        let table = Table {
            in_time_order,
            ..table
        };
        let batches = table.batches(8192).collect();
        let provider = MemTable::try_new(table.schema(), vec![batches])?;
        ctx.register_table(name, Arc::new(provider))?;
    }
    Ok(ctx)
}

fn joins(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("join");
    group.throughput(Throughput::Elements((LEFT_ROWS + RIGHT_ROWS) as u64));
    group.sample_size(10);
    for (order, in_time_order) in [("ordered", true), ("shuffled", false)] {
        for strategy in ["broadcast", "sort_merge"] {
            let ctx = runtime
                .block_on(context(strategy, in_time_order))
                .expect("tables are registered");
            group.bench_function(BenchmarkId::new(strategy, order), |bencher| {
                bencher.to_async(&runtime).iter(|| async {
                    let frame = ctx.asof_sql(QUERY).await.expect("plans");
                    frame.collect().await.expect("executes")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benchmarks, joins);
criterion_main!(benchmarks);
