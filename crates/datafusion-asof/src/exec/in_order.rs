//! Partitions of a plan read one behind the other, those to come ahead of time.
//!
//! # Motivation
//!
//! A file in time order is one sequence, but to decode it takes all cores. Cut into ranges, it is a
//! sequence of partitions: tasks read some of them at a time, and whoever asks gets their batches
//! one partition after the other, as from the file in one piece.
//!
//! ```text
//! partitions     0 ████████   1 ███████░   2 ███░░░░░   3 ░░░░░░░░      █ read so far
//! tasks                       a            b
//! the reader is here ──┘      kept until the reader comes by
//! ```
//!
//! # Memory
//!
//! Batches that wait are taken from the memory pool. A task begins a partition where little waits, and
//! reads on until [`PIPELINE`] bytes wait, and [`READ_AHEAD`] more for each task but the one that the reader follows, or a part of
//! the pool. The partition that the reader is at has some room of its own, so it always gets on, whatever those behind it keep.
//!
//! # Degenerate cases
//!
//! Of one partition a task reads a little ahead: that is a pipeline. Dropping the reader ends the tasks.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::common::{Result, exec_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::parallel::{Queue, joined};

/// Bytes that may wait to be read of what a single task reads, on which the reader follows it.
const PIPELINE: usize = 8 << 20;
/// Bytes that may wait for each further task: what it reads waits until the reader has come by all before it. (With more, tasks
/// wait for memory that is new to them; batches that are read soon after they were made leave theirs to the next ones.)
const READ_AHEAD: usize = 32 << 20;
/// A partition is begun where less than this part of that waits: the next one is to be read while the current
/// one is, no matter how large it is, and not much more.
const BEGIN_BELOW_PART: usize = 2;
/// Bytes of the current partition that may wait beside all else.
const OF_CURRENT: usize = 4 << 20;
/// The part of a limited memory pool that may wait.
const PART_OF_POOL: usize = 32;

/// The batches of all partitions of a plan, in the order of the partitions, each made into a `T` by
/// the task that read it.
pub(super) struct InOrder<T> {
    partitions: vec::IntoIter<UnboundedReceiver<Item<T>>>,
    /// The partition that is being read.
    current: Option<UnboundedReceiver<Item<T>>>,
    room: Arc<Room>,
    /// Tasks that have yet to begin.
    waiting: Vec<BoxFuture<'static, ()>>,
    readers: JoinSet<()>,
}

enum Item<T> {
    /// A batch of so many bytes.
    Batch(T, usize),
    /// Nothing comes behind it.
    Last(Result<()>),
}

/// What the readers share.
struct Reading<T, F> {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    partitions: Queue<(usize, UnboundedSender<Item<T>>)>,
    room: Arc<Room>,
    each: F,
}

impl<T: Send + 'static> InOrder<T> {
    /// So many tasks read from when the first batch is asked for. `each` is done by them to every batch
    /// that has rows.
    pub(super) fn new<F>(
        plan: &Arc<dyn ExecutionPlan>,
        tasks: usize,
        context: &Arc<TaskContext>,
        each: F,
    ) -> Self
    where
        F: Fn(RecordBatch) -> Result<T> + Send + Sync + 'static,
    {
        let count = plan.output_partitioning().partition_count();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count)
            .map(|partition| {
                let (sender, receiver) = unbounded_channel();
                ((partition, sender), receiver)
            })
            .unzip();
        let tasks = tasks.clamp(1, count.max(1));
        let room = Arc::new(Room::new(count, tasks, context));
        let reading = Arc::new(Reading {
            plan: Arc::clone(plan),
            context: Arc::clone(context),
            partitions: Queue::new(senders),
            room: Arc::clone(&room),
            each,
        });
        let readers = 0..tasks;
        let mut partitions = receivers.into_iter();
        Self {
            current: partitions.next(),
            partitions,
            room,
            waiting: readers
                .map(|_| Arc::clone(&reading).run().boxed())
                .collect(),
            readers: JoinSet::new(),
        }
    }

    /// The next one. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<T>> {
        for reader in self.waiting.drain(..) {
            self.readers.spawn(reader);
        }
        loop {
            let Some(current) = &mut self.current else {
                return Ok(None);
            };
            match current.recv().await {
                Some(Item::Batch(batch, bytes)) => {
                    self.room.give_back(bytes);
                    return Ok(Some(batch));
                }
                Some(Item::Last(end)) => {
                    self.current = match end {
                        Ok(()) => self.partitions.next(),
                        Err(_) => None,
                    };
                    self.room.go_on();
                    end?;
                }
                None => return self.broken().await,
            }
        }
    }

    /// A task ended before its partition did.
    async fn broken(&mut self) -> Result<Option<T>> {
        while let Some(reader) = self.readers.join_next().await {
            joined(reader)?;
        }
        exec_err!("a task of an ASOF JOIN ended before its input did")
    }
}

impl<T, F: Fn(RecordBatch) -> Result<T>> Reading<T, F> {
    async fn run(self: Arc<Self>) {
        // In their order, so that the first that is not read to its end always has a task.
        while let Some((partition, sender)) = self.partitions.next() {
            let end = self.read(partition, &sender).await;
            let failed = end.is_err();
            if sender.send(Item::Last(end)).is_err() || failed {
                return;
            }
        }
    }

    async fn read(&self, partition: usize, sender: &UnboundedSender<Item<T>>) -> Result<()> {
        let mut input = self.plan.execute(partition, Arc::clone(&self.context))?;
        while let Some(batch) = input.next().await.transpose()? {
            if batch.num_rows() == 0 {
                continue;
            }
            let bytes = get_record_batch_memory_size(&batch);
            self.room.take(partition, bytes).await?;
            let batch = (self.each)(batch)?;
            if sender.send(Item::Batch(batch, bytes)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The room for batches that wait.
struct Room {
    most: usize,
    begin_below: usize,
    of_current: usize,
    reservation: MemoryReservation,
    held: Mutex<Held>,
    changed: Notify,
}

/// The bytes that wait.
struct Held {
    all: usize,
    by_partition: Vec<usize>,
    /// The partition that is being read.
    current: usize,
}

impl Room {
    fn new(partitions: usize, tasks: usize, context: &TaskContext) -> Self {
        let pool = context.memory_pool();
        let part = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => limit / PART_OF_POOL,
            _ => usize::MAX,
        };
        let further = READ_AHEAD.saturating_mul(tasks.saturating_sub(1));
        let most = further.saturating_add(PIPELINE);
        Self {
            most: part.min(most),
            begin_below: part.min(most / BEGIN_BELOW_PART),
            of_current: part.min(OF_CURRENT),
            reservation: MemoryConsumer::new("AsOfJoinReadAhead").register(pool),
            held: Mutex::new(Held {
                all: 0,
                by_partition: vec![0; partitions],
                current: 0,
            }),
            changed: Notify::new(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for a batch.
    ///
    /// # Errors
    /// That of the memory pool, if there is none for the batch that the reader is waiting for.
    async fn take(&self, partition: usize, bytes: usize) -> Result<()> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // What changes from here on is not missed.
            changed.as_mut().enable();
            if self.try_take(partition, bytes)? {
                return Ok(());
            }
            changed.await;
        }
    }

    fn try_take(&self, partition: usize, bytes: usize) -> Result<bool> {
        let mut held = self.held();
        let of_partition = held.by_partition[partition];
        let is_current = held.current == partition;
        let is_waited_for = is_current && of_partition == 0;
        // A task reads the current partition or one that comes later, never an earlier one.
        let is_ahead = !is_current
            && held.all + bytes <= self.most
            && (of_partition > 0 || held.all < self.begin_below);
        let fits =
            is_ahead || is_waited_for || is_current && of_partition + bytes <= self.of_current;
        if !fits {
            return Ok(false);
        }
        match self.reservation.try_grow(bytes) {
            Ok(()) => {}
            Err(error) if is_waited_for => return Err(error),
            Err(_) => return Ok(false),
        }
        held.all += bytes;
        held.by_partition[partition] += bytes;
        Ok(true)
    }

    /// A batch of the current partition was read.
    fn give_back(&self, bytes: usize) {
        let mut held = self.held();
        let current = held.current;
        held.all -= bytes;
        held.by_partition[current] -= bytes;
        self.reservation.shrink(bytes);
        drop(held);
        self.changed.notify_waiters();
    }

    /// The current partition was read to its end.
    fn go_on(&self) {
        self.held().current += 1;
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
