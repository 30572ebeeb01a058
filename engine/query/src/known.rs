//! Objects that runs have looked up, for the runs that come after them.
//!
//! It exists because a thousand refreshes of the same transforms ask for the same objects, which nobody
//! has changed: a claimed run comes with the version of all objects, and what was read while that was
//! the version needs no second look. It knows nothing of rights: these are asked for as ever.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use catalog::{Catalog, error::CatalogError, objects::Lookup};
use model::{id::ObjectId, name::ObjectName, object::Object};
use parking_lot::Mutex;

use crate::queries::{Inner, Queries};

/// More would be a list of all objects of a large catalog, of which runs need few.
const OBJECTS_MAX: usize = 10_000;

/// What was looked up since the objects have had this version.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    version: i64,
    by_id: HashMap<ObjectId, Arc<Object>>,
    by_name: HashMap<ObjectName, ObjectId>,
}

impl Memory {
    fn named(&self, name: &ObjectName) -> Option<&Arc<Object>> {
        self.by_id.get(self.by_name.get(name)?)
    }

    fn keep(&mut self, object: &Object) {
        if self.by_id.len() >= OBJECTS_MAX {
            (self.by_id, self.by_name) = Default::default();
        }
        self.by_name.insert(object.name.clone(), object.id);
        self.by_id.insert(object.id, Arc::new(object.clone()));
    }
}

/// Answers with objects as they were when all objects had some version, or later.
#[derive(Clone)]
pub struct Known {
    catalog: Arc<dyn Catalog>,
    memory: Arc<Mutex<Memory>>,
    version: i64,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Queries {
    /// The objects for a run that was claimed when all objects had this version: see
    /// [`catalog::objects::Objects::objects_version`].
    #[must_use]
    pub fn known_at(&self, version: i64) -> Known {
        let catalog = Arc::clone(&self.inner.options.catalog);
        Known::new(catalog, Arc::clone(&self.inner.memory), version)
    }
}

impl Known {
    fn new(catalog: Arc<dyn Catalog>, memory: Arc<Mutex<Memory>>, version: i64) -> Self {
        {
            let mut memory = memory.lock();
            // Also backwards: of a database that was put back nothing is known.
            if memory.version != version {
                *memory = Memory { version, ..Memory::default() };
            }
        }
        Self { catalog, memory, version }
    }

    /// Keeps what was read for this version or a later one, unless others look at another version now.
    fn keep<'o>(&self, objects: impl IntoIterator<Item = &'o Object>) {
        let mut memory = self.memory.lock();
        if memory.version == self.version {
            objects.into_iter().for_each(|object| memory.keep(object));
        }
    }
}

#[async_trait]
impl Lookup for Known {
    async fn named(&self, names: &[ObjectName]) -> Result<Vec<Object>, CatalogError> {
        let (mut found, mut missing) = (Vec::with_capacity(names.len()), Vec::new());
        {
            let memory = self.memory.lock();
            let is_current = memory.version == self.version;
            for name in names {
                match memory.named(name).filter(|_| is_current) {
                    Some(object) => found.push(Object::clone(object)),
                    None => missing.push(name.clone()),
                }
            }
        }
        if !missing.is_empty() {
            let read = self.catalog.objects_named(&missing).await?;
            self.keep(&read);
            found.extend(read);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|a, b| a.id == b.id);
        Ok(found)
    }

    async fn with_id(&self, id: ObjectId) -> Result<Option<Object>, CatalogError> {
        let known = {
            let memory = self.memory.lock();
            let known = memory.by_id.get(&id).filter(|_| memory.version == self.version);
            known.map(|object| Object::clone(object))
        };
        if known.is_some() {
            return Ok(known);
        }
        let read = self.catalog.object(id).await?;
        self.keep(&read);
        Ok(read)
    }
}

impl Inner {
    /// Objects by their names: those that are known for a run, or as they are now.
    pub(crate) async fn look_up(
        &self,
        known: Option<&Known>,
        names: &[ObjectName],
    ) -> Result<Vec<Object>, crate::error::QueryError> {
        match known {
            Some(known) => Ok(known.named(names).await?),
            None => self.objects_named(names).await,
        }
    }
}

#[cfg(test)]
mod tests;
