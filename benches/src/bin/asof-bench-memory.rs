//! Times the query of a workload over tables in memory; one line of JSON for each run.
//!
//! `asof-bench-memory DIR WORKLOAD REPEATS`, where DIR is what `asof-bench-data` wrote. Needs Linux.
//! The allocator is the system's, as in any Rust program that chooses none.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use benches::memory;
use benches::workload::Workload;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::json::ArrayWriter;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use datafusion_asof::{AsOfSql, WithAsOf};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [directory, name, repeats] = args.as_slice() else {
        return Err("usage: asof-bench-memory DIR WORKLOAD REPEATS".into());
    };
    let workload = Workload::named(name, 1.0)?;
    let ctx = SessionContext::new_with_config(SessionConfig::from_env()?).with_asof();
    for table in workload.tables() {
        let file = Path::new(directory).join(format!("{}.parquet", table.name));
        let file = file.to_str().ok_or("the path is not UTF-8")?;
        let frame = ctx
            .read_parquet(file, ParquetReadOptions::default())
            .await?;
        let schema = Arc::clone(frame.schema().inner());
        let partitions = frame.collect_partitioned().await?;
        memory::register(&ctx, table, schema, partitions)?;
    }
    // What loading took for a while is not the join's: the peak begins anew (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5")?;
    let query = workload.query();
    for _ in 0..repeats.parse()? {
        let start = Instant::now();
        let answer = ctx.asof_sql(&query).await?.collect().await?;
        let seconds = start.elapsed().as_secs_f64();
        println!(r#"{{"seconds":{seconds},"answer":{}}}"#, json(&answer)?);
    }
    Ok(())
}

fn json(answer: &[RecordBatch]) -> Result<String, Box<dyn Error>> {
    let mut writer = ArrayWriter::new(vec![]);
    writer.write_batches(&answer.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    Ok(String::from_utf8(writer.into_inner())?)
}
