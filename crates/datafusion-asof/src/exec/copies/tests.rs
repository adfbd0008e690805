//! What copies of rows hold, and what they let go.

use datafusion::arrow::array::{Int64Builder, UInt32Array};
use datafusion::arrow::array::{ListArray, StringViewArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::Field;

use super::*;

/// Ten thousand texts of a hundred bytes.
fn texts() -> ArrayRef {
    let texts = (0..10_000).map(|n| format!("{n:0>100}"));
    Arc::new(texts.map(Some).collect::<StringViewArray>())
}

#[test]
fn a_copied_view_holds_its_own_bytes_only() {
    let texts = texts();
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    let lists: ArrayRef = Arc::new(ListArray::new(
        Arc::clone(&item),
        OffsetBuffer::from_lengths(vec![2; 5_000]),
        Arc::clone(&texts),
        None,
    ));
    let structs: ArrayRef = Arc::new(StructArray::from(vec![(item, Arc::clone(&texts))]));
    for array in [texts, lists, structs] {
        let few = take(&array, &UInt32Array::from(vec![7, 4_000, 7]), None).expect("rows");
        assert!(few.get_buffer_memory_size() > 1_000_000, "{few:?}");
        let copy = without_rest(Arc::clone(&few)).expect("a copy");
        assert_eq!(&copy, &few);
        assert!(copy.get_buffer_memory_size() < 2_000, "{copy:?}");
    }
}

#[test]
fn few_rows_do_not_hold_room_for_many() {
    let mut values = Int64Builder::with_capacity(8_192);
    values.append_slice(&[7; 500]);
    values.append_null();
    let values: ArrayRef = Arc::new(values.finish());
    let batch = RecordBatch::try_from_iter([("n", values)]).expect("a batch");
    assert!(get_record_batch_memory_size(&batch) > 60_000);
    let shared = without_room(batch.clone()).expect("the same");
    assert!(
        get_record_batch_memory_size(&shared) > 60_000,
        "not what others read"
    );
    let same = batch.clone();
    let rows = same.columns().iter().map(|column| column.to_data());
    let rows: Vec<_> = rows.map(|data| data.buffers()[0].to_vec()).collect();
    drop((shared, same));
    let fitted = without_room(batch).expect("the same");
    assert!(get_record_batch_memory_size(&fitted) < 5_000);
    assert_eq!(fitted.column(0).to_data().buffers()[0].as_slice(), rows[0]);
    assert_eq!(fitted.column(0).null_count(), 1);
}

#[test]
fn a_row_is_as_wide_as_its_own_bytes() {
    let batch = RecordBatch::try_from_iter([("s", texts())]).expect("a batch");
    let slice = batch.slice(50, 10);
    assert_eq!(row_width(&slice), 116);
    assert!(get_record_batch_memory_size(&slice) > 1_000_000);
}
