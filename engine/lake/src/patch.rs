//! Writes files anew with other values in some columns, and copies the bytes of all others.
//!
//! An UPDATE of two columns of sixteen would otherwise decode and encode fourteen for nothing. Rows
//! keep their order, so a column that no row changes is the same bytes in the new file: its pages
//! are taken over as they are, with their indexes. Values are held in memory until the files are
//! written, so a statement that changes very many rows goes the other way, see `change.rs`.

use std::{collections::BTreeMap, io::Write, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::interleave,
    datatypes::{Schema, SchemaRef},
};
use bytes::{Buf, Bytes};
use deltalake_core::kernel::Add;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path};
use parking_lot::Mutex;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector},
        arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves},
        async_reader::{
            AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
        },
    },
    basic::Compression,
    column::writer::ColumnCloseResult,
    errors::ParquetError,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
        reader::{ChunkReader, Length},
        writer::SerializedFileWriter,
    },
};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::{
    data_files::DataFiles,
    error::LakeError,
    location::Place,
    stage::writer_properties,
    staging::{StagingArea, StagingStore},
    stats::{NewStats, with_new_values},
};

/// Rows of the changed columns that are decoded at a time.
const BATCH_ROWS: usize = 1 << 16;
/// Rows of the changed columns that are read at a time.
const PIECE_ROWS: usize = 1 << 17;
/// Bytes of a block in which what was written waits to be handed on.
const BLOCK_BYTES: usize = 1 << 20;

/// A row of a file, and where its values are: in which batch, and at which place of it.
type NewRow = (u32, (usize, usize));

/// New values of some columns, held until the files are written.
#[derive(Debug, Default)]
pub(crate) struct NewValues {
    batches: Vec<RecordBatch>,
    /// For each file, its changed rows and where their values are.
    rows: BTreeMap<usize, Vec<NewRow>>,
    bytes: usize,
}

impl NewValues {
    /// Takes the rows of a batch; `places` says for each which row of which file it replaces.
    pub(crate) fn add(&mut self, batch: RecordBatch, places: Vec<(usize, u32)>) {
        self.bytes += batch.get_array_memory_size() + places.len() * 24;
        let number = self.batches.len();
        for (at, (file, row)) in places.into_iter().enumerate() {
            self.rows.entry(file).or_default().push((row, (number, at)));
        }
        self.batches.push(batch);
    }

    /// Memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The values of one file in the order of its rows, and the rows.
    fn of(&self, file: usize) -> Result<(Vec<u32>, Vec<ArrayRef>), arrow::error::ArrowError> {
        let mut rows = self.rows.get(&file).cloned().unwrap_or_default();
        rows.sort_unstable();
        let places: Vec<(usize, usize)> = rows.iter().map(|(_, place)| *place).collect();
        let columns = self.batches.first().map_or(0, RecordBatch::num_columns);
        let arrays = (0..columns).map(|column| {
            let arrays: Vec<&dyn Array> =
                self.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
            interleave(&arrays, &places)
        });
        Ok((rows.into_iter().map(|(row, _)| row).collect(), arrays.collect::<Result<_, _>>()?))
    }
}

/// What all files of one statement share.
pub(crate) struct Patch {
    pub(crate) place: Place,
    pub(crate) area: Arc<StagingArea>,
    pub(crate) files: Arc<DataFiles>,
    /// The columns that change, with the types of the table.
    pub(crate) columns: SchemaRef,
    /// How their new values are compressed.
    pub(crate) codec: Compression,
    pub(crate) values: NewValues,
}

impl Patch {
    /// Writes one file anew. `None` when its columns are not stored as the table has them now, and it
    /// matters: such a file has to be decoded.
    pub(crate) async fn file(&self, file: usize) -> Result<Option<Add>, LakeError> {
        let location = self.place.text();
        let failed =
            |error: ParquetError| LakeError::failed("write a data file", location.clone(), error);
        let path = self.files.path(file)?;
        let store = Arc::clone(&self.place.store);
        let reader = StoredFile { store, path: path.clone(), size: self.files.size(file) };
        let options = ArrowReaderOptions::new();
        let metadata =
            ArrowReaderMetadata::load_async(&mut reader.clone(), options).await.map_err(failed)?;
        let Some(roots) = self.roots(metadata.schema()) else { return Ok(None) };
        let (rows, values) = self.values.of(file).map_err(|error| failed(error.into()))?;
        // Where pages are is told of all columns of a file or of none, and of new ones it is.
        if metadata.metadata().offset_index().is_none() {
            return Ok(None);
        }
        // Of a file from when the column was NOT NULL: there is no place for a NULL in it.
        let has_place = |(root, new): (&usize, &ArrayRef)| {
            new.null_count() == 0 || metadata.schema().field(*root).is_nullable()
        };
        if !roots.iter().zip(&values).all(has_place) {
            return Ok(None);
        }

        let (new_path, new_place) = renamed(&self.files.add(file).path, &path);
        let store: Arc<dyn ObjectStore> = Arc::new(StagingStore::new(Arc::clone(&self.area)));
        let mut upload = BufWriter::new(store, new_place);
        let parquet = metadata.metadata();
        let schema = parquet.file_metadata().schema_descr();
        let properties = writer_properties(schema, self.codec)
            .into_builder()
            .set_key_value_metadata(parquet.file_metadata().key_value_metadata().cloned())
            .build();
        let written = Written::default();
        let mut writer = SerializedFileWriter::new(
            written.clone(),
            schema.root_schema_ptr(),
            Arc::new(properties),
        )
        .map_err(failed)?;
        let encoders = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(metadata.schema()));
        let new = NewColumns { roots: &roots, rows: &rows, values: &values, metadata: &metadata };
        let mut stats = vec![NewStats::default(); roots.len()];
        let (mut first_row, mut size) = (0_u64, 0_u64);
        for group in 0..parquet.num_row_groups() {
            let group_metadata = parquet.row_group(group);
            let group_rows = u64::try_from(group_metadata.num_rows()).unwrap_or(0);
            let encoded = new.encode(&reader, &encoders, group, first_row, &mut stats).await;
            let mut encoded = encoded.map_err(failed)?;
            first_row += group_rows;
            let mut group_writer = writer.next_row_group().map_err(failed)?;
            for column in 0..schema.num_columns() {
                if let Some(chunk) = encoded.remove(&column) {
                    chunk.append_to_row_group(&mut group_writer).map_err(failed)?;
                } else {
                    let chunk = group_metadata.column(column).clone();
                    let (start, length) = chunk.byte_range();
                    let bytes = self.place.store.get_range(&path, start..start + length).await;
                    let bytes = bytes.map_err(|source| {
                        LakeError::store("read a data file", location.clone(), source)
                    })?;
                    let offsets = parquet.offset_index().map(|index| index[group][column].clone());
                    let copied = ColumnCloseResult {
                        bytes_written: length,
                        rows_written: group_rows,
                        metadata: chunk,
                        bloom_filter: None,
                        column_index: parquet.column_index().map(|i| i[group][column].clone()),
                        offset_index: offsets,
                    };
                    group_writer.append_column(&Part { start, bytes }, copied).map_err(failed)?;
                }
                size += written.drain(&mut upload, &location).await?;
            }
            group_writer.close().map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        size += written.drain(&mut upload, &location).await?;
        upload.shutdown().await.map_err(|error| upload_failed(&location, error))?;
        let old = self.files.add(file);
        let stats = old.stats.as_deref().map(|old| with_new_values(old, &self.columns, &stats));
        let now = rt::clock::Clock::now(&rt::clock::SystemClock).as_micros() / 1_000;
        Ok(Some(Add {
            path: new_path,
            size: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time: now,
            data_change: true,
            stats,
            ..old
        }))
    }

    /// Where the changed columns are in a file.
    fn roots(&self, stored: &Schema) -> Option<Vec<usize>> {
        let columns = self.columns.fields().iter();
        columns
            .map(|column| {
                let (at, field) = stored.column_with_name(column.name())?;
                (field.data_type() == column.data_type()).then_some(at)
            })
            .collect()
    }
}

/// The changed columns of one file.
struct NewColumns<'a> {
    /// Their numbers among the stored ones.
    roots: &'a [usize],
    /// The rows that change, in their order, and their new values.
    rows: &'a [u32],
    values: &'a [ArrayRef],
    metadata: &'a ArrowReaderMetadata,
}

impl NewColumns<'_> {
    /// Reads the columns of one row group, some rows at a time, and encodes them with their new
    /// values.
    async fn encode(
        &self,
        reader: &StoredFile,
        encoders: &ArrowRowGroupWriterFactory,
        group: usize,
        first_row: u64,
        stats: &mut [NewStats],
    ) -> Result<Encoded, ParquetError> {
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        let stored = self.metadata.schema();
        let mut writers: BTreeMap<usize, _> =
            encoders.create_column_writers(group)?.into_iter().enumerate().collect();
        writers.retain(|leaf, _| self.roots.contains(&schema.get_column_root_idx(*leaf)));
        let mut from = first_row;
        for piece in self.pieces(group) {
            let mut batches = self.read(reader, group, piece)?;
            while let Some(batch) = batches.try_next().await? {
                let until = from + batch.num_rows() as u64;
                let range = from..until;
                let new = replaced(&batch, self.roots, stored, self.rows, self.values, &range)?;
                from = until;
                for ((array, root), stats) in new.iter().zip(self.roots).zip(stats.iter_mut()) {
                    let leaves = writers
                        .iter_mut()
                        .filter(|(leaf, _)| schema.get_column_root_idx(**leaf) == *root);
                    let values = compute_leaves(stored.field(*root), array)?;
                    for ((_, writer), values) in leaves.zip(values) {
                        writer.write(&values)?;
                    }
                    stats.add(array);
                }
            }
        }
        writers.into_iter().map(|(leaf, writer)| Ok((leaf, writer.close()?))).collect()
    }
}

impl NewColumns<'_> {
    /// Rows of a row group that are read together. Without an index of pages nobody knows where the
    /// bytes of some rows are, so all are read.
    fn pieces(&self, group: usize) -> Vec<Range<usize>> {
        let metadata = self.metadata.metadata();
        let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
        let piece = if metadata.offset_index().is_some() { PIECE_ROWS } else { rows.max(1) };
        (0..rows).step_by(piece).map(|from| from..rows.min(from + piece)).collect()
    }

    /// The stored values of some rows of a row group.
    fn read(
        &self,
        reader: &StoredFile,
        group: usize,
        rows: Range<usize>,
    ) -> Result<ParquetRecordBatchStream<StoredFile>, ParquetError> {
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        let mask = ProjectionMask::roots(schema, self.roots.iter().copied());
        let selected = vec![RowSelector::skip(rows.start), RowSelector::select(rows.len())];
        ParquetRecordBatchStreamBuilder::new_with_metadata(reader.clone(), self.metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![group])
            .with_row_selection(RowSelection::from(selected))
            .with_batch_size(BATCH_ROWS)
            .build()
    }
}

/// Columns of some rows with the new values in the place of the old ones.
fn replaced(
    old: &RecordBatch,
    roots: &[usize],
    stored: &Schema,
    rows: &[u32],
    values: &[ArrayRef],
    range: &Range<u64>,
) -> Result<Vec<ArrayRef>, arrow::error::ArrowError> {
    let from = rows.partition_point(|row| u64::from(*row) < range.start);
    let until = rows.partition_point(|row| u64::from(*row) < range.end);
    let mut places: Vec<(usize, usize)> = (0..old.num_rows()).map(|row| (0, row)).collect();
    for (at, row) in rows.iter().enumerate().take(until).skip(from) {
        let row = usize::try_from(u64::from(*row) - range.start).unwrap_or(usize::MAX);
        places[row] = (1, at);
    }
    let changed = roots.iter().zip(values).map(|(root, new)| {
        let name = stored.field(*root).name();
        let old = old.column_by_name(name).ok_or_else(|| {
            arrow::error::ArrowError::SchemaError(format!("column '{name}' was not read"))
        })?;
        if from == until {
            return Ok(Arc::clone(old));
        }
        interleave(&[old.as_ref(), new.as_ref()], &places)
    });
    changed.collect()
}

/// The changed columns as they are stored, by their number among the stored ones.
type Encoded = BTreeMap<usize, ArrowColumnChunk>;

/// What a writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<Vec<u8>>>>);

impl Write for Written {
    /// In blocks: one buffer that grows would hold a column twice and more while it does.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut blocks = self.0.lock();
        let mut rest = bytes;
        while !rest.is_empty() {
            match blocks.last_mut() {
                Some(block) if block.len() < BLOCK_BYTES => {
                    let (now, later) = rest.split_at(rest.len().min(BLOCK_BYTES - block.len()));
                    block.extend_from_slice(now);
                    rest = later;
                }
                _ => blocks.push(Vec::with_capacity(BLOCK_BYTES)),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// Hands on what was written so far. Returns its bytes.
    async fn drain(&self, upload: &mut BufWriter, location: &str) -> Result<u64, LakeError> {
        let blocks = std::mem::take(&mut *self.0.lock());
        let mut bytes = 0;
        for block in blocks {
            bytes += block.len() as u64;
            upload.put(block.into()).await.map_err(|source| {
                LakeError::store("write a data file", location.to_owned(), source)
            })?;
        }
        Ok(bytes)
    }
}

fn upload_failed(location: &str, error: std::io::Error) -> LakeError {
    LakeError::failed("write a data file", location.to_owned(), error)
}

/// A new name in the same folder: as the log spells it, and where it is.
fn renamed(old: &str, place: &Path) -> (String, Path) {
    let name = format!("part-00000-{}-c000.zstd.parquet", Uuid::new_v4());
    let folder = old.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    let mut parts: Vec<_> = place.parts().collect();
    parts.pop();
    (format!("{folder}{name}"), Path::from_iter(parts).join(name))
}

/// A file of which parts are read as they are needed.
#[derive(Clone)]
struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let bytes = self.store.get_range(&self.path, range).await;
            bytes.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            // With the indexes of pages, which are copied with the pages.
            let policy = PageIndexPolicy::Optional;
            let size = self.size;
            let reader = ParquetMetaDataReader::new().with_page_index_policy(policy);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// A part of a file that says where it was in it.
struct Part {
    start: u64,
    bytes: Bytes,
}

impl Length for Part {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Part {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF("a part of a file ends early".to_owned()));
        }
        Ok(bytes.slice(..length))
    }
}

impl Part {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let within = start.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        match within.filter(|at| *at <= self.bytes.len()) {
            Some(at) => Ok(self.bytes.slice(at..)),
            None => Err(ParquetError::EOF("outside of a part of a file".to_owned())),
        }
    }
}
