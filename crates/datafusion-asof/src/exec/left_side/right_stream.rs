//! Right rows offered to the left as they come: what is kept of them, and for how long.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::utils::memory::{RecordBatchMemoryCounter, get_record_batch_memory_size};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::Time;

use super::right_reader::RightReader;
use crate::exec::copies::{Copying, PIECE};
use crate::exec::matching::Matching;
use crate::kernel::index::{Candidates, Offered, SideIndex};
use crate::kernel::rows::RowId;

/// Rows, and bytes, that may be kept in vain before those needed are copied together.
const IN_VAIN: usize = 1 << 16;
const BYTES_IN_VAIN: usize = 1 << 20;

/// A batch of right rows as an index of the left has their keys and times, with what is kept of them.
pub(super) struct RightRows {
    pub offered: Offered,
    pub kept: RecordBatch,
}

/// Right rows on their way past the left.
pub(super) struct RightStream {
    matching: Arc<Matching>,
    index: Arc<SideIndex>,
    reservation: Arc<MemoryReservation>,
    time: Time,
    candidates: Candidates,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    /// Counts `kept`, of which `held` bytes have been taken.
    memory: RecordBatchMemoryCounter,
    held: usize,
}

impl RightStream {
    pub(super) async fn start(task: &RightReader) -> Result<Self> {
        let mut stream = Self {
            candidates: Candidates::new(task.matching.spec.match_condition.op),
            matching: Arc::clone(&task.matching),
            index: Arc::clone(&task.index),
            reservation: Arc::clone(&task.reservation),
            time: task.metrics.build_time.clone(),
            kept: vec![],
            kept_rows: 0,
            memory: RecordBatchMemoryCounter::new(),
            held: 0,
        };
        (stream.reservation).try_grow(Candidates::size(&stream.index))?;
        while stream.candidates.fill(&stream.index) {
            tokio::task::yield_now().await;
        }
        Ok(stream)
    }

    /// The best candidates, and the rows that they are.
    pub(super) fn finish(self) -> (Candidates, Vec<RecordBatch>) {
        (self.candidates, self.kept)
    }

    pub(super) async fn take(&mut self, rows: RightRows) -> Result<()> {
        let time = self.time.clone();
        let timer = time.timer();
        let kept = self.offer(rows)?;
        drop(timer);
        match kept {
            true => self.let_go().await,
            false => Ok(()),
        }
    }

    /// Offers the rows of a batch; gives whether any is kept.
    fn offer(&mut self, RightRows { offered, kept }: RightRows) -> Result<bool> {
        let number = self.kept.len() as u32;
        let won = self.candidates.offer(&self.index, &offered, number)?;
        if won.is_empty() {
            return Ok(false);
        }
        let rows = match 2 * won.len() <= kept.num_rows() {
            true => {
                self.candidates.kept_alone();
                let won = won.into_iter().map(|row| RowId { batch: 0, row });
                let won: Vec<RowId> = won.collect();
                let batch = |_| Some(&kept);
                let mut copying = Copying::new(&self.matching, &self.reservation, batch);
                let copied = copying.copy_piece(&won)?;
                self.held += get_record_batch_memory_size(&copied);
                copied
            }
            false => kept,
        };
        self.kept_rows += rows.num_rows();
        self.memory.count_batch(&rows);
        self.kept.push(rows);
        Ok(true)
    }

    /// Takes the memory of what is kept, having let go of rows that are no longer the best of
    /// anything if they are many or memory is short.
    async fn let_go(&mut self) -> Result<()> {
        let in_vain = self.kept_rows - self.candidates.live();
        let bytes = self.memory.memory_usage() / self.kept_rows.max(1) * in_vain;
        let many = in_vain > IN_VAIN || bytes > BYTES_IN_VAIN;
        if many && in_vain > self.candidates.live() {
            return self.copy_together().await;
        }
        match self.account() {
            Err(_) if in_vain > 0 => self.copy_together().await,
            accounted => accounted,
        }
    }

    /// Copies the rows that are the best of something out of their batches.
    async fn copy_together(&mut self) -> Result<()> {
        let batch = |number| self.kept.get(number as usize);
        let mut copying = Copying::new(&self.matching, &self.reservation, batch);
        let mut memory = RecordBatchMemoryCounter::new();
        let (mut copies, mut copied) = (vec![], 0);
        while copied < self.candidates.live() {
            let rows = self.candidates.live_rows().skip(copied).take(PIECE);
            let rows: Vec<RowId> = rows.collect();
            for batch in copying.copy(&rows).await? {
                let number = copies.len() as u32;
                let ids = (0..batch.num_rows() as u32).map(|row| RowId { batch: number, row });
                self.candidates.relocate(copied, ids);
                copied += batch.num_rows();
                self.held += get_record_batch_memory_size(&batch);
                memory.count_batch(&batch);
                copies.push(batch);
            }
        }
        self.kept = copies;
        self.kept_rows = copied;
        self.memory = memory;
        self.account()
    }

    fn account(&mut self) -> Result<()> {
        let held = self.memory.memory_usage();
        match held.checked_sub(self.held) {
            Some(more) => self.reservation.try_grow(more)?,
            None => self.reservation.shrink(self.held - held),
        }
        self.held = held;
        Ok(())
    }
}
