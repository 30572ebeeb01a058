//! Runs a plan and writes its rows to Parquet files that no version of the table has yet.
//!
//! Every partition of the plan runs in its own task with its own writers. Rows are held back until
//! the whole statement has more than a small number of them, so that a small result becomes one
//! file however many partitions it comes from. Rows for a partitioned table are distributed by
//! their partition values first, so that each of its folders gets one file, not one per task.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryPool},
    physical_expr::{Partitioning, expressions::Column},
    physical_plan::{ExecutionPlan, ExecutionPlanProperties, repartition::RepartitionExec},
};
use deltalake_core::{DeltaTableError, datafile::writer::WriterConfig, kernel::Add};
use futures::StreamExt;
use model::object::Properties;
use object_store::{ObjectStore, path::Path, prefix::PrefixStore};
use parquet::{
    arrow::ArrowSchemaConverter,
    basic::{Compression, Encoding, Type},
    file::properties::WriterProperties,
    schema::types::SchemaDescriptor,
};
use tokio::task::JoinSet;

use crate::{
    check::{Check, all_checked, check_rows},
    codec,
    distinct::{Distinct, DistinctColumns},
    edit::Edit,
    error::LakeError,
    exact::only_exact_bounds,
    lake::Lake,
    location::Place,
    partitions::{Output, TableWriter},
    protocol::{Declaration, check_writable, is_append_only},
    row_hash::{Hashing, RowsHash},
    schema::{Fit, declared_schema_at, delta_schema_at},
    snapshot::Snapshot,
    staging::{StagingArea, StagingStore},
    stored_path::shortened,
};

/// Statements with at most so many rows write one file.
const SMALL_ROWS_MAX: u64 = 100_000;
/// Statements that hold back more bytes than this begin to write, however few rows it is.
const SMALL_BYTES_MAX: u64 = 64 * 1024 * 1024;
const ROW_GROUP_ROWS_MAX: usize = 1 << 20;
const WRITE_BATCH_ROWS: usize = 8192;

/// What happens to the rows that are there.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteMode {
    /// They stay, and the new ones do not depend on them.
    Append,
    /// They stay, and the new ones were computed from them: nobody may have changed them since.
    Grow,
    /// They go; columns, partitioning and properties of the table stay.
    Overwrite,
    /// They go, and the table becomes what the query returns: created if it does not exist,
    /// in one commit. It keeps its id and its older versions.
    Replace {
        /// Columns to partition by.
        partitioned_by: Vec<String>,
        /// The table's comment.
        comment: Option<String>,
        /// The table's properties.
        properties: Properties,
        /// Names, types, nullability, comments (field metadata `comment`) and expressions
        /// ([`crate::GENERATED`]) of the columns.
        /// `None`: as the query returns them, all of them nullable.
        schema: Option<SchemaRef>,
    },
    /// There must be no table.
    Create {
        /// Columns to partition by.
        partitioned_by: Vec<String>,
        /// The table's comment.
        comment: Option<String>,
        /// The table's properties.
        properties: Properties,
        /// As in [`WriteMode::Replace`].
        schema: Option<SchemaRef>,
    },
}

/// A plan whose rows are to be staged.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The table.
    pub location: String,
    /// Makes the rows; columns in the order of the table's.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What the plan runs in.
    pub task: Arc<TaskContext>,
    /// What happens to the rows that are there.
    pub mode: WriteMode,
    /// The version of the table that the plan was made for; the newest one where it does not matter.
    pub base: Option<Arc<Snapshot>>,
    /// All constraints and generated columns of the table, planned over its columns.
    pub checks: Vec<Check>,
    /// Counts while it runs.
    pub progress: Arc<StageProgress>,
}

/// What publishing staged files does to the table.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Rows come, all others stay or go.
    Write(WriteMode),
    /// Anything else: single files go, or the table's definition changes.
    Edit(Box<Edit>),
}

/// How far staging is. The numbers only grow.
#[derive(Debug, Default)]
pub struct StageProgress {
    /// Rows that the plan returned.
    pub rows: AtomicU64,
    /// Bytes handed to the store.
    pub bytes: AtomicU64,
    /// Files of the table that were put together or deleted.
    pub files: AtomicU64,
    /// Rows are hashed as they are written.
    hashes: AtomicBool,
    /// Made for the first row; `None` for rows that cannot be hashed.
    hashing: OnceLock<Option<Hashing>>,
    watched: OnceLock<Watched>,
}

/// Columns whose values may turn out to be distinct.
#[derive(Debug)]
struct Watched {
    columns: Vec<DistinctColumns>,
    memory: Arc<dyn MemoryPool>,
    /// Made for the first row; `None` for those that cannot be proved.
    proofs: OnceLock<Vec<Option<Distinct>>>,
}

impl StageProgress {
    /// From now on also hashes the rows that the plan returns, as they are written.
    pub fn hash_rows(&self) {
        self.hashes.store(true, Ordering::Release);
    }

    /// The hash of the rows so far; `None` when it was not asked for, and for types that cannot be
    /// hashed. Of a change of rows it says nothing.
    #[must_use]
    pub fn hash(&self) -> Option<RowsHash> {
        match self.hashing.get() {
            Some(hashing) => hashing.as_ref().map(Hashing::sum),
            None => self.hashes.load(Ordering::Acquire).then(RowsHash::default),
        }
    }

    /// From now on also tries to prove, as rows are written, that they all have different values in
    /// these columns. What that needs is taken from this memory, as far as there is some. Only
    /// the first call counts.
    pub fn watch_distinct(&self, columns: Vec<DistinctColumns>, memory: Arc<dyn MemoryPool>) {
        // A second call would have missed rows.
        let _ = self.watched.set(Watched { columns, memory, proofs: OnceLock::new() });
    }

    /// Of each of the watched columns whether all rows that were written are proved to have
    /// different values in them; `false` says that nothing is known. To be asked once, after the
    /// last row. Of a change of rows it says nothing.
    pub async fn proved_distinct(&self) -> Vec<bool> {
        let Some(watched) = self.watched.get() else { return Vec::new() };
        let Some(proofs) = watched.proofs.get() else { return vec![true; watched.columns.len()] };
        let mut proved = Vec::with_capacity(proofs.len());
        for proof in proofs {
            proved.push(match proof {
                Some(distinct) => distinct.is_proved().await,
                None => false,
            });
        }
        proved
    }

    fn add(&self, batch: &RecordBatch) -> Result<(), ArrowError> {
        if self.hashes.load(Ordering::Acquire) {
            let hashing = self.hashing.get_or_init(|| Hashing::new(batch.schema_ref()).ok());
            if let Some(hashing) = hashing {
                hashing.add(batch)?;
            }
        }
        if let Some(Watched { columns, memory, proofs }) = self.watched.get() {
            let proofs = proofs.get_or_init(|| {
                let of = |columns| Distinct::new(batch.schema_ref(), columns, memory);
                columns.iter().map(of).collect()
            });
            for proof in proofs.iter().flatten() {
                proof.add(batch)?;
            }
        }
        Ok(())
    }
}

/// Rows in files that no version of the table has yet. Dropping it deletes the files in the
/// background; [`Lake::discard`] deletes them now, [`Lake::commit`] publishes them.
pub struct Staged {
    pub(crate) place: Place,
    pub(crate) effect: Effect,
    /// What the table was when staging began.
    pub(crate) base: Option<Arc<Snapshot>>,
    pub(crate) schema: SchemaRef,
    pub(crate) adds: Vec<Add>,
    pub(crate) rows: u64,
    pub(crate) area: Arc<StagingArea>,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged")
            .field("location", &self.place.url.as_str())
            .field("rows", &self.rows)
            .field("files", &self.adds.len())
            .finish_non_exhaustive()
    }
}

impl Staged {
    /// Rows that were staged.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Files that were staged.
    #[must_use]
    pub fn files(&self) -> usize {
        self.adds.len()
    }

    /// Bytes of the staged files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.adds.iter().map(|add| u64::try_from(add.size).unwrap_or(0)).sum()
    }

    /// The columns that the table will have.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl WriteMode {
    /// What the table is declared to be, where the mode declares it.
    pub(crate) fn declaration<'a>(
        &'a self,
        location: &'a str,
        schema: &'a SchemaRef,
    ) -> Option<Declaration<'a>> {
        match self {
            Self::Append | Self::Grow | Self::Overwrite => None,
            Self::Replace { partitioned_by, comment, properties, .. }
            | Self::Create { partitioned_by, comment, properties, .. } => Some(Declaration {
                location,
                schema,
                partitioned_by,
                comment: comment.as_deref(),
                properties,
            }),
        }
    }
}

impl Lake {
    /// Runs the plan's partitions side by side and writes Parquet files; nothing becomes visible.
    ///
    /// Call it on the runtime that queries run on. Dropping the future ends the tasks and deletes
    /// what they wrote. Checks before the first row that the table can be written, that the columns
    /// fit, and for [`WriteMode::Create`] that there is no table.
    pub async fn stage(&self, stage: Stage) -> Result<Staged, LakeError> {
        let Stage { location, plan, task, mode, base, checks, progress } = stage;
        let place = self.place(&location)?;
        let target = self.target(&place, &mode, base, (&plan.schema(), &*task)).await?;
        let keeps_definition =
            matches!(mode, WriteMode::Append | WriteMode::Grow | WriteMode::Overwrite);
        if let (Some(base), true) = (&target.base, keeps_definition) {
            all_checked(base, &checks)?;
        }
        let fit = Fit::new(&place.text(), &plan.schema(), Arc::clone(&target.schema))?;
        let area = self.staging_area(&place, Arc::clone(&progress));
        let writing = Writing::new(self, &target, fit, Arc::clone(&area), progress, checks)?;
        let plan = distribute(&place, plan, &target, 0)?;
        let streams = streams(&writing, &plan, &task)?;
        let (mut adds, held) = run(&writing, streams, Held::default()).await?;
        adds.extend(writing.flush(held).await?);
        let rows = writing.rows.load(Ordering::Relaxed);
        let Target { base, schema, .. } = target;
        Ok(Staged { place, effect: Effect::Write(mode), base, schema, adds, rows, area })
    }

    /// Deletes the staged files. Files that cannot be deleted are logged and stay for a vacuum.
    pub async fn discard(&self, staged: Staged) {
        staged.area.delete().await;
    }

    async fn target(
        &self,
        place: &Place,
        mode: &WriteMode,
        base: Option<Arc<Snapshot>>,
        (plan, task): (&SchemaRef, &TaskContext),
    ) -> Result<Target, LakeError> {
        let base = match base {
            Some(base) => Some(base),
            None => match self.cache().fresh(place).await {
                Ok(snapshot) => Some(snapshot),
                Err(LakeError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        if matches!(mode, WriteMode::Create { .. }) && base.is_some() {
            return Err(LakeError::AlreadyExists { location: place.text() });
        }
        if let Some(base) = &base {
            check_writable(base)?;
            if is_append_only(base) && !matches!(mode, WriteMode::Append | WriteMode::Grow) {
                return Err(LakeError::AppendOnly { location: place.text() });
            }
        }
        let location = place.text();
        let (schema, partitioned_by, properties) = match mode {
            WriteMode::Append | WriteMode::Grow | WriteMode::Overwrite => {
                let Some(base) = &base else { return Err(LakeError::NotFound { location }) };
                (base.schema(), base.partitioned_by().to_vec(), base.properties().clone())
            }
            WriteMode::Replace { schema, partitioned_by, properties, .. }
            | WriteMode::Create { schema, partitioned_by, properties, .. } => {
                let schema = match schema {
                    Some(schema) => declared_schema_at(&location, schema)?,
                    None => nullable(&delta_schema_at(&location, plan)?),
                };
                (schema, partitioned_by.clone(), properties.clone())
            }
        };
        if let Some(declaration) = mode.declaration(&location, &schema) {
            declaration.check()?;
        }
        let memory = Arc::clone(task.memory_pool());
        Ok(Target { base, schema, partitioned_by, properties, memory })
    }
}

/// What the rows are written for.
pub(crate) struct Target {
    base: Option<Arc<Snapshot>>,
    pub(crate) schema: SchemaRef,
    partitioned_by: Vec<String>,
    properties: Properties,
    /// What rows that wait to be written are counted in.
    memory: Arc<dyn MemoryPool>,
}

impl Target {
    /// The table as it is, for rows that this makes.
    pub(crate) fn of(base: &Arc<Snapshot>, task: &TaskContext) -> Self {
        Self {
            memory: Arc::clone(task.memory_pool()),
            base: Some(Arc::clone(base)),
            schema: base.schema(),
            partitioned_by: base.partitioned_by().to_vec(),
            properties: base.properties().clone(),
        }
    }

    /// The same for rows with other columns.
    pub(crate) fn with_schema(&self, schema: SchemaRef) -> Self {
        Self {
            base: self.base.clone(),
            schema,
            partitioned_by: self.partitioned_by.clone(),
            properties: self.properties.clone(),
            memory: Arc::clone(&self.memory),
        }
    }

    /// How new data files are compressed.
    pub(crate) fn codec(&self) -> Compression {
        codec::of(&self.properties)
    }

    /// Bytes at which a file is closed and the next one begun.
    pub(crate) fn file_size(&self, otherwise: u64) -> u64 {
        let own = self.properties.get("delta.targetFileSize");
        own.and_then(|bytes| bytes.parse().ok()).filter(|bytes| *bytes > 0).unwrap_or(otherwise)
    }
}

/// What all tasks of one statement share.
pub(crate) struct Writing {
    place: Place,
    fit: Fit,
    checks: Vec<Check>,
    config: WriterConfig,
    partitioned_by: Vec<String>,
    memory: Arc<dyn MemoryPool>,
    area: Arc<StagingArea>,
    /// Where the files are, when not in the folder of the table.
    folder: Option<&'static str>,
    progress: Arc<StageProgress>,
    rows: AtomicU64,
    held_rows: AtomicU64,
    held_bytes: AtomicU64,
}

/// Rows that wait for others, so that a small result becomes one file.
#[derive(Debug, Default)]
pub(crate) struct Held {
    batches: Vec<RecordBatch>,
}

impl Writing {
    pub(crate) fn new(
        lake: &Lake,
        target: &Target,
        fit: Fit,
        area: Arc<StagingArea>,
        progress: Arc<StageProgress>,
        checks: Vec<Check>,
    ) -> Result<Arc<Self>, LakeError> {
        Ok(Arc::new(Self {
            place: area.place().clone(),
            fit,
            checks,
            config: writer_config(target, area.place(), lake.target_file_size())?,
            partitioned_by: target.partitioned_by.clone(),
            memory: Arc::clone(&target.memory),
            area,
            folder: None,
            progress,
            rows: AtomicU64::new(0),
            held_rows: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
        }))
    }

    /// For files in a folder of the table's own; their rows are not checked and count for nothing.
    pub(crate) fn within(
        lake: &Lake,
        target: &Target,
        fit: Fit,
        area: Arc<StagingArea>,
        folder: &'static str,
    ) -> Result<Arc<Self>, LakeError> {
        Ok(Arc::new(Self {
            place: area.place().clone(),
            fit,
            checks: Vec::new(),
            config: writer_config(target, area.place(), lake.target_file_size())?,
            partitioned_by: target.partitioned_by.clone(),
            memory: Arc::clone(&target.memory),
            area,
            folder: Some(folder),
            progress: Arc::default(),
            rows: AtomicU64::new(0),
            held_rows: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
        }))
    }

    /// The same for rows of the table itself: they are not checked and count for nothing.
    pub(crate) fn copying(&self, fit: Fit) -> Self {
        Self {
            place: self.place.clone(),
            fit,
            checks: Vec::new(),
            config: self.config.clone(),
            partitioned_by: self.partitioned_by.clone(),
            memory: Arc::clone(&self.memory),
            area: Arc::clone(&self.area),
            folder: self.folder,
            progress: Arc::default(),
            rows: AtomicU64::new(0),
            held_rows: AtomicU64::new(self.held_rows.load(Ordering::Relaxed)),
            held_bytes: AtomicU64::new(self.held_bytes.load(Ordering::Relaxed)),
        }
    }

    /// The table that is written.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Writes the rows that still wait.
    pub(crate) async fn flush(&self, held: Held) -> Result<Vec<Add>, LakeError> {
        if held.batches.is_empty() {
            return Ok(Vec::new());
        }
        let writer = self.write(held.batches).await?;
        self.close(writer).await
    }

    /// Ends the files of a writer.
    async fn close(&self, writer: TableWriter) -> Result<Vec<Add>, LakeError> {
        let mut adds = writer.close().await.map_err(|error| self.write_error(error))?;
        for add in &mut adds {
            add.path = in_short_folders(&add.path);
        }
        Ok(only_exact_bounds(adds, self.fit.target()))
    }

    fn writer(&self) -> TableWriter {
        let store = StagingStore::new(Arc::clone(&self.area));
        let store: Arc<dyn ObjectStore> = match self.folder {
            Some(folder) => Arc::new(PrefixStore::new(store, folder)),
            None => Arc::new(store),
        };
        let output = Output { store, config: self.config.clone() };
        TableWriter::new(output, &self.partitioned_by, &self.memory)
    }

    /// Writes one partition of the plan. Returns its files and the rows it held back.
    async fn partition(
        &self,
        mut rows: SendableRecordBatchStream,
    ) -> Result<(Vec<Add>, Vec<RecordBatch>), LakeError> {
        let mut held: Vec<RecordBatch> = Vec::new();
        let mut writer: Option<TableWriter> = None;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|error| self.query_error(error))?;
            if batch.num_rows() == 0 {
                continue;
            }
            let batch = self.fit.batch(&batch)?;
            check_rows(self.place.url.as_str(), &self.checks, &batch)?;
            self.progress.add(&batch).map_err(|error| {
                LakeError::internal("look at the rows", self.place.text(), error)
            })?;
            let count = batch.num_rows() as u64;
            self.rows.fetch_add(count, Ordering::Relaxed);
            self.progress.rows.fetch_add(count, Ordering::Relaxed);
            if let Some(writer) = &mut writer {
                writer.write(&batch).await.map_err(|error| self.write_error(error))?;
                continue;
            }
            let bytes = batch.get_array_memory_size() as u64;
            let held_rows = self.held_rows.fetch_add(count, Ordering::Relaxed) + count;
            let held_bytes = self.held_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
            held.push(batch);
            if held_rows > SMALL_ROWS_MAX || held_bytes > SMALL_BYTES_MAX {
                writer = Some(self.write(std::mem::take(&mut held)).await?);
            }
        }
        let adds = match writer {
            Some(writer) => self.close(writer).await?,
            None => Vec::new(),
        };
        Ok((adds, held))
    }

    async fn write(&self, batches: Vec<RecordBatch>) -> Result<TableWriter, LakeError> {
        let mut writer = self.writer();
        for batch in batches {
            writer.write(&batch).await.map_err(|error| self.write_error(error))?;
        }
        Ok(writer)
    }

    pub(crate) fn query_error(&self, error: DataFusionError) -> LakeError {
        LakeError::Query { location: self.place.text(), source: Arc::new(error) }
    }

    fn write_error(&self, error: DeltaTableError) -> LakeError {
        LakeError::failed("write a data file", self.place.text(), error)
    }
}

/// Starts all partitions of a plan.
pub(crate) fn streams(
    writing: &Writing,
    plan: &Arc<dyn ExecutionPlan>,
    task: &Arc<TaskContext>,
) -> Result<Vec<SendableRecordBatchStream>, LakeError> {
    (0..plan.output_partitioning().partition_count())
        .map(|n| plan.execute(n, Arc::clone(task)).map_err(|error| writing.query_error(error)))
        .collect()
}

/// Writes all streams side by side; the first error ends the others. Returns the files and the rows
/// that still wait, those of `held` among them.
pub(crate) async fn run(
    writing: &Arc<Writing>,
    streams: Vec<SendableRecordBatchStream>,
    held: Held,
) -> Result<(Vec<Add>, Held), LakeError> {
    let mut tasks = JoinSet::new();
    for rows in streams {
        let writing = Arc::clone(writing);
        tasks.spawn(async move { writing.partition(rows).await });
    }
    let (mut adds, mut held) = (Vec::new(), held);
    while let Some(joined) = tasks.join_next().await {
        let (written, rest) = joined
            .map_err(|error| LakeError::internal("write rows", writing.place.text(), error))??;
        adds.extend(written);
        held.batches.extend(rest);
    }
    Ok((adds, held))
}

/// Brings rows with equal partition values to the same task. The plan has `leading` columns before
/// those of the table.
pub(crate) fn distribute(
    place: &Place,
    plan: Arc<dyn ExecutionPlan>,
    target: &Target,
    leading: usize,
) -> Result<Arc<dyn ExecutionPlan>, LakeError> {
    let partitions = plan.output_partitioning().partition_count();
    if target.partitioned_by.is_empty() || partitions <= 1 {
        return Ok(plan);
    }
    let source = plan.schema();
    let by = target
        .partitioned_by
        .iter()
        .filter_map(|name| target.schema.index_of(name).ok())
        .map(|index| index + leading)
        .map(|index| Arc::new(Column::new(source.field(index).name(), index)) as _)
        .collect();
    let plan = RepartitionExec::try_new(plan, Partitioning::Hash(by, partitions))
        .map_err(|error| LakeError::Query { location: place.text(), source: Arc::new(error) })?;
    Ok(Arc::new(plan))
}

/// Where the staging store has put a file.
fn in_short_folders(path: &str) -> String {
    Path::parse(path).map_or_else(|_| path.to_owned(), |path| shortened(&path).into())
}

/// How data files with these columns are written, their pages compressed by `codec`.
///
/// Whole numbers, also those under dates, timestamps and decimals, are written by their differences
/// where a dictionary of their values would not pay: keys take fewer bytes than plain ones that are
/// compressed, and far less time to read.
pub(crate) fn writer_properties(
    columns: &SchemaDescriptor,
    codec: Compression,
) -> WriterProperties {
    let numbers = columns
        .columns()
        .iter()
        .filter(|column| matches!(column.physical_type(), Type::INT32 | Type::INT64));
    let properties = numbers.fold(WriterProperties::builder(), |properties, column| {
        properties.set_column_encoding(column.path().clone(), Encoding::DELTA_BINARY_PACKED)
    });
    properties
        .set_compression(codec)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_created_by(concat!("whimbrel ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

fn writer_config(
    target: &Target,
    place: &Place,
    target_file_size: u64,
) -> Result<WriterConfig, LakeError> {
    let columns = ArrowSchemaConverter::new()
        .convert(&target.schema)
        .map_err(|error| LakeError::failed("write data files", place.text(), error))?;
    let property = |key: &str| target.properties.get(key).map(String::as_str);
    let indexed = property("delta.dataSkippingNumIndexedCols").and_then(|n| n.try_into().ok());
    let with_statistics = property("delta.dataSkippingStatsColumns")
        .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    Ok(WriterConfig::new(
        Arc::clone(&target.schema),
        target.partitioned_by.clone(),
        Some(writer_properties(&columns, target.codec())),
        NonZeroU64::new(target.file_size(target_file_size)),
        Some(WRITE_BATCH_ROWS),
        indexed.unwrap_or_default(),
        with_statistics,
    ))
}

/// The same columns, all of them nullable: what a planner knows to be NOT NULL today it may not
/// know tomorrow.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}
