//! Blocks of rows from within Parquet files.
//!
//! The footer of a file, which the session keeps, tells the rows of its row groups. A block is read by a
//! selection of rows of a row group; all blocks of a row group are read by one partition, one after the other.
//!
//! # What that costs
//!
//! Where the file has an offset index, the pages that have the rows are read, and nothing else. Where it has none,
//! the columns of keys and times are read of the whole row group, but only pages that have the rows
//! are decompressed. So of row groups without an index only some are read, drawn at random: as
//! many as have about [`BUDGET`] bytes of these columns, but at least one. The other blocks are not taken, and those that are
//! stand for more.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::common::{Result, exec_datafusion_err};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetAccessPlan, ParquetRowSelection, RowGroupAccess,
};
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileSource, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::execution::TaskContext;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderOptions, RowSelection, RowSelector};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::{StreamExt, TryStreamExt, stream};

use super::Want;
use super::files::{Line, Piece, PieceBlock, Pieces, on_any_core};
use super::line::{Spot, reaches, spots};

/// What is read of row groups without an offset index.
const BUDGET: i64 = 32 << 20;
/// Footers read at a time.
const AT_ONCE: usize = 8;

/// A row group of a file that blocks are taken from.
struct Group<'a> {
    file: usize,
    number: usize,
    metadata: &'a RowGroupMetaData,
    rows: usize,
    has_index: bool,
}

/// The blocks of a scan of Parquet files; `None` if it reads its files in a way that is not understood.
pub(super) async fn pieces(
    scan: &FileScanConfig,
    line: &Line,
    want: Want,
    context: &Arc<TaskContext>,
) -> Result<Option<Pieces>> {
    let any: &dyn std::any::Any = scan.file_source.as_ref();
    let Some(source) = any.downcast_ref::<ParquetSource>() else {
        return Ok(None);
    };
    let reads_some = |file: &PartitionedFile| {
        let selected = file.extension::<ParquetRowSelection>().is_some();
        file.range.is_some() || selected || file.extension::<ParquetAccessPlan>().is_some()
    };
    if line.files.iter().any(reads_some) {
        return Ok(None);
    }
    let whole =
        line.in_rows && line.length() <= want.rows as f64 && line.files.len() <= want.blocks;
    let mut draws = match whole {
        true => vec![],
        false => line.draws(want),
    };
    let reader = match source.parquet_file_reader_factory() {
        Some(reader) => Arc::clone(reader),
        None => {
            let runtime = context.runtime_env();
            let store = runtime.object_store(&scan.object_store_url)?;
            let cache = runtime.cache_manager.get_file_metadata_cache();
            Arc::new(CachedParquetFileReaderFactory::new(store, cache)) as _
        }
    };
    let mut files: Vec<usize> = match whole {
        true => (0..line.files.len()).collect(),
        false => draws.iter().map(|(_, file, _)| *file).collect(),
    };
    files.dedup();
    let metrics = ExecutionPlanMetricsSet::new();
    let footers = files.into_iter().map(|number| {
        let file = line.files[number].clone();
        let footer = footer(Arc::clone(&reader), file, metrics.clone());
        on_any_core(async move { Ok((number, footer.await?)) })
    });
    let footers: BTreeMap<usize, Arc<ParquetMetaData>> = stream::iter(footers)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let groups = groups(&footers);
    let first_of_file = |file| groups.partition_point(|group| group.file < file);
    let rows_of_file = |file| -> usize {
        let of_file = groups.iter().filter(|group| group.file == file);
        of_file.map(|group| group.rows).sum()
    };
    // By row group and row.
    let mut places: Vec<(f64, usize, f64)> = vec![];
    for (place, file, of_file) in draws.drain(..) {
        let rows = rows_of_file(file);
        let mut row = of_file / line.lengths[file].max(f64::MIN_POSITIVE) * rows as f64;
        let mut group = first_of_file(file);
        while let Some(this) = groups.get(group).filter(|this| this.file == file) {
            if row < this.rows as f64 {
                places.push((place, group, row));
                break;
            }
            row -= this.rows as f64;
            group += 1;
        }
    }
    let columns = columns_read(source);
    let is_read = |group: &RowGroupMetaData| -> i64 {
        let chunks = group.columns().iter().filter(|chunk| {
            let name = chunk.column_path().parts().first();
            name.is_some_and(|name| columns.contains(name.as_str()))
        });
        chunks.map(|chunk| chunk.compressed_size()).sum()
    };
    keep_within_budget(&mut places, |group| match groups[group].has_index {
        true => 0,
        false => is_read(groups[group].metadata),
    });
    let on_line: Vec<f64> = places.iter().map(|(place, ..)| *place).collect();
    let places = places.iter().zip(reaches(&on_line, line.length()));
    let places: Vec<_> = places
        .map(|((_, group, row), reach)| (*group, *row, reach))
        .collect();
    let sizes: Vec<usize> = groups.iter().map(|group| group.rows).collect();
    let spots = match whole {
        true => every_row(&sizes),
        false => spots(&sizes, &places, want.of_block()),
    };
    let pieces = spots.chunk_by(|a, b| a.part == b.part).map(|of_group| {
        let group = &groups[of_group[0].part];
        let all = footers[&group.file].num_row_groups();
        let length = line.lengths[group.file];
        let of_row = length / rows_of_file(group.file).max(1) as f64;
        let mut plan = ParquetAccessPlan::new_none(all);
        let selection = selection(of_group, group.rows);
        plan.set(group.number, RowGroupAccess::Selection(selection));
        let blocks = of_group.iter().map(|spot| PieceBlock {
            rows: Some(spot.rows.len()),
            length: Some(spot.rows.len() as f64 * of_row),
            reach: spot.reach,
        });
        Piece {
            file: line.files[group.file].clone().with_extension(plan),
            length,
            blocks: blocks.collect(),
        }
    });
    Ok(Some(Pieces {
        pieces: pieces.collect(),
        source: same_source(source, reader)?,
        limit: None,
        whole,
        drawn: true,
    }))
}

/// The names that columns have in the files, whatever they are called above.
fn columns_read(source: &ParquetSource) -> HashSet<&str> {
    let schema = source.table_schema().table_schema();
    let mut columns: Vec<usize> = match source.projection() {
        Some(projection) => projection.column_indices(),
        None => (0..schema.fields().len()).collect(),
    };
    if let Some(predicate) = source.filter() {
        columns.extend(collect_columns(&predicate).iter().map(Column::index));
    }
    let names = columns
        .into_iter()
        .filter_map(|column| schema.fields().get(column));
    names.map(|field| field.name().as_str()).collect()
}

async fn footer(
    reader: Arc<dyn ParquetFileReaderFactory>,
    file: PartitionedFile,
    metrics: ExecutionPlanMetricsSet,
) -> Result<Arc<ParquetMetaData>> {
    let mut reader = reader.create_reader(0, file, None, &metrics)?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    Ok(reader.get_metadata(Some(&options)).await?)
}

fn groups(footers: &BTreeMap<usize, Arc<ParquetMetaData>>) -> Vec<Group<'_>> {
    let groups = footers.iter().flat_map(|(file, footer)| {
        let groups = footer.row_groups().iter().enumerate();
        groups.map(|(number, metadata)| Group {
            file: *file,
            number,
            metadata,
            rows: usize::try_from(metadata.num_rows()).unwrap_or(0),
            has_index: footer.offset_index().is_some(),
        })
    });
    groups.collect()
}

/// Leaves out places in row groups that cost too much.
fn keep_within_budget(places: &mut Vec<(f64, usize, f64)>, cost: impl Fn(usize) -> i64) {
    let mut groups: Vec<usize> = places.iter().map(|(_, group, _)| *group).collect();
    groups.dedup();
    groups.sort_by(|a, b| random(*a as u64).total_cmp(&random(*b as u64)));
    let mut spent = 0;
    let mut kept: Vec<usize> = vec![];
    for group in groups {
        let cost = cost(group);
        if kept.is_empty() || spent + cost <= BUDGET {
            spent += cost;
            kept.push(group);
        }
    }
    places.retain(|(_, group, _)| kept.contains(group));
}

/// A number below one that looks like drawn at random (as `splitmix64` has it).
fn random(seed: u64) -> f64 {
    let mut bits = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn every_row(sizes: &[usize]) -> Vec<Spot> {
    let groups = sizes.iter().enumerate().filter(|(_, rows)| **rows > 0);
    let spots = groups.map(|(part, rows)| Spot {
        part,
        rows: 0..*rows,
        reach: [*rows as f64 / 2.0; 2],
    });
    spots.collect()
}

/// Some rows of a row group.
fn selection(spots: &[Spot], rows: usize) -> RowSelection {
    let mut selectors = vec![];
    let mut row = 0;
    for spot in spots {
        selectors.push(RowSelector::skip(spot.rows.start - row));
        selectors.push(RowSelector::select(spot.rows.len()));
        row = spot.rows.end;
    }
    selectors.push(RowSelector::skip(rows - row));
    RowSelection::from(selectors)
}

/// The same source with metrics of its own.
fn same_source(
    source: &ParquetSource,
    reader: Arc<dyn ParquetFileReaderFactory>,
) -> Result<Arc<dyn FileSource>> {
    let options = TableParquetOptions::clone(source.table_parquet_options());
    let mut same = ParquetSource::new(source.table_schema().clone())
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(reader);
    if let Some(predicate) = source.filter() {
        same = same.with_predicate(predicate);
    }
    let Some(projection) = source.projection() else {
        return Ok(Arc::new(same));
    };
    let projected = same.try_pushdown_projection(projection)?;
    projected
        .ok_or_else(|| exec_datafusion_err!("a projection of a Parquet scan is not taken back"))
}

#[cfg(test)]
mod tests;
