//! What is there when a run begins: which versions of its inputs the rows of its table are the
//! query's answer for, if that is known.

use std::sync::Arc;

use catalog::objects::Lookup;
use lake::{At, LakeError, Snapshot};
use model::{
    clustering::CLUSTER_BY,
    id::ObjectId,
    job::{LastRun, PinnedInput},
    object::Object,
    transform::Transform,
};

use super::Why;
use crate::{error::QueryError, queries::Queries};

/// The application of a transform's runs in the log of its table.
#[must_use]
pub fn app_id(object: ObjectId) -> String {
    format!("whimbrel:{object}")
}

/// How far a Delta table was read by the runs of a transform.
#[must_use]
pub fn source_app_id(object: ObjectId, delta_table_id: &str) -> String {
    format!("{}:src:{delta_table_id}", app_id(object))
}

/// Says which run of a transform was the last to leave partitions of different versions in its table.
///
/// Any run that comes after such a run either computes everything, or says the same of itself. So
/// the table is mixed exactly when its newest run is the one that this names.
#[must_use]
pub fn mixed_app_id(object: ObjectId) -> String {
    format!("{}:mixed", app_id(object))
}

/// Whether partitions of a transform's table stand for different versions of its inputs, as its log
/// says.
pub async fn is_mixed(table: &Snapshot, object: ObjectId) -> Result<bool, LakeError> {
    match table.txn_version(&mixed_app_id(object)).await? {
        None => Ok(false),
        mixed => Ok(mixed == table.txn_version(&app_id(object)).await?),
    }
}

/// The versions that a table's rows are the answer for, and the table; or why that is not known.
pub type Since = Result<(Vec<PinnedInput>, Arc<Snapshot>), Why>;

impl Queries {
    /// Whether a transform that has read `last` would read the same rows of the same tables `now`: at the
    /// same versions, or at later ones that only put files together.
    pub async fn same_rows<O: Lookup + ?Sized>(
        &self,
        objects: &O,
        last: &[PinnedInput],
        now: &[PinnedInput],
    ) -> Result<bool, QueryError> {
        for input in now {
            let same_table = |before: &&PinnedInput| {
                before.object == input.object && before.delta_table_id == input.delta_table_id
            };
            let Some(before) = last.iter().find(same_table) else { return Ok(false) };
            if before.version == input.version {
                continue;
            }
            if input.delta_table_id.is_empty() || before.version > input.version {
                return Ok(false);
            }
            let object = objects.with_id(input.object).await?;
            let Some(location) = object.as_ref().and_then(Object::location) else {
                return Ok(false);
            };
            let lake = &self.inner.options.lake;
            if !lake.moved_only(location, before.version, input.version).await? {
                return Ok(false);
            }
        }
        Ok(last.len() == now.len())
    }

    /// What the table of a transform is the answer for. Asks its log: the catalog says which run was
    /// the last, and only the log whether its rows are still there.
    pub async fn since(
        &self,
        object: &Object,
        view: &Transform,
        definition_hash: &str,
        last: Option<&LastRun>,
        force: bool,
    ) -> Result<Since, QueryError> {
        let why =
            |code: &'static str, detail: &str| Ok(Err(Why { code, detail: detail.to_owned() }));
        let Some(last) = last else { return why("FIRST_RUN", "") };
        if force {
            return why("REQUESTED_FULL", "");
        }
        if last.definition_hash != definition_hash {
            return why("DEFINITION_CHANGED", "");
        }
        let lake = &self.inner.options.lake;
        let table = match lake.snapshot(&view.location, At::Latest).await {
            Ok(table) => table,
            Err(LakeError::NotFound { .. }) => return why("FIRST_RUN", "its table is gone"),
            Err(source) => return Err(source.into()),
        };
        if table.partitioned_by() != view.partitioned_by.as_slice() {
            return why("LAYOUT_CHANGED", "the table is partitioned in another way");
        }
        // By what OPTIMIZE orders files the declaration tells, not the log.
        let is_set = |(key, value): (&String, &String)| {
            key == CLUSTER_BY || table.properties().get(key) == Some(value)
        };
        if table.comment() != object.comment.as_deref() || !object.properties.iter().all(is_set) {
            return why("LAYOUT_CHANGED", "the table has another comment or other properties");
        }
        if table.txn_version(&app_id(object.id)).await?.is_none() {
            return why("TABLE_CREATED_ANEW", "no run of this transform has written it");
        }
        if is_mixed(&table, object.id).await? || last.is_mixed {
            let detail = "a part of it was refreshed alone: its rows stand for no single version of each input";
            return why("PARTS_REFRESHED", detail);
        }
        let untouched = match table.version() {
            version if version < last.output_version => false,
            version if version == last.output_version => true,
            version => lake.moved_only(&view.location, last.output_version, version).await?,
        };
        if !untouched {
            return why("TABLE_CHANGED", "somebody else has changed its rows");
        }
        // The log is the truth, and the catalog its index: where they differ, nothing is proved.
        for input in last.inputs.iter().filter(|input| !input.delta_table_id.is_empty()) {
            let read = table.txn_version(&source_app_id(object.id, &input.delta_table_id)).await?;
            let same_table = |other: &&PinnedInput| other.delta_table_id == input.delta_table_id;
            let newest = last.inputs.iter().filter(same_table).map(|other| other.version).max();
            if read != newest {
                return why("OFFSETS_UNKNOWN", "its log does not say how far its inputs were read");
            }
        }
        Ok(Ok((last.inputs.clone(), table)))
    }
}
