//! Keeps the index of pages with the footer of a file.
//!
//! DataFusion reads it when a condition could leave out pages, and forgets it: the footer that it keeps
//! is without, so each query would read and parse it again. For a small file that costs more than
//! the query. Of large files it stays so: their indexes are large too, and would push out footers.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use datafusion::{
    datasource::{
        listing::PartitionedFile,
        physical_plan::{FileScanConfigBuilder, ParquetFileReaderFactory},
        source::DataSourceExec,
    },
    error::Result,
    physical_plan::{ExecutionPlan, metrics::ExecutionPlanMetricsSet},
};
use futures::{FutureExt, future::BoxFuture};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::Result as ParquetResult,
    file::metadata::{PageIndexPolicy, ParquetMetaData},
};

use crate::scan::files_of;

/// Bytes of the largest file whose index is kept.
const FILE_MAX: u64 = 32 << 20;

/// The same scan, if it is one of Parquet files, with readers that keep the indexes of small files.
pub(crate) fn with_page_indexes(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let Some((files, source)) = files_of(&scan) else { return scan };
    let Some(readers) = source.parquet_file_reader_factory() else { return scan };
    let readers = Arc::new(Readers(Arc::clone(readers)));
    let source = source.clone().with_parquet_file_reader_factory(readers);
    let files = FileScanConfigBuilder::from(files.clone()).with_source(Arc::new(source)).build();
    DataSourceExec::from_data_source(files)
}

/// Readers of files, whose footers another factory keeps.
#[derive(Debug)]
struct Readers(Arc<dyn ParquetFileReaderFactory>);

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_size: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let is_small = file.object_meta.size <= FILE_MAX;
        let reader = self.0.create_reader(partition, file, footer_size, metrics)?;
        Ok(if is_small { Box::new(Reader(reader)) } else { reader })
    }
}

/// Reads a file; its footer always comes with the index of pages that the file has.
struct Reader(Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let footer = self.0.get_metadata(options).await?;
            let is_there = footer.column_index().is_some() && footer.offset_index().is_some();
            if is_there || !has_page_index(&footer) {
                return Ok(footer);
            }
            let options = options.cloned().unwrap_or_default();
            let options = options.with_page_index_policy(PageIndexPolicy::Optional);
            self.0.get_metadata(Some(&options)).await
        }
        .boxed()
    }
}

fn has_page_index(footer: &ParquetMetaData) -> bool {
    let mut columns = footer.row_groups().iter().flat_map(|rows| rows.columns());
    columns.any(|column| {
        column.column_index_offset().is_some() && column.offset_index_offset().is_some()
    })
}
