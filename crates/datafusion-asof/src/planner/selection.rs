//! The strategy, chosen once, from statistics and options.
//!
//! [`select`] is a pure function of what is known; [`AsOfJoinSelection`] gathers that for
//! each join of a plan. It runs just before DataFusion adds exchanges and sorts, when the
//! inputs are final and nothing has been added for the wrong strategy yet.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, StatisticsArgs, StatisticsContext,
};

use crate::config::{AsOfOptions, StrategyOption};
use crate::exec::{AsOfJoinExec, AsOfStrategy, NEARLY, Skew, file_scan, shown_load};

/// The physical rule that chooses how each as-of join executes, by `asof.strategy` or from
/// the statistics and the order of its sides and the memory there is. `EXPLAIN` shows the choice with
/// its reason.
#[derive(Debug, Default, Clone, Copy)]
pub struct AsOfJoinSelection;

impl PhysicalOptimizerRule for AsOfJoinSelection {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let joins = count_joins(&plan)?;
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<AsOfJoinExec>() else {
                return Ok(Transformed::no(plan));
            };
            if join.strategy() == AsOfStrategy::TimeSalted {
                return Ok(Transformed::no(plan));
            }
            let known = Known::of(join, config, joins)?;
            let (strategy, reason) = select(&known);
            let streams = match strategy {
                AsOfStrategy::SortMerge => join.as_streams(joins, config)?,
                _ => None,
            };
            let chosen = match (strategy, join.skew(), streams) {
                (AsOfStrategy::TimeSalted, Ok(Some(skew)), _) => {
                    join.salted_by_skew(skew, known.partitions_fit(), reason)?
                }
                (_, _, Some(streams)) => join.merging_streams(streams, reason)?,
                _ => join
                    .with_strategy(strategy, reason)?
                    .with_scans_cut(config)?,
            };
            Ok(Transformed::yes(Arc::new(chosen) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "AsOfJoinSelection"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// So many joins may share the memory pool, as far as is known while one of them is planned.
const JOINS_OF_A_CHAIN: usize = 4;

/// Whether a join may be time-salted if enough is known of its skew.
pub(super) fn comes_into_question(join: &AsOfJoinExec, config: &ConfigOptions) -> Result<bool> {
    let options = AsOfOptions::of(config);
    let known = Known::of(join, config, JOINS_OF_A_CHAIN)?;
    let asked_for = match options.strategy {
        StrategyOption::TimeSalted => true,
        StrategyOption::Auto => {
            let merged = select(&known).0 == AsOfStrategy::SortMerge;
            known.partitions > 1 && merged && !known.streams
        }
        _ => false,
    };
    Ok(asked_for && known.hinders_salt().is_none())
}

/// How a join would be executed, alone in a plan, and why.
pub(super) fn choice(
    join: &AsOfJoinExec,
    config: &ConfigOptions,
) -> Result<(AsOfStrategy, String)> {
    Ok(select(&Known::of(join, config, 1)?))
}

fn count_joins(plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let mut joins = 0;
    plan.apply(|plan| {
        joins += usize::from(plan.is::<AsOfJoinExec>());
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(joins)
}

/// What the choice is made from.
#[derive(Debug, Clone)]
struct Known {
    strategy: StrategyOption,
    threshold: Option<usize>,
    /// The limit of the memory pool, if it has one and what is executed here takes from it.
    pool: Option<usize>,
    /// Every task that reads a broadcast side holds a copy of it.
    distributed: bool,
    /// How many as-of joins the plan has: they share the pool.
    joins: usize,
    left: Size,
    right: Size,
    /// Partitions that an exchange makes.
    partitions: usize,
    /// Tasks that read the right at a time, at most.
    readers: usize,
    /// Every partition of the right is in time order.
    right_in_order: bool,
    /// Both sides are one stream in time order, or can be read as one.
    streams: bool,
    /// [`AsOfJoinExec::allows`] it.
    allows_left: bool,
    hinders_salt: Option<&'static str>,
    /// Or what went wrong while it was looked for.
    skew: Result<Option<SkewOfKeys>, Arc<str>>,
    skew_threshold: f64,
}

/// What is known of the keys.
#[derive(Debug, Clone)]
struct SkewOfKeys {
    /// What one key holds at most, in partitions, or keys of one partition together.
    load: f64,
    /// The same of a salted join.
    rest: f64,
    can_be_cut: bool,
    shown: String,
}

impl SkewOfKeys {
    fn of(skew: &Skew) -> Self {
        Self {
            load: skew.crowd.map_or(skew.load, |crowd| crowd.load),
            rest: skew.crowd.map_or(skew.rest, |crowd| crowd.rest),
            can_be_cut: skew.can_be_cut(),
            shown: skew.to_string(),
        }
    }
}

impl Known {
    fn of(join: &AsOfJoinExec, config: &ConfigOptions, joins: usize) -> Result<Self> {
        let options = AsOfOptions::of(config);
        Ok(Self {
            strategy: options.strategy,
            threshold: options.broadcast_threshold,
            pool: join.memory_limit().filter(|_| !join.is_distributed()),
            distributed: join.is_distributed(),
            joins,
            left: size_of_side(join.left())?,
            right: size_of_side(join.right())?,
            partitions: config.execution.target_partitions.max(1),
            readers: join.right_readers(config.execution.target_partitions.max(1)),
            right_in_order: join.right_in_time_order(),
            streams: join.as_streams(joins, config)?.is_some(),
            allows_left: join.allows(AsOfStrategy::BroadcastLeft),
            hinders_salt: join.hinders_salt(),
            skew: match join.skew() {
                Ok(skew) => Ok(skew.as_deref().map(SkewOfKeys::of)),
                Err(error) => Err(Arc::clone(error)),
            },
            skew_threshold: options.skew_threshold,
        })
    }

    /// Whether each partition of a time-salted join may hold its right rows, indexed, and the
    /// pool those of all of them: then nothing is sorted.
    fn partitions_fit(&self) -> bool {
        let within = |bytes: Option<usize>, limit: Option<usize>| match (bytes, limit) {
            (_, None) => true,
            (bytes, Some(limit)) => bytes.is_some_and(|bytes| bytes <= limit),
        };
        let of_each = self
            .right
            .bytes
            .map(|bytes| bytes.div_ceil(self.partitions));
        within(of_each, self.threshold) && within(self.right.bytes, self.share())
    }

    /// Why the join cannot be salted, if it cannot.
    fn hinders_salt(&self) -> Option<&'static str> {
        // What a right side carries is known at its end; all that is still to come of a left one would
        // be in its last ranges.
        let endless = match (self.left.endless, self.right.endless) {
            (_, true) => Some("the right side has no end"),
            (true, _) => Some("the left side has no end"),
            _ => None,
        };
        self.hinders_salt.or(endless)
    }

    /// A left side that is indexed waits for the end of both.
    fn may_index_left(&self) -> bool {
        self.allows_left && !self.left.endless && !self.right.endless
    }

    /// What the pool gives to one join: the rest of the plan wants memory too.
    fn share(&self) -> Option<usize> {
        self.pool.map(|pool| pool / 2 / self.joins.max(1))
    }

    /// Bytes that an index of the left takes beside itself: candidates and choices of each
    /// row, and the right rows that they are, of which, where memory has a limit, about as many may be kept
    /// in vain.
    fn beside_left(&self) -> Option<usize> {
        const CANDIDATE: usize = 44;
        const CHOICE: usize = 8;
        let left = self.left.rows?;
        let candidates = left.saturating_mul(self.readers);
        let kept = candidates.min(self.right.rows.unwrap_or(usize::MAX));
        let kept = kept.saturating_mul(2 * self.right.row);
        let candidates = candidates.saturating_mul(CANDIDATE);
        Some(
            candidates
                .saturating_add(left * CHOICE)
                .saturating_add(kept),
        )
    }

    /// What lets the left side be indexed, if anything does.
    fn left_fits(&self, limit: Option<&(usize, String)>) -> Option<String> {
        let fits = Some(self.left).filter(|_| self.may_index_left());
        let fits = fit(fits?, limit)?;
        let Some(share) = self.share() else {
            return Some(fits);
        };
        let (index, beside) = (self.left.bytes?, self.beside_left()?);
        let both = index.saturating_add(beside);
        let (index, beside) = (shown_bytes(index), shown_bytes(beside));
        (both <= share).then(|| {
            format!(
                "indexed about {index}, its candidates {beside}, within {}",
                shown_share(share)
            )
        })
    }
}

/// One side.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    rows: Option<usize>,
    /// In memory, with an index.
    bytes: Option<usize>,
    /// Bytes of a row, without an index.
    row: usize,
    endless: bool,
}

impl Size {
    /// Whether a side is so much smaller than the other that it is indexed even if both are in time
    /// order: it tells what of the other need not be read, and that stays in its partitions.
    fn is_small_beside(self, other: Self) -> bool {
        const SMALL: usize = 16;
        match (self.rows, other.rows) {
            (Some(rows), Some(others)) => rows.saturating_mul(SMALL) <= others,
            _ => false,
        }
    }
}

/// Why both sides are merged as they come.
const IN_ORDER: &str = "both sides come in time order";

/// Nanoseconds of one core for each row, measured (`benches/README.md`): what the choice
/// between the indexes is made by. Only their ratios matter.
mod cost {
    /// To read a row into an index, in time order and not.
    pub(super) const INDEX_IN_ORDER: f64 = 35.0;
    pub(super) const INDEX: f64 = 60.0;
    /// To look a left row up in an index of the right.
    pub(super) const PROBE: f64 = 60.0;
    /// To offer a right row to an index of the left, in time order, and not; to gather and merge it,
    /// if the index is too large for the cache.
    pub(super) const OFFER_IN_ORDER: f64 = 20.0;
    pub(super) const OFFER_CACHED: f64 = 30.0;
    pub(super) const GATHER: f64 = 45.0;
    /// Left rows of which an index stays in the cache.
    pub(super) const CACHED: usize = 100_000;
    /// To give a left row of an index its match.
    pub(super) const CHOOSE: f64 = 40.0;
    /// To hold a byte that was not held before.
    pub(super) const HELD_BYTE: f64 = 0.3;
}

/// The strategy and the reason for it.
fn select(known: &Known) -> (AsOfStrategy, String) {
    use AsOfStrategy::{Broadcast, BroadcastLeft, SortMerge};
    match known.strategy {
        StrategyOption::Broadcast => return (Broadcast, "asof.strategy = broadcast".into()),
        StrategyOption::BroadcastLeft if known.may_index_left() => {
            return (BroadcastLeft, "asof.strategy = broadcast_left".into());
        }
        StrategyOption::BroadcastLeft => {
            let (strategy, why) = match known {
                _ if known.right.endless => (SortMerge, "the right side has no end"),
                _ if known.left.endless => (Broadcast, "the left side has no end"),
                _ if known.distributed => (Broadcast, "no task of a cluster sees all of the right"),
                _ => (Broadcast, "this join does not allow it"),
            };
            let reason = format!("not asof.strategy = broadcast_left: {why}");
            return (strategy, reason);
        }
        StrategyOption::SortMerge => {
            let reason = "asof.strategy = sort_merge";
            return match known.streams {
                true => (SortMerge, format!("{reason}; {IN_ORDER}")),
                false => (SortMerge, reason.into()),
            };
        }
        StrategyOption::TimeSalted => return salted_if_possible(known),
        StrategyOption::Auto => {}
    }
    let (strategy, reason) = match by_size(known) {
        Some(chosen) => chosen,
        None => return salted_if_skewed(known, too_large(known, limit(known))),
    };
    // What was looked at is shown, though it turned out not to matter.
    match &known.skew {
        Ok(Some(skew)) => (strategy, format!("{reason}; {}", skew.shown)),
        Ok(None) => (strategy, reason),
        Err(error) => (strategy, format!("{reason}; {NO_SAMPLE}: {error}")),
    }
}

/// Why nothing is known of keys and times, before what went wrong.
const NO_SAMPLE: &str = "no sample could be taken";

/// What is chosen where a side fits to be indexed, or both are to be merged as they come.
fn by_size(known: &Known) -> Option<(AsOfStrategy, String)> {
    use AsOfStrategy::{Broadcast, BroadcastLeft, SortMerge};
    let limit = limit(known);
    let left = known.left_fits(limit.as_ref());
    let right = fit(known.right, limit.as_ref());
    let left_is_small = left.is_some() && known.left.is_small_beside(known.right);
    let right_is_small = right.is_some() && known.right.is_small_beside(known.left);
    if known.streams && !left_is_small && !right_is_small {
        return Some((SortMerge, IN_ORDER.into()));
    }
    Some(match (left, right) {
        (Some(left), None) => (BroadcastLeft, format!("left side {left}")),
        (Some(left), Some(_)) if left_is_cheaper(known) => (
            BroadcastLeft,
            format!("left side {left}, cheaper than the right"),
        ),
        (_, Some(right)) => (Broadcast, format!("right side {right}")),
        (None, None) => return None,
    })
}

fn salted_if_possible(known: &Known) -> (AsOfStrategy, String) {
    let asked = "asof.strategy = time_salted";
    if let Some(why) = known.hinders_salt() {
        return (AsOfStrategy::SortMerge, format!("not {asked}: {why}"));
    }
    match &known.skew {
        Ok(None) => (
            AsOfStrategy::SortMerge,
            format!("{asked} finds nothing known of keys and times"),
        ),
        Err(error) => (
            AsOfStrategy::SortMerge,
            format!("not {asked}: {NO_SAMPLE}: {error}"),
        ),
        Ok(Some(skew)) if !skew.can_be_cut => (
            AsOfStrategy::SortMerge,
            format!("{asked} finds nothing to cut: {}", skew.shown),
        ),
        Ok(Some(skew)) => (AsOfStrategy::TimeSalted, format!("{asked}; {}", skew.shown)),
    }
}

/// A join is salted if what is then one partition's is no more than this of what was.
const WORTH_A_SALT: f64 = 0.75;

/// What makes a join skewed under `asof.skew_threshold`.
pub(super) fn much(threshold: f64, partitions: usize) -> f64 {
    // One key cannot hold more than all partitions: of few, halfway there is much.
    threshold.min((1.0 + partitions as f64) / 2.0)
}

/// For sides that are both too large to be held by one.
fn salted_if_skewed(known: &Known, reason: String) -> (AsOfStrategy, String) {
    match &known.skew {
        Ok(Some(skew)) => {
            let is_skewed = skew.load >= NEARLY * much(known.skew_threshold, known.partitions);
            let reason = format!("{reason}; {}", skew.shown);
            if !is_skewed || known.hinders_salt().is_some() {
                return (AsOfStrategy::SortMerge, reason);
            }
            match skew.can_be_cut && skew.rest <= WORTH_A_SALT * skew.load {
                true => (AsOfStrategy::TimeSalted, reason),
                // Times are too few, or most rows have none.
                false => {
                    let rest = shown_load(skew.rest);
                    let rest = format!("{rest} of them would stay together");
                    (AsOfStrategy::SortMerge, format!("{reason}, {rest}"))
                }
            }
        }
        Ok(None) => (AsOfStrategy::SortMerge, reason),
        Err(error) => (
            AsOfStrategy::SortMerge,
            format!("{reason}; {NO_SAMPLE}: {error}"),
        ),
    }
}

/// What a broadcast may take on a cluster, if nothing else is said: every task makes it anew.
const DISTRIBUTED_LIMIT: usize = 100 << 20;

/// How many bytes an index may take, and where that is said; `None` for any size.
fn limit(known: &Known) -> Option<(usize, String)> {
    match (known.threshold, known.share()) {
        (Some(threshold), _) => {
            let shown = format!("asof.broadcast_threshold = {}", shown_bytes(threshold));
            Some((threshold, shown))
        }
        (None, _) if known.distributed => {
            let limit = shown_bytes(DISTRIBUTED_LIMIT);
            let shown = format!("the {limit} that each task of a cluster may be sent");
            Some((DISTRIBUTED_LIMIT, shown))
        }
        (None, Some(share)) => Some((share, shown_share(share))),
        (None, None) => None,
    }
}

fn shown_share(share: usize) -> String {
    format!("the {} it may have of the memory pool", shown_bytes(share))
}

/// What makes a side fit, if it does.
fn fit(side: Size, limit: Option<&(usize, String)>) -> Option<String> {
    match (side.bytes, limit) {
        _ if side.endless => None,
        (None, None) => Some("of unknown size, memory pool without limit".to_owned()),
        (Some(bytes), None) => {
            let bytes = shown_bytes(bytes);
            Some(format!("indexed about {bytes}, memory pool without limit"))
        }
        (Some(bytes), Some((limit, what))) if bytes <= *limit => Some(format!(
            "indexed about {}, within {what}",
            shown_bytes(bytes)
        )),
        _ => None,
    }
}

fn too_large(known: &Known, limit: Option<(usize, String)>) -> String {
    match (known.right.bytes, limit) {
        _ if known.right.endless => "the right side has no end".to_owned(),
        (Some(bytes), Some((limit, what))) => {
            let (right, left) = (shown_bytes(bytes), left_too_large(known, limit));
            format!("right side indexed about {right}, above {what}{left}")
        }
        _ => "the size of the right side is not known".to_owned(),
    }
}

/// What keeps the left side from being indexed instead, if the join would allow it.
fn left_too_large(known: &Known, limit: usize) -> String {
    let Some(bytes) = known.left.bytes.filter(|_| known.may_index_left()) else {
        return String::new();
    };
    let index = shown_bytes(bytes);
    match (known.share(), known.beside_left()) {
        (Some(share), Some(beside)) if bytes <= limit => {
            let beside = shown_bytes(beside);
            let above = match known.threshold {
                Some(_) => shown_share(share),
                None => "it too".to_owned(),
            };
            format!("; left side indexed about {index}, its candidates {beside}, above {above}")
        }
        (_, None) if bytes <= limit => "; the rows of the left side are not known".to_owned(),
        _ => format!("; left side indexed about {index}, above it too"),
    }
}

/// Whether it takes less time to index the left than the right.
fn left_is_cheaper(known: &Known) -> bool {
    let (Some(left), Some(right)) = (known.left.rows, known.right.rows) else {
        return false;
    };
    let offer = match known.right_in_order {
        true => cost::OFFER_IN_ORDER,
        false if left <= cost::CACHED => cost::OFFER_CACHED,
        false => cost::GATHER,
    };
    let index_right = match known.right_in_order {
        true => cost::INDEX_IN_ORDER,
        false => cost::INDEX,
    };
    let held = |side: Size| side.bytes.unwrap_or(0) as f64 * cost::HELD_BYTE;
    let (left, right) = (left as f64, right as f64);
    let by_left = left * (cost::INDEX + cost::CHOOSE) + held(known.left) + right * offer;
    let by_right = right * index_right + held(known.right) + left * cost::PROBE;
    by_left < by_right
}

/// Bytes as `EXPLAIN` shows them.
pub(super) fn shown_bytes(bytes: usize) -> String {
    let units = [("GB", 30), ("MB", 20), ("KB", 10)];
    match units.iter().find(|(_, shift)| bytes >= 1 << shift) {
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

/// About how large a side is.
fn size_of_side(side: &Arc<dyn ExecutionPlan>) -> Result<Size> {
    /// Keys, times and row numbers, twice while they are put in order.
    const INDEX_ROW: usize = 44;
    /// What that is beside payload of which the rows are not known.
    const WITH_INDEX: usize = 3;
    let statistics = StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new())?;
    let rows = statistics.num_rows.get_value().copied();
    let row = row_bytes(&side.schema(), &statistics);
    let bytes = match rows {
        Some(rows) => Some(rows.saturating_mul(row + INDEX_ROW)),
        None => file_bytes(side).map(|bytes| bytes.saturating_mul(WITH_INDEX)),
    };
    Ok(Size {
        rows,
        bytes,
        row,
        endless: side.boundedness().is_unbounded(),
    })
}

fn row_bytes(schema: &Schema, statistics: &Statistics) -> usize {
    /// A view, and now and then a longer string behind it.
    const VARIABLE: usize = 24;
    let columns = schema.fields().iter().enumerate();
    columns
        .map(|(column, field)| match field.data_type() {
            DataType::Boolean => 1,
            DataType::Dictionary(code, _) => code.primitive_width().unwrap_or(VARIABLE),
            fixed => match (fixed.primitive_width(), statistics.num_rows.get_value()) {
                (Some(width), _) => width,
                (None, Some(rows)) if *rows > 0 => {
                    let bytes = statistics.column_statistics.get(column);
                    let bytes = bytes.and_then(|c| c.byte_size.get_value());
                    bytes.map_or(VARIABLE, |bytes| bytes / rows)
                }
                _ => VARIABLE,
            },
        })
        .sum()
}

/// About the size of the files under a plan of which the rows are not known, uncompressed.
fn file_bytes(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    /// Formats that are stored as they are; others are compressed, most of them well.
    const PLAIN: [&str; 6] = ["csv", "tsv", "txt", "json", "ndjson", "jsonl"];
    const COMPRESSED_TO: u64 = 8;
    if let Some(files) = file_scan(plan) {
        let groups = files.file_groups.iter();
        let bytes: u64 = groups
            .flat_map(|group| group.iter())
            .map(|file| {
                let stored = match &file.range {
                    Some(range) => (range.end - range.start).unsigned_abs(),
                    None => file.object_meta.size,
                };
                let extension = file.object_meta.location.extension();
                match extension.is_some_and(|extension| PLAIN.contains(&extension)) {
                    true => stored,
                    false => stored.saturating_mul(COMPRESSED_TO),
                }
            })
            .sum();
        return usize::try_from(bytes).ok();
    }
    match plan.children().as_slice() {
        // Mostly rows pass or are dropped.
        [input] => file_bytes(input),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
