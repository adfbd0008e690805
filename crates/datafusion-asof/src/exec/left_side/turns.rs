//! Turns at reading the right sides of a chain of joins.
//!
//! # Motivation
//!
//! A chain of joins that shares the index of its left rows reads one right side for each join. One after
//! the other leaves cores idle whenever the last tasks of one of them end; all at a time holds the
//! candidates of all. So two joins are at work, of which the upper goes first: the readers of both
//! together are as many as there are tasks.
//!
//! Where memory has a limit the joins go one by one, so that a chain needs no more than its largest join
//! and what waits.

use std::sync::Arc;

use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The turns of all joins that share an index of their left rows. They are given first come, first served.
pub(super) struct Turns {
    joins: Semaphore,
    readers: Semaphore,
}

/// A turn, until it is dropped.
pub(super) type Turn<'a> = Option<SemaphorePermit<'a>>;

impl Turns {
    pub(super) fn new(tasks: usize, pool: &Arc<dyn MemoryPool>) -> Self {
        let joins = match pool.memory_limit() {
            MemoryLimit::Infinite => 2,
            MemoryLimit::Finite(_) | MemoryLimit::Unknown => 1,
        };
        Self {
            joins: Semaphore::new(joins),
            readers: Semaphore::new(tasks),
        }
    }

    /// From reading the right side until left rows have chosen.
    pub(super) async fn of_join(&self) -> Turn<'_> {
        self.joins.acquire().await.ok()
    }

    /// For one task, until it finds nothing more to read. Not for tasks that wait for each other.
    pub(super) async fn of_reader(&self) -> Turn<'_> {
        self.readers.acquire().await.ok()
    }
}
