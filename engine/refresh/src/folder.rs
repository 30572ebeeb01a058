//! A folder of `.sql` files as the desired state of transforms, views and schemas.
//!
//! It exists so that the files are what is true: planning says what would change, applying makes
//! it so. It takes the same path as a client's statements, and it never drops anything: what is no
//! longer declared is suspended and keeps its data.

mod compare;
mod declare;
pub mod error;
mod flows;
mod order;
mod rewrite;
mod temporary;

use std::collections::{BTreeMap, BTreeSet};

use catalog::{
    Catalog,
    objects::{OnConflict, Schema},
};
use model::{
    id::ObjectId,
    job::{Job, JobCause},
    name::ObjectName,
    object::{Object, ObjectBody},
    transform::SuspendedReason,
};
use query::{error::QueryError, queries::Queries, session::Session};

use self::{
    declare::{Declaration, Declarations, declarations},
    error::{FolderError, Place},
    order::Item,
};

/// One `.sql` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path within the folder.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// What applying does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is created.
    Added,
    /// It means something else than before: it is redefined and refreshed.
    Changed,
    /// Only what surrounds the query differs: schedule, comment, properties, its file.
    Metadata,
    /// Nothing.
    Unchanged,
    /// Its file is gone: it is suspended. Its data stays.
    Removed,
}

impl ChangeKind {
    /// The word that is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Changed => "CHANGED",
            Self::Metadata => "METADATA",
            Self::Unchanged => "UNCHANGED",
            Self::Removed => "REMOVED",
        }
    }
}

/// What applying does to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is done.
    pub kind: ChangeKind,
    /// `schema.name`, or the name of a schema.
    pub object: String,
    /// `MATERIALIZED VIEW`, `STREAMING TABLE`, `VIEW`, `FLOW` or `SCHEMA`.
    pub object_kind: &'static str,
    /// The file that declares it; for what is removed, the file that did.
    pub path: String,
    /// What differs, for people; empty when there is nothing to say.
    pub detail: String,
}

/// What applying a folder would do.
#[derive(Debug)]
pub struct FolderPlan {
    /// One for each declared or removed object, in the order in which they are applied.
    pub changes: Vec<Change>,
    steps: Vec<Step>,
    removed: Vec<Object>,
    refreshed: Vec<ObjectName>,
}

/// What applying a folder did.
#[derive(Debug)]
pub struct Applied {
    /// The plan that was carried out.
    pub plan: FolderPlan,
    /// The refreshes that were queued, upstream first.
    pub jobs: Vec<Job>,
}

/// One statement that is to be sent.
#[derive(Debug)]
struct Step {
    at: Place,
    sql: String,
    /// Its lines are those of the file.
    as_written: bool,
    target: Target,
    /// Whether everything that it reads is there as it will be, so that it can be checked before
    /// anything is applied.
    checkable: bool,
}

#[derive(Debug)]
enum Target {
    Schema(String),
    Object {
        name: ObjectName,
        is_transform: bool,
    },
    /// A flow of this streaming table.
    Flow {
        table: ObjectName,
    },
}

/// Says what [`apply`] would do. Changes nothing.
///
/// Every file is parsed and every name resolved. Statements that only read what is there already
/// are planned, so that errors in their queries are found; errors name the file and the line.
pub async fn plan(
    session: &Session,
    queries: &Queries,
    catalog: &dyn Catalog,
    files: &[SourceFile],
) -> Result<FolderPlan, FolderError> {
    let schemas = catalog.schemas().await?;
    let existing = queries.objects(session).await?;
    let plan = draft(session.schema(), files, &schemas, &existing)?;
    for step in plan.steps.iter().filter(|step| step.checkable) {
        let session = step.session(session);
        queries.prepare(&session, &step.sql).await.map_err(|source| step.error(source))?;
    }
    Ok(plan)
}

/// Makes the folder true: creates and redefines in the order of dependency, suspends what is no
/// longer declared, and queues the refreshes of what was added or changed as one graph.
///
/// When the server refuses a statement, what was applied before it is taken back.
pub async fn apply(
    session: &Session,
    queries: &Queries,
    catalog: &dyn Catalog,
    files: &[SourceFile],
) -> Result<Applied, FolderError> {
    let plan = plan(session, queries, catalog, files).await?;
    for object in &plan.removed {
        queries.must_own(session, object).await?;
    }
    let mut undo = Undo::default();
    for step in &plan.steps {
        let before = undo.remember(catalog, &step.target).await?;
        if let Err(error) = step.apply(session, queries).await {
            undo.take_back(catalog).await;
            return Err(error);
        }
        undo.applied.push(before);
    }
    for object in &plan.removed {
        suspend(catalog, object).await?;
    }
    let jobs = match ids(catalog, &plan.refreshed).await? {
        ids if ids.is_empty() => Vec::new(),
        ids => queries
            .submit_graph(session, &ids, JobCause::Definition)
            .await
            .map_err(|source| FolderError::Queue { source })?,
    };
    Ok(Applied { plan, jobs })
}

/// The plan without looking at any query: what is declared against what is there.
fn draft(
    default_schema: &str,
    files: &[SourceFile],
    schemas: &[Schema],
    existing: &[Object],
) -> Result<FolderPlan, FolderError> {
    let all = declarations(files, default_schema)?;
    let Declarations { schemas: declared_schemas, objects: declared, .. } = &all;
    let mut plan = FolderPlan {
        changes: Vec::new(),
        steps: Vec::new(),
        removed: Vec::new(),
        refreshed: Vec::new(),
    };
    let mut known: BTreeSet<&str> = schemas.iter().map(|schema| schema.name.as_str()).collect();
    for (name, schema) in declared_schemas {
        let is_new = known.insert(name);
        let kind = if is_new { ChangeKind::Added } else { ChangeKind::Unchanged };
        plan.changes.push(Change {
            kind,
            object: name.clone(),
            object_kind: "SCHEMA",
            path: schema.at.path.clone(),
            detail: String::new(),
        });
        if is_new {
            plan.steps.push(Step {
                at: schema.at.clone(),
                sql: schema.text.clone(),
                as_written: true,
                target: Target::Schema(name.clone()),
                checkable: true,
            });
        }
    }
    for Declaration { at, name, .. } in declared {
        if !known.contains(name.schema()) {
            let (at, object, schema) = (at.clone(), name.clone(), name.schema().to_owned());
            return Err(FolderError::SchemaMissing { at, object, schema });
        }
    }
    plan.declared(default_schema, &all, schemas, existing)?;
    flows::drop_others(&mut plan, &all, existing);
    plan.no_longer_declared(declared, existing);
    Ok(plan)
}

impl FolderPlan {
    fn declared(
        &mut self,
        default_schema: &str,
        all: &Declarations,
        schemas: &[Schema],
        existing: &[Object],
    ) -> Result<(), FolderError> {
        let by_name: BTreeMap<&ObjectName, &Object> =
            existing.iter().map(|object| (&object.name, object)).collect();
        // Names whose columns are not yet what they will be.
        let mut unsettled: BTreeSet<&ObjectName> = BTreeSet::new();
        // Views that mean something else now, with the views upon them.
        let mut changed_views: BTreeSet<&ObjectName> = BTreeSet::new();
        for item in order::order(all, existing)? {
            let declaration = match item {
                Item::Object(position) => &all.objects[position],
                Item::Flow(position) => {
                    let known = flows::Known { default_schema, declared: all, existing: &by_name };
                    flows::plan(self, &all.flows[position], &known, &mut unsettled)?;
                    continue;
                }
            };
            let Declaration { at, text, name, reads, .. } = declaration;
            let existing = by_name.get(name).copied();
            let (kind, mut detail) = compare::compare(declaration, existing, default_schema)?;
            let reads_changed_view = reads.iter().any(|read| changed_views.contains(read));
            let means_something_else =
                matches!(kind, ChangeKind::Added | ChangeKind::Changed) || reads_changed_view;
            let reads_unsettled = reads.iter().any(|read| unsettled.contains(read));
            let schema_exists = schemas.iter().any(|schema| schema.name == name.schema());
            if means_something_else || reads_unsettled {
                unsettled.insert(name);
            }
            if means_something_else && !declaration.is_transform() {
                changed_views.insert(name);
            }
            if means_something_else && declaration.is_fed() {
                self.refreshed.push(name.clone());
            }
            if reads_changed_view && kind == ChangeKind::Unchanged {
                "reads a changed view".clone_into(&mut detail);
            }
            if kind != ChangeKind::Unchanged {
                let is_transform = declaration.is_transform();
                self.steps.push(Step {
                    at: at.clone(),
                    sql: rewrite::desired_state(&text.sql, declaration.head()),
                    as_written: text.as_written,
                    target: Target::Object { name: name.clone(), is_transform },
                    checkable: schema_exists && !reads_unsettled,
                });
            }
            self.changes.push(Change {
                kind,
                object: name.to_string(),
                object_kind: declaration.kind().as_sql(),
                path: at.path.clone(),
                detail,
            });
        }
        Ok(())
    }

    fn no_longer_declared(&mut self, declared: &[Declaration], existing: &[Object]) {
        let names: BTreeSet<&ObjectName> =
            declared.iter().map(|declaration| &declaration.name).collect();
        for object in existing {
            let Some(view) = object.transform() else { continue };
            let Some(path) = &view.source_file else { continue };
            if view.suspended || names.contains(&object.name) {
                continue;
            }
            self.changes.push(Change {
                kind: ChangeKind::Removed,
                object: object.name.to_string(),
                object_kind: object.kind().as_sql(),
                path: path.clone(),
                detail: "suspended; its data stays".to_owned(),
            });
            self.removed.push(object.clone());
        }
    }
}

impl Step {
    fn session(&self, session: &Session) -> Session {
        let session = session.clone().with_deferred_refresh();
        match self.target {
            Target::Object { is_transform: true, .. } | Target::Flow { .. } => {
                session.with_source_file(Some(self.at.path.clone()))
            }
            _ => session,
        }
    }

    async fn apply(&self, session: &Session, queries: &Queries) -> Result<(), FolderError> {
        let session = self.session(session);
        let prepared =
            queries.prepare(&session, &self.sql).await.map_err(|source| self.error(source))?;
        queries.command(&session, &prepared, None).await.map_err(|source| self.error(source))?;
        Ok(())
    }

    /// Positions within the statement become lines of the file.
    fn error(&self, source: QueryError) -> FolderError {
        let mut at = self.at.clone();
        if let Some((line, _)) = source.position().filter(|_| self.as_written) {
            at.line += line.saturating_sub(1);
        }
        FolderError::Statement { at, source }
    }
}

/// How things were before each step, for the case that a later one is refused.
#[derive(Default)]
struct Undo {
    applied: Vec<Before>,
}

enum Before {
    NoSchema(String),
    NoObject(ObjectName),
    Object(Box<Object>),
}

impl Undo {
    async fn remember(
        &self,
        catalog: &dyn Catalog,
        target: &Target,
    ) -> Result<Before, FolderError> {
        let name = match target {
            Target::Schema(name) => return Ok(Before::NoSchema(name.clone())),
            Target::Object { name, .. } | Target::Flow { table: name } => name,
        };
        let before = catalog.objects_named(std::slice::from_ref(name)).await?.pop();
        Ok(match before {
            Some(object) => Before::Object(Box::new(object)),
            None => Before::NoObject(name.clone()),
        })
    }

    /// Newest first. What cannot be taken back stays, and the next apply finds it so.
    async fn take_back(self, catalog: &dyn Catalog) {
        for before in self.applied.into_iter().rev() {
            let what = match &before {
                Before::NoSchema(name) => name.clone(),
                Before::NoObject(name) => name.to_string(),
                Before::Object(object) => object.name.to_string(),
            };
            if let Err(error) = before.restore(catalog).await {
                tracing::warn!(
                    object = what,
                    error = crate::error::chain(&error),
                    "a change of a refused folder was not taken back"
                );
            }
        }
    }
}

impl Before {
    async fn restore(self, catalog: &dyn Catalog) -> Result<(), FolderError> {
        let name = match &self {
            Self::NoSchema(name) => return Ok(catalog.drop_schema(name).await?),
            Self::NoObject(name) => name.clone(),
            Self::Object(object) => object.name.clone(),
        };
        let Some(now) = catalog.objects_named(&[name]).await?.pop() else { return Ok(()) };
        let Object { id, definition_version, .. } = now;
        match self {
            Self::Object(object) => {
                let on = OnConflict::Replace { id, definition_version };
                catalog.put_object(&object, on).await?;
            }
            Self::NoSchema(_) | Self::NoObject(_) => {
                catalog.drop_object(id, definition_version).await?;
            }
        }
        Ok(())
    }
}

async fn suspend(catalog: &dyn Catalog, object: &Object) -> Result<(), FolderError> {
    let mut suspended = object.clone();
    let (ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)) =
        &mut suspended.body
    else {
        return Ok(());
    };
    view.suspended = true;
    view.suspended_reason = Some(SuspendedReason::NotDeclared);
    let on = OnConflict::Replace { id: object.id, definition_version: object.definition_version };
    catalog.put_object(&suspended, on).await?;
    Ok(())
}

async fn ids(catalog: &dyn Catalog, names: &[ObjectName]) -> Result<Vec<ObjectId>, FolderError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let objects = catalog.objects_named(names).await?;
    let by_name: BTreeMap<&ObjectName, ObjectId> =
        objects.iter().map(|object| (&object.name, object.id)).collect();
    Ok(names.iter().filter_map(|name| by_name.get(name).copied()).collect())
}

#[cfg(test)]
mod tests;
