//! Work shared out to tasks, and work in pieces.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;

use datafusion::common::runtime::{JoinSet, SpawnedTask};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::Time;
use tokio::task::JoinError;

use super::row_place::reads_apart;
use crate::kernel::pieces::Pieces;

/// Tasks for so much to share out.
pub(super) fn most_tasks(of: usize, context: &TaskContext) -> usize {
    of.min(context.session_config().target_partitions()).max(1)
}

/// Tasks that read so many partitions of a plan: one for each, unless they can be
/// [read apart](reads_apart), and so shared out.
pub(super) fn readers(plan: &dyn ExecutionPlan, partitions: usize, context: &TaskContext) -> usize {
    match reads_apart(plan) {
        true => most_tasks(partitions, context),
        false => partitions,
    }
}

/// What tasks share out, first come, first served.
pub(super) struct Queue<T>(Mutex<vec::IntoIter<T>>);

impl<T> Queue<T> {
    pub(super) fn new(of: Vec<T>) -> Self {
        Self(Mutex::new(of.into_iter()))
    }

    pub(super) fn next(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// Work that tasks do ahead of whoever asks for it, which comes out in the order it was begun in.
/// Dropping it ends the tasks.
pub(super) struct Ahead<T> {
    running: VecDeque<SpawnedTask<Result<T>>>,
    most: usize,
}

impl<T: Send + 'static> Ahead<T> {
    /// Of which so many may be done at a time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            running: VecDeque::new(),
            most: most.max(1),
        }
    }

    /// Whether the first is to be waited for before another is begun.
    pub(super) fn is_full(&self) -> bool {
        self.running.len() >= self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(super) fn begin(&mut self, work: impl Future<Output = Result<T>> + Send + 'static) {
        self.running.push_back(SpawnedTask::spawn(work));
    }

    /// Waits for the first; `None` if none is begun. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<T>> {
        let Some(first) = self.running.front_mut() else {
            return Ok(None);
        };
        let done = joined(first.await);
        self.running.pop_front();
        done?.map(Some)
    }
}

/// Runs `job` for each input on as many tasks as `tasks` says; gives the results in the order
/// of the inputs. Dropping the future ends the tasks, between two jobs.
pub(super) async fn in_parallel<I, O>(
    tasks: usize,
    inputs: Vec<I>,
    job: impl Fn(I) -> O + Send + Sync + 'static,
) -> Result<Vec<O>>
where
    I: Send + 'static,
    O: Send + 'static,
{
    let count = inputs.len();
    if count <= 1 || tasks <= 1 {
        let mut outputs = Vec::with_capacity(count);
        for input in inputs {
            outputs.push(job(input));
            tokio::task::yield_now().await;
        }
        return Ok(outputs);
    }
    let numbered = inputs.into_iter().enumerate().collect();
    let (waiting, job) = (Arc::new(Queue::new(numbered)), Arc::new(job));
    let mut set = JoinSet::new();
    for _ in 0..tasks.min(count) {
        let (waiting, job) = (Arc::clone(&waiting), Arc::clone(&job));
        set.spawn(async move {
            let mut outputs = vec![];
            while let Some((number, input)) = waiting.next() {
                outputs.push((number, job(input)));
                tokio::task::yield_now().await;
            }
            outputs
        });
    }
    drop((waiting, job));
    let mut outputs = Vec::with_capacity(count);
    while let Some(done) = set.join_next().await {
        outputs.extend(joined(done)?);
    }
    outputs.sort_unstable_by_key(|(number, _)| *number);
    Ok(outputs.into_iter().map(|(_, output)| output).collect())
}

/// Does work piece by piece. Dropping the future ends it between two of them.
///
/// Of the reservation `taken` bytes are for what the work holds; before each piece that is
/// brought to what it may hold after it.
pub(super) async fn in_pieces(
    work: &mut impl Pieces,
    mut taken: usize,
    reservation: &MemoryReservation,
) -> Result<()> {
    loop {
        let needed = work.size() + work.room();
        if let Some(more) = needed.checked_sub(taken) {
            reservation.try_grow(more)?;
            taken = needed;
        }
        if !work.piece()? {
            break;
        }
        tokio::task::yield_now().await;
    }
    match work.size().checked_sub(taken) {
        Some(more) => reservation.try_grow(more),
        None => {
            reservation.shrink(taken - work.size());
            Ok(())
        }
    }
}

/// What tasks came to, in the order of the numbers that they give. If one fails the others are ended, and
/// hold nothing any longer when its error is given.
pub(super) async fn in_order<T: 'static>(mut tasks: JoinSet<Result<(usize, T)>>) -> Result<Vec<T>> {
    let mut done = vec![];
    while let Some(task) = tasks.join_next().await {
        match joined(task)? {
            Ok(result) => done.push(result),
            Err(error) => {
                tasks.shutdown().await;
                return Err(error);
            }
        }
    }
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Work of which the time is taken, without what passes between its pieces.
pub(super) struct Timed<'a, P> {
    pub work: P,
    pub time: &'a Time,
}

impl<P: Pieces> Pieces for Timed<'_, P> {
    fn size(&self) -> usize {
        self.work.size()
    }

    fn room(&self) -> usize {
        self.work.room()
    }

    fn piece(&mut self) -> Result<bool> {
        let _timer = self.time.timer();
        self.work.piece()
    }
}

/// What a task came to; its panic goes on here.
pub(crate) fn joined<T>(task: Result<T, JoinError>) -> Result<T> {
    task.map_err(|error| match error.is_panic() {
        true => std::panic::resume_unwind(error.into_panic()),
        false => DataFusionError::ExecutionJoin(Box::new(error)),
    })
}
