//! Needed rows keep their values, whatever part of their batches they are.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use datafusion::arrow::datatypes::Int64Type;

use super::*;

/// A number for each row, and the same as text that a view does not hold itself.
fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
    let texts = numbers
        .clone()
        .map(|number| format!("a row of number {number}"));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).expect("a batch")
}

/// Batches with all, most, half, few and none of their rows needed, of lengths around those of a word
/// and of a group.
#[tokio::test]
async fn rows_that_are_needed_stay() {
    type IsNeeded = fn(i64) -> bool;
    let needed: [(usize, IsNeeded); 9] = [
        (100, |_| true),
        (1, |_| false),
        (64, |number| number % 2 == 0),
        (65, |number| number % 3 > 0),
        (40_000, |number| number % 4 == 1),
        (128, |_| false),
        (63, |number| number % 60 == 7),
        (20_000, |number| number % 100 == 0),
        (3, |_| true),
    ];
    let (mut batches, mut ids, mut end) = (vec![], vec![], 0);
    for (number, (rows, is_needed)) in (0..).zip(needed) {
        let numbers = end..end + rows as i64;
        end = numbers.end;
        let of_batch = (0..).zip(numbers.clone());
        let of_batch = of_batch.filter(|(_, number)| is_needed(*number));
        ids.extend(of_batch.map(|(row, value)| (RowId { batch: number, row }, value)));
        batches.push(batch(numbers));
    }
    let before: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let marks = Marks::new(&batches);
    for (row, _) in &ids {
        marks.mark(*row);
    }
    let room = marks.copies_size(&batches);
    let thinned = marks.thin(batches, 2).await.expect("batches");
    for (row, value) in &ids {
        let RowId { batch, row } = thinned.name(*row);
        let batch = &thinned.batches[batch as usize];
        let number = batch
            .column(0)
            .as_primitive::<Int64Type>()
            .value(row as usize);
        let text = batch.column(1).as_string_view().value(row as usize);
        assert_eq!(
            (number, text),
            (*value, format!("a row of number {value}").as_str())
        );
    }
    let after: usize = thinned.batches.iter().map(RecordBatch::num_rows).sum();
    assert!(
        after < ids.len() + 100 && after < before / 3,
        "{after} of {before}"
    );
    assert!(thinned.batches.len() < 9);
    // The copies do not hold the texts of other rows.
    let held: usize = thinned
        .batches
        .iter()
        .map(|batch| batch.column(1).get_array_memory_size())
        .sum();
    assert!(held < 60 * ids.len(), "{held}");
    // Room is asked for about what they hold.
    let copied = thinned
        .batches
        .iter()
        .filter(|batch| batch.num_rows() > 100);
    let copied: usize = copied.map(RecordBatch::get_array_memory_size).sum();
    assert!(
        room > copied / 2 && room < 2 * copied,
        "{room} for {copied}"
    );
}
