//! Values that are laid are those that were, whatever else is kept of their rows.

use datafusion::arrow::array::{
    Float64Array, Int32Array, Int64Array, IntervalDayTimeArray, StringArray,
    TimestampNanosecondArray, new_null_array,
};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::IntervalDayTime;

use super::*;
use crate::exec::gather::{KeptBatches, Laid, RightRows};

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

/// The rows of a batch as a block of records, if their other columns are in the batch of a number. The as-of
/// column is `t`.
fn block(laid: &SideBySide, batch: &RecordBatch, number: u32) -> Records {
    let payload = laid.payload(batch, number);
    let times = words(batch.column(3));
    let mut records = vec![];
    for row in 0..batch.num_rows() {
        records.extend([times[row], row as u64]);
        records.extend(payload.words.iter().map(|word| match word {
            Word::Each(values) => values[row],
            Word::From(first) => first + row as u64,
        }));
        records.extend(payload.mask.as_ref().map(|mask| mask[row]));
    }
    let has_mask = payload.mask.is_some();
    let width = HEAD + laid.words() + usize::from(has_mask);
    Records::new(records, width, has_mask)
}

/// Some columns of all rows of some batches, with one NULL behind, from one place to fetch them from: of the
/// batches that are `laid` the values come out of blocks.
fn fetched(columns: &[usize], (laid, alone): (&[RecordBatch], &[RecordBatch])) -> Vec<ArrayRef> {
    let schema = [laid, alone].concat()[0].schema();
    let of = SideBySide::new(&schema, Some(3));
    let blocks = laid.iter().zip(0..);
    let blocks = blocks.map(|(batch, number)| block(&of, batch, number));
    let others = laid.iter().map(|batch| of.others(batch).expect("columns"));
    let nulls = schema.fields().iter();
    let nulls: Vec<ArrayRef> = nulls.map(|f| new_null_array(f.data_type(), 1)).collect();
    let all = Laid {
        blocks: blocks.collect(),
        others: others.flatten().collect(),
        side_by_side: of,
    };
    let kept = KeptBatches::of_laid(all, alone.to_vec(), &nulls);
    let rows = (0..)
        .zip(laid.iter().chain(alone))
        .flat_map(|(batch, of_batch)| {
            let rows = 0..of_batch.num_rows() as u32;
            rows.map(move |row| RowId { batch, row })
        });
    let rows: Vec<RowId> = rows.chain([RowId::NONE]).collect();
    kept.gather(columns, &rows).expect("columns")
}

/// The same without a look at how they lie.
fn expected(columns: &[usize], batches: &[RecordBatch]) -> Vec<ArrayRef> {
    let columns = columns.iter().map(|column| {
        let null = new_null_array(batches[0].column(*column).data_type(), 1);
        let all = batches.iter().map(|batch| batch.column(*column).as_ref());
        let all: Vec<&dyn Array> = all.chain([null.as_ref()]).collect();
        concat(&all).expect("one type")
    });
    columns.collect()
}

/// The batch with every third value of a column NULL.
fn with_nulls(batch: &RecordBatch, column: usize) -> RecordBatch {
    let valid = (0..batch.num_rows()).map(|row| row % 3 != 1);
    let valid = NullBuffer::from_iter(valid);
    let mut columns = batch.columns().to_vec();
    let data = columns[column]
        .to_data()
        .into_builder()
        .nulls(Some(valid.into_inner().into()));
    columns[column] = make_array(data.build().expect("an array"));
    RecordBatch::try_new(batch.schema(), columns).expect("a batch")
}

#[test]
fn values_are_those_that_were() {
    for rows in [0, 1, 2, 300] {
        // Parts of a batch, and whole ones; NULLs in what is laid, in what is not, and nowhere.
        let all = batch(0..rows + 9);
        let part = all.slice(5, rows as usize);
        let whole = batch(3..rows + 3);
        let batches = [
            part.clone(),
            with_nulls(&whole, 1),
            with_nulls(&with_nulls(&part, 5), 0),
            whole,
            with_nulls(&all, 2),
        ];
        for columns in [
            &[0, 1, 2, 3, 4, 5][..],
            &[5, 3, 1],
            &[4],
            &[2, 0],
            &[3],
            &[],
        ] {
            for laid in 0..=batches.len() {
                let found = fetched(columns, batches.split_at(laid));
                assert_eq!(
                    found,
                    expected(columns, &batches),
                    "{rows}, {columns:?}, {laid}"
                );
            }
        }
    }
}

#[test]
fn rows_of_words_alone_have_nothing_else() {
    let all = batch(0..7).project(&[1, 3, 5]).expect("columns");
    let of = |time| SideBySide::new(all.schema_ref(), time);
    assert_eq!((of(None).words(), of(Some(1)).words()), (3, 2));
    assert!(of(Some(1)).others(&all).expect("none").is_none());
    assert_eq!(of(Some(1)).row(&[1, 2]), None);
    let with_text = batch(0..7);
    let of = SideBySide::new(with_text.schema_ref(), None);
    let others = of.others(&with_text).expect("columns").expect("some");
    for column in 0..6 {
        let is_kept = others.column(column).data_type() != &DataType::Null;
        assert_eq!(is_kept, of.word(column).is_none());
    }
    let mut payload = vec![7; of.words()];
    let row = RowId {
        batch: 70_000,
        row: u32::MAX,
    };
    of.set_row(&mut payload, row);
    assert_eq!(of.row(&payload), Some(row));
    assert_eq!(payload[..of.words() - 1], [7; 3]);
}

/// Of wide rows no column is a word, but for that of the times.
#[test]
fn so_many_columns_that_none_are_words() {
    let column = |number: i64| {
        let values = (0..5).map(move |row| (row != number % 5).then_some(number * row));
        let values: ArrayRef = Arc::new(Int64Array::from_iter(values));
        (format!("c{number}"), values, true)
    };
    let batch = RecordBatch::try_from_iter_with_nullable((0..70).map(column)).expect("a batch");
    let columns: Vec<usize> = (0..70).collect();
    let batches = [batch.clone(), batch];
    for laid in 0..=2 {
        let mut batches = batches.clone();
        // That of the as-of column has no NULL where a row can match.
        for batch in &mut batches {
            let mut columns = batch.columns().to_vec();
            columns[3] = Arc::new(Int64Array::from_iter_values(0..5));
            *batch = RecordBatch::try_new(batch.schema(), columns).expect("a batch");
        }
        let found = fetched(&columns, batches.split_at(laid));
        assert_eq!(found, expected(&columns, &batches), "{laid}");
    }
}
