//! Changes rows by copy-on-write: DELETE, UPDATE and MERGE.
//!
//! A plan says which rows it is about, by file and position, and what they become. Rows that a file
//! keeps are then copied without looking at the condition again, so what a statement changes is
//! exactly what a SELECT with the same condition would have returned, whatever the condition is made
//! of. Files without such rows are not read again and stay.

use std::sync::Arc;

use arrow::{
    array::{AsArray, BooleanArray},
    compute::filter_record_batch,
    datatypes::{Int32Type, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    catalog::TableProvider,
    common::config::TableParquetOptions,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
};
use deltalake_core::{
    kernel::{Add, AddCDCFile},
    protocol::{DeltaOperation, SaveMode},
};
use futures::{StreamExt, future::try_join};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::{
    alter::Widened,
    check::{Check, all_checked},
    edit::{Edit, Meanwhile},
    error::LakeError,
    feed::write::Feed,
    lake::Lake,
    named_rows::{NamedRows, Patching, Touched},
    patch::Patch,
    protocol::{CHANGE_FEED, check_writable, is_append_only, is_on},
    rows::TableRows,
    schema::Fit,
    snapshot::Snapshot,
    stage::{Effect, Held, StageProgress, Staged, Target, Writing, distribute, run, streams},
    staging::StagingArea,
};

/// What becomes of a row, `Int8`: see [`RowChange`].
pub const CHANGE_COLUMN: &str = "@change";
/// Columns of a plan of changes before those of the table.
pub(crate) const LEADING: usize = 3;

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

/// Which rows a plan of changes may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touches {
    /// Rows that are there, and new ones.
    AnyRow,
    /// New ones only: that is what an append-only table lets through.
    NewRows,
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
    /// A run of a transform brings its table to what its sources are. It was computed from the table
    /// as it was: nobody may have changed a row of it since, files may only have been put together.
    /// There is always something to commit, since a run notes what it has read also where no row
    /// changed. The history calls it a MERGE.
    Refresh,
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
    /// Which rows the plan may name.
    pub touches: Touches,
    /// All constraints and generated columns of the table.
    pub checks: Vec<Check>,
    /// Numbers of the only columns that updated rows change: then the plan may say what it likes in
    /// all others of such rows, and they are copied without being read. Not for plans that delete
    /// rows, nor for partition columns, nor with constraints.
    /// [`LakeError::NotPatchable`] when the rows have to be whole after all.
    pub patched: Option<Vec<usize>>,
    /// Columns that the table gets at the end, in the same commit. The plan has them as well. They
    /// are NULL in the rows that do not change.
    pub added: Option<SchemaRef>,
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
    /// rows; nothing becomes visible. `None` when no row changes: then there is nothing to commit,
    /// except for [`ChangeOperation::Refresh`].
    ///
    /// Call it on the runtime that queries run on. Dropping the future ends the tasks and deletes
    /// what they wrote. Fails on values that do not fit, on violated constraints, and on a row that
    /// would be changed twice unless [`Repeats::Once`].
    pub async fn stage_change(
        &self,
        change: StageChange,
    ) -> Result<(Option<Staged>, Changed), LakeError> {
        let StageChange { base, plan, task, repeats, patched, added, .. } = &change;
        let place = self.place(base.location())?;
        may_change(base, &change)?;
        // Whole columns of files come and go, each of another size. Kept, they were half of the peak.
        let _frugal = rt::memory::frugal();
        let progress = Arc::clone(&change.progress);
        let mut target = Target::of(base, task);
        let mut rows = TableRows::new(Arc::clone(base))?;
        let widened = added.as_ref().map(|columns| Widened::new(base, columns)).transpose()?;
        if let Some(Widened { schema, .. }) = &widened {
            target = target.with_schema(Arc::clone(schema));
            rows = rows.widened(schema);
        }
        let area = self.staging_area(&place, Arc::clone(&progress));
        let new_rows = Schema::new(plan.schema().fields()[LEADING..].to_vec());
        let fit = Fit::new(&place.text(), &new_rows, Arc::clone(&target.schema))?;
        let checks = change.checks.clone();
        let writing = Writing::new(self, &target, fit, Arc::clone(&area), progress, checks)?;
        let patching = match patched {
            Some(columns) => {
                Some(Patching::new(&place.text(), columns, &new_rows, &target.schema)?)
            }
            None => None,
        };
        let mut feed = None;
        if is_on(base.properties(), CHANGE_FEED) {
            if patched.is_some() {
                let why = "the table records its changes";
                return Err(LakeError::NotPatchable { location: place.text(), why });
            }
            feed = Some(Feed::new(self, &target, &new_rows, &area)?);
        }
        let count = base.data_files()?.len();
        let notes = feed.as_mut().map(|feed| feed.notes(count));
        let named = Arc::new(NamedRows::new(base, repeats.clone(), patching, notes)?);

        let plan = distribute(&place, Arc::clone(plan), &target, LEADING)?;
        let changed = streams(&writing, &plan, task)?
            .into_iter()
            .map(|stream| named.written_rows(stream, Arc::clone(&target.schema)))
            .collect();
        let writes = async {
            let written = run(&writing, changed, Held::default()).await;
            if let Some(notes) = named.feed() {
                notes.close();
            }
            written
        };
        let written = match &mut feed {
            Some(feed) => try_join(writes, feed.follow()).await.map(|(written, ())| written),
            None => writes.await,
        };
        let (mut adds, held) = match written {
            Ok(written) => written,
            Err(error) => return Err(named.explained(&rows, task, error).await),
        };
        let (values, marked) = (named.new_values(), rows.deletion_vectors()?);
        let (touched, counts) = named.finish();
        let removed: Vec<usize> = touched.keys().copied().collect();
        if !removed.is_empty() && change.touches == Touches::NewRows {
            let named = std::io::Error::other("a plan for new rows names one that is there");
            return Err(LakeError::internal("change rows", place.text(), named));
        }
        let feed = match (feed, named.feed()) {
            (Some(feed), Some(notes)) => feed.finish(&rows, &touched, notes, task).await?,
            _ => Vec::new(),
        };
        match values {
            Some(_) if removed.iter().any(|file| marked.has(*file)) => {
                let why = "rows of a file are marked as deleted";
                return Err(LakeError::NotPatchable { location: place.text(), why });
            }
            Some((columns, values)) => {
                adds.extend(writing.flush(held).await?);
                let files = base.data_files()?;
                let area = Arc::clone(&area);
                let codec = target.codec();
                let patch = Patch { place, area, files, columns, codec, values };
                let threads = task.session_config().target_partitions();
                adds.extend(patch_files(patch, removed.clone(), threads).await?);
            }
            None => adds.extend(survivors(&rows, touched, task, &writing, &target, held).await?),
        }
        published(change, Files { adds, feed, removed }, widened, counts, area)
    }
}

/// Refuses tables whose rows we would not change rightly.
fn may_change(base: &Snapshot, change: &StageChange) -> Result<(), LakeError> {
    let location = base.location().to_owned();
    check_writable(base)?;
    all_checked(base, &change.checks)?;
    if is_append_only(base) && change.touches == Touches::AnyRow {
        return Err(LakeError::AppendOnly { location });
    }
    Ok(())
}

/// Copies the rows that stay in files that lose some, after those that are held already.
async fn survivors(
    rows: &TableRows,
    touched: Touched,
    task: &Arc<TaskContext>,
    writing: &Writing,
    target: &Target,
    held: Held,
) -> Result<Vec<Add>, LakeError> {
    let place = writing.place();
    let (files, marked) = (rows.data_files()?, rows.deletion_vectors()?);
    let loses_some = |(file, gone): (&usize, &RoaringBitmap)| {
        let there = files.rows(*file).map(|all| all.saturating_sub(marked.rows(*file)));
        (there != Some(gone.len())).then_some(*file)
    };
    let rewritten: Vec<usize> = touched.iter().filter_map(loses_some).collect();
    let failed = |error| writing.query_error(error);
    let scan = rows
        .scan_files(&rewritten, None, &task.runtime_env(), parquet_options(task))
        .map_err(failed)?;
    let config = task.session_config();
    let wider = scan.repartitioned(config.target_partitions(), config.options()).map_err(failed)?;
    let scan = distribute(place, wider.unwrap_or(scan), target, 0)?;
    // What is there was accepted when it was written.
    let stored = rows.schema().fields()[..target.schema.fields().len()].to_vec();
    let fit = Fit::new(&place.text(), &Schema::new(stored), Arc::clone(&target.schema))?;
    let copying = Arc::new(writing.copying(fit));
    let touched = Arc::new(touched);
    let kept = streams(&copying, &scan, task)?
        .into_iter()
        .map(|stream| surviving_rows(stream, Arc::clone(&target.schema), Arc::clone(&touched)))
        .collect();
    let (mut adds, held) = run(&copying, kept, held).await?;
    adds.extend(copying.flush(held).await?);
    Ok(adds)
}

/// The files of a change.
struct Files {
    adds: Vec<Add>,
    feed: Vec<AddCDCFile>,
    /// Numbers of those that go.
    removed: Vec<usize>,
}

/// What is to be committed; nothing when no row changes.
fn published(
    change: StageChange,
    files: Files,
    widened: Option<Widened>,
    counts: Changed,
    area: Arc<StagingArea>,
) -> Result<(Option<Staged>, Changed), LakeError> {
    let StageChange { base, operation, condition, .. } = change;
    if counts.rows() == 0 && operation != ChangeOperation::Refresh {
        return Ok((None, counts));
    }
    let Files { adds, feed, removed } = files;
    let data = base.data_files()?;
    let (mut schema, mut metadata, mut protocol) = (base.schema(), None, None);
    if let Some(widened) = widened {
        schema = widened.schema;
        metadata = Some(widened.metadata);
        protocol = widened.protocol;
    }
    let edit = Edit {
        named: None,
        operation: operation_of(operation, condition),
        removes: removed.iter().map(|file| data.remove(*file, true)).collect(),
        feed,
        metadata,
        protocol,
        metrics: metrics(counts, &adds, removed.len()),
        parameters: Map::new(),
        meanwhile: match operation {
            ChangeOperation::Refresh => Meanwhile::Moves,
            _ => Meanwhile::Appends,
        },
    };
    let staged = Staged {
        place: area.place().clone(),
        effect: Effect::Edit(Box::new(edit)),
        schema,
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
    files: Vec<usize>,
    threads: usize,
) -> Result<Vec<Add>, LakeError> {
    let location = patch.place.text();
    let patch = Arc::new(patch);
    let mut waiting = files.into_iter();
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
        ChangeOperation::Merge | ChangeOperation::Refresh => DeltaOperation::Merge {
            predicate: condition.clone(),
            merge_predicate: condition,
            matched_predicates: Vec::new(),
            not_matched_predicates: Vec::new(),
            not_matched_by_source_predicates: Vec::new(),
        },
        ChangeOperation::Replace => DeltaOperation::Write {
            mode: SaveMode::Overwrite,
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
