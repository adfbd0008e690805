//! How many rows a query that runs here has read, told on a terminal until it has rows to show.
//!
//! The planner puts a [`ToldExec`] above each plan. Like its input in everything else, it tells once a second
//! what the metrics of the sources below it say.

use std::fmt::{self, Formatter};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::display::human_readable::human_readable_count;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;

use crate::progress::ProgressLine;

/// How often it is told.
const PAUSE: Duration = Duration::from_secs(1);

/// A planner of queries that are told of.
#[derive(Debug)]
pub(crate) struct ToldQueryPlanner(Arc<dyn QueryPlanner + Send + Sync>);

impl ToldQueryPlanner {
    pub(crate) fn new(planner: Arc<dyn QueryPlanner + Send + Sync>) -> Self {
        Self(planner)
    }
}

#[async_trait]
impl QueryPlanner for ToldQueryPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = self.0.create_physical_plan(plan, session).await?;
        Ok(Arc::new(ToldExec::new(input)))
    }
}

/// Gives the rows of its input.
#[derive(Debug)]
struct ToldExec {
    input: Arc<dyn ExecutionPlan>,
    /// Of the partitions that run.
    telling: Mutex<Weak<Telling>>,
}

impl ToldExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            input,
            telling: Mutex::default(),
        }
    }

    fn telling(&self) -> Arc<Telling> {
        let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        telling.upgrade().unwrap_or_else(|| {
            let new = Telling::start(Arc::clone(&self.input));
            *telling = Arc::downgrade(&new);
            new
        })
    }
}

/// Ends with the last stream of a query.
#[derive(Debug)]
struct Telling {
    /// None when there are rows to show, or an error.
    line: Mutex<Option<ProgressLine>>,
    _teller: SpawnedTask<()>,
}

impl Telling {
    fn start(plan: Arc<dyn ExecutionPlan>) -> Arc<Self> {
        Arc::new_cyclic(|telling: &Weak<Self>| {
            let telling = Weak::clone(telling);
            Self {
                line: Mutex::new(Some(ProgressLine::default())),
                _teller: SpawnedTask::spawn(async move {
                    loop {
                        tokio::time::sleep(PAUSE).await;
                        let Some(telling) = telling.upgrade() else {
                            return;
                        };
                        let rows = human_readable_count(rows_read(plan.as_ref()));
                        if let Some(line) = telling.line().as_ref() {
                            line.show(Some(format_args!("{rows} rows read")));
                        }
                    }
                }),
            }
        })
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Option<ProgressLine>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        if let Some(line) = self.line().take() {
            line.show(None::<&str>);
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the sources of a plan have given so far.
fn rows_read(plan: &dyn ExecutionPlan) -> usize {
    let children = plan.children();
    if children.is_empty() {
        let metrics = plan.metrics();
        return metrics
            .and_then(|metrics| metrics.output_rows())
            .unwrap_or(0);
    }
    children
        .into_iter()
        .map(|child| rows_read(child.as_ref()))
        .sum()
}

impl DisplayAs for ToldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ToldExec")
    }
}

impl ExecutionPlan for ToldExec {
    fn name(&self) -> &'static str {
        "ToldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input))),
            _ => internal_err!("ToldExec has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let telling = self.telling();
        let rows = rows.inspect_ok(move |_| telling.end());
        let schema = self.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}
