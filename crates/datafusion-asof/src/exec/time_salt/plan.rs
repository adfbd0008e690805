//! Which keys are cut where, and the salts that fill an exchange evenly.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, UInt32Array, new_empty_array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::hash_utils::create_hashes;
use datafusion::common::{HashMap, Result, plan_err};
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use datafusion::scalar::ScalarValue;

use crate::exec::matching::Matching;
use crate::kernel::domain::Times;
use crate::kernel::ordinals::{KeyType, NULL_KEY, one_pattern_per_float};
use crate::kernel::place::Place;
use crate::kernel::time_cut::{Spread, SpreadBatch, TimeCut, TimeCutSpec, dealt};
use crate::spec::Side;

/// How the rows of a time-salted join are spread.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSalt {
    /// The partitions to be filled evenly.
    pub partitions: usize,
    /// Keys that are cut into ranges of time; rows of other keys stay together, key by key.
    pub hot_keys: Vec<HotKey>,
    /// Whether partitions hold their right rows in memory, indexed, instead of having both sides
    /// sorted: quicker where they fit.
    pub indexed: bool,
}

/// A key and where its ranges of time begin.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKey {
    /// A value for each key of the join; none for a join on time alone.
    pub key: Vec<ScalarValue>,
    /// As-of values of the left's or the right's type, in any order. Every one begins a range;
    /// what comes before the first is a range too.
    pub cuts: Vec<ScalarValue>,
}

/// [`TimeSalt`], made ready for execution.
#[derive(Debug)]
pub(in crate::exec) struct SaltPlan {
    pub cut: TimeCut,
    pub hot_keys: usize,
    /// What it is made of.
    parts: SaltParts,
}

/// What a [`SaltPlan`] is made of, salts included: whoever executes a part of the plan must send
/// its rows to the same places.
#[derive(Debug, Clone)]
pub(crate) struct SaltParts {
    /// For each column of the key a value for each key that is cut.
    pub keys: Vec<ArrayRef>,
    /// By key that is cut where its ranges begin.
    pub cuts: Vec<Vec<Place>>,
    /// By range, as [`TimeCutSpec`] has it.
    pub dealt: Vec<u32>,
    /// By slot.
    pub salts: Vec<u32>,
}

impl SaltPlan {
    /// `keys` has for each column of the key a value for each key that is cut, `cuts` where; `weights` are those of all ranges,
    /// or empty if they are not known.
    ///
    /// # Errors
    /// Planning errors if there is no partition, or more ranges than can be numbered.
    pub(super) fn try_new(
        key_types: &[KeyType],
        keys: Vec<ArrayRef>,
        (cuts, weights): (Vec<Vec<Place>>, &[f64]),
        partitions: usize,
    ) -> Result<Self> {
        let salts = salts_for(partitions)?;
        let parts = SaltParts {
            keys,
            cuts,
            dealt: dealt(weights, salts.len()),
            salts,
        };
        Self::of_parts(key_types, parts)
    }

    /// # Errors
    /// Those of a [`TimeCut`].
    pub(in crate::exec) fn of_parts(key_types: &[KeyType], parts: SaltParts) -> Result<Self> {
        let slots = parts.salts.len();
        let cut = TimeCut::try_new(TimeCutSpec {
            key_types,
            keys: &parts.keys,
            cuts: parts.cuts.clone(),
            dealt: parts.dealt.clone(),
            slots: u32::try_from(slots).or_else(|_| plan_err!("too many partitions: {slots}"))?,
        })?;
        Ok(Self {
            hot_keys: cut.keys().count(),
            cut,
            parts,
        })
    }

    #[cfg(feature = "proto")]
    pub(in crate::exec) fn parts(&self) -> &SaltParts {
        &self.parts
    }

    /// # Errors
    /// Those of [`Self::try_new`], and for keys and cuts that are not of the join's types.
    pub(super) fn of(salt: &TimeSalt, matching: &Matching) -> Result<Self> {
        let key_types = &matching.key_types;
        let column = |column: usize| -> Result<ArrayRef> {
            let values = salt.hot_keys.iter().map(|hot| match hot.key.get(column) {
                Some(value) if hot.key.len() == key_types.len() => Ok(value.clone()),
                _ => plan_err!(
                    "a hot key has {} values, not {}",
                    hot.key.len(),
                    key_types.len()
                ),
            });
            column_of(values, &key_types[column].data_type)
        };
        let keys = (0..key_types.len()).map(column);
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let cuts = salt.hot_keys.iter();
        let cuts = cuts.map(|hot| places(&hot.cuts, matching));
        Self::try_new(
            key_types,
            keys,
            (cuts.collect::<Result<_>>()?, &[]),
            salt.partitions,
        )
    }

    /// The salts of a left batch.
    pub(super) fn of_left(&self, matching: &Matching, batch: &RecordBatch) -> Result<UInt32Array> {
        let (keys, time) = matching.left_keys_and_time(batch)?;
        let times = matching.domain.times(Side::Left, &time)?;
        let mut ordinals = self.cut.ordinals(&keys, batch.num_rows())?;
        let mut hashes_of_keys = hashes(&keys, batch.num_rows())?;
        if ordinals.contains(&NULL_KEY) {
            // They match nothing wherever they are, and there may be many.
            let hashes_of_times = hashes(&[time], batch.num_rows())?;
            for (row, ordinal) in ordinals.iter().enumerate() {
                if *ordinal == NULL_KEY {
                    hashes_of_keys[row] = hashes_of_times[row];
                }
            }
        }
        self.spread_without_time(batch, &times, &mut ordinals, &mut hashes_of_keys)?;
        let spread = self.cut.spread(&SpreadBatch {
            ordinals: &ordinals,
            times: &times,
            hashes: &hashes_of_keys,
        });
        Ok(self.salts(&spread.slots))
    }

    /// Left rows of a hot key that have no time match nothing either. They are spread by all that they
    /// have, and not by where they are in their input: read anew, that could be elsewhere.
    fn spread_without_time(
        &self,
        batch: &RecordBatch,
        times: &Times,
        ordinals: &mut [u32],
        hashes_of_keys: &mut [u64],
    ) -> Result<()> {
        let spread = |row: &u32| {
            let ordinal = ordinals[*row as usize];
            let is_hot = (ordinal as usize) < self.hot_keys;
            (is_hot || ordinal == NULL_KEY) && !times.is_valid(*row as usize)
        };
        let rows: Vec<u32> = (0..batch.num_rows() as u32).filter(spread).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let batch = take_record_batch(batch, &UInt32Array::from(rows.clone()))?;
        // Columns of which DataFusion takes no hash are left out.
        let hashed = batch.columns().iter();
        let hashed = hashed.filter(|column| hashes(&[Arc::clone(column)], rows.len()).is_ok());
        let hashed: Vec<ArrayRef> = hashed.cloned().collect();
        for (row, hash) in rows.iter().zip(hashes(&hashed, rows.len())?) {
            ordinals[*row as usize] = NULL_KEY;
            hashes_of_keys[*row as usize] = hash;
        }
        Ok(())
    }

    /// The ranges and slots of right rows that can match, `ordinals` as the [`TimeCut`] gives them.
    pub(super) fn of_right(
        &self,
        keys: &[ArrayRef],
        ordinals: &[u32],
        times: &Times,
    ) -> Result<Spread> {
        Ok(self.cut.spread(&SpreadBatch {
            ordinals,
            times,
            hashes: &hashes(keys, ordinals.len())?,
        }))
    }

    pub(super) fn salts(&self, slots: &[u32]) -> UInt32Array {
        let salt = |slot: &u32| self.parts.salts[*slot as usize];
        slots.iter().map(salt).collect::<Vec<_>>().into()
    }
}

impl Display for SaltPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (keys, ranges) = (self.hot_keys, self.cut.ranges());
        write!(
            f,
            "hot_keys={keys}, ranges={ranges}, slots={}",
            self.parts.salts.len()
        )
    }
}

/// Of values in rows; equal keys have equal hashes.
fn hashes(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    let mut hashes = vec![0; rows];
    // DataFusion tells floats apart that are equal keys here.
    let columns: Vec<ArrayRef> = columns.iter().map(one_pattern_per_float).collect();
    let random_state = REPARTITION_RANDOM_STATE.random_state();
    create_hashes(&columns, random_state, &mut hashes)?;
    Ok(hashes)
}

fn column_of(
    values: impl Iterator<Item = Result<ScalarValue>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let values = values.collect::<Result<Vec<_>>>()?;
    if values.is_empty() {
        return Ok(new_empty_array(data_type));
    }
    let column = ScalarValue::iter_to_array(values)?;
    match column.data_type() == data_type {
        true => Ok(column),
        false => plan_err!("a hot key is {}, not {data_type}", column.data_type()),
    }
}

/// The places on the line of values of either side's type.
fn places(values: &[ScalarValue], matching: &Matching) -> Result<Vec<Place>> {
    let mut places = vec![];
    for value in values {
        let column = value.to_array()?;
        let side = match matching.domain.takes(Side::Left, column.data_type()) {
            true => Side::Left,
            false => Side::Right,
        };
        let times = matching.domain.times(side, &column)?;
        // NULL and NaN are no place where a range could begin.
        if times.is_valid(0) {
            places.push(times.place(0));
        }
    }
    Ok(places)
}

/// For each partition of a hash exchange a number that it sends there; so equally many rows
/// of each make equally many in each partition.
fn salts_for(partitions: usize) -> Result<Vec<u32>> {
    /// Tried at a time, and how often: nearly all partitions are found by then.
    const AT_ONCE: u32 = 1024;
    if partitions == 0 {
        return plan_err!("a time-salted ASOF JOIN has at least one partition");
    }
    let tries = (partitions / 64).min(1 << 16) + 8;
    let mut found: HashMap<u64, u32> = HashMap::new();
    let mut next = 0;
    for _ in 0..tries {
        let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(next..next + AT_ONCE));
        let mut hashes = vec![0; AT_ONCE as usize];
        create_hashes(
            [&numbers],
            REPARTITION_RANDOM_STATE.random_state(),
            &mut hashes,
        )?;
        for (number, hash) in (next..).zip(hashes) {
            found.entry(hash % partitions as u64).or_insert(number);
        }
        next += AT_ONCE;
        if found.len() == partitions {
            break;
        }
    }
    // Only where hashes are no hashes is something left; each salt differs all the same.
    let salt = |slot: u64| found.get(&slot).copied().unwrap_or(next + slot as u32);
    Ok((0..partitions as u64).map(salt).collect())
}

#[cfg(test)]
mod tests;
