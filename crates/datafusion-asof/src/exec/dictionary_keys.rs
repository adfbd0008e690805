//! Keys of Parquet files, read as the dictionaries that they are stored as.
//!
//! # Motivation
//!
//! Files hold most string keys as dictionaries: the distinct strings of a row group, and for each row the
//! number of its own. DataFusion reads them as strings, which a join looks up in a hash table, row by row.
//! Where the dictionary is kept, only its strings are looked up (`kernel/ordinals/dictionaries.rs`).
//!
//! # Where
//!
//! A side that is a scan of Parquet files, right below the join, and of which the one key is a column of
//! strings that nothing else in the join reads and that does not come out. It is exchanged when the join
//! begins to read ([`sides`]), not when it is planned: plans, their schemas and their filters know
//! nothing of it.
//!
//! # How
//!
//! ```text
//! scan          projection=[as_dictionary(sym), ts, bid]
//!   files       readers whose metadata have sym as a dictionary        (readers)
//!   opened      DataFusion casts it to strings: as_dictionary(CAST(sym AS Utf8View))
//! expression    takes what is cast as it is                            (expr)
//! ```
//!
//! # Degenerate cases
//!
//! A file of which some page of the column holds no dictionary codes, or a dictionary is large, is read as
//! before; each of its batches is a dictionary of all its rows, which costs nothing to make and is looked
//! up as its strings would be.

mod expr;
mod readers;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr::split_conjunction;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;

use self::expr::AsDictionary;
use self::readers::DictionaryReaders;
use super::asof_join::AsOfJoinExec;
use super::matching::Matching;
use super::pinned_source::{file_scan, with_files_of};
use super::read_in_order::ReadInOrderExec;
use super::row_place::RowPlaceExec;
use crate::spec::Side;

/// The left and the right input of a join as they are to be read.
pub(super) fn sides(join: &AsOfJoinExec) -> Result<[Arc<dyn ExecutionPlan>; 2]> {
    let read = |side: Side, plan: &Arc<dyn ExecutionPlan>| match lone_key(join.matching(), side) {
        Some(key) => with_dictionary(plan, key),
        None => Ok(None),
    };
    let (left, right) = (join.left(), join.right());
    Ok([
        read(Side::Left, left)?.unwrap_or_else(|| Arc::clone(left)),
        read(Side::Right, right)?.unwrap_or_else(|| Arc::clone(right)),
    ])
}

/// The column of a side that is the only key and is read for nothing else.
fn lone_key(matching: &Matching, side: Side) -> Option<usize> {
    let [key] = matching.spec.on.as_slice() else {
        return None;
    };
    let column = key.of(side).downcast_ref::<Column>()?.index();
    let before = matching.left_schema.fields().len();
    let (of_both, comes_out) = match side {
        Side::Right => (before + column, &matching.columns.kept),
        _ => (column, &matching.columns.left),
    };
    let reads = matching.spec.expressions().filter(|(of, expr)| {
        let read = |column| collect_columns(expr).iter().any(|c| c.index() == column);
        *of == side && read(column) || *of == Side::Both && read(of_both)
    });
    let alone = reads.count() == 1 && !comes_out.contains(&column);
    (alone && !key.null_equals_null).then_some(column)
}

/// The scan with a column of strings as dictionaries; `None` for other plans.
fn with_dictionary(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(place) = plan.downcast_ref::<RowPlaceExec>() {
        let input = with_dictionary(place.input(), column)?;
        return Ok(input.map(|input| Arc::new(place.reading(input)) as _));
    }
    if let Some(in_order) = plan.downcast_ref::<ReadInOrderExec>() {
        let input = with_dictionary(in_order.input(), column)?;
        return Ok(input.map(|input| Arc::new(in_order.reading(input)) as _));
    }
    let Some(files) = file_scan(plan) else {
        return Ok(None);
    };
    // Who adapts files to their table by rules of his own knows of no dictionaries.
    if files.expr_adapter_factory.is_some() {
        return Ok(None);
    }
    let Some(source) = files.file_source().downcast_ref::<ParquetSource>() else {
        return Ok(None);
    };
    let Some(source) = source_with_dictionary(plan, source, column)? else {
        return Ok(None);
    };
    let files = FileScanConfigBuilder::from(files.clone()).with_source(source);
    Ok(with_files_of(plan, files.build()))
}

fn source_with_dictionary(
    scan: &Arc<dyn ExecutionPlan>,
    source: &ParquetSource,
    column: usize,
) -> Result<Option<Arc<dyn FileSource>>> {
    let crypto = &source.table_parquet_options().crypto;
    let is_encrypted = crypto.file_decryption.is_some() || crypto.factory_id.is_some();
    let schema = scan.schema();
    let is_string = |of: &DataType| matches!(of, DataType::Utf8 | DataType::Utf8View);
    let (Some(readers), Some(name), true, false) = (
        source.parquet_file_reader_factory(),
        name_in_file(source, column),
        is_string(schema.field(column).data_type()),
        is_encrypted,
    ) else {
        return Ok(None);
    };
    let columns = schema.fields().iter().enumerate().map(|(index, field)| {
        let read = Arc::new(Column::new(field.name(), index)) as _;
        let expr = match index == column {
            true => Arc::new(AsDictionary::new(read)) as _,
            false => read,
        };
        ProjectionExpr::new(expr, field.name().clone())
    });
    let readers = DictionaryReaders::new(Arc::clone(readers), name);
    let source = source.clone();
    let source = source.with_parquet_file_reader_factory(Arc::new(readers));
    source.try_pushdown_projection(&ProjectionExprs::new(columns))
}

/// What a column of the scan is called in the files; `None` if it is not taken from there as it is, or a
/// filter that the query states reads it.
fn name_in_file(source: &ParquetSource, column: usize) -> Option<String> {
    let projection = source.projection()?;
    let read = projection.as_ref().get(column)?;
    let read = read.expr.downcast_ref::<Column>()?.index();
    // Files leave out less by a filter that sees a cast. Those of joins compare alone, which a cast does not
    // hinder but for Bloom filters (see `readers`).
    let mut filters = source.filter().into_iter();
    let hinders = filters.any(|filter| {
        let mut stated = split_conjunction(&filter).into_iter();
        stated.any(|filter| {
            let columns = collect_columns(filter);
            !filter.is::<DynamicFilterPhysicalExpr>()
                && columns.iter().any(|column| column.index() == read)
        })
    });
    if hinders {
        return None;
    }
    let of_files = source.table_schema().file_schema().fields();
    of_files.get(read).map(|field| field.name().clone())
}

#[cfg(test)]
mod tests;
