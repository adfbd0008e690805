//! The right side on its way to the left: offered row by row, or gathered.
//!
//! # Motivation
//!
//! Rows that come in time order find the left rows that they are for one after the other, and those of
//! a small left are in cache: such rows are offered as they come ([`right_stream`](super::right_stream)).
//! To a large left rows that come in no order are better brought many at a time, sorted
//! ([`gathering`](super::gathering)). Each task goes by what it reads first.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;

use super::gathering::Gathering;
use super::right_stream::{RightRows, RightStream};
use crate::exec::matching::Matching;
use crate::exec::metrics::BuildMetrics;
use crate::exec::parallel::Queue;
use crate::kernel::index::{Candidates, Offer, SideIndex};

/// A task that reads partitions of the right side, one after the other.
pub(super) struct RightReader {
    pub task: usize,
    pub matching: Arc<Matching>,
    pub index: Arc<SideIndex>,
    pub reservation: Arc<MemoryReservation>,
    pub metrics: BuildMetrics,
    /// Where rows in no order are put; `None` if all are offered.
    pub gathering: Option<Arc<Gathering>>,
}

/// The best candidates that a task found by offering, and the rows that they are.
pub(super) type Offered = (Candidates, Vec<RecordBatch>);

/// What becomes of the rows.
enum Way {
    Offered(Box<RightStream>),
    Gathered(Arc<Gathering>),
}

impl RightReader {
    /// Reads inputs that nobody has taken, until there is none; `None` if nothing was offered.
    pub(super) async fn read(
        self,
        inputs: Arc<Queue<SendableRecordBatchStream>>,
    ) -> Result<Option<Offered>> {
        let mut way: Option<Way> = None;
        while let Some(mut input) = inputs.next() {
            while let Some(batch) = input.next().await.transpose()? {
                if batch.num_rows() == 0 {
                    continue;
                }
                let rows = self.rows(&batch)?;
                drop(batch);
                let way = match &mut way {
                    Some(way) => way,
                    None => way.insert(self.way(&rows).await?),
                };
                match way {
                    Way::Offered(stream) => stream.take(rows).await?,
                    Way::Gathered(gathering) => gathering.take(self.task, rows).await?,
                }
            }
        }
        Ok(match way {
            Some(Way::Offered(stream)) => Some(stream.finish()),
            Some(Way::Gathered(_)) | None => None,
        })
    }

    fn rows(&self, batch: &RecordBatch) -> Result<RightRows> {
        let _timer = self.metrics.build_time.timer();
        self.metrics.right_rows.add(batch.num_rows());
        let inputs = self.matching.right_inputs(batch)?;
        let (kept, places) = self.matching.split_place(batch)?;
        let offered = self.index.offered(Offer {
            keys: &inputs.keys,
            time: &inputs.time,
            mask: inputs.mask.as_ref(),
            places,
        })?;
        Ok(RightRows { offered, kept })
    }

    /// What becomes of rows like the first.
    async fn way(&self, first: &RightRows) -> Result<Way> {
        Ok(match &self.gathering {
            Some(gathering) if !first.offered.ascends() => Way::Gathered(Arc::clone(gathering)),
            _ => Way::Offered(Box::new(RightStream::start(self).await?)),
        })
    }
}
