//! Inputs that fail or do not keep their word.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExprRef};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use datafusion::prelude::SessionConfig;
use datafusion_asof::AsOfStrategy;
use futures::stream;

use crate::case::Case;
use crate::engine::{STRATEGIES, compare, execute, join, plan, rows};
use crate::generate::generate;
use crate::oracle::{Op, causes};
use crate::table::Table;
use crate::types::Dice;

/// An error that only the test makes, so that it cannot be mistaken for another.
#[derive(Debug, PartialEq)]
struct Planted(usize);

impl Display for Planted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "planted at batch {}", self.0)
    }
}

impl Error for Planted {}

/// One partition of a table, which fails in place of its `at`-th batch.
#[derive(Debug)]
struct FailingExec {
    batches: Vec<RecordBatch>,
    at: usize,
    properties: Arc<PlanProperties>,
}

impl FailingExec {
    fn new(table: &Table, at: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(table.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let batches = table.partitions().into_iter().flatten().collect();
        Self {
            batches,
            at,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for FailingExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("FailingExec")
    }
}

impl ExecutionPlan for FailingExec {
    fn name(&self) -> &'static str {
        "FailingExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&PhysicalExprRef) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let at = self.at;
        let planted = || DataFusionError::External(Box::new(Planted(at)));
        let good = self.batches.iter().take(at).cloned().map(Ok);
        let items: Vec<_> = good.chain([Err(planted())]).collect();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            stream::iter(items),
        )))
    }
}

/// Whether the planted error is at the bottom of another, as itself and not as its text.
fn is_planted(error: &DataFusionError, at: usize) -> bool {
    match error.find_root() {
        DataFusionError::External(external) => external.downcast_ref() == Some(&Planted(at)),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_inputs_pass_through() {
    let mut tried = 0;
    for seed in 0..40 {
        let case = generate(seed);
        for fails_left in [true, false] {
            let table = if fails_left { &case.left } else { &case.right };
            let batches: usize = table.cuts.iter().map(Vec::len).sum();
            for at in 0..=batches.min(4) {
                for strategy in STRATEGIES {
                    tried += 1;
                    let error = run_failing(&case, fails_left, at, strategy).await;
                    // When no left row can have a match it is needless to read the right.
                    let needless = !fails_left && !has_matchable_rows(&case.left);
                    let ok = error
                        .as_ref()
                        .map_or(needless, |error| is_planted(error, at));
                    assert!(
                        ok,
                        "seed {seed}, left {fails_left}, batch {at}, {strategy:?}: {error:?}"
                    );
                }
            }
        }
    }
    println!("{tried} planted errors");
}

/// Whether any row has keys and a time, so that a match could exist.
fn has_matchable_rows(table: &Table) -> bool {
    let case = Case::plain(table.clone(), table.clone(), Op::GtEq);
    let anything = case.ask(|question| causes(&table.oracle_rows(&[]), &[], question));
    anything.no_such_key > 0
}

async fn run_failing(
    case: &Case,
    fails_left: bool,
    at: usize,
    strategy: AsOfStrategy,
) -> Option<DataFusionError> {
    let config = SessionConfig::new().with_target_partitions(1 + at % 3);
    let context = Arc::new(TaskContext::default().with_session_config(config));
    let source = |table: &Table, fails: bool| -> Result<Arc<dyn ExecutionPlan>> {
        if fails {
            Ok(Arc::new(FailingExec::new(table, at)))
        } else {
            table.source()
        }
    };
    let run = async {
        let left = source(&case.left, fails_left)?;
        let right = source(&case.right, !fails_left)?;
        let join = Arc::new(join(case, left, right, strategy)?);
        let options = context.session_config().options();
        let plan = EnsureRequirements::new().optimize(join, options)?;
        execute(&plan, &context).await
    };
    run.await.err()
}

/// Exchanges rows of a table that declares an order, so that the declaration is (mostly) a lie.
fn disorder(table: &mut Table, dice: &mut Dice) {
    let rows = table.rows();
    if table.order.is_none() || rows < 2 {
        return;
    }
    for _ in 0..1 + dice.below(3) {
        let (a, b) = (dice.below(rows), dice.below(rows));
        for column in &mut table.columns {
            column.values.swap(a, b);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_order_is_an_error_and_never_a_wrong_answer() {
    let (mut refused, mut answered) = (0, 0);
    let mut wrong = vec![];
    for seed in 0..3_000 {
        let mut case = generate(seed);
        let dice = &mut Dice::new(seed);
        if case.left.order.is_none() && case.right.order.is_none() {
            continue;
        }
        disorder(&mut case.left, dice);
        disorder(&mut case.right, dice);
        let expected = case.expected();
        for strategy in STRATEGIES {
            let config = SessionConfig::new()
                .with_target_partitions(*dice.pick(&[1, 3]))
                .with_batch_size(*dice.pick(&[1, 7, 8192]));
            let context = Arc::new(TaskContext::default().with_session_config(config));
            let plan = plan(&case, strategy, &context).expect("plans");
            match execute(&plan, &context).await {
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("order"), "seed {seed}, {strategy:?}: {text}");
                    refused += 1;
                }
                Ok(partitions) => {
                    let answer = partitions
                        .iter()
                        .flat_map(|batches| rows(batches))
                        .collect();
                    match compare(answer, &expected) {
                        Ok(()) => answered += 1,
                        Err(message) => {
                            wrong.push(format!("seed {seed}, {strategy:?}\n{case}\n{message}"));
                        }
                    }
                }
            }
        }
    }
    println!("{refused} refused, {answered} answered rightly");
    wrong.sort_by_key(String::len);
    assert!(
        wrong.is_empty(),
        "{} wrong answers, the smallest:\n{}",
        wrong.len(),
        wrong[0]
    );
    assert!(refused > 0, "no broken order was noticed");
}
