//! What is built once and used by all partitions of a join.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::{Result, SharedResult};
use futures::future::{BoxFuture, Shared};

/// What is built, once and for all.
pub(super) type BuildFuture<T> = Shared<BoxFuture<'static, SharedResult<Arc<T>>>>;

/// The one reading of a side that all left partitions wait for.
///
/// A shared future rather than a once-cell: when the partition that drives it is dropped,
/// another goes on from where it is, and no input is executed twice. When
/// every partition has been executed and is done, what was built is let go.
pub(super) struct SharedBuild<T>(Arc<Mutex<BuildState<T>>>);

struct BuildState<T> {
    build: Option<BuildFuture<T>>,
    /// Left partitions executed so far, and those of them not yet done.
    executed: usize,
    active: usize,
}

/// Counts as one active left partition while it lives.
pub(super) struct ActivePartition<T> {
    state: Arc<Mutex<BuildState<T>>>,
    partitions: usize,
}

impl<T> BuildState<T> {
    fn empty() -> Self {
        Self {
            build: None,
            executed: 0,
            active: 0,
        }
    }
}

impl<T> Default for SharedBuild<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(BuildState::empty())))
    }
}

impl<T> Debug for SharedBuild<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SharedBuild")
    }
}

impl<T> SharedBuild<T> {
    /// The build for one more of `partitions` left partitions.
    pub(super) fn join(
        &self,
        partitions: usize,
        start: impl FnOnce() -> Result<BuildFuture<T>>,
    ) -> Result<(BuildFuture<T>, ActivePartition<T>)> {
        let mut state = lock(&self.0);
        let build = match &state.build {
            Some(build) => build.clone(),
            None => state.build.insert(start()?).clone(),
        };
        state.executed += 1;
        state.active += 1;
        let active = ActivePartition {
            state: Arc::clone(&self.0),
            partitions,
        };
        Ok((build, active))
    }
}

impl<T> Drop for ActivePartition<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.active -= 1;
        if state.active == 0 && state.executed >= self.partitions {
            *state = BuildState::empty();
        }
    }
}

fn lock<T>(state: &Mutex<BuildState<T>>) -> MutexGuard<'_, BuildState<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
