//! Checkpoints: files of the log that stand for all commits up to a version.

use std::{collections::BTreeMap, sync::Arc};

use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use parquet::arrow::{ProjectionMask, async_reader::ParquetRecordBatchStreamBuilder};
use serde_json::Value;

use super::{Report, with_causes};
use crate::{error::LakeError, location::Place, parquet_object::ParquetObject};

pub(super) const CHECKPOINT_ADVICE: &str = "delete its files and '_last_checkpoint' from '_delta_log' \
                                            while all commits are still there; the next one is right again";
/// What is read of a checkpoint.
const COLUMNS: [&str; 9] = [
    "add.path",
    "add.size",
    "add.partitionValues",
    "add.stats",
    "add.deletionVector",
    "remove.path",
    "remove.deletionVector",
    "metaData",
    "protocol",
];

/// The files of the checkpoint of one version.
#[derive(Debug, Default)]
pub(super) struct CheckpointFiles {
    /// One file with everything in it.
    single: Option<Path>,
    /// By how many parts there are to be, the parts that are there.
    parts: BTreeMap<u64, Vec<Path>>,
    /// A checkpoint of the second kind, whose files are elsewhere.
    second_kind: bool,
}

impl CheckpointFiles {
    /// Takes note of a file by what follows the version in its name.
    pub(super) fn add(&mut self, ending: &str, path: Path) {
        match ending.split('.').collect::<Vec<_>>().as_slice() {
            ["checkpoint", "parquet"] => self.single = Some(path),
            ["checkpoint", _, of, "parquet"] => {
                if let Ok(of) = of.parse() {
                    self.parts.entry(of).or_default().push(path);
                }
            }
            ["checkpoint", _, "parquet" | "json"] => self.second_kind = true,
            _ => {}
        }
    }

    /// Whether it can be read.
    pub(super) fn is_complete(&self) -> bool {
        self.files().is_some()
    }

    /// Whether it is one that others can read, and this does not.
    pub(super) fn is_second_kind(&self) -> bool {
        self.second_kind && !self.is_complete()
    }

    fn files(&self) -> Option<Vec<Path>> {
        if let Some(single) = &self.single {
            return Some(vec![single.clone()]);
        }
        let complete = self.parts.iter().find(|(of, parts)| parts.len() as u64 == **of);
        complete.map(|(_, parts)| parts.clone())
    }

    pub(super) fn check_parts(&self, version: i64, report: &mut Report) {
        let object = || format!("checkpoint of version {version}");
        if self.is_complete() {
            return;
        }
        if self.second_kind {
            let advice = "other engines can look it over";
            report.notice(object(), "not looked at: it is one of the second kind (v2)", advice);
            return;
        }
        let Some((of, parts)) = self.parts.iter().next() else { return };
        report.warning(
            object(),
            format!("{} of its {of} parts are there, so nobody reads it", parts.len()),
            "delete its files: older checkpoints and the commits are read instead",
        );
    }

    /// Its actions; `None`, with a finding, when it cannot be read.
    pub(super) async fn read(
        &self,
        place: &Place,
        version: i64,
        report: &mut Report,
    ) -> Result<Option<Vec<Value>>, LakeError> {
        let mut actions = Vec::new();
        for path in self.files().unwrap_or_default() {
            match read_file(place, path).await {
                Ok(read) => actions.extend(read),
                Err(error) => {
                    let problem = format!("it cannot be read: {}", with_causes(error.as_ref()));
                    let object = format!("checkpoint of version {version}");
                    report.error(object, problem, CHECKPOINT_ADVICE);
                    return Ok(None);
                }
            }
        }
        Ok(Some(actions))
    }
}

type ReadError = Box<dyn std::error::Error + Send + Sync>;

async fn read_file(place: &Place, path: Path) -> Result<Vec<Value>, ReadError> {
    let size = place.store.head(&path).await?.size;
    let reader = ParquetObject { store: Arc::clone(&place.store), path, size };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    let mut batches = builder.with_projection(mask).build()?;
    let mut actions = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        // As JSON a checkpoint reads like the commits that it stands for.
        let mut lines = Vec::new();
        let options = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
        let mut writer = options.build::<_, arrow::json::writer::LineDelimited>(&mut lines);
        writer.write(&batch)?;
        writer.finish()?;
        drop(writer);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            actions.push(serde_json::from_slice(line)?);
        }
    }
    Ok(actions)
}

/// Whether `_last_checkpoint` names a checkpoint that is there.
pub(super) async fn check_pointer(
    place: &Place,
    checkpoints: &BTreeMap<i64, CheckpointFiles>,
    newest: i64,
    report: &mut Report,
) -> Result<(), LakeError> {
    const POINTER: &str = "_last_checkpoint";
    const ADVICE: &str = "delete '_delta_log/_last_checkpoint': the folder is listed instead";
    let failed = |source| LakeError::store("read the Delta log", place.text(), source);
    let bytes = match place.store.get(&Path::from(format!("_delta_log/{POINTER}"))).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    let pointer: Value = match serde_json::from_slice(&bytes) {
        Ok(pointer) => pointer,
        Err(error) => {
            report.warning(POINTER, format!("it cannot be parsed: {error}"), ADVICE);
            return Ok(());
        }
    };
    let Some(version) = pointer.get("version").and_then(Value::as_i64) else {
        report.warning(POINTER, "it names no version", ADVICE);
        return Ok(());
    };
    match checkpoints.get(&version) {
        _ if version > newest => {
            let problem = format!("it names version {version}, but the newest is {newest}");
            report.error(POINTER, problem, ADVICE);
        }
        Some(files) if files.is_complete() || files.second_kind => {}
        _ => {
            let problem =
                format!("it names the checkpoint of version {version}, which is not there");
            report.error(POINTER, problem, ADVICE);
        }
    }
    Ok(())
}
