//! Which columns of a join come out, and which right columns have to be kept for that.
//!
//! A join that is followed by a projection makes only the columns that it wants: the others,
//! its own keys and times among them, are neither kept nor gathered.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::project_schema;

/// Where a column of the output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// One of the kept left columns.
    Left(usize),
    /// One of the kept right columns.
    Right(usize),
}

/// The columns of a join's output and of the right rows that it keeps.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// The schema of the output.
    pub schema: SchemaRef,
    /// By column of the output.
    pub output: Vec<Source>,
    /// The columns of the left input that come out, ascending.
    pub left: Vec<usize>,
    /// The columns of the right input that are kept, ascending.
    pub kept: Vec<usize>,
    /// The schema of kept right rows.
    pub kept_schema: SchemaRef,
    /// For each kept column one NULL.
    pub kept_nulls: Vec<ArrayRef>,
    /// The kept column that tells carried rows, if there is one: the last.
    pub carried: Option<usize>,
}

/// What there is to choose from.
pub(super) struct AllColumns<'a> {
    /// The left columns and, if the join has them, the right columns.
    pub joined: &'a SchemaRef,
    pub left: usize,
    pub right: &'a Schema,
    /// Right columns that are read to match.
    pub matched: &'a [usize],
    /// The column behind them that tells carried rows, if the right side is salted.
    pub carried: Option<(usize, FieldRef)>,
}

impl Columns {
    /// The columns `projection` of all, in its order; all of them for `None`.
    pub(super) fn try_new(all: &AllColumns<'_>, projection: Option<&[usize]>) -> Result<Self> {
        let every: Vec<usize>;
        let wanted = match projection {
            Some(projection) => projection,
            None => {
                every = (0..all.joined.fields().len()).collect();
                &every
            }
        };
        let of_right = wanted
            .iter()
            .filter_map(|column| column.checked_sub(all.left));
        let mut kept: Vec<usize> = of_right.chain(all.matched.iter().copied()).collect();
        kept.sort_unstable();
        kept.dedup();
        let of_left = wanted.iter().copied();
        let mut left: Vec<usize> = of_left.filter(|column| *column < all.left).collect();
        left.sort_unstable();
        left.dedup();
        let source = |column: &usize| match column.checked_sub(all.left) {
            None => Source::Left(left.partition_point(|known| known < column)),
            Some(right) => Source::Right(kept.partition_point(|known| *known < right)),
        };
        let kept_schema = all.right.project(&kept)?;
        let output = wanted.iter().map(source).collect();
        let carried = all.carried.as_ref().map(|_| kept.len());
        let mut fields = kept_schema.fields().to_vec();
        if let Some((column, field)) = &all.carried {
            kept.push(*column);
            fields.push(Arc::clone(field));
        }
        let kept_schema = Schema::new_with_metadata(fields, kept_schema.metadata().clone());
        let nulls = kept_schema.fields().iter();
        let nulls = nulls.map(|field| new_null_array(field.data_type(), 1));
        Ok(Self {
            schema: project_schema(all.joined, projection.as_ref())?,
            output,
            left,
            kept_nulls: nulls.collect(),
            kept_schema: Arc::new(kept_schema),
            kept,
            carried,
        })
    }

    /// The kept right columns that come out.
    pub(super) fn right_in_output(&self) -> impl Iterator<Item = usize> {
        (0..self.kept.len()).filter(|column| self.output.contains(&Source::Right(*column)))
    }

    /// Where a column of the right input is among those kept.
    pub(super) fn kept_position(&self, right: usize) -> usize {
        self.kept.partition_point(|known| *known < right)
    }
}
