//! Creates tables without rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use model::object::Properties;
use object_store::{Error as StoreError, ObjectStore};

use crate::{
    commit::CommitInfo,
    error::LakeError,
    lake::Lake,
    location::Place,
    log,
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
    /// Refuses a place where a new table would share files with others: what a table's folder holds is
    /// the table's, and VACUUM deletes from it what its log does not name.
    ///
    /// [`LakeError::AlreadyExists`] where a table is, [`LakeError::NotEmpty`] where other files are, another
    /// table's somewhere below among them, and [`LakeError::Location`] inside
    /// another table, and for a root.
    pub async fn check_place_for_table(&self, location: &str) -> Result<(), LakeError> {
        let place = self.place(location)?;
        if log::exists(&place).await? {
            return Err(LakeError::AlreadyExists { location: place.text() });
        }
        self.outside_of_tables(&place).await?;
        if self.is_for_several_tables(&place)? {
            let why = "it is for the folders of several tables: name one in it".to_owned();
            return Err(LakeError::Location { text: place.text(), why });
        }
        match place.store.list(None).try_next().await {
            Ok(None) | Err(StoreError::NotFound { .. }) => Ok(()),
            Ok(Some(_)) => Err(LakeError::NotEmpty { location: place.text() }),
            Err(source) => Err(LakeError::store("list the files", place.text(), source)),
        }
    }

    /// Refuses a place inside a Delta table, or in a folder that is for a log.
    pub async fn check_outside_of_tables(&self, location: &str) -> Result<(), LakeError> {
        self.outside_of_tables(&self.place(location)?).await
    }

    async fn outside_of_tables(&self, place: &Place) -> Result<(), LakeError> {
        // Whoever could write there would tell the server which files to read.
        if place.path.parts().any(|part| part.as_ref() == "_delta_log") {
            let why = "a folder of this name holds the log of a Delta table".to_owned();
            return Err(LakeError::Location { text: place.text(), why });
        }
        self.not_inside_a_table(place).await
    }

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
