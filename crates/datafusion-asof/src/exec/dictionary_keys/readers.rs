//! Parquet files of which the metadata say that a column is a dictionary.
//!
//! What arrow type a column is read as, a file may say itself, as a schema among its metadata. That is where
//! it is said here too, for files that hold the column as nothing but codes of moderate dictionaries.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::{
    ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema,
};
use datafusion::parquet::basic::Encoding;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder,
};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;

/// Bytes of a dictionary in its file, at most: of so many strings each occurs often.
const MOST_BYTES: i64 = 1 << 16;
/// Files of which the metadata are kept: those that are open, and of which many ranges are read in turn.
const KEPT: usize = 16;

/// Readers of files with a column that is read as a dictionary where it is stored as one.
#[derive(Debug)]
pub(super) struct DictionaryReaders {
    readers: Arc<dyn ParquetFileReaderFactory>,
    column: Arc<Column>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// The oldest first.
    kept: Mutex<VecDeque<Arc<Known>>>,
}

/// Metadata as they are and, once somebody has asked, as they are given if that is not the same.
#[derive(Debug)]
struct Known {
    metadata: Arc<ParquetMetaData>,
    given: OnceLock<Option<Arc<ParquetMetaData>>>,
}

struct DictionaryReader {
    reader: Box<dyn AsyncFileReader + Send>,
    column: Arc<Column>,
}

impl DictionaryReaders {
    pub(super) fn new(readers: Arc<dyn ParquetFileReaderFactory>, name: String) -> Self {
        let kept = Mutex::default();
        Self {
            readers,
            column: Arc::new(Column { name, kept }),
        }
    }
}

impl ParquetFileReaderFactory for DictionaryReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let readers = &self.readers;
        Ok(Box::new(DictionaryReader {
            reader: readers.create_reader(partition, file, size_hint, metrics)?,
            column: Arc::clone(&self.column),
        }))
    }
}

impl AsyncFileReader for DictionaryReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.reader.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.reader.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let Self { reader, column } = self;
        let given = async move {
            let metadata = reader.get_metadata(options).await?;
            Ok(column.given(metadata))
        };
        given.boxed()
    }
}

impl Column {
    fn given(&self, metadata: Arc<ParquetMetaData>) -> Arc<ParquetMetaData> {
        let known = self.known(metadata);
        // Not while others wait for those of another file.
        let given = known.given.get_or_init(|| {
            let given = with_dictionary(&known.metadata, &self.name);
            given.map(Arc::new)
        });
        Arc::clone(given.as_ref().unwrap_or(&known.metadata))
    }

    fn known(&self, metadata: Arc<ParquetMetaData>) -> Arc<Known> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = kept.iter().rev();
        if let Some(same) = latest.find(|known| Arc::ptr_eq(&known.metadata, &metadata)) {
            return Arc::clone(same);
        }
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        let given = OnceLock::new();
        let known = Arc::new(Known { metadata, given });
        kept.push_back(Arc::clone(&known));
        known
    }
}

/// Metadata that say of a column that it is a dictionary; `None` if it is not to be read as one.
fn with_dictionary(metadata: &ParquetMetaData, column: &str) -> Option<ParquetMetaData> {
    let file = metadata.file_metadata();
    let leaves = file.schema_descr().columns();
    let leaf = leaves.iter().position(|leaf| {
        // Not a list or a part of a structure.
        leaf.path().parts() == [column] && leaf.max_rep_level() == 0
    })?;
    let mut chunks = metadata.row_groups().iter().map(|group| group.column(leaf));
    if !chunks.all(has_moderate_dictionary) {
        return None;
    }
    let known = file.key_value_metadata();
    let schema = parquet_to_arrow_schema(file.schema_descr(), known).ok()?;
    let (index, field) = schema.fields().find(column)?;
    let strings = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View];
    if !strings.contains(field.data_type()) {
        return None;
    }
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = schema.fields().to_vec();
    fields[index] = Arc::new(field.as_ref().clone().with_data_type(dictionary));
    let schema = Schema::new_with_metadata(fields, HashMap::new());
    let others = known.into_iter().flatten();
    let others = others.filter(|entry| entry.key != ARROW_SCHEMA_META_KEY);
    let entries = others.cloned().chain([KeyValue::new(
        ARROW_SCHEMA_META_KEY.to_owned(),
        encode_arrow_schema(&schema),
    )]);
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(entries.collect()),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let given = ParquetMetaDataBuilder::new(file)
        .set_row_groups(metadata.row_groups().to_vec())
        .set_column_index(metadata.column_index().cloned())
        .set_offset_index(metadata.offset_index().cloned());
    Some(given.build())
}

/// Whether all pages of a column hold codes of a dictionary that is not large, and there is no Bloom filter:
/// that of a column which is cast to strings is not looked at.
fn has_moderate_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let dictionary = chunk.dictionary_page_offset();
    let bytes = dictionary.map(|start| chunk.data_page_offset() - start);
    let is_moderate = bytes.is_some_and(|bytes| (0..=MOST_BYTES).contains(&bytes));
    let codes = [Encoding::RLE_DICTIONARY, Encoding::PLAIN_DICTIONARY];
    let pages = chunk.page_encoding_stats_mask();
    let leaves_out = chunk.bloom_filter_offset().is_some();
    is_moderate
        && !leaves_out
        && pages.is_some_and(|pages| codes.iter().any(|codes| pages.is_only(*codes)))
}
