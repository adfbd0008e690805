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
//! Batches come from a [`feed`], keys and times made ready. Where there is one partition and cores for
//! more, as for sides that are in time order by themselves, tasks read both sides ahead and gather the
//! payload: then the merge itself, a few nanoseconds a row, is all that is done by one.
//!
//! # Memory
//!
//! Right batches are [`kept`] only while one of their rows is the last seen of its key or the
//! match of a left row not yet gathered. Those no longer needed are dropped now and then; when what is
//! left is mostly rows that nobody needs, or memory is short, the needed ones are copied together, so a
//! rare key does not pin its batch. Ordinals of all keys of both sides are kept. All of it is taken from
//! the memory pool as `AsOfJoinMerge`, and what is read ahead as `AsOfJoinReadAhead`.
//!
//! # Degenerate cases
//!
//! With an empty left side the right is not read at all. When the left ends first and the
//! order of the right is only promised, the right is read to its end: a row further on that
//! breaks the order could have been a match. A right side that was sorted on the way is read
//! a little further (see [`LOOK_AHEAD_ROWS`]), only to count why rows are unmatched.

mod feed;
mod kept;

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DataFusionError, HashSet, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext, TryEmitter, async_try_stream};
use datafusion::physical_plan::metrics::RecordOutput;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use self::feed::{Feed, OfSide, Preparation, Ready, SharedKeys};
use self::kept::{Kept, RowsNow};
use super::asof_join::AsOfJoinExec;
use super::by_batch::Fetched;
use super::copies::Copying;
use super::gather::RightRows;
use super::matching::Matching;
use super::metrics::{BuildMetrics, ProbeMetrics};
use super::output::{Choice, Output};
use super::parallel::Ahead;
use crate::kernel::merge::{Cursor, Merge, MergeSpec, Needs, OrderedBatch};
use crate::kernel::order::{Inspection, OrderCheck};
use crate::kernel::ordinals::KeyOrdinals;
use crate::kernel::rows::RowId;
use crate::spec::Side;

/// How far a sorted right is read beyond the last left row to tell a key that does not exist
/// from one that comes too late. A key that first occurs further on counts as not existing.
const LOOK_AHEAD_ROWS: usize = 65_536;

pub(super) fn sort_merge_stream(
    join: &AsOfJoinExec,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let matching = Arc::clone(join.matching());
    let schema = Arc::clone(&matching.columns.schema);
    let reservation = || {
        let consumer = MemoryConsumer::new(format!("AsOfJoinMerge[{partition}]"));
        consumer.register(context.memory_pool())
    };
    let op = matching.spec.match_condition.op;
    let own_values = matching.own_value_columns();
    let merge = Merge::new(MergeSpec {
        op,
        tolerance: matching.tolerance,
        classes: 1 + own_values.len(),
        keeps_unchosen: matching.spec.join_type.keeps_unmatched_right(),
    });
    let promised = is_promised(join.right());
    let mut inspection = Inspection::new(op);
    if promised && !matching.tie_types.is_empty() {
        inspection = inspection.with_ties(&matching.tie_types)?;
    }
    let ordinals = KeyOrdinals::try_new(&matching.key_types)?;
    let keys = Arc::new(SharedKeys::new(ordinals, reservation()));
    let probe_metrics = Arc::new(ProbeMetrics::new(join.metrics_set(), partition));
    let build_metrics = BuildMetrics::new(join.metrics_set(), partition);
    let left = Preparation {
        matching: Arc::clone(&matching),
        keys: Arc::clone(&keys),
        inspection: Inspection::new(op),
        side: OfSide::Left(Arc::clone(&probe_metrics)),
    };
    let right = Preparation {
        matching: Arc::clone(&matching),
        keys: Arc::clone(&keys),
        inspection,
        side: OfSide::Right {
            own_values: own_values.clone(),
            metrics: build_metrics.clone(),
        },
    };
    let tasks = tasks(join, context);
    let (of_left, of_right) = (join.left_to_read()?, join.right_to_read()?);
    let (left, right) = match tasks {
        1 => (
            Feed::asked(of_left, partition, context, left)?,
            Feed::asked(of_right, partition, context, right)?,
        ),
        _ => (
            Feed::ahead(of_left, context, left),
            Feed::ahead(of_right, context, right),
        ),
    };
    let batch_size = context.session_config().batch_size();
    let driver = SortMerge {
        left,
        left_order: OrderCheck::new(Side::Left, op),
        right,
        right_order: OrderCheck::new(Side::Right, op),
        promised,
        kept: Kept::new(batch_size),
        keys,
        merge,
        class_of_column: class_of_column(&own_values).into(),
        classes: 1 + own_values.len(),
        output: Arc::new(Output::new(&matching, join.metrics_set(), partition)),
        ahead: (tasks > 1).then(|| Ahead::new(tasks)),
        reservation: reservation(),
        batch_size,
        probe_metrics,
        build_metrics,
        matching,
    };
    let stream = async_try_stream(|mut out| async move { driver.run(&mut out).await });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
}

/// Tasks for a join of one partition. Of rows that keep coming, each comes out as soon as it may.
fn tasks(join: &AsOfJoinExec, context: &TaskContext) -> usize {
    let inputs = [join.left(), join.right()];
    let partitions = |plan: &Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count();
    let is_one = inputs.iter().all(|plan| partitions(plan) == 1);
    let ends = inputs.iter().all(|plan| !plan.boundedness().is_unbounded());
    match is_one && ends {
        true => context.session_config().target_partitions().max(1),
        false => 1,
    }
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
    left: Feed,
    left_order: OrderCheck,
    right: Feed,
    right_order: OrderCheck,
    /// Whether nothing but a declaration says that the right is in order.
    promised: bool,
    kept: Kept,
    keys: Arc<SharedKeys>,
    merge: Merge,
    classes: usize,
    /// For each right column the class that it comes from.
    class_of_column: Arc<[Option<usize>]>,
    output: Arc<Output>,
    /// Tasks that gather payload, if there are any.
    ahead: Option<Ahead<RecordBatch>>,
    reservation: MemoryReservation,
    batch_size: usize,
    probe_metrics: Arc<ProbeMetrics>,
    build_metrics: BuildMetrics,
}

/// The output rows of a left batch, to be put together.
struct Chosen {
    left: RecordBatch,
    matches: Matches,
    class_of_column: Arc<[Option<usize>]>,
    right: RowsNow,
    output: Arc<Output>,
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
            let mut matches = vec![Vec::with_capacity(batch.num_rows()); self.classes];
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
            self.give(batch, matches, out).await?;
        }
        while let Some(rows) = self.next_ahead().await? {
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

    /// Emits the output rows of a left batch, or has them put together while others are matched.
    async fn give(
        &mut self,
        left: RecordBatch,
        matches: Matches,
        out: &mut TryEmitter<RecordBatch, DataFusionError>,
    ) -> Result<()> {
        let chosen = Chosen {
            left,
            matches,
            class_of_column: Arc::clone(&self.class_of_column),
            right: self.kept.rows_now(&self.matching),
            output: Arc::clone(&self.output),
        };
        if self.ahead.as_ref().is_some_and(Ahead::is_full)
            && let Some(rows) = self.next_ahead().await?
        {
            self.emit(rows, out).await;
        }
        let time = self.probe_metrics.baseline.elapsed_compute().clone();
        match &mut self.ahead {
            Some(ahead) => ahead.begin(async move {
                let _timer = time.timer();
                chosen.assemble()
            }),
            None => {
                let timer = time.timer();
                let rows = chosen.assemble()?;
                drop(timer);
                self.emit(rows, out).await;
            }
        }
        Ok(())
    }

    async fn next_ahead(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.ahead {
            Some(ahead) => ahead.next().await,
            None => Ok(None),
        }
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
        self.kept.rows_now(&self.matching).gather(&all, rows)
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
        let Some(ready) = self.left.next().await? else {
            return Ok(None);
        };
        let Ready {
            rows,
            batch,
            order,
            keys,
        } = ready;
        self.left_order.follow(order)?;
        self.make_room(keys, rows.num_rows())?;
        self.merge.grow(keys);
        self.account()?;
        let cursor = Cursor {
            batch,
            number: 0,
            position: 0,
        };
        Ok(Some((rows, cursor)))
    }

    /// The next right batch; `matches` are those of the left batch at hand, whose rows must
    /// stay reachable.
    async fn next_right(&mut self, matches: &mut Matches) -> Result<Option<Cursor>> {
        let Some(ready) = self.right.next().await? else {
            return Ok(None);
        };
        let Ready {
            rows,
            batch,
            order,
            keys,
        } = ready;
        self.right_order.follow(order)?;
        self.make_room(keys, rows.num_rows())?;
        self.merge.grow(keys);
        if self.kept.are_many() {
            self.drop_unneeded(matches, Copies::IfFew).await?;
        }
        self.kept.count(&rows);
        if self.account().is_err() {
            self.drop_unneeded(matches, Copies::IfAny).await?;
            self.kept.count(&rows);
            self.account()?;
        }
        Ok(Some(Cursor {
            batch,
            number: self.kept.keep(rows),
            position: 0,
        }))
    }

    /// Takes the memory of all that is held.
    fn account(&self) -> Result<()> {
        let held = self.held();
        let peak = &self.build_metrics.peak_mem_used;
        peak.set_max(held + self.keys.size());
        self.reservation.try_resize(held)
    }

    /// Takes the memory that so many keys and rows may need.
    fn make_room(&self, keys: usize, rows: usize) -> Result<()> {
        self.reservation
            .try_resize(self.held() + self.merge.room(keys, rows))
    }

    fn held(&self) -> usize {
        self.kept.size() + self.merge.size()
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
        self.kept.retain(&used);
        self.reservation.try_resize(self.held() + lists)?;
        let copies = match copy {
            Copies::IfFew => self.kept.are_in_vain(rows.len()),
            Copies::IfAny => self.kept.rows() > rows.len(),
        };
        if copies {
            let batch = |number| self.kept.get(number);
            let mut copying = Copying::new(&self.matching, &self.reservation, batch);
            let together = copying.copy(&rows).await?;
            self.kept.retain(&HashSet::new());
            let mut ids = Vec::with_capacity(rows.len());
            for batch in together {
                let rows = 0..batch.num_rows() as u32;
                self.kept.count(&batch);
                let number = self.kept.keep(batch);
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
        self.kept.looked_through(rows.len());
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
            if enough && !self.promised && !self.keeps_unchosen() {
                break;
            }
            right = self.next_right(&mut vec![]).await?;
        }
        Ok(())
    }
}

impl Chosen {
    fn assemble(&self) -> Result<RecordBatch> {
        let by_class: Vec<&[RowId]> = self.matches[1..].iter().map(Vec::as_slice).collect();
        let choice = Choice {
            rows: &self.matches[0],
            by_class: &by_class,
            class_of_column: &self.class_of_column,
            fetched: Fetched::default(),
        };
        self.output.assemble(&self.left, choice, &self.right)
    }
}
