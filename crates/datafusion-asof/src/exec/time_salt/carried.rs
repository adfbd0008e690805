//! The right rows of one partition on their way to the exchange, and those to be carried.

use datafusion::arrow::array::{Array, AsArray, BooleanArray, UInt32Array};
use datafusion::arrow::compute::{filter_record_batch, interleave_record_batch, take_record_batch};
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::spill::get_record_batch_memory_size;

use super::plan::SaltPlan;
use crate::exec::copies::{row_width, without_rest};
use crate::exec::matching::{Matching, RightInputs};
use crate::kernel::carry::{Carried, Carry, CarryBatch, CarrySpec};
use crate::kernel::domain::Times;
use crate::kernel::ordinals::{NULL_KEY, REFUSED, refuse};
use crate::kernel::time_cut::UNCUT;
use crate::spec::Side;

/// Copied rows are put together when there are so many batches of them.
const FEW_BATCHES: usize = 64;

/// Copies of the rows that other ranges may need.
pub(super) struct CarriedRows {
    carry: Carry,
    /// Right columns of which each takes its own nearest value.
    own_values: Vec<usize>,
    batches: Vec<RecordBatch>,
    reservation: MemoryReservation,
}

impl CarriedRows {
    pub(super) fn try_new(
        matching: &Matching,
        salt: &SaltPlan,
        reservation: MemoryReservation,
    ) -> Result<Self> {
        let kept = matching.own_value_columns().into_iter();
        let own_values: Vec<usize> = kept.map(|kept| matching.columns.kept[kept]).collect();
        let spec = CarrySpec {
            op: matching.spec.match_condition.op,
            tolerance: matching.tolerance,
            ties: &matching.tie_types,
            classes: 1 + own_values.len(),
        };
        let carry = Carry::try_new(&spec, &salt.cut)?;
        reservation.try_resize(carry.size())?;
        Ok(Self {
            carry,
            own_values,
            batches: vec![],
            reservation,
        })
    }

    /// The rows of a batch that can match, with their salts.
    pub(super) fn pass(
        &mut self,
        matching: &Matching,
        salt: &SaltPlan,
        batch: RecordBatch,
    ) -> Result<(RecordBatch, UInt32Array)> {
        let inputs = matching.right_inputs(&batch)?;
        let times = matching.domain.times(Side::Right, &inputs.time)?;
        let mut ordinals = salt.cut.ordinals(&inputs.keys, batch.num_rows())?;
        if let Some(mask) = &inputs.mask {
            refuse(&mut ordinals, mask);
        }
        let can_match = |(row, ordinal): (usize, &u32)| {
            *ordinal != NULL_KEY && *ordinal != REFUSED && times.is_valid(row)
        };
        if !ordinals.iter().enumerate().all(can_match) {
            let can_match = ordinals.iter().enumerate().map(|row| Some(can_match(row)));
            let can_match: BooleanArray = can_match.collect();
            return self.pass(matching, salt, filter_record_batch(&batch, &can_match)?);
        }
        let spread = salt.of_right(&inputs.keys, &ordinals, &times)?;
        if spread.ranges.iter().any(|range| *range != UNCUT) {
            self.note(&batch, &inputs, &times, &spread.ranges)?;
        }
        Ok((batch, salt.salts(&spread.slots)))
    }

    fn note(
        &mut self,
        batch: &RecordBatch,
        inputs: &RightInputs,
        times: &Times,
        ranges: &[u32],
    ) -> Result<()> {
        let place = batch.columns().last();
        let Some(places) = place.and_then(|place| place.as_primitive_opt::<UInt64Type>()) else {
            return exec_err!("the right input of an ASOF JOIN lost its place column");
        };
        let own_values = self.own_values.iter();
        let validity = own_values.map(|column| batch.column(*column).logical_nulls());
        let batch_of_rows = CarryBatch {
            ranges,
            times,
            ties: &inputs.ties,
            places: places.values(),
            validity: &validity.collect::<Vec<_>>(),
        };
        let rows = self.carry.note(&batch_of_rows, self.batches.len() as u32)?;
        if rows.is_empty() {
            return Ok(());
        }
        self.take_memory(rows.len() * row_width(batch))?;
        let copy = take_record_batch(batch, &UInt32Array::from(rows))?;
        self.keep(&copy)?;
        if self.batches.len() >= FEW_BATCHES {
            let live = self.carry.live();
            let indices = live
                .iter()
                .map(|row| (row.batch as usize, row.row as usize));
            let indices = indices.collect::<Vec<_>>();
            let widths = self.batches.iter().map(row_width);
            self.take_memory(live.len() * widths.max().unwrap_or(0))?;
            let together = self.interleave(&indices)?;
            self.batches.clear();
            self.keep(&together)?;
            self.carry.gathered(&live, 0);
        }
        self.take_memory(0)
    }

    /// Takes the memory of what is held, and of so much more.
    fn take_memory(&self, more: usize) -> Result<()> {
        let held = self.batches.iter().map(get_record_batch_memory_size);
        let held = self.carry.size() + held.sum::<usize>();
        self.reservation.try_resize(held + more)
    }

    /// Keeps copied rows without the buffers that their views were taken from.
    fn keep(&mut self, copy: &RecordBatch) -> Result<()> {
        let columns = copy.columns().iter().cloned().map(without_rest);
        let columns = columns.collect::<Result<_>>()?;
        self.batches
            .push(RecordBatch::try_new(copy.schema(), columns)?);
        Ok(())
    }

    /// The rows to be sent when the input has ended.
    pub(super) fn to_send(&self, salt: &SaltPlan) -> Vec<Carried> {
        self.carry.carried(&salt.cut)
    }

    /// Some of the rows to be sent, with the salts under which they are.
    pub(super) fn gather(
        &self,
        salt: &SaltPlan,
        carried: &[Carried],
    ) -> Result<(RecordBatch, UInt32Array)> {
        let index = |carried: &Carried| (carried.row.batch as usize, carried.row.row as usize);
        let rows = self.interleave(&carried.iter().map(index).collect::<Vec<_>>())?;
        let slots: Vec<u32> = carried.iter().map(|carried| carried.slot).collect();
        Ok((rows, salt.salts(&slots)))
    }

    fn interleave(&self, indices: &[(usize, usize)]) -> Result<RecordBatch> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        Ok(interleave_record_batch(&batches, indices)?)
    }
}
