//! Writes the tables of a workload as Parquet: `left.parquet`, `right0.parquet` …
//!
//! `asof-bench-data DIR WORKLOAD [--scale F]`

use std::error::Error;
use std::path::Path;

use benches::parquet;
use benches::workload::Workload;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (directory, workload) = match args.as_slice() {
        [directory, name] => (directory, Workload::named(name, 1.0)?),
        [directory, name, "--scale", scale] => (directory, Workload::named(name, scale.parse()?)?),
        _ => return Err("usage: asof-bench-data DIR WORKLOAD [--scale F]".into()),
    };
    let directory = Path::new(directory);
    std::fs::create_dir_all(directory)?;
    for table in workload.tables() {
        parquet::write(&directory.join(format!("{}.parquet", table.name)), table)?;
    }
    Ok(())
}
