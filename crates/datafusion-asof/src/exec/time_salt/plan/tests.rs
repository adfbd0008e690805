//! An even exchange.

use std::collections::HashSet;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::Partitioning;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;

use super::*;

/// The exchange itself is asked, not the hash that the salts were chosen by.
#[test]
fn each_salt_fills_a_partition_of_its_own() {
    let schema = Arc::new(Schema::new(vec![Field::new(
        "salt",
        DataType::UInt32,
        false,
    )]));
    for partitions in [1, 2, 3, 16, 64, 100] {
        let salts = salts_for(partitions).expect("salts");
        let column: ArrayRef = Arc::new(UInt32Array::from(salts));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("a batch");
        let hash = Partitioning::Hash(vec![Arc::new(Column::new("salt", 0))], partitions);
        let exchange = BatchPartitioner::try_new(hash, Time::new(), 0, 1);
        let mut filled = HashSet::new();
        let fill = |partition: usize, rows: RecordBatch| {
            assert_eq!(rows.num_rows(), 1, "of {partitions} partitions");
            filled.insert(partition);
            Ok(())
        };
        exchange
            .expect("a partitioner")
            .partition(batch, fill)
            .expect("partitions");
        assert_eq!(filled.len(), partitions);
    }
}

#[test]
fn no_partition_is_an_error() {
    let error = salts_for(0).expect_err("nowhere to go").to_string();
    assert!(error.contains("at least one partition"), "{error}");
}
