//! Schemas and the objects in them.

use async_trait::async_trait;
use model::{
    id::ObjectId,
    name::ObjectName,
    object::{Object, Policy},
};

use crate::error::CatalogError;

/// What to do when the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// [`CatalogError::ObjectExists`].
    Fail,
    /// Leave the existing object as it is.
    Keep,
    /// Take the place of the object that was read at this definition version; another version is
    /// [`CatalogError::ObjectChanged`]. The id stays that of the existing object.
    Replace {
        /// The object that is to be replaced.
        id: ObjectId,
        /// Its definition version when it was read.
        definition_version: i64,
    },
}

/// What [`Objects::put_object`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// A new object is there.
    Created,
    /// The existing object has the new definition.
    Replaced,
    /// The existing object was left alone.
    Kept,
}

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// `COMMENT` text.
    pub comment: Option<String>,
}

/// Looking up objects: in a catalog, or in what is known of one.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// See [`Objects::objects_named`].
    async fn named(&self, names: &[ObjectName]) -> Result<Vec<Object>, CatalogError>;

    /// See [`Objects::object`].
    async fn with_id(&self, id: ObjectId) -> Result<Option<Object>, CatalogError>;
}

#[async_trait]
impl<O: Objects + ?Sized> Lookup for O {
    async fn named(&self, names: &[ObjectName]) -> Result<Vec<Object>, CatalogError> {
        self.objects_named(names).await
    }

    async fn with_id(&self, id: ObjectId) -> Result<Option<Object>, CatalogError> {
        self.object(id).await
    }
}

/// Names and definitions.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Every schema, by name. The default schema is always there.
    async fn schemas(&self) -> Result<Vec<Schema>, CatalogError>;

    /// Makes a schema. [`CatalogError::SchemaExists`] when it is there.
    async fn create_schema(&self, schema: &Schema) -> Result<(), CatalogError>;

    /// Removes a schema with the grants on it. With objects in it: [`CatalogError::SchemaNotEmpty`]. The default schema
    /// cannot be removed: [`CatalogError::SchemaNotEmpty`] too.
    async fn drop_schema(&self, name: &str) -> Result<(), CatalogError>;

    /// Stores an object under its name. The schema has to exist.
    ///
    /// With [`OnConflict::Replace`] the stored object keeps its id, owner, policy and creation time,
    /// and its definition version grows by one.
    async fn put_object(&self, object: &Object, on: OnConflict) -> Result<Put, CatalogError>;

    /// Stores objects in the place of those that were read at their ids and definition versions, as
    /// [`OnConflict::Replace`] does: all of them or none.
    ///
    /// [`CatalogError::ObjectChanged`] when one of them is not as it was read.
    async fn replace_objects(&self, objects: &[Object]) -> Result<(), CatalogError>;

    /// Removes the object that was read at this definition version, with the grants on it. Its QUEUED jobs become
    /// CANCELLED (at no known time: this call is told none), those that a worker has are asked to
    /// stop. Its finished jobs stay for the record.
    ///
    /// [`CatalogError::ObjectGone`] when it is not there, [`CatalogError::ObjectChanged`] when it
    /// has another definition version.
    async fn drop_object(&self, id: ObjectId, definition_version: i64) -> Result<(), CatalogError>;

    /// Gives the object that was read at this definition version another owner, a user or role;
    /// the definition version grows by one.
    ///
    /// [`CatalogError::PrincipalNotFound`] when there is none; for the object as
    /// [`Objects::drop_object`].
    async fn set_owner(
        &self,
        id: ObjectId,
        definition_version: i64,
        owner: &str,
    ) -> Result<(), CatalogError>;

    /// Gives the object that was read at this definition version another policy; the definition
    /// version grows by one. Errors as those of [`Objects::drop_object`].
    async fn set_policy(
        &self,
        id: ObjectId,
        definition_version: i64,
        policy: &Policy,
    ) -> Result<(), CatalogError>;

    /// The named objects that exist, in one read transaction; missing names are left out.
    async fn objects_named(&self, names: &[ObjectName]) -> Result<Vec<Object>, CatalogError>;

    /// One object by its id.
    async fn object(&self, id: ObjectId) -> Result<Option<Object>, CatalogError>;

    /// Every object, by schema and name.
    async fn objects(&self) -> Result<Vec<Object>, CatalogError>;

    /// A number that grows with every change of any schema or object: equal numbers, equal answers.
    async fn objects_version(&self) -> Result<i64, CatalogError>;
}
