//! Goes back to an older version of a table, as a new version.

use std::{collections::HashSet, sync::Arc};

use deltalake_core::{kernel::Add, protocol::DeltaOperation};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use serde_json::{Map, json};

use crate::{
    commit::{CommitInfo, Committed},
    edit::{Edit, Meanwhile},
    elsewhere::Whereabouts,
    error::LakeError,
    lake::Lake,
    protocol::{check_writable, is_append_only},
    snapshot::{At, Snapshot},
    stage::{Effect, StageProgress, Staged},
};

const FILES_AT_ONCE: usize = 32;

/// What a restore did.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The commit.
    pub committed: Committed,
    /// Files that came back.
    pub restored_files: usize,
    /// Files that went.
    pub removed_files: usize,
}

impl Lake {
    /// Makes rows, columns and properties what they were. Versions in between stay readable.
    /// `None` when the table is that version already. Fails before anything happens when a file of the
    /// old version is no longer there.
    pub async fn restore(&self, location: &str, to: At) -> Result<Option<Restored>, LakeError> {
        let place = self.place(location)?;
        let now = self.cache().fresh(&place).await?;
        let old = self.snapshot(location, to).await?;
        if old.version() == now.version() {
            return Ok(None);
        }
        check_writable(&now)?;
        if is_append_only(&now) {
            return Err(LakeError::AppendOnly { location: place.text() });
        }
        let (wanted, there) = (adds(&old)?, adds(&now)?);
        let paths = |adds: &[Add]| -> HashSet<(String, Option<String>)> {
            adds.iter().map(|add| (add.path.clone(), vector(add))).collect()
        };
        let (wanted_paths, there_paths) = (paths(&wanted), paths(&there));
        let coming: Vec<Add> = wanted
            .into_iter()
            .filter(|add| !there_paths.contains(&(add.path.clone(), vector(add))))
            .map(|add| Add { data_change: true, ..add })
            .collect();
        let files = now.data_files()?;
        let removes: Vec<_> = there
            .iter()
            .enumerate()
            .filter(|(_, add)| !wanted_paths.contains(&(add.path.clone(), vector(add))))
            .map(|(file, _)| files.remove(file, true))
            .collect();
        self.all_there(&old, &coming).await?;
        let (restored_files, removed_files) = (coming.len(), removes.len());
        let same_metadata = old.state().metadata() == now.state().metadata();
        let edit = Edit {
            named: None,
            operation: DeltaOperation::Restore {
                version: u64::try_from(old.version()).ok(),
                datetime: None,
            },
            removes,
            feed: Vec::new(),
            metadata: (!same_metadata).then(|| old.state().metadata().clone()),
            // Features stay: files of versions in between may need them.
            protocol: None,
            metrics: [
                ("numRestoredFiles".to_owned(), json!(restored_files.to_string())),
                ("numRemovedFiles".to_owned(), json!(removed_files.to_string())),
            ]
            .into_iter()
            .collect(),
            parameters: Map::new(),
            meanwhile: Meanwhile::Nothing,
        };
        let progress = Arc::new(StageProgress::default());
        let area = self.staging_area(&place, progress);
        let staged = Staged {
            place,
            effect: Effect::Edit(Box::new(edit)),
            schema: old.schema(),
            base: Some(now),
            adds: coming,
            rows: 0,
            area,
        };
        let committed = self.commit(staged, CommitInfo::default()).await?;
        Ok(Some(Restored { committed, restored_files, removed_files }))
    }

    /// Fails with [`LakeError::FilesGone`] when a file of a version of a table, one that the newest
    /// version does not have, is no longer there. Files outside of the table's folder are not looked
    /// for.
    pub async fn look_for_files(&self, location: &str, version: i64) -> Result<(), LakeError> {
        let place = self.place(location)?;
        let now = self.cache().fresh(&place).await?;
        let old = self.snapshot(location, At::Version(version)).await?;
        let there: HashSet<String> = adds(&now)?.into_iter().map(|add| add.path).collect();
        let mut wanted = Vec::new();
        for add in adds(&old)?.into_iter().filter(|add| !there.contains(&add.path)) {
            if let Whereabouts::Within(_) = Whereabouts::certain(&place, &add.path)? {
                wanted.push(add);
            }
        }
        self.all_there(&old, &wanted).await
    }

    async fn all_there(&self, old: &Snapshot, files: &[Add]) -> Result<(), LakeError> {
        let place = self.place(old.location())?;
        let place = &place;
        let paths: Vec<String> = files.iter().map(|add| add.path.clone()).collect();
        let missing: Vec<Option<String>> = stream::iter(paths)
            .map(|file| async move {
                let Whereabouts::Within(path) = Whereabouts::certain(place, &file)? else {
                    return Err(LakeError::Unsupported {
                        location: place.text(),
                        feature: "data files outside of the table's folder (shallow clone)"
                            .to_owned(),
                        access: "restore",
                    });
                };
                match place.store.head(&path).await {
                    Ok(_) => Ok(None),
                    Err(object_store::Error::NotFound { .. }) => Ok(Some(file)),
                    Err(source) => {
                        Err(LakeError::store("look at a data file", place.text(), source))
                    }
                }
            })
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let mut missing = missing.into_iter().flatten();
        let Some(first) = missing.next() else { return Ok(()) };
        Err(LakeError::FilesGone {
            location: place.text(),
            version: old.version(),
            first,
            more: missing.count(),
        })
    }
}

#[expect(deprecated, reason = "the library offers no other way back to the action")]
fn adds(snapshot: &Snapshot) -> Result<Vec<Add>, LakeError> {
    let files = snapshot.state().snapshot().try_log_data();
    let files = files.map_err(|error| LakeError::BrokenLog {
        location: snapshot.location().to_owned(),
        source: Arc::new(error),
    })?;
    Ok(files.iter().map(|file| file.add_action()).collect())
}

fn vector(add: &Add) -> Option<String> {
    add.deletion_vector.as_ref().map(|vector| vector.path_or_inline_dv.clone())
}
