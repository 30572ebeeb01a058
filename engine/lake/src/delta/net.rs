//! Which files hold the rows that came and went: what several commits did, without what they undid.
//!
//! There are two ways to tell. What each commit brought and took away is right whatever else was done
//! to the files, but needs files that are neither in the one version nor in the other. The files of
//! the two versions are always known, but differ also where files were only put together. The cheaper
//! one is taken, the first one also where it leaves out rows that were only copied; and the other one
//! where files of it are gone.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStoreExt, path::Path};
use serde_json::Value;

use super::{Change, told::Commit};
use crate::{
    data_files::DataFiles,
    deletion_vector::DeletionVector,
    error::LakeError,
    snapshot::Snapshot,
    stored_path::decoded,
    stored_rows::{Folder, Meant, StoredFile},
};

/// Files that are asked for at the same time.
const HEADS_AT_ONCE: usize = 64;

/// Data files of a version by their paths.
struct Known {
    files: Arc<DataFiles>,
    numbers: HashMap<Path, usize>,
    version: i64,
}

impl Known {
    fn new(snapshot: &Snapshot) -> Result<Self, LakeError> {
        let files = snapshot.data_files()?;
        let numbers = (0..files.len()).map(|file| Ok((files.path(file)?, file)));
        let numbers = numbers.collect::<Result<_, LakeError>>()?;
        Ok(Self { files, numbers, version: snapshot.version() })
    }
}

/// Two versions of a table and the commits between them.
pub(super) struct Net<'a> {
    folder: &'a Folder,
    from: Known,
    to: Known,
}

/// What happened to one path.
#[derive(Default)]
struct OfPath {
    added: Vec<StoredFile>,
    removed: Vec<StoredFile>,
}

impl<'a> Net<'a> {
    pub(super) fn new(
        folder: &'a Folder,
        from: &Snapshot,
        to: &Snapshot,
    ) -> Result<Self, LakeError> {
        Ok(Self { folder, from: Known::new(from)?, to: Known::new(to)? })
    }

    /// The files of the commits that only brought rows.
    pub(super) async fn appended(&self, commits: &[Commit]) -> Result<Vec<StoredFile>, LakeError> {
        let mut files = Vec::new();
        for commit in commits.iter().filter(|commit| commit.appends()) {
            for add in &commit.adds {
                files.push(self.file(add, commit.version)?);
            }
        }
        self.check_there(files.iter()).await?;
        Ok(files)
    }

    /// The files with the rows that came and went.
    pub(super) async fn change(&self, commits: &[Commit]) -> Result<Change, LakeError> {
        let by_versions = self.by_versions()?;
        let by_commits = self.by_commits(commits);
        let (first, second) = match by_commits {
            Ok(by_commits) if is_better(&by_commits, &by_versions) => {
                (by_commits, Some(by_versions))
            }
            Ok(by_commits) => (by_versions, Some(by_commits)),
            // A commit that cannot be understood leaves the other way.
            Err(_) => (by_versions, None),
        };
        let gone = match self.check_all_there(&first).await {
            Ok(()) => return Ok(first),
            Err(gone @ LakeError::FileGone { .. }) => gone,
            Err(error) => return Err(error),
        };
        let Some(second) = second else { return Err(gone) };
        self.check_all_there(&second).await.map_err(|_| gone)?;
        Ok(second)
    }

    /// A file as an action names it. What actions may leave out the versions know.
    fn file(&self, action: &Value, version: i64) -> Result<StoredFile, LakeError> {
        let known = action.get("path").and_then(Value::as_str).and_then(|path| {
            let path = Path::parse(decoded(path)).ok()?;
            [&self.from, &self.to].into_iter().find_map(|of| Some((of, *of.numbers.get(&path)?)))
        });
        let Some((of, file)) = known else { return self.folder.of_action(action, version) };
        let file = self.folder.of_version(&of.files, file, version)?;
        let has_vector = action.get("deletionVector").is_some_and(Value::is_object);
        match (has_vector, DeletionVector::of_action(action)) {
            (false, _) => Ok(file.with(Meant::All)),
            (true, Some(vector)) => Ok(file.with(Meant::Unmarked(vector))),
            (true, None) => self.folder.of_action(action, version),
        }
    }

    fn by_commits(&self, commits: &[Commit]) -> Result<Change, LakeError> {
        let mut paths: HashMap<Path, OfPath> = HashMap::new();
        let mut recorded = Vec::new();
        for commit in commits {
            if !commit.recorded.is_empty() {
                for file in &commit.recorded {
                    recorded.push(self.folder.of_action(file, commit.version)?);
                }
                continue;
            }
            for remove in &commit.removes {
                let file = self.file(remove, commit.version)?;
                let path = paths.entry(file.within.clone()).or_default();
                cancel(&mut path.added, &mut path.removed, file);
            }
            for add in &commit.adds {
                let file = self.file(add, commit.version)?;
                let path = paths.entry(file.within.clone()).or_default();
                cancel(&mut path.removed, &mut path.added, file);
            }
        }
        let mut change = Change { recorded, ..Change::default() };
        for OfPath { mut added, mut removed } in paths.into_values() {
            if added.len() == 1 && removed.len() == 1 {
                change.marked(removed.remove(0), added.remove(0));
            } else {
                change.came.append(&mut added);
                change.went.append(&mut removed);
            }
        }
        Ok(change)
    }

    fn by_versions(&self) -> Result<Change, LakeError> {
        let mut change = Change::default();
        let of =
            |known: &Known, file: usize| self.folder.of_version(&known.files, file, known.version);
        for (path, old) in &self.from.numbers {
            match self.to.numbers.get(path) {
                None => change.went.push(of(&self.from, *old)?),
                Some(new) => {
                    let (before, after) = (of(&self.from, *old)?, of(&self.to, *new)?);
                    if !before.means_the_same(&after) {
                        change.marked(before, after);
                    }
                }
            }
        }
        for (path, new) in &self.to.numbers {
            if !self.from.numbers.contains_key(path) {
                change.came.push(of(&self.to, *new)?);
            }
        }
        Ok(change)
    }

    async fn check_all_there(&self, change: &Change) -> Result<(), LakeError> {
        self.check_there(change.came.iter().chain(&change.went).chain(&change.recorded)).await
    }

    /// Fails on a file that is no longer there. Those of the newer version are taken to be.
    async fn check_there(&self, files: impl Iterator<Item = &StoredFile>) -> Result<(), LakeError> {
        let place = &self.folder.place;
        let look = |file: &StoredFile| {
            let (within, version) = (file.within.clone(), file.version);
            async move {
                match place.store.head(&within).await {
                    Ok(_) => Ok(()),
                    Err(object_store::Error::NotFound { .. }) => Err(LakeError::FileGone {
                        location: place.text(),
                        version,
                        file: within.to_string(),
                    }),
                    Err(source) => {
                        Err(LakeError::store("look at a data file", place.text(), source))
                    }
                }
            }
        };
        let looks: Vec<_> =
            files.filter(|file| !self.to.numbers.contains_key(&file.within)).map(look).collect();
        stream::iter(looks).buffer_unordered(HEADS_AT_ONCE).try_collect().await
    }
}

impl Change {
    /// Rows of a file are marked that were not, or the other way round.
    fn marked(&mut self, before: StoredFile, after: StoredFile) {
        let (old, new) = (before.vector().cloned(), after.vector().cloned());
        if let Some(new) = &new {
            self.went.push(before.with(Meant::Marked(new.clone(), old.clone())));
        }
        if let Some(old) = old {
            self.came.push(after.with(Meant::Marked(old, new)));
        }
    }
}

/// Whether what commits tell is less to read, or tells rows that changed from those that were only
/// copied: whoever works with the rows saves more by that than by a few bytes.
fn is_better(by_commits: &Change, by_versions: &Change) -> bool {
    const WORTH: u64 = 4;
    const SMALL: u64 = 1 << 16;
    let copies_nothing = by_commits.went.iter().all(StoredFile::is_part);
    if copies_nothing && !by_commits.recorded.is_empty() {
        return by_commits.bytes() <= by_versions.bytes().saturating_mul(WORTH) + SMALL;
    }
    by_commits.bytes() < by_versions.bytes()
}

/// Takes away an equal file of the opposite, and notes the file where there is none.
fn cancel(opposite: &mut Vec<StoredFile>, own: &mut Vec<StoredFile>, file: StoredFile) {
    match opposite.iter().position(|other| other.means_the_same(&file)) {
        Some(at) => drop(opposite.remove(at)),
        None => own.push(file),
    }
}
