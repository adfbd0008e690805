//! [`StoppableExec`]: rows for as long as nobody says stop.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use ballista_core::error::BallistaError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::future::{BoxFuture, Shared};
use futures::{StreamExt, stream};

/// Waits until the rows are not wanted any more.
pub(crate) type GivenUp = Arc<dyn Fn() -> Shared<BoxFuture<'static, ()>> + Send + Sync>;

/// What a task that was stopped ends with.
fn stopped() -> DataFusionError {
    DataFusionError::External(Box::new(BallistaError::Cancelled))
}

/// The rows of its input. Once they are given up its streams fail, and what is below them is dropped.
///
/// It counts nothing: the scheduler tells what operators counted by their places in the plan that it has sent.
pub(crate) struct StoppableExec {
    input: Arc<dyn ExecutionPlan>,
    given_up: GivenUp,
}

impl StoppableExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, given_up: GivenUp) -> Self {
        Self { input, given_up }
    }
}

impl fmt::Debug for StoppableExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoppableExec").field(&self.input).finish()
    }
}

impl DisplayAs for StoppableExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => f.write_str("StoppableExec"),
            DisplayFormatType::TreeRender => Ok(()),
        }
    }
}

impl ExecutionPlan for StoppableExec {
    fn name(&self) -> &'static str {
        "StoppableExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
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
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::new(input, Arc::clone(&self.given_up)))),
            Err(children) => exec_err!("StoppableExec has one input, not {}", children.len()),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = input.schema();
        let open = Some((input, (self.given_up)()));
        let rows = stream::unfold(open, async |open| {
            let (mut input, mut given_up) = open?;
            let batch = tokio::select! {
                biased;
                () = &mut given_up => return Some((Err(stopped()), None)),
                batch = input.next() => batch?,
            };
            Some((batch, Some((input, given_up))))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use datafusion::arrow::array::{ArrayRef, Int32Array};
    use datafusion::arrow::datatypes::SchemaRef;
    use datafusion::arrow::record_batch::RecordBatch;
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
    use futures::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;

    fn batch() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        RecordBatch::try_from_iter([("x", column)]).expect("a batch")
    }

    /// A batch, and then the end or none for ever.
    #[derive(Debug)]
    struct Source {
        schema: SchemaRef,
        ends: bool,
        alive: Arc<()>,
    }

    impl PartitionStream for Source {
        fn schema(&self) -> &SchemaRef {
            &self.schema
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let (ends, alive) = (self.ends, Arc::clone(&self.alive));
            let rows = stream::once(async { Ok(batch()) });
            let rest = stream::poll_fn(move |_| {
                let _alive = &alive;
                match ends {
                    true => Poll::Ready(None),
                    false => Poll::Pending,
                }
            });
            let rows = rows.chain(rest);
            Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                rows,
            ))
        }
    }

    /// What gives up when it is told to, and how to tell it.
    fn given_up() -> (GivenUp, Arc<Semaphore>) {
        let said = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&said);
        let given_up = move || {
            let waits = Arc::clone(&waits);
            async move { drop(waits.acquire().await) }.boxed().shared()
        };
        (Arc::new(given_up), said)
    }

    fn rows(ends: bool, alive: &Arc<()>, given_up: GivenUp) -> SendableRecordBatchStream {
        let schema = batch().schema();
        let source = Source {
            schema: Arc::clone(&schema),
            ends,
            alive: Arc::clone(alive),
        };
        let sources: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(source)];
        let source = StreamingTableExec::try_new(schema, sources, None, [], false, None);
        let input = Arc::new(source.expect("a plan"));
        let plan = StoppableExec::new(input, given_up);
        plan.execute(0, Arc::default()).expect("a stream")
    }

    #[tokio::test]
    async fn what_is_wanted_goes_on_to_its_end() {
        let (given_up, _said) = given_up();
        let mut rows = rows(true, &Arc::new(()), given_up);
        assert_eq!(rows.next().await.expect("a batch").expect("rows"), batch());
        assert!(rows.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_given_up_fails_while_it_waits_and_lets_go_of_its_input() {
        let (alive, (given_up, said)) = (Arc::new(()), given_up());
        let mut rows = rows(false, &alive, given_up);
        assert_eq!(rows.next().await.expect("a batch").expect("rows"), batch());
        assert!(rows.next().now_or_never().is_none(), "it waits");
        let says = async {
            tokio::task::yield_now().await;
            said.add_permits(1);
        };
        let (next, ()) = tokio::join!(rows.next(), says);
        let error = next.expect("an error").expect_err("it was given up");
        let error = BallistaError::from(error);
        assert!(matches!(error, BallistaError::Cancelled), "{error}");
        assert_eq!(Arc::strong_count(&alive), 1, "nothing is held");
        assert!(rows.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_given_up_before_it_begins_reads_nothing() {
        let (given_up, said) = given_up();
        said.add_permits(1);
        let mut rows = rows(true, &Arc::new(()), given_up);
        assert!(rows.next().await.expect("an error").is_err());
    }
}
