//! The right side on its way past the left: what is kept of it, and for how long.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::common::utils::memory::{RecordBatchMemoryCounter, get_record_batch_memory_size};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;

use crate::exec::copies::{Copying, PIECE};
use crate::exec::matching::Matching;
use crate::exec::metrics::BuildMetrics;
use crate::exec::parallel::Queue;
use crate::kernel::index::{Candidates, Offer, SideIndex};
use crate::kernel::rows::RowId;

/// Rows, and bytes, that may be kept in vain before those needed are copied together.
const IN_VAIN: usize = 1 << 16;
const BYTES_IN_VAIN: usize = 1 << 20;

/// Partitions of the right side, one after the other, on their way past the left.
pub(super) struct RightStream {
    matching: Arc<Matching>,
    index: Arc<SideIndex>,
    reservation: Arc<MemoryReservation>,
    metrics: BuildMetrics,
    candidates: Candidates,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    /// Counts `kept`, of which `held` bytes have been taken.
    memory: RecordBatchMemoryCounter,
    held: usize,
}

impl RightStream {
    pub(super) fn new(
        matching: Arc<Matching>,
        index: Arc<SideIndex>,
        reservation: Arc<MemoryReservation>,
        metrics: BuildMetrics,
    ) -> Self {
        Self {
            candidates: Candidates::new(matching.spec.match_condition.op),
            matching,
            index,
            reservation,
            metrics,
            kept: vec![],
            kept_rows: 0,
            memory: RecordBatchMemoryCounter::new(),
            held: 0,
        }
    }

    /// Reads inputs that nobody has taken, until there is none; gives the best candidates, and the
    /// rows that they are.
    pub(super) async fn read(
        mut self,
        inputs: Arc<Queue<SendableRecordBatchStream>>,
    ) -> Result<(Candidates, Vec<RecordBatch>)> {
        self.reservation.try_grow(Candidates::size(&self.index))?;
        while self.candidates.fill(&self.index) {
            tokio::task::yield_now().await;
        }
        while let Some(mut input) = inputs.next() {
            while let Some(batch) = input.next().await.transpose()? {
                if batch.num_rows() > 0 {
                    self.take(batch).await?;
                }
            }
        }
        Ok((self.candidates, self.kept))
    }

    async fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let time = self.metrics.build_time.clone();
        let timer = time.timer();
        let kept = self.offer(&batch)?;
        drop((batch, timer));
        match kept {
            true => self.let_go().await,
            false => Ok(()),
        }
    }

    /// Offers the rows of a batch; gives whether any is kept.
    fn offer(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.metrics.right_rows.add(batch.num_rows());
        let inputs = self.matching.right_inputs(batch)?;
        let (rows, places) = self.matching.split_place(batch)?;
        let offer = Offer {
            keys: &inputs.keys,
            time: &inputs.time,
            mask: inputs.mask.as_ref(),
            places: &places,
            number: self.kept.len() as u32,
        };
        let won = self.candidates.offer(&self.index, &offer)?;
        if won.is_empty() {
            return Ok(false);
        }
        let rows = match 2 * won.len() <= batch.num_rows() {
            true => {
                self.candidates.kept_alone();
                let won = won.into_iter().map(|row| RowId { batch: 0, row });
                let won: Vec<RowId> = won.collect();
                let batch = |_| Some(&rows);
                let mut copying = Copying::new(&self.matching, &self.reservation, batch);
                let copied = copying.copy_piece(&won)?;
                self.held += get_record_batch_memory_size(&copied);
                copied
            }
            false => rows,
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
