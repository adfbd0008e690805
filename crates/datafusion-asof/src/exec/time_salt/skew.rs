//! What is known of a join's skew before it is executed.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::interleave;
use datafusion::common::Result;
use datafusion::common::hash_utils::create_hashes;
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;

use super::plan::SaltPlan;
use crate::exec::asof_join::AsOfJoinExec;
use crate::kernel::skew::{LoadedKey, SampledSide, SkewSpec, loaded_keys};

/// How a join would be cut, and what that is known from.
#[derive(Debug)]
pub(crate) struct Skew {
    /// The load of the key that holds most: 1 is what each partition would hold if all held
    /// the same.
    pub load: f64,
    /// What would be the greatest load of what salting keeps together.
    pub rest: f64,
    /// Keys that make the join skewed together where none does alone.
    pub crowd: Option<Crowd>,
    pub source: String,
    /// Of both sides.
    pub rows: f64,
    /// The keys that hold much, column by column, the most loaded first. One with a NULL that equals
    /// nothing is a key here, because all its rows are in one partition if they are not salted.
    pub keys: Vec<ArrayRef>,
    /// By key.
    pub held: Vec<HeldByKey>,
    pub(super) plan: Arc<SaltPlan>,
}

/// The skew of a join, if anything is known of it, or what went wrong while it was looked for.
pub(crate) type KnownSkew = Result<Option<Arc<Skew>>, Arc<str>>;

/// What one key holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldByKey {
    /// Of all rows.
    pub share: f64,
    /// For certain, in partitions.
    pub load: f64,
    /// What of the load stays together.
    pub rest: f64,
    /// Whether it has a NULL that equals nothing.
    pub is_null: bool,
    /// Of time, into which it is to be cut.
    pub ranges: usize,
    /// As many as its times let it be cut into.
    pub ranges_in_time: usize,
}

/// Keys that hold much and that an exchange by key brings to one partition: where there are few keys, their hashes
/// leave others empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Crowd {
    pub keys: usize,
    /// What they hold together.
    pub load: f64,
    /// What of it stays together if the join is salted.
    pub rest: f64,
}

/// Loads are sums of the same floats in any order.
pub(crate) const NEARLY: f64 = 1.0 - 1e-9;

/// A load as `EXPLAIN` shows it: never more than it is, so that it is not read as one that reaches a threshold.
pub(crate) fn shown_load(load: f64) -> String {
    format!("{:.1}", (10.0 * load / NEARLY).floor() / 10.0)
}

impl Skew {
    /// Whether there is anything to be spread.
    pub(crate) fn can_be_cut(&self) -> bool {
        let mut held = self.held.iter();
        held.any(|key| key.rest < NEARLY * key.load) || self.plan.cut.ranges() > self.plan.hot_keys
    }
}

impl Display for Skew {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { load, source, .. } = self;
        let shown = shown_load(*load);
        if let Some(Crowd { keys, load, .. }) = &self.crowd {
            let shown = shown_load(*load);
            return write!(f, "{keys} keys of one partition hold {shown} by {source}");
        }
        match self.held.first() {
            Some(_) if *load > 0.0 && self.keys.is_empty() => {
                write!(f, "without a key all is one partition's by {source}")
            }
            Some(key) if *load > 0.0 && key.is_null => {
                write!(f, "NULL keys hold {shown} partitions by {source}")
            }
            Some(_) if *load > 0.0 => write!(f, "one key holds {shown} partitions by {source}"),
            _ => write!(f, "no key holds much by {source}"),
        }
    }
}

/// What decides about the skew of a join.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SkewLimits {
    pub partitions: usize,
    /// What of one partition makes a join skewed.
    pub skewed_from: f64,
    /// Keys that hold as much are cut if it is.
    pub cut_from: f64,
    pub ranges: Option<usize>,
}

impl AsOfJoinExec {
    /// The skew of the join, judged by samples of its sides, and by others of their times if such are given.
    pub(crate) fn skew_of(
        &self,
        limits: SkewLimits,
        sides: [&SampledSide; 2],
        times: Option<[&SampledSide; 2]>,
        source: String,
    ) -> Result<Skew> {
        let matching = self.matching();
        let spec = SkewSpec {
            domain: &matching.domain,
            key_types: &matching.key_types,
            partitions: limits.partitions,
            cut_from: limits.cut_from,
            ranges: limits.ranges,
            // With nothing beside key and time they are all the same.
            spreads_without_time: self.left().schema().fields().len() > self.spec().on.len() + 1,
        };
        let loaded = loaded_keys(&spec, sides, times)?;
        let values = |keys: &[&LoadedKey]| -> Result<Vec<ArrayRef>> {
            let column = |column: usize| keys_of(keys, sides.map(|side| &side.keys[column]));
            (0..matching.key_types.len()).map(column).collect()
        };
        let held = loaded.iter().map(|key| HeldByKey {
            share: key.share,
            load: key.load,
            rest: key.rest,
            is_null: key.is_null,
            ranges: key.ranges,
            ranges_in_time: key.cuts.len() + 1,
        });
        let held: Vec<HeldByKey> = held.collect();
        let cut: Vec<&LoadedKey> = loaded.iter().filter(|key| !key.is_null).collect();
        let weights: Vec<f64> = cut.iter().flat_map(|key| &key.weights).copied().collect();
        let load = loaded.first().map_or(0.0, |key| key.load);
        let keys = values(&loaded.iter().collect::<Vec<_>>())?;
        let is_skewed = |load| load >= NEARLY * limits.skewed_from;
        let crowd = match is_skewed(load) {
            true => None,
            false => crowd(&keys, &held, &limits)?.filter(|crowd| is_skewed(crowd.load)),
        };
        Ok(Skew {
            load,
            crowd,
            rest: loaded.iter().map(|key| key.rest).fold(0.0, f64::max),
            held,
            rows: sides.iter().map(|side| side.stands_for).sum(),
            plan: Arc::new(SaltPlan::try_new(
                &matching.key_types,
                values(&cut)?,
                (cut.iter().map(|key| key.cuts.clone()).collect(), &weights),
                limits.partitions,
            )?),
            keys,
            source,
        })
    }

    /// The same join, with what is known of its skew.
    pub(crate) fn with_skew(mut self, skew: KnownSkew) -> Self {
        self.skew = skew;
        self
    }

    /// What [`Self::with_skew`] said.
    pub(crate) fn skew(&self) -> &KnownSkew {
        &self.skew
    }
}

/// What the partition has that an exchange by key brings most to.
fn crowd(keys: &[ArrayRef], held: &[HeldByKey], limits: &SkewLimits) -> Result<Option<Crowd>> {
    if keys.is_empty() {
        return Ok(None);
    }
    let mut hashes = vec![0; held.len()];
    create_hashes(keys, REPARTITION_RANDOM_STATE.random_state(), &mut hashes)?;
    // In an order of its own, so that a plan is always the same.
    let mut crowds: BTreeMap<u64, Crowd> = BTreeMap::new();
    let keys = hashes.iter().zip(held);
    for (hash, key) in keys.filter(|(_, key)| key.load >= limits.cut_from) {
        let crowd = crowds.entry(hash % limits.partitions as u64).or_default();
        crowd.keys += 1;
        crowd.load += key.load;
        crowd.rest += key.rest;
    }
    let crowds = crowds.into_values();
    Ok(crowds.max_by(|a, b| a.load.total_cmp(&b.load)))
}

/// One column of the keys.
fn keys_of(loaded: &[&LoadedKey], [left, right]: [&ArrayRef; 2]) -> Result<ArrayRef> {
    let columns: [&dyn Array; 2] = [left, right];
    let rows = loaded.iter().map(|key| {
        let (is_right, row) = key.example;
        (usize::from(is_right), row)
    });
    Ok(interleave(&columns, &rows.collect::<Vec<_>>())?)
}
