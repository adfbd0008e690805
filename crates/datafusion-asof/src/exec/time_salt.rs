//! [`TimeSaltExec`]: the salt of each row, and the rows that ranges of time need of each other.
//!
//! # Motivation
//!
//! Rows of one key belong together, so where one key holds most rows, or there is no key, an
//! exchange by key leaves all partitions idle but one. But time may be cut: what a range of
//! time needs of the ranges before it is one row per key, and that row can be sent along.
//!
//! # The plan
//!
//! ```text
//! AsOfJoinExec: strategy=time_salted       matches by key and time, drops the salt
//!   RepartitionExec: Hash([__asof_salt])   DataFusion's, both sides alike
//!     TimeSaltExec: left                   adds the salt
//!   RepartitionExec: Hash([__asof_salt])
//!     TimeSaltExec: right                  adds the salt and carried rows, and which they are
//!       RowPlaceExec
//! ```
//!
//! # Algorithm
//!
//! A hot key is cut into ranges of time (`kernel/time_cut.rs`); a range, or a key that is not
//! cut, has a slot, and each slot a salt. So the salt follows from the values of a row alone.
//! Each partition of the right passes its rows on and, at its end, sends those that other
//! ranges may need into these ([`carry`](crate::kernel::carry)): ordinary rows, under the salt
//! of the range that needs them.
//!
//! The join matches by key, not by salt: rows of several ranges of a key may meet in one
//! partition, which gives a left row more right rows of its key than it needs and never fewer.
//!
//! # What holds
//!
//! * No partition knows of another, or which one it is; nothing is shared. What has to be known
//!   (keys, cuts, slots) is in the plan.
//! * A task that is run again sends each row to the same salt, and for every range a row that is
//!   the right one to carry, even if its batches come in another order.
//! * If the exchange has another number of partitions than was planned for, they fill less
//!   evenly, with the same answer.
//!
//! # Memory
//!
//! The left passes by. The right keeps copies of the rows to be carried, as many as there are
//! ranges of hot keys (times the classes of `IGNORE NULLS`), taken from the memory pool as
//! `AsOfTimeSalt` before they are copied.
//!
//! # Metrics
//!
//! `carry_rows` is how many rows were sent into other ranges. A column of the right side tells the
//! join which they are, so that it can count the left rows that they matched,
//! `carry_matched_rows`: those that would be wrong without them.
//!
//! # Degenerate cases
//!
//! Times that are NULL or NaN are in the first range of their key. Left rows of which the key equals
//! nothing are spread by their times, right rows that can match nothing are not sent at all. A key that is not cut costs a look at its hash; with no key to
//! be cut nothing is carried.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, UInt32Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext, async_try_stream};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::{
    EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalExprRef,
};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, StatisticsArgs, apply_expression_roots,
};
use futures::StreamExt;

use self::carried::CarriedRows;
use super::matching::Matching;
use super::metrics::SaltMetrics;
use crate::spec::Side;

mod carried;
mod join;
mod plan;
mod skew;

#[cfg(feature = "proto")]
pub(crate) use self::plan::SaltParts;
pub(super) use self::plan::SaltPlan;
pub use self::plan::{HotKey, TimeSalt};
pub(crate) use self::skew::{KnownSkew, NEARLY, Skew, SkewLimits, shown_load};
pub(crate) use crate::kernel::skew::{SampledBlock, SampledSide, whole_blocks};

const SALT: &str = "__asof_salt";
const CARRIED: &str = "__asof_carried";

/// The salt column of one side of a join: behind the columns that the side has by itself.
pub(super) fn salt(matching: &Matching, side: Side) -> PhysicalExprRef {
    Arc::new(Column::new(SALT, own_columns(matching, side)))
}

/// The column behind the salt of the right side that tells carried rows, for a metric.
pub(super) fn carried(matching: &Matching) -> (usize, FieldRef) {
    let field = Field::new(CARRIED, DataType::Boolean, false);
    (own_columns(matching, Side::Right) + 1, Arc::new(field))
}

/// Whether an input of a join has its salt column.
pub(super) fn has_salt(matching: &Matching, side: Side, input: &dyn ExecutionPlan) -> bool {
    let schema = input.schema();
    let field = schema.fields().get(own_columns(matching, side));
    field.is_some_and(|field| field.name() == SALT && field.data_type() == &DataType::UInt32)
}

fn own_columns(matching: &Matching, side: Side) -> usize {
    match side {
        Side::Right => matching.right_schema.fields().len(),
        _ => matching.left_schema.fields().len(),
    }
}

/// Adds a salt column to one side of an as-of join, and to the right side carried rows.
#[derive(Debug)]
pub(crate) struct TimeSaltExec {
    input: Arc<dyn ExecutionPlan>,
    pub(super) side: Side,
    pub(super) matching: Arc<Matching>,
    pub(super) salt: Arc<SaltPlan>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl TimeSaltExec {
    pub(super) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        side: Side,
        matching: &Arc<Matching>,
        salt: &Arc<SaltPlan>,
    ) -> Result<Self> {
        let mut fields = input.schema().fields().to_vec();
        let field = Field::new(SALT, DataType::UInt32, false);
        fields.insert(own_columns(matching, side), Arc::new(field));
        if side == Side::Right {
            let (column, field) = carried(matching);
            fields.insert(column, field);
        }
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        Ok(Self {
            properties: Arc::new(Self::properties_of(&input, side, schema)?),
            side,
            matching: Arc::clone(matching),
            salt: Arc::clone(salt),
            metrics: ExecutionPlanMetricsSet::new(),
            input,
        })
    }

    fn properties_of(
        input: &Arc<dyn ExecutionPlan>,
        side: Side,
        schema: SchemaRef,
    ) -> Result<PlanProperties> {
        let partitioning = input.output_partitioning();
        Ok(match side {
            // Carried rows come last, behind newer ones.
            Side::Right => PlanProperties::new(
                EquivalenceProperties::new(schema),
                Partitioning::UnknownPartitioning(partitioning.partition_count()),
                EmissionType::Both,
                input.boundedness(),
            ),
            _ => {
                let all: Vec<usize> = (0..input.schema().fields().len()).collect();
                let same = ProjectionMapping::from_indices(&all, &input.schema())?;
                PlanProperties::new(
                    input.equivalence_properties().project(&same, schema),
                    partitioning.clone(),
                    input.pipeline_behavior(),
                    input.boundedness(),
                )
            }
        })
    }

    fn keeps_rows(&self) -> bool {
        self.side != Side::Right
    }
}

impl DisplayAs for TimeSaltExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Right => "right",
            _ => "left",
        };
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "TimeSaltExec: {side}, {}", self.salt)
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "side={side}")?;
                writeln!(f, "{}", self.salt)
            }
        }
    }
}

impl ExecutionPlan for TimeSaltExec {
    fn name(&self) -> &'static str {
        "TimeSaltExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.keeps_rows()]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let of_side = self.matching.spec.expressions();
        let of_side = of_side.filter(|(side, _)| *side == self.side);
        apply_expression_roots(of_side.map(|(_, expr)| expr), f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self::try_new(
                input,
                self.side,
                &self.matching,
                &self.salt,
            )?)),
            Err(children) => exec_err!("TimeSaltExec has one input, not {}", children.len()),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let mut input = self.input.execute(partition, Arc::clone(&context))?;
        let (matching, salt) = (Arc::clone(&self.matching), Arc::clone(&self.salt));
        let (schema, side) = (self.schema(), self.side);
        let metrics = SaltMetrics::new(&self.metrics, partition, side);
        let salted = Salted {
            schema: Arc::clone(&schema),
            at: own_columns(&matching, side),
            tells_carried: side == Side::Right,
        };
        let consumer = MemoryConsumer::new(format!("AsOfTimeSalt[{partition}]"));
        let reservation = consumer.register(context.memory_pool());
        let batch_size = context.session_config().batch_size();
        let stream = async_try_stream(move |mut out| async move {
            let mut carried = match side {
                Side::Right => Some(CarriedRows::try_new(&matching, &salt, reservation)?),
                _ => None,
            };
            while let Some(batch) = input.next().await.transpose()? {
                let timer = metrics.baseline.elapsed_compute().timer();
                let rows = match &mut carried {
                    Some(carried) => {
                        let (batch, salts) = carried.pass(&matching, &salt, batch)?;
                        salted.with_salts(&batch, salts, false)?
                    }
                    None => {
                        let salts = salt.of_left(&matching, &batch)?;
                        salted.with_salts(&batch, salts, false)?
                    }
                };
                drop(timer);
                if rows.num_rows() > 0 {
                    out.emit(rows.record_output(&metrics.baseline)).await;
                }
            }
            if let Some(carried) = carried {
                let to_send = carried.to_send(&salt);
                if let Some(carry_rows) = &metrics.carry_rows {
                    carry_rows.add(to_send.len());
                }
                for rows in to_send.chunks(batch_size) {
                    let timer = metrics.baseline.elapsed_compute().timer();
                    let (batch, salts) = carried.gather(&salt, rows)?;
                    let rows = salted.with_salts(&batch, salts, true)?;
                    drop(timer);
                    out.emit(rows.record_output(&metrics.baseline)).await;
                }
            }
            metrics.baseline.done();
            Ok(())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = inputs[0].as_ref().clone();
        if !self.keeps_rows() {
            statistics = statistics.to_inexact();
        }
        let at = own_columns(&self.matching, self.side);
        let columns = &mut statistics.column_statistics;
        for _ in 0..self.schema().fields().len() - self.input.schema().fields().len() {
            columns.insert(at.min(columns.len()), Default::default());
        }
        statistics.total_byte_size = datafusion::common::stats::Precision::Absent;
        Ok(Arc::new(statistics))
    }
}

/// Where the salts go.
struct Salted {
    schema: SchemaRef,
    at: usize,
    /// Whether the next column tells carried rows.
    tells_carried: bool,
}

impl Salted {
    fn with_salts(
        &self,
        batch: &RecordBatch,
        salts: UInt32Array,
        carried: bool,
    ) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        if self.tells_carried {
            let carried = BooleanArray::from(vec![carried; batch.num_rows()]);
            columns.insert(self.at, Arc::new(carried));
        }
        columns.insert(self.at, Arc::new(salts));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
