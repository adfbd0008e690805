//! What a scan gives for files that store a column as dictionaries and as strings.

use std::path::Path;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_plan::collect;
use datafusion::prelude::{ParquetReadOptions, SessionContext};

use super::*;

const ROWS: i64 = 1000;

fn write(file: &Path, values: Vec<Option<String>>, properties: WriterProperties) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
    let strings: ArrayRef = Arc::new(StringArray::from(values));
    let batch =
        RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("s", strings, true)]);
    let batch = batch.expect("batch");
    let file = std::fs::File::create(file).expect("file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("footer");
}

/// The distinct strings that each batch says it has, and whether all rows are what they were.
async fn values_of(file: &Path, expected: &[Option<String>]) -> Vec<usize> {
    let context = SessionContext::new();
    let frame = context
        .read_parquet(file.to_str().expect("path"), ParquetReadOptions::default())
        .await
        .expect("table");
    let plan = frame.create_physical_plan().await.expect("plan");
    let scan = with_dictionary(&plan, 1).expect("a plan");
    let scan = scan.expect("a scan of Parquet files");
    let batches = collect(scan, context.task_ctx()).await.expect("rows");
    let (mut values, mut found) = (vec![], vec![]);
    for batch in &batches {
        let strings = batch.column(1).as_dictionary::<Int32Type>();
        values.push(strings.values().len());
        let strings = strings
            .downcast_dict::<datafusion::arrow::array::StringViewArray>()
            .expect("views");
        found.extend(strings.into_iter().map(|s| s.map(str::to_owned)));
    }
    assert_eq!(found, expected);
    values
}

#[tokio::test]
async fn columns_are_read_as_they_are_stored() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file.parquet");
    let groups = || WriterProperties::builder().set_max_row_group_row_count(Some(400));
    let few: Vec<_> = (0..ROWS)
        .map(|n| (n % 9 > 0).then(|| format!("key {}", n % 7)))
        .collect();
    write(&file, few.clone(), groups().build());
    assert_eq!(values_of(&file, &few).await, [7, 7, 7]);

    // Stored as strings, all of them or from some page on.
    let strings = groups().set_dictionary_enabled(false).build();
    write(&file, few.clone(), strings);
    let all_of_each_batch = [400, 400, 200];
    assert_eq!(values_of(&file, &few).await, all_of_each_batch);
    let at_first = groups()
        .set_dictionary_page_size_limit(20)
        .set_write_batch_size(10);
    write(&file, few.clone(), at_first.build());
    assert_eq!(values_of(&file, &few).await, all_of_each_batch);

    // With a Bloom filter, which tells a column of strings more.
    let with_bloom = groups().set_bloom_filter_enabled(true).build();
    write(&file, few.clone(), with_bloom);
    assert_eq!(values_of(&file, &few).await, all_of_each_batch);

    // A dictionary that is nearly as large as the rows.
    let many: Vec<_> = (0..ROWS).map(|n| Some(format!("{n:0100}"))).collect();
    write(&file, many.clone(), WriterProperties::default());
    assert_eq!(values_of(&file, &many).await, [ROWS as usize]);
}
