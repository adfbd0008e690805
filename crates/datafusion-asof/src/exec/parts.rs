//! The nodes taken apart, and put together again over other inputs, for the codec.
//!
//! Parts are what an execution reads of a node besides its inputs. What was known while the plan was
//! made (memory, skew), what is shared by the partitions of one process (builds, dynamic filters)
//! and metrics are no parts of it: a node put together again starts without.
//!
//! Parts may come from anywhere. Everything that planning checks is checked again, and what
//! planning cannot get wrong is checked here.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{Result, exec_err};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::asof_join::AsOfJoinExec;
use super::matching::Matching;
use super::properties::join_schema;
use super::row_place::{Numbers, RANKS, RowPlaceExec};
use super::strategy::AsOfStrategy;
use super::time_salt::{SaltParts, SaltPlan, TimeSaltExec, carried};
use crate::kernel::domain::Line;
pub(crate) use crate::kernel::place::Place;
use crate::spec::{AsOfSpec, Side};

/// An [`AsOfJoinExec`].
#[derive(Debug)]
pub(crate) struct JoinParts {
    pub spec: AsOfSpec<PhysicalExprRef>,
    pub strategy: AsOfStrategy,
    pub reason: String,
    pub projection: Option<Vec<usize>>,
    pub distributed: bool,
    pub indexes_partitions: bool,
    pub streams: bool,
}

/// A [`TimeSaltExec`].
#[derive(Debug)]
pub(crate) struct TimeSaltParts {
    pub side: Side,
    pub spec: AsOfSpec<PhysicalExprRef>,
    pub projection: Option<Vec<usize>>,
    /// The columns that the other side has by itself.
    pub other: SchemaRef,
    pub salt: SaltParts,
}

/// A [`RowPlaceExec`].
#[derive(Debug)]
pub(crate) struct PlaceParts {
    pub ranks: Range<u64>,
    /// By partition of the input where it stands among all of them.
    pub numbers: Vec<u64>,
}

/// The columns of a side without the `added` ones at its end.
pub(crate) fn own_schema(input: &Schema, added: usize) -> Result<SchemaRef> {
    let fields = input.fields().len();
    match fields.checked_sub(added) {
        Some(own) => Ok(Arc::new(input.project(&(0..own).collect::<Vec<_>>())?)),
        None => exec_err!("an input of an ASOF JOIN lost its own columns"),
    }
}

impl JoinParts {
    pub(crate) fn of(join: &AsOfJoinExec) -> Self {
        Self {
            spec: join.spec().clone(),
            strategy: join.strategy(),
            reason: join.reason().to_string(),
            projection: join.matching().projection.clone(),
            distributed: join.is_distributed(),
            indexes_partitions: join.indexes_partitions,
            streams: join.streams,
        }
    }

    /// The columns that the inputs have by themselves.
    pub(crate) fn own_schemas(
        strategy: AsOfStrategy,
        left: &Schema,
        right: &Schema,
    ) -> Result<[SchemaRef; 2]> {
        // A place, and of a salted side a salt and whether it is carried.
        let (of_left, of_right) = match strategy {
            AsOfStrategy::TimeSalted => (1, 3),
            _ => (0, 1),
        };
        Ok([own_schema(left, of_left)?, own_schema(right, of_right)?])
    }

    /// # Errors
    /// Those of planning a join, and for parts and inputs that do not belong together.
    pub(crate) fn over(
        self,
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
    ) -> Result<AsOfJoinExec> {
        let schemas = Self::own_schemas(self.strategy, &left.schema(), &right.schema())?;
        let mut matching = matching(self.spec, &schemas, self.projection)?;
        let (strategy, reason) = (self.strategy, self.reason.into());
        if strategy == AsOfStrategy::TimeSalted {
            matching = matching.with_carried(Some(carried(&matching)))?;
        }
        let join = AsOfJoinExec::over(left, right, Arc::new(matching), strategy, reason)?;
        let mut join = join.with_distributed(self.distributed);
        join.indexes_partitions = self.indexes_partitions;
        join.streams = self.streams;
        match join.allows(strategy) {
            true => Ok(join),
            false => exec_err!("this ASOF JOIN cannot be executed as {strategy}"),
        }
    }
}

impl TimeSaltParts {
    pub(crate) fn of(node: &TimeSaltExec) -> Self {
        let matching = &node.matching;
        let other = match node.side {
            Side::Right => &matching.left_schema,
            _ => &matching.right_schema,
        };
        Self {
            side: node.side,
            spec: matching.spec.clone(),
            projection: matching.projection.clone(),
            other: Arc::clone(other),
            salt: node.salt.parts().clone(),
        }
    }

    /// The columns that both sides have by themselves, one of them under the node.
    pub(crate) fn own_schemas(
        side: Side,
        input: &Schema,
        other: &SchemaRef,
    ) -> Result<[SchemaRef; 2]> {
        Ok(match side {
            Side::Right => [Arc::clone(other), own_schema(input, 1)?],
            _ => [own_schema(input, 0)?, Arc::clone(other)],
        })
    }

    /// # Errors
    /// Those of planning a join, and for parts and an input that do not belong together.
    pub(crate) fn over(self, input: Arc<dyn ExecutionPlan>) -> Result<TimeSaltExec> {
        let schemas = Self::own_schemas(self.side, &input.schema(), &self.other)?;
        let matching = matching(self.spec, &schemas, self.projection)?;
        if matching.hinders_salt().is_some() {
            return exec_err!("this ASOF JOIN cannot be executed as time_salted");
        }
        let salt = salt_plan(&matching, self.salt)?;
        TimeSaltExec::try_new(input, self.side, &Arc::new(matching), &Arc::new(salt))
    }
}

impl PlaceParts {
    pub(crate) fn of(node: &RowPlaceExec) -> Self {
        Self {
            ranks: node.ranks.clone(),
            numbers: node.numbers.0.clone(),
        }
    }

    /// # Errors
    /// For parts and an input that do not belong together.
    pub(crate) fn over(self, input: Arc<dyn ExecutionPlan>) -> Result<RowPlaceExec> {
        let partitions = input.output_partitioning().partition_count();
        if self.numbers.len() != partitions {
            return exec_err!(
                "rows of {partitions} partitions are numbered as of {}",
                self.numbers.len()
            );
        }
        if self.ranks.start > self.ranks.end || self.ranks.end > RANKS {
            return exec_err!("rows are numbered beyond what a place column holds");
        }
        Ok(RowPlaceExec::new(input, self.ranks, Numbers(self.numbers)))
    }
}

fn matching(
    spec: AsOfSpec<PhysicalExprRef>,
    [left, right]: &[SchemaRef; 2],
    projection: Option<Vec<usize>>,
) -> Result<Matching> {
    let joined = join_schema(left, right, spec.join_type);
    let columns = joined.fields().len();
    if projection.iter().flatten().any(|column| *column >= columns) {
        return exec_err!("an ASOF JOIN of {columns} columns is projected to more");
    }
    let matching = Matching::try_new(spec, left, right, joined)?;
    match projection {
        Some(_) => matching.with_projection(projection),
        None => Ok(matching),
    }
}

fn salt_plan(matching: &Matching, parts: SaltParts) -> Result<SaltPlan> {
    let types = &matching.key_types;
    let fits = parts.keys.len() == types.len()
        && (parts.keys.iter().zip(types)).all(|(key, key_type)| {
            key.data_type() == &key_type.data_type && key.len() == parts.cuts.len()
        });
    if !fits {
        return exec_err!("the hot keys of an ASOF JOIN are not of the types of its keys");
    }
    let is_rows = matching.domain.line() == Line::Rows;
    let on_line = |place: &Place| matches!(place, Place::Bytes(_)) == is_rows;
    if !parts.cuts.iter().flatten().all(on_line) {
        return exec_err!("the hot keys of an ASOF JOIN are cut at times of another type");
    }
    SaltPlan::of_parts(types, parts)
}
