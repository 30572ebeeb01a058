//! Names to tables: one snapshot of the catalog and one version of each table for one statement.
//!
//! A statement is made of *scopes*: its own text, and below it the text of each view and each policy
//! that it reads through. Each scope has names of its own and is read with the rights of whoever
//! wrote it: the caller's for the statement, the owner's for a view or a policy.

mod basis;
mod find;
mod guard;
mod one_query;
mod open;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::TableProvider,
    datasource::ViewTable,
    execution::{SessionState, SessionStateBuilder},
};
use dialect::statement::{FilesUse, Query, Statement, TableUse, TimeTravel};
use lake::Snapshot;
use model::{
    id::ObjectId,
    job::PinnedInput,
    name::ObjectName,
    object::Object,
    rights::{Grant, PUBLIC, Privilege, Rights, Securable},
};

use crate::{
    barrier,
    bounds::Bounds,
    caller,
    error::QueryError,
    known::Known,
    queries::Inner,
    recipe::{self, Seen},
    session::Session,
    streaming::{Streams, with_changes},
    system,
    wire::wire_type,
};
pub(crate) use basis::Basis;
use find::{Found, ObjectUse, Scope, Source, StoredKind, StoredQuery};
pub(crate) use find::{Hidden, target_name};
pub(crate) use one_query::Described;
use one_query::OneQueryCatalog;
use open::OpenTable;
pub(crate) use open::at;

/// What the tables are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Their rows.
    Read,
    /// Their columns only: a materialized view that was never refreshed has some already.
    Describe,
}

/// Versions that inputs are pinned to; what is not in it is read at its newest version.
pub(crate) type Pins = HashMap<ObjectId, PinnedInput>;

/// Who wants the tables, and how.
pub(crate) struct Wanted<'a> {
    /// What the caller may do.
    pub(crate) rights: Arc<Rights>,
    /// Schema of names that say none.
    pub(crate) default_schema: &'a str,
    pub(crate) purpose: Purpose,
    pub(crate) pins: &'a Pins,
    /// The rows of each STREAM; only a run of a streaming table knows them.
    pub(crate) streams: Option<&'a Streams>,
    /// What a run knows of the objects.
    pub(crate) known: Option<&'a Known>,
}

/// A table of the statement as the planner reads it: one relation of one scope.
pub(crate) struct Leaf {
    /// What its scans read.
    pub(crate) provider: Arc<dyn TableProvider>,
    /// The table.
    pub(crate) object: ObjectId,
    pub(crate) name: ObjectName,
    /// Where its log is; none for files without one.
    pub(crate) location: Option<String>,
    /// Its version follows the pins; what names a version itself has always the same rows.
    pub(crate) is_pinned: bool,
}

/// The tables of one statement, ready for the planner.
pub(crate) struct Resolved {
    /// Knows the statement's tables and no others.
    pub(crate) state: SessionState,
    /// Snapshots of the Delta tables among them.
    pub(crate) snapshots: HashMap<ObjectName, Arc<Snapshot>>,
    /// Files that are read without a table's name, directly or through views.
    pub(crate) files: Vec<FilesUse>,
    /// The Delta tables of which the newest version is read, and that version.
    pub(crate) newest: Vec<(PinnedInput, Arc<Snapshot>)>,
    /// What the names stood for.
    pub(crate) seen: Seen,
    /// What the caller may use.
    pub(crate) bounds: Bounds,
    /// Its tables as the planner reads them, those below views among them.
    pub(crate) leaves: Vec<Leaf>,
    /// All that was looked up for it, when that tells what it reads.
    pub(crate) basis: Option<Basis>,
    found: Found,
    catalog: OneQueryCatalog,
}

/// What a statement reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reads<'a> {
    pub(crate) tables: &'a [TableUse],
    pub(crate) files: &'a [FilesUse],
}

impl<'a> From<&'a Query> for Reads<'a> {
    fn from(query: &'a Query) -> Self {
        Self { tables: &query.tables, files: &query.files }
    }
}

impl Resolved {
    /// A table whose changes are read, directly or through views.
    pub(crate) fn table_of_changes(&self) -> Option<&ObjectName> {
        self.found.uses.iter().find(|used| used.reads_changes()).map(|used| &used.name)
    }

    /// A transform whose quarantine is read, directly or through views.
    pub(crate) fn quarantine(&self) -> Option<&ObjectName> {
        self.found.uses.iter().find(|used| used.reads_quarantine()).map(|used| &used.name)
    }

    /// Why somebody with these rights may not see the plan, if so.
    pub(crate) fn hidden_from(&self, rights: &Rights) -> Option<Hidden> {
        self.found.hidden_from(rights)
    }

    /// Rows of the Delta tables together, by their statistics; 0 when unknown, and when one of them
    /// hides some from whoever wants them.
    pub(crate) fn rows_expected(&self) -> u64 {
        if self.found.guarded().is_some() {
            return 0;
        }
        self.snapshots.values().map(|snapshot| snapshot.rows().unwrap_or(0)).sum()
    }

    /// Bytes of the files of the Delta tables together; `None` when one of them hides rows.
    pub(crate) fn bytes_expected(&self) -> Option<u64> {
        if self.found.guarded().is_some() {
            return None;
        }
        Some(self.snapshots.values().map(|snapshot| snapshot.bytes()).sum())
    }

    /// Makes one more relation known to the planner.
    pub(crate) fn add(
        &self,
        schema: &str,
        name: &str,
        provider: Arc<dyn TableProvider>,
    ) -> Result<(), QueryError> {
        self.catalog.add(schema, name, provider)
    }

    /// Whether the newest rows of a table are read, directly or through views, by another name than
    /// `planned_name`.
    pub(crate) fn reads(&self, name: &ObjectName, planned_name: &str) -> bool {
        self.found.uses.iter().any(|used| {
            used.name == *name
                && used.at.as_ref().is_none_or(TimeTravel::reads_newest)
                && used.planned_name != planned_name
        })
    }
}

/// What the names of a statement stand for, at the versions that it reads.
pub(crate) struct Looked {
    found: Found,
    opened: HashMap<ObjectUse, OpenTable>,
}

impl Looked {
    /// As [`Resolved::hidden_from`].
    pub(crate) fn hidden_from(&self, rights: &Rights) -> Option<Hidden> {
        self.found.hidden_from(rights)
    }
}

/// Finds, checks and opens everything that a statement names, directly or through views.
///
/// [`QueryError::Denied`] for what the caller may not read, before any file is opened; what it may
/// not even know of is [`QueryError::TableNotFound`].
pub(crate) async fn look_up(
    queries: &Inner,
    reads: Reads<'_>,
    wanted: &Wanted<'_>,
) -> Result<Looked, QueryError> {
    let found = find::find(queries, reads, wanted).await?;
    let opened = open::open(queries, &found, wanted).await?.into_iter().collect();
    Ok(Looked { found, opened })
}

/// As [`look_up`], and makes tables of it for the planner.
pub(crate) async fn resolve(
    queries: &Inner,
    reads: Reads<'_>,
    wanted: &Wanted<'_>,
) -> Result<Resolved, QueryError> {
    let looked = look_up(queries, reads, wanted).await?;
    let basis = looked.basis();
    let Looked { found, opened } = looked;
    let mut snapshots = HashMap::new();
    for (object_use, table) in &opened {
        if let Some(snapshot) = table.snapshot() {
            // The newest version stands for the table; older ones are only read.
            let newest = object_use.at.is_none();
            if newest || !snapshots.contains_key(&object_use.name) {
                snapshots.insert(object_use.name.clone(), Arc::clone(snapshot));
            }
        }
    }
    let newest = opened.iter().filter(|(object_use, _)| object_use.at.is_none());
    let newest = newest.filter_map(|(object_use, table)| {
        let snapshot = table.snapshot()?;
        let pin = PinnedInput {
            object: found.objects.get(&object_use.name)?.id,
            name: object_use.name.clone(),
            delta_table_id: snapshot.table_id().to_owned(),
            version: snapshot.version(),
        };
        Some((pin, Arc::clone(snapshot)))
    });
    let newest: Vec<(PinnedInput, _)> = newest.collect();
    let travels = found.uses.iter().filter_map(|used| used.at.as_ref());
    let seen = Seen {
        objects: found.objects.values().map(|o| (o.id, o.definition_version)).collect(),
        tables: newest.iter().map(|(pin, _)| pin.clone()).collect(),
        moves: recipe::moves(travels, queries.options.clock.now()),
    };
    let mut stored: HashMap<usize, Arc<dyn TableProvider>> = HashMap::new();
    let mut leaves = Vec::new();
    let mut statement = None;
    for number in found.inner_first()? {
        let scope = &found.scopes[number];
        let (state, catalog) = scope_state(queries, scope, wanted).await?;
        for relation in &scope.relations {
            let provider = match &relation.source {
                Source::Table(object_use) => {
                    let Some(table) = opened.get(object_use) else { continue };
                    let provider = table.provider(&state, queries).await?;
                    if let Some(object) = found.objects.get(&object_use.name) {
                        leaves.push(Leaf {
                            provider: Arc::clone(&provider),
                            object: object.id,
                            name: object.name.clone(),
                            location: table.snapshot().map(|s| s.location().to_owned()),
                            is_pinned: object_use.at.is_none(),
                        });
                    }
                    provider
                }
                Source::Stored(inner) => match stored.get(inner) {
                    Some(provider) => Arc::clone(provider),
                    None => continue,
                },
            };
            catalog.add(&relation.schema, &relation.planned_name, provider)?;
        }
        match &scope.query {
            None => statement = Some((state, catalog)),
            Some(query) => {
                let provider = plan_stored(&state, query).await.map_err(|error| query.blame(error));
                stored.insert(number, provider?);
            }
        }
    }
    let Some((state, catalog)) = statement else { return Err(QueryError::ViewDepth(0)) };
    let files = found.scopes.iter().flat_map(|scope| scope.files.clone()).collect();
    let bounds = Bounds::of(&wanted.rights);
    Ok(Resolved { state, snapshots, files, newest, seen, bounds, leaves, basis, found, catalog })
}

/// The planner's session for one scope, with everything in it that is no table of the catalog.
async fn scope_state(
    queries: &Inner,
    scope: &Scope,
    wanted: &Wanted<'_>,
) -> Result<(SessionState, OneQueryCatalog), QueryError> {
    let mut state = queries.state(wanted.default_schema);
    if scope.query.is_none()
        && let Some(env) = Bounds::of(&wanted.rights).runtime_env(state.runtime_env())
    {
        state = SessionStateBuilder::new_from_existing(state).with_runtime_env(env).build();
    }
    let turns = queries.planners.of(wanted.rights.name());
    state.config_mut().set_extension(turns);
    caller::register(&mut state, &wanted.rights)?;
    let catalog = OneQueryCatalog::register(&mut state);
    for files in &scope.files {
        let provider = open::open_files(queries, files, &state, wanted).await;
        let provider = provider.map_err(|error| scope.blame(error))?;
        catalog.add(wanted.default_schema, &files.planned_name(), provider)?;
    }
    for name in &scope.system {
        let provider =
            system::table(queries, &scope.rights, name.name()).await?.ok_or_else(|| {
                QueryError::TableNotFound { name: name.clone(), nearest: None, is_hidden: false }
            })?;
        catalog.add(name.schema(), name.name(), provider)?;
    }
    if scope.information_schema {
        describe_everything(queries, &catalog, scope).await?;
    }
    Ok((state, catalog))
}

/// A stored query as a table.
async fn plan_stored(
    state: &SessionState,
    stored: &StoredQuery,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let plan = crate::plan::logical(state, &stored.query).await?;
    Ok(match &stored.kind {
        StoredKind::View { definition } => Arc::new(ViewTable::new(plan, Some(definition.clone()))),
        // Its own table does not exist yet: only its columns are known.
        StoredKind::Transform { stream } => {
            let mut columns = stored_schema(plan.schema().as_arrow())?;
            if let Some(stream) = stream {
                columns = with_changes(&columns, stream);
            }
            Arc::new(Described::new(columns, None))
        }
        StoredKind::Columns => Arc::new(ViewTable::new(plan, None)),
        StoredKind::Policy => Arc::new(ViewTable::new(barrier::above(plan), None)),
    })
}

/// Plans what a policy would show to others, with the rights of the object's owner.
pub(crate) async fn check_policy(
    queries: &Inner,
    session: &Session,
    object: &Object,
) -> Result<(), QueryError> {
    let everybody = Grant {
        grantee: PUBLIC.to_owned(),
        privilege: Privilege::Select,
        on: Securable::Catalog,
        column: None,
    };
    let reader = Rights::new("", BTreeSet::new(), vec![everybody]);
    let Some(shown) = guard::of(object, &reader, None)? else { return Ok(()) };
    let rights = queries.rights_of(&object.owner).await?;
    let (default_schema, pins) = (session.schema(), Pins::new());
    let wanted = Wanted {
        rights,
        default_schema,
        purpose: Purpose::Describe,
        pins: &pins,
        streams: None,
        known: None,
    };
    let resolved = resolve(queries, (&shown.query).into(), &wanted).await?;
    let plan = crate::plan::logical(&resolved.state, &shown.query).await?;
    let owner = queries.rights_of(&object.owner).await?;
    let columns = crate::describe::columns(queries, &owner, object).await?;
    for column in object.policy.masks.keys() {
        let (Ok(stored), Ok(masked)) =
            (columns.field_with_name(column), plan.schema().as_arrow().field_with_name(column))
        else {
            continue;
        };
        let (stored, masked) = (wire_type(stored.data_type()), wire_type(masked.data_type()));
        if stored != masked {
            return Err(QueryError::Invalid(format!(
                "the mask of '{column}' is {masked} and the column is {stored}: \
                 CAST the mask, so that everybody sees one type"
            )));
        }
    }
    Ok(())
}

/// The schema that a result has once it is stored.
pub(crate) fn stored_schema(schema: &arrow::datatypes::Schema) -> Result<SchemaRef, QueryError> {
    Ok(lake::delta_schema(schema)?)
}

/// Reads a query back from the catalog.
pub(crate) fn parse_stored(text: &str) -> Result<Query, QueryError> {
    match dialect::parse(text)? {
        Statement::Query(query) => Ok(query),
        _ => Err(QueryError::Invalid("a stored query is not a query".to_owned())),
    }
}

async fn describe_everything(
    queries: &Inner,
    catalog: &OneQueryCatalog,
    scope: &Scope,
) -> Result<(), QueryError> {
    for schema in queries.options.catalog.schemas().await? {
        catalog.schema(&schema.name)?;
    }
    for table in crate::describe::all(queries, &scope.rights).await? {
        // What the statement reads itself is registered with its rows.
        let (schema, name) = (table.name.schema(), table.name.name());
        let registered = scope
            .relations
            .iter()
            .any(|relation| relation.schema == schema && relation.planned_name == name);
        if registered {
            continue;
        }
        let Some(columns) = table.schema else { continue };
        let described = Described::new(columns, table.definition.clone());
        let described = if table.is_view { described.into_view() } else { described };
        catalog.add(schema, name, Arc::new(described))?;
    }
    Ok(())
}
