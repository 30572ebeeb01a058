//! CREATE TABLE in its forms, and DROP.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use catalog::objects::{OnConflict, Put};
use datafusion::physical_plan::{ExecutionPlan, empty::EmptyExec};
use dialect::statement::{Check, Column, CreateTable, Drop, DropKind};
use lake::{At, CONSTRAINT_PREFIX, CommitInfo, GENERATED, Stage, StageProgress, WriteMode};
use model::{
    clustering::CLUSTER_BY,
    id::ObjectId,
    name::ObjectName,
    object::{Object, ObjectBody, ObjectKind, Table, TableFormat},
};

use super::{data_types, finished, generated, new_name, place, stored, target::check_as};
use crate::{
    clustering,
    error::QueryError,
    expect::quarantine_location,
    folders, plan,
    queries::{Checked, CommandResult, Inner, Queries, check_query},
    session::Session,
};

pub(super) async fn create(
    queries: &Queries,
    session: &Session,
    create: CreateTable,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = new_name(session, &create.name)?;
    let existing = inner.objects_named(std::slice::from_ref(&name)).await?.pop();
    if let Some(existing) = &existing {
        if create.if_not_exists {
            return Ok(CommandResult::done());
        }
        if !create.or_replace {
            return Err(catalog::error::CatalogError::ObjectExists(name).into());
        }
        if existing.kind() != ObjectKind::Table {
            return Err(wrong_kind(existing, "and CREATE OR REPLACE TABLE replaces only tables"));
        }
    }
    schema_must_exist(inner, &name).await?;
    let format = create.format.unwrap_or(TableFormat::Delta);
    if format != TableFormat::Delta {
        return register_files(queries, session, create, name, format, existing).await;
    }
    create_delta(queries, session, create, name, existing).await
}

async fn create_delta(
    queries: &Queries,
    session: &Session,
    create: CreateTable,
    name: ObjectName,
    existing: Option<Object>,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let lake = &inner.options.lake;
    if !create.options.is_empty() {
        return Err(QueryError::Invalid(
            "OPTIONS are for CSV, JSON and Parquet files; Delta tables take TBLPROPERTIES"
                .to_owned(),
        ));
    }
    let id = existing.as_ref().map_or_else(ObjectId::generate, |object| object.id);
    let kept_location = existing.as_ref().and_then(Object::location).map(str::to_owned);
    let location = match (&create.location, kept_location) {
        (Some(text), _) => lake.parse_location(text)?,
        (None, Some(location)) => location,
        (None, None) => lake.table_location(id, &name),
    };
    super::alter::no_constraints(&create.properties)?;
    let registers = create.query.is_none() && create.columns.is_empty() && create.like.is_none();
    if registers {
        return register_delta(queries, session, create, name, existing, location).await;
    }
    if create.location.is_some() {
        place::check(inner, existing.as_ref(), &location).await?;
    }
    let external = create.external || create.location.is_some();
    let table = Table {
        location: location.clone(),
        format: TableFormat::Delta,
        external,
        options: model::object::Properties::new(),
        primary_key: create.primary_key.clone(),
        path_columns: Vec::new(),
        complete_when: None,
    };
    let mut create = create;
    let columns = match create.like.take() {
        Some(like) => Some(take_after(inner, session, &mut create, &like).await?),
        None => None,
    };
    let object = object(inner, session, id, &name, ObjectBody::Table(table), &create);
    let write = TableContent::of(inner, session, &create, columns).await?;
    let stored = write.schema.clone().unwrap_or_else(|| write.plan.schema());
    clustering::check(&create.properties, &stored, &create.partitioned_by)?;
    let replaces = existing.is_some();
    let (partitioned_by, comment) = (create.partitioned_by.clone(), create.comment.clone());
    let (mut properties, schema) = (create.properties.clone(), write.schema);
    for check in &create.checks {
        properties.insert(format!("{CONSTRAINT_PREFIX}{}", check.name), check.condition.clone());
    }
    let mode = if replaces {
        WriteMode::Replace { partitioned_by, comment, properties, schema }
    } else {
        WriteMode::Create { partitioned_by, comment, properties, schema }
    };
    let staged = queries
        .stage(Stage {
            location: location.clone(),
            plan: write.plan,
            task: write.task,
            mode,
            base: None,
            checks: Vec::new(),
            progress: Arc::new(StageProgress::default()),
        })
        .await?;
    let (lake, catalog) = (Arc::clone(lake), Arc::clone(&inner.options.catalog));
    let on = on_conflict(existing.as_ref(), create.if_not_exists);
    let counts = write.counts;
    finished(queries, async move {
        let committed = lake.commit(staged, CommitInfo::default()).await?;
        // The table is named last: before, it is not there for anybody.
        match catalog.put_object(&object, on).await {
            Ok(Put::Created | Put::Replaced) => {}
            Ok(Put::Kept) | Err(_) if !replaces && !external => {
                // Somebody else took the name in the meantime; our files have no name and go.
                lake.purge(&location).await?;
                if on == OnConflict::Fail {
                    return Err(catalog::error::CatalogError::ObjectExists(object.name).into());
                }
                return Ok(CommandResult::done());
            }
            Ok(Put::Kept) => return Ok(CommandResult::done()),
            Err(error) => return Err(error.into()),
        }
        Ok(CommandResult::affected(if counts { committed.rows } else { 0 }))
    })
    .await
}

/// LIKE: partitioning, clustering, constraints and comment of another table, unless the statement has its own.
/// Returns its columns.
async fn take_after(
    inner: &Inner,
    session: &Session,
    create: &mut CreateTable,
    like: &[String],
) -> Result<SchemaRef, QueryError> {
    let location = super::show::delta_location(inner, session, like).await?;
    let other = inner.options.lake.snapshot(&location, At::Latest).await?;
    create.partitioned_by = other.partitioned_by().to_vec();
    let clustering = other.properties().get(CLUSTER_BY).cloned();
    let clustering = clustering.map(|columns| (CLUSTER_BY.to_owned(), columns));
    create.properties =
        clustering.into_iter().chain(std::mem::take(&mut create.properties)).collect();
    create.checks = other
        .constraints()
        .map(|(name, condition)| Check { name: name.to_owned(), condition: condition.to_owned() })
        .collect();
    if create.comment.is_none() {
        create.comment = other.comment().map(str::to_owned);
    }
    Ok(other.schema())
}

/// The rows and columns that a new table begins with.
struct TableContent {
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<datafusion::execution::TaskContext>,
    /// Declared columns; a query brings its own.
    schema: Option<SchemaRef>,
    counts: bool,
}

impl TableContent {
    async fn of(
        inner: &Inner,
        session: &Session,
        create: &CreateTable,
        columns: Option<SchemaRef>,
    ) -> Result<Self, QueryError> {
        let Some(query) = &create.query else {
            let schema = match columns {
                Some(columns) => columns,
                None => column_schema(inner, &create.columns).await?,
            };
            let state = inner.state(session.schema());
            for check in &create.checks {
                check_as(&state, &schema, None, &check.name, &check.condition)?;
            }
            let schema = lake::declared_schema(&schema)?;
            generated::checks(&state, &schema)?;
            let task = state.task_ctx();
            let plan = Arc::new(EmptyExec::new(Arc::clone(&schema)));
            let schema = Some(schema);
            return Ok(Self { plan, task, schema, counts: false });
        };
        stored(query)?;
        if !create.columns.is_empty() {
            return Err(QueryError::Invalid(
                "CREATE TABLE AS takes its columns from the query: leave the column list out"
                    .to_owned(),
            ));
        }
        let Checked { resolved, plan: logical, .. } =
            check_query(inner, session, query, None).await?;
        super::views::named_once(logical.schema())?;
        let plan = plan::physical(&resolved.state, &logical).await?;
        Ok(Self { plan, task: resolved.state.task_ctx(), schema: None, counts: true })
    }
}

async fn register_delta(
    queries: &Queries,
    session: &Session,
    create: CreateTable,
    name: ObjectName,
    existing: Option<Object>,
    location: String,
) -> Result<CommandResult, QueryError> {
    if create.location.is_none() {
        return Err(QueryError::Invalid(format!(
            "CREATE TABLE {} needs columns, a query (AS SELECT …), or the LOCATION of a Delta table",
            name.to_sql()
        )));
    }
    if !create.partitioned_by.is_empty() {
        return Err(QueryError::Invalid(
            "a Delta table that exists has its partitions already: leave PARTITIONED BY out"
                .to_owned(),
        ));
    }
    if create.properties.contains_key(CLUSTER_BY) {
        return Err(QueryError::Invalid(
            "a Delta table that exists has its properties already: leave CLUSTER BY out, and write \
             ALTER TABLE … CLUSTER BY (…) afterwards"
                .to_owned(),
        ));
    }
    let inner = &queries.inner;
    inner.options.lake.check_outside_of_tables(&location).await?;
    // Opening it proves that it is there and readable.
    inner.options.lake.snapshot(&location, At::Latest).await?;
    let table = Table {
        location,
        format: TableFormat::Delta,
        external: true,
        options: model::object::Properties::new(),
        primary_key: create.primary_key.clone(),
        path_columns: Vec::new(),
        complete_when: None,
    };
    put(queries, session, &create, &name, table, existing.as_ref()).await
}

async fn register_files(
    queries: &Queries,
    session: &Session,
    create: CreateTable,
    name: ObjectName,
    format: TableFormat,
    existing: Option<Object>,
) -> Result<CommandResult, QueryError> {
    let word = format.as_sql();
    let Some(location) = &create.location else {
        return Err(QueryError::Invalid(format!(
            "USING {word} needs a LOCATION: the file or folder to read"
        )));
    };
    let is_laid_out =
        !create.partitioned_by.is_empty() || create.properties.contains_key(CLUSTER_BY);
    if create.query.is_some() || !create.columns.is_empty() || is_laid_out {
        return Err(QueryError::Unsupported(format!(
            "a table of {word} files takes its columns from the files and is read only: \
             leave columns, PARTITIONED BY, CLUSTER BY and AS out, or use Delta"
        )));
    }
    let inner = &queries.inner;
    let location = match create.path_columns.is_empty() {
        true => inner.options.lake.parse_location(location)?,
        false => inner.options.lake.parse_folders(location)?,
    };
    let table = Table {
        location,
        format,
        external: true,
        options: create.options.clone(),
        primary_key: create.primary_key.clone(),
        path_columns: create.path_columns.clone(),
        complete_when: create.complete_when.clone(),
    };
    // Opening them proves that they are there and readable.
    folders::files_of(inner, &table, &inner.state(session.schema())).await?;
    put(queries, session, &create, &name, table, existing.as_ref()).await
}

async fn put(
    queries: &Queries,
    session: &Session,
    create: &CreateTable,
    name: &ObjectName,
    table: Table,
    existing: Option<&Object>,
) -> Result<CommandResult, QueryError> {
    let id = existing.map_or_else(ObjectId::generate, |object| object.id);
    let body = ObjectBody::Table(table);
    let object = object(&queries.inner, session, id, name, body, create);
    let on = on_conflict(existing, create.if_not_exists);
    queries.inner.options.catalog.put_object(&object, on).await?;
    Ok(CommandResult::done())
}

fn object(
    inner: &Inner,
    session: &Session,
    id: ObjectId,
    name: &ObjectName,
    body: ObjectBody,
    create: &CreateTable,
) -> Object {
    Object {
        id,
        name: name.clone(),
        body,
        comment: create.comment.clone(),
        properties: create.properties.clone(),
        owner: session.principal().name().to_owned(),
        policy: model::object::Policy::default(),
        created_at: inner.options.clock.now(),
        definition_version: 1,
    }
}

fn on_conflict(existing: Option<&Object>, if_not_exists: bool) -> OnConflict {
    match existing {
        Some(object) => {
            OnConflict::Replace { id: object.id, definition_version: object.definition_version }
        }
        None if if_not_exists => OnConflict::Keep,
        None => OnConflict::Fail,
    }
}

/// Arrow fields of declared columns; types are those that DataFusion's SQL knows.
pub(super) async fn column_schema(
    inner: &Inner,
    columns: &[Column],
) -> Result<SchemaRef, QueryError> {
    let state = inner.state("main");
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let data_type = arrow_type(&state, &column.data_type.to_string()).await?;
        let mut field = Field::new(&column.name, data_type, column.nullable);
        let comment = column.comment.iter().map(|text| ("comment".to_owned(), text.clone()));
        let generated = column.generated.iter().map(|text| (GENERATED.to_owned(), text.clone()));
        field.set_metadata(comment.chain(generated).collect());
        fields.push(field);
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The Arrow type of an SQL type's text.
pub(crate) async fn arrow_type(
    state: &datafusion::execution::SessionState,
    sql_type: &str,
) -> Result<arrow::datatypes::DataType, QueryError> {
    arrow_type_of(state, &dialect::parse_data_type(sql_type)?).await
}

/// The same of a type that was read.
pub(crate) async fn arrow_type_of(
    state: &datafusion::execution::SessionState,
    sql_type: &datafusion::sql::sqlparser::ast::DataType,
) -> Result<arrow::datatypes::DataType, QueryError> {
    data_types::arrow_type(state, sql_type).await
}

pub(super) async fn drop(
    queries: &Queries,
    session: &Session,
    drop: &Drop,
) -> Result<CommandResult, QueryError> {
    let name = ObjectName::from_parts(&drop.name, session.schema())?;
    let inner = &queries.inner;
    let Some(object) = inner.objects_named(std::slice::from_ref(&name)).await?.pop() else {
        if drop.if_exists {
            return Ok(CommandResult::done());
        }
        return Err(inner.missing(session, name).await);
    };
    let fits = matches!(
        (drop.kind, object.kind()),
        (DropKind::Table, ObjectKind::Table)
            | (DropKind::View, ObjectKind::View)
            | (DropKind::MaterializedView, ObjectKind::MaterializedView)
            | (DropKind::StreamingTable, ObjectKind::StreamingTable)
    );
    if !fits {
        let problem = format!("and is dropped with DROP {}", object.kind().as_sql());
        return Err(wrong_kind(&object, &problem));
    }
    let purged = if drop.purge { purged_location(&object)? } else { None };
    let (catalog, lake) = (Arc::clone(&inner.options.catalog), Arc::clone(&inner.options.lake));
    finished(queries, async move {
        catalog.drop_object(object.id, object.definition_version).await?;
        if let Some(location) = purged {
            lake.purge(&location).await?;
            // Rows that its expectations have kept out lie beside it.
            let aside = quarantine_location(&location);
            if object.transform().is_some() && lake.exists(&aside).await? {
                lake.purge(&aside).await?;
            }
        }
        Ok(CommandResult::done())
    })
    .await
}

/// What PURGE removes: Delta tables only, never files that somebody else wrote.
fn purged_location(object: &Object) -> Result<Option<String>, QueryError> {
    match &object.body {
        ObjectBody::Table(table) if table.format != TableFormat::Delta => {
            Err(wrong_kind(object, "of files that were not written here: drop it without PURGE"))
        }
        _ => Ok(object.location().map(str::to_owned)),
    }
}

pub(super) fn wrong_kind(object: &Object, problem: &str) -> QueryError {
    QueryError::WrongKind {
        name: object.name.clone(),
        kind: match object.kind() {
            ObjectKind::Table => "table",
            ObjectKind::View => "view",
            ObjectKind::MaterializedView => "materialized view",
            ObjectKind::StreamingTable => "streaming table",
        },
        problem: problem.to_owned(),
    }
}

pub(super) async fn schema_must_exist(inner: &Inner, name: &ObjectName) -> Result<(), QueryError> {
    let schemas = inner.options.catalog.schemas().await?;
    if schemas.iter().any(|schema| schema.name == name.schema()) {
        return Ok(());
    }
    Err(catalog::error::CatalogError::SchemaNotFound(name.schema().to_owned()).into())
}
