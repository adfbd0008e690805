//! The sort-merge driver: two streams in time order, one row kept per key.
//!
//! # Sides
//!
//! Both inputs arrive in time order, ascending for a backward join and descending for a
//! forward one, equal keys in the same partition. Inputs that already have that order are
//! not sorted again. Joins for which one row per key is not enough are not merged at all:
//! see [`indexed`](super::indexed).
//!
//! # Algorithm
//!
//! ```text
//! for each left batch
//!     until each of its rows has its match:  advance the merge (kernel/merge.rs)
//!                                            or read the next right batch
//!     gather the payload of the matched rows, emit
//!     emit the right rows that nobody chose, if they come out
//! ```
//!
//! # Memory
//!
//! Right batches are kept only while one of their rows is the last seen of its key or the
//! match of a left row not yet emitted. Those no longer needed are dropped each time the
//! number kept has doubled; when what is left is mostly rows that nobody needs, or memory is
//! short, the needed ones are copied together, so a rare key does not pin its batch. Ordinals
//! of all keys of both sides are kept. All of it is taken from the memory pool as
//! `AsOfJoinMerge`.
//!
//! # Degenerate cases
//!
//! With an empty left side the right is not read at all. When the left ends first and the
//! order of the right is only promised, the right is read to its end: a row further on that
//! breaks the order could have been a match. A right side that was sorted on the way is read
//! a little further (see [`LOOK_AHEAD_ROWS`]), only to count why rows are unmatched.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{DataFusionError, HashMap, HashSet, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, TryEmitter, async_try_stream};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::RecordOutput;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use super::asof_join::AsOfJoinExec;
use super::by_batch::Fetched;
use super::copies::Copying;
use super::gather::{RightRows, gather};
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use crate::kernel::merge::{Cursor, Merge, MergeSpec, Needs, OrderedBatch};
use crate::kernel::order::OrderCheck;
use crate::kernel::ordinals::{KeyOrdinals, refuse};
use crate::kernel::rows::RowId;
use crate::spec::Side;

/// How far a sorted right is read beyond the last left row to tell a key that does not exist
/// from one that comes too late. A key that first occurs further on counts as not existing.
const LOOK_AHEAD_ROWS: usize = 65_536;
/// Kept batches below this number are not looked through.
const FEW_BATCHES: usize = 16;

pub(super) fn sort_merge_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let matching = Arc::clone(join.matching());
    let schema = Arc::clone(&matching.columns.schema);
    let consumer = MemoryConsumer::new(format!("AsOfJoinMerge[{partition}]"));
    let op = matching.spec.match_condition.op;
    let own_values = matching.own_value_columns();
    let merge = Merge::new(MergeSpec {
        op,
        tolerance: matching.tolerance,
        classes: 1 + own_values.len(),
        keeps_unchosen: matching.spec.join_type.keeps_unmatched_right(),
    });
    let promised = is_promised(join.right());
    let mut right_order = OrderCheck::new(Side::Right, op);
    if promised && !matching.tie_types.is_empty() {
        right_order = right_order.with_ties(&matching.tie_types)?;
    }
    let driver = SortMerge {
        left: join.left().execute(partition, Arc::clone(context))?,
        left_order: OrderCheck::new(Side::Left, op),
        right: KeptRows {
            input: join.right().execute(partition, Arc::clone(context))?,
            order: right_order,
            kept: HashMap::new(),
            memory: RecordBatchMemoryCounter::new(),
            next_number: 0,
            look_through_at: FEW_BATCHES,
            promised,
        },
        ordinals: KeyOrdinals::try_new(&matching.key_types)?,
        merge,
        class_of_column: class_of_column(&own_values),
        own_values,
        output: Output::new(&matching, join.metrics_set(), partition),
        reservation: consumer.register(context.memory_pool()),
        batch_size: context.session_config().batch_size(),
        probe_metrics: ProbeMetrics::new(join.metrics_set(), partition),
        build_metrics: BuildMetrics::new(join.metrics_set(), partition),
        matching,
    };
    let stream = async_try_stream(|mut out| async move { driver.run(&mut out).await });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// For each right column the class that it is looked up in, if it has one of its own.
fn class_of_column(own_values: &[usize]) -> Vec<Option<usize>> {
    let columns = own_values.last().map_or(0, |last| last + 1);
    let class = |column: usize| own_values.iter().position(|own| *own == column);
    (0..columns).map(class).collect()
}

/// What each left row of a batch chose, for each class.
type Matches = Vec<Vec<RowId>>;

struct SortMerge {
    matching: Arc<Matching>,
    left: SendableRecordBatchStream,
    left_order: OrderCheck,
    right: KeptRows,
    ordinals: KeyOrdinals,
    merge: Merge,
    /// Right columns that take their own nearest value, and the class of each column.
    own_values: Vec<usize>,
    class_of_column: Vec<Option<usize>>,
    output: Output,
    reservation: MemoryReservation,
    batch_size: usize,
    probe_metrics: ProbeMetrics,
    build_metrics: BuildMetrics,
}

/// The right input, and the batches of it that are still needed.
struct KeptRows {
    input: SendableRecordBatchStream,
    order: OrderCheck,
    kept: HashMap<u32, RecordBatch>,
    memory: RecordBatchMemoryCounter,
    next_number: u32,
    look_through_at: usize,
    /// Whether nothing but a declaration says that the input is in order.
    promised: bool,
}

/// When the needed rows of kept batches are copied together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    /// If most of the rows kept are not needed.
    IfFew,
    /// If memory is short and there is a row to be let go.
    IfAny,
}

/// Whether some source of the plan is taken to be in order without having been sorted.
fn is_promised(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    !plan.is::<SortExec>() && (children.is_empty() || children.into_iter().any(is_promised))
}

impl SortMerge {
    async fn run(mut self, out: &mut TryEmitter<RecordBatch, DataFusionError>) -> Result<()> {
        // An empty batch: nothing of the right has been read.
        let mut right = Some(self.before_first()?);
        while let Some((batch, mut left)) = self.next_left().await? {
            let classes = 1 + self.own_values.len();
            let mut matches = vec![Vec::with_capacity(batch.num_rows()); classes];
            loop {
                let timer = self.probe_metrics.baseline.elapsed_compute().timer();
                let needs = self
                    .merge
                    .advance(&mut left, right.as_mut(), &mut matches)?;
                drop(timer);
                match needs {
                    Needs::Left => break,
                    Needs::Right => {
                        self.emit_unchosen(out).await?;
                        right = self.next_right(&mut matches).await?;
                    }
                }
            }
            let rows = self.assemble(&batch, &matches)?;
            self.emit(rows, out).await;
        }
        if self.merge.counts.total() > 0 || self.keeps_unchosen() {
            self.read_on(right, out).await?;
        }
        self.merge.end();
        self.emit_unchosen(out).await?;
        self.probe_metrics.record(self.merge.counts);
        self.probe_metrics.baseline.done();
        Ok(())
    }

    fn keeps_unchosen(&self) -> bool {
        self.matching.spec.join_type.keeps_unmatched_right()
    }

    async fn emit(
        &mut self,
        rows: RecordBatch,
        out: &mut TryEmitter<RecordBatch, DataFusionError>,
    ) {
        if rows.num_rows() > 0 {
            let rows = rows.record_output(&self.probe_metrics.baseline);
            out.emit(rows).await;
        }
    }

    /// Emits the right rows that are known to be chosen by nobody.
    async fn emit_unchosen(
        &mut self,
        out: &mut TryEmitter<RecordBatch, DataFusionError>,
    ) -> Result<()> {
        let unchosen = self.merge.take_unchosen();
        for rows in unchosen.chunks(self.batch_size) {
            let timer = self.probe_metrics.baseline.elapsed_compute().timer();
            let columns = self.gather_right(rows)?;
            let alone = self.output.alone(&columns, rows.len())?;
            drop(timer);
            self.emit(alone, out).await;
        }
        Ok(())
    }

    /// All kept columns of some kept rows.
    fn gather_right(&self, rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let all: Vec<usize> = (0..self.matching.columns.kept.len()).collect();
        self.gather(&all, rows)
    }

    fn assemble(&self, left: &RecordBatch, matches: &Matches) -> Result<RecordBatch> {
        let _timer = self.probe_metrics.baseline.elapsed_compute().timer();
        let by_class: Vec<&[RowId]> = matches[1..].iter().map(Vec::as_slice).collect();
        let choice = Choice {
            rows: &matches[0],
            by_class: &by_class,
            class_of_column: &self.class_of_column,
            fetched: Fetched::default(),
        };
        let left = left.project(&self.matching.columns.left)?;
        self.output.assemble(&left, choice, self)
    }

    fn before_first(&self) -> Result<Cursor> {
        let times = self.matching.domain.no_times(Side::Right)?;
        Ok(Cursor {
            batch: OrderedBatch {
                keys: vec![],
                times,
                validity: vec![],
            },
            number: 0,
            position: 0,
        })
    }

    async fn next_left(&mut self) -> Result<Option<(RecordBatch, Cursor)>> {
        while let Some(batch) = self.left.next().await.transpose()? {
            if batch.num_rows() == 0 {
                continue;
            }
            let _timer = self.probe_metrics.baseline.elapsed_compute().timer();
            let inputs = self.matching.left_inputs(&batch)?;
            self.make_room(batch.num_rows())?;
            let mut keys = self.ordinals.intern(&inputs.keys, batch.num_rows())?;
            if let Some(mask) = &inputs.mask {
                refuse(&mut keys, mask);
            }
            let times = self.matching.domain.times(Side::Left, &inputs.time)?;
            self.left_order.check(&times, batch.num_rows(), &[])?;
            self.merge.grow(self.ordinals.len());
            self.account()?;
            let cursor = Cursor {
                batch: OrderedBatch {
                    keys,
                    times,
                    validity: vec![],
                },
                number: 0,
                position: 0,
            };
            return Ok(Some((batch, cursor)));
        }
        Ok(None)
    }

    /// The next right batch; `matches` are those of the left batch at hand, whose rows must
    /// stay reachable.
    async fn next_right(&mut self, matches: &mut Matches) -> Result<Option<Cursor>> {
        while let Some(batch) = self.right.input.next().await.transpose()? {
            if batch.num_rows() == 0 {
                continue;
            }
            let time = self.build_metrics.build_time.clone();
            let _timer = time.timer();
            self.build_metrics.right_rows.add(batch.num_rows());
            let inputs = self.matching.right_inputs(&batch)?;
            self.make_room(batch.num_rows())?;
            let mut keys = self.ordinals.intern(&inputs.keys, batch.num_rows())?;
            if let Some(mask) = &inputs.mask {
                refuse(&mut keys, mask);
            }
            let times = self.matching.domain.times(Side::Right, &inputs.time)?;
            let order = &mut self.right.order;
            order.check(&times, batch.num_rows(), &inputs.ties)?;
            self.merge.grow(self.ordinals.len());
            if self.right.kept.len() >= self.right.look_through_at {
                self.drop_unneeded(matches, Copies::IfFew).await?;
            }
            let (payload, _) = self.matching.split_place(&batch)?;
            self.right.memory.count_batch(&payload);
            if self.account().is_err() {
                self.drop_unneeded(matches, Copies::IfAny).await?;
                self.right.memory.count_batch(&payload);
                self.account()?;
            }
            let own_values = self.own_values.iter();
            let validity = own_values.map(|column| payload.column(*column).logical_nulls());
            let validity = validity.collect();
            let number = self.right.keep(payload);
            return Ok(Some(Cursor {
                batch: OrderedBatch {
                    keys,
                    times,
                    validity,
                },
                number,
                position: 0,
            }));
        }
        Ok(None)
    }

    /// Takes the memory of all that is held.
    fn account(&self) -> Result<()> {
        let held = self.held();
        self.build_metrics.peak_mem_used.set_max(held);
        self.reservation.try_resize(held)
    }

    /// Takes the memory that the keys of so many rows may need.
    fn make_room(&self, rows: usize) -> Result<()> {
        let keys = self.ordinals.len() + rows;
        let room = self.ordinals.room(rows) + self.merge.room(keys, rows);
        self.reservation.try_resize(self.held() + room)
    }

    fn held(&self) -> usize {
        self.right.memory.memory_usage() + self.ordinals.size() + self.merge.size()
    }

    /// Drops right batches that hold no needed row, and copies the needed rows of others
    /// together.
    async fn drop_unneeded(&mut self, matches: &mut Matches, copy: Copies) -> Result<()> {
        let needed = |row: &&mut RowId| row.is_some();
        let of_left = matches.iter().map(Vec::len).sum::<usize>();
        let most = self.merge.live().count() + of_left;
        let lists = 2 * most * size_of::<RowId>();
        self.reservation.try_resize(self.held() + lists)?;
        let of_left = matches.iter().flatten().filter(|row| row.is_some());
        let rows = self.merge.live().chain(of_left.copied());
        let mut rows: Vec<RowId> = rows.collect();
        rows.sort_unstable_by_key(|row| (row.batch, row.row));
        rows.dedup();
        let used: HashSet<u32> = rows.iter().map(|row| row.batch).collect();
        self.right.retain(&used);
        self.reservation.try_resize(self.held() + lists)?;
        let kept_rows: usize = self.right.kept.values().map(RecordBatch::num_rows).sum();
        let copies = match copy {
            Copies::IfFew => kept_rows > 4 * rows.len() && self.right.kept.len() > FEW_BATCHES,
            Copies::IfAny => kept_rows > rows.len(),
        };
        if copies {
            let batch = |number| self.right.kept.get(&number);
            let mut copying = Copying::new(&self.matching, &self.reservation, batch);
            let together = copying.copy(&rows).await?;
            self.right.retain(&HashSet::new());
            let mut ids = Vec::with_capacity(rows.len());
            for batch in together {
                let rows = 0..batch.num_rows() as u32;
                self.right.memory.count_batch(&batch);
                let number = self.right.keep(batch);
                ids.extend(rows.map(|row| RowId { batch: number, row }));
            }
            let id = |row: RowId| {
                let at = rows.binary_search_by_key(&(row.batch, row.row), |r| (r.batch, r.row));
                at.map_or(row, |at| ids[at])
            };
            self.merge.relocate(id);
            for row in matches.iter_mut().flatten().filter(needed) {
                *row = id(*row);
            }
        }
        self.account()?;
        self.right.look_through_at = FEW_BATCHES.max(2 * self.right.kept.len());
        Ok(())
    }

    /// Reads on when the left has ended: to the end where an order was promised or right rows
    /// come out alone, else to tell keys that do not exist from keys whose rows come too late.
    async fn read_on(
        &mut self,
        mut right: Option<Cursor>,
        out: &mut TryEmitter<RecordBatch, DataFusionError>,
    ) -> Result<()> {
        let mut rows = 0;
        while let Some(mut batch) = right {
            self.merge.look_at(&mut batch);
            self.emit_unchosen(out).await?;
            rows += batch.batch.keys.len();
            let enough = rows >= LOOK_AHEAD_ROWS || !self.merge.wonders();
            if enough && !self.right.promised && !self.keeps_unchosen() {
                break;
            }
            right = self.next_right(&mut vec![]).await?;
        }
        Ok(())
    }
}

impl RightRows for SortMerge {
    fn gather(&self, columns: &[usize], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let nulls = &self.matching.columns.kept_nulls;
        gather(nulls, columns, rows, |number| self.right.kept.get(&number))
    }
}

impl KeptRows {
    /// Keeps a batch that `memory` has counted.
    fn keep(&mut self, batch: RecordBatch) -> u32 {
        let number = self.next_number;
        // Numbers of batches long dropped may come again after 2^32 batches.
        self.next_number = (number + 1) % u32::MAX;
        self.kept.insert(number, batch);
        number
    }

    fn retain(&mut self, used: &HashSet<u32>) {
        self.kept.retain(|number, _| used.contains(number));
        self.memory = RecordBatchMemoryCounter::new();
        for batch in self.kept.values() {
            self.memory.count_batch(batch);
        }
    }
}
