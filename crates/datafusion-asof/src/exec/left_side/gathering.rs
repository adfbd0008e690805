//! Right rows that are gathered until they meet the left.
//!
//! # Sides
//!
//! The tasks that read the right deal its rows here, those that have a key of the left, with their values
//! [`side_by_side`](crate::exec::side_by_side). When they are as many as the left rows, one of the tasks has them
//! meet the left (`kernel/index/meeting.rs`), on all cores, while the others wait. Then they are forgotten, but for
//! those that are the best of some left row so far, which that has copied.
//!
//! Columns that cannot be copied so stay in their batches until rows that are the best of no left row are too
//! many: then these go ([`thinning`](super::thinning)).
//!
//! # Memory
//!
//! So there are never more than some right rows for each left row, however many there are in all. They are taken from
//! the memory pool before they are dealt. Where the pool has no room for more, or they take a quarter of it, those
//! that wait meet the left before.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
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
use crate::exec::copies::without_rest;
use crate::exec::matching::Matching;
use crate::exec::metrics::{BuildMetrics, gathered_rows};
use crate::exec::parallel::in_parallel;
use crate::exec::side_by_side::SideBySide;
use crate::kernel::index::{Bins, Dealt, Gathered, SideIndex};

/// Rows that meet the left at a time, at least. (As many as there are left rows: with more, their memory takes
/// longer to get than meeting more often, with fewer the left is read more often.)
const LEAST_FULL: usize = 1 << 18;
/// Of a memory pool with a limit this part may be taken by rows that wait.
const POOL_PART: usize = 4;
/// Rows of all batches for each that is the best of something, above which those in vain go.
const IN_VAIN: usize = 3;

/// What tasks gather together.
pub(super) struct Gathering {
    matching: Arc<Matching>,
    index: Arc<SideIndex>,
    reservation: MemoryReservation,
    metrics: BuildMetrics,
    gathered: Count,
    tasks: usize,
    side_by_side: SideBySide,
    bins: Arc<Bins>,
    /// Whether records need a mask by now.
    has_mask: AtomicBool,
    /// By task what waits to meet the left.
    waiting: Vec<Mutex<Waiting>>,
    /// Of all tasks.
    rows: AtomicUsize,
    bytes: AtomicUsize,
    batches: AtomicU32,
    /// What they do not wait beyond.
    full: Full,
    /// Tasks put rows in while they read this, and have them meet the left while they write it.
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Waiting {
    rows: Vec<Dealt>,
    /// The columns that are not dealt, with the number of the batch.
    others: Vec<(u32, RecordBatch)>,
    memory: RecordBatchMemoryCounter,
}

struct Full {
    rows: usize,
    bytes: usize,
}

/// Why rows meet the left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// They are enough.
    Full,
    /// There is no room for more.
    Now,
    /// There are no more.
    Ended,
}

/// The batches that the columns of the best rows are in which are not dealt.
#[derive(Default)]
struct Kept {
    batches: Vec<RecordBatch>,
    rows: usize,
}

/// What was gathered.
pub(super) struct BestRows {
    pub gathered: Gathered,
    pub side_by_side: SideBySide,
    pub others: Vec<RecordBatch>,
    pub reservation: MemoryReservation,
}

impl Gathering {
    /// For so many tasks; `reservation` is empty, and nobody else's.
    pub(super) fn try_new(
        matching: &Arc<Matching>,
        index: &Arc<SideIndex>,
        (tasks, metrics): (usize, &ExecutionPlanMetricsSet),
        (reservation, pool): (MemoryReservation, &Arc<dyn MemoryPool>),
    ) -> Result<Self> {
        let side_by_side = SideBySide::of(matching);
        let op = matching.spec.match_condition.op;
        let bins = Bins::try_new(index, op, side_by_side.words())?;
        reservation.try_grow(bins.size(false, tasks))?;
        let bytes = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => limit / POOL_PART,
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        };
        Ok(Self {
            matching: Arc::clone(matching),
            side_by_side,
            bins: Arc::new(bins),
            full: Full {
                rows: index.rows().max(LEAST_FULL),
                bytes,
            },
            index: Arc::clone(index),
            reservation,
            metrics: BuildMetrics::new(metrics, 0),
            gathered: gathered_rows(metrics),
            tasks,
            has_mask: AtomicBool::new(false),
            waiting: (0..tasks).map(|_| Mutex::default()).collect(),
            rows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            batches: AtomicU32::new(0),
            kept: RwLock::default(),
        })
    }

    /// Puts rows of a task in.
    pub(super) async fn take(&self, task: usize, mut rows: RightRows) -> Result<()> {
        let mut known = rows.offered.known();
        if known == 0 {
            return Ok(());
        }
        if 2 * known <= rows.kept.num_rows() {
            let alone = rows.offered.known_rows();
            rows = RightRows {
                kept: self.copied(&rows.kept, &alone)?,
                offered: rows.offered.only(&alone)?,
            };
            known = alone.len();
        }
        let others = self.side_by_side.others(&rows.kept)?;
        // Not as soon as they are enough: these may have been the last.
        if self.is_full() {
            self.meet(When::Full).await?;
        }
        loop {
            let open = self.kept.read().await;
            let Err(no_room) = self.reserve(task, (known, &rows.kept), others.as_ref()) else {
                return self.put(task, (&rows, known), (open.batches.len(), others));
            };
            // Asked before another task may have made room.
            if self.rows.load(Ordering::Relaxed) == 0 {
                return Err(no_room);
            }
            drop(open);
            self.meet(When::Now).await?;
        }
    }

    /// Some rows as a batch of their own.
    fn copied(&self, batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch> {
        let rows = UInt32Array::from(rows.to_vec());
        let columns = batch.columns().iter();
        let columns = columns.map(|column| without_rest(take(column, &rows, None)?));
        self.matching
            .kept_batch(columns.collect::<Result<_>>()?, rows.len())
    }

    /// Takes the memory for rows, so many of which have a key of the left.
    fn reserve(
        &self,
        task: usize,
        (known, kept): (usize, &RecordBatch),
        others: Option<&RecordBatch>,
    ) -> Result<()> {
        let needs_mask = self.side_by_side.needs_mask(kept);
        if needs_mask && !self.has_mask.load(Ordering::Relaxed) {
            let wider = self.bins.size(true, self.tasks) - self.bins.size(false, self.tasks);
            self.reservation.try_grow(wider)?;
            if self.has_mask.swap(true, Ordering::Relaxed) {
                self.reservation.shrink(wider);
            }
        }
        let mut waiting = self.waiting(task);
        let others = others.map_or(0, |others| waiting.memory.count_batch(others));
        let more = self.bins.dealt_size(known, needs_mask) + others;
        self.reservation.try_grow(more)?;
        self.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    fn put(
        &self,
        task: usize,
        (rows, known): (&RightRows, usize),
        (before, others): (usize, Option<RecordBatch>),
    ) -> Result<()> {
        let number = match others {
            Some(_) => before as u32 + self.batches.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        let payload = self.side_by_side.payload(&rows.kept, number);
        let dealt = self.bins.deal(&rows.offered, &payload)?;
        let mut waiting = self.waiting(task);
        waiting.rows.push(dealt);
        waiting.others.extend(others.map(|others| (number, others)));
        self.rows.fetch_add(known, Ordering::Relaxed);
        Ok(())
    }

    /// The best rows of all, what they are laid out as, the batches of their other columns, and the memory of all.
    pub(super) async fn finish(self) -> Result<BestRows> {
        self.meet(When::Ended).await?;
        let Some(bins) = Arc::into_inner(self.bins) else {
            return exec_err!("a task of an ASOF JOIN did not end");
        };
        Ok(BestRows {
            gathered: bins.finish(),
            side_by_side: self.side_by_side,
            others: self.kept.into_inner().batches,
            reservation: self.reservation,
        })
    }

    fn waiting(&self, task: usize) -> MutexGuard<'_, Waiting> {
        (self.waiting[task].lock()).unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.rows.load(Ordering::Relaxed) >= self.full.rows
            || self.bytes.load(Ordering::Relaxed) >= self.full.bytes
    }

    /// Has what waits meet the left.
    async fn meet(&self, when: When) -> Result<()> {
        let mut kept = self.kept.write().await;
        let _timer = self.metrics.build_time.timer();
        let rows = self.rows.load(Ordering::Relaxed);
        // Another task may have done it meanwhile.
        if rows == 0 || when == When::Full && !self.is_full() {
            return Ok(());
        }
        self.gathered.add(rows);
        self.rows.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.batches.store(0, Ordering::Relaxed);
        let waiting = (0..self.tasks).map(|task| std::mem::take(&mut *self.waiting(task)));
        let (dealt, others): (Vec<_>, Vec<_>) = waiting
            .map(|waiting| (waiting.rows, waiting.others))
            .unzip();
        let dealt: Vec<Dealt> = dealt.into_iter().flatten().collect();
        let (index, bins) = (Arc::clone(&self.index), Arc::clone(&self.bins));
        let portions = bins.portions(&dealt, self.tasks);
        let meet = move |portion| bins.meet(&index, &portion, &dealt);
        let met = in_parallel(self.tasks, portions, meet);
        met.await?.into_iter().collect::<Result<()>>()?;
        self.note_peak();
        let mut others: Vec<(u32, RecordBatch)> = others.into_iter().flatten().collect();
        let has_others = !others.is_empty();
        others.sort_unstable_by_key(|(number, _)| *number);
        let others = others.into_iter().map(|(_, batch)| batch);
        kept.batches.extend(others);
        // What has met the left is gone.
        self.hold(&kept)?;
        if has_others {
            kept.rows += rows;
            if when == When::Now || self.holds_too_many(&kept, rows, when).await? {
                self.let_go(&mut kept, when).await?;
                self.hold(&kept)?;
            }
        }
        Ok(())
    }

    /// Leaves of the memory what is held while nothing waits.
    fn hold(&self, kept: &Kept) -> Result<()> {
        let has_mask = self.has_mask.load(Ordering::Relaxed);
        let held = kept.memory() + self.bins.size(has_mask, self.tasks);
        self.reservation.try_resize(held)
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
        let blocks = self.bins.blocks().collect();
        let best = in_parallel(self.tasks, blocks, move |block| bins.count(block));
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
        let blocks: Vec<usize> = self.bins.blocks().collect();
        let batches = std::mem::take(&mut kept.batches);
        let marks = Arc::new(Marks::new(&batches));
        let (bins, of) = (Arc::clone(&self.bins), Arc::clone(&marks));
        let laid = self.side_by_side.clone();
        let mark = move |block| {
            bins.each(block, |payload| {
                if let Some(row) = laid.row(payload) {
                    of.mark(row);
                }
            });
        };
        in_parallel(self.tasks, blocks.clone(), mark).await?;
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
        let laid = self.side_by_side.clone();
        let rename = move |block| {
            bins.each(block, |payload| {
                if let Some(row) = laid.row(payload) {
                    laid.set_row(payload, thinned.name(row));
                }
            });
        };
        in_parallel(self.tasks, blocks, rename).await?;
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
