//! Creates tables without rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use model::object::Properties;

use crate::{
    commit::CommitInfo,
    error::LakeError,
    lake::Lake,
    schema::declared_schema_at,
    snapshot::Snapshot,
    stage::{Effect, StageProgress, Staged, WriteMode},
};

/// A table that is to exist.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    /// Where; an absolute URL.
    pub location: String,
    /// Its columns: types that [`crate::delta_schema`] can map, NOT NULL where a field is not
    /// nullable, comments in the field metadata `comment`, expressions of generated columns in
    /// [`crate::GENERATED`].
    pub schema: SchemaRef,
    /// Columns to partition by.
    pub partitioned_by: Vec<String>,
    /// The table's comment.
    pub comment: Option<String>,
    /// The table's properties.
    pub properties: Properties,
}

impl Lake {
    /// Creates an empty table in one commit. [`LakeError::AlreadyExists`] when there is one,
    /// whoever made it.
    pub async fn create(&self, new: CreateTable) -> Result<Arc<Snapshot>, LakeError> {
        let CreateTable { location, schema, partitioned_by, comment, properties } = new;
        let place = self.place(&location)?;
        let schema = declared_schema_at(&place.text(), &schema)?;
        let mode = WriteMode::Create {
            partitioned_by,
            comment,
            properties,
            schema: Some(Arc::clone(&schema)),
        };
        if let Some(declaration) = mode.declaration(place.url.as_str(), &schema) {
            declaration.check()?;
        }
        let progress = Arc::new(StageProgress::default());
        let area = self.staging_area(&place, progress);
        let staged = Staged {
            place,
            effect: Effect::Write(mode),
            base: None,
            schema,
            adds: Vec::new(),
            rows: 0,
            area,
        };
        Ok(self.commit(staged, CommitInfo::default()).await?.snapshot)
    }
}
