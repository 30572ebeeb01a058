//! Keeps a folder of `.sql` files applied for as long as the server runs.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use catalog::Catalog;
use model::{principal::Principal, time::Timestamp};
use query::{queries::Queries, session::Session};
use refresh::folder::{self, ChangeKind, SourceFile};
use rt::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::client::read_folder;

/// A folder that could not be applied is tried again after this long, even when no file changed:
/// what it lacked may be there by then.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// A folder that is kept applied.
pub(super) struct FolderWatch {
    pub(super) folder: PathBuf,
    pub(super) every: Duration,
    pub(super) queries: Queries,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) clock: Arc<dyn Clock>,
}

impl FolderWatch {
    /// Looks at the folder until `stop`. Errors are logged, and the server lives on.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut memory = Memory::default();
        tracing::info!(folder = %self.folder.display(), "keeping transforms as the folder has them");
        loop {
            self.look(&mut memory).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(self.every) => {}
            }
        }
    }

    async fn look(&self, memory: &mut Memory) {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || read(&folder)).await;
        let state = match read {
            Ok(Ok(files)) => State::Files { fingerprint: fingerprint(&files), files },
            Ok(Err(error)) => State::Unreadable(error),
            Err(error) => State::Unreadable(error.to_string()),
        };
        match memory.decide(&state, self.clock.now()) {
            Decision::Rest => {}
            Decision::Complain => {
                if let State::Unreadable(error) = &state {
                    tracing::error!(folder = %self.folder.display(), error, "read the transforms");
                }
            }
            Decision::Apply => {
                let State::Files { files, .. } = state else { return };
                let applied = self.apply(&files).await;
                memory.tried(applied, self.clock.now());
            }
        }
    }

    async fn apply(&self, files: &[SourceFile]) -> Applied {
        let session = Session::new(Principal::folder());
        match folder::apply(&session, &self.queries, self.catalog.as_ref(), files).await {
            Ok(applied) => {
                let changed = |kind| applied.plan.changes.iter().filter(|c| c.kind == kind).count();
                tracing::info!(
                    folder = %self.folder.display(),
                    files = files.len(),
                    added = changed(ChangeKind::Added),
                    changed = changed(ChangeKind::Changed),
                    removed = changed(ChangeKind::Removed),
                    jobs = applied.jobs.len(),
                    "transforms applied"
                );
                Applied::Well
            }
            Err(error) => {
                let hint = error.hint();
                tracing::error!(folder = %self.folder.display(), %error, hint, "apply the transforms");
                Applied::Badly
            }
        }
    }
}

fn read(folder: &Path) -> Result<Vec<SourceFile>, String> {
    let files = read_folder(folder).map_err(|error| error.to_string())?;
    Ok(files.into_iter().map(|(path, text)| SourceFile { path, text }).collect())
}

fn fingerprint(files: &[SourceFile]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        (&file.path, &file.text).hash(&mut hasher);
    }
    hasher.finish()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Files { fingerprint: u64, files: Vec<SourceFile> },
    Unreadable(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// Nothing is new.
    Rest,
    /// The folder has just become unreadable.
    Complain,
    /// Make it so.
    Apply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applied {
    Well,
    Badly,
}

/// What was seen and tried last.
#[derive(Debug, Default)]
struct Memory {
    tried: Option<u64>,
    failed_at: Option<Timestamp>,
    complaint: Option<String>,
}

impl Memory {
    fn decide(&mut self, state: &State, now: Timestamp) -> Decision {
        let fingerprint = match state {
            State::Files { fingerprint, .. } => *fingerprint,
            State::Unreadable(error) => {
                let is_new = self.complaint.as_ref() != Some(error);
                self.complaint = Some(error.clone());
                return if is_new { Decision::Complain } else { Decision::Rest };
            }
        };
        self.complaint = None;
        let changed = self.tried != Some(fingerprint);
        let retry = self.failed_at.is_some_and(|failed_at| now.since(failed_at) >= RETRY_AFTER);
        if !(changed || retry) {
            return Decision::Rest;
        }
        self.tried = Some(fingerprint);
        Decision::Apply
    }

    fn tried(&mut self, applied: Applied, now: Timestamp) {
        self.failed_at = match applied {
            Applied::Well => None,
            Applied::Badly => Some(now),
        };
    }
}

#[cfg(test)]
mod tests;
