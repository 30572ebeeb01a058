//! Checkpoints: files of the log that stand for all commits up to a version.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use parquet::arrow::{ProjectionMask, async_reader::ParquetRecordBatchStreamBuilder};
use serde_json::Value;

use super::{Report, with_causes};
use crate::{error::LakeError, location::Place, parquet_object::ParquetObject, pointer};

pub(super) const CHECKPOINT_ADVICE: &str = "delete its files and '_last_checkpoint' from '_delta_log' \
                                            while all commits are still there; the next one is right again";
/// What is read of a checkpoint.
const COLUMNS: [&str; 12] = [
    "add.path",
    "add.size",
    "add.partitionValues",
    "add.stats",
    "add.deletionVector",
    "remove.path",
    "remove.deletionVector",
    "metaData",
    "protocol",
    "checkpointMetadata.version",
    "sidecar.path",
    "sidecar.sizeInBytes",
];

/// The files of the checkpoints of one version. There may be several, of which a reader takes one.
#[derive(Debug, Default)]
pub(super) struct CheckpointFiles {
    /// One file with everything in it, or with the names of its sidecars.
    single: Option<Path>,
    /// By how many parts there are to be, the parts that are there.
    parts: BTreeMap<u64, Vec<Path>>,
    /// Those of the second kind with names of their own.
    named: Vec<Path>,
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
            ["checkpoint", _, "parquet" | "json"] => self.named.push(path),
            _ => {}
        }
    }

    /// Whether there is one that can be read.
    pub(super) fn is_complete(&self) -> bool {
        !self.complete(0).is_empty()
    }

    /// Those with all of their files.
    pub(super) fn complete(&self, version: i64) -> Vec<Checkpoint> {
        let parts = self.parts.iter().filter(|(of, parts)| parts.len() as u64 == **of);
        let first = self.single.iter().map(|path| vec![path.clone()]);
        let first = first.chain(parts.map(|(_, parts)| parts.clone()));
        let first = first.map(|files| (Kind::ByContent, files));
        let named: BTreeSet<_> = self.named.iter().collect();
        let second = named.into_iter().map(|path| (Kind::Second, vec![path.clone()]));
        let all: Vec<_> = first.chain(second).collect();
        let object = |files: &[Path]| match (all.len(), files.first().and_then(Path::filename)) {
            (2.., Some(name)) => format!("checkpoint of version {version}, '{name}'"),
            _ => format!("checkpoint of version {version}"),
        };
        let checkpoints = all.iter().map(|(kind, files)| Checkpoint {
            version,
            kind: *kind,
            object: object(files),
            files: files.clone(),
        });
        checkpoints.collect()
    }

    pub(super) fn check_parts(&self, version: i64, report: &mut Report) {
        if self.is_complete() {
            return;
        }
        let Some((of, parts)) = self.parts.iter().next() else { return };
        report.warning(
            format!("checkpoint of version {version}"),
            format!("{} of its {of} parts are there, so nobody reads it", parts.len()),
            "delete its files: older checkpoints and the commits are read instead",
        );
    }
}

/// What a checkpoint's name says of where its actions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing: all may be in its files, or some in sidecars.
    ByContent,
    /// It is of the second kind (v2).
    Second,
}

/// One checkpoint with all of its files.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) version: i64,
    kind: Kind,
    /// As findings name it.
    pub(super) object: String,
    files: Vec<Path>,
}

impl Checkpoint {
    /// Its actions, those in its sidecars among them; `None`, with a finding, when not all can be read.
    pub(super) async fn read(&self, place: &Place, report: &mut Report) -> Option<Vec<Value>> {
        let mut actions = Vec::new();
        for path in &self.files {
            match read_file(place, path).await {
                Ok((read, _)) => actions.extend(read),
                Err(error) => {
                    let problem = format!("it cannot be read: {}", with_causes(error.as_ref()));
                    report.error(&self.object, problem, CHECKPOINT_ADVICE);
                    return None;
                }
            }
        }
        let sidecars: Vec<Value> = of(&actions, "sidecar").cloned().collect();
        if self.kind == Kind::Second || !sidecars.is_empty() {
            self.check_version(&actions, report);
        }
        let mut is_whole = true;
        for sidecar in &sidecars {
            match self.sidecar(place, sidecar, report).await {
                Some(files) => actions.extend(files),
                None => is_whole = false,
            }
        }
        is_whole.then_some(actions)
    }

    /// Those of the second kind say once what they stand for.
    fn check_version(&self, actions: &[Value], report: &mut Report) {
        let said: Vec<&Value> = of(actions, "checkpointMetadata").collect();
        let problem = match said.as_slice() {
            [said] if said.get("version").and_then(Value::as_i64) == Some(self.version) => return,
            [said] => {
                let version = said.get("version").unwrap_or(&Value::Null);
                format!("its 'checkpointMetadata' says that it is of version {version}")
            }
            [] => "it lacks the action 'checkpointMetadata'".to_owned(),
            more => format!("it has 'checkpointMetadata' {} times", more.len()),
        };
        report.warning(&self.object, problem, CHECKPOINT_ADVICE);
    }

    /// The actions of a sidecar, of which only those about files count.
    async fn sidecar(
        &self,
        place: &Place,
        sidecar: &Value,
        report: &mut Report,
    ) -> Option<Vec<Value>> {
        let written = sidecar.get("path").and_then(Value::as_str).unwrap_or_default();
        // Whatever comes before the name, sidecars are in one folder.
        let name = written.rsplit('/').next().unwrap_or_default();
        let path = match Path::from_url_path(format!("_delta_log/_sidecars/{name}")) {
            Ok(path) if !name.is_empty() => path,
            _ => {
                let problem = format!("'{written}' is no path of a sidecar");
                report.error(&self.object, problem, CHECKPOINT_ADVICE);
                return None;
            }
        };
        let (actions, size) = match read_file(place, &path).await {
            Ok(read) => read,
            Err(error) => {
                let is_missing = matches!(
                    error.downcast_ref::<object_store::Error>(),
                    Some(object_store::Error::NotFound { .. })
                );
                let problem = match is_missing {
                    true => "is not there".to_owned(),
                    false => format!("cannot be read: {}", with_causes(error.as_ref())),
                };
                let problem = format!("its sidecar '{name}' {problem}");
                report.error(&self.object, problem, CHECKPOINT_ADVICE);
                return None;
            }
        };
        let said = sidecar.get("sizeInBytes").and_then(Value::as_u64);
        if said != Some(size) {
            let said = said.map_or("nothing".to_owned(), |said| said.to_string());
            let problem =
                format!("its sidecar '{name}' has {size} bytes, but the checkpoint says {said}");
            report.error(&self.object, problem, CHECKPOINT_ADVICE);
        }
        let is_of_file =
            |action: &Value| ["add", "remove"].iter().any(|kind| action[kind].is_object());
        Some(actions.into_iter().filter(is_of_file).collect())
    }
}

/// The actions of a kind.
fn of<'a>(actions: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    actions.iter().filter_map(move |action| action.get(kind)).filter(|action| action.is_object())
}

type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// The actions in a file, as a commit has them, and its size.
async fn read_file(place: &Place, path: &Path) -> Result<(Vec<Value>, u64), ReadError> {
    let is_json = path.filename().is_some_and(|name| name.ends_with(".json"));
    if is_json {
        let bytes = place.store.get(path).await?.bytes().await?;
        return Ok((parsed(&bytes)?, bytes.len() as u64));
    }
    let size = place.store.head(path).await?.size;
    let reader = ParquetObject { store: Arc::clone(&place.store), path: path.clone(), size };
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
        actions.extend(parsed(&lines)?);
    }
    Ok((actions, size))
}

fn parsed(lines: &[u8]) -> serde_json::Result<Vec<Value>> {
    let lines = lines.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.iter().all(u8::is_ascii_whitespace));
    lines.map(serde_json::from_slice).collect()
}

/// Whether `_last_checkpoint` names a checkpoint that is there. Where it does not, this server lists the
/// folder, and so may others; some refuse the table.
pub(super) async fn check_pointer(
    place: &Place,
    checkpoints: &BTreeMap<i64, CheckpointFiles>,
    newest: i64,
    report: &mut Report,
) -> Result<(), LakeError> {
    const ADVICE: &str = "delete '_delta_log/_last_checkpoint': some engines refuse the table because \
                          of it; without it the folder is listed";
    let problem = match pointer::read(place).await? {
        None => return Ok(()),
        Some(Err(problem)) => problem,
        Some(Ok(version)) if version > newest => {
            format!("it names version {version}, but the newest is {newest}")
        }
        Some(Ok(version)) => match checkpoints.get(&version) {
            Some(files) if files.is_complete() => return Ok(()),
            _ => format!("it names the checkpoint of version {version}, which is not there"),
        },
    };
    report.warning(pointer::NAME, problem, ADVICE);
    Ok(())
}
