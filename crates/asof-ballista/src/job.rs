//! A plan at work on a cluster.
//!
//! The scheduler is asked how it is going until the job has ended; then the partitions of the result
//! are read from the executors that hold them, one after the other. A job that nobody waits for any
//! more is cancelled: the scheduler is told until it has given it up. Ballista 55.0 says of a job that it is
//! planning that it is cancelled, and begins it all the same.
//!
//! # Jobs that were disturbed
//!
//! When an executor is lost, Ballista runs its tasks again, and all tasks of the stages that were
//! reading what it held. Ballista 55.0 does not take back what tasks of such a stage had already handed
//! on, so that rows come twice, with as-of joins and without. But no row of a result is read
//! before the job has ended, and then it is known whether each task succeeded at its first attempt. If
//! one did not, the result is left where it is and the whole job is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ballista_core::config::BallistaConfig;
use ballista_core::error::BallistaError;
use ballista_core::extension::{SessionConfigExt, SessionConfigHelperExt};
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::execute_query_result::Result as Submitted;
use ballista_core::serde::protobuf::get_job_status_result::FlightProxy;
use ballista_core::serde::protobuf::job_status::Status as JobState;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, ExecuteQueryParams, GetJobMetricsParams, GetJobStatusParams, JobStageMetrics,
    PartitionLocation,
};
use ballista_core::version::{check_compatibility, insert_version_header, version_from_metadata};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::cluster::Cluster;
use crate::codec::physical_codec;
use crate::even_tasks::with_even_tasks;
use crate::progress::Watch;
use crate::rest::{in_time, ran_smoothly};
use crate::result::Source;

/// How often the scheduler is asked: at first, and after a while.
const SOON: Duration = Duration::from_millis(10);
const LATER: Duration = Duration::from_millis(200);
/// How long a scheduler may be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a scheduler may not know of a job that it has taken a moment ago.
const TAKING: Duration = Duration::from_secs(2);
/// How long a scheduler that does not answer is told that a job is cancelled.
const PERSISTENCE: Duration = Duration::from_secs(300);
/// What DataFusion says of nodes that no codec knows.
const NO_SUCH_NODE: &str = "Unsupported plan node, name: [";
/// What executors say to nodes that they cannot read.
const NOT_READ: [&str; 2] = ["Could not deserialize", "has an ASOF JOIN in format"];
/// What object stores say of files that are not there, as it is shown and as it is debugged.
const NOT_THERE: [&[&str]; 2] = [
    &["Object at location", "not found"],
    &["ObjectStore(NotFound {"],
];
/// What object stores say to requests that are not signed, or not by whom they know.
const NOT_ALLOWED: [&str; 4] = [
    "lacked valid authentication credentials",
    "lacked the necessary privileges",
    "ObjectStore(Unauthenticated {",
    "ObjectStore(PermissionDenied {",
];
/// How often a job is sent whose executors are lost.
const ATTEMPTS: usize = 5;

/// What is sent.
#[derive(Clone)]
pub(crate) struct JobRequest {
    query: ExecuteQueryParams,
    config: BallistaConfig,
}

/// A job that the scheduler has accepted.
#[derive(Debug)]
pub(crate) struct Job {
    cluster: Cluster,
    scheduler: SchedulerGrpcClient<Channel>,
    config: BallistaConfig,
    id: String,
    ended: bool,
    live: Option<Live>,
}

/// An error of Ballista's as one of DataFusion's.
pub(crate) fn failure(error: BallistaError) -> DataFusionError {
    error.into_datafusion()
}

fn refused(what: &str) -> impl Fn(Status) -> DataFusionError {
    move |status| exec_datafusion_err!("{what}: {}", status.message())
}

/// What a job has failed of, and what to do about it where that is known.
fn failed(why: &str) -> DataFusionError {
    if NOT_READ.iter().any(|part| why.contains(part)) {
        return exec_datafusion_err!(
            "an executor of the cluster does not know as-of joins, or those of another version: start \
             all with asof-executor of the version of this client ({why})"
        );
    }
    let says_all = |parts: &&[&str]| parts.iter().all(|part| why.contains(part));
    if NOT_THERE.iter().any(says_all) {
        return exec_datafusion_err!(
            "an executor of the cluster does not find a file that this client sees: put it where all \
             of them see it under the same path or URL ({why})"
        );
    }
    if NOT_ALLOWED.iter().any(|part| why.contains(part)) {
        return exec_datafusion_err!(
            "an executor of the cluster may not read a file: executors read by the AWS_… variables of their \
             own environment, not by those of this client ({why})"
        );
    }
    exec_datafusion_err!("{why}")
}

/// Why a plan cannot be sent, without the plan itself, which DataFusion prints with the rows of its tables.
fn not_sent(error: &DataFusionError) -> DataFusionError {
    let why = error.strip_backtrace();
    let why = match why.split_once(NO_SUCH_NODE) {
        Some((_, rest)) => format!(
            "Ballista knows no {}",
            rest.split(']').next().unwrap_or(rest)
        ),
        None => why,
    };
    exec_datafusion_err!(
        "this query cannot be sent to a cluster: {why}. Run it on one machine, without --cluster"
    )
}

impl Job {
    /// # Errors
    /// For plans that cannot be sent.
    pub(crate) fn request(
        plan: &Arc<dyn ExecutionPlan>,
        config: &SessionConfig,
        session: &str,
    ) -> Result<JobRequest> {
        let config = with_even_tasks(config, plan)?;
        let settings = config.to_key_value_pairs();
        let config = config.ballista_config();
        let codec = physical_codec();
        let node = PhysicalPlanNode::try_from_physical_plan(Arc::clone(plan), codec.as_ref())
            .map_err(|error| not_sent(&error))?;
        let mut bytes = vec![];
        node.try_encode(&mut bytes)?;
        let most = config.grpc_client_max_message_size();
        if bytes.len() >= most {
            return exec_err!(
                "this query takes {} bytes, more than the {most} that can be sent to a cluster: \
                 tables in memory are sent with it, so put what is large into files",
                bytes.len()
            );
        }
        let query = ExecuteQueryParams {
            query: Some(Query::PhysicalPlan(bytes)),
            settings,
            session_id: session.to_owned(),
            operation_id: uuid::Uuid::now_v7().to_string(),
        };
        Ok(JobRequest { query, config })
    }

    /// A job that has ended, undisturbed.
    pub(crate) async fn run(cluster: Cluster, request: JobRequest) -> Result<Ended> {
        for attempt in 1..=ATTEMPTS {
            // A task of its own: if nobody waits any more, what the scheduler has taken meanwhile is cancelled.
            let submitted = Self::submit(cluster.clone(), request.clone(), Live::begin());
            let submitted = Handle::current().spawn(submitted).await;
            let mut job = submitted.map_err(|error| exec_datafusion_err!("{error}"))??;
            let (locations, proxy) = job.end().await?;
            if ran_smoothly(&cluster.channel, &cluster.address, &job.id).await? {
                return Ok(Ended {
                    job,
                    locations,
                    proxy,
                });
            }
            log::warn!("an executor was lost in attempt {attempt} of {ATTEMPTS} at a query");
        }
        exec_err!(
            "executors were lost in each of {ATTEMPTS} attempts at the query: look at their logs, \
             they may be short of memory or disk"
        )
    }

    async fn submit(cluster: Cluster, request: JobRequest, live: Live) -> Result<Self> {
        let JobRequest { query, config } = request;
        let most = config.grpc_client_max_message_size();
        let mut scheduler = SchedulerGrpcClient::new(cluster.channel.clone())
            .max_encoding_message_size(most)
            .max_decoding_message_size(most);
        let mut request = Request::new(query);
        insert_version_header(request.metadata_mut());
        let response = in_time(&cluster.address, scheduler.execute_query(request));
        let response = response
            .await
            // It may have taken it.
            .inspect_err(|_| LOST.store(true, Ordering::Release))?
            .map_err(refused("the scheduler does not take the query"))?;
        let version = version_from_metadata(response.metadata());
        let same = check_compatibility(Some(ballista_core::BALLISTA_VERSION), version);
        let id = match response.into_inner().result {
            Some(Submitted::Success(job)) => job.job_id,
            Some(Submitted::Failure(failure)) => {
                same.map_err(DataFusionError::Execution)?;
                return exec_err!("the scheduler does not take the query: {failure:?}");
            }
            None => return exec_err!("the scheduler gives no answer to the query"),
        };
        let job = Self {
            cluster,
            scheduler,
            config,
            id,
            ended: false,
            live: Some(live),
        };
        // A scheduler too old to look at versions has taken it, and the job is cancelled.
        same.map_err(DataFusionError::Execution)?;
        Ok(job)
    }

    /// Waits for the end; where the partitions of the result are.
    async fn end(&mut self) -> Result<(Vec<PartitionLocation>, Option<FlightProxy>)> {
        let mut pause = SOON;
        let mut watch = Watch::new(self.cluster.observer.clone());
        let (mut unknown_since, mut silent_since): (Option<Instant>, Option<Instant>) =
            (None, None);
        loop {
            let request = GetJobStatusParams {
                job_id: self.id.clone(),
            };
            let status = self.scheduler.get_job_status(request);
            let answer = match in_time(&self.cluster.address, status).await? {
                Ok(answer) => answer.into_inner(),
                Err(status) => {
                    // A connection may be lost where the scheduler is not; the next request makes another.
                    let since = silent_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        return Err(refused("the scheduler is gone")(status));
                    }
                    tokio::time::sleep(LATER).await;
                    continue;
                }
            };
            silent_since = None;
            match answer.status.and_then(|status| status.status) {
                Some(JobState::Successful(job)) => {
                    self.ended = true;
                    return Ok((job.partition_location, answer.flight_proxy));
                }
                Some(JobState::Failed(job)) => {
                    self.ended = true;
                    return Err(failed(&job.error));
                }
                Some(JobState::Queued(_) | JobState::Running(_)) => {
                    unknown_since = None;
                    watch.look(&self.cluster, &self.id).await?;
                }
                None => {
                    let since = unknown_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        self.ended = true;
                        return exec_err!(
                            "the scheduler does not know the query any more, it has been started \
                             anew: run the query again"
                        );
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LATER);
        }
    }
}

/// A job of which the result can be read.
#[derive(Debug)]
pub(crate) struct Ended {
    job: Job,
    locations: Vec<PartitionLocation>,
    proxy: Option<FlightProxy>,
}

impl Ended {
    /// The rows of the result.
    pub(crate) fn rows(self) -> impl Stream<Item = Result<RecordBatch>> + Send {
        let Self {
            job,
            locations,
            proxy,
        } = self;
        let fetch = move |location| {
            let source = Source {
                scheduler: job.cluster.address.clone(),
                config: job.config.clone(),
                proxy: proxy.clone(),
            };
            stream::once(source.fetch(location)).try_flatten()
        };
        stream::iter(locations).map(fetch).flatten()
    }

    /// What the tasks of each stage counted.
    pub(crate) async fn stages(mut self) -> Result<Vec<JobStageMetrics>> {
        let request = GetJobMetricsParams {
            job_id: self.job.id.clone(),
        };
        let metrics = self.job.scheduler.get_job_metrics(request);
        let answer = in_time(&self.job.cluster.address, metrics).await?;
        let answer = answer.map_err(refused("the scheduler does not tell what tasks counted"))?;
        Ok(answer.into_inner().stages)
    }
}

/// Jobs that the scheduler may be at work on for this process.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// Whether it may be at work on one that cannot be cancelled.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether the schedulers have done or given up all queries that nobody waits for any more.
pub fn is_settled() -> bool {
    LIVE.load(Ordering::Acquire) == 0 && !LOST.load(Ordering::Acquire)
}

/// Waits until they have, but no longer than so: before a process ends.
pub async fn settled(patience: Duration) {
    let end = Instant::now() + patience;
    while LIVE.load(Ordering::Acquire) > 0 && Instant::now() < end {
        tokio::time::sleep(SOON).await;
    }
}

/// A job from when it is sent until it has ended or the scheduler has given it up.
#[derive(Debug)]
struct Live;

impl Live {
    fn begin() -> Self {
        LIVE.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !self.ended {
            let unwanted = Unwanted {
                address: self.cluster.address.clone(),
                scheduler: self.scheduler.clone(),
                id: std::mem::take(&mut self.id),
                _live: self.live.take(),
            };
            runtime.spawn(async move {
                if let Err(error) = unwanted.cancel().await {
                    LOST.store(true, Ordering::Release);
                    log::warn!("a query that nobody waits for may go on: {error}");
                }
            });
        }
    }
}

/// A job that nobody waits for any more.
struct Unwanted {
    address: String,
    scheduler: SchedulerGrpcClient<Channel>,
    id: String,
    _live: Option<Live>,
}

impl Unwanted {
    /// Tells the scheduler until it has given it up.
    async fn cancel(mut self) -> Result<()> {
        let mut heard = Instant::now();
        let mut unknown_since = None;
        let mut pause = SOON;
        loop {
            let state = self.tell(pause).await;
            match state {
                Ok(Some(JobState::Queued(_) | JobState::Running(_))) => unknown_since = None,
                Ok(Some(JobState::Successful(_) | JobState::Failed(_))) => return Ok(()),
                // What it has taken a moment ago it does not know yet; one in its place never will.
                Ok(None) => {
                    let since: &mut Instant = unknown_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > TAKING {
                        return Ok(());
                    }
                }
                Err(error) if heard.elapsed() > PERSISTENCE => return Err(error),
                Err(_) => {
                    pause = (pause * 2).min(PATIENCE);
                    continue;
                }
            }
            heard = Instant::now();
            pause = (pause * 2).min(LATER);
        }
    }

    /// What has become of it some time after the scheduler was told.
    async fn tell(&mut self, pause: Duration) -> Result<Option<JobState>> {
        let cancel = CancelJobParams {
            job_id: self.id.clone(),
        };
        let cancelled = in_time(&self.address, self.scheduler.cancel_job(cancel)).await;
        tokio::time::sleep(pause).await;
        cancelled?.map_err(refused("the scheduler does not cancel it"))?;
        let status = GetJobStatusParams {
            job_id: self.id.clone(),
        };
        let status = in_time(&self.address, self.scheduler.get_job_status(status)).await?;
        let status = status.map_err(refused("the scheduler does not tell of it"))?;
        Ok(status.into_inner().status.and_then(|status| status.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_failures_is_said_whatever_their_form() {
        for (why, said) in [
            (
                "Object at location a.parquet not found: No such file",
                "does not find a file",
            ),
            (
                "DataFusionError(ObjectStore(NotFound { path: \"a.csv\", source: Os {",
                "does not find a file",
            ),
            (
                "ObjectStore(PermissionDenied { path: \"a.csv\", source: RetryError(",
                "may not read a file",
            ),
            (
                "ObjectStore(Unauthenticated { path: \"a.csv\", source: RetryError(",
                "may not read a file",
            ),
            (
                "the request lacked the necessary privileges",
                "may not read",
            ),
            ("Could not deserialize", "does not know as-of joins"),
        ] {
            let error = failed(why).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
