//! Blocks of files.
//!
//! Files lie on a line one behind the other, each as long as it has rows, or bytes where rows are not known, so that a
//! block stands for as much whatever file it is from. How a block is read depends on the format:
//!
//! * Parquet: rows from within a row group (`parquet.rs`);
//! * lines of text that may be cut anywhere (CSV, JSON): some kilobytes from within a file;
//! * others, as compressed text or arrays of JSON: the first rows of a file, which are believed no further than they come in no order
//!   (`kernel/skew`).
//!
//! Scans for a sample have metrics of their own, so those of the query count what the query reads.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::common::Result;
use datafusion::common::runtime::SpawnedTask;
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use super::line::{draws, part_at, reaches, spots};
use super::unmetered::Unmetered;
use super::{Block, Taken, Want};
use crate::exec::{joined, pinned};

/// Pieces read at a time.
const AT_ONCE: usize = 8;
/// What is read of lines of text for a block.
const BLOCK_BYTES: usize = 16 << 10;
/// A guess at the bytes of a row, where nothing else is known.
const ROW_BYTES: f64 = 64.0;

/// What one partition of the scan for a sample reads: a file, or a part of one.
pub(super) struct Piece {
    pub file: PartitionedFile,
    /// The length of the file on the line.
    pub length: f64,
    pub blocks: Vec<PieceBlock>,
}

/// One of the blocks of a piece.
pub(super) struct PieceBlock {
    /// How many rows it has, if that is known.
    pub rows: Option<usize>,
    /// How much of the line it is, if that is known.
    pub length: Option<f64>,
    /// How much of the line is nearer to it than to others, before and after its middle.
    pub reach: [f64; 2],
}

/// Pieces, and how they are read.
pub(super) struct Pieces {
    pub pieces: Vec<Piece>,
    pub source: Arc<dyn FileSource>,
    /// Rows that are read of each piece at most.
    pub limit: Option<usize>,
    /// Whether they have all rows.
    pub whole: bool,
    /// Whether they are where places were drawn.
    pub drawn: bool,
}

/// The files of a scan as parts of a line.
pub(super) struct Line {
    pub files: Vec<PartitionedFile>,
    pub lengths: Vec<f64>,
    /// Whether lengths are rows, and as many as there are.
    #[cfg(feature = "parquet")]
    pub in_rows: bool,
}

impl Line {
    fn of(scan: &FileScanConfig) -> Self {
        let files = scan.file_groups.iter().flat_map(FileGroup::files);
        let mut files: Vec<PartitionedFile> = files.cloned().collect();
        files.sort_by(|a, b| place_of(a).cmp(&place_of(b)));
        let files = whole_again(files);
        let rows = |file: &PartitionedFile| match (&file.statistics, &file.range) {
            (Some(statistics), None) => statistics.num_rows.get_value().copied(),
            _ => None,
        };
        let in_rows: Option<Vec<f64>> =
            (files.iter().map(|file| rows(file).map(|rows| rows as f64))).collect();
        let bytes = || files.iter().map(|file| file.effective_size() as f64);
        Self {
            #[cfg(feature = "parquet")]
            in_rows: in_rows.is_some(),
            lengths: in_rows.unwrap_or_else(|| bytes().collect()),
            files,
        }
    }

    pub(super) fn length(&self) -> f64 {
        self.lengths.iter().sum()
    }

    /// Where blocks are taken: the place on the line, the file, and the place in the file.
    pub(super) fn draws(&self, want: Want) -> Vec<(f64, usize, f64)> {
        if self.length() <= 0.0 {
            return vec![];
        }
        let draws = draws(self.length(), want.blocks, want.first).into_iter();
        let places = draws.map(|place| {
            let (file, of_file) = part_at(&self.lengths, place);
            (place, file, of_file)
        });
        places.collect()
    }
}

/// Files that were cut, as a plan is that was optimized before, without the cuts.
fn whole_again(pieces: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
    let mut files: Vec<PartitionedFile> = vec![];
    for piece in pieces {
        if let Some(file) = files.last_mut()
            && file.path() == piece.path()
            && let (Some(before), Some(range)) = (&mut file.range, &piece.range)
            && before.end == range.start
        {
            before.end = range.end;
        } else {
            files.push(piece);
        }
    }
    for file in &mut files {
        let end = file.object_meta.size;
        let all = |range: &FileRange| range.start == 0 && range.end.unsigned_abs() == end;
        if file.range.as_ref().is_some_and(all) {
            file.range = None;
        }
    }
    files
}

fn place_of(file: &PartitionedFile) -> (&str, i64) {
    let start = file.range.as_ref().map_or(0, |range| range.start);
    (file.path().as_ref(), start)
}

/// Blocks of the files of a scan, as it gives them; `None` if it gives only some of the rows that they have.
pub(super) async fn take(
    scan: &FileScanConfig,
    want: Want,
    context: &Arc<TaskContext>,
) -> Result<Option<Taken>> {
    if scan.limit.is_some() {
        return Ok(None);
    }
    let line = Line::of(scan);
    let pieces = match scan.file_source.file_type() {
        #[cfg(feature = "parquet")]
        "parquet" => super::parquet::pieces(scan, &line, want, context).await?,
        _ => None,
    };
    let is_text = ["csv", "json"].contains(&scan.file_source.file_type());
    let may_be_cut = scan.file_source.supports_repartitioning();
    let is_plain = !scan.file_compression_type.is_compressed();
    if let Some(pieces) = pieces {
        return read(scan, pieces, context).await.map(Some);
    }
    if is_text && may_be_cut && is_plain {
        let taken = read(scan, lines_of_text(scan, &line, want), context).await;
        // An array of JSON cannot be cut, which its source does not tell.
        if let Ok(taken) = taken {
            return Ok(Some(taken));
        }
    }
    let pieces = first_rows(scan, &line, want);
    read(scan, pieces, context).await.map(Some)
}

/// Kilobytes from within files.
fn lines_of_text(scan: &FileScanConfig, line: &Line, want: Want) -> Pieces {
    let sizes: Vec<usize> = line
        .files
        .iter()
        .map(|file| file.effective_size() as usize)
        .collect();
    let draws = line.draws(want);
    let places: Vec<f64> = draws.iter().map(|(place, ..)| *place).collect();
    let bytes_of = |file: usize| sizes[file] as f64 / line.lengths[file].max(f64::MIN_POSITIVE);
    let places = draws.iter().zip(reaches(&places, line.length()));
    let places = places.map(|((_, file, at), reach)| (*file, at * bytes_of(*file), reach));
    let spots = spots(&sizes, &places.collect::<Vec<_>>(), BLOCK_BYTES);
    let read: usize = spots.iter().map(|spot| spot.rows.len()).sum();
    let pieces = spots.into_iter().map(|spot| {
        let file = &line.files[spot.part];
        let (_, first) = place_of(file);
        let at = |bytes: usize| first + bytes as i64;
        let range = FileRange {
            start: at(spot.rows.start),
            end: at(spot.rows.end),
        };
        let is_all = spot.rows.len() == sizes[spot.part];
        let mut file = file.clone();
        file.range = match is_all {
            true => file.range,
            false => Some(range),
        };
        Piece {
            file,
            length: line.lengths[spot.part],
            blocks: vec![PieceBlock {
                rows: None,
                length: Some(spot.rows.len() as f64 / bytes_of(spot.part)),
                reach: spot.reach,
            }],
        }
    });
    Pieces {
        pieces: pieces.collect(),
        source: Unmetered::over(Arc::clone(&scan.file_source)),
        limit: None,
        whole: read == sizes.iter().sum::<usize>(),
        drawn: true,
    }
}

/// The first rows of files.
fn first_rows(scan: &FileScanConfig, line: &Line, want: Want) -> Pieces {
    let draws = line.draws(want);
    let places: Vec<f64> = draws.iter().map(|(place, ..)| *place).collect();
    let mut pieces: Vec<Piece> = vec![];
    let mut last = None;
    for ((_, file, _), reach) in draws.iter().zip(reaches(&places, line.length())) {
        if last == Some(file)
            && let Some(block) = pieces.last_mut().and_then(|piece| piece.blocks.last_mut())
        {
            block.reach[1] += reach[0] + reach[1];
            continue;
        }
        last = Some(file);
        pieces.push(Piece {
            file: line.files[*file].clone(),
            length: line.lengths[*file],
            blocks: vec![PieceBlock {
                rows: None,
                length: None,
                reach,
            }],
        });
    }
    // Sources that are read in another way cannot be told to count elsewhere.
    let counts_by_opener = ["csv", "json", "arrow", "avro"];
    let source = Arc::clone(&scan.file_source);
    let source = match counts_by_opener.contains(&source.file_type()) {
        true => Unmetered::over(source),
        false => source,
    };
    let limit = want.rows.div_ceil(pieces.len().max(1));
    Pieces {
        pieces,
        source,
        limit: Some(limit),
        whole: false,
        drawn: false,
    }
}

/// Reads pieces, each a partition.
async fn read(scan: &FileScanConfig, what: Pieces, context: &Arc<TaskContext>) -> Result<Taken> {
    let groups = what
        .pieces
        .iter()
        .map(|piece| FileGroup::new(vec![piece.file.clone()]));
    let files = FileScanConfigBuilder::from(scan.clone())
        .with_source(what.source)
        .with_file_groups(groups.collect())
        .with_output_ordering(vec![])
        .with_output_partitioning(None)
        .with_limit(what.limit)
        .build();
    let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(files);
    // Pinned, so that no piece is read in the place of another.
    let plan = pinned(&plan).unwrap_or(plan);
    let partitions = what
        .pieces
        .len()
        .min(plan.output_partitioning().partition_count());
    let schema = plan.schema();
    let read = (0..partitions).map(|partition| {
        let stream = plan.execute(partition, Arc::clone(context));
        on_any_core(async move { stream?.try_collect::<Vec<_>>().await })
    });
    let read: Vec<Vec<RecordBatch>> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
    let mut blocks = vec![];
    for (piece, batches) in what.pieces.iter().zip(&read) {
        let batch = concat_batches(&schema, batches)?;
        let all_of_file = what.limit.is_some_and(|limit| batch.num_rows() < limit);
        let drawn = what.drawn || all_of_file;
        let cut = piece.cut(&batch, what.limit).into_iter();
        blocks.extend(cut.map(|block| Block {
            is_drawn: drawn,
            ..block
        }));
    }
    let metrics = plan.metrics().unwrap_or_default();
    let bytes = metrics.sum_by_name("bytes_scanned");
    Ok(Taken {
        blocks,
        whole: what.whole,
        bytes: bytes.map_or(0, |bytes| bytes.as_usize()),
    })
}

impl Piece {
    /// The blocks of what was read.
    fn cut(&self, batch: &RecordBatch, limit: Option<usize>) -> Vec<Block> {
        let rows: Option<Vec<usize>> = self.blocks.iter().map(|block| block.rows).collect();
        let rows = rows.filter(|rows| rows.iter().sum::<usize>() == batch.num_rows());
        let all = batch.num_rows();
        if let Some(rows) = rows {
            let mut start = 0;
            let blocks = self.blocks.iter().zip(rows).map(|(block, rows)| {
                start += rows;
                let length = block.length.unwrap_or(rows as f64);
                Block::of(batch.slice(start - rows, rows), length, block.reach)
            });
            return blocks.collect();
        }
        // As one block.
        let reach = |end: usize| self.blocks.iter().map(|block| block.reach[end]).sum();
        let length: Option<f64> = self.blocks.iter().map(|block| block.length).sum();
        let of_file = match &self.file.statistics {
            Some(statistics) => statistics.num_rows.get_value().copied(),
            None => None,
        };
        let length = length.unwrap_or_else(|| match (of_file, limit) {
            (_, Some(limit)) if all < limit => self.length,
            (Some(rows), _) => self.length * all as f64 / rows.max(1) as f64,
            _ => self.length.min(all as f64 * ROW_BYTES),
        });
        vec![Block::of(batch.clone(), length, [reach(0), reach(1)])]
    }
}

/// Runs a future as a task of its own, where there is a runtime for tasks.
pub(super) async fn on_any_core<T: Send + 'static>(
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match Handle::try_current() {
        Ok(_) => joined(SpawnedTask::spawn(future).await)?,
        Err(_) => future.await,
    }
}

#[cfg(test)]
mod tests;
