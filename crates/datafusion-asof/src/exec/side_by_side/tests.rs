//! Values that are laid are those that were, and stay so when rows are left out or put together.

use datafusion::arrow::array::{
    BooleanArray, Float64Array, Int32Array, Int64Array, IntervalDayTimeArray, StringArray,
    TimestampNanosecondArray, new_null_array,
};
use datafusion::arrow::compute::{concat, concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::IntervalDayTime;

use super::*;

fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
    let of = || rows.clone();
    let columns: [(&str, ArrayRef); 6] = [
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                of().map(|row| row.to_string()),
            )),
        ),
        (
            "f",
            Arc::new(Float64Array::from_iter_values(
                of().map(|row| row as f64 / 4.0),
            )),
        ),
        (
            "n",
            Arc::new(Int32Array::from_iter_values(of().map(|row| row as i32 - 7))),
        ),
        (
            "t",
            Arc::new(TimestampNanosecondArray::from_iter_values(
                of().map(|row| row * -3),
            )),
        ),
        (
            "parts",
            Arc::new(IntervalDayTimeArray::from_iter_values(
                of().map(|row| IntervalDayTime::new(row as i32, 1)),
            )),
        ),
        (
            "i",
            Arc::new(Int64Array::from_iter_values(of().map(|row| i64::MAX - row))),
        ),
    ];
    let columns = columns.map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
}

/// The kept columns that lie side by side, of all rows of some batches, with one NULL behind.
fn gathered(laid: &SideBySide, batches: &[RecordBatch]) -> Vec<ArrayRef> {
    let rows = (0..).zip(batches).flat_map(|(batch, of_batch)| {
        let rows = 0..of_batch.num_rows() as u32;
        rows.map(move |row| RowId { batch, row })
    });
    let rows: Vec<RowId> = rows.chain([RowId::NONE]).collect();
    let gathered = laid
        .rows(batches)
        .gather(&[2, 0, 1], &rows)
        .expect("columns");
    let [i, f, t] = gathered.try_into().expect("three");
    vec![f, t, i]
}

/// The same without a look at how they lie.
fn expected(batches: &[RecordBatch]) -> Vec<ArrayRef> {
    let columns = [1, 3, 5].map(|column| {
        let null = new_null_array(batches[0].column(column).data_type(), 1);
        let all = batches.iter().map(|batch| batch.column(column).as_ref());
        let all: Vec<&dyn Array> = all.chain([null.as_ref()]).collect();
        concat(&all).expect("one type")
    });
    columns.to_vec()
}

#[test]
fn laid_values_are_those_that_were() {
    for rows in [0, 1, 255, 256, 257, 2000] {
        let all = batch(0..rows + 9);
        let laid = SideBySide::of(all.schema_ref()).expect("three columns");
        // A part of a batch, and a whole one.
        for were in [all.slice(5, rows as usize), batch(0..rows)] {
            let batch = laid.lay(were.clone()).expect("a batch");
            assert_eq!(batch.column(1).data_type(), &DataType::FixedSizeBinary(24));
            assert_eq!(batch.column(3).data_type(), &DataType::Null);
            for column in [0, 2, 4] {
                assert_eq!(batch.column(column), were.column(column));
            }
            let picked: BooleanArray = (0..rows).map(|row| Some(row % 3 != 1)).collect();
            let some = filter_record_batch(&batch, &picked).expect("rows");
            let both = concat_batches(batch.schema_ref(), [&some, &batch]).expect("rows");
            let were_some = filter_record_batch(&were, &picked).expect("rows");
            let part = both.slice(rows as usize / 2, rows as usize);
            let were_part = concat_batches(were.schema_ref(), [&were_some, &were]).expect("rows");
            let were_part = were_part.slice(rows as usize / 2, rows as usize);
            let found = gathered(&laid, &[part, batch, were.clone()]);
            assert_eq!(found, expected(&[were_part, were.clone(), were]));
        }
    }
}

#[test]
fn a_batch_with_a_null_stays_as_it_is() {
    let all = batch(0..10);
    let laid = SideBySide::of(all.schema_ref()).expect("three columns");
    let mut columns = all.columns().to_vec();
    let times = (0..10).map(|row| (row != 4).then_some(row));
    columns[3] = Arc::new(TimestampNanosecondArray::from_iter(times));
    let with_null = RecordBatch::try_new(all.schema(), columns.clone()).expect("a batch");
    let kept = laid.lay(with_null.clone()).expect("a batch");
    assert_eq!(kept, with_null);
    let other = laid.lay(all.clone()).expect("a batch");
    assert!(laid.has_laid(&other) && !laid.has_laid(&kept));
    let found = gathered(&laid, &[other, kept]);
    assert_eq!(found, expected(&[all.clone(), with_null]));
    // NULLs of other columns do not matter.
    columns[3] = Arc::clone(all.column(3));
    let numbers = (0..10).map(|row| (row != 4).then_some(row));
    columns[2] = Arc::new(Int32Array::from_iter(numbers));
    let other = RecordBatch::try_new(all.schema(), columns).expect("a batch");
    let kept = laid.lay(other.clone()).expect("a batch");
    assert!(laid.has_laid(&kept));
    assert_eq!(kept.column(2), other.column(2));
}

#[test]
fn fewer_than_two_columns_stay_alone() {
    let all = batch(0..1);
    let of =
        |columns: &[usize]| SideBySide::of(&all.schema_ref().project(columns).expect("columns"));
    assert!(of(&[0, 1, 2, 4]).is_none());
    assert!(of(&[0, 2, 4]).is_none());
    assert!(of(&[1, 3]).is_some());
}
