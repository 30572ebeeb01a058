//! Deletes data files that no version within the retention needs.
//!
//! What must stay is collected first, generously: the files of the newest version, of every version
//! that something in this process still reads, of changes that it reads, of pinned versions, those that
//! were taken away within the retention, and those that statements are writing. Everything else may go.

use std::{
    collections::{BTreeSet, HashSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use deltalake_core::kernel::EagerSnapshot;
use futures::{StreamExt, TryStreamExt, stream};
use model::time::Timestamp;
use object_store::{ObjectStoreExt, path::Path};
use serde_json::{Value, json};

use crate::{
    commit::checkpoint_if_missing,
    deletion_vector::DeletionVector,
    elsewhere::Whereabouts,
    error::LakeError,
    faults::{crash_point, pause_point},
    feed::FEED_FOLDER,
    lake::Lake,
    location::Place,
    log,
    log_cleanup::Least,
    protocol::{check_writable, interval},
    snapshot::Snapshot,
    stored_path::decoded,
};

const RETENTION: &str = "delta.deletedFileRetentionDuration";
const RETENTION_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const COMMITS_AT_ONCE: usize = 16;

/// Which files a vacuum looks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacuum {
    /// Every file in the table's folder, not only those that the log says were taken away.
    pub full: bool,
    /// How long a file stays after it was taken away. Not below the table's
    /// `delta.deletedFileRetentionDuration`, 7 days where it has none.
    pub retain: Option<Duration>,
    /// Nothing is deleted.
    pub dry_run: bool,
    /// Versions whose files stay whatever their age.
    pub keep: Vec<i64>,
}

/// What a vacuum deleted, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Paths in the table's folder, sorted.
    pub files: Vec<String>,
    /// Their bytes, where they are known.
    pub bytes: u64,
    /// Files of the log that had expired.
    pub log_files: u64,
    /// Folders in the table's own that are tables themselves; their files were left alone. Sorted.
    pub tables: Vec<String>,
}

/// How far a vacuum is.
#[derive(Debug, Default)]
pub struct VacuumProgress {
    /// Files that were deleted.
    pub deleted: AtomicU64,
    /// Files that are to be; 0 until they are known.
    pub expected: AtomicU64,
}

impl Vacuum {
    /// Refuses tables whose files nobody here may delete, and a retention that is too short.
    pub fn check(&self, table: &Snapshot) -> Result<(), LakeError> {
        check_writable(table)?;
        cutoff(table, self).map(|_| ())
    }
}

impl Lake {
    /// Deletes files that nobody needs and the log's expired entries, and writes a checkpoint of the
    /// newest version if there is none. What was deleted when it fails or is cancelled stays deleted:
    /// no version within the retention notices.
    pub async fn vacuum(&self, location: &str, vacuum: &Vacuum) -> Result<Vacuumed, LakeError> {
        self.vacuum_counted(location, vacuum, &VacuumProgress::default()).await
    }

    /// As [`Lake::vacuum`], for those who want to know how far it is.
    pub async fn vacuum_counted(
        &self,
        location: &str,
        vacuum: &Vacuum,
        progress: &VacuumProgress,
    ) -> Result<Vacuumed, LakeError> {
        let place = self.place(location)?;
        let writers = self.writers(&place);
        let no_commit_meanwhile = writers.turn.lock().await;
        let newest = self.cache().fresh(&place).await?;
        vacuum.check(&newest)?;
        let cutoff = cutoff(&newest, vacuum)?;
        let mut kept = HashSet::new();
        needed(&place, newest.held_version(), &mut kept)?;
        self.cache().forget_older(&place);
        for alive in self.cache().alive(&place) {
            needed(&place, &alive, &mut kept)?;
        }
        for version in &vacuum.keep {
            match self.cache().version(&place, *version).await {
                Ok(pinned) => needed(&place, pinned.held_version(), &mut kept)?,
                // Nobody can read it any more, so nobody misses its files.
                Err(LakeError::VersionExpired { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        kept.extend(self.held().of(&place));
        kept.extend(self.staged_files(&place));
        let removed = removed_files(&place).await?;
        let (recent, old): (Vec<_>, Vec<_>) =
            removed.into_iter().partition(|gone| gone.removed_at >= cutoff);
        kept.extend(recent.into_iter().flat_map(|gone| [gone.path, gone.vector]).flatten());
        let mut tables = BTreeSet::new();
        let found = if vacuum.full {
            all_files(&place, cutoff, &mut tables).await?
        } else {
            old.into_iter().filter_map(|gone| Some((gone.path?, gone.size))).collect()
        };
        let mut gone: Vec<(Path, u64)> =
            found.into_iter().filter(|(path, _)| !kept.contains(path)).collect();
        gone.sort();
        gone.dedup_by(|a, b| a.0 == b.0);
        if !vacuum.full {
            gone = still_there(&place, gone).await?;
        }
        let mut log_files = 0;
        if !vacuum.dry_run {
            progress.expected.fetch_add(gone.len() as u64, Ordering::Relaxed);
            delete(&place, gone.iter().map(|(path, _)| path.clone()).collect(), progress).await?;
            drop(no_commit_meanwhile);
            // After the files, which are found by the entries.
            log_files = self.clean_log(&newest, &vacuum.keep, Least::Anything).await?;
            // What this one lets go waits for the next time, so that few entries are the least that stay.
            checkpoint_if_missing(&place, &newest).await;
        }
        Ok(Vacuumed {
            bytes: gone.iter().map(|(_, size)| size).sum(),
            files: gone.into_iter().map(|(path, _)| path.to_string()).collect(),
            log_files,
            tables: tables.into_iter().map(String::from).collect(),
        })
    }
}

impl Snapshot {
    /// How long files stay at least after they were taken away.
    #[must_use]
    pub fn deleted_files_stay(&self) -> Duration {
        retention(self)
    }
}

/// How long files stay after they were taken away.
pub(crate) fn retention(table: &Snapshot) -> Duration {
    match table.properties().get(RETENTION) {
        Some(text) => interval(text).unwrap_or(RETENTION_DEFAULT),
        None => RETENTION_DEFAULT,
    }
}

fn cutoff(table: &Snapshot, vacuum: &Vacuum) -> Result<Timestamp, LakeError> {
    let least = retention(table);
    let retain = vacuum.retain.unwrap_or(least);
    if retain < least {
        return Err(LakeError::Property {
            location: table.location().to_owned(),
            key: RETENTION.to_owned(),
            why: format!(
                "keeps files for {} hours, and a shorter RETAIN would break readers of older versions; \
                 lower it first with ALTER TABLE … SET TBLPROPERTIES",
                least.as_secs() / 3600,
            ),
        });
    }
    let now = rt::clock::Clock::now(&rt::clock::SystemClock).as_micros();
    let retain = i64::try_from(retain.as_micros()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_micros(now.saturating_sub(retain)))
}

fn broken(place: &Place, error: impl std::error::Error + Send + Sync + 'static) -> LakeError {
    LakeError::BrokenLog { location: place.text(), source: std::sync::Arc::new(error) }
}

/// Notes the files in the table's folder that a version cannot be read without. Fails where one is
/// named in a way that nobody knows where it is.
fn needed(
    place: &Place,
    version: &EagerSnapshot,
    kept: &mut HashSet<Path>,
) -> Result<(), LakeError> {
    let files = version.try_log_data().map_err(|error| broken(place, error))?;
    for file in files.iter() {
        kept.insert(file.object_store_path());
        if let Whereabouts::Within(path) = Whereabouts::certain(place, &file.path())? {
            kept.insert(path);
        }
        if let Some(vector) = file.deletion_vector_descriptor() {
            kept.extend(vector_of(place, &json!({ "deletionVector": vector }))?);
        }
    }
    Ok(())
}

/// Where the marked rows of the file of an action are, in the table's folder.
fn vector_of(place: &Place, action: &Value) -> Result<Option<Path>, LakeError> {
    let Some(told) = action.get("deletionVector").filter(|told| !told.is_null()) else {
        return Ok(None);
    };
    let vector = DeletionVector::of_action(action).ok_or_else(|| LakeError::FileUnresolved {
        location: place.text(),
        file: told.to_string(),
    })?;
    vector.certain_path(place)
}

/// A file that a commit took away.
struct Removed {
    /// `None` for one that is elsewhere, and belongs to another table.
    path: Option<Path>,
    /// Where its marked rows are.
    vector: Option<Path>,
    size: u64,
    removed_at: Timestamp,
}

/// The files that commits in the log took away.
async fn removed_files(place: &Place) -> Result<Vec<Removed>, LakeError> {
    let commits = log::commits(place).await?;
    let removed: Vec<Vec<_>> = stream::iter(commits)
        .map(|(version, committed_at)| async move {
            let actions = log::actions(place, version).await?.unwrap_or_default();
            let removed = actions.iter().filter_map(|action| action.get("remove"));
            let removed = removed.map(|remove| removed_file(place, remove, committed_at));
            removed.collect::<Result<Vec<_>, _>>()
        })
        .buffered(COMMITS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(removed.into_iter().flatten().flatten().collect())
}

fn removed_file(
    place: &Place,
    remove: &Value,
    committed_at: Timestamp,
) -> Result<Option<Removed>, LakeError> {
    let Some(path) = remove.get("path").and_then(Value::as_str) else { return Ok(None) };
    let path = match Whereabouts::certain(place, &decoded(path))? {
        Whereabouts::Within(path) => Some(path),
        Whereabouts::Elsewhere => None,
    };
    let millis = remove.get("deletionTimestamp").and_then(Value::as_i64);
    let removed_at =
        millis.map_or(committed_at, |millis| Timestamp::from_micros(millis.saturating_mul(1000)));
    let size = remove.get("size").and_then(Value::as_u64).unwrap_or(0);
    Ok(Some(Removed { path, vector: vector_of(place, remove)?, size, removed_at }))
}

/// Whether the file, or a folder that it is in, has a name that is not that of data: one that begins
/// with `_` or `.`, except folders of partitions.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.parts().any(|part| {
        let part = part.as_ref();
        (part.starts_with('_') || part.starts_with('.')) && !part.contains('=')
    })
}

/// Every data file in the table's folder that was written before a time. Folders that have a log of
/// their own are other tables: they are noted, and their files left out.
async fn all_files(
    place: &Place,
    before: Timestamp,
    tables: &mut BTreeSet<Path>,
) -> Result<Vec<(Path, u64)>, LakeError> {
    let failed = |source| LakeError::store("list the table's files", place.text(), source);
    let mut files = Vec::new();
    let mut listed = place.store.list(None);
    while let Some(meta) = listed.try_next().await.map_err(failed)? {
        tables.extend(table_within(&meta.location));
        let is_feed = meta.location.prefix_matches(&Path::from(FEED_FOLDER));
        if (is_feed || !is_hidden(&meta.location)) && Timestamp::from(meta.last_modified) < before {
            files.push((meta.location, meta.size));
        }
    }
    files.retain(|(file, _)| !tables.iter().any(|table| file.prefix_matches(table)));
    if !tables.is_empty() {
        let tables = tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(location = %place.url, tables, "VACUUM leaves tables within the table alone");
    }
    Ok(files)
}

/// The folder below the table's own whose log a file is of.
fn table_within(file: &Path) -> Option<Path> {
    let parts: Vec<_> = file.parts().collect();
    let log = parts.iter().position(|part| part.as_ref() == "_delta_log").filter(|at| *at > 0)?;
    (log + 1 < parts.len()).then(|| parts.into_iter().take(log).collect())
}

async fn still_there(
    place: &Place,
    files: Vec<(Path, u64)>,
) -> Result<Vec<(Path, u64)>, LakeError> {
    let found: Vec<Option<(Path, u64)>> = stream::iter(files)
        .map(|(path, _)| async move {
            match place.store.head(&path).await {
                Ok(meta) => Ok(Some((path, meta.size))),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(source) => Err(LakeError::store("look at a data file", place.text(), source)),
            }
        })
        .buffered(COMMITS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

async fn delete(
    place: &Place,
    files: Vec<Path>,
    progress: &VacuumProgress,
) -> Result<(), LakeError> {
    pause_point("deleting").await;
    let mut deleted = place.store.delete_stream(stream::iter(files.into_iter().map(Ok)).boxed());
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                progress.deleted.fetch_add(1, Ordering::Relaxed);
                crash_point("deleting");
            }
            Err(source) => {
                return Err(LakeError::store("delete a data file", place.text(), source));
            }
        }
    }
    Ok(())
}
