//! What is known of a join's skew before it is executed.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::interleave;
use datafusion::common::Result;

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
        });
        let cut: Vec<&LoadedKey> = loaded.iter().filter(|key| !key.is_null).collect();
        Ok(Skew {
            load: loaded.first().map_or(0.0, |key| key.load),
            rest: loaded.iter().map(|key| key.rest).fold(0.0, f64::max),
            held: held.collect(),
            rows: sides.iter().map(|side| side.stands_for).sum(),
            plan: Arc::new(SaltPlan::try_new(
                &matching.key_types,
                values(&cut)?,
                cut.iter().map(|key| key.cuts.clone()).collect(),
                limits.partitions,
            )?),
            keys: values(&loaded.iter().collect::<Vec<_>>())?,
            source,
        })
    }

    /// The same join, of which the skew is known.
    pub(crate) fn with_skew(mut self, skew: Option<Arc<Skew>>) -> Self {
        self.skew = skew;
        self
    }

    /// What [`Self::with_skew`] said.
    pub(crate) fn skew(&self) -> Option<&Arc<Skew>> {
        self.skew.as_ref()
    }
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
