//! Names to tables: one snapshot of the catalog and one version of each table for one statement.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
        SchemaProvider, Session as DataFusionSession, TableProvider,
    },
    datasource::ViewTable,
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{Expr, TableType},
    physical_plan::ExecutionPlan,
};
use dialect::statement::{FilesUse, Query, Statement, TableUse, TimeTravel};
use futures::{StreamExt, TryStreamExt, stream};
use lake::{At, Snapshot};
use model::{
    id::ObjectId,
    job::PinnedInput,
    name::{CATALOG, ObjectName},
    object::{MaterializedView, Object, ObjectBody, Table, TableFormat},
    time::Timestamp,
};

use crate::{error::QueryError, queries::Inner, system};

const VIEW_DEPTH_MAX: usize = 32;
const SNAPSHOTS_AT_ONCE: usize = 16;

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

/// The tables of one statement, ready for the planner.
pub(crate) struct Resolved {
    /// Knows the statement's tables and no others.
    pub(crate) state: SessionState,
    /// Snapshots of the Delta tables among them.
    pub(crate) snapshots: HashMap<ObjectName, Arc<Snapshot>>,
    /// Files that are read without a table's name, directly or through views.
    pub(crate) files: Vec<FilesUse>,
    uses: HashSet<ObjectUse>,
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
        self.uses.iter().find(|used| used.reads_changes()).map(|used| &used.name)
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
        self.uses.iter().any(|used| {
            used.name == *name
                && used.at.as_ref().is_none_or(TimeTravel::reads_newest)
                && used.planned_name != planned_name
        })
    }
}

/// Finds, checks and opens everything that `tables` name, directly or through views.
pub(crate) async fn resolve(
    queries: &Inner,
    default_schema: &str,
    reads: Reads<'_>,
    purpose: Purpose,
    pins: &Pins,
) -> Result<Resolved, QueryError> {
    let found = find(queries, default_schema, reads, purpose).await?;
    let opened = open(queries, &found, purpose, pins).await?;
    let mut state = queries.state(default_schema);
    let schemas = OneQueryCatalog::register(&mut state);
    let mut snapshots = HashMap::new();
    for (object_use, table) in opened {
        if let OpenTable::Delta(snapshot) = &table {
            // The newest version stands for the table; older ones are only read.
            let newest = object_use.at.is_none();
            if newest || !snapshots.contains_key(&object_use.name) {
                snapshots.insert(object_use.name.clone(), Arc::clone(snapshot));
            }
        }
        schemas.add(
            object_use.name.schema(),
            &object_use.planned_name,
            table.provider(&state, queries).await?,
        )?;
    }
    for read in &found.files {
        let provider =
            open_files(queries, &read.files, &state).await.map_err(|error| {
                match read.via.clone() {
                    Some(name) => QueryError::View { name, source: Box::new(error) },
                    None => error,
                }
            })?;
        schemas.add(default_schema, &read.files.planned_name(), provider)?;
    }
    for name in &found.system {
        let provider = system::table(queries, name.name())
            .await?
            .ok_or_else(|| QueryError::TableNotFound { name: name.clone(), nearest: None })?;
        schemas.add(name.schema(), name.name(), provider)?;
    }
    if found.information_schema {
        describe_everything(queries, &schemas, &found).await?;
    }
    for name in found.views_in_order() {
        let view = &found.views[&name];
        let plan = plan_stored(&state, &view.query)
            .await
            .map_err(|source| QueryError::View { name: name.clone(), source: Box::new(source) })?;
        let provider: Arc<dyn TableProvider> = if view.is_transform {
            // Its own table does not exist yet: only its columns are known.
            Arc::new(Described::new(stored_schema(plan.schema().as_arrow())?, None))
        } else {
            Arc::new(ViewTable::new(plan, Some(view.definition.clone())))
        };
        schemas.add(name.schema(), name.name(), provider)?;
    }
    let files = found.files.into_iter().map(|read| read.files).collect();
    Ok(Resolved { state, snapshots, files, uses: found.uses, catalog: schemas })
}

/// The schema that a result has once it is stored.
pub(crate) fn stored_schema(schema: &arrow::datatypes::Schema) -> Result<SchemaRef, QueryError> {
    Ok(lake::delta_schema(schema)?)
}

/// One table or version of a table that the statement reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ObjectUse {
    name: ObjectName,
    planned_name: String,
    at: Option<TimeTravel>,
    /// The view that names it, when the statement itself does not.
    via: Option<ObjectName>,
}

impl ObjectUse {
    fn reads_changes(&self) -> bool {
        matches!(self.at, Some(TimeTravel::Changes { .. }))
    }
}

/// Files that the statement reads by a function.
struct FoundFiles {
    files: FilesUse,
    /// The view that names them, when the statement itself does not.
    via: Option<ObjectName>,
}

struct StoredQuery {
    query: Query,
    definition: String,
    is_transform: bool,
}

#[derive(Default)]
struct Found {
    objects: HashMap<ObjectName, Object>,
    uses: HashSet<ObjectUse>,
    files: Vec<FoundFiles>,
    views: HashMap<ObjectName, StoredQuery>,
    system: BTreeSet<ObjectName>,
    information_schema: bool,
}

impl Found {
    fn add_files(&mut self, files: &[FilesUse], via: Option<&ObjectName>) {
        for files in files {
            if !self.files.iter().any(|known| known.files == *files) {
                self.files.push(FoundFiles { files: files.clone(), via: via.cloned() });
            }
        }
    }

    /// Views such that each comes after those that it reads.
    fn views_in_order(&self) -> Vec<ObjectName> {
        fn visit(
            name: &ObjectName,
            found: &Found,
            seen: &mut HashSet<ObjectName>,
            order: &mut Vec<ObjectName>,
        ) {
            let Some(view) = found.views.get(name) else { return };
            if !seen.insert(name.clone()) {
                return;
            }
            for used in &view.query.tables {
                if let Ok(read) = ObjectName::from_parts(&used.name, "") {
                    visit(&read, found, seen, order);
                }
            }
            order.push(name.clone());
        }
        let (mut seen, mut order) = (HashSet::new(), Vec::new());
        let mut names: Vec<_> = self.views.keys().collect();
        names.sort();
        for name in names {
            visit(name, self, &mut seen, &mut order);
        }
        order
    }
}

async fn find(
    queries: &Inner,
    default_schema: &str,
    reads: Reads<'_>,
    purpose: Purpose,
) -> Result<Found, QueryError> {
    let mut found = Found::default();
    found.add_files(reads.files, None);
    let mut level = named_uses(reads.tables, default_schema, None)?;
    for _ in 0..VIEW_DEPTH_MAX {
        let mut wanted = BTreeSet::new();
        for object_use in &level {
            if object_use.name.schema() == "information_schema" {
                found.information_schema = true;
            } else if system::is_system(&object_use.name) {
                found.system.insert(object_use.name.clone());
            } else if !found.objects.contains_key(&object_use.name) {
                wanted.insert(object_use.name.clone());
            }
        }
        let wanted: Vec<_> = wanted.into_iter().collect();
        for object in queries.objects_named(&wanted).await? {
            found.objects.insert(object.name.clone(), object);
        }
        let mut next = Vec::new();
        for object_use in level {
            if object_use.name.schema() == "information_schema"
                || system::is_system(&object_use.name)
            {
                refuse_time_travel(&object_use, "a system table")?;
                continue;
            }
            let Some(object) = found.objects.get(&object_use.name) else {
                let missing = queries.not_found(object_use.name).await;
                return Err(match object_use.via {
                    Some(name) => QueryError::View { name, source: Box::new(missing) },
                    None => missing,
                });
            };
            let stored = match &object.body {
                ObjectBody::Table(_) => None,
                ObjectBody::View(view) => Some((&view.query, &view.definition, false)),
                ObjectBody::MaterializedView(view) => (purpose == Purpose::Describe
                    && !queries.options.lake.exists(&view.location).await?)
                    .then_some((&view.query, &view.definition, true)),
            };
            let Some((query, definition, is_transform)) = stored else {
                found.uses.insert(ObjectUse { via: None, ..object_use });
                continue;
            };
            refuse_time_travel(&object_use, "a view")?;
            let name = object_use.name;
            if !found.views.contains_key(&name) {
                let query = parse_stored(query)?;
                let definition = definition.clone();
                next.extend(named_uses(&query.tables, default_schema, Some(&name))?);
                found.add_files(&query.files, Some(&name));
                found.views.insert(name, StoredQuery { query, definition, is_transform });
            }
        }
        if next.is_empty() {
            return Ok(found);
        }
        level = next;
    }
    Err(QueryError::ViewDepth(VIEW_DEPTH_MAX))
}

fn named_uses(
    tables: &[TableUse],
    default_schema: &str,
    via: Option<&ObjectName>,
) -> Result<Vec<ObjectUse>, QueryError> {
    tables
        .iter()
        .map(|used| {
            let name = ObjectName::from_parts(&used.name, default_schema)?;
            let planned_name = used.planned_name.last().unwrap_or(&String::new()).clone();
            Ok(ObjectUse { name, planned_name, at: used.at.clone(), via: via.cloned() })
        })
        .collect()
}

fn refuse_time_travel(object_use: &ObjectUse, kind: &'static str) -> Result<(), QueryError> {
    if object_use.at.is_none() {
        return Ok(());
    }
    Err(QueryError::Invalid(format!(
        "'{}' is {kind}: only Delta tables and materialized views have versions to travel to",
        object_use.name
    )))
}

/// Reads a query back from the catalog.
pub(crate) fn parse_stored(text: &str) -> Result<Query, QueryError> {
    match dialect::parse(text)? {
        Statement::Query(query) => Ok(query),
        _ => Err(QueryError::Invalid("a stored query is not a query".to_owned())),
    }
}

async fn plan_stored(
    state: &SessionState,
    query: &Query,
) -> Result<datafusion::logical_expr::LogicalPlan, QueryError> {
    crate::plan::logical(state, query).await
}

enum OpenTable {
    Delta(Arc<Snapshot>),
    Changes(Arc<dyn TableProvider>),
    Files { table: Table },
}

impl OpenTable {
    async fn provider(
        &self,
        state: &SessionState,
        queries: &Inner,
    ) -> Result<Arc<dyn TableProvider>, QueryError> {
        match self {
            Self::Delta(snapshot) => Ok(snapshot.provider()?),
            Self::Changes(changes) => Ok(Arc::clone(changes)),
            Self::Files { table } => {
                let lake = &queries.options.lake;
                Ok(lake.files(&table.location, table.format, &table.options, state).await?)
            }
        }
    }
}

async fn open(
    queries: &Inner,
    found: &Found,
    purpose: Purpose,
    pins: &Pins,
) -> Result<Vec<(ObjectUse, OpenTable)>, QueryError> {
    let uses: Vec<_> = found.uses.iter().cloned().collect();
    stream::iter(uses.into_iter().map(|object_use| async move {
        let object = &found.objects[&object_use.name];
        let table = match &object.body {
            body if object_use.reads_changes() => changes(queries, &object_use, body).await?,
            ObjectBody::Table(table) if table.format != TableFormat::Delta => {
                refuse_time_travel(&object_use, "no Delta table")?;
                OpenTable::Files { table: table.clone() }
            }
            ObjectBody::Table(table) => {
                let at = version_wanted(&object_use, object, pins)?;
                OpenTable::Delta(queries.options.lake.snapshot(&table.location, at).await?)
            }
            ObjectBody::MaterializedView(view) => {
                let at = version_wanted(&object_use, object, pins)?;
                OpenTable::Delta(open_view(queries, object, view, at, purpose).await?)
            }
            ObjectBody::View(_) => unreachable_view(object)?,
        };
        Ok((object_use, table))
    }))
    .buffer_unordered(SNAPSHOTS_AT_ONCE)
    .try_collect()
    .await
}

/// The rows that changed in a table.
async fn changes(
    queries: &Inner,
    object_use: &ObjectUse,
    body: &ObjectBody,
) -> Result<OpenTable, QueryError> {
    let location = match body {
        ObjectBody::Table(table) if table.format == TableFormat::Delta => &table.location,
        ObjectBody::MaterializedView(view) => &view.location,
        ObjectBody::Table(_) | ObjectBody::View(_) => {
            return Err(QueryError::Invalid(format!(
                "'{}' is no Delta table: only those record what changed",
                object_use.name
            )));
        }
    };
    let Some(TimeTravel::Changes { from, to }) = &object_use.at else {
        return Err(QueryError::Invalid("no changes are read".to_owned()));
    };
    let (from, to) = (at(from)?, to.as_ref().map_or(Ok(At::Latest), |to| at(to))?);
    if let (At::Version(from), At::Version(to)) = (from, to)
        && from > to
    {
        return Err(QueryError::Invalid(format!(
            "the changes of '{}' from version {from} to version {to}: the first version comes first",
            object_use.name
        )));
    }
    Ok(OpenTable::Changes(queries.options.lake.table_changes(location, from, to).await?))
}

/// Files that a query names, by the rules of a LOCATION.
async fn open_files(
    queries: &Inner,
    files: &FilesUse,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let lake = &queries.options.lake;
    let location = lake.parse_location(&files.place)?;
    Ok(lake.files(&location, files.format, &files.options, state).await?)
}

fn unreachable_view(object: &Object) -> Result<OpenTable, QueryError> {
    Err(QueryError::Invalid(format!("'{}' is a view and has no table of its own", object.name)))
}

async fn open_view(
    queries: &Inner,
    object: &Object,
    view: &MaterializedView,
    at: At,
    purpose: Purpose,
) -> Result<Arc<Snapshot>, QueryError> {
    let lake = &queries.options.lake;
    match lake.snapshot(&view.location, at).await {
        Err(error) if purpose == Purpose::Read && error.code() == model::code::Code::NotFound => {
            match lake.exists(&view.location).await? {
                true => Err(error.into()),
                false => Err(QueryError::NotRefreshed(object.name.clone())),
            }
        }
        other => Ok(other?),
    }
}

fn version_wanted(object_use: &ObjectUse, object: &Object, pins: &Pins) -> Result<At, QueryError> {
    match &object_use.at {
        None => Ok(pins.get(&object.id).map_or(At::Latest, |pin| At::Version(pin.version))),
        Some(travel) => at(travel),
    }
}

/// The version that a time travel clause asks for.
pub(crate) fn at(travel: &TimeTravel) -> Result<At, QueryError> {
    match travel {
        TimeTravel::Version(version) => Ok(At::Version(*version)),
        TimeTravel::Timestamp(text) => Ok(At::Timestamp(parse_time(text)?)),
        TimeTravel::Changes { .. } => {
            Err(QueryError::Invalid("a range of versions is no version".to_owned()))
        }
    }
}

/// A time as people write it: RFC 3339, or a date with or without a time of day, in UTC.
fn parse_time(text: &str) -> Result<Timestamp, QueryError> {
    let nanos = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text.trim())
        .map_err(|_| {
            QueryError::Invalid(format!(
                "'{text}' is not a point in time; write for example '2026-01-31 12:00:00'"
            ))
        })?;
    Ok(Timestamp::from_micros(nanos.div_euclid(1_000)))
}

async fn describe_everything(
    queries: &Inner,
    schemas: &OneQueryCatalog,
    found: &Found,
) -> Result<(), QueryError> {
    for schema in queries.options.catalog.schemas().await? {
        schemas.schema(&schema.name)?;
    }
    for table in crate::describe::all(queries).await? {
        // What the statement reads itself is registered with its rows.
        let registered = found
            .uses
            .iter()
            .any(|used| used.name == table.name && used.planned_name == table.name.name())
            || found.views.contains_key(&table.name);
        if registered {
            continue;
        }
        let Some(schema) = table.schema else { continue };
        let described = Described::new(schema, table.definition.clone());
        let described = if table.is_view { described.into_view() } else { described };
        schemas.add(table.name.schema(), table.name.name(), Arc::new(described))?;
    }
    Ok(())
}

/// The catalog of one statement: it knows the tables that the statement names.
struct OneQueryCatalog {
    catalog: Arc<MemoryCatalogProvider>,
}

impl OneQueryCatalog {
    fn register(state: &mut SessionState) -> Self {
        let catalog = Arc::new(MemoryCatalogProvider::new());
        let list = Arc::new(MemoryCatalogProviderList::new());
        datafusion::catalog::CatalogProviderList::register_catalog(
            list.as_ref(),
            CATALOG.to_owned(),
            Arc::clone(&catalog) as Arc<dyn CatalogProvider>,
        );
        state.register_catalog_list(list);
        Self { catalog }
    }

    fn schema(&self, name: &str) -> Result<Arc<dyn SchemaProvider>, DataFusionError> {
        if let Some(schema) = self.catalog.schema(name) {
            return Ok(schema);
        }
        let schema: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
        self.catalog.register_schema(name, Arc::clone(&schema))?;
        Ok(schema)
    }

    fn add(
        &self,
        schema: &str,
        planned_name: &str,
        provider: Arc<dyn TableProvider>,
    ) -> Result<(), QueryError> {
        self.schema(schema)?.register_table(planned_name.to_owned(), provider)?;
        Ok(())
    }
}

/// A table of which only the columns are known.
#[derive(Debug)]
pub(crate) struct Described {
    schema: SchemaRef,
    definition: Option<String>,
    table_type: TableType,
}

impl Described {
    pub(crate) fn new(schema: SchemaRef, definition: Option<String>) -> Self {
        Self { schema, definition, table_type: TableType::Base }
    }

    fn into_view(mut self) -> Self {
        self.table_type = TableType::View;
        self
    }
}

#[async_trait]
impl TableProvider for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.table_type
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    async fn scan(
        &self,
        _state: &dyn DataFusionSession,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        // Plans over it are only ever explained, never run.
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema)))
    }
}
