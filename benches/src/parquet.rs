//! A table as a Parquet file, as arrow's writer writes it by default.

use std::fs::File;
use std::path::Path;

use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::metadata::SortingColumn;
use datafusion::parquet::file::properties::WriterProperties;

use crate::table::Table;

const ROW_GROUP: usize = 1_000_000;

/// Writes the rows of the table; the file declares its order when it has one.
pub fn write(path: &Path, table: &Table) -> Result<(), Box<dyn std::error::Error>> {
    let schema = table.schema();
    let mut properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROW_GROUP));
    if table.in_time_order {
        properties = properties.set_sorting_columns(Some(vec![SortingColumn {
            column_idx: schema.index_of(Table::TIME)?.try_into()?,
            descending: false,
            nulls_first: false,
        }]));
    }
    let file = File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build()))?;
    for batch in table.batches(ROW_GROUP) {
        writer.write(&batch?)?;
    }
    writer.close()?;
    Ok(())
}
