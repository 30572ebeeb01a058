//! A change to a table that is there: files go and come, or its definition changes.
//!
//! It says itself what others may have done meanwhile, so that whoever comes second is let through
//! only where the result is what one after the other would have given.

use std::{collections::HashSet, sync::Arc};

use deltalake_core::{
    kernel::{AddCDCFile, Metadata, Protocol, Remove},
    protocol::DeltaOperation,
};
use serde_json::{Map, Value};

use crate::{
    entry::same_definition, error::LakeError, location::Place, log, protocol::is_serializable,
    snapshot::Snapshot, stage::Staged, stored_path::decoded,
};

/// What a commit does besides adding the staged files.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// For the history.
    pub(crate) operation: DeltaOperation,
    /// Its name in the history where that of `operation` is another.
    pub(crate) named: Option<&'static str>,
    /// Parameters of the operation that the library does not know, for the history.
    pub(crate) parameters: Map<String, Value>,
    /// Files that go.
    pub(crate) removes: Vec<Remove>,
    /// Files with the rows that changed, for those who follow the table.
    pub(crate) feed: Vec<AddCDCFile>,
    /// The table's new definition.
    pub(crate) metadata: Option<Metadata>,
    /// The table's new features.
    pub(crate) protocol: Option<Protocol>,
    /// For the history.
    pub(crate) metrics: Map<String, Value>,
    /// What others may have committed since the version that this was made for.
    pub(crate) meanwhile: Meanwhile,
}

/// What others may have committed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// Nothing.
    Nothing,
    /// Rows of statements that had not read the table: they count as written after this one.
    Appends,
    /// Files were put together, other than those that go: for edits computed from all rows.
    Moves,
    /// Whatever left alone the files that go: for edits that change no row.
    OtherFiles,
}

/// How a commit goes together with an edit that had not seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It might as well have come before.
    InOrder,
    /// It brought rows that the edit would have looked at: it counts as later, where a table does not
    /// insist on the order of its versions.
    AsLater,
    /// What the edit was computed from is no longer so.
    Between,
}

impl Edit {
    pub(crate) async fn check_base(
        &self,
        staged: &Staged,
        base: Option<&Arc<Snapshot>>,
    ) -> Result<(), LakeError> {
        let location = staged.place.text();
        let (Some(old), Some(new)) = (&staged.base, base) else {
            return Err(LakeError::NotFound { location });
        };
        let conflict = |why: &'static str| {
            Err(LakeError::Conflict { location: location.clone(), version: new.version(), why })
        };
        if old.table_id() != new.table_id() {
            return conflict("it was dropped and created anew");
        }
        if old.version() == new.version() {
            return Ok(());
        }
        if !same_definition(old, new) {
            return conflict("its definition changed");
        }
        if self.meanwhile == Meanwhile::Nothing {
            return conflict("its rows changed");
        }
        let serializable = is_serializable(new);
        let gone: HashSet<&str> = self.removes.iter().map(|file| file.path.as_str()).collect();
        for version in old.version() + 1..=new.version() {
            let came = self.agrees(&staged.place, version, &gone).await?;
            let why = match came {
                Came::InOrder => continue,
                Came::AsLater if !serializable => continue,
                Came::AsLater => "rows came, and its delta.isolationLevel is Serializable",
                Came::Between => "rows that the statement read or changed are others now",
            };
            return Err(LakeError::Conflict { location, version, why });
        }
        Ok(())
    }

    /// How a commit that others made meanwhile goes together with this edit.
    async fn agrees(
        &self,
        place: &Place,
        version: i64,
        gone: &HashSet<&str>,
    ) -> Result<Came, LakeError> {
        // A commit that is no longer in the log cannot be looked at.
        let Some(actions) = log::actions(place, version).await? else {
            return Ok(Came::Between);
        };
        let removed: Vec<_> = actions
            .iter()
            .filter_map(|action| action.pointer("/remove/path").and_then(Value::as_str))
            .map(decoded)
            .collect();
        let leaves_alone = || !removed.iter().any(|path| gone.contains(path.as_ref()));
        Ok(match self.meanwhile {
            Meanwhile::OtherFiles if leaves_alone() => Came::InOrder,
            Meanwhile::Nothing | Meanwhile::OtherFiles => Came::Between,
            Meanwhile::Appends | Meanwhile::Moves => {
                let blind = actions.iter().any(|action| {
                    action.pointer("/commitInfo/isBlindAppend").and_then(Value::as_bool)
                        == Some(true)
                });
                let changes_no_row = |kind: &str| {
                    actions
                        .iter()
                        .filter_map(|action| action.get(kind))
                        .all(|file| file.get("dataChange").and_then(Value::as_bool) == Some(false))
                };
                // Files that were only put together hold the same rows, unless they were ours.
                let only_moved = changes_no_row("add") && changes_no_row("remove");
                if only_moved && leaves_alone() {
                    Came::InOrder
                } else if blind && removed.is_empty() && self.meanwhile == Meanwhile::Appends {
                    Came::AsLater
                } else {
                    Came::Between
                }
            }
        })
    }
}
