//! The rows that a running plan of changes names, each counted once.
//!
//! It never writes: rows that are to be written are let through, and new values that are to be put
//! into files as they are stored are kept.

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
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::{
    change::{Changed, LEADING, Repeats, RowChange, parquet_options},
    check::shown,
    error::LakeError,
    feed::write::FeedNotes,
    patch::NewValues,
    rows::{TableRows, external},
    schema::Fit,
    snapshot::Snapshot,
};

/// Bytes of new values that are held at most.
const PATCH_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How new values of some columns are taken out of the rows of a plan.
pub(crate) struct Patching {
    /// Their numbers among the columns of the table.
    columns: Vec<usize>,
    fit: Fit,
    schema: SchemaRef,
    values: Mutex<NewValues>,
}

impl Patching {
    pub(crate) fn new(
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
pub(crate) struct NamedRows {
    patching: Option<Patching>,
    location: String,
    keys: Option<Vec<String>>,
    gone: Vec<Mutex<RoaringBitmap>>,
    feed: Option<FeedNotes>,
    repeated: Mutex<Option<(usize, u32)>>,
    deleted: AtomicU64,
    updated: AtomicU64,
    inserted: AtomicU64,
}

impl fmt::Debug for NamedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedRows").field("location", &self.location).finish_non_exhaustive()
    }
}

pub(crate) type Touched = BTreeMap<usize, RoaringBitmap>;

impl NamedRows {
    pub(crate) fn new(
        base: &Snapshot,
        repeats: Repeats,
        patching: Option<Patching>,
        feed: Option<FeedNotes>,
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
            feed,
            repeated: Mutex::new(None),
            deleted: AtomicU64::new(0),
            updated: AtomicU64::new(0),
            inserted: AtomicU64::new(0),
        })
    }

    /// Takes note of the rows that a stream of changes names, and lets through what is to be written.
    pub(crate) fn written_rows(
        self: &Arc<Self>,
        changes: SendableRecordBatchStream,
        schema: SchemaRef,
    ) -> SendableRecordBatchStream {
        let this = Arc::clone(self);
        let rows = changes.and_then(move |batch| {
            let this = Arc::clone(&this);
            async move {
                let (rows, written) = this.note(&batch)?;
                if let Some(feed) = &this.feed {
                    feed.send(&batch, &rows, &written).await?;
                }
                Ok(rows)
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }

    /// The rows of a batch that are to be written, and which of its rows they are.
    fn note(&self, batch: &RecordBatch) -> DataFusionResult<(RecordBatch, BooleanArray)> {
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
                if let (Some(feed), true, true) = (&self.feed, is_update, first) {
                    feed.updates(index, row);
                }
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
        let written = BooleanArray::from(written);
        Ok((filter_record_batch(&rows, &written)?, written))
    }

    /// The values that were taken out of the rows, when they were.
    pub(crate) fn new_values(&self) -> Option<(SchemaRef, NewValues)> {
        let patching = self.patching.as_ref()?;
        Some((Arc::clone(&patching.schema), std::mem::take(&mut *patching.values.lock())))
    }

    /// What the feed is told.
    pub(crate) fn feed(&self) -> Option<&FeedNotes> {
        self.feed.as_ref()
    }

    fn repeats(&self, row: String) -> LakeError {
        LakeError::Repeated { location: self.location.clone(), row }
    }

    /// The rows that go, by file, and the counts.
    pub(crate) fn finish(&self) -> (Touched, Changed) {
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
    pub(crate) async fn explained(
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
