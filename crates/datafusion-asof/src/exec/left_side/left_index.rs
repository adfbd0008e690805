//! The left side, read whole and indexed.
//!
//! # Shared by a chain of joins
//!
//! Of joins one above the other, as those of ten feature tables with one table of labels, every
//! one has the left rows of the one below, with more columns. Where they also have the same keys
//! and the same time, they share one index: the lowest reads and indexes its left side, those
//! above it take what they know of it. Their own left rows they need not hold, only count: an
//! as-of LEFT join gives each row of its left partition once, in its order and its batches.
//!
//! # Memory
//!
//! The left batches with 12 to 20 bytes a row, and while the index is built up to 28 more, taken
//! from the pool as `AsOfJoinBuild`. It is held until the last join of the chain has ended.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExprRef;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;

use super::turns::Turns;
use crate::exec::asof_join::AsOfJoinExec;
use crate::exec::build_side::{build_index, push};
use crate::exec::columns::Source;
use crate::exec::copies::{KeptMemory, without_room};
use crate::exec::matching::Matching;
use crate::exec::metrics::BuildMetrics;
use crate::exec::parallel::in_order;
use crate::exec::strategy::AsOfStrategy;
use crate::kernel::index::{Hopeless, IndexBatch, IndexPart, Places, SideIndex};
use crate::spec::{AsOfJoinType, Side};

/// Room for the row numbers of a partition.
const PARTITION_SHIFT: u32 = 40;

/// The left side with its index.
pub(crate) struct LeftIndex {
    pub index: Arc<SideIndex>,
    /// By partition.
    pub batches: Vec<Vec<LeftBatch>>,
    /// How many left rows there are.
    pub rows: usize,
    pub hopeless: Hopeless,
    pub reservation: Arc<MemoryReservation>,
    pub turns: Arc<Turns>,
}

/// A left batch, of which the rows are numbered from `start` on.
pub(crate) struct LeftBatch {
    pub start: usize,
    /// The columns that come out.
    pub rows: RecordBatch,
}

/// What the reading of a left side needs.
pub(super) struct LeftInput {
    pub matching: Arc<Matching>,
    pub left: Arc<dyn ExecutionPlan>,
    pub context: Arc<TaskContext>,
    pub metrics: ExecutionPlanMetricsSet,
    /// Tasks that work is shared out to.
    pub tasks: usize,
}

impl LeftInput {
    pub(super) async fn index(self) -> Result<Arc<LeftIndex>> {
        let pool = self.context.memory_pool();
        let reservation = Arc::new(MemoryConsumer::new("AsOfJoinBuild").register(pool));
        let kept = Arc::new(KeptMemory::new(Arc::clone(&reservation)));
        let (mut parts, mut batches) = (vec![], vec![]);
        for (part, of_part) in self.read(&kept, &reservation).await? {
            parts.push(part);
            batches.push(of_part);
        }
        let metrics = BuildMetrics::new(&self.metrics, 0);
        let _timer = metrics.build_time.timer();
        let mut hopeless = Hopeless::default();
        for part in &parts {
            hopeless += part.hopeless();
        }
        let mut end = 0;
        let mut numbered = |batch: &RecordBatch| {
            let start = end;
            end += batch.num_rows();
            LeftBatch {
                start,
                rows: batch.clone(),
            }
        };
        let of_part = |of_part: &Vec<RecordBatch>| of_part.iter().map(&mut numbered).collect();
        let numbered: Vec<Vec<LeftBatch>> = batches.iter().map(of_part).collect();
        let (index, _) = build_index(parts, batches, self.tasks, &reservation).await?;
        metrics.peak_mem_used.set_max(reservation.size());
        reservation.try_resize(kept.size() + index.size())?;
        Ok(Arc::new(LeftIndex {
            index: Arc::new(index),
            batches: numbered,
            rows: end,
            hopeless,
            reservation,
            turns: Arc::new(Turns::new(self.tasks, pool)),
        }))
    }

    /// The left partitions, keys and times apart, with the columns that come out.
    async fn read(
        &self,
        memory: &Arc<KeptMemory>,
        reservation: &Arc<MemoryReservation>,
    ) -> Result<Vec<(IndexPart, Vec<RecordBatch>)>> {
        let mut readers = JoinSet::new();
        for partition in 0..self.left.output_partitioning().partition_count() {
            let reader = LeftReader {
                partition,
                input: self.left.execute(partition, Arc::clone(&self.context))?,
                matching: Arc::clone(&self.matching),
                memory: Arc::clone(memory),
                reservation: Arc::clone(reservation),
                metrics: BuildMetrics::new(&self.metrics, partition),
            };
            readers.spawn(async move { Ok((partition, reader.read().await?)) });
        }
        in_order(readers).await
    }
}

/// One partition of the left side on its way into the index.
struct LeftReader {
    partition: usize,
    input: SendableRecordBatchStream,
    matching: Arc<Matching>,
    memory: Arc<KeptMemory>,
    reservation: Arc<MemoryReservation>,
    metrics: BuildMetrics,
}

impl LeftReader {
    async fn read(mut self) -> Result<(IndexPart, Vec<RecordBatch>)> {
        let mut part = IndexPart::try_new(&self.matching.index_spec(Side::Left))?;
        self.reservation.try_grow(part.size())?;
        let mut batches = vec![];
        let mut first = (self.partition as u64) << PARTITION_SHIFT;
        while let Some(batch) = self.input.next().await.transpose()? {
            let rows = batch.num_rows();
            if rows == 0 {
                continue;
            }
            let _timer = self.metrics.build_time.timer();
            let batch = without_room(batch)?;
            let inputs = self.matching.left_inputs(&batch)?;
            let kept = batch.project(&self.matching.columns.left)?;
            self.memory.keep(&kept)?;
            let index_batch = IndexBatch {
                keys: &inputs.keys,
                time: &inputs.time,
                places: Places::run(first, rows),
                mask: inputs.mask.as_ref(),
                ties: &[],
                bounds: &[],
                own_values: &[],
            };
            push(&mut part, &index_batch, &self.reservation)?;
            first += rows as u64;
            batches.push(kept);
        }
        Ok((part, batches))
    }
}

/// The join below, if it has an index of its left side that serves another join too.
pub(crate) fn with_same_left(join: &AsOfJoinExec) -> Option<&AsOfJoinExec> {
    let below = join.left().downcast_ref::<AsOfJoinExec>()?;
    let indexes_left = |join: &AsOfJoinExec| join.strategy() == AsOfStrategy::BroadcastLeft;
    let (of_join, of_below) = (join.matching(), below.matching());
    let serves = indexes_left(join)
        && indexes_left(below)
        && below.spec().join_type == AsOfJoinType::Left
        && of_join.residual.left.is_none()
        && of_below.residual.left.is_none()
        && of_join.key_types == of_below.key_types
        && of_join.domain.has_places_of(&of_below.domain)
        && left_operands(join)
            .map(|operand| below_of(operand, of_below))
            .eq(left_operands(below).map(|operand| Some(Arc::clone(operand))));
    serves.then_some(below)
}

/// What a join reads of its left rows to match them.
fn left_operands(join: &AsOfJoinExec) -> impl Iterator<Item = &PhysicalExprRef> {
    let keys = join.spec().on.iter().map(|key| &key.left);
    keys.chain([&join.spec().match_condition.left])
}

/// An expression over what a join gives as one over its left input; `None` if it reads more.
fn below_of(operand: &PhysicalExprRef, below: &Matching) -> Option<PhysicalExprRef> {
    let mut is_of_left = true;
    let columns = &below.columns;
    let lowered = Arc::clone(operand).transform(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else {
            return Ok(Transformed::no(expr));
        };
        let Some(Source::Left(of_left)) = columns.output.get(column.index()) else {
            is_of_left = false;
            return Ok(Transformed::no(expr));
        };
        let index = columns.left[*of_left];
        let name = below.left_schema.field(index).name();
        Ok(Transformed::yes(Arc::new(Column::new(name, index)) as _))
    });
    let lowered = lowered.ok()?.data;
    is_of_left.then_some(lowered)
}
