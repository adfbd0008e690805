//! How the inputs of a join are read: cut for the tasks that read them, how many at a time, and what is read as
//! something else than it is planned as.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::asof_join::AsOfJoinExec;
#[cfg(feature = "parquet")]
use super::dictionary_keys;
use super::read_in_order::as_one_stream;
use super::row_place::{evenly_cut, finely_cut, reads_apart};
use super::strategy::AsOfStrategy;

impl AsOfJoinExec {
    /// The left input as it is read.
    pub(super) fn left_to_read(&self) -> Result<&Arc<dyn ExecutionPlan>> {
        Ok(&self.inputs_to_read()?[0])
    }

    /// The right input as it is read.
    pub(super) fn right_to_read(&self) -> Result<&Arc<dyn ExecutionPlan>> {
        Ok(&self.inputs_to_read()?[1])
    }

    fn inputs_to_read(&self) -> Result<&[Arc<dyn ExecutionPlan>; 2]> {
        match self.read.get() {
            Some(read) => Ok(read),
            None => {
                let read = inputs_as_read(self)?;
                Ok(self.read.get_or_init(|| read))
            }
        }
    }

    /// The same join, the scans of its sides cut: the right side into more partitions than there are
    /// tasks, if it is read whole by tasks that share them out, the left into as many. Tasks of a
    /// cluster share nothing out: they get the right side from an exchange.
    pub(crate) fn with_scans_cut(self, config: &ConfigOptions) -> Result<Self> {
        match self.strategy() {
            AsOfStrategy::Broadcast | AsOfStrategy::BroadcastLeft if !self.is_distributed() => {
                let right = finely_cut(Arc::clone(self.right()), config)?;
                let left = match self.spec().join_type.keeps_unmatched_right() {
                    true => Arc::clone(self.left()),
                    false => evenly_cut(Arc::clone(self.left()), config)?,
                };
                self.with_inputs(left, right)
            }
            _ => Ok(self),
        }
    }

    /// The inputs as one stream each, in time order without being sorted, if they are and the join
    /// can merge them; not for tasks of a cluster, which have a partition each. So many joins of
    /// the plan are executed at a time, and share the cores.
    pub(crate) fn as_streams(
        &self,
        joins: usize,
        config: &ConfigOptions,
    ) -> Result<Option<[Arc<dyn ExecutionPlan>; 2]>> {
        if self.is_distributed() || !self.merges_in_order() {
            return Ok(None);
        }
        let [of_left, of_right] = self.time_orders()?;
        let tasks = config.execution.target_partitions.div_ceil(joins.max(1));
        let Some(left) = as_one_stream(self.left(), &of_left, tasks, config)? else {
            return Ok(None);
        };
        let right = as_one_stream(self.right(), &of_right, tasks, config)?;
        Ok(right.map(|right| [left, right]))
    }

    /// The same join over [such inputs](Self::as_streams), merged as they come.
    pub(crate) fn merging_streams(
        &self,
        [left, right]: [Arc<dyn ExecutionPlan>; 2],
        reason: String,
    ) -> Result<Self> {
        let mut join = self.executed_as((left, right), AsOfStrategy::SortMerge, reason.into())?;
        join.streams = true;
        Ok(join)
    }

    /// How many tasks may read the right side at a time, if partitions that can be read apart are read
    /// by so many, and of others exchanges that are yet to come may make as many of each.
    pub(crate) fn right_readers(&self, tasks: usize) -> usize {
        match reads_apart(self.right().as_ref()) {
            true => tasks,
            false => tasks * self.right().output_partitioning().partition_count(),
        }
    }
}

/// The left and the right input of a join as they are read, which may be another way than they are
/// planned: what is left of both to the join is the same.
pub(super) fn inputs_as_read(join: &AsOfJoinExec) -> Result<[Arc<dyn ExecutionPlan>; 2]> {
    #[cfg(feature = "parquet")]
    return dictionary_keys::sides(join);
    #[cfg(not(feature = "parquet"))]
    Ok([Arc::clone(join.left()), Arc::clone(join.right())])
}
