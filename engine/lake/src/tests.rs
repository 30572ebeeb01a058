//! The lake from outside: every test goes through the public API, on a folder of its own.

mod changing;
mod commits;
mod converting;
mod damaged;
mod deltas;
mod files;
mod folders;
mod generated;
mod one_by_one;
mod optimizing;
mod outcomes;
mod partitioning;
mod places;
mod planning;
mod power;
mod reading;
mod recorder;
mod refreshing;
mod second_kind;
mod unreliable;
mod uploads;
mod validating;
mod vectors;
mod writing;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    compute::{cast, concat_batches},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    datasource::memory::MemorySourceConfig, physical_plan::ExecutionPlan, prelude::SessionContext,
};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::{
    At, CommitInfo, Committed, Lake, LakeError, LakeOptions, Snapshot, Stage, StageProgress,
    Staged, WriteMode, stores::Wrap,
};

/// A lake in a folder that is deleted at the end of the test.
pub(crate) struct TestLake {
    pub(crate) lake: Lake,
    folder: TempDir,
}

impl TestLake {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let lake = open(&folder, None);
        Self { lake, folder }
    }

    /// Another lake on the same folder, as another process would have it.
    fn other(&self) -> Lake {
        open(&self.folder, None)
    }

    fn table(&self, name: &str) -> String {
        format!("{}{name}/", self.lake.root())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("lake").join(name)
    }
}

fn options(folder: &TempDir) -> LakeOptions {
    LakeOptions {
        root: folder.path().join("lake").to_string_lossy().into_owned(),
        storage: BTreeMap::new(),
        locations: Vec::new(),
        io: Handle::current(),
        stale_max: Duration::ZERO,
        snapshots_max: 16,
        target_file_size: 64 * 1024 * 1024,
    }
}

fn open(folder: &TempDir, wrap: Option<Wrap>) -> Lake {
    Lake::open_wrapped(options(folder), wrap).unwrap()
}

fn create() -> WriteMode {
    WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: BTreeMap::new(),
        schema: None,
    }
}

fn create_by(column: &str) -> WriteMode {
    WriteMode::Create {
        partitioned_by: vec![column.to_owned()],
        comment: None,
        properties: BTreeMap::new(),
        schema: None,
    }
}

fn replace() -> WriteMode {
    WriteMode::Replace {
        partitioned_by: Vec::new(),
        comment: None,
        properties: BTreeMap::new(),
        schema: None,
    }
}

fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn labelled(rows: &[(i64, Option<&str>)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("label", DataType::Utf8, true),
    ]);
    let n = Int64Array::from_iter_values(rows.iter().map(|(n, _)| *n));
    let label = StringArray::from_iter(rows.iter().map(|(_, label)| *label));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(n), Arc::new(label)]).unwrap()
}

/// A plan with one partition per list.
fn plan_of(partitions: &[Vec<RecordBatch>], schema: SchemaRef) -> Arc<dyn ExecutionPlan> {
    MemorySourceConfig::try_new_exec(partitions, schema, None).unwrap()
}

async fn stage(
    lake: &Lake,
    location: &str,
    mode: WriteMode,
    rows: RecordBatch,
) -> Result<Staged, LakeError> {
    let plan = plan_of(&[vec![rows.clone()]], rows.schema());
    stage_plan(lake, location, mode, plan).await
}

async fn stage_plan(
    lake: &Lake,
    location: &str,
    mode: WriteMode,
    plan: Arc<dyn ExecutionPlan>,
) -> Result<Staged, LakeError> {
    let stage = Stage {
        location: location.to_owned(),
        plan,
        task: SessionContext::new().task_ctx(),
        mode,
        base: None,
        checks: Vec::new(),
        progress: Arc::new(StageProgress::default()),
    };
    lake.stage(stage).await
}

async fn write(
    lake: &Lake,
    location: &str,
    mode: WriteMode,
    rows: RecordBatch,
) -> Result<Committed, LakeError> {
    let staged = stage(lake, location, mode, rows).await?;
    lake.commit(staged, CommitInfo::default()).await
}

async fn latest(lake: &Lake, location: &str) -> Arc<Snapshot> {
    lake.snapshot(location, At::Latest).await.unwrap()
}

/// All rows, with the plain types of the snapshot's schema.
async fn read(snapshot: &Arc<Snapshot>) -> RecordBatch {
    read_sql(snapshot, "SELECT * FROM t").await
}

async fn read_sql(snapshot: &Arc<Snapshot>, sql: &str) -> RecordBatch {
    let context = SessionContext::new();
    context.register_table("t", snapshot.provider().unwrap()).unwrap();
    let frame = context.sql(sql).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.unwrap();
    let all = concat_batches(&schema, &batches).unwrap();
    let plain = snapshot.schema();
    if plain.fields().len() != all.num_columns() {
        return all;
    }
    let columns = all
        .columns()
        .iter()
        .zip(plain.fields())
        .map(|(column, field)| cast(column, field.data_type()).unwrap())
        .collect();
    RecordBatch::try_new(plain, columns).unwrap()
}

/// The sorted numbers of column `n`.
async fn read_numbers(snapshot: &Arc<Snapshot>) -> Vec<i64> {
    let rows = read(snapshot).await;
    let column = rows.column_by_name("n").unwrap().as_primitive::<Int64Type>();
    let mut numbers: Vec<i64> = column.values().to_vec();
    numbers.sort_unstable();
    numbers
}

/// Data files below a folder, as the disk has them.
fn data_files(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return files };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            files.extend(data_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "parquet") {
            files.push(path);
        }
    }
    files
}
