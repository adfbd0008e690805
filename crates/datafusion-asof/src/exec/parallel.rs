//! Work without waiting: jobs shared out to tasks, and pieces done one after the other.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::Time;
use tokio::task::JoinError;

use crate::kernel::pieces::Pieces;

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
    let (waiting, job) = (Mutex::new(inputs.into_iter().enumerate()), Arc::new(job));
    let waiting = Arc::new(waiting);
    let mut set = JoinSet::new();
    for _ in 0..tasks.min(count) {
        let (waiting, job) = (Arc::clone(&waiting), Arc::clone(&job));
        set.spawn(async move {
            let mut outputs = vec![];
            loop {
                let next = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next();
                let Some((number, input)) = next else {
                    return outputs;
                };
                outputs.push((number, job(input)));
                tokio::task::yield_now().await;
            }
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
pub(super) fn joined<T>(task: Result<T, JoinError>) -> Result<T> {
    task.map_err(|error| match error.is_panic() {
        true => std::panic::resume_unwind(error.into_panic()),
        false => DataFusionError::ExecutionJoin(Box::new(error)),
    })
}
