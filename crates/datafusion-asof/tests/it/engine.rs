//! Asks the engine: a case becomes a physical plan, DataFusion adds its exchanges and sorts, and the answer comes back as plain values.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::{Column as ColumnExpr, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use datafusion_asof::{
    AsOfJoinExec, AsOfKey, AsOfSpec, AsOfStrategy, MatchCondition, MatchOp, NullPolicy, TieOrder,
};
use futures::TryStreamExt;
use futures::future::try_join_all;

use crate::case::{Answer, Case};
use crate::codec::sent;
use crate::oracle::{Causes, Op, causes};
use crate::salt::salt;
use crate::table::sort_order;
use crate::value::{Value, values};

pub(crate) const STRATEGIES: [AsOfStrategy; 4] = [
    AsOfStrategy::Broadcast,
    AsOfStrategy::BroadcastLeft,
    AsOfStrategy::SortMerge,
    AsOfStrategy::TimeSalted,
];
pub(crate) const TARGET_PARTITIONS: [usize; 4] = [1, 2, 3, 8];
pub(crate) const BATCH_SIZES: [usize; 5] = [1, 2, 3, 7, 8192];

/// How a case is executed: none of it may change the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub strategy: AsOfStrategy,
    pub target_partitions: usize,
    pub batch_size: usize,
    /// Keeps declared orders through exchanges rather than sorting again.
    pub keep_order: bool,
    /// Executes the plan a second time after `reset_state`.
    pub twice: bool,
    /// Executes the plan that its bytes are decoded to.
    pub sent: bool,
}

/// What an execution showed besides the right answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub sorts: usize,
    pub rows: usize,
}

impl From<Op> for MatchOp {
    fn from(op: Op) -> Self {
        match op {
            Op::GtEq => MatchOp::GtEq,
            Op::Gt => MatchOp::Gt,
            Op::LtEq => MatchOp::LtEq,
            Op::Lt => MatchOp::Lt,
            Op::Nearest => MatchOp::Nearest,
        }
    }
}

/// Contexts are costly to make and have no state that cases could share by mistake.
static CONTEXTS: LazyLock<HashMap<(usize, usize, bool), Arc<TaskContext>>> = LazyLock::new(|| {
    let mut contexts = HashMap::new();
    for target_partitions in TARGET_PARTITIONS {
        for batch_size in BATCH_SIZES {
            for keep_order in [false, true] {
                let config = SessionConfig::new()
                    .with_target_partitions(target_partitions)
                    .with_batch_size(batch_size)
                    .with_prefer_existing_sort(keep_order);
                let context = TaskContext::default().with_session_config(config);
                contexts.insert(
                    (target_partitions, batch_size, keep_order),
                    Arc::new(context),
                );
            }
        }
    }
    contexts
});

/// Executes the case and holds it against `expected`.
///
/// # Errors
/// A description of the first thing that is not as it should be.
pub(crate) async fn check(case: &Case, expected: &Answer, setup: Setup) -> Result<Seen, String> {
    let context = &CONTEXTS[&(setup.target_partitions, setup.batch_size, setup.keep_order)];
    let mut plan =
        plan(case, setup.strategy, context).map_err(|error| format!("planning: {error}"))?;
    if setup.sent {
        plan = sent(&plan).map_err(|error| format!("sending: {error}"))?;
    }
    let explain =
        |problem: String| format!("{problem}\n{}", displayable(plan.as_ref()).indent(true));
    check_schema(case, &plan).map_err(explain)?;
    let mut runs = vec![Arc::clone(&plan)];
    if setup.twice {
        runs.push(reset_plan_states(Arc::clone(&plan)).map_err(|e| explain(e.to_string()))?);
    }
    let mut seen = Seen {
        sorts: count_sorts(&plan),
        rows: 0,
    };
    for plan in runs {
        let partitions = execute(&plan, context)
            .await
            .map_err(|e| explain(e.to_string()))?;
        check_batches(case, &plan, &partitions, setup.batch_size).map_err(explain)?;
        let rows: Answer = partitions
            .iter()
            .flat_map(|batches| rows(batches))
            .collect();
        seen.rows = rows.len();
        check_statistics(&plan, rows.len()).map_err(explain)?;
        compare(rows, expected).map_err(explain)?;
        check_metrics(case, setup.strategy, &plan).map_err(explain)?;
    }
    Ok(seen)
}

/// The physical plan of the case, with the exchanges and sorts that it asks for.
pub(crate) fn plan(
    case: &Case,
    strategy: AsOfStrategy,
    context: &TaskContext,
) -> Result<Arc<dyn ExecutionPlan>> {
    let join = join(case, case.left.source()?, case.right.source()?, strategy)?;
    let options = context.session_config().options();
    let plan = EnsureRequirements::new().optimize(Arc::new(join), options)?;
    SanityCheckPlan::new().optimize(plan, options)
}

/// The operator of the case over any two inputs with the columns of its tables.
pub(crate) fn join(
    case: &Case,
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    strategy: AsOfStrategy,
) -> Result<AsOfJoinExec> {
    let tolerance = case
        .tolerance
        .as_ref()
        .map(|tolerance| Arc::new(Literal::new(tolerance.scalar.clone())) as PhysicalExprRef);
    let keys = case.left.keys.iter().zip(&case.right.keys);
    let spec = AsOfSpec {
        join_type: case.kind,
        on: (keys.zip(&case.null_safe))
            .map(|((&l, &r), null_equals_null)| AsOfKey {
                left: case.left.column(l),
                right: case.right.column(r),
                null_equals_null: *null_equals_null,
            })
            .collect(),
        match_condition: MatchCondition {
            left: case.left.column(case.left.time),
            op: case.op.into(),
            right: case.right.column(case.right.time),
        },
        tolerance,
        filter: (case.filter.as_ref()).map(|filter| filter.physical(&case.left, &case.right)),
        ties: (case.ties.iter())
            .map(|&(column, options)| TieOrder {
                expr: case.right.column(column),
                options,
            })
            .collect(),
        null_policy: match case.ignore_nulls {
            true => NullPolicy::IgnoreNulls,
            false => NullPolicy::RespectNulls,
        },
    };
    let join = AsOfJoinExec::try_new(left, right, spec, AsOfStrategy::SortMerge)?;
    match join.allows(strategy) {
        true if strategy == AsOfStrategy::TimeSalted => {
            join.time_salted(&salt(case), "the test's choice")
        }
        true => join.with_strategy(strategy, "the test's choice"),
        false => join.with_strategy(AsOfStrategy::Broadcast, "the test's second choice"),
    }
}

/// The batches of every partition, all of which are read at once.
pub(crate) async fn execute(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Result<Vec<Vec<RecordBatch>>> {
    let partitions = plan.properties().partitioning.partition_count();
    let streams = (0..partitions)
        .map(|partition| plan.execute(partition, Arc::clone(context)))
        .collect::<Result<Vec<_>>>()?;
    try_join_all(streams.into_iter().map(TryStreamExt::try_collect)).await
}

/// The rows of batches as plain values.
pub(crate) fn rows(batches: &[RecordBatch]) -> Answer {
    let mut rows = vec![];
    for batch in batches {
        let columns: Vec<Vec<Value>> = batch
            .columns()
            .iter()
            .map(|column| values(column.as_ref()))
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column[row].clone()).collect());
        }
    }
    rows
}

/// Compares answers as bags of rows.
pub(crate) fn compare(mut actual: Answer, expected: &Answer) -> Result<(), String> {
    let by_values = |a: &Vec<Value>, b: &Vec<Value>| {
        let options = SortOptions::default();
        let cells = a.iter().zip(b);
        cells.fold(std::cmp::Ordering::Equal, |so_far, (a, b)| {
            so_far.then_with(|| sort_order(a, b, options))
        })
    };
    let mut expected = expected.clone();
    expected.sort_by(by_values);
    actual.sort_by(by_values);
    for (n, want) in expected.iter().enumerate() {
        match actual.get(n) {
            Some(have)
                if have.len() == want.len() && have.iter().zip(want).all(|(a, b)| a.same(b)) => {}
            have => return Err(format!("row {n} should be\n  {want:?} but is\n  {have:?}")),
        }
    }
    match actual.get(expected.len()) {
        Some(row) => Err(format!("a row too many: {row:?}")),
        None => Ok(()),
    }
}

fn count_sorts(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let below: usize = plan.children().into_iter().map(count_sorts).sum();
    below + usize::from(plan.downcast_ref::<SortExec>().is_some())
}

/// Left columns, then right ones if any come out, nullable if rows may be padded.
fn check_schema(case: &Case, plan: &Arc<dyn ExecutionPlan>) -> Result<(), String> {
    let side = |schema: SchemaRef, padded: bool| {
        let fields = schema.fields().iter();
        let nullable = |field: &Arc<Field>| {
            let nullable = field.is_nullable() || padded;
            field.as_ref().clone().with_nullable(nullable)
        };
        fields.map(nullable).collect::<Vec<_>>()
    };
    let mut expected = side(case.left.schema(), case.kind.keeps_unmatched_right());
    if case.kind.has_right_columns() {
        let padded = case.kind.keeps_unmatched_left();
        expected.extend(side(case.right.schema(), padded));
    }
    let schema = plan.schema();
    let actual: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone())
        .collect();
    if actual == expected {
        Ok(())
    } else {
        Err(format!("the schema is {actual:?}, not {expected:?}"))
    }
}

/// Batches have the schema of the plan, are not longer than asked for, and come in the order that the plan declares.
fn check_batches(
    _case: &Case,
    plan: &Arc<dyn ExecutionPlan>,
    partitions: &[Vec<RecordBatch>],
    batch_size: usize,
) -> Result<(), String> {
    let longest = partitions
        .iter()
        .flatten()
        .map(RecordBatch::num_rows)
        .max()
        .unwrap_or(0);
    // A left batch may be passed on as it came, and the generator's batches are of any size.
    if longest > batch_size.max(200) {
        return Err(format!(
            "a batch of {longest} rows, where {batch_size} were asked for"
        ));
    }
    if let Some(batch) = partitions
        .iter()
        .flatten()
        .find(|batch| batch.schema() != plan.schema())
    {
        return Err(format!("a batch has the schema {:?}", batch.schema()));
    }
    for ordering in plan
        .properties()
        .equivalence_properties()
        .oeq_class()
        .iter()
    {
        let columns: Option<Vec<_>> = (ordering.iter())
            .map(|sort| {
                Some((
                    sort.expr.downcast_ref::<ColumnExpr>()?.index(),
                    sort.options,
                ))
            })
            .collect();
        let Some(columns) = columns else { continue };
        for batches in partitions {
            let in_order = rows(batches).is_sorted_by(|a, b| {
                let order =
                    columns
                        .iter()
                        .fold(std::cmp::Ordering::Equal, |so_far, (i, options)| {
                            so_far.then_with(|| sort_order(&a[*i], &b[*i], *options))
                        });
                order.is_le()
            });
            if !in_order {
                return Err(format!(
                    "the output is not in its declared order {ordering}"
                ));
            }
        }
    }
    Ok(())
}

/// The counts of `EXPLAIN ANALYZE` are those of the definition.
fn check_metrics(
    case: &Case,
    strategy: AsOfStrategy,
    plan: &Arc<dyn ExecutionPlan>,
) -> Result<(), String> {
    let Some(metrics) = plan.metrics() else {
        return Err("there are no metrics".to_string());
    };
    let sum = |name| {
        metrics
            .sum_by_name(name)
            .map_or(0, |value| value.as_usize())
    };
    let (left, right) = (case.left.oracle_rows(&[]), case.right.oracle_rows(&[]));
    let mut expected = case.ask(|question| causes(&left, &right, question));
    let mut actual = Causes {
        matched: sum("matched_rows"),
        null_key: sum("unmatched_null_key"),
        null_time: sum("unmatched_null_time"),
        no_such_key: sum("unmatched_no_such_key"),
        wrong_side: sum("unmatched_wrong_side"),
        beyond_tolerance: sum("unmatched_beyond_tolerance"),
    };
    if strategy == AsOfStrategy::TimeSalted {
        // A partition does not see the right rows that would say why nothing is near.
        for causes in [&mut expected, &mut actual] {
            causes.no_such_key += std::mem::take(&mut causes.wrong_side);
            causes.no_such_key += std::mem::take(&mut causes.beyond_tolerance);
        }
    }
    if case.filter.is_some() {
        // Where a predicate refuses rows, how many match is all that is defined.
        let matched = case.chosen().iter().flatten().count();
        expected = Causes {
            matched,
            ..Causes::default()
        };
        actual = Causes {
            matched: actual.matched,
            ..Causes::default()
        };
    }
    if actual == expected && sum("left_rows") == case.left.rows() {
        Ok(())
    } else {
        Err(format!(
            "metrics count {} left rows and {actual:?}, not {expected:?}",
            sum("left_rows")
        ))
    }
}

/// What statistics call exact is exact.
fn check_statistics(plan: &Arc<dyn ExecutionPlan>, rows: usize) -> Result<(), String> {
    let statistics = StatisticsContext::new()
        .compute(plan.as_ref(), &StatisticsArgs::new())
        .map_err(|error| format!("statistics: {error}"))?;
    match statistics.num_rows {
        Precision::Exact(promised) if promised != rows => Err(format!(
            "statistics promise {promised} rows, there are {rows}"
        )),
        _ => Ok(()),
    }
}
