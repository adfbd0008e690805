//! What a time-salted join is cut by.

use datafusion::arrow::array::{ArrayRef, new_empty_array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::scalar::ScalarValue;

use super::message::HotKey;
use super::missing;
use crate::exec::{Place, SaltParts};

pub(super) fn hot_keys(parts: &SaltParts) -> Result<Vec<HotKey>> {
    let hot_key = |(key, cuts): (usize, &Vec<Place>)| {
        let values = parts.keys.iter().map(|column| {
            let value = ScalarValue::try_from_array(column, key)?;
            Ok((&value).try_into()?)
        });
        let mut hot_key = HotKey {
            values: values.collect::<Result<_>>()?,
            ..HotKey::default()
        };
        for cut in cuts {
            match cut {
                Place::Number(number) => hot_key.numbers.push(number.to_le_bytes().to_vec()),
                Place::Bytes(bytes) => hot_key.rows.push(bytes.to_vec()),
            }
        }
        Ok(hot_key)
    };
    parts.cuts.iter().enumerate().map(hot_key).collect()
}

/// Keys of other types are found where the types are known.
pub(super) fn salt_parts(
    hot_keys: Vec<HotKey>,
    (salts, dealt): (Vec<u32>, Vec<u32>),
    key_types: &[DataType],
) -> Result<SaltParts> {
    let column = |(column, data_type): (usize, &DataType)| -> Result<ArrayRef> {
        if hot_keys.is_empty() {
            return Ok(new_empty_array(data_type));
        }
        let value = |hot_key: &HotKey| {
            let Some(value) = hot_key.values.get(column) else {
                return missing("value of a hot key");
            };
            let value = ScalarValue::try_from(value)?;
            match (value.data_type(), data_type) {
                // DataFusion 55.2 writes numbers of 16 bits as ones of 32.
                (DataType::Float32, DataType::Float16) => value.cast_to(data_type),
                _ => Ok(value),
            }
        };
        let values = hot_keys.iter().map(value).collect::<Result<Vec<_>>>()?;
        if let Some(other) = values.iter().find(|value| value.data_type() != *data_type) {
            return exec_err!("a hot key is {}, not {data_type}", other.data_type());
        }
        ScalarValue::iter_to_array(values)
    };
    let keys = key_types.iter().enumerate().map(column);
    let keys = keys.collect::<Result<_>>()?;
    let cuts = hot_keys.into_iter().map(cuts).collect::<Result<_>>()?;
    Ok(SaltParts {
        keys,
        cuts,
        dealt,
        salts,
    })
}

fn cuts(hot_key: HotKey) -> Result<Vec<Place>> {
    let number = |bytes: Vec<u8>| match bytes.as_slice().try_into() {
        Ok(bytes) => Ok(Place::Number(i128::from_le_bytes(bytes))),
        Err(_) => exec_err!("a hot key is cut at {} bytes, not 16", bytes.len()),
    };
    let numbers = hot_key.numbers.into_iter().map(number);
    let rows = hot_key.rows.into_iter();
    let rows = rows.map(|bytes| Ok(Place::Bytes(bytes.into())));
    numbers.chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::Int64Array;

    use super::*;

    #[test]
    fn what_is_cut_and_where_it_goes_comes_back() -> Result<()> {
        let parts = SaltParts {
            keys: vec![Arc::new(Int64Array::from(vec![7, 8]))],
            cuts: vec![
                [-1, i128::MAX].map(Place::Number).to_vec(),
                vec![Place::Number(0)],
            ],
            dealt: vec![1, 0, 1, 1, 0],
            salts: vec![5, 3],
        };
        let given = (parts.salts.clone(), parts.dealt.clone());
        let again = salt_parts(hot_keys(&parts)?, given, &[DataType::Int64])?;
        assert_eq!(again.keys, parts.keys);
        assert_eq!(again.cuts, parts.cuts);
        assert_eq!((again.dealt, again.salts), (parts.dealt, parts.salts));
        Ok(())
    }
}
