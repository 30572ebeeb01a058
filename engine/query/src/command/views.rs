//! CREATE VIEW and CREATE MATERIALIZED VIEW: stored queries.

use std::collections::{HashMap, HashSet, VecDeque};

use catalog::objects::OnConflict;
use datafusion::{common::DFSchema, execution::SessionState};
use dialect::statement::{CreateMaterializedView, CreateMode, CreateView, DeclaredKey, Query};
use model::{
    id::ObjectId,
    job::JobCause,
    name::ObjectName,
    object::{Object, ObjectBody, ObjectKind, View},
    transform::{Key, Transform},
};
use sha2::{Digest, Sha256};

use super::{
    new_name, place, resources, schedules, stored,
    tables::{schema_must_exist, wrong_kind},
};
use crate::{
    clustering,
    error::QueryError,
    expect,
    incremental::is_of_the_planner,
    keys, plan,
    queries::{Checked, CommandResult, Inner, Queries},
    resolve::{Purpose, stored_schema},
    session::Session,
    system, transform,
};

/// Plans the query of a view that is to be stored under `name`, without any effect.
pub(super) async fn check(
    inner: &Inner,
    session: &Session,
    name: &[String],
    query: &Query,
) -> Result<Checked, QueryError> {
    stored(query)?;
    let name = new_name(session, name)?;
    let reads = reads(session, query)?;
    refuse_cycle(inner, &name, &reads).await?;
    let resolved = inner.resolve(session, query.into(), Purpose::Describe).await?;
    let plan = plan::logical(&resolved.state, query).await?;
    named_once(plan.schema())?;
    Ok(Checked { resolved, plan, parameters: 0, guessed: false })
}

/// As [`check`], for a materialized view: its runs have to find what they read at a version, and a plan
/// that cannot be made is refused now, not by each of them.
pub(super) async fn check_materialized(
    inner: &Inner,
    session: &Session,
    name: &[String],
    query: &Query,
) -> Result<Checked, QueryError> {
    let checked = check(inner, session, name, query).await?;
    transform::has_versions(&checked.resolved)?;
    match plan::physical(&checked.resolved.state, &checked.plan).await {
        Err(QueryError::Engine(error)) if is_of_the_planner(&error) => {
            let error = error.strip_backtrace();
            Err(QueryError::Unsupported(format!(
                "the query cannot be run in this version: {error}"
            )))
        }
        _ => Ok(checked),
    }
}

pub(super) async fn create(
    queries: &Queries,
    session: &Session,
    create: CreateView,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = new_name(session, &create.name)?;
    let existing = inner.objects_named(std::slice::from_ref(&name)).await?.pop();
    if let Some(existing) = &existing {
        if create.if_not_exists {
            return Ok(CommandResult::done());
        }
        if existing.kind() != ObjectKind::View {
            return Err(wrong_kind(existing, "which CREATE VIEW does not replace"));
        }
        if !create.or_replace {
            return Err(catalog::error::CatalogError::ObjectExists(name).into());
        }
    }
    schema_must_exist(inner, &name).await?;
    let checked = check(inner, session, &create.name, &create.query).await?;
    let query = renamed(
        &dialect::qualify(&create.query, session.schema()),
        &create.columns,
        checked.plan.schema(),
    )?;
    let view = View { query, definition: create.definition, reads: reads(session, &create.query)? };
    let object = Object {
        id: existing.as_ref().map_or_else(ObjectId::generate, |object| object.id),
        name,
        body: ObjectBody::View(view),
        comment: create.comment,
        properties: model::object::Properties::new(),
        owner: session.principal().name().to_owned(),
        policy: model::object::Policy::default(),
        created_at: inner.options.clock.now(),
        definition_version: 1,
    };
    let on = replace_or(existing.as_ref(), create.if_not_exists);
    inner.options.catalog.put_object(&object, on).await?;
    Ok(CommandResult::done())
}

pub(super) async fn create_materialized(
    queries: &Queries,
    session: &Session,
    create: CreateMaterializedView,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = new_name(session, &create.name)?;
    let existing = inner.objects_named(std::slice::from_ref(&name)).await?.pop();
    if let Some(existing) = &existing {
        match create.mode {
            CreateMode::IfNotExists => return Ok(CommandResult::done()),
            CreateMode::Create => {
                return Err(catalog::error::CatalogError::ObjectExists(name).into());
            }
            CreateMode::OrRefresh | CreateMode::OrReplace => {}
        }
        if existing.kind() != ObjectKind::MaterializedView {
            return Err(wrong_kind(existing, "which CREATE MATERIALIZED VIEW does not replace"));
        }
    }
    schema_must_exist(inner, &name).await?;
    resources::check(inner, &create.resources)?;
    let checked = check_materialized(inner, session, &create.name, &create.query).await?;
    let id = existing.as_ref().map_or_else(ObjectId::generate, |object| object.id);
    let mut view = materialized_view(inner, session, &create, id, &name, existing.as_ref())?;
    if create.location.is_some() {
        place::check(inner, existing.as_ref(), &view.location).await?;
    }
    let shaped = transform::shaped(&checked.resolved.state, checked.plan, &view.columns).await?;
    let schema = stored_schema(shaped.schema().as_arrow())?;
    check_declared(inner, session, &name, &checked.resolved.state, shaped.schema(), &mut view)
        .await?;
    for column in &view.partitioned_by {
        if schema.field_with_name(column).is_err() {
            return Err(QueryError::Invalid(format!(
                "PARTITIONED BY names the column '{column}', which the query of '{name}' does not have"
            )));
        }
    }
    clustering::check(&create.properties, &schema, &view.partitioned_by)?;
    let object = Object {
        id,
        name,
        body: ObjectBody::MaterializedView(view),
        comment: create.comment,
        properties: create.properties,
        owner: session.principal().name().to_owned(),
        policy: model::object::Policy::default(),
        created_at: inner.options.clock.now(),
        definition_version: 1,
    };
    let cause = match &existing {
        Some(before) if same_definition(before, &object) => JobCause::Request,
        _ => JobCause::Definition,
    };
    let on = replace_or(existing.as_ref(), create.mode == CreateMode::IfNotExists);
    inner.options.catalog.put_object(&object, on).await?;
    if session.defers_refresh() {
        return Ok(CommandResult::done());
    }
    let jobs = queries.submit_graph(session, &[id], cause).await?;
    Ok(CommandResult::rows(system::job_rows(&jobs)))
}

fn materialized_view(
    inner: &Inner,
    session: &Session,
    create: &CreateMaterializedView,
    id: ObjectId,
    name: &ObjectName,
    existing: Option<&Object>,
) -> Result<Transform, QueryError> {
    let lake = &inner.options.lake;
    let before = existing.and_then(Object::transform);
    let kept = existing.and_then(Object::location).map(str::to_owned);
    let location = match (&create.location, kept) {
        (Some(text), _) => lake.parse_location(text)?,
        (None, Some(location)) => location,
        (None, None) => lake.table_location(id, name),
    };
    let keys = keys(session, &create.keys)?;
    Ok(Transform {
        query: dialect::qualify(&create.query, session.schema()),
        definition: create.definition.clone(),
        schema: session.schema().to_owned(),
        definition_hash: definition_hash(create, session.schema(), &keys),
        reads: reads(session, &create.query)?,
        location,
        partitioned_by: create.partitioned_by.clone(),
        schedule: create.schedule.clone(),
        schedule_since: schedules::since(
            before,
            create.schedule.as_ref(),
            inner.options.clock.now(),
        ),
        misfire: create.misfire,
        trigger: create.trigger,
        policy: create.policy,
        on_full_refresh: create.on_full_refresh,
        resources: create.resources.clone(),
        columns: create.columns.clone(),
        expectations: create.expectations.clone(),
        keys,
        source_file: session.source_file().map(str::to_owned),
        suspended: false,
        ..Transform::default()
    })
}

/// A hash of what a materialized view means; `keys` are those of the statement with full names.
pub(super) fn definition_hash(
    create: &CreateMaterializedView,
    schema: &str,
    keys: &[Key],
) -> String {
    let CreateMaterializedView { query, partitioned_by, columns, expectations, .. } = create;
    let mut hash = Sha256::new();
    hash.update(dialect::normal_form(query).as_bytes());
    let layout = serde_json::json!([partitioned_by, columns, schema]);
    hash.update(layout.to_string().as_bytes());
    if !(expectations.is_empty() && keys.is_empty()) {
        // What is expected of rows is part of what they mean, and is asked of all of them anew.
        hash.update(serde_json::json!([expectations, keys]).to_string().as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys as they were written, with full names.
pub(super) fn keys(session: &Session, keys: &[DeclaredKey]) -> Result<Vec<Key>, QueryError> {
    let keys = keys.iter().cloned().map(|key| key.qualified(session.schema()));
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Refuses expectations and keys that a result with these columns cannot have, and completes the
/// keys.
pub(super) async fn check_declared(
    inner: &Inner,
    session: &Session,
    name: &ObjectName,
    state: &SessionState,
    columns: &DFSchema,
    view: &mut Transform,
) -> Result<(), QueryError> {
    let columns = columns.inner();
    expect::check(state, columns, &view.expectations)?;
    if expect::has_quarantine(&view.expectations) {
        // Refused here and not by the first run where the place beside the table is no place of ours.
        inner.options.lake.exists(&expect::quarantine_location(&view.location)).await?;
    }
    view.keys = keys::check(inner, session, name, columns, std::mem::take(&mut view.keys)).await?;
    Ok(())
}

fn same_definition(before: &Object, after: &Object) -> bool {
    match (&before.body, &after.body) {
        (ObjectBody::MaterializedView(before), ObjectBody::MaterializedView(after)) => {
            before.definition_hash == after.definition_hash
        }
        _ => false,
    }
}

pub(super) fn replace_or(existing: Option<&Object>, keep: bool) -> OnConflict {
    match existing {
        Some(object) => {
            OnConflict::Replace { id: object.id, definition_version: object.definition_version }
        }
        None if keep => OnConflict::Keep,
        None => OnConflict::Fail,
    }
}

/// The objects that a query names, system tables left out.
pub(super) fn reads(session: &Session, query: &Query) -> Result<Vec<ObjectName>, QueryError> {
    let mut names = Vec::new();
    for used in &query.tables {
        let name = ObjectName::from_parts(&used.name, session.schema())?;
        if name.schema() == "information_schema" || system::is_system(&name) {
            return Err(QueryError::Unsupported(format!(
                "a stored query cannot read '{name}': what it shows has no versions"
            )));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Refuses a definition that would read itself, directly or through others.
async fn refuse_cycle(
    inner: &Inner,
    name: &ObjectName,
    reads: &[ObjectName],
) -> Result<(), QueryError> {
    let objects: HashMap<ObjectName, Object> = {
        let all = inner.options.catalog.objects().await?;
        all.into_iter().map(|object| (object.name.clone(), object)).collect()
    };
    let mut came_from: HashMap<&ObjectName, &ObjectName> = HashMap::new();
    let mut seen: HashSet<&ObjectName> = HashSet::new();
    let mut queue: VecDeque<&ObjectName> = VecDeque::new();
    for read in reads {
        if seen.insert(read) {
            queue.push_back(read);
        }
    }
    while let Some(at) = queue.pop_front() {
        if at == name {
            let mut path = vec![name.clone()];
            let mut step = at;
            while let Some(before) = came_from.get(step) {
                path.push((*before).clone());
                step = before;
            }
            path.push(name.clone());
            path.reverse();
            return Err(QueryError::Cycle(path));
        }
        for read in objects.get(at).map_or(&[][..], Object::reads) {
            if seen.insert(read) {
                came_from.insert(read, at);
                queue.push_back(read);
            }
        }
    }
    Ok(())
}

/// A stored result needs a distinct name for every column.
pub(crate) fn named_once(schema: &DFSchema) -> Result<(), QueryError> {
    let mut names = HashSet::new();
    for field in schema.fields() {
        if !names.insert(field.name()) {
            return Err(QueryError::Invalid(format!(
                "two columns of the query are named '{}': give one of them another name with AS",
                field.name()
            )));
        }
    }
    Ok(())
}

/// A view's column list becomes part of its query.
fn renamed(query: &str, columns: &[String], schema: &DFSchema) -> Result<String, QueryError> {
    if columns.is_empty() {
        return Ok(query.to_owned());
    }
    if columns.len() != schema.fields().len() {
        return Err(QueryError::Invalid(format!(
            "the view names {} columns and its query has {}",
            columns.len(),
            schema.fields().len()
        )));
    }
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let list = columns.iter().map(quoted).collect::<Vec<_>>().join(", ");
    Ok(format!("SELECT * FROM ({query}) AS renamed ({list})"))
}
