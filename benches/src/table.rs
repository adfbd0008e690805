//! The rows of one table: `sym` (a string such as `S00042`), `ts`, and float columns.
//!
//! The day is cut into as many slots as there are rows, and each row lies at a random nanosecond of
//! its own slot. So no two rows of a table have one time, engines cannot differ over ties, and rows
//! in time order need no sorting. A row depends on its slot only: a table in random order has the
//! same rows as the one in time order.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::Result;

use crate::random::{Shuffle, fraction, hash};

const DAY_NANOS: u64 = 86_400_000_000_000;
/// 2024-01-02T00:00:00Z.
const DAY_START: i64 = 1_704_153_600_000_000_000;

/// How often each key occurs.
#[derive(Debug, Clone)]
pub enum Frequency {
    /// By rank, with this exponent.
    Zipf(f64),
    /// The first key has this share of the rows; the others have equally many each.
    OneHot(f64),
}

/// The keys of a table.
#[derive(Debug, Clone)]
pub struct Keys {
    /// How many there are.
    pub count: usize,
    /// How often each occurs.
    pub frequency: Frequency,
}

/// What one table of a workload is made of.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name, and that of its file.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// What is in `sym`; without it there is no such column.
    pub keys: Option<Keys>,
    /// Rows in time order, or in random order.
    pub in_time_order: bool,
    /// Names of the float columns.
    pub floats: Vec<String>,
    /// Whether half of the values of each float column are NULL.
    pub half_null: bool,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Table {
    /// The column of keys.
    pub const KEY: &str = "sym";
    /// The column of times.
    pub const TIME: &str = "ts";

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        let ts = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let key = self
            .keys
            .iter()
            .map(|_| Field::new(Self::KEY, DataType::Utf8, false));
        let floats = self
            .floats
            .iter()
            .map(|name| Field::new(name, DataType::Float64, self.half_null));
        let fields = key.chain([Field::new(Self::TIME, ts, false)]).chain(floats);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The rows, in batches of at most `batch_rows`.
    pub fn batches(&self, batch_rows: usize) -> impl Iterator<Item = Result<RecordBatch>> {
        let rows = Rows::new(self.clone());
        let starts = (0..self.rows).step_by(batch_rows.max(1));
        starts.map(move |start| {
            let end = rows.table.rows.min(start + batch_rows as u64);
            rows.batch(start..end)
        })
    }
}

/// What is worked out once for all rows of a table.
struct Rows {
    table: Table,
    schema: SchemaRef,
    shuffle: Shuffle,
    names: Vec<String>,
    /// For each key, the share of rows with it or one before it.
    shares: Vec<f64>,
}

/// Which random number of a row is meant; columns of floats come after these.
mod draw {
    pub(super) const KEY: u64 = 0;
    pub(super) const TIME: u64 = 1;
    pub(super) const ORDER: u64 = 2;
    pub(super) const FLOATS: u64 = 3;
}

impl Rows {
    fn new(table: Table) -> Self {
        let (names, shares) = match &table.keys {
            Some(keys) => (
                (0..keys.count).map(|key| format!("S{key:05}")).collect(),
                shares(keys),
            ),
            None => (vec![], vec![]),
        };
        Self {
            schema: table.schema(),
            shuffle: Shuffle::new(table.rows, seed_of(&table, draw::ORDER)),
            names,
            shares,
            table,
        }
    }

    fn batch(&self, places: Range<u64>) -> Result<RecordBatch> {
        let slots: Vec<u64> = match self.table.in_time_order {
            true => places.collect(),
            false => places.map(|place| self.shuffle.at(place)).collect(),
        };
        let mut columns: Vec<ArrayRef> = vec![];
        if self.table.keys.is_some() {
            columns.push(Arc::new(self.keys(&slots)));
        }
        columns.push(Arc::new(self.times(&slots)));
        for column in 0..self.table.floats.len() as u64 {
            columns.push(Arc::new(self.floats(&slots, draw::FLOATS + column)));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    fn keys(&self, slots: &[u64]) -> StringArray {
        let seed = seed_of(&self.table, draw::KEY);
        let key = |slot: &u64| {
            let share = fraction(hash(seed, *slot));
            let key = self.shares.partition_point(|upto| *upto <= share);
            self.names[key.min(self.names.len() - 1)].as_str()
        };
        StringArray::from_iter_values(slots.iter().map(key))
    }

    fn times(&self, slots: &[u64]) -> TimestampNanosecondArray {
        let seed = seed_of(&self.table, draw::TIME);
        let width = DAY_NANOS / self.table.rows;
        let nanos = |slot: &u64| slot * width + hash(seed, *slot) % width;
        let times = slots.iter().map(|slot| DAY_START + nanos(slot) as i64);
        TimestampNanosecondArray::from_iter_values(times)
    }

    fn floats(&self, slots: &[u64], column: u64) -> Float64Array {
        let seed = seed_of(&self.table, column);
        let value = |hash: u64| 1.0 + 999.0 * fraction(hash);
        let hashes = slots.iter().map(|slot| hash(seed, *slot));
        match self.table.half_null {
            // The lowest bit has no part in the value.
            true => hashes.map(|h| (h & 1 == 0).then(|| value(h))).collect(),
            false => Float64Array::from_iter_values(hashes.map(value)),
        }
    }
}

fn seed_of(table: &Table, draw: u64) -> u64 {
    hash(table.seed, draw)
}

fn shares(keys: &Keys) -> Vec<f64> {
    let ranks = 1..=keys.count;
    let weights: Vec<f64> = match keys.frequency {
        Frequency::Zipf(exponent) => ranks.map(|rank| (rank as f64).powf(-exponent)).collect(),
        Frequency::OneHot(share) => {
            let other = (1.0 - share) / keys.count.saturating_sub(1).max(1) as f64;
            ranks
                .map(|rank| if rank == 1 { share } else { other })
                .collect()
        }
    };
    let total: f64 = weights.iter().sum();
    weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::TimestampNanosecondType;

    use super::*;

    fn table(in_time_order: bool) -> Table {
        Table {
            name: "t".into(),
            rows: 1000,
            keys: Some(Keys {
                count: 10,
                frequency: Frequency::OneHot(0.9),
            }),
            in_time_order,
            floats: vec!["a".into()],
            half_null: true,
            seed: 1,
        }
    }

    /// Each row as text, in the order of the table.
    fn rows(table: &Table) -> Vec<String> {
        let mut rows = vec![];
        for batch in table.batches(300) {
            let batch = batch.expect("columns fit the schema");
            let keys = batch.column(0).as_string::<i32>();
            let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
            let floats: &Float64Array = batch.column(2).as_primitive();
            for (row, value) in floats.iter().enumerate() {
                rows.push(format!(
                    "{} {} {value:?}",
                    times.value(row),
                    keys.value(row)
                ));
            }
        }
        rows
    }

    #[test]
    fn shuffled_rows_are_the_ordered_ones() {
        let (ordered, mut shuffled) = (rows(&table(true)), rows(&table(false)));
        assert!(ordered.is_sorted() && !shuffled.is_sorted());
        shuffled.sort_unstable();
        assert_eq!(ordered, shuffled);
    }

    #[test]
    fn times_are_unique_and_frequencies_as_asked() {
        let rows = rows(&table(true));
        let times: BTreeSet<_> = rows.iter().map(|row| row.split(' ').next()).collect();
        assert_eq!(times.len(), 1000);
        let count = |text: &str| rows.iter().filter(|row| row.contains(text)).count();
        assert!((870..930).contains(&count("S00000")));
        assert!((450..550).contains(&count("None")));
    }
}
