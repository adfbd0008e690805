//! Columns of right rows that are kept in many batches.
//!
//! An index knows all its batches before the first match: [`Fixed`] looks at those of a column
//! of fixed width once, and then gathers value by value, or for many rows or columns in the order of
//! the right ([`by_batch`](super::by_batch)). A merge has other batches for each of the left, and looks at
//! them each time if the columns are many. Everything else is left to arrow.

use std::hint::black_box;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanBufferBuilder, PrimitiveArray, downcast_primitive,
};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::interleave;
use datafusion::arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{HashMap, Result, exec_datafusion_err};

use super::by_batch::ByBatch;
use super::side_by_side::{LaidRows, SideBySide};
use crate::kernel::index::Records;
use crate::kernel::rows::RowId;

/// Right rows that matches can be fetched from.
pub(super) trait RightRows {
    /// The values of some rows in some of the kept columns, NULL where there is no row.
    fn gather(&self, columns: &[usize], rows: &[RowId]) -> Result<Vec<ArrayRef>>;
}

/// Rows that all are known before the first match.
pub(super) struct KeptBatches {
    batches: Vec<RecordBatch>,
    /// By kept column; `None` where values differ in width, and of those side by side.
    fixed: Vec<Option<Box<dyn Gather>>>,
    laid: Option<LaidRows>,
    nulls: Vec<ArrayRef>,
}

/// Rows of which values lie side by side.
pub(super) struct Laid {
    pub side_by_side: SideBySide,
    pub blocks: Arc<[Records]>,
    /// The other columns.
    pub others: Vec<RecordBatch>,
}

impl KeptBatches {
    /// `nulls` is one NULL for each column.
    pub(super) fn new(batches: Vec<RecordBatch>, nulls: &[ArrayRef]) -> Self {
        Self::alone(batches, nulls, |_| true)
    }

    /// Of rows that have the numbers of their blocks, and batches that have those behind.
    pub(super) fn of_laid(laid: Laid, mut batches: Vec<RecordBatch>, nulls: &[ArrayRef]) -> Self {
        let Laid {
            side_by_side,
            blocks,
            others,
        } = laid;
        let laid = side_by_side.rows(blocks, &batches);
        batches.extend(others);
        let alone = Self::alone(batches, nulls, |column| laid.of().word(column).is_none());
        Self {
            laid: Some(laid),
            ..alone
        }
    }

    fn alone(
        batches: Vec<RecordBatch>,
        nulls: &[ArrayRef],
        is_alone: impl Fn(usize) -> bool,
    ) -> Self {
        let all: Vec<&RecordBatch> = batches.iter().collect();
        let fixed = nulls.iter().enumerate().map(|(column, null)| {
            is_alone(column)
                .then(|| fixed_width(&all, column, null))
                .flatten()
        });
        Self {
            fixed: fixed.collect(),
            laid: None,
            nulls: nulls.to_vec(),
            batches,
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        let mut memory = RecordBatchMemoryCounter::new();
        for batch in &self.batches {
            memory.count_batch(batch);
        }
        memory.memory_usage() + self.laid.as_ref().map_or(0, LaidRows::size)
    }

    pub(super) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    #[cfg(test)]
    pub(super) fn nulls(&self) -> &[ArrayRef] {
        &self.nulls
    }

    pub(super) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The bytes of a value of a kept column; `None` where values differ in width.
    pub(super) fn width(&self, column: usize) -> Option<usize> {
        let is_fixed = self.fixed[column].is_some();
        is_fixed.then(|| self.nulls[column].data_type().primitive_width())?
    }

    /// The values of some rows in a kept column, NULL where there is no row; `None` where values differ
    /// in width.
    pub(super) fn gather_by_batch(
        &self,
        column: usize,
        rows: &ByBatch,
    ) -> Result<Option<ArrayRef>> {
        let fixed = self.fixed[column].as_ref();
        fixed.map(|fixed| fixed.gather_by_batch(rows)).transpose()
    }
}

impl RightRows for KeptBatches {
    fn gather(&self, columns: &[usize], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let Some(laid) = &self.laid else {
            return self.gather_alone(columns, rows);
        };
        let is_word = |column: &&usize| laid.of().word(**column).is_some();
        let (words, others): (Vec<usize>, Vec<usize>) = columns.iter().partition(is_word);
        let mut gathered = laid.gather(&words, rows)?.into_iter();
        let mut gathered_alone = match others.is_empty() {
            true => vec![],
            false => self.gather_alone(&others, &laid.others(rows))?,
        }
        .into_iter();
        let columns = columns.iter().map(|column| {
            let next = match is_word(&column) {
                true => gathered.next(),
                false => gathered_alone.next(),
            };
            next.ok_or_else(|| exec_datafusion_err!("an ASOF JOIN did not gather a column"))
        });
        columns.collect()
    }
}

impl KeptBatches {
    /// Columns that are not words, of rows that are in batches.
    fn gather_alone(&self, columns: &[usize], rows: &[RowId]) -> Result<Vec<ArrayRef>> {
        let others = columns.iter().copied();
        let others: Vec<usize> = others.filter(|c| self.fixed[*c].is_none()).collect();
        let batch = |number: u32| self.batches.get(number as usize);
        let fixed = columns.len() - others.len();
        let mut others = gather(&self.nulls, &others, rows, batch)?.into_iter();
        // There is something to do for each batch.
        let pays = ByBatch::pays_for(fixed) && rows.len() >= self.batches.len();
        let by_batch = pays.then(|| ByBatch::new(rows, self.batches.len()));
        let gathered = columns.iter().map(|column| match &self.fixed[*column] {
            Some(fixed) => match &by_batch {
                Some(rows) => fixed.gather_by_batch(rows),
                None => fixed.gather(rows),
            },
            None => others
                .next()
                .ok_or_else(|| exec_datafusion_err!("an ASOF JOIN did not gather a column")),
        });
        gathered.collect()
    }
}

/// A column of many batches.
trait Gather: Send + Sync {
    /// The values of some rows, NULL where there is no row.
    fn gather(&self, rows: &[RowId]) -> Result<ArrayRef>;

    /// The same, fetched in the order of the batches.
    fn gather_by_batch(&self, rows: &ByBatch) -> Result<ArrayRef>;
}

/// The given column of `batches` if its values are of fixed width; `null` is one of them.
fn fixed_width(
    batches: &[&RecordBatch],
    column: usize,
    null: &ArrayRef,
) -> Option<Box<dyn Gather>> {
    macro_rules! fixed {
        ($t:ty) => {
            Some(Box::new(Fixed::<$t>::new(batches, column, null)))
        };
    }
    downcast_primitive! {
        null.data_type() => (fixed),
        _ => None
    }
}

/// Values of one width.
struct Fixed<T: ArrowPrimitiveType> {
    data_type: DataType,
    values: Vec<ScalarBuffer<T::Native>>,
    /// Empty if no value is NULL.
    nulls: Vec<Option<NullBuffer>>,
}

impl<T: ArrowPrimitiveType> Fixed<T> {
    fn new(batches: &[&RecordBatch], column: usize, null: &ArrayRef) -> Self {
        let arrays = || batches.iter().map(|batch| batch.column(column));
        let has_nulls = arrays().any(|array| array.null_count() > 0);
        Self {
            data_type: null.data_type().clone(),
            values: arrays()
                .map(|a| a.as_primitive::<T>().values().clone())
                .collect(),
            nulls: match has_nulls {
                true => arrays().map(|array| array.nulls().cloned()).collect(),
                false => vec![],
            },
        }
    }

    fn array(
        &self,
        values: ScalarBuffer<T::Native>,
        valid: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let array = PrimitiveArray::<T>::try_new(values, valid)?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

impl<T: ArrowPrimitiveType> Gather for Fixed<T> {
    fn gather(&self, rows: &[RowId]) -> Result<ArrayRef> {
        let value = |row: &RowId| match row.is_some() {
            true => self.values[row.batch as usize][row.row as usize],
            false => T::Native::default(),
        };
        let values: ScalarBuffer<T::Native> = rows.iter().map(value).collect();
        let is_valid = |row: &RowId| {
            let nulls = |batch: &Option<NullBuffer>| {
                let nulls = batch.as_ref();
                nulls.is_none_or(|nulls| nulls.is_valid(row.row as usize))
            };
            row.is_some() && self.nulls.get(row.batch as usize).is_none_or(nulls)
        };
        let valid = match self.nulls.is_empty() && rows.iter().all(|row| row.is_some()) {
            true => None,
            false => {
                let valid = BooleanBuffer::collect_bool(rows.len(), |at| is_valid(&rows[at]));
                Some(NullBuffer::new(valid)).filter(|valid| valid.null_count() > 0)
            }
        };
        self.array(values, valid)
    }

    fn gather_by_batch(&self, rows: &ByBatch) -> Result<ArrayRef> {
        let mut values = vec![T::Native::default(); rows.len()];
        for (batch, chosen) in rows.batches() {
            let of_batch = &self.values[batch];
            if chosen.len() * TOUCHING_PAYS > of_batch.len() {
                touch(of_batch);
            }
            for chosen in chosen {
                values[chosen.by as usize] = of_batch[chosen.row as usize];
            }
        }
        let valid = match self.nulls.is_empty() {
            true => rows.matched().cloned(),
            false => {
                let mut valid = BooleanBufferBuilder::new(rows.len());
                valid.append_n(rows.len(), false);
                for (batch, chosen) in rows.batches() {
                    let nulls = self.nulls[batch].as_ref();
                    let is_valid = |row: u32| nulls.is_none_or(|n| n.is_valid(row as usize));
                    for chosen in chosen.iter().filter(|chosen| is_valid(chosen.row)) {
                        valid.set_bit(chosen.by as usize, true);
                    }
                }
                Some(NullBuffer::new(valid.finish()))
            }
        };
        self.array(values.into(), valid)
    }
}

/// Where at least one of so many rows is fetched, [`touch`] costs less than it saves.
const TOUCHING_PAYS: usize = 16;

/// Reads a value of each cache line in order, which the processor fetches ahead, so that picking values in any
/// order finds them in the cache.
fn touch<N: ArrowNativeType>(values: &[N]) {
    let in_a_line = (64 / size_of::<N>()).max(1);
    let zeros = values.iter().step_by(in_a_line);
    black_box(zeros.filter(|value| **value == N::default()).count());
}

/// For each of `columns`, kept right columns, the values of the given rows; `nulls`, one for
/// each kept column, stand in for no row.
pub(super) fn gather<'a>(
    nulls: &[ArrayRef],
    columns: &[usize],
    rows: &[RowId],
    batch: impl Fn(u32) -> Option<&'a RecordBatch>,
) -> Result<Vec<ArrayRef>> {
    if columns.is_empty() {
        return Ok(vec![]);
    }
    let (sources, rows) = sources(rows, batch);
    let primitive = columns.iter().map(|column| nulls[*column].data_type());
    let primitive = primitive
        .filter(|data_type| data_type.is_primitive())
        .count();
    let by_batch = ByBatch::pays_for(primitive).then(|| ByBatch::new(&rows, sources.len()));
    let fixed = columns.iter().map(|column| {
        by_batch.as_ref()?;
        fixed_width(&sources, *column, &nulls[*column])
    });
    let fixed: Vec<Option<Box<dyn Gather>>> = fixed.collect();
    // Source 0 is the NULL row.
    let index = |row: &RowId| match row.is_some() {
        true => (row.batch as usize + 1, row.row as usize),
        false => (0, 0),
    };
    let indices = match fixed.iter().any(Option::is_none) {
        true => rows.iter().map(index).collect(),
        false => vec![],
    };
    let column = |(column, fixed): (&usize, &Option<Box<dyn Gather>>)| {
        if let (Some(fixed), Some(rows)) = (fixed, &by_batch) {
            return fixed.gather_by_batch(rows);
        }
        let null: &dyn Array = &nulls[*column];
        let arrays: Vec<&dyn Array> = [null]
            .into_iter()
            .chain(sources.iter().map(|source| source.column(*column).as_ref()))
            .collect();
        Ok(interleave(&arrays, &indices)?)
    };
    columns.iter().zip(&fixed).map(column).collect()
}

/// The batches that some rows are of in the order of first use, and the rows with the batches' numbers there.
fn sources<'a>(
    rows: &[RowId],
    batch: impl Fn(u32) -> Option<&'a RecordBatch>,
) -> (Vec<&'a RecordBatch>, Vec<RowId>) {
    let mut sources: Vec<&RecordBatch> = vec![];
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let mut latest = (u32::MAX, RowId::NONE.batch);
    let mut named = Vec::with_capacity(rows.len());
    for row in rows {
        if row.batch != latest.0 {
            let number = match numbers.get(&row.batch) {
                Some(number) => *number,
                None => match row.is_some().then(|| batch(row.batch)).flatten() {
                    Some(found) => {
                        let number = sources.len() as u32;
                        sources.push(found);
                        numbers.insert(row.batch, number);
                        number
                    }
                    None => RowId::NONE.batch,
                },
            };
            latest = (row.batch, number);
        }
        named.push(RowId {
            batch: latest.1,
            ..*row
        });
    }
    (sources, named)
}
