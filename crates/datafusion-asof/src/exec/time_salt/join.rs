//! Time-salted joins: the operator over salted inputs.

use std::sync::Arc;

use datafusion::common::{Result, plan_err};
use datafusion::physical_plan::ExecutionPlan;

use super::plan::{SaltPlan, TimeSalt};
use super::skew::Skew;
use super::{TimeSaltExec, has_salt};
use crate::exec::asof_join::AsOfJoinExec;
use crate::exec::strategy::AsOfStrategy;
use crate::spec::Side;

impl AsOfJoinExec {
    /// The same join, its hot keys cut into ranges of time; `reason` is what `EXPLAIN` gives
    /// for it.
    ///
    /// # Errors
    /// Planning errors for a join that does not [allow](Self::allows) it, and for keys and cuts
    /// that are not of the join's types.
    pub fn time_salted(&self, salt: &TimeSalt, reason: impl Into<Arc<str>>) -> Result<Self> {
        let plan = SaltPlan::of(salt, self.matching())?;
        self.salted_by(&Arc::new(plan), salt.indexed, reason.into())
    }

    /// The same join, cut as its skew says; see [`TimeSalt::indexed`].
    pub(crate) fn salted_by_skew(
        &self,
        skew: &Skew,
        indexed: bool,
        reason: impl Into<Arc<str>>,
    ) -> Result<Self> {
        self.salted_by(&skew.plan, indexed, reason.into())
    }

    fn salted_by(&self, plan: &Arc<SaltPlan>, indexed: bool, reason: Arc<str>) -> Result<Self> {
        if let Some(why) = self.hinders_salt() {
            return plan_err!("this ASOF JOIN cannot be executed as time_salted: {why}");
        }
        let (left, right) = self.own_inputs()?;
        let matching = self.matching();
        let left = TimeSaltExec::try_new(left, Side::Left, matching, plan)?;
        let right = TimeSaltExec::try_new(right, Side::Right, matching, plan)?;
        let inputs = (Arc::new(left) as _, Arc::new(right) as _);
        let mut join = self.executed_as(inputs, AsOfStrategy::TimeSalted, reason)?;
        join.indexes_partitions = indexed;
        Ok(join)
    }

    /// The inputs without their salt.
    pub(in crate::exec) fn own_inputs(
        &self,
    ) -> Result<(Arc<dyn ExecutionPlan>, Arc<dyn ExecutionPlan>)> {
        let own = |side: Side, input: &Arc<dyn ExecutionPlan>| {
            if !has_salt(self.matching(), side, input.as_ref()) {
                return Ok(Arc::clone(input));
            }
            match input.downcast_ref::<TimeSaltExec>() {
                Some(salted) => Ok(Arc::clone(&salted.input)),
                None => plan_err!("a time-salted ASOF JOIN with its exchanges stays one"),
            }
        };
        Ok((
            own(Side::Left, self.left())?,
            own(Side::Right, self.right())?,
        ))
    }
}
