//! All that was looked up for a statement, to tell whether it would be the same again.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use lake::Snapshot;
use model::{
    name::ObjectName,
    object::{Object, ObjectBody},
    rights::Rights,
};

use super::{Looked, find::ObjectUse};

/// What a statement was made of beside its text: the rights of everybody whose text it reads, every
/// object with its definition and policy, and each table at its version. It holds no version.
pub(crate) struct Basis {
    /// Of the caller, then of the owner of each stored query.
    rights: Vec<Arc<Rights>>,
    objects: HashMap<ObjectName, Object>,
    tables: HashMap<ObjectUse, Weak<Snapshot>>,
}

impl Looked {
    /// `None` for a statement that also reads what has no version: files, what the server knows of
    /// itself, changes, streams.
    pub(super) fn basis(&self) -> Option<Basis> {
        let Self { found, opened } = self;
        let tells_all = found.scopes.iter().all(|scope| {
            scope.files.is_empty() && scope.system.is_empty() && !scope.information_schema
        });
        if !tells_all {
            return None;
        }
        let tables = opened.iter().map(|(used, table)| {
            let snapshot = table.snapshot().filter(|_| used.at.is_none())?;
            Some((used.clone(), Arc::downgrade(snapshot)))
        });
        let tables = tables.collect::<Option<_>>()?;
        let rights = found.scopes.iter().map(|scope| Arc::clone(&scope.rights)).collect();
        Some(Basis { rights, objects: found.objects.clone(), tables })
    }

    /// Whether a statement with the same text would read the same, in the same way.
    pub(crate) fn is_as(&self, basis: &Basis) -> bool {
        let Self { found, opened } = self;
        let same_rights = found.scopes.len() == basis.rights.len()
            && found.scopes.iter().zip(&basis.rights).all(|(scope, then)| scope.rights == *then);
        let same_version = |used: &ObjectUse, then: &Weak<Snapshot>| {
            let now = opened.get(used).and_then(|table| table.snapshot());
            now.zip(then.upgrade()).is_some_and(|(now, then)| Arc::ptr_eq(now, &then))
        };
        same_rights
            && found.objects == basis.objects
            && opened.len() == basis.tables.len()
            && basis.tables.iter().all(|(used, then)| same_version(used, then))
    }
}

impl Basis {
    #[cfg(test)]
    pub(crate) fn of_nothing() -> Self {
        Self { rights: Vec::new(), objects: HashMap::new(), tables: HashMap::new() }
    }

    /// Bytes that it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        const OBJECT: usize = 2 << 10;
        let texts = |object: &Object| match &object.body {
            ObjectBody::View(view) => view.query.len() + view.definition.len(),
            ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
                let flows: usize = view.flows.iter().map(|flow| flow.query.len()).sum();
                view.query.len() + view.definition.len() + flows
            }
            ObjectBody::Table(_) => 0,
        };
        self.objects.values().map(|object| OBJECT + texts(object)).sum()
    }
}
