//! Dictionaries of a batch and of a whole file.

use std::sync::Arc;

use datafusion::arrow::array::{
    DictionaryArray, Float16Array, Float32Array, Float64Array, StringArray, UInt32Array,
};
use datafusion::arrow::datatypes::UInt32Type;

use super::encode::F16;
use super::*;

#[test]
fn a_dictionary_larger_than_its_batch() {
    let values: Vec<String> = (0..5_000)
        .map(|n| format!("the key of many letters {}", n % 4_000))
        .collect();
    let codes = [4_999, 3, 999, 4_999, 0, 4_000].map(Some);
    let codes = UInt32Array::from_iter(codes.into_iter().chain([None]));
    let plain = |values: &[String]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let keys: DictionaryArray<UInt32Type> = DictionaryArray::new(codes, plain(&values));
    let types = [KeyType {
        data_type: keys.data_type().clone(),
        null_equals_null: false,
    }];
    let mut ordinals = KeyOrdinals::try_new(&types).expect("ordinals");
    let found = ordinals.intern(&[Arc::new(keys)], 7).expect("keys");
    // Values 4,999 and 999 are one key, as are 0 and 4,000.
    assert_eq!(found, [0, 1, 0, 0, 2, 2, NULL_KEY]);
    assert_eq!(ordinals.len(), 3);
    let few = plain(&values[..4]);
    assert_eq!(
        ordinals.lookup(&[few], 4).expect("keys"),
        [2, ABSENT, ABSENT, 1]
    );
}

/// Batches of one dictionary, of another and of a part of one, keys that become known in between, and
/// NULL as a code and as a value, beside the plain column.
#[test]
fn dictionaries_of_many_batches() {
    let names = |of: &[Option<&str>]| Arc::new(StringArray::from(of.to_vec())) as ArrayRef;
    let first = names(&[Some("a"), None, Some("b"), Some("a"), Some("c")]);
    let second = names(&[Some("c"), Some("d"), Some("a")]);
    let third = names(&[Some("x"), Some("y")]);
    let part = first.slice(2, 3);
    let column = |values: &ArrayRef, codes: &[Option<u32>]| {
        let codes = UInt32Array::from(codes.to_vec());
        let keys = DictionaryArray::<UInt32Type>::new(codes, Arc::clone(values));
        Arc::new(keys) as ArrayRef
    };
    let types = [KeyType {
        data_type: column(&first, &[]).data_type().clone(),
        null_equals_null: false,
    }];
    let mut ordinals = KeyOrdinals::try_new(&types).expect("ordinals");
    let mut plain = KeyOrdinals::try_new(&types).expect("ordinals");
    let known = [Some(0), Some(1), Some(3), None, Some(0)];
    let batches = [
        (true, column(&first, &known)),
        (false, column(&first, &[Some(2), Some(0), Some(4), Some(2)])),
        (false, column(&part, &[Some(0), Some(1), Some(2)])),
        (true, column(&part, &[Some(2), Some(0), None])),
        (false, column(&first, &[Some(2), Some(4), Some(1), Some(0)])),
        (false, column(&second, &[Some(1), Some(0), Some(2)])),
        (true, column(&second, &[Some(1), Some(0), Some(2)])),
        (false, column(&second, &[Some(1), Some(0), Some(2)])),
        (false, column(&names(&[None]), &[Some(0), None])),
        (false, column(&third, &[Some(0), Some(1)])),
        (true, column(&names(&[Some("e")]), &[Some(0)])),
        (false, column(&third, &[Some(1), Some(0)])),
        (true, column(&names(&[Some("y")]), &[Some(0)])),
        (false, column(&third, &[Some(1), Some(0)])),
        (false, column(&third, &[Some(0), Some(1)])),
    ];
    for (interns, keys) in batches {
        let rows = keys.len();
        let values = cast(&keys, &DataType::Utf8).expect("values");
        let (found, expected) = match interns {
            true => (
                ordinals.intern(&[keys], rows),
                plain.intern(&[values], rows),
            ),
            false => (
                ordinals.lookup(&[keys], rows),
                plain.lookup(&[values], rows),
            ),
        };
        assert_eq!(found.expect("keys"), expected.expect("keys"));
    }
    assert_eq!(ordinals.len(), 6);
}

/// Far more dictionaries than are remembered, each of them twice, and one too large to be.
#[test]
fn dictionaries_come_and_go() {
    let values = |of: std::ops::Range<u32>| Arc::new(UInt32Array::from_iter_values(of)) as ArrayRef;
    let column = |values: &ArrayRef| {
        let codes = UInt32Array::from_iter_values([1, 0, 1]);
        Arc::new(DictionaryArray::<UInt32Type>::new(
            codes,
            Arc::clone(values),
        )) as ArrayRef
    };
    let large = values(0..1 << 20);
    let types = [KeyType {
        data_type: column(&large).data_type().clone(),
        null_equals_null: false,
    }];
    let mut ordinals = KeyOrdinals::try_new(&types).expect("ordinals");
    let mut plain = KeyOrdinals::try_new(&types).expect("ordinals");
    let many: Vec<ArrayRef> = (0..500).map(|n| values(n..n + 2)).collect();
    for _ in 0..2 {
        for values in many.iter().chain([&large]) {
            let keys = column(values);
            let expected = plain.intern(&[cast(&keys, &DataType::UInt32).expect("values")], 3);
            let found = ordinals.intern(&[keys], 3);
            assert_eq!(found.expect("keys"), expected.expect("keys"));
        }
    }
    assert_eq!(ordinals.len(), 501);
}

#[test]
fn floats_of_every_width_have_one_nan_and_one_zero() {
    fn ordinals_of(keys: ArrayRef) -> Vec<u32> {
        let types = [KeyType {
            data_type: keys.data_type().clone(),
            null_equals_null: false,
        }];
        let mut ordinals = KeyOrdinals::try_new(&types).expect("ordinals");
        ordinals.intern(&[keys], 5).expect("keys")
    }
    let halves = [F16::NAN, -F16::NAN, F16::ZERO, -F16::ZERO, F16::ONE];
    let singles = [f32::NAN, -f32::NAN, 0.0, -0.0, 1.0];
    let doubles = [f64::NAN, -f64::NAN, 0.0, -0.0, 1.0];
    let halves = Float16Array::from_iter_values(halves);
    assert_eq!(ordinals_of(Arc::new(halves)), [0, 0, 1, 1, 2]);
    let singles = Float32Array::from_iter_values(singles);
    assert_eq!(ordinals_of(Arc::new(singles)), [0, 0, 1, 1, 2]);
    let doubles = Float64Array::from_iter_values(doubles);
    assert_eq!(ordinals_of(Arc::new(doubles)), [0, 0, 1, 1, 2]);
}
