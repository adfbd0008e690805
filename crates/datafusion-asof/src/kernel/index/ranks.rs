//! As-of values that have an order but are no numbers.
//!
//! The i-th distinct right value becomes the place `2i + 1`; a left value gets that of the
//! right value it equals, or the even number between its neighbours.

use datafusion::arrow::row::Row;

/// The distinct right values in order.
#[derive(Debug, Default)]
pub(crate) struct Ranks {
    distinct: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Ranks {
    /// The place of each value, and the ranks they come from.
    pub(super) fn of(values: &[Row<'_>]) -> (Vec<i64>, Self) {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_unstable_by(|a, b| values[*a].cmp(&values[*b]));
        let mut places = vec![0; values.len()];
        let mut distinct: Vec<Box<[u8]>> = vec![];
        for entry in order {
            let bytes = values[entry].data();
            if distinct.last().is_none_or(|last| **last != *bytes) {
                distinct.push(bytes.into());
            }
            places[entry] = 2 * distinct.len() as i64 - 1;
        }
        let bytes = distinct.iter().map(|value| value.len()).sum();
        (places, Self { distinct, bytes })
    }

    pub(super) fn place(&self, value: &[u8]) -> i64 {
        let below = self.distinct.partition_point(|known| **known < *value);
        let known = self
            .distinct
            .get(below)
            .is_some_and(|known| **known == *value);
        2 * below as i64 + i64::from(known)
    }

    pub(super) fn size(&self) -> usize {
        self.bytes + size_of_val(self.distinct.as_slice())
    }
}
