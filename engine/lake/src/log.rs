//! Reads single entries of a Delta log, where one small request says more than loading the table.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use model::time::Timestamp;
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};
use serde_json::Value;
use uuid::Uuid;

use crate::{error::LakeError, location::Place};

/// Identifies one commit file: a log that was deleted and written anew has another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitFile {
    size: u64,
    modified: DateTime<Utc>,
    e_tag: Option<String>,
}

impl CommitFile {
    /// Whether there is nothing in it. A commit has at least one action, and Spark as well as this
    /// server always write who made it: without a byte it was cut off.
    pub(crate) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// When it was written, by the store's clock.
    pub(crate) fn modified(&self) -> Timestamp {
        Timestamp::from(self.modified)
    }
}

impl From<ObjectMeta> for CommitFile {
    fn from(meta: ObjectMeta) -> Self {
        Self { size: meta.size, modified: meta.last_modified, e_tag: meta.e_tag }
    }
}

/// Where the commit of a version is, relative to the table.
pub(crate) fn commit_path(version: i64) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

/// Asks for the commit file of a version; `None` when there is none.
pub(crate) async fn head(place: &Place, version: i64) -> Result<Option<CommitFile>, LakeError> {
    match place.store.head(&commit_path(version)).await {
        Ok(meta) => Ok(Some(meta.into())),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(LakeError::store("look at the Delta log", place.text(), source)),
    }
}

/// Whether the commit file of a version was written with this commit id.
pub(crate) async fn is_ours(
    place: &Place,
    version: i64,
    commit_id: Uuid,
) -> Result<Option<bool>, object_store::Error> {
    let bytes = match place.store.get(&commit_path(version)).await {
        Ok(found) => found.bytes().await?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(source),
    };
    let id = commit_id.to_string();
    let ours = bytes.split(|byte| *byte == b'\n').any(|line| {
        let Ok(action) = serde_json::from_slice::<Value>(line) else { return false };
        action.pointer("/commitInfo/whimbrel/commitId").and_then(|v| v.as_str()) == Some(&id)
    });
    Ok(Some(ours))
}

/// All actions of one commit; `None` when its file is no longer there.
pub(crate) async fn actions(place: &Place, version: i64) -> Result<Option<Vec<Value>>, LakeError> {
    let failed = |source| LakeError::store("read the Delta log", place.text(), source);
    let bytes = match place.store.get(&commit_path(version)).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let actions = lines.map(serde_json::from_slice).collect::<Result<Vec<Value>, _>>();
    actions
        .map(Some)
        .map_err(|source| LakeError::BrokenLog { location: place.text(), source: Arc::new(source) })
}

/// The newest action of a kind in the commits that are still in the log, looked for from the newest
/// commit back, a bounded number of them. Lines that cannot be parsed are skipped.
pub(crate) async fn newest_action(place: &Place, kind: &str) -> Result<Option<Value>, LakeError> {
    const COMMITS_MAX: usize = 200;
    let failed = |source| LakeError::store("read the Delta log", place.text(), source);
    for (version, _) in commits(place).await?.iter().rev().take(COMMITS_MAX) {
        let bytes = match place.store.get(&commit_path(*version)).await {
            Ok(found) => found.bytes().await.map_err(failed)?,
            Err(object_store::Error::NotFound { .. }) => continue,
            Err(source) => return Err(failed(source)),
        };
        let action = bytes.split(|byte| *byte == b'\n').find_map(|line| {
            let mut action = serde_json::from_slice::<Value>(line).ok()?;
            action.get_mut(kind).map(Value::take)
        });
        if action.is_some() {
            return Ok(action);
        }
    }
    Ok(None)
}

/// Every commit that is still in the log, oldest first, with a time that never goes back.
pub(crate) async fn commits(place: &Place) -> Result<Vec<(i64, Timestamp)>, LakeError> {
    let folder = Path::from("_delta_log");
    let mut commits: Vec<(i64, Timestamp)> = place
        .store
        .list(Some(&folder))
        .try_filter_map(|meta| async move {
            let version = version_of(&folder_entry(&meta.location));
            Ok(version.map(|v| (v, Timestamp::from(meta.last_modified))))
        })
        .try_collect()
        .await
        .map_err(|source| LakeError::store("list the Delta log", place.text(), source))?;
    commits.sort_unstable();
    let mut before = i64::MIN;
    for (_, time) in &mut commits {
        before = time.as_micros().max(before.saturating_add(1));
        *time = Timestamp::from_micros(before);
    }
    Ok(commits)
}

/// Whether anything of a Delta log is there.
pub(crate) async fn exists(place: &Place) -> Result<bool, LakeError> {
    let folder = Path::from("_delta_log");
    let mut entries = place.store.list(Some(&folder));
    loop {
        let entry = match entries.try_next().await {
            Ok(entry) => entry,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(source) => {
                return Err(LakeError::store("list the Delta log", place.text(), source));
            }
        };
        let Some(meta) = entry else { return Ok(false) };
        let name = folder_entry(&meta.location);
        let is_checkpoint = name.contains(".checkpoint") && name.ends_with(".parquet");
        if is_checkpoint || version_of(&name).is_some() {
            return Ok(true);
        }
    }
}

/// The name of a file directly in `_delta_log`; empty for deeper ones.
fn folder_entry(location: &Path) -> String {
    let parts: Vec<_> = location.parts().collect();
    match parts.as_slice() {
        [.., folder, name] if folder.as_ref() == "_delta_log" => name.as_ref().to_owned(),
        _ => String::new(),
    }
}

pub(crate) fn version_of(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".json")?;
    let is_version = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    is_version.then(|| digits.parse().ok()).flatten()
}

/// Whether the commits after `from`, up to `to`, left all rows and the definition as they were: they
/// only put files together. Not when there are too many to look at, or one is no longer in the log.
pub(crate) async fn moved_only(place: &Place, from: i64, to: i64) -> Result<bool, LakeError> {
    const COMMITS_MAX: i64 = 100;
    if to - from > COMMITS_MAX {
        return Ok(false);
    }
    for version in from + 1..=to {
        let Some(actions) = actions(place, version).await? else { return Ok(false) };
        let stays = |action: &Value| {
            let file = action.get("add").or_else(|| action.get("remove"));
            let moved =
                file.is_some_and(|file| file.get("dataChange") == Some(&Value::Bool(false)));
            moved || action.get("commitInfo").is_some() || action.get("txn").is_some()
        };
        if !actions.iter().all(stays) {
            return Ok(false);
        }
    }
    Ok(true)
}
