//! Reads the commits of a log one after the other, and keeps account of which files are there.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStoreExt, path::Path};
use serde_json::{Map, Value};

use super::{
    Report, checkpoint,
    checkpoint::{Checkpoint, CheckpointFiles},
    counted,
};
use crate::{
    deletion_vector::DeletionVector, elsewhere::has_scheme, error::LakeError, location::Place, log,
    snapshot::Snapshot,
};

pub(super) const LOG_ADVICE: &str = "bring the files of '_delta_log' back from a backup; \
                                     without one, save the rows that can still be read and create the table anew";
const COMMITS_AT_ONCE: usize = 16;
/// The oldest checkpoint that a replay needs, and so many of the newest, are compared with it.
const CHECKPOINTS_MAX: usize = 4;

/// Tells files of a version apart: the path, and which of their rows are marked as deleted.
type Key = (String, Option<String>);

/// A file of the table, as the log has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LoggedFile {
    pub(super) size: Option<u64>,
    pub(super) partition_values: Map<String, Value>,
    pub(super) stats: Option<String>,
    /// The file that says which of its rows are deleted, unless the log itself does.
    pub(super) vector: Option<Path>,
}

/// What the log says, as far as it can be told.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The newest version.
    pub(super) newest: Option<i64>,
    oldest: Option<i64>,
    commits: usize,
    checkpoints: usize,
    checkpoints_read: usize,
    /// The files of the newest version, by their path in the table's folder.
    pub(super) files: BTreeMap<Key, LoggedFile>,
    /// All files that any version in the log names.
    pub(super) named: HashSet<String>,
    /// Paths, as they are written, that do not begin in the table's folder.
    pub(super) elsewhere: BTreeSet<String>,
    /// Columns that the table is partitioned by.
    pub(super) partitioned_by: Vec<String>,
    /// Whether column names in the log are not those of the table.
    pub(super) mapped: bool,
    has_protocol: bool,
    has_metadata: bool,
    /// Whether `files` are known to be those of the newest version.
    pub(super) complete: bool,
}

/// What is in the folder of the log.
struct LogFolder {
    commits: BTreeSet<i64>,
    checkpoints: BTreeMap<i64, CheckpointFiles>,
}

/// Replays the log of a table from the oldest version that can be told to the newest.
pub(super) async fn replay(
    place: &Place,
    log: &mut Report,
    checkpoints: &mut Report,
) -> Result<Replay, LakeError> {
    let folder = LogFolder::list(place).await?;
    let last_commit = folder.commits.last().copied();
    let newest = last_commit.max(folder.checkpoints.keys().next_back().copied());
    let Some(newest) = newest else {
        return Err(LakeError::NotFound { location: place.text() });
    };
    checkpoint::check_pointer(place, &folder.checkpoints, newest, checkpoints).await?;
    for (version, files) in &folder.checkpoints {
        files.check_parts(*version, checkpoints);
    }
    let complete = |(version, files): (&i64, &CheckpointFiles)| {
        let complete = files.complete(*version);
        (!complete.is_empty()).then_some((*version, complete))
    };
    let readable: BTreeMap<i64, Vec<Checkpoint>> =
        folder.checkpoints.iter().filter_map(complete).collect();
    let mut replay = Replay {
        newest: Some(newest),
        oldest: folder.commits.first().copied(),
        commits: folder.commits.len(),
        checkpoints: readable.values().map(Vec::len).sum(),
        ..Replay::default()
    };
    let compared: BTreeSet<i64> = readable.keys().rev().take(CHECKPOINTS_MAX).copied().collect();
    let mut at = match replay.oldest {
        Some(0) => Some(0),
        _ => replay.start_from(place, &readable, 0, checkpoints).await,
    };
    if at.is_none() {
        log.error(
            "version 0",
            "it is not in the log, and there is no checkpoint that stands for it",
            LOG_ADVICE,
        );
    }
    while let Some(from) = at {
        at = None;
        let mut commits = stream::iter(from..=newest)
            .map(
                |version| async move { Ok::<_, LakeError>((version, read(place, version).await?)) },
            )
            .buffered(COMMITS_AT_ONCE);
        while let Some((version, commit)) = commits.try_next().await? {
            let problem = match commit {
                Ok(actions) => {
                    replay.apply(version, &actions, log);
                    if compared.contains(&version) {
                        for checkpoint in &readable[&version] {
                            replay.compare_checkpoint(place, checkpoint, checkpoints).await;
                        }
                    }
                    continue;
                }
                Err(problem) => problem,
            };
            // Readers of the newest version go by the newest checkpoint, and need nothing older.
            let covered = readable.keys().next_back().is_some_and(|newest| *newest >= version);
            let object = format!("version {version}");
            if covered {
                let advice = "bring the commit back from a backup; \
                              the newest version is complete without it, older ones cannot be read";
                log.warning(object, problem, advice);
            } else {
                log.error(object, problem, LOG_ADVICE);
            }
            at = replay.start_from(place, &readable, version, checkpoints).await;
            replay.complete = at.is_some();
            break;
        }
    }
    if !replay.complete {
        return Ok(replay);
    }
    for (there, action) in [(replay.has_metadata, "metaData"), (replay.has_protocol, "protocol")] {
        if !there {
            log.error(
                format!("version {newest}"),
                format!("no commit up to it has the action '{action}'"),
                LOG_ADVICE,
            );
        }
    }
    Ok(replay)
}

impl LogFolder {
    async fn list(place: &Place) -> Result<Self, LakeError> {
        let mut found = Self { commits: BTreeSet::new(), checkpoints: BTreeMap::new() };
        let folder = Path::from("_delta_log");
        let mut entries = place.store.list(Some(&folder));
        loop {
            let meta = match entries.try_next().await {
                Ok(Some(meta)) => meta,
                Ok(None) | Err(object_store::Error::NotFound { .. }) => return Ok(found),
                Err(source) => {
                    return Err(LakeError::store("list the Delta log", place.text(), source));
                }
            };
            let parts: Vec<_> = meta.location.parts().collect();
            let [_, name] = parts.as_slice() else { continue };
            let name = name.as_ref();
            let (digits, ending) = name.split_once('.').unwrap_or((name, ""));
            let is_version = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let Some(version) = digits.parse().ok().filter(|_| is_version) else { continue };
            match ending {
                "json" => {
                    found.commits.insert(version);
                }
                _ if ending.starts_with("checkpoint.") => {
                    let files = found.checkpoints.entry(version).or_default();
                    files.add(ending, meta.location.clone());
                }
                _ => {}
            }
        }
    }
}

/// The actions of a commit, or what is wrong with it.
async fn read(place: &Place, version: i64) -> Result<Result<Vec<Value>, String>, LakeError> {
    let failed = |source| LakeError::store("read the Delta log", place.text(), source);
    let bytes = match place.store.get(&log::commit_path(version)).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => {
            return Ok(Err("the commit is missing from the log".to_owned()));
        }
        Err(source) => return Err(failed(source)),
    };
    let mut actions = Vec::new();
    for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Value>(line) {
            Ok(action) if action.is_object() => actions.push(action),
            Ok(_) => return Ok(Err(format!("line {} of the commit is no action", n + 1))),
            Err(error) => {
                return Ok(Err(format!("line {} of the commit cannot be parsed: {error}", n + 1)));
            }
        }
    }
    if actions.is_empty() {
        return Ok(Err("the commit is empty".to_owned()));
    }
    Ok(Ok(actions))
}

impl Replay {
    /// Begins anew with the oldest checkpoint that stands for a version; returns the version after
    /// it. `None` when there is none, and nothing is known.
    async fn start_from(
        &mut self,
        place: &Place,
        readable: &BTreeMap<i64, Vec<Checkpoint>>,
        version: i64,
        report: &mut Report,
    ) -> Option<i64> {
        for (version, checkpoints) in readable.range(version..) {
            let mut begun = false;
            for checkpoint in checkpoints {
                if begun {
                    self.compare_checkpoint(place, checkpoint, report).await;
                    continue;
                }
                let Some(actions) = checkpoint.read(place, report).await else { continue };
                self.checkpoints_read += 1;
                self.files.clear();
                let mut unused = Report::new("log");
                self.apply(*version, &actions, &mut unused);
                (self.complete, begun) = (true, true);
            }
            if begun {
                return Some(version + 1);
            }
        }
        None
    }

    /// Takes note of the actions of a commit or a checkpoint.
    fn apply(&mut self, version: i64, actions: &[Value], report: &mut Report) {
        if version == 0 {
            self.complete = true;
        }
        let object = || format!("version {version}");
        let of = |kind: &str| {
            let found = actions.iter().filter_map(|action| action.get(kind));
            found.filter(|action| action.is_object()).collect::<Vec<_>>()
        };
        for (kind, known) in
            [("metaData", &mut self.has_metadata), ("protocol", &mut self.has_protocol)]
        {
            let count = of(kind).len();
            *known |= count > 0;
            if count > 1 {
                report.error(object(), format!("it has '{kind}' {count} times"), LOG_ADVICE);
            }
        }
        if let Some(metadata) = of("metaData").last() {
            let columns = metadata.get("partitionColumns").and_then(Value::as_array);
            let columns = columns.into_iter().flatten().filter_map(Value::as_str);
            self.partitioned_by = columns.map(ToOwned::to_owned).collect();
            let mode = metadata.pointer("/configuration/delta.columnMapping.mode");
            self.mapped = mode.and_then(Value::as_str).is_some_and(|mode| mode != "none");
        }
        let mut removed = HashSet::new();
        for remove in of("remove") {
            let Some((path, key)) = self.key(remove, version, report) else { continue };
            if !removed.insert(key.clone()) {
                let problem = format!("it removes the file '{path}' twice");
                report.warning(object(), problem, "tell the author of its writer");
                continue;
            }
            if self.files.remove(&key).is_none() {
                let problem = format!("it removes the file '{path}', which was not there");
                report.warning(object(), problem, "tell the author of its writer");
            }
        }
        let mut added = HashSet::new();
        for add in of("add") {
            let Some((path, key)) = self.key(add, version, report) else { continue };
            let changes = add.get("dataChange").and_then(Value::as_bool) != Some(false);
            let problem = if !added.insert(key.clone()) {
                Some("twice")
            } else if removed.contains(&key) {
                Some("and removes it as well")
            } else {
                match self.with_path(&key.0) {
                    // Statistics that are computed later come as the same file once more.
                    Some(there) if *there == key && !changes => None,
                    Some(_) => Some("which was there already"),
                    None => None,
                }
            };
            if let Some(problem) = problem {
                let advice = "compare the number of rows with what you expect: readers may take the \
                              file for one, two or none; RESTORE goes back to the version before";
                report.error(object(), format!("it adds the file '{path}', {problem}"), advice);
            }
            let size = add.get("size").and_then(Value::as_u64);
            if size.is_none() {
                let problem = format!("it adds the file '{path}' without a size");
                report.error(object(), problem, LOG_ADVICE);
            }
            let values = add.get("partitionValues").and_then(Value::as_object);
            let stats = add.get("stats").and_then(Value::as_str);
            let file = LoggedFile {
                size,
                partition_values: values.cloned().unwrap_or_default(),
                stats: stats.filter(|text| !text.is_empty()).map(ToOwned::to_owned),
                vector: DeletionVector::of_action(add).and_then(|vector| vector.path()),
            };
            self.files.insert(key, file);
        }
    }

    /// A file of the newest version so far with this path.
    fn with_path(&self, path: &str) -> Option<&Key> {
        let (key, _) = self.files.range((path.to_owned(), None)..).next()?;
        (key.0 == path).then_some(key)
    }

    /// The file that an action is about, by its path as written and as it is in the folder. `None`
    /// for files that are kept elsewhere.
    fn key(&mut self, action: &Value, version: i64, report: &mut Report) -> Option<(String, Key)> {
        let Some(written) = action.get("path").and_then(Value::as_str) else {
            let object = format!("version {version}");
            report.error(object, "it has a file without a path", LOG_ADVICE);
            return None;
        };
        if has_scheme(written) || written.starts_with('/') || written.starts_with("../") {
            self.elsewhere.insert(written.to_owned());
            return None;
        }
        let path = match Path::from_url_path(written) {
            Ok(path) => path.to_string(),
            Err(error) => {
                let problem = format!("'{written}' is no path of a file: {error}");
                report.error(format!("version {version}"), problem, LOG_ADVICE);
                return None;
            }
        };
        self.named.insert(path.clone());
        let vector = action.get("deletionVector").filter(|vector| vector.is_object());
        if let Some(vector) = DeletionVector::of_action(action).and_then(|vector| vector.path()) {
            self.named.insert(vector.to_string());
        }
        let vector = vector.map(|vector| {
            // What a commit leaves out is NULL in a checkpoint.
            let part = |key: &str| vector.get(key).filter(|part| !part.is_null());
            let part = |key: &str| part(key).map(Value::to_string).unwrap_or_default();
            format!("{}{}@{}", part("storageType"), part("pathOrInlineDv"), part("offset"))
        });
        Some((path.clone(), (path, vector)))
    }

    /// The files of commits that came after the newest version.
    pub(super) async fn later_files(&self, place: &Place) -> Result<HashSet<String>, LakeError> {
        let mut files = HashSet::new();
        let Some(newest) = self.newest else { return Ok(files) };
        for version in newest + 1.. {
            let Some(actions) = log::actions(place, version).await? else { break };
            let of_files =
                actions.iter().flat_map(|action| ["add", "remove"].map(|of| action.get(of)));
            for file in of_files.flatten() {
                let path = file.get("path").and_then(Value::as_str);
                let path = path.and_then(|path| Path::from_url_path(path).ok());
                let vector = DeletionVector::of_action(file).and_then(|vector| vector.path());
                files.extend(path.into_iter().chain(vector).map(String::from));
            }
        }
        Ok(files)
    }

    async fn compare_checkpoint(
        &mut self,
        place: &Place,
        checkpoint: &Checkpoint,
        report: &mut Report,
    ) {
        let Some(actions) = checkpoint.read(place, report).await else { return };
        self.checkpoints_read += 1;
        if !self.complete {
            return;
        }
        let mut state = Self::default();
        let mut unused = Report::new("log");
        state.apply(checkpoint.version, &actions, &mut unused);
        let object = || checkpoint.object.clone();
        let missing = self.files.keys().filter(|key| !state.files.contains_key(*key));
        let surplus = state.files.keys().filter(|key| !self.files.contains_key(*key));
        for (mut keys, verb) in [
            (missing.collect::<Vec<_>>(), "lacks"),
            (surplus.collect::<Vec<_>>(), "has too many of"),
        ] {
            let count = keys.len();
            let Some((first, _)) = keys.pop() else { continue };
            report.error(
                object(),
                format!(
                    "it {verb} the files of that version: {}, for example '{first}'",
                    counted(count, "file")
                ),
                checkpoint::CHECKPOINT_ADVICE,
            );
        }
        for (there, action) in [(state.has_metadata, "metaData"), (state.has_protocol, "protocol")]
        {
            if !there {
                let problem = format!("it lacks the action '{action}'");
                report.error(object(), problem, checkpoint::CHECKPOINT_ADVICE);
            }
        }
        let other_size = self
            .files
            .iter()
            .find(|(key, file)| state.files.get(*key).is_some_and(|other| other.size != file.size));
        if let Some(((path, _), _)) = other_size {
            let problem = format!("it tells another size of the file '{path}' than the commits");
            report.error(object(), problem, checkpoint::CHECKPOINT_ADVICE);
        }
    }

    /// Compares what the commits say with what this server reads.
    pub(super) fn compare(
        &self,
        snapshot: &Arc<Snapshot>,
        report: &mut Report,
    ) -> Result<(), LakeError> {
        if !self.complete || !self.elsewhere.is_empty() {
            return Ok(());
        }
        let files =
            snapshot.state().snapshot().try_log_data().map_err(|source| LakeError::BrokenLog {
                location: snapshot.location().to_owned(),
                source: Arc::new(source),
            })?;
        let read: BTreeSet<String> =
            files.iter().map(|file| file.object_store_path().to_string()).collect();
        let told: BTreeSet<String> = self.files.keys().map(|(path, _)| path.clone()).collect();
        let differ = read.symmetric_difference(&told).count();
        if let Some(first) = read.symmetric_difference(&told).next() {
            report.error(
                format!("version {}", snapshot.version()),
                format!(
                    "readers see {} than the commits tell, for example '{first}': a checkpoint or \
                     the log was changed",
                    if differ == 1 {
                        "another file".to_owned()
                    } else {
                        format!("{differ} other files")
                    }
                ),
                LOG_ADVICE,
            );
        }
        Ok(())
    }

    pub(super) fn looked_at(&self) -> String {
        let (Some(oldest), Some(newest)) = (self.oldest, self.newest) else {
            return "no commits, only checkpoints".to_owned();
        };
        format!("{}, versions {oldest} to {newest}", counted(self.commits, "commit"))
    }

    pub(super) fn checkpoints_looked_at(&self) -> String {
        match (self.checkpoints_read, self.checkpoints) {
            (0, 0) => "there is none".to_owned(),
            (read, all) if read >= all => counted(all, "checkpoint"),
            (read, all) => format!("{read} of {}", counted(all, "checkpoint")),
        }
    }
}
