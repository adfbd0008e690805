//! How a running job is getting on.
//!
//! A scheduler says that a job is running for as long as it believes so. It may be wrong: news of a task
//! that it cannot make sense of are dropped (see [`made_rows`](crate::made_rows)), and executors that are
//! frozen ask for no tasks. So the client looks at the tasks of a job now and then. If none
//! of them runs or ends from one look to the next, though the executors have nothing else to do, the job is
//! given up after a number of looks: of looks, not of seconds, because a client may have been asleep
//! itself.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::{Result, exec_err};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::rest::{stages, unfinished_jobs};

/// How often a job is looked at.
const PAUSE: Duration = Duration::from_secs(1);
/// How many looks in succession may find that it does not go on.
const LOOKS: usize = 30;

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Stages that have ended.
    pub stages_done: usize,
    /// All stages.
    pub stages: usize,
    /// Tasks that have ended. How many there will be is not known before they are.
    pub tasks_done: usize,
    /// Tasks at work.
    pub tasks_running: usize,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stages_done,
            stages,
            tasks_done,
            tasks_running,
        } = self;
        write!(
            f,
            "stages: {stages_done} of {stages} done; tasks: {tasks_done} done, {tasks_running} running"
        )
    }
}

impl Progress {
    /// What the scheduler tells of a job's stages.
    fn of(stages: &[Value]) -> Self {
        let mut progress = Self {
            stages: stages.len(),
            ..Self::default()
        };
        for stage in stages {
            progress.stages_done += usize::from(stage["stage_status"] == "Successful");
            for task in stage["tasks"].as_array().into_iter().flatten() {
                match task["status"].as_str() {
                    Some("Running") => progress.tasks_running += 1,
                    _ => progress.tasks_done += 1,
                }
            }
        }
        progress
    }
}

/// What is told of jobs while they run, and `None` when one has ended.
pub(crate) type Observer = Arc<dyn Fn(Option<Progress>) + Send + Sync>;

/// Looks at one job.
pub(crate) struct Watch {
    observer: Option<Observer>,
    looked: Instant,
    seen: Progress,
    /// Looks since anything was seen to go on.
    idle: usize,
}

impl Watch {
    pub(crate) fn new(observer: Option<Observer>) -> Self {
        Self {
            observer,
            looked: Instant::now(),
            seen: Progress::default(),
            idle: 0,
        }
    }

    /// # Errors
    /// If the job does not go on. Whatever else goes wrong with a look is left to whoever asks for the
    /// state of the job.
    pub(crate) async fn look(&mut self, cluster: &Cluster, job: &str) -> Result<()> {
        if self.looked.elapsed() < PAUSE {
            return Ok(());
        }
        self.looked = Instant::now();
        let Ok(stages) = stages(&cluster.channel, &cluster.address, job).await else {
            return Ok(());
        };
        let now = Progress::of(&stages);
        if let Some(observer) = &self.observer {
            observer(Some(now));
        }
        self.count(now);
        if self.idle < LOOKS || others_run(cluster, job).await {
            return Ok(());
        }
        exec_err!(
            "the query does not go on: none of its tasks has run for {LOOKS} s, and none of another query \
             ({now}). See that executors are there, answer, and follow the scheduler's policy \
             (--scheduler-policy, --task-scheduling-policy), and are not at tasks of queries that were \
             cancelled; look for job {job} in the logs of the scheduler and the executors"
        )
    }

    fn count(&mut self, now: Progress) {
        let idles = now == self.seen && now.tasks_running == 0;
        self.idle = if idles { self.idle + 1 } else { 0 };
        self.seen = now;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            observer(None);
        }
    }
}

/// Whether tasks of other jobs run, for which this one waits.
async fn others_run(cluster: &Cluster, job: &str) -> bool {
    let (channel, address) = (&cluster.channel, &cluster.address);
    let others = unfinished_jobs(channel, address).await.unwrap_or_default();
    for other in others.iter().filter(|other| *other != job) {
        let stages = stages(channel, address, other).await.unwrap_or_default();
        if Progress::of(&stages).tasks_running > 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_scheduler_tells() {
        let failed = json!({"Failed": {"reason": "IoError", "error": "disk"}});
        let stages = [
            json!({"stage_status": "Successful",
                   "tasks": [{"status": "Successful"}, {"status": failed}, {"status": "Successful"}]}),
            json!({"stage_status": "Running", "tasks": [{"status": "Running"}]}),
            json!({"stage_status": "UnResolved", "tasks": []}),
        ];
        let progress = Progress::of(&stages);
        assert_eq!(
            progress.to_string(),
            "stages: 1 of 3 done; tasks: 3 done, 1 running"
        );
    }

    #[test]
    fn only_what_neither_runs_nor_changes_is_idle() {
        let at = |tasks_done, tasks_running| Progress {
            stages: 2,
            tasks_done,
            tasks_running,
            ..Progress::default()
        };
        let mut watch = Watch::new(None);
        let idle = [
            (at(0, 1), 0),
            (at(0, 1), 0),
            (at(1, 0), 0),
            (at(1, 0), 1),
            (at(1, 0), 2),
            (at(2, 0), 0),
            (at(2, 0), 1),
            (at(2, 1), 0),
        ];
        for (step, (progress, expected)) in idle.into_iter().enumerate() {
            watch.count(progress);
            assert_eq!(watch.idle, expected, "step {step}");
        }
    }
}
