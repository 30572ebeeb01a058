//! The folder of what this process spills; and an end to what others left behind that were killed.
//!
//! Several servers may share `query.spill_dir`, so each has a folder in it, which it holds locked for as
//! long as it lives: a folder that nobody holds is nobody's. The lock is the system's, and goes with
//! the process, however that ends.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::error::QueryError;

/// Folders of processes are called so, with an id behind it; whatever else is there stays.
const PREFIX: &str = "process-";

/// The folder of this process. Dropped, it goes with all that is in it.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    /// Held, and nothing else.
    _lock: File,
}

impl SpillFolder {
    /// Makes one in `spill_dir`, which is made too when it is not there, and deletes the folders of
    /// processes that are no more.
    pub(crate) fn make(spill_dir: &Path) -> Result<Self, QueryError> {
        let failed = |error: io::Error| {
            let folder = spill_dir.display();
            QueryError::Invalid(format!("the spill folder {folder} cannot be used: {error}"))
        };
        fs::create_dir_all(spill_dir).map_err(failed)?;
        sweep(spill_dir);
        let id = Uuid::new_v4().simple();
        // It has its name when it is held: before, another process would take it for left behind.
        let unheld = spill_dir.join(format!("new-{id}"));
        fs::create_dir(&unheld).map_err(failed)?;
        let lock = File::open(&unheld).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let path = spill_dir.join(format!("{PREFIX}{id}"));
        fs::rename(&unheld, &path).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What cannot be deleted now is deleted by the next process that starts.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Deletes what nobody holds.
fn sweep(spill_dir: &Path) {
    let Ok(entries) = fs::read_dir(spill_dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let is_left = File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok());
        if !is_left {
            continue;
        }
        match fs::remove_dir_all(&path) {
            Ok(()) => {
                tracing::info!(folder = %path.display(), "deleted what a process that ended had spilled")
            }
            Err(error) => {
                tracing::warn!(folder = %path.display(), %error, "what a process that ended had spilled stays");
            }
        }
    }
}

#[cfg(test)]
mod tests;
