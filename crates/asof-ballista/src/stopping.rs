//! Tasks end when nobody waits for what they make any more.
//!
//! # Motivation
//!
//! A job that is cancelled or has failed leaves tasks at work. Ballista 55.0 tells executors of it that tasks are
//! pushed to, and drops the task; but its writers read in tasks that they have spawned, which go on. Executors that pull
//! tasks are told nothing. What goes on keeps a core from others for as long as the rest of the query takes.
//!
//! # How
//!
//! Where an executor decodes the writer of a stage, it puts a [`StoppableExec`] below it. While rows are read, the scheduler
//! is asked now and then whether it still has the job and has not given it up; if not, they end in an error. An executor
//! asks once for all that it reads of a job.
//!
//! The node can act only when it is polled: not while what is below it computes within a poll. DataFusion's leaves let go
//! of the thread now and then, but a join may make hours of rows from one batch of a leaf, and an aggregate above it polls
//! it as long as it has some. So DataFusion's joins are made to let go as leaves do, by its [`CooperativeExec`].
//!
//! # Limits
//!
//! Joins of DataFusion 55 with a predicate compare pairs of rows within a poll until a batch of them passes it. Where
//! hardly any does, they let go only when a batch of one side has met all of the other; nor do wide window frames
//! let go before a batch is done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ballista_core::execution_plans::ShuffleWriterExec;
use ballista_core::execution_plans::sort_shuffle::SortShuffleWriterExec;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use ballista_core::serde::protobuf::GetJobStatusParams;
use ballista_core::serde::protobuf::job_status::Status;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};

use crate::rest::in_time;
use crate::stoppable::{GivenUp, StoppableExec};

/// How often the scheduler is asked.
const PAUSE: Duration = Duration::from_secs(2);

/// Ballista's codec; stages that it decodes can be stopped.
#[derive(Debug)]
pub(crate) struct StoppingCodec {
    ballista: BallistaPhysicalExtensionCodec,
    scheduler: Arc<Scheduler>,
}

impl StoppingCodec {
    /// For tasks of the scheduler that is there.
    pub(crate) fn new(scheduler: Endpoint) -> Self {
        Self {
            ballista: BallistaPhysicalExtensionCodec::default(),
            scheduler: Arc::new(Scheduler::new(scheduler)),
        }
    }

    fn given_up(&self, job: String) -> GivenUp {
        let scheduler = Arc::clone(&self.scheduler);
        Arc::new(move || Arc::clone(&scheduler).gives_up(&job))
    }
}

impl PhysicalExtensionCodec for StoppingCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self
            .ballista
            .try_decode(bytes, inputs, context, converter)?;
        let Some(job) = written_for(plan.as_ref()) else {
            return Ok(plan);
        };
        let stoppable = |input: &Arc<dyn ExecutionPlan>| {
            let input = Arc::clone(input).transform_up(letting_go).data()?;
            let given_up = self.given_up(job.clone());
            Ok(Arc::new(StoppableExec::new(input, given_up)) as _)
        };
        let inputs = plan.children().into_iter().map(stoppable);
        let inputs = inputs.collect::<Result<_>>()?;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        plan.replace_children(inputs, options)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        self.ballista.try_encode(node, buffer, converter)
    }
}

/// The job of a stage, if the node is what writes it.
fn written_for(plan: &dyn ExecutionPlan) -> Option<String> {
    let whole = plan.downcast_ref::<ShuffleWriterExec>();
    let sorted = plan.downcast_ref::<SortShuffleWriterExec>();
    let job = whole.map(ShuffleWriterExec::job_id);
    let job = job.or_else(|| sorted.map(SortShuffleWriterExec::job_id));
    job.map(ToString::to_string)
}

/// A join that may make many rows of few, below a node that lets others have the thread now and then.
fn letting_go(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let joins = plan.is::<HashJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>()
        || plan.is::<CrossJoinExec>();
    Ok(match joins {
        true => Transformed::yes(Arc::new(CooperativeExec::new(plan))),
        false => Transformed::no(plan),
    })
}

/// Who knows of jobs.
#[derive(Debug)]
struct Scheduler {
    endpoint: Endpoint,
    channel: OnceCell<Channel>,
    /// Which jobs it is asked about.
    asked: Mutex<HashMap<String, WeakShared<BoxFuture<'static, ()>>>>,
}

impl Scheduler {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            channel: OnceCell::new(),
            asked: Mutex::default(),
        }
    }

    /// Waits until it says that a job has failed, was cancelled, or is not known to it.
    fn gives_up(self: Arc<Self>, job: &str) -> Shared<BoxFuture<'static, ()>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, waiting| waiting.upgrade().is_some());
        if let Some(waiting) = asked.get(job).and_then(WeakShared::upgrade) {
            return waiting;
        }
        let (scheduler, id) = (Arc::clone(&self), job.to_owned());
        let waiting = async move { scheduler.ask(&id).await }.boxed().shared();
        if let Some(waiting) = waiting.downgrade() {
            asked.insert(job.to_owned(), waiting);
        }
        waiting
    }

    async fn ask(&self, job: &str) {
        let channel = async || self.endpoint.connect_lazy();
        let channel = self.channel.get_or_init(channel).await;
        let mut scheduler = SchedulerGrpcClient::new(channel.clone());
        let address = self.endpoint.uri().to_string();
        loop {
            tokio::time::sleep(PAUSE).await;
            let request = GetJobStatusParams {
                job_id: job.to_owned(),
            };
            // One that does not answer may be there again before the task ends.
            let Ok(Ok(answer)) = in_time(&address, scheduler.get_job_status(request)).await else {
                continue;
            };
            let status = answer.into_inner().status;
            if matches!(
                status.and_then(|status| status.status),
                None | Some(Status::Failed(_))
            ) {
                return;
            }
        }
    }
}
