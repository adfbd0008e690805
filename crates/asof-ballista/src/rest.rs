//! What a scheduler tells over HTTP, on the connection that its other requests take.

use std::time::Duration;

use datafusion::common::{Result, exec_datafusion_err, exec_err};
use futures::TryStreamExt;
use futures::stream;
use serde_json::Value;
use tonic::body::Body;
use tonic::codegen::{Body as _, Service, http};
use tonic::transport::Channel;

/// How long an answer may take. A scheduler that is frozen keeps its connections.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a scheduler answers, if it does so in time.
pub(crate) async fn in_time<T>(address: &str, answer: impl Future<Output = T>) -> Result<T> {
    let seconds = PATIENCE.as_secs();
    tokio::time::timeout(PATIENCE, answer).await.map_err(|_| {
        exec_datafusion_err!(
            "the scheduler at {address} has not answered for {seconds} s: it hangs, or has too much to do"
        )
    })
}

/// The vcores of each executor.
pub(crate) async fn executors(channel: &Channel, address: &str) -> Result<Vec<usize>> {
    let executors = get(channel, address, "/api/executors").await?;
    let Some(executors) = executors.as_array() else {
        return exec_err!("{address} is no scheduler of a cluster");
    };
    let vcores = |executor: &Value| {
        let vcores = executor["specification"]["vcores"].as_u64();
        usize::try_from(vcores.unwrap_or(1)).unwrap_or(1)
    };
    Ok(executors.iter().map(vcores).collect())
}

/// Whether every task of a job that has ended succeeded at its first attempt.
pub(crate) async fn ran_smoothly(channel: &Channel, address: &str, job: &str) -> Result<bool> {
    let stages = stages(channel, address, job).await?;
    let mut tasks = stages.iter().map(|stage| stage["tasks"].as_array());
    let succeeded = |task: &Value| task["status"].as_str() == Some("Successful");
    Ok(tasks.all(|tasks| tasks.is_some_and(|tasks| tasks.iter().all(succeeded))))
}

/// The stages of a job, with their tasks.
pub(crate) async fn stages(channel: &Channel, address: &str, job: &str) -> Result<Vec<Value>> {
    let mut stages = get(channel, address, &format!("/api/job/{job}/stages")).await?;
    match stages["stages"].take() {
        Value::Array(stages) => Ok(stages),
        _ => exec_err!("the scheduler does not tell of the tasks of the query"),
    }
}

/// The ids of the jobs that have not ended.
pub(crate) async fn unfinished_jobs(channel: &Channel, address: &str) -> Result<Vec<String>> {
    let jobs = get(channel, address, "/api/jobs").await?;
    let jobs = jobs.as_array().into_iter().flatten();
    let unfinished = jobs.filter(|job| job["status"] == "Running");
    let ids = unfinished.filter_map(|job| job["job_id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// A document of the scheduler's.
async fn get(channel: &Channel, address: &str, path: &str) -> Result<Value> {
    in_time(address, get_however_long(channel, address, path)).await?
}

async fn get_however_long(channel: &Channel, address: &str, path: &str) -> Result<Value> {
    let failed = |error: &dyn std::fmt::Display| exec_datafusion_err!("{path}: {error}");
    let request = http::Request::get(format!("{address}{path}"))
        .body(Body::empty())
        .map_err(|error| failed(&error))?;
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .map_err(|error| failed(&error))?;
    let response = channel
        .call(request)
        .await
        .map_err(|error| failed(&error))?;
    if !response.status().is_success() {
        return exec_err!("{path}: the scheduler answers {}", response.status());
    }
    let mut body = response.into_body();
    let frames = stream::poll_fn(move |context| std::pin::Pin::new(&mut body).poll_frame(context));
    let bytes = frames
        .try_fold(vec![], |mut bytes, frame| async move {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
            Ok(bytes)
        })
        .await
        .map_err(|error| failed(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(&error))
}
