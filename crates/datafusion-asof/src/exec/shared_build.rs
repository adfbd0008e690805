//! What is built once and used by all partitions of a join.

use std::collections::HashSet;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::{Result, SharedResult};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::future::{BoxFuture, Shared};

/// What is built, once and for all.
pub(super) type BuildFuture<T> = Shared<BoxFuture<'static, SharedResult<Arc<T>>>>;

/// A build that is waited for.
pub(super) trait Build: Clone {
    /// Whether it has come to its end.
    fn has_ended(&self) -> bool;
}

impl<T> Build for BuildFuture<T> {
    fn has_ended(&self) -> bool {
        self.peek().is_some()
    }
}

/// The one reading of a side that all left partitions wait for.
///
/// A shared future rather than a once-cell: when the partition that drives it is dropped,
/// another goes on from where it is, and no input is executed twice. When nobody is left to
/// wait, a build that has not ended is dropped with all that it reads; a partition that is
/// executed later begins anew. When every partition has been executed and is done, what was
/// built is let go.
pub(super) struct SharedBuild<B>(Arc<Mutex<BuildState<B>>>);

struct BuildState<B> {
    build: Option<B>,
    /// Left partitions executed so far, and how many streams of them are not yet done.
    executed: HashSet<usize>,
    active: usize,
}

/// Counts as one active left partition while it lives.
pub(super) struct ActivePartition<B: Build> {
    state: Arc<Mutex<BuildState<B>>>,
    partitions: usize,
}

/// Whether the inputs of a build have been executed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

impl Attempt {
    /// An input for this attempt: exchanges can be executed only once.
    pub(super) fn input(self, plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        match self {
            Self::First => Ok(Arc::clone(plan)),
            Self::Again => reset_plan_states(Arc::clone(plan)),
        }
    }
}

impl<B: Build> BuildState<B> {
    fn empty() -> Self {
        Self {
            build: None,
            executed: HashSet::new(),
            active: 0,
        }
    }

    /// What nobody will ask for any more.
    fn let_go(&mut self, partitions: usize) -> Option<B> {
        if self.active > 0 {
            return None;
        }
        if self.executed.len() >= partitions {
            return std::mem::replace(self, Self::empty()).build;
        }
        match &self.build {
            Some(build) if !build.has_ended() => self.build.take(),
            _ => None,
        }
    }
}

impl<B: Build> Default for SharedBuild<B> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(BuildState::empty())))
    }
}

impl<B> Debug for SharedBuild<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SharedBuild")
    }
}

impl<B: Build> SharedBuild<B> {
    /// The build for one of `partitions` left partitions.
    pub(super) fn join(
        &self,
        partition: usize,
        partitions: usize,
        start: impl FnOnce(Attempt) -> Result<B>,
    ) -> Result<(B, ActivePartition<B>)> {
        let mut state = lock(&self.0);
        let attempt = match state.executed.is_empty() {
            true => Attempt::First,
            false => Attempt::Again,
        };
        let build = match &state.build {
            Some(build) => build.clone(),
            None => state.build.insert(start(attempt)?).clone(),
        };
        state.executed.insert(partition);
        state.active += 1;
        let active = ActivePartition {
            state: Arc::clone(&self.0),
            partitions,
        };
        Ok((build, active))
    }

    /// The build that partitions which are active now wait for.
    pub(super) fn current(&self) -> Option<B> {
        lock(&self.0).build.clone()
    }

    /// Lets a build go that new partitions are not to wait for, because what it was made from has been
    /// built anew. Partitions that are active go on with what they have.
    pub(super) fn renounce(&self, is_outdated: impl FnOnce(&B) -> bool) {
        let mut state = lock(&self.0);
        let outdated = match &state.build {
            Some(build) if is_outdated(build) => state.build.take(),
            _ => None,
        };
        drop(state);
        drop(outdated);
    }
}

impl<B: Build> Drop for ActivePartition<B> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.active -= 1;
        let needless = state.let_go(self.partitions);
        // What a build holds is dropped without the lock.
        drop(state);
        drop(needless);
    }
}

fn lock<B>(state: &Mutex<BuildState<B>>) -> MutexGuard<'_, BuildState<B>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
