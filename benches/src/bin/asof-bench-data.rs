//! Writes a workload as `trades.parquet` and `quotes.parquet`.
//!
//! `asof-bench-data DIR LEFT_ROWS RIGHT_ROWS [shuffled]`

use std::error::Error;
use std::fs::File;
use std::path::Path;

use benches::Table;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (directory, left, right, in_time_order) = match args.as_slice() {
        [directory, left, right] => (directory, left, right, true),
        [directory, left, right, shuffled] if shuffled == "shuffled" => {
            (directory, left, right, false)
        }
        _ => return Err("usage: asof-bench-data DIR LEFT_ROWS RIGHT_ROWS [shuffled]".into()),
    };
    std::fs::create_dir_all(directory)?;
    let tables = [
        ("trades.parquet", Table::trades(left.parse()?)),
        ("quotes.parquet", Table::quotes(right.parse()?)),
    ];
    for (name, table) in tables {
        let table = Table {
            in_time_order,
            ..table
        };
        write(&Path::new(directory).join(name), &table)?;
    }
    Ok(())
}

fn write(path: &Path, table: &Table) -> Result<(), Box<dyn Error>> {
    const ROW_GROUP: usize = 1_000_000;
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, table.schema(), Some(properties))?;
    for batch in table.batches(ROW_GROUP) {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}
