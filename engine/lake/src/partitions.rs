//! Writes the rows of one task into files, those of each partition apart.
//!
//! A writer of a file takes more than a megabyte, however few rows it has. So only some partitions
//! have one that is open. The rows of all others wait as they came, and are written partition after
//! partition: when there are enough of one, when no more memory is to be had, or at the end.
//! Partitions are told apart by their values: two of them may have folders of one name, as NULL and
//! the text that its folder is called by.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, UInt32Array},
    compute::{interleave_record_batch, take_record_batch},
    error::ArrowError,
    row::{RowConverter, SortField},
};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use delta_kernel::expressions::Scalar;
use deltalake_core::{
    DeltaResult, DeltaTableError,
    datafile::writer::{DeltaWriter, WriterConfig},
    kernel::{Add, scalars::ScalarExt},
};
use futures::future::try_join_all;
use object_store::ObjectStore;

/// Partitions that have a writer as soon as they have a row.
const OPEN_AT_ONCE: usize = 16;
/// What an open writer takes, about, before it has many rows.
const WRITER_BYTES: usize = 2 << 20;
/// A partition with so many bytes that wait gets a writer, which then takes less than its rows.
const WAITING_OF_ONE_MAX: usize = 8 << 20;
/// So many bytes of a task wait without being asked for: less would make a file of a few rows.
const WAITING_LEAST: usize = 16 << 20;
/// What the place of a row that waits takes.
const PLACE_BYTES: usize = size_of::<(u32, u32)>();
/// Partitions whose files are ended at the same time.
const ENDED_AT_ONCE: usize = 4;

/// Where the files of one task come to, and how they are written.
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) config: WriterConfig,
}

impl Output {
    fn writer(&self) -> DeltaWriter {
        DeltaWriter::new(Arc::clone(&self.store), self.config.clone())
    }
}

/// The writer of one task.
pub(crate) enum TableWriter {
    /// Of a table without partitions.
    Whole(Box<DeltaWriter>),
    /// Of one with partitions.
    Apart(Box<Partitions>),
}

impl TableWriter {
    /// For rows with the columns of a table that is partitioned by some of them, by name.
    pub(crate) fn new(
        output: Output,
        partitioned_by: &[String],
        memory: &Arc<dyn MemoryPool>,
    ) -> Self {
        match partitioned_by {
            [] => Self::Whole(Box::new(output.writer())),
            names => Self::Apart(Box::new(Partitions {
                output,
                names: names.to_vec(),
                keys: None,
                numbers: HashMap::new(),
                partitions: Vec::new(),
                open: 0,
                waiting: Vec::new(),
                waiting_bytes: 0,
                memory: MemoryConsumer::new("rows of partitions")
                    .with_can_spill(true)
                    .register(memory),
                adds: Vec::new(),
            })),
        }
    }

    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> DeltaResult<()> {
        match self {
            Self::Whole(writer) => writer.write(batch).await,
            Self::Apart(partitions) => partitions.write(batch).await,
        }
    }

    /// Writes what still waits and ends all files.
    pub(crate) async fn close(self) -> DeltaResult<Vec<Add>> {
        match self {
            Self::Whole(writer) => writer.close().await,
            Self::Apart(partitions) => partitions.close().await,
        }
    }
}

/// The partitions that one task has met.
pub(crate) struct Partitions {
    output: Output,
    names: Vec<String>,
    /// Made for the first row, of whose columns the types are known.
    keys: Option<Keys>,
    /// Of each partition, by the bytes of its values.
    numbers: HashMap<Box<[u8]>, usize>,
    partitions: Vec<Partition>,
    open: usize,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    /// Of the rows that wait and of the open writers.
    memory: MemoryReservation,
    adds: Vec<Add>,
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partitions").field("names", &self.names).finish_non_exhaustive()
    }
}

struct Keys {
    columns: Vec<usize>,
    converter: RowConverter,
}

struct Partition {
    values: Vec<Scalar>,
    writer: Option<DeltaWriter>,
    /// The batch that waits, and the row in it, of each of its rows that do.
    waiting: Vec<(u32, u32)>,
    waiting_bytes: usize,
}

impl Partitions {
    async fn write(&mut self, batch: &RecordBatch) -> DeltaResult<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let row_bytes = bytes_of(batch).div_ceil(batch.num_rows()) + PLACE_BYTES;
        let mut waiting = Vec::new();
        let mut grown = Vec::new();
        for (number, rows) in self.divided(batch)? {
            if self.partitions[number].writer.is_some() {
                let all = rows.len() == batch.num_rows();
                let part = if all { batch.clone() } else { taken(batch, rows)? };
                self.partitions[number].write(&self.names, part).await?;
                continue;
            }
            let partition = &mut self.partitions[number];
            let at = narrow(self.waiting.len())?;
            let first = narrow(waiting.len())?;
            partition.waiting.extend((first..).take(rows.len()).map(|row| (at, row)));
            partition.waiting_bytes += rows.len() * row_bytes;
            grown.push(number);
            waiting.extend(rows);
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let bytes = waiting.len() * row_bytes;
        self.waiting.push(taken(batch, waiting)?);
        self.waiting_bytes += bytes;
        let has_memory = self.memory.try_grow(bytes).is_ok();
        for number in grown {
            let is_large = self.partitions[number].waiting_bytes >= WAITING_OF_ONE_MAX;
            if is_large && self.opened(number) {
                let rows = self.partitions[number].wait_over();
                let part = self.joined(&rows)?;
                self.partitions[number].write(&self.names, part).await?;
            }
        }
        if !has_memory && self.waiting_bytes > WAITING_LEAST {
            return self.flush().await;
        }
        if self.partitions.iter().all(|partition| partition.waiting.is_empty()) {
            self.forget_waiting();
        }
        Ok(())
    }

    /// The rows of each partition, in their order.
    fn divided(&mut self, batch: &RecordBatch) -> DeltaResult<BTreeMap<usize, Vec<u32>>> {
        if self.keys.is_none() {
            self.keys = Some(Keys::new(batch, &self.names)?);
        }
        let Some(keys) = &self.keys else { return Ok(BTreeMap::new()) };
        let columns: Vec<ArrayRef> =
            keys.columns.iter().map(|column| Arc::clone(batch.column(*column))).collect();
        let rows = keys.converter.convert_columns(&columns)?;
        let mut divided: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (row, key) in rows.iter().enumerate() {
            let number = match self.numbers.get(key.as_ref()) {
                Some(number) => *number,
                None => {
                    let number = self.partitions.len();
                    self.partitions.push(Partition::of(&columns, row)?);
                    self.numbers.insert(key.as_ref().into(), number);
                    if self.open < OPEN_AT_ONCE {
                        self.opened(number);
                    }
                    number
                }
            };
            divided.entry(number).or_default().push(narrow(row)?);
        }
        Ok(divided)
    }

    /// Opens a writer for a partition if there is memory for it.
    fn opened(&mut self, number: usize) -> bool {
        let is_first = self.open == 0;
        if self.memory.try_grow(WRITER_BYTES).is_err() && !is_first {
            return false;
        }
        self.open += 1;
        self.partitions[number].writer = Some(self.output.writer());
        true
    }

    /// Rows that wait, as one batch.
    fn joined(&self, rows: &[(u32, u32)]) -> DeltaResult<RecordBatch> {
        let batches: Vec<&RecordBatch> = self.waiting.iter().collect();
        let places: Vec<(usize, usize)> =
            rows.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        Ok(interleave_record_batch(&batches, &places)?)
    }

    /// Writes all rows that wait, each partition into a file of its own.
    async fn flush(&mut self) -> DeltaResult<()> {
        let with_rows = |number: &usize| !self.partitions[*number].waiting.is_empty();
        let numbers: Vec<usize> = (0..self.partitions.len()).filter(with_rows).collect();
        for together in numbers.chunks(ENDED_AT_ONCE) {
            let mut files = Vec::with_capacity(together.len());
            for number in together {
                let rows = self.partitions[*number].wait_over();
                let part = self.joined(&rows)?;
                let file = Partition {
                    values: self.partitions[*number].values.clone(),
                    writer: Some(self.output.writer()),
                    waiting: Vec::new(),
                    waiting_bytes: 0,
                };
                files.push(file.written(self.names.clone(), part));
            }
            self.adds.extend(try_join_all(files).await?.into_iter().flatten());
        }
        self.forget_waiting();
        Ok(())
    }

    fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        let writers = self.memory.size().min(self.open * WRITER_BYTES);
        self.memory.shrink(self.memory.size() - writers);
    }

    async fn close(mut self) -> DeltaResult<Vec<Add>> {
        self.flush().await?;
        let mut open: Vec<DeltaWriter> =
            self.partitions.iter_mut().filter_map(|partition| partition.writer.take()).collect();
        while !open.is_empty() {
            let together = open.drain(..open.len().min(ENDED_AT_ONCE)).map(DeltaWriter::close);
            self.adds.extend(try_join_all(together).await?.into_iter().flatten());
        }
        Ok(self.adds)
    }
}

impl Keys {
    fn new(batch: &RecordBatch, names: &[String]) -> DeltaResult<Self> {
        let schema = batch.schema();
        let columns =
            names.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let types = columns.iter().map(|column| schema.field(*column).data_type().clone());
        let converter = RowConverter::new(types.map(SortField::new).collect())?;
        Ok(Self { columns, converter })
    }
}

impl Partition {
    /// That of a row with these values.
    fn of(columns: &[ArrayRef], row: usize) -> DeltaResult<Self> {
        let values = columns.iter().map(|column| {
            Scalar::from_array(column.as_ref(), row).ok_or_else(|| {
                DeltaTableError::generic(format!("no partition by {}", column.data_type()))
            })
        });
        Ok(Self {
            values: values.collect::<DeltaResult<_>>()?,
            writer: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    /// The rows that wait, which are about to be written.
    fn wait_over(&mut self) -> Vec<(u32, u32)> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    async fn write(&mut self, names: &[String], rows: RecordBatch) -> DeltaResult<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let values = names.iter().cloned().zip(self.values.iter().cloned()).collect();
        writer.write_partition(rows, &values).await
    }

    /// Writes these rows and nothing more.
    async fn written(mut self, names: Vec<String>, rows: RecordBatch) -> DeltaResult<Vec<Add>> {
        self.write(&names, rows).await?;
        match self.writer {
            Some(writer) => writer.close().await,
            None => Ok(Vec::new()),
        }
    }
}

fn taken(batch: &RecordBatch, rows: Vec<u32>) -> DeltaResult<RecordBatch> {
    Ok(take_record_batch(batch, &UInt32Array::from(rows))?)
}

/// Numbers of rows and batches are kept in four bytes.
fn narrow(number: usize) -> DeltaResult<u32> {
    let too_many = |_| ArrowError::InvalidArgumentError(format!("{number} rows at once"));
    Ok(u32::try_from(number).map_err(too_many)?)
}

/// Bytes of the rows alone: batches may be parts of larger ones.
fn bytes_of(batch: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| {
        let data = column.to_data();
        data.get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(of_column).sum()
}
