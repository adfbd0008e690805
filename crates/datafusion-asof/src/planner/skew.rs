//! What is known of a join's skew, found out where it matters.
//!
//! A sample costs a little, so it is taken only where a time-salted join comes into question:
//! where it is asked for, or where neither side can be broadcast. Where statistics
//! tell the key of each of several files, as of Hive partitions, they know better than a sample how much
//! each key holds, and the sample tells its times. Without a sample statistics tell whether
//! one key is all there is, and from when to when.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{Array, new_empty_array};
use datafusion::arrow::compute::cast;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, StatisticsContext};
use datafusion::scalar::ScalarValue;
use futures::future::try_join;

use super::sample::{Sample, sample};
use super::selection::{comes_into_question, much, shown_bytes};
use super::stated::{Stated, stated};
use crate::config::AsOfOptions;
use crate::exec::{AsOfJoinExec, KnownSkew, SampledSide, Skew, SkewLimits};
use crate::spec::AsOfSpec;

/// A key is cut if it holds this share of what makes a join skewed.
const CUT_FROM: f64 = 0.25;

/// The skew of a join of two inputs, if there is anything to know it from and it matters.
pub(super) async fn known_skew(
    join: &AsOfJoinExec,
    inputs: [&Arc<dyn ExecutionPlan>; 2],
    session: &dyn Session,
) -> Result<KnownSkew> {
    let config = session.config_options();
    let options = AsOfOptions::of(config);
    if !comes_into_question(join, config)? {
        return Ok(Ok(None));
    }
    let limits = limits(config, &options);
    // What is wrong with an input will be found when the query runs, if it does; and a guess at skew is
    // nothing to fail for.
    let skew = skew(join, inputs, limits, &options, session).await;
    Ok(skew.map_err(|error| first_line(&error).into()))
}

/// An error in one line, without where in DataFusion it arose.
fn first_line(error: &DataFusionError) -> String {
    let error = error.strip_backtrace();
    error.lines().next().unwrap_or_default().to_owned()
}

/// The skew of a join of two inputs, whether it matters or not; `None` if nothing is known of it.
pub(super) async fn skew(
    join: &AsOfJoinExec,
    inputs: [&Arc<dyn ExecutionPlan>; 2],
    limits: SkewLimits,
    options: &AsOfOptions,
    session: &dyn Session,
) -> Result<Option<Arc<Skew>>> {
    let stated = stated_sides(join, inputs);
    let sampled = sampled_sides(join, inputs, options, session).await;
    let skew = match (stated, sampled) {
        (Ok(Some(stated)), Ok(Some(sampled))) if stated.each_file => {
            let source = format!("statistics and {}", sampled.source);
            join.skew_of(limits, stated.sides(), Some(sampled.sides()), source)?
        }
        (_, Ok(Some(sampled))) => {
            join.skew_of(limits, sampled.sides(), None, sampled.source.clone())?
        }
        (Ok(Some(stated)), sampled) => {
            let source = match sampled {
                Err(error) => format!(
                    "statistics (no sample could be taken: {})",
                    first_line(&error)
                ),
                Ok(_) => "statistics".to_owned(),
            };
            join.skew_of(limits, stated.sides(), None, source)?
        }
        (_, sampled) => return sampled.map(|_| None),
    };
    Ok(Some(Arc::new(skew)))
}

/// What is cut under the options of a session.
pub(super) fn limits(config: &ConfigOptions, options: &AsOfOptions) -> SkewLimits {
    let partitions = config.execution.target_partitions.max(1);
    let skewed_from = much(options.skew_threshold, partitions);
    SkewLimits {
        partitions,
        skewed_from,
        cut_from: skewed_from * CUT_FROM,
        ranges: options.salt_ranges,
    }
}

/// What statistics say of both sides.
struct StatedSides {
    sides: [SampledSide; 2],
    /// Whether they say it of each of several files, so that no sample would know better how much a key holds.
    each_file: bool,
}

impl StatedSides {
    fn sides(&self) -> [&SampledSide; 2] {
        self.sides.each_ref()
    }
}

/// What statistics say of both sides, if they say enough of one of them.
fn stated_sides(
    join: &AsOfJoinExec,
    [left, right]: [&Arc<dyn ExecutionPlan>; 2],
) -> Result<Option<StatedSides>> {
    let [of_left, of_right] = expressions(join.spec());
    let sides = [stated(left, &of_left)?, stated(right, &of_right)?];
    let says_enough = |stated: &Stated| !stated.side.time.is_empty();
    if !sides.iter().any(says_enough) {
        return Ok(None);
    }
    let each_file = sides.iter().all(says_enough) && sides.iter().any(|side| side.files > 1);
    Ok(Some(StatedSides {
        sides: sides.map(|stated| stated.side),
        each_file,
    }))
}

/// Samples of both sides.
struct SampledSides {
    sides: [SampledSide; 2],
    source: String,
}

impl SampledSides {
    fn sides(&self) -> [&SampledSide; 2] {
        self.sides.each_ref()
    }
}

/// Samples of the inputs, or of the one that can be sampled; `None` if neither can.
async fn sampled_sides(
    join: &AsOfJoinExec,
    inputs: [&Arc<dyn ExecutionPlan>; 2],
    options: &AsOfOptions,
    session: &dyn Session,
) -> Result<Option<SampledSides>> {
    if options.skew_sample_rows == 0 {
        return Ok(None);
    }
    let started = Instant::now();
    let context = session.task_ctx();
    let [left, right] = inputs;
    let [of_left, of_right] = expressions(join.spec());
    let rows = options.skew_sample_rows;
    let (left_sample, right_sample) = try_join(
        sample(left, &of_left, (rows, 0), &context),
        sample(right, &of_right, (rows, 1), &context),
    )
    .await?;
    let samples = [&left_sample, &right_sample];
    if samples.iter().all(|sample| sample.is_none()) {
        return Ok(None);
    }
    let taken = samples.into_iter().flatten();
    let rows: usize = taken.clone().map(|sample| sample.rows).sum();
    let is_drawn = |sample: &Sample| sample.blocks.iter().all(|block| block.is_drawn);
    let starts = match taken.clone().all(is_drawn) {
        true => "",
        false => "the first of files, ",
    };
    let bytes: usize = taken.map(|sample| sample.bytes).sum();
    let sides = [
        sampled_side(left_sample, left, &of_left)?,
        sampled_side(right_sample, right, &of_right)?,
    ];
    let millis = started.elapsed().as_millis();
    // Not all formats count what they read.
    let cost = match bytes {
        0 => format!("read in {millis} ms"),
        _ => format!("{} read in {millis} ms", shown_bytes(bytes)),
    };
    let source = format!("a sample of {rows} rows ({starts}{cost})");
    Ok(Some(SampledSides { sides, source }))
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
    let of_time = exprs.last().and_then(|time| {
        let time = time.downcast_ref::<Column>()?;
        statistics.column_statistics.get(time.index())
    });
    let end = |value: &Precision<ScalarValue>| {
        let end = value.get_value()?.to_array().ok()?;
        cast(&end, types.last()?).ok()
    };
    let ends = match of_time {
        Some(time) => [end(&time.min_value), end(&time.max_value)],
        None => [None, None],
    };
    let (mut columns, mut blocks, whole) = match sample {
        Some(sample) => (sample.columns, sample.blocks, sample.whole),
        None => (types.iter().map(new_empty_array).collect(), vec![], false),
    };
    let Some(time) = columns.pop() else {
        return internal_err!("an ASOF JOIN without as-of values");
    };
    let found: f64 = blocks
        .iter()
        .map(|block| block.rows as f64 * block.each)
        .sum();
    let stands_for = match rows {
        _ if whole => found,
        Precision::Exact(rows) => rows as f64,
        // Of an estimate of the optimizer's the sample knows better, unless it has nothing.
        _ if found > 0.0 => found,
        rows => rows.get_value().copied().unwrap_or(0) as f64,
    };
    for block in &mut blocks {
        block.each *= stands_for / found.max(f64::MIN_POSITIVE);
    }
    Ok(SampledSide {
        stands_for,
        is_whole: whole,
        keys: columns,
        time,
        blocks,
        ends,
    })
}
