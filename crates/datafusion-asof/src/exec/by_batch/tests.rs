//! Fetched by batch as fetched one by one.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Float64Array, Int32Array, StringArray, TimestampNanosecondArray,
    new_null_array,
};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::{ByBatch, Fetched, copy};
use crate::exec::gather::{KeptBatches, RightRows, gather};
use crate::kernel::rows::RowId;

/// Batches of different lengths, one of them empty, with and without NULLs.
fn kept() -> Result<KeptBatches> {
    let batch = |rows: std::ops::Range<i32>| {
        let floats = rows.clone().map(f64::from);
        let nullable = rows.clone().map(|i| (i % 3 != 0).then_some(i));
        let times = rows.clone().map(|i| Some(i64::from(i) * 1_000));
        let zoned = TimestampNanosecondArray::from_iter(times).with_timezone("+02:00");
        let columns: [(&str, ArrayRef); 4] = [
            ("f", Arc::new(floats.collect::<Float64Array>())),
            ("i", Arc::new(nullable.collect::<Int32Array>())),
            ("t", Arc::new(zoned)),
            (
                "s",
                Arc::new(StringArray::from_iter_values(rows.map(|i| i.to_string()))),
            ),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, of)| (name, of, true)))
    };
    let batches = [
        batch(0..100)?,
        batch(100..100)?,
        batch(100..103)?,
        batch(103..600)?,
    ];
    let fields = batches[0].schema();
    let nulls = fields
        .fields()
        .iter()
        .map(|field| new_null_array(field.data_type(), 1));
    let nulls: Vec<ArrayRef> = nulls.collect();
    Ok(KeptBatches::new(batches.to_vec(), &nulls))
}

fn rows(some: impl Fn(u32) -> bool) -> Vec<RowId> {
    let of_batch = [100, 0, 3, 497];
    let row = |i: u32| match some(i) {
        false => RowId::NONE,
        true => {
            let batch = [0, 2, 3, 3][(i * 7 % 4) as usize];
            let row = i * 7_919 % of_batch[batch as usize];
            RowId { batch, row }
        }
    };
    (0..2_000).map(row).collect()
}

#[test]
fn values_are_those_fetched_one_by_one() -> Result<()> {
    let kept = kept()?;
    for rows in [
        rows(|_| true),
        rows(|i| i % 5 != 2),
        rows(|_| false),
        vec![],
    ] {
        let by_batch = ByBatch::new(&rows, kept.batches().len());
        for column in 0..3 {
            let fetched = kept.gather_by_batch(column, &by_batch)?;
            let expected = kept.gather(&[column], &rows)?;
            assert_eq!(fetched.as_ref(), expected.first());
        }
        assert!(kept.gather_by_batch(3, &by_batch)?.is_none());
    }
    Ok(())
}

#[test]
fn rows_of_a_batch_are_in_its_order_as_far_as_counters_reach() {
    let row = |batch, row| RowId { batch, row };
    let order = |rows: &[RowId], batches| {
        let by_batch = ByBatch::new(rows, batches);
        let of = by_batch.batches().flat_map(|(batch, chosen)| {
            let chosen = chosen.iter();
            chosen.map(move |chosen| (batch, chosen.row, chosen.by))
        });
        of.collect::<Vec<_>>()
    };
    let backwards = [row(1, 3), row(1, 0), RowId::NONE, row(0, 1), row(1, 2)];
    let sorted = vec![(0, 1, 3), (1, 0, 1), (1, 3, 0), (1, 2, 4)];
    assert_eq!(
        order(&backwards, 2),
        sorted,
        "two parts of two rows a batch"
    );
    let all: Vec<RowId> = (0..8_192).rev().map(|at| row(0, at)).collect();
    let sorted: Vec<_> = (0..8_192).map(|at| (0, at, 8_191 - at)).collect();
    assert_eq!(order(&all, 1), sorted);
    let far = [row(0, u32::MAX), row(0, 0)];
    assert_eq!(order(&far, 1), vec![(0, 0, 1), (0, u32::MAX, 0)]);
}

#[test]
fn many_columns_are_those_fetched_one_by_one() -> Result<()> {
    let kept = kept()?;
    let nulls = kept.nulls();
    let batch = |number: u32| kept.batches().get(number as usize);
    // Each of the columns, of fixed width and not, several times.
    let columns: Vec<usize> = (0..4).cycle().take(12).collect();
    for rows in [rows(|_| true), rows(|i| i % 5 != 2), rows(|_| false)] {
        let of_merge = gather(nulls, &columns, &rows, batch)?;
        let of_index = kept.gather(&columns, &rows)?;
        for (at, column) in columns.iter().enumerate() {
            let alone = gather(nulls, &[*column], &rows, batch)?;
            assert_eq!(&of_merge[at], &alone[0], "column {column} of a merge");
            assert_eq!(&of_index[at], &alone[0], "column {column} of an index");
        }
    }
    Ok(())
}

#[test]
fn a_part_is_copied_without_the_rest() -> Result<()> {
    let kept = kept()?;
    let rows = rows(|i| i % 5 != 2);
    let by_batch = ByBatch::new(&rows, kept.batches().len());
    let columns = [None, kept.gather_by_batch(1, &by_batch)?];
    let fetched = Fetched {
        columns: &columns,
        start: 777,
    };
    assert!(fetched.column(0, 10).is_none());
    assert!(fetched.column(2, 10).is_none());
    let part = fetched.column(1, 10).map(|part| copy(&part)).transpose()?;
    let expected = kept.gather(&[1], &rows[777..787])?;
    assert_eq!(part.as_ref(), expected.first());
    let bytes = part.map(|part| part.get_buffer_memory_size());
    assert!(bytes.is_some_and(|bytes| bytes < 1_000), "{bytes:?}");
    Ok(())
}

#[test]
fn it_pays_for_many_rows_from_all_over_a_large_right_side() {
    let scattered: Vec<RowId> = (0..40_000)
        .map(|i| RowId {
            batch: i % 128,
            row: i,
        })
        .collect();
    let in_order: Vec<RowId> = (0..40_000)
        .map(|i| RowId {
            batch: i / 8_192,
            row: i,
        })
        .collect();
    assert!(ByBatch::pays(&scattered, 1 << 20));
    assert!(!ByBatch::pays(&in_order, 1 << 20));
    assert!(!ByBatch::pays(&scattered, 1 << 19));
    assert!(!ByBatch::pays(&scattered, 1 << 23));
    assert!(!ByBatch::pays(&scattered[..8_192], 1 << 20));
}
