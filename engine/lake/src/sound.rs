//! Whether what a version is loaded from is whole.
//!
//! The library takes a commit without a byte for one that did nothing, and whatever a checkpoint has
//! for all there is: the rows that are missing then are missed by nobody, and the next commit comes on
//! top. So, while a table is loaded, the sizes of its commits are looked at, and its checkpoint is
//! compared with what `_last_checkpoint` says of it. The checkpoint is not read for it: where its size
//! is as said all is well, and else its footers tell how much is in it.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};
use parquet::file::metadata::ParquetMetaData;
use serde::Deserialize;

use crate::{error::LakeError, location::Place, log, parquet_object::ParquetObject};

/// Parts of a checkpoint whose footers are read at the same time.
const FOOTERS_AT_ONCE: usize = 16;

/// What `_last_checkpoint` says, as far as it can be compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hint {
    version: i64,
    /// Actions in it.
    size: Option<i64>,
    /// Files that it is made of; `None` for one.
    parts: Option<u64>,
    size_in_bytes: Option<u64>,
    num_of_add_files: Option<i64>,
    /// Said of those of the second kind, whose files are named and counted in other ways.
    v2_checkpoint: Option<serde_json::Value>,
}

/// The log of a table as it is listed: its last checkpoint and what came since.
#[derive(Debug)]
pub(crate) struct Listed {
    hint: Option<Hint>,
    /// The files of that checkpoint.
    checkpoint: Vec<ObjectMeta>,
    /// Commits since without a byte.
    empty: Vec<i64>,
}

impl Listed {
    /// Lists the log from the last checkpoint on.
    pub(crate) async fn of(place: &Place) -> Result<Self, LakeError> {
        let hint = hint(place).await?;
        let first = hint.as_ref().map_or(0, |hint| hint.version);
        let failed = |source| LakeError::store("list the Delta log", place.text(), source);
        let before = Path::from(format!("_delta_log/{first:020}"));
        let mut listed = Self { hint, checkpoint: Vec::new(), empty: Vec::new() };
        let mut entries = place.store.list_with_offset(Some(&Path::from("_delta_log")), &before);
        loop {
            match entries.try_next().await {
                Ok(Some(meta)) => listed.add(meta),
                Ok(None) | Err(object_store::Error::NotFound { .. }) => return Ok(listed),
                Err(source) => return Err(failed(source)),
            }
        }
    }

    fn add(&mut self, meta: ObjectMeta) {
        let version = meta.location.filename().and_then(log::version_of);
        match (version, &self.hint) {
            (Some(version), _) if meta.size == 0 => self.empty.push(version),
            (None, Some(hint)) if hint.names(&meta.location) => self.checkpoint.push(meta),
            _ => {}
        }
    }

    /// Fails where the version was loaded from something that is not whole.
    pub(crate) async fn check(&self, place: &Place, version: i64) -> Result<(), LakeError> {
        // What an older version was loaded from is not told.
        let Some(hint) = &self.hint else { return self.no_empty_commit(place, -1, version) };
        if hint.version > version {
            return Ok(());
        }
        self.no_empty_commit(place, hint.version, version)?;
        let is_told = hint.v2_checkpoint.is_none() && self.checkpoint.len() == hint.files();
        let size: u64 = self.checkpoint.iter().map(|meta| meta.size).sum();
        if !is_told || hint.size_in_bytes == Some(size) {
            return Ok(());
        }
        let footers: Vec<_> = stream::iter(self.checkpoint.clone())
            .map(|meta| {
                let store = Arc::clone(&place.store);
                ParquetObject { store, path: meta.location, size: meta.size }.footer()
            })
            .buffered(FOOTERS_AT_ONCE)
            .try_collect()
            .await
            .map_err(|error| LakeError::failed("read a checkpoint", place.text(), error))?;
        match hint.differs(&footers) {
            Some(why) => {
                let (location, version) = (place.text(), hint.version);
                Err(LakeError::WrongCheckpoint { location, version, why })
            }
            None => Ok(()),
        }
    }

    fn no_empty_commit(&self, place: &Place, after: i64, to: i64) -> Result<(), LakeError> {
        match self.empty.iter().find(|version| (after + 1..=to).contains(*version)) {
            Some(version) => Err(empty_commit(place, *version)),
            None => Ok(()),
        }
    }
}

/// What a commit without a byte means.
pub(crate) fn empty_commit(place: &Place, version: i64) -> LakeError {
    LakeError::EmptyCommit { location: place.text(), version }
}

/// What `_last_checkpoint` says; `None` where it is not there or says nothing that is understood: it
/// is a hint, and readers go on without.
async fn hint(place: &Place) -> Result<Option<Hint>, LakeError> {
    let failed = |source| LakeError::store("read the Delta log", place.text(), source);
    let bytes = match place.store.get(&Path::from("_delta_log/_last_checkpoint")).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    Ok(serde_json::from_slice(&bytes).ok())
}

impl Hint {
    fn files(&self) -> usize {
        self.parts.and_then(|parts| usize::try_from(parts).ok()).unwrap_or(1)
    }

    fn names(&self, path: &Path) -> bool {
        let Some(name) = path.filename() else { return false };
        let Some(rest) = name.strip_prefix(&format!("{:020}.checkpoint.", self.version)) else {
            return false;
        };
        match self.parts {
            None => rest == "parquet",
            Some(parts) => rest.ends_with(&format!(".{parts:010}.parquet")),
        }
    }

    /// In what the checkpoint is not what this says. Files of the table count, where both tell of
    /// them: of other actions two writers of one checkpoint may have written different ones.
    fn differs(&self, footers: &[Arc<ParquetMetaData>]) -> Option<String> {
        // One of the second kind by a plain name: its files are in sidecars.
        if footers.iter().any(|footer| values(footer, "sidecar.path").is_some_and(|some| some > 0))
        {
            return None;
        }
        let adds = footers.iter().map(|footer| values(footer, "add.path")).sum::<Option<i64>>();
        if let (Some(told), Some(adds)) = (self.num_of_add_files, adds) {
            return (told != adds).then(|| format!("it has {adds} of {told} files of the table"));
        }
        let actions: i64 = footers.iter().map(|footer| footer.file_metadata().num_rows()).sum();
        let told = self.size.filter(|told| *told != actions)?;
        Some(format!("it has {actions} of {told} actions"))
    }
}

/// Values of a column that are not NULL, as far as the footer tells.
fn values(footer: &ParquetMetaData, column: &str) -> Option<i64> {
    let of_group = |group: &parquet::file::metadata::RowGroupMetaData| {
        let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == column)?;
        let nulls = chunk.statistics()?.null_count_opt()?;
        Some(group.num_rows() - i64::try_from(nulls).ok()?)
    };
    footer.row_groups().iter().map(of_group).sum()
}
