//! Right rows that are gathered until they are merged with the left.
//!
//! # Sides
//!
//! The tasks that read the right put its rows here, those that have a key of the left. When they are twice
//! as many as the left rows, one of the tasks has them merged (`kernel/index/meeting.rs`), on all cores,
//! while the others wait. They stay where they are until those that are the best of no left row are too many:
//! then these go ([`thinning`](super::thinning)).
//!
//! # Memory
//!
//! So there are never more than some right rows for each left row, however many there are in all. Their values
//! lie [`side_by_side`](crate::exec::side_by_side), since they are fetched in no order. They are taken from the memory pool with what merging takes, before they are held. Where
//! the pool has no room for more, or they take a quarter of it, those that were gathered are merged before.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::UInt32Array;
use datafusion::arrow::compute::take;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{Result, exec_err};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet};
use tokio::sync::RwLock;

use super::right_stream::RightRows;
use super::thinning::Marks;
use crate::exec::build_side::sharded;
use crate::exec::copies::without_rest;
use crate::exec::matching::Matching;
use crate::exec::metrics::{BuildMetrics, gathered_rows};
use crate::exec::parallel::{in_parallel, in_pieces};
use crate::kernel::index::{Arrivals, Bins, Gathered, IndexPlan, Meeting, Planning, SideIndex};
use crate::spec::Side;

/// Rows that are merged at a time, for each left row, and at least. (With more, their memory takes longer to
/// get than merging more often; with fewer, most of them are the best of a left row, and stay.)
const OF_LEFT_ROW: usize = 2;
const LEAST_FULL: usize = 1 << 18;
/// And at most: rows that are merged have numbers of 32 bits.
const MOST_FULL: usize = 1 << 31;
/// Of a memory pool with a limit this part may be taken by rows that wait to be merged.
const POOL_PART: usize = 4;
/// Rows of all batches for each that is the best of something, above which those in vain go.
const IN_VAIN: usize = 3;
/// Rows for each left row of which the values are laid side by side: of later ones too few are chosen.
const LAID_OF_LEFT_ROW: usize = 6;
/// Bytes that merging takes for each row, beside what it was gathered with.
const MERGE_ROW: usize = 24;

/// What tasks gather together.
pub(super) struct Gathering {
    matching: Arc<Matching>,
    index: Arc<SideIndex>,
    reservation: MemoryReservation,
    metrics: BuildMetrics,
    gathered: Count,
    tasks: usize,
    bins: Arc<Bins>,
    /// By task what waits to be merged.
    waiting: Vec<Mutex<Waiting>>,
    /// Of all tasks.
    rows: AtomicUsize,
    bytes: AtomicUsize,
    /// Rows that have been merged.
    merged: AtomicUsize,
    /// What it is merged at.
    full: Full,
    /// Tasks put rows in while they read this, and merge them while they write it.
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Waiting {
    arrivals: Arrivals,
    batches: Vec<RecordBatch>,
    memory: RecordBatchMemoryCounter,
}

struct Full {
    rows: usize,
    bytes: usize,
}

/// What rows are merged for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// They are enough.
    Full,
    /// There is no room for more.
    Now,
    /// There are no more.
    Ended,
}

/// The batches that the best rows are of.
#[derive(Default)]
struct Kept {
    batches: Vec<RecordBatch>,
    rows: usize,
}

impl Gathering {
    /// For so many tasks; `reservation` is empty, and nobody else's.
    pub(super) fn try_new(
        matching: &Arc<Matching>,
        index: &Arc<SideIndex>,
        (tasks, metrics): (usize, &ExecutionPlanMetricsSet),
        (reservation, pool): (MemoryReservation, &Arc<dyn MemoryPool>),
    ) -> Result<Self> {
        reservation.try_grow(Bins::size(index))?;
        let bytes = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => limit / POOL_PART,
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        };
        Ok(Self {
            matching: Arc::clone(matching),
            bins: Arc::new(Bins::new(index)),
            full: Full {
                rows: (OF_LEFT_ROW * index.rows()).clamp(LEAST_FULL, MOST_FULL),
                bytes,
            },
            index: Arc::clone(index),
            reservation,
            metrics: BuildMetrics::new(metrics, 0),
            gathered: gathered_rows(metrics),
            tasks,
            waiting: (0..tasks).map(|_| Mutex::default()).collect(),
            rows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            merged: AtomicUsize::new(0),
            kept: RwLock::default(),
        })
    }

    /// Puts rows of a task in.
    pub(super) async fn take(&self, task: usize, mut rows: RightRows) -> Result<()> {
        let known = rows.offered.known();
        if known.is_empty() {
            return Ok(());
        }
        if 2 * known.len() <= rows.kept.num_rows() {
            rows = RightRows {
                kept: self.copied(&rows.kept, &known)?,
                offered: rows.offered.only(&known)?,
            };
        }
        let lays = self.merged.load(Ordering::Relaxed) < LAID_OF_LEFT_ROW * self.index.rows();
        if let Some(side_by_side) = &self.matching.columns.side_by_side
            && lays
        {
            rows.kept = side_by_side.lay(rows.kept)?;
        }
        // Not as soon as they are enough: these may have been the last.
        if self.is_full() {
            self.merge(When::Full).await?;
        }
        loop {
            let open = self.kept.read().await;
            let Err(no_room) = self.reserve(task, &rows) else {
                self.put(task, rows);
                break;
            };
            // Asked before another task may merge: that would have made room.
            if self.rows.load(Ordering::Relaxed) == 0 {
                return Err(no_room);
            }
            drop(open);
            self.merge(When::Now).await?;
        }
        Ok(())
    }

    /// Some rows as a batch of their own.
    fn copied(&self, batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch> {
        let rows = UInt32Array::from(rows.to_vec());
        let columns = batch.columns().iter();
        let columns = columns.map(|column| without_rest(take(column, &rows, None)?));
        self.matching
            .kept_batch(columns.collect::<Result<_>>()?, rows.len())
    }

    /// Takes the memory for rows, and for merging them.
    fn reserve(&self, task: usize, rows: &RightRows) -> Result<()> {
        let (count, mut waiting) = (rows.kept.num_rows(), self.waiting(task));
        let room = waiting.arrivals.room(count, self.index.keys_len());
        let more = waiting.memory.count_batch(&rows.kept) + room + count * MERGE_ROW;
        self.reservation.try_grow(more)?;
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    fn put(&self, task: usize, rows: RightRows) {
        let mut waiting = self.waiting(task);
        (self.rows).fetch_add(rows.kept.num_rows(), Ordering::Relaxed);
        waiting.batches.push(rows.kept);
        waiting.arrivals.take(rows.offered, self.index.keys_len());
    }

    /// The best rows of all, the batches that they are of, and the memory of both.
    pub(super) async fn finish(self) -> Result<(Gathered, Vec<RecordBatch>, MemoryReservation)> {
        self.merge(When::Ended).await?;
        let Some(bins) = Arc::into_inner(self.bins) else {
            return exec_err!("a task of an ASOF JOIN did not end");
        };
        Ok((
            bins.finish(),
            self.kept.into_inner().batches,
            self.reservation,
        ))
    }

    fn waiting(&self, task: usize) -> MutexGuard<'_, Waiting> {
        (self.waiting[task].lock()).unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.rows.load(Ordering::Relaxed) >= self.full.rows
            || self.bytes.load(Ordering::Relaxed) >= self.full.bytes
    }

    /// Merges what waits.
    async fn merge(&self, when: When) -> Result<()> {
        let mut kept = self.kept.write().await;
        let _timer = self.metrics.build_time.timer();
        let rows = self.rows.load(Ordering::Relaxed);
        // Another task may have done it meanwhile.
        if rows == 0 || when == When::Full && !self.is_full() {
            return Ok(());
        }
        self.gathered.add(rows);
        self.merged.fetch_add(rows, Ordering::Relaxed);
        self.rows.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        let waiting = (0..self.tasks).map(|task| std::mem::take(&mut *self.waiting(task)));
        let (arrivals, batches): (Vec<_>, Vec<_>) = waiting
            .map(|waiting| (waiting.arrivals, waiting.batches))
            .unzip();
        let first = kept.batches.len();
        kept.batches
            .extend(self.meet(arrivals, batches, first).await?);
        kept.rows += rows;
        self.note_peak();
        if when == When::Now || self.holds_too_many(&kept, rows, when).await? {
            self.let_go(&mut kept, when).await?;
        }
        let held = kept.memory() + Bins::size(&self.index);
        self.reservation.try_resize(held)
    }

    /// Merges rows with the left; gives their batches, the first of which has number `first`.
    async fn meet(
        &self,
        arrivals: Vec<Arrivals>,
        batches: Vec<Vec<RecordBatch>>,
        first: usize,
    ) -> Result<Vec<RecordBatch>> {
        let taken = arrivals.iter().map(Arrivals::size).sum();
        let spec = self.matching.index_spec(Side::Right);
        let mut planning = Planning::of_arrivals(spec, arrivals, self.index.keys_len())?;
        in_pieces(&mut planning, taken, &self.reservation).await?;
        let IndexPlan::I64(plan) = planning.finish()? else {
            return exec_err!("as-of values of the sides are on different lines");
        };
        let rows: usize = batches.iter().flatten().map(RecordBatch::num_rows).sum();
        if let Some(more) = plan.shards_size(self.tasks).checked_sub(rows * MERGE_ROW) {
            self.reservation.try_grow(more)?;
        }
        let (right, batches) = sharded(plan, batches, self.tasks).await?;
        let (index, bins) = (Arc::clone(&self.index), Arc::clone(&self.bins));
        let meeting = Arc::new(Meeting::try_new(index, bins, right, first as u32)?);
        let shards = meeting.shards().collect();
        let met = in_parallel(self.tasks, shards, move |shard| meeting.meet(shard));
        met.await?.into_iter().collect::<Result<()>>()?;
        Ok(batches)
    }

    fn note_peak(&self) {
        let held = self.reservation.size();
        self.metrics.peak_mem_used.set_max(held);
    }

    /// Whether rows that are not the best of anything should go, after so many new ones.
    async fn holds_too_many(&self, kept: &Kept, new: usize, when: When) -> Result<bool> {
        let has_limit = self.full.bytes < usize::MAX;
        match when {
            When::Ended if !has_limit => return Ok(false),
            When::Full if kept.memory() >= self.full.bytes => return Ok(true),
            _ => {}
        }
        let bins = Arc::clone(&self.bins);
        let pieces = self.bins.pieces().collect();
        let best = in_parallel(self.tasks, pieces, move |piece| bins.count(piece));
        let best: usize = best.await?.iter().sum();
        Ok(match when {
            // What is held now is held until the query ends, and other joins want memory too.
            When::Ended => kept.rows > best + best / 2,
            // As many of the new ones may stay.
            _ => kept.rows > IN_VAIN * best + new,
        })
    }

    /// Lets rows go that are not the best of anything; at the end, if there is memory for that.
    async fn let_go(&self, kept: &mut Kept, when: When) -> Result<()> {
        let pieces: Vec<usize> = self.bins.pieces().collect();
        let batches = std::mem::take(&mut kept.batches);
        let marks = Arc::new(Marks::new(&batches));
        let (bins, of) = (Arc::clone(&self.bins), Arc::clone(&marks));
        let mark = move |piece| bins.each(piece, |row| of.mark(*row));
        in_parallel(self.tasks, pieces.clone(), mark).await?;
        let Some(marks) = Arc::into_inner(marks) else {
            return exec_err!("a task of an ASOF JOIN did not end");
        };
        if let Err(no_room) = self.reservation.try_grow(marks.copies_size(&batches)) {
            kept.batches = batches;
            return match when {
                When::Ended => Ok(()),
                _ => Err(no_room),
            };
        }
        self.note_peak();
        let mut thinned = marks.thin(batches, self.tasks).await?;
        kept.batches = std::mem::take(&mut thinned.batches);
        kept.rows = kept.batches.iter().map(RecordBatch::num_rows).sum();
        let bins = Arc::clone(&self.bins);
        let rename = move |piece| bins.each(piece, |row| *row = thinned.name(*row));
        in_parallel(self.tasks, pieces, rename).await?;
        Ok(())
    }
}

impl Kept {
    fn memory(&self) -> usize {
        let mut memory = RecordBatchMemoryCounter::new();
        for batch in &self.batches {
            memory.count_batch(batch);
        }
        memory.memory_usage()
    }
}
