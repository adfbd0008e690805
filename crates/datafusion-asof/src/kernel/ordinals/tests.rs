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
