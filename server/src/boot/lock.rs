//! One server at a time for a catalog in a file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use super::{BootError, catalog_url::CatalogUrl};

/// Held for as long as the server lives; the operating system gives it back whatever happens.
#[derive(Debug)]
pub(super) struct CatalogLock {
    _file: File,
}

impl CatalogLock {
    /// Takes the lock of the catalog that the URL names; a catalog that several servers may share
    /// has none. [`BootError::Locked`] when somebody has it.
    pub(super) fn take(url: &str) -> Result<Option<Self>, BootError> {
        match CatalogUrl::parse(url)? {
            CatalogUrl::Sqlite(path) => Self::take_beside(&path).map(Some),
            CatalogUrl::Memory | CatalogUrl::Postgres(_) => Ok(None),
        }
    }

    fn take_beside(catalog: &Path) -> Result<Self, BootError> {
        let mut path = catalog.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let refused = |source| BootError::Lock { path: path.display().to_string(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(refused)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Some systems keep even readers out; then there is nothing to tell.
                let _ = file.read_to_string(&mut holder);
                return Err(BootError::Locked { path: catalog.display().to_string(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        let holder = format!(" (process {})", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(refused)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_server_is_told_who_has_the_catalog() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("new/c.sqlite").display());
        let held = CatalogLock::take(&url).unwrap();
        let error = CatalogLock::take(&url).unwrap_err().to_string();
        assert!(error.contains("c.sqlite"), "{error}");
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        CatalogLock::take(&url).unwrap();
    }

    #[test]
    fn shared_catalogs_have_no_lock() {
        assert!(CatalogLock::take("sqlite::memory:").unwrap().is_none());
        assert!(CatalogLock::take("postgres://h/d").unwrap().is_none());
    }
}
