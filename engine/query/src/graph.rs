//! What several transforms read together, as a graph run pins it when it begins.
//!
//! It exists so that all sources of a graph run are looked at in one moment. It never fails because
//! one of them cannot be read: the run that reads it says so.

use std::collections::BTreeMap;

use model::{
    id::ObjectId,
    job::PinnedInput,
    object::{Object, ObjectBody},
    principal::Principal,
};

use crate::{
    error::QueryError,
    queries::Queries,
    transform::{leaves, pin},
};

impl Queries {
    /// Each table and transform that these transforms read, views seen through, at its newest version;
    /// none of these transforms themselves. What cannot be read is left out.
    pub async fn sources_of(&self, transforms: &[Object]) -> Result<Vec<PinnedInput>, QueryError> {
        let inner = &self.inner;
        let mut sources: BTreeMap<ObjectId, Object> = BTreeMap::new();
        for object in transforms {
            let (ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)) =
                &object.body
            else {
                continue;
            };
            let rights = inner.rights(&Principal::verified(&object.owner)).await?;
            match leaves(inner, &rights, view, None).await {
                Ok(found) => sources.extend(found.into_iter().map(|leaf| (leaf.id, leaf))),
                Err(error) if error.code().is_transient() => return Err(error),
                Err(error) => tracing::debug!(object = %object.name, %error, "sources not found"),
            }
        }
        for object in transforms {
            sources.remove(&object.id);
        }
        let mut pinned = Vec::with_capacity(sources.len());
        for source in sources.values() {
            match pin(inner, source).await {
                Ok(input) => pinned.push(input),
                Err(error) if error.code().is_transient() => return Err(error),
                Err(error) => tracing::debug!(source = %source.name, %error, "source not read"),
            }
        }
        Ok(pinned)
    }
}
