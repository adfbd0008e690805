//! Generated workloads for the benchmarks: trades and quotes of one day.
//!
//! Keys are strings (`S00042`), chosen with zipf-distributed frequency, times uniform within
//! one day in nanoseconds, and each side has two float columns. The same seed gives the same
//! rows.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DAY_NANOS: i64 = 86_400_000_000_000;
/// 2024-01-02T00:00:00Z.
const DAY_START: i64 = 1_704_153_600_000_000_000;

/// One side of a workload.
#[derive(Debug, Clone)]
pub struct Table {
    /// Number of rows.
    pub rows: usize,
    /// Number of distinct keys.
    pub keys: usize,
    /// Exponent of the zipf distribution of the keys; 0 is uniform.
    pub zipf: f64,
    /// Rows in time order, or in random order.
    pub in_time_order: bool,
    /// Names of the two float columns.
    pub floats: [&'static str; 2],
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Table {
    /// Trades: `sym`, `ts`, `price`, `size`.
    pub fn trades(rows: usize) -> Self {
        Self {
            rows,
            keys: 3_000,
            zipf: 1.0,
            in_time_order: true,
            floats: ["price", "size"],
            seed: 1,
        }
    }

    /// Quotes: `sym`, `ts`, `bid`, `ask`.
    pub fn quotes(rows: usize) -> Self {
        Self {
            floats: ["bid", "ask"],
            seed: 2,
            ..Self::trades(rows)
        }
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        let ts = DataType::Timestamp(TimeUnit::Nanosecond, None);
        Arc::new(Schema::new(vec![
            Field::new("sym", DataType::Utf8, false),
            Field::new("ts", ts, false),
            Field::new(self.floats[0], DataType::Float64, false),
            Field::new(self.floats[1], DataType::Float64, false),
        ]))
    }

    /// The rows, in batches of at most `batch_rows`.
    pub fn batches(&self, batch_rows: usize) -> impl Iterator<Item = RecordBatch> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut times: Vec<i64> = (0..self.rows)
            .map(|_| DAY_START + rng.random_range(0..DAY_NANOS))
            .collect();
        if self.in_time_order {
            times.sort_unstable();
        }
        let names: Vec<String> = (0..self.keys).map(|key| format!("S{key:05}")).collect();
        let shares = zipf_shares(self.keys, self.zipf);
        let schema = self.schema();
        let starts = (0..self.rows).step_by(batch_rows.max(1));
        starts.map(move |start| {
            let times = &times[start..times.len().min(start + batch_rows)];
            let key = |rng: &mut StdRng| {
                let share: f64 = rng.random();
                let key = shares.partition_point(|upto| *upto < share);
                names[key.min(names.len() - 1)].as_str()
            };
            let keys = StringArray::from_iter_values(times.iter().map(|_| key(&mut rng)));
            let mut floats = || {
                let values = times.iter().map(|_| rng.random_range(1.0..1000.0));
                Arc::new(Float64Array::from_iter_values(values)) as ArrayRef
            };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(keys),
                Arc::new(TimestampNanosecondArray::from(times.to_vec())),
                floats(),
                floats(),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns fit the schema")
        })
    }
}

/// For each key, the share of rows with it or one before it.
fn zipf_shares(keys: usize, exponent: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=keys)
        .map(|rank| (rank as f64).powf(-exponent))
        .collect();
    let total: f64 = weights.iter().sum();
    weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        })
        .collect()
}
