//! How the inputs of a join are cut for the tasks that read them, and how many read at a time.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_plan::ExecutionPlanProperties;

use super::asof_join::AsOfJoinExec;
use super::row_place::{evenly_cut, finely_cut, reads_apart};
use super::strategy::AsOfStrategy;

impl AsOfJoinExec {
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

    /// How many tasks may read the right side at a time, if partitions that can be read apart are read
    /// by so many, and of others exchanges that are yet to come may make as many of each.
    pub(crate) fn right_readers(&self, tasks: usize) -> usize {
        match reads_apart(self.right().as_ref()) {
            true => tasks,
            false => tasks * self.right().output_partitioning().partition_count(),
        }
    }
}
