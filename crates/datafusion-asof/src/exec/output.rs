//! From row ids to record batches: where payload is touched.
//!
//! Left columns pass as they are, or filtered where only some left rows come out. Right columns
//! are gathered from the batches that hold the matched rows, with one NULL row for the left
//! rows that have no match. With IGNORE NULLS a right column may come from rows of its own.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use datafusion::arrow::compute::filter;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet};

use super::by_batch::{Fetched, copy};
use super::columns::Source;
use super::gather::RightRows;
use super::matching::Matching;
use super::metrics::carry_matched_rows;
use crate::kernel::rows::RowId;
use crate::spec::AsOfJoinType;

/// The rows that a batch of left rows chose.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    pub rows: &'a [RowId],
    /// By validity class.
    pub by_class: &'a [&'a [RowId]],
    /// For each kept right column the class that it comes from; the chosen row itself for
    /// `None` and where nothing is said.
    pub class_of_column: &'a [Option<usize>],
    /// Values of the chosen rows.
    pub fetched: Fetched<'a>,
}

/// Builds output batches of one partition.
#[derive(Debug)]
pub(super) struct Output {
    matching: Arc<Matching>,
    /// Where rows may be carried: the left rows that these matched, and the column that tells.
    carried: Option<(Count, usize)>,
}

impl Output {
    /// For one partition of a join with these metrics.
    pub(super) fn new(
        matching: &Arc<Matching>,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Self {
        let carried = matching.columns.carried;
        Self {
            matching: Arc::clone(matching),
            carried: carried.map(|column| (carry_matched_rows(metrics, partition), column)),
        }
    }

    /// The output rows of a left batch, in its order; it has the left columns that come out.
    pub(super) fn assemble(
        &self,
        left: &RecordBatch,
        choice: Choice<'_>,
        right: &impl RightRows,
    ) -> Result<RecordBatch> {
        self.count_carried(choice, right)?;
        let comes_out = |row: &RowId| match self.matching.spec.join_type {
            AsOfJoinType::Left | AsOfJoinType::Full => true,
            AsOfJoinType::LeftAnti => !row.is_some(),
            AsOfJoinType::Inner | AsOfJoinType::Right | AsOfJoinType::LeftSemi => row.is_some(),
        };
        let passing: Option<BooleanArray> = match choice.rows.iter().all(comes_out) {
            true => None,
            false => Some(choice.rows.iter().map(|row| Some(comes_out(row))).collect()),
        };
        let rows = match &passing {
            None => left.num_rows(),
            Some(passing) => passing.true_count(),
        };
        let of_right = self.right_columns(choice, passing.as_ref(), right)?;
        let column = |source: &Source| match source {
            Source::Left(column) => match &passing {
                None => Ok(Arc::clone(left.column(*column))),
                Some(passing) => Ok(filter(left.column(*column), passing)?),
            },
            Source::Right(column) => of_right[*column]
                .clone()
                .ok_or_else(|| exec_datafusion_err!("an ASOF JOIN did not gather a column")),
        };
        let columns = self.matching.columns.output.iter().map(column);
        self.batch(columns.collect::<Result<_>>()?, rows)
    }

    fn count_carried(&self, choice: Choice<'_>, right: &impl RightRows) -> Result<()> {
        let Some((count, column)) = &self.carried else {
            return Ok(());
        };
        let classes = [choice.rows]
            .into_iter()
            .chain(choice.by_class.iter().copied());
        let carried = classes.map(|rows| right.gather(&[*column], rows));
        let carried = carried.collect::<Result<Vec<_>>>()?;
        let carried: Vec<&BooleanArray> = (carried.iter().flatten())
            .filter_map(|carried| carried.as_boolean_opt())
            .collect();
        let is_carried = |row: &usize| {
            let mut carried = carried.iter();
            carried.any(|carried| carried.is_valid(*row) && carried.value(*row))
        };
        count.add((0..choice.rows.len()).filter(is_carried).count());
        Ok(())
    }

    /// By kept column, those that come out.
    fn right_columns(
        &self,
        choice: Choice<'_>,
        passing: Option<&BooleanArray>,
        right: &impl RightRows,
    ) -> Result<Vec<Option<ArrayRef>>> {
        let kept = self.matching.columns.kept.len();
        let passing_rows = |rows| match passing {
            None => Cow::Borrowed(rows),
            Some(passing) => {
                let rows: &[RowId] = rows;
                let kept = rows
                    .iter()
                    .zip(passing.values())
                    .filter(|(_, passes)| *passes);
                Cow::Owned(kept.map(|(row, _)| *row).collect::<Vec<_>>())
            }
        };
        let class_of = |column: usize| choice.class_of_column.get(column).copied().flatten();
        let mut gathered: Vec<Option<ArrayRef>> = vec![None; kept];
        for column in self.matching.columns.right_in_output() {
            let fetched = choice.fetched.column(column, choice.rows.len());
            gathered[column] = match (fetched, passing) {
                (None, _) => None,
                (Some(values), None) => Some(copy(&values)?),
                (Some(values), Some(passing)) => Some(filter(&values, passing)?),
            };
        }
        let classes = (0..choice.by_class.len()).map(Some);
        for class in std::iter::once(None).chain(classes) {
            let of_class = self.matching.columns.right_in_output();
            let of_class = of_class.filter(|c| gathered[*c].is_none() && class_of(*c) == class);
            let of_class: Vec<usize> = of_class.collect();
            let rows = passing_rows(class.map_or(choice.rows, |class| choice.by_class[class]));
            let columns = right.gather(&of_class, &rows)?;
            for (column, array) in of_class.into_iter().zip(columns) {
                gathered[column] = Some(array);
            }
        }
        Ok(gathered)
    }

    /// The output rows of right rows that no left row chose, of which the kept columns are
    /// given.
    pub(super) fn alone(&self, right: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
        let columns = &self.matching.columns;
        let column = |(source, field): (&Source, &FieldRef)| match source {
            Source::Left(_) => new_null_array(field.data_type(), rows),
            Source::Right(column) => Arc::clone(&right[*column]),
        };
        let sources = columns.output.iter().zip(columns.schema.fields());
        self.batch(sources.map(column).collect(), rows)
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.matching.columns.schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}
