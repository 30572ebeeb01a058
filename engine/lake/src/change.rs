//! Changes rows by copy-on-write: DELETE, UPDATE and MERGE.
//!
//! A plan says which rows it is about, by file and position, and what they become. Rows that a file
//! keeps are then copied without looking at the condition again, so what a statement changes is
//! exactly what a SELECT with the same condition would have returned, whatever the condition is made
//! of. Files without such rows are not read again and stay.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Int8Type, Int32Type, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    catalog::TableProvider,
    common::config::TableParquetOptions,
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
};
use deltalake_core::{kernel::Add, protocol::DeltaOperation};
use futures::StreamExt;
use parking_lot::Mutex;
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::{
    check::{Check, all_checked, shown},
    edit::{Edit, Meanwhile},
    error::LakeError,
    lake::Lake,
    patch::{NewValues, Patch},
    protocol::{check_writable, is_append_only},
    rows::{TableRows, external},
    schema::Fit,
    snapshot::Snapshot,
    stage::{
        Effect, Held, StageProgress, Staged, Target, Writing, distribute, run, streams,
        writer_properties,
    },
    staging::StagingArea,
};

/// What becomes of a row, `Int8`: see [`RowChange`].
pub const CHANGE_COLUMN: &str = "@change";
/// Columns of a plan of changes before those of the table.
const LEADING: usize = 3;
/// Bytes of new values that are held at most.
const PATCH_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What the third column of a plan of changes says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum RowChange {
    /// The row goes; the other columns say nothing.
    Delete = 0,
    /// The row becomes what the columns of the table say.
    Update = 1,
    /// There was no row: file and position are NULL.
    Insert = 2,
}

/// What happens when a plan names a row twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repeats {
    /// It counts once: right where rows only go.
    Once,
    /// An error that shows these columns of the row.
    Refused {
        /// Names of the columns that people know the row by.
        keys: Vec<String>,
    },
}

/// The statement that changes rows, for the table's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOperation {
    /// DELETE.
    Delete,
    /// UPDATE.
    Update,
    /// MERGE.
    Merge,
    /// INSERT … REPLACE WHERE.
    Replace,
}

/// A plan of changes to be staged.
#[derive(Debug, Clone)]
pub struct StageChange {
    /// The version whose rows the plan names, see [`Snapshot::rows_provider`].
    pub base: Arc<Snapshot>,
    /// Columns: [`crate::FILE_COLUMN`], [`crate::ROW_COLUMN`], [`CHANGE_COLUMN`], then those of the
    /// table in their order.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What the plan runs in.
    pub task: Arc<TaskContext>,
    /// The statement.
    pub operation: ChangeOperation,
    /// Its condition as written, for the table's history.
    pub condition: Option<String>,
    /// What happens when the plan names a row twice.
    pub repeats: Repeats,
    /// All constraints of the table.
    pub checks: Vec<Check>,
    /// Numbers of the only columns that updated rows change: then the plan may say what it likes in
    /// all others of such rows, and they are copied without being read. Not for plans that delete
    /// rows, nor for partition columns, nor with constraints.
    /// [`LakeError::NotPatchable`] when the rows have to be whole after all.
    pub patched: Option<Vec<usize>>,
    /// Counts while it runs.
    pub progress: Arc<StageProgress>,
}

/// How many rows a statement changed, exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// Rows that went.
    pub deleted: u64,
    /// Rows that became others.
    pub updated: u64,
    /// Rows that came.
    pub inserted: u64,
}

impl Changed {
    /// All of them together: what SQL calls the affected rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.deleted + self.updated + self.inserted
    }
}

impl Lake {
    /// Runs a plan of changes and writes the rows that come and those that stay in files that lose
    /// rows; nothing becomes visible. `None` when no row changes: then there is nothing to commit.
    ///
    /// Call it on the runtime that queries run on. Dropping the future ends the tasks and deletes
    /// what they wrote. Fails on values that do not fit, on violated constraints, and on a row that
    /// would be changed twice unless [`Repeats::Once`].
    pub async fn stage_change(
        &self,
        change: StageChange,
    ) -> Result<(Option<Staged>, Changed), LakeError> {
        let StageChange {
            base,
            plan,
            task,
            operation,
            condition,
            repeats,
            checks,
            patched,
            progress,
        } = change;
        let place = self.place(base.location())?;
        check_writable(&base)?;
        all_checked(&base, &checks)?;
        if is_append_only(&base) {
            return Err(LakeError::AppendOnly { location: place.text() });
        }
        let feed = base.properties().get("delta.enableChangeDataFeed");
        if feed.is_some_and(|on| on.eq_ignore_ascii_case("true")) {
            return Err(LakeError::Unsupported {
                location: place.text(),
                feature: "changeDataFeed (delta.enableChangeDataFeed)".to_owned(),
                access: "change rows of",
            });
        }
        let target = Target::of(&base);
        let area = self.staging_area(&place, Arc::clone(&progress));
        let new_rows = Schema::new(plan.schema().fields()[LEADING..].to_vec());
        let fit = Fit::new(&place.text(), &new_rows, Arc::clone(&target.schema))?;
        let writing =
            Writing::new(self, &target, fit, Arc::clone(&area), Arc::clone(&progress), checks);
        let rows = TableRows::new(Arc::clone(&base))?;
        let patching = match &patched {
            Some(columns) => {
                Some(Patching::new(&place.text(), columns, &new_rows, &target.schema)?)
            }
            None => None,
        };
        let changes = Arc::new(Changes::new(&base, repeats, patching)?);

        let plan = distribute(&place, plan, &target, LEADING)?;
        let changed = streams(&writing, &plan, &task)?
            .into_iter()
            .map(|stream| changes.written_rows(stream, Arc::clone(&target.schema)))
            .collect();
        let ran = run(&writing, changed, Held::default()).await;
        let (mut adds, held) = match ran {
            Ok(ran) => ran,
            Err(error) => return Err(changes.explained(&rows, &task, error).await),
        };
        if let Some((columns, values)) = changes.new_values() {
            let files = base.data_files()?;
            let properties = writer_properties();
            let patch = Patch {
                place: place.clone(),
                area: Arc::clone(&area),
                files,
                columns,
                values,
                properties,
            };
            let (touched, counts) = changes.finish();
            adds.extend(writing.flush(held).await?);
            let threads = task.session_config().target_partitions();
            adds.extend(patch_files(patch, touched.keys().copied(), threads).await?);
            let removed: Vec<usize> = touched.keys().copied().collect();
            return published(base, adds, removed, counts, (operation, condition), area);
        }

        let (touched, counts) = changes.finish();
        let files = base.data_files()?;
        let rewritten: Vec<usize> = touched
            .iter()
            .filter(|(file, gone)| files.rows(**file) != Some(gone.len()))
            .map(|(file, _)| *file)
            .collect();
        let kept = rows
            .scan_files(&rewritten, None, &task.runtime_env(), parquet_options(&task))
            .map_err(|error| writing.query_error(error))?;
        let config = task.session_config();
        let kept = match kept.repartitioned(config.target_partitions(), config.options()) {
            Ok(Some(kept)) => kept,
            Ok(None) => kept,
            Err(error) => return Err(writing.query_error(error)),
        };
        let kept = distribute(&place, kept, &target, 0)?;
        let touched_files: Vec<usize> = touched.keys().copied().collect();
        let touched = Arc::new(touched);
        // What is there was accepted when it was written.
        let copying = Arc::new(writing.copying(Fit::new(
            &place.text(),
            &Schema::new(rows.schema().fields()[..target.schema.fields().len()].to_vec()),
            Arc::clone(&target.schema),
        )?));
        let survivors = streams(&copying, &kept, &task)?
            .into_iter()
            .map(|stream| surviving_rows(stream, Arc::clone(&target.schema), Arc::clone(&touched)))
            .collect();
        let (more, held) = run(&copying, survivors, held).await?;
        adds.extend(more);
        adds.extend(copying.flush(held).await?);

        published(base, adds, touched_files, counts, (operation, condition), area)
    }
}

/// What is to be committed; nothing when no row changes.
fn published(
    base: Arc<Snapshot>,
    adds: Vec<Add>,
    removed: Vec<usize>,
    counts: Changed,
    (operation, condition): (ChangeOperation, Option<String>),
    area: Arc<StagingArea>,
) -> Result<(Option<Staged>, Changed), LakeError> {
    if counts.rows() == 0 {
        return Ok((None, counts));
    }
    let files = base.data_files()?;
    let edit = Edit {
        operation: operation_of(operation, condition),
        removes: removed.iter().map(|file| files.remove(*file, true)).collect(),
        metadata: None,
        protocol: None,
        metrics: metrics(counts, &adds, removed.len()),
        meanwhile: Meanwhile::Appends,
    };
    let staged = Staged {
        place: area.place().clone(),
        effect: Effect::Edit(Box::new(edit)),
        schema: base.schema(),
        base: Some(base),
        adds,
        rows: counts.rows(),
        area,
    };
    Ok((Some(staged), counts))
}

/// Writes files anew, so many at the same time.
async fn patch_files(
    patch: Patch,
    files: impl Iterator<Item = usize>,
    threads: usize,
) -> Result<Vec<Add>, LakeError> {
    let location = patch.place.text();
    let patch = Arc::new(patch);
    let mut waiting = files;
    let mut running = JoinSet::new();
    let mut adds = Vec::new();
    loop {
        while running.len() < threads.max(1)
            && let Some(file) = waiting.next()
        {
            let patch = Arc::clone(&patch);
            running.spawn(async move { patch.file(file).await });
        }
        let Some(joined) = running.join_next().await else { return Ok(adds) };
        let add = joined.map_err(|e| LakeError::internal("write a data file", &location, e))??;
        let why = "a file stores its columns in another way";
        adds.push(add.ok_or(LakeError::NotPatchable { location: location.clone(), why })?);
    }
}

pub(crate) fn parquet_options(task: &TaskContext) -> TableParquetOptions {
    let global = task.session_config().options().execution.parquet.clone();
    TableParquetOptions { global, ..TableParquetOptions::default() }
}

/// How new values of some columns are taken out of the rows of a plan.
struct Patching {
    /// Their numbers among the columns of the table.
    columns: Vec<usize>,
    fit: Fit,
    schema: SchemaRef,
    values: Mutex<NewValues>,
}

impl Patching {
    fn new(
        location: &str,
        columns: &[usize],
        plan: &Schema,
        table: &SchemaRef,
    ) -> Result<Self, LakeError> {
        let of = |schema: &Schema| {
            Schema::new(columns.iter().map(|n| schema.field(*n).clone()).collect::<Vec<_>>())
        };
        let schema = Arc::new(of(table));
        let fit = Fit::new(location, &of(plan), Arc::clone(&schema))?;
        Ok(Self { columns: columns.to_vec(), fit, schema, values: Mutex::default() })
    }

    /// Takes the new values of the rows that `updated` chooses.
    fn take(
        &self,
        location: &str,
        rows: &RecordBatch,
        updated: &BooleanArray,
        places: Vec<(usize, u32)>,
    ) -> DataFusionResult<()> {
        let values = filter_record_batch(&rows.project(&self.columns)?, updated)?;
        let values = self.fit.batch(&values).map_err(external)?;
        let mut taken = self.values.lock();
        taken.add(values, places);
        if taken.bytes() > PATCH_BYTES_MAX {
            let why = "they are too many to be held in memory";
            return Err(external(LakeError::NotPatchable { location: location.to_owned(), why }));
        }
        Ok(())
    }
}

/// Rows that a running plan has named so far.
struct Changes {
    patching: Option<Patching>,
    location: String,
    keys: Option<Vec<String>>,
    gone: Vec<Mutex<RoaringBitmap>>,
    repeated: Mutex<Option<(usize, u32)>>,
    deleted: AtomicU64,
    updated: AtomicU64,
    inserted: AtomicU64,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("location", &self.location).finish_non_exhaustive()
    }
}

type Touched = BTreeMap<usize, RoaringBitmap>;

impl Changes {
    fn new(
        base: &Snapshot,
        repeats: Repeats,
        patching: Option<Patching>,
    ) -> Result<Self, LakeError> {
        let keys = match repeats {
            Repeats::Once => None,
            Repeats::Refused { keys } => Some(keys),
        };
        Ok(Self {
            patching,
            location: base.location().to_owned(),
            keys,
            gone: (0..base.data_files()?.len()).map(|_| Mutex::default()).collect(),
            repeated: Mutex::new(None),
            deleted: AtomicU64::new(0),
            updated: AtomicU64::new(0),
            inserted: AtomicU64::new(0),
        })
    }

    /// Takes note of the rows that a stream of changes names, and lets through what is to be written.
    fn written_rows(
        self: &Arc<Self>,
        changes: SendableRecordBatchStream,
        schema: SchemaRef,
    ) -> SendableRecordBatchStream {
        let this = Arc::clone(self);
        let rows = changes.map(move |batch| this.note(&batch?));
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    fn note(&self, batch: &RecordBatch) -> DataFusionResult<RecordBatch> {
        let internal = || DataFusionError::Internal("a plan of changes has other columns".into());
        let files = batch.column(0).as_primitive_opt::<Int32Type>().ok_or_else(internal)?;
        let rows = batch.column(1).as_primitive_opt::<Int64Type>().ok_or_else(internal)?;
        let kinds = batch.column(2).as_primitive_opt::<Int8Type>().ok_or_else(internal)?;
        let mut written = Vec::with_capacity(batch.num_rows());
        let mut patched = Vec::new();
        let mut places = Vec::new();
        let (mut deleted, mut updated, mut inserted) = (0, 0, 0);
        let mut at = 0;
        while at < batch.num_rows() {
            if kinds.value(at) == RowChange::Insert as i8 {
                written.push(true);
                inserted += 1;
                at += 1;
                continue;
            }
            let file = files.value(at);
            let index = usize::try_from(file).map_err(|_| internal())?;
            let mut gone = self.gone.get(index).ok_or_else(internal)?.lock();
            // One lock for as many rows of the same file as follow each other.
            while at < batch.num_rows()
                && files.value(at) == file
                && kinds.value(at) != RowChange::Insert as i8
            {
                if files.is_null(at) || rows.is_null(at) {
                    return Err(internal());
                }
                let row = u32::try_from(rows.value(at)).map_err(|_| internal())?;
                let first = gone.insert(row);
                if !first && self.keys.is_some() {
                    *self.repeated.lock() = Some((index, row));
                    return Err(external(self.repeats(String::new())));
                }
                let is_update = kinds.value(at) == RowChange::Update as i8;
                let patches = is_update && first && self.patching.is_some();
                written.push(is_update && first && !patches);
                if patches {
                    patched.resize(at, false);
                    patched.push(true);
                    places.push((index, row));
                }
                if first {
                    updated += u64::from(is_update);
                    deleted += u64::from(!is_update);
                }
                at += 1;
            }
        }
        self.deleted.fetch_add(deleted, Ordering::Relaxed);
        self.updated.fetch_add(updated, Ordering::Relaxed);
        self.inserted.fetch_add(inserted, Ordering::Relaxed);
        let columns: Vec<usize> = (LEADING..batch.num_columns()).collect();
        let rows = batch.project(&columns)?;
        if let (Some(patching), false) = (&self.patching, places.is_empty()) {
            patched.resize(batch.num_rows(), false);
            patching.take(&self.location, &rows, &BooleanArray::from(patched), places)?;
        }
        Ok(filter_record_batch(&rows, &BooleanArray::from(written))?)
    }

    /// The values that were taken out of the rows, when they were.
    fn new_values(&self) -> Option<(SchemaRef, NewValues)> {
        let patching = self.patching.as_ref()?;
        Some((Arc::clone(&patching.schema), std::mem::take(&mut *patching.values.lock())))
    }

    fn repeats(&self, row: String) -> LakeError {
        LakeError::Repeated { location: self.location.clone(), row }
    }

    /// The rows that go, by file, and the counts.
    fn finish(&self) -> (Touched, Changed) {
        let touched = self.gone.iter().enumerate().filter_map(|(file, gone)| {
            let gone = std::mem::take(&mut *gone.lock());
            (!gone.is_empty()).then_some((file, gone))
        });
        let counts = Changed {
            deleted: self.deleted.load(Ordering::Relaxed),
            updated: self.updated.load(Ordering::Relaxed),
            inserted: self.inserted.load(Ordering::Relaxed),
        };
        (touched.collect(), counts)
    }

    /// An error about a row that is named twice shows the row, which is read for that.
    async fn explained(
        &self,
        rows: &TableRows,
        task: &Arc<TaskContext>,
        error: LakeError,
    ) -> LakeError {
        let (Some((file, row)), Some(keys)) = (*self.repeated.lock(), &self.keys) else {
            return unwrapped(error);
        };
        match find_row(rows, task, file, row, keys).await {
            Ok(row) => self.repeats(row),
            Err(_) => self.repeats("?".to_owned()),
        }
    }
}

/// An error of ours that went through a plan, as it was.
fn unwrapped(error: LakeError) -> LakeError {
    if let LakeError::Query { source, .. } = &error
        && let DataFusionError::External(cause) = source.find_root()
        && let Some(ours) = cause.downcast_ref::<LakeError>()
    {
        return ours.clone();
    }
    error
}

async fn find_row(
    rows: &TableRows,
    task: &Arc<TaskContext>,
    file: usize,
    row: u32,
    keys: &[String],
) -> DataFusionResult<String> {
    let schema = rows.schema();
    let mut columns: Vec<usize> = keys.iter().filter_map(|key| schema.index_of(key).ok()).collect();
    if columns.is_empty() {
        columns = (0..schema.fields().len() - 2).collect();
    }
    columns.push(schema.fields().len() - 1);
    let env = task.runtime_env();
    let plan = rows.scan_files(&[file], Some(&columns), &env, parquet_options(task))?;
    let mut batches = plan.execute(0, Arc::clone(task))?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let positions = batch.column(columns.len() - 1).as_primitive::<Int64Type>();
        let Some(at) = positions.values().iter().position(|at| *at == i64::from(row)) else {
            continue;
        };
        let shown_columns: Vec<usize> = (0..columns.len() - 1).collect();
        return Ok(shown(&batch.project(&shown_columns)?.slice(at, 1)));
    }
    Err(DataFusionError::Internal("the row is not in its file".to_owned()))
}

/// The rows of touched files that stay.
fn surviving_rows(
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    touched: Arc<Touched>,
) -> SendableRecordBatchStream {
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    let kept = rows.map(move |batch| {
        let batch = batch?;
        let files = batch.column(columns.len()).as_primitive::<Int32Type>();
        let positions = batch.column(columns.len() + 1).as_primitive::<Int64Type>();
        let mut stays = Vec::with_capacity(batch.num_rows());
        for (file, row) in files.values().iter().zip(positions.values()) {
            let gone = usize::try_from(*file).ok().and_then(|file| touched.get(&file));
            let gone = gone.zip(u32::try_from(*row).ok());
            stays.push(gone.is_some_and(|(gone, row)| !gone.contains(row)));
        }
        let rows = batch.project(&columns)?;
        Ok(filter_record_batch(&rows, &BooleanArray::from(stays))?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, kept))
}

fn operation_of(operation: ChangeOperation, condition: Option<String>) -> DeltaOperation {
    match operation {
        ChangeOperation::Delete => DeltaOperation::Delete { predicate: condition },
        ChangeOperation::Update => DeltaOperation::Update { predicate: condition },
        ChangeOperation::Merge => DeltaOperation::Merge {
            predicate: condition.clone(),
            merge_predicate: condition,
            matched_predicates: Vec::new(),
            not_matched_predicates: Vec::new(),
            not_matched_by_source_predicates: Vec::new(),
        },
        ChangeOperation::Replace => DeltaOperation::Write {
            mode: deltalake_core::protocol::SaveMode::Overwrite,
            partition_by: None,
            predicate: condition,
        },
    }
}

/// What the history shows, under the names that other Delta writers use.
fn metrics(changed: Changed, adds: &[Add], removed: usize) -> Map<String, Value> {
    let bytes: i64 = adds.iter().map(|add| add.size).sum();
    let counts = [
        ("numDeletedRows", changed.deleted),
        ("numUpdatedRows", changed.updated),
        ("numInsertedRows", changed.inserted),
        ("numAddedFiles", adds.len() as u64),
        ("numRemovedFiles", removed as u64),
        ("numAddedBytes", u64::try_from(bytes).unwrap_or(0)),
    ];
    counts.into_iter().map(|(key, n)| (key.to_owned(), json!(n.to_string()))).collect()
}
