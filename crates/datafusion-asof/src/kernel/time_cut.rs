//! Hot keys, cut into ranges of time.
//!
//! ```text
//! hot key A    ──────┬────┬────────┬──────►  time      ranges 0 1 2 3
//! hot key B    ─────────────┬─────────────►            ranges 4 5
//! other keys   ───────────────────────────►            one range each
//! ```
//!
//! A range begins at its cut, the first one of a key at the beginning of time. The ranges of
//! all hot keys are numbered through and dealt out to the *slots*, in turn or by what they weigh (`deal.rs`), so that
//! these hold equal work; another key is in the slot that its hash says. Both
//! sides ask the same [`TimeCut`], and range and slot follow from key and time alone: whoever
//! reads a row, whenever, sends it to the same place.

mod deal;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::{Result, plan_err};

pub(crate) use self::deal::dealt;
use super::domain::{TimeColumn, TimeValues, Times};
use super::ordinals::{KeyOrdinals, KeyType};
use super::place::Place;

/// The range of a key that is not cut.
pub(crate) const UNCUT: u32 = u32::MAX;

/// Which range and slot a row is in.
#[derive(Debug)]
pub(crate) struct TimeCut {
    /// Keys that are cut.
    keys: KeyOrdinals,
    /// By ordinal: the number of its first range; at the end how many ranges there are.
    firsts: Vec<u32>,
    /// By ordinal: where its ranges but the first begin, ascending.
    cuts: Vec<Vec<Place>>,
    slots: u32,
    /// By range.
    slot_of: Vec<u32>,
}

/// What a [`TimeCut`] is made of.
pub(crate) struct TimeCutSpec<'a> {
    pub key_types: &'a [KeyType],
    /// The keys that are cut: by column of the key a value for each of them.
    pub keys: &'a [ArrayRef],
    /// For each of those keys where a range begins.
    pub cuts: Vec<Vec<Place>>,
    pub slots: u32,
    /// By range, numbered through, its slot; if there are none ranges are dealt out in turn.
    pub dealt: Vec<u32>,
}

/// The rows of a batch, spread.
#[derive(Debug)]
pub(crate) struct Spread {
    /// The range of each row, [`UNCUT`] for keys that are not cut.
    pub ranges: Vec<u32>,
    pub slots: Vec<u32>,
}

/// A batch to be spread.
pub(crate) struct SpreadBatch<'a> {
    /// As [`TimeCut::ordinals`] gives them.
    pub ordinals: &'a [u32],
    pub times: &'a Times,
    /// Of the keys; equal keys have equal hashes.
    pub hashes: &'a [u64],
}

impl TimeCut {
    /// # Errors
    /// A planning error if there is no slot, or more ranges than can be numbered, and for ranges that are dealt out to
    /// slots that are not there.
    pub(crate) fn try_new(spec: TimeCutSpec<'_>) -> Result<Self> {
        if spec.slots == 0 {
            return plan_err!("a time-salted ASOF JOIN has at least one partition");
        }
        let mut keys = KeyOrdinals::try_new(spec.key_types)?;
        let ordinals = keys.intern(spec.keys, spec.cuts.len())?;
        let (mut firsts, mut cuts, mut ranges) = (vec![0], vec![], 0usize);
        for (ordinal, mut places) in ordinals.into_iter().zip(spec.cuts) {
            // A key is new, NULL and matches nothing, or was given before.
            if ordinal as usize == cuts.len() {
                places.sort_unstable();
                places.dedup();
                ranges += places.len() + 1;
                match u32::try_from(ranges) {
                    Ok(ranges) if ranges < UNCUT => firsts.push(ranges),
                    _ => return plan_err!("a time-salted ASOF JOIN with {ranges} ranges"),
                }
                cuts.push(places);
            }
        }
        let slots = spec.slots as usize;
        let slot_of = match spec.dealt.is_empty() {
            true => (0..ranges)
                .map(|range| in_turn(range, slots) as u32)
                .collect(),
            false => spec.dealt,
        };
        if slot_of.len() != ranges || slot_of.iter().any(|slot| *slot >= spec.slots) {
            return plan_err!("a time-salted ASOF JOIN has ranges without a partition");
        }
        Ok(Self {
            keys,
            firsts,
            cuts,
            slots: spec.slots,
            slot_of,
        })
    }

    /// How many ranges there are of all keys that are cut.
    pub(crate) fn ranges(&self) -> usize {
        self.firsts.last().map_or(0, |ranges| *ranges as usize)
    }

    /// By key that is cut: the number of its first range, and where the others begin.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (usize, &[Place])> {
        let firsts = self.firsts.iter().map(|first| *first as usize);
        firsts.zip(self.cuts.iter().map(Vec::as_slice))
    }

    /// The slot of a range.
    pub(crate) fn slot(&self, range: usize) -> u32 {
        self.slot_of[range]
    }

    /// The ordinals of keys among those that are cut.
    pub(crate) fn ordinals(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        self.keys.lookup(keys, rows)
    }

    /// The range and the slot of each row. A time without a place on the line is in the first
    /// range of its key.
    pub(crate) fn spread(&self, batch: &SpreadBatch<'_>) -> Spread {
        match &batch.times.values {
            TimeValues::I64(times) => self.spread_typed(batch, times),
            TimeValues::I128(times) => self.spread_typed(batch, times),
            TimeValues::Rows(times) => self.spread_typed(batch, times),
        }
    }

    fn spread_typed<T: TimeColumn>(&self, batch: &SpreadBatch<'_>, times: &T) -> Spread {
        let range = |(row, ordinal): (usize, &u32)| {
            let Some(cuts) = self.cuts.get(*ordinal as usize) else {
                return UNCUT;
            };
            let begun = match batch.times.is_valid(row) {
                true => cuts.partition_point(|cut| T::is_from(times.value(row), cut)),
                false => 0,
            };
            self.firsts[*ordinal as usize] + begun as u32
        };
        let ranges: Vec<u32> = batch.ordinals.iter().enumerate().map(range).collect();
        let slot = |(range, hash): (&u32, &u64)| match *range {
            UNCUT => (hash % u64::from(self.slots)) as u32,
            range => self.slot(range as usize),
        };
        let slots = ranges.iter().zip(batch.hashes).map(slot).collect();
        Spread { ranges, slots }
    }
}

/// The slot whose turn it is.
///
/// Each turn of all begins one slot later, so that ranges at the same hour of several days are not all in one.
fn in_turn(turn: usize, slots: usize) -> usize {
    (turn + turn / slots) % slots
}

#[cfg(test)]
mod tests;
