//! What is known of a join's skew, found out where it matters.
//!
//! A sample costs a little, so it is taken only where a time-salted join comes into question:
//! where it is asked for, or where neither side can be broadcast. Statistics come first where they
//! tell the key of each of several files, as of Hive partitions; without a sample they tell whether
//! one key is all there is, and from when to when.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{Array, new_empty_array};
use datafusion::arrow::compute::cast;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};
use futures::future::try_join;

use super::sample::{Sample, sample};
use super::selection::{comes_into_question, shown_bytes};
use super::stated::{Stated, stated};
use crate::config::AsOfOptions;
use crate::exec::{AsOfJoinExec, SampledSide, Skew, SkewLimits};
use crate::spec::AsOfSpec;

/// A key is cut if it holds this share of what makes a join skewed.
const CUT_FROM: f64 = 0.25;

/// The skew of a join of two inputs, if there is anything to know it from.
pub(super) async fn known_skew(
    join: &AsOfJoinExec,
    inputs: [&Arc<dyn ExecutionPlan>; 2],
    session: &dyn Session,
) -> Result<Option<Arc<Skew>>> {
    let config = session.config_options();
    let options = AsOfOptions::of(config);
    if !comes_into_question(join, config)? {
        return Ok(None);
    }
    let limits = limits(config, &options);
    // A guess at skew is nothing to fail for.
    let stated = stated_skew(join, inputs, limits).unwrap_or(None);
    if let Some(Stating::EachFile(skew)) = stated {
        return Ok(Some(skew));
    }
    // What is wrong with an input will be found when the query runs, if it does.
    let sampled = sampled_skew(join, inputs, limits, &options, session).await;
    Ok(sampled
        .unwrap_or(None)
        .or_else(|| stated.map(Stating::skew)))
}

/// What is cut under the options of a session.
pub(super) fn limits(config: &ConfigOptions, options: &AsOfOptions) -> SkewLimits {
    SkewLimits {
        partitions: config.execution.target_partitions,
        cut_from: options.skew_threshold * CUT_FROM,
        ranges: options.salt_ranges,
    }
}

/// The skew that statistics state, and of what.
pub(super) enum Stating {
    /// Of each of several files, so that no sample would know better how much a key holds.
    EachFile(Arc<Skew>),
    AllTogether(Arc<Skew>),
}

impl Stating {
    pub(super) fn skew(self) -> Arc<Skew> {
        match self {
            Self::EachFile(skew) | Self::AllTogether(skew) => skew,
        }
    }
}

/// The skew that the statistics of the inputs state, if they say enough of one of them.
pub(super) fn stated_skew(
    join: &AsOfJoinExec,
    [left, right]: [&Arc<dyn ExecutionPlan>; 2],
    limits: SkewLimits,
) -> Result<Option<Stating>> {
    let [of_left, of_right] = expressions(join.spec());
    let sides = [stated(left, &of_left)?, stated(right, &of_right)?];
    let says_enough = |stated: &Stated| !stated.side.time.is_empty();
    if !sides.iter().any(says_enough) {
        return Ok(None);
    }
    let source = "statistics".to_owned();
    let skew = join.skew_of(limits, [&sides[0].side, &sides[1].side], source)?;
    let skew = Arc::new(skew);
    let each_file = sides.iter().all(says_enough) && sides.iter().any(|side| side.files > 1);
    Ok(Some(match each_file {
        true => Stating::EachFile(skew),
        false => Stating::AllTogether(skew),
    }))
}

/// The skew that samples of the inputs show, or of the one that can be sampled; `None` if neither can.
pub(super) async fn sampled_skew(
    join: &AsOfJoinExec,
    inputs: [&Arc<dyn ExecutionPlan>; 2],
    limits: SkewLimits,
    options: &AsOfOptions,
    session: &dyn Session,
) -> Result<Option<Arc<Skew>>> {
    if options.skew_sample_rows == 0 {
        return Ok(None);
    }
    let started = Instant::now();
    let context = session.task_ctx();
    let [left, right] = inputs;
    let [of_left, of_right] = expressions(join.spec());
    let rows = options.skew_sample_rows;
    let (left_sample, right_sample) = try_join(
        sample(left, &of_left, rows, &context),
        sample(right, &of_right, rows, &context),
    )
    .await?;
    let samples = [&left_sample, &right_sample];
    if samples.iter().all(|sample| sample.is_none()) {
        return Ok(None);
    }
    let taken = samples.into_iter().flatten();
    let rows: usize = taken.clone().map(|sample| sample.rows).sum();
    let bytes: usize = taken.map(|sample| sample.bytes).sum();
    let left = sampled_side(left_sample, left, &of_left)?;
    let right = sampled_side(right_sample, right, &of_right)?;
    let millis = started.elapsed().as_millis();
    // Not all formats count what they read.
    let cost = match bytes {
        0 => format!("read in {millis} ms"),
        _ => format!("{} read in {millis} ms", shown_bytes(bytes)),
    };
    let source = format!("a sample of {rows} rows ({cost})");
    let skew = join.skew_of(limits, [&left, &right], source)?;
    Ok(Some(Arc::new(skew)))
}

/// Keys and time of each side.
fn expressions(spec: &AsOfSpec<PhysicalExprRef>) -> [Vec<&PhysicalExprRef>; 2] {
    let left = spec.on.iter().map(|key| &key.left);
    let right = spec.on.iter().map(|key| &key.right);
    let time = &spec.match_condition;
    [
        left.chain([&time.left]).collect(),
        right.chain([&time.right]).collect(),
    ]
}

/// A side as its sample has it, or one that stands for rows of which nothing is known.
fn sampled_side(
    sample: Option<Sample>,
    input: &Arc<dyn ExecutionPlan>,
    exprs: &[&PhysicalExprRef],
) -> Result<SampledSide> {
    let statistics = StatisticsContext::new().compute(input.as_ref(), &StatisticsArgs::new())?;
    let rows = statistics.num_rows;
    let schema = input.schema();
    let types = exprs.iter().map(|expr| expr.data_type(&schema));
    let types = types.collect::<Result<Vec<_>>>()?;
    let greatest = exprs.last().and_then(|time| {
        let time = time.downcast_ref::<Column>()?;
        let time = statistics.column_statistics.get(time.index())?;
        let greatest = time.max_value.get_value()?.to_array().ok()?;
        cast(&greatest, types.last()?).ok()
    });
    let (mut columns, blocks) = match sample {
        Some(sample) => (sample.columns, sample.blocks),
        None => (types.iter().map(new_empty_array).collect(), vec![]),
    };
    let Some(time) = columns.pop() else {
        return internal_err!("an ASOF JOIN without as-of values");
    };
    Ok(SampledSide {
        stands_for: rows.get_value().copied().unwrap_or(0).max(time.len()) as f64,
        is_whole: rows == Precision::Exact(time.len()),
        keys: columns,
        time,
        blocks,
        greatest,
    })
}
