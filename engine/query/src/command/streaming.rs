//! CREATE STREAMING TABLE, CREATE FLOW and DROP FLOW.
//!
//! Flows are a part of the table that they feed: they are stored with it, and have no rights or
//! owner of their own.

use arrow::datatypes::Schema;
use catalog::{error::CatalogError, objects::OnConflict};
use datafusion::common::DFSchema;
use dialect::statement::{
    CreateFlow, CreateMode, CreateStreamingTable, FlowBody, NameParts, Query, Statement,
    StreamRead, TimeTravel,
};
use model::{
    id::ObjectId,
    job::JobCause,
    name::ObjectName,
    object::{Object, ObjectBody, ObjectKind},
    transform::{ChangeSpec, Flow, FlowKind, FoundFiles, RefreshPolicy, Transform},
};
use sha2::{Digest, Sha256};

use super::{
    new_name, place, resources, schedules, stored,
    tables::{schema_must_exist, wrong_kind},
    views,
};
use crate::{
    clustering,
    error::QueryError,
    queries::{Checked, CommandResult, Inner, Queries},
    read_files,
    resolve::{parse_stored, stored_schema},
    session::Session,
    streaming::{
        check_linear, check_starts, clauses, first_columns, kept, reads_a_stream, reads_files,
    },
    system, transform,
};

/// Plans the query of the flow `flow_name` of the table `name`, without any effect.
pub(super) async fn check(
    inner: &Inner,
    session: &Session,
    name: &[String],
    flow_name: &[String],
    flow: &FlowBody,
) -> Result<Checked, QueryError> {
    let flow_name = new_name(session, flow_name)?;
    Ok(check_flow(inner, session, name, &flow_name, flow).await?.checked)
}

/// What was found out about a flow when it was declared.
struct CheckedFlow {
    checked: Checked,
    /// Of AUTO CDC: the query that gives the rows which the events have made.
    of_changes: Option<String>,
    /// What its STREAM of files is, where it does not say so itself.
    files: Option<FoundFiles>,
}

/// As [`check`].
async fn check_flow(
    inner: &Inner,
    session: &Session,
    name: &[String],
    flow_name: &ObjectName,
    flow: &FlowBody,
) -> Result<CheckedFlow, QueryError> {
    stored(&flow.query)?;
    if let Some(spec) = &flow.changes {
        let (checked, query) = check_changes(inner, session, name, flow, spec).await?;
        return Ok(CheckedFlow { checked, of_changes: Some(query), files: None });
    }
    if !flow.once && !reads_a_stream(&flow.query) {
        return Err(QueryError::Invalid(
            "a flow reads at least one STREAM, or runs ONCE: what it reads now would come again with \
             each run; write FROM STREAM t, or CREATE MATERIALIZED VIEW"
                .to_owned(),
        ));
    }
    read_files::check_one_stream(&flow.query)?;
    let mut query = flow.query.clone();
    let files = found_files(inner, session, flow_name, flow).await?;
    read_files::settle(&mut query, files.as_ref());
    let checked = views::check(inner, session, name, &query).await?;
    transform::has_versions(&checked.resolved)?;
    check_linear(&checked.plan, &query)?;
    check_starts(inner, session, &query).await?;
    Ok(CheckedFlow { checked, of_changes: None, files })
}

/// What is found out about the STREAM of files of a flow. Said again it is what it was.
async fn found_files(
    inner: &Inner,
    session: &Session,
    name: &ObjectName,
    flow: &FlowBody,
) -> Result<Option<FoundFiles>, QueryError> {
    if read_files::stream_of(&flow.query).is_none() {
        return Ok(None);
    }
    let rights = inner.rights(session.principal()).await?;
    read_files::may_read_files(&rights)?;
    if let Some(object) = owner_of(inner, name).await? {
        let meaning = meaning(session, flow)?;
        let flows = object.transform().map(|table| table.flows.as_slice()).unwrap_or_default();
        let known = flows.iter().find(|known| known.name == *name);
        if let Some(known) = known.filter(|known| known.definition_hash == meaning) {
            return Ok(known.files.clone());
        }
    }
    read_files::find_out(inner, &inner.state(session.schema()), &flow.query).await
}

/// The hash of what a flow means.
fn meaning(session: &Session, body: &FlowBody) -> Result<String, QueryError> {
    let query = dialect::qualify(&body.query, session.schema());
    let kind = match &body.changes {
        None => FlowKind::Append,
        Some(spec) => FlowKind::Changes(Box::new(spec.clone())),
    };
    let meaning = serde_json::json!([normal(&query)?, body.once, kind]);
    Ok(hash([meaning.to_string().as_str()]))
}

/// Refuses to wait for changes of tables where a table reads files alone, which tell nobody that they
/// have come.
pub(super) fn check_trigger(view: &Transform) -> Result<(), QueryError> {
    if view.trigger.is_none() || !view.reads.is_empty() {
        return Ok(());
    }
    for flow in &view.flows {
        if reads_files(flow)? {
            return Err(QueryError::Unsupported(
                "TRIGGER ON UPDATE follows tables, and files tell nobody when they come: write \
                 SCHEDULE EVERY 10 MINUTES, or REFRESH the table when they have come"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}

async fn check_changes(
    inner: &Inner,
    session: &Session,
    name: &[String],
    flow: &FlowBody,
    spec: &ChangeSpec,
) -> Result<(Checked, String), QueryError> {
    let source = flow.query.tables.first();
    let Some((source, Some(TimeTravel::Stream(stream)))) = source.map(|used| (used, &used.at))
    else {
        return Err(QueryError::Invalid("AUTO CDC reads the STREAM of one table".to_owned()));
    };
    if flow.once || *stream != StreamRead::default() {
        return Err(QueryError::Unsupported(
            "AUTO CDC reads all events of its source in this version: leave out ONCE, and START and \
             ON_CHANGE of the STREAM"
                .to_owned(),
        ));
    }
    let read = views::check(inner, session, name, &flow.query).await?;
    let events = read.plan.schema().as_arrow();
    let source = ObjectName::from_parts(&source.name, session.schema())?;
    let sequence = clauses::check(&read.resolved.state, &source, events, spec)?;
    let source = kept::Source { name: &source.to_sql(), events, sequence: &sequence };
    let query = parse_stored(&kept::query(spec, source)?).map_err(without_position)?;
    let checked = views::check(inner, session, name, &query).await.map_err(without_position)?;
    transform::has_versions(&checked.resolved)?;
    Ok((checked, dialect::qualify(&query, session.schema())))
}

/// An error of a query that nobody has written: what it is stays, where it is says nothing.
fn without_position(error: QueryError) -> QueryError {
    match error.position() {
        Some(_) => QueryError::Invalid(error.to_string()),
        None => error,
    }
}

pub(super) async fn create(
    queries: &Queries,
    session: &Session,
    create: CreateStreamingTable,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = new_name(session, &create.name)?;
    let existing = inner.objects_named(std::slice::from_ref(&name)).await?.pop();
    if let Some(existing) = &existing {
        match create.mode {
            CreateMode::IfNotExists => return Ok(CommandResult::done()),
            CreateMode::Create => return Err(CatalogError::ObjectExists(name).into()),
            CreateMode::OrRefresh | CreateMode::OrReplace => {}
        }
        if existing.kind() != ObjectKind::StreamingTable {
            return Err(wrong_kind(existing, "which CREATE STREAMING TABLE does not replace"));
        }
    }
    refuse(&create)?;
    resources::check(inner, &create.resources)?;
    schema_must_exist(inner, &name).await?;
    let before = existing.as_ref().and_then(Object::transform);
    let mut flows: Vec<Flow> = before.map(|table| table.flows.clone()).unwrap_or_default();
    flows.retain(|flow| flow.name != name);
    let id = existing.as_ref().map_or_else(ObjectId::generate, |object| object.id);
    let mut view = table(inner, session, &create, id, &name, existing.as_ref())?;
    if create.location.is_some() {
        place::check(inner, existing.as_ref(), &view.location).await?;
    }
    let mut query = before.map(|before| before.query.clone());
    if let Some(body) = &create.flow {
        let checked_flow = check_flow(inner, session, &create.name, &name, body).await?;
        let CheckedFlow { checked, of_changes, files } = checked_flow;
        let state = &checked.resolved.state;
        let fields = columns_of(&checked, of_changes.is_some(), &view).await?;
        for partition in &view.partitioned_by {
            if fields.inner().field_with_name(partition).is_err() {
                return Err(QueryError::Invalid(format!(
                    "PARTITIONED BY names the column '{partition}', which '{name}' does not have"
                )));
            }
        }
        clustering::check(&create.properties, fields.inner(), &view.partitioned_by)?;
        views::check_declared(inner, session, &name, state, &fields, &mut view).await?;
        query = of_changes;
        let mut made = flow(session, name.clone(), body, &checked)?;
        made.files = files;
        let mut known = before.iter().flat_map(|before| &before.flows);
        // Said again it means what it meant.
        if let Some(same) = known.find(|known| known.means(&made)) {
            made.columns.clone_from(&same.columns);
        }
        flows.insert(0, made);
    }
    with_flows(&mut view, flows, query)?;
    let has_flows = !view.flows.is_empty();
    let same = before.is_some_and(|before| before.definition_hash == view.definition_hash);
    let object = Object {
        id,
        name,
        body: ObjectBody::StreamingTable(view),
        comment: create.comment,
        properties: create.properties,
        owner: session.principal().name().to_owned(),
        policy: model::object::Policy::default(),
        created_at: inner.options.clock.now(),
        definition_version: 1,
    };
    let keep = create.mode == CreateMode::IfNotExists;
    let on = views::replace_or(existing.as_ref(), keep);
    inner.options.catalog.put_object(&object, on).await?;
    if session.defers_refresh() || !has_flows {
        return Ok(CommandResult::done());
    }
    let cause = if same { JobCause::Request } else { JobCause::Definition };
    let jobs = queries.submit_graph(session, &[id], cause).await?;
    Ok(CommandResult::rows(system::job_rows(&jobs)))
}

/// The columns that a flow, the first one of its table, gives it.
async fn columns_of(
    checked: &Checked,
    is_of_changes: bool,
    view: &Transform,
) -> Result<DFSchema, QueryError> {
    let schema = if is_of_changes {
        let plan = checked.plan.clone();
        let shaped = transform::shaped(&checked.resolved.state, plan, &view.columns).await?;
        stored_schema(shaped.schema().as_arrow())?.as_ref().clone()
    } else {
        Schema::new(first_columns(&checked.resolved, &checked.plan, view).await?)
    };
    Ok(DFSchema::try_from(schema)?)
}

/// What a streaming table cannot have yet.
fn refuse(create: &CreateStreamingTable) -> Result<(), QueryError> {
    if create.mode != CreateMode::OrReplace {
        return Ok(());
    }
    Err(QueryError::Unsupported(
        "OR REPLACE of a streaming table is not supported in this version; write CREATE OR REFRESH, and \
         REFRESH … FULL to read everything again"
            .to_owned(),
    ))
}

fn table(
    inner: &Inner,
    session: &Session,
    create: &CreateStreamingTable,
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
    Ok(Transform {
        definition: create.definition.clone(),
        schema: session.schema().to_owned(),
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
        policy: match create.on_full_refresh {
            Some(_) => RefreshPolicy::Incremental,
            None => RefreshPolicy::default(),
        },
        on_full_refresh: create.on_full_refresh.unwrap_or_default(),
        resources: create.resources.clone(),
        columns: create.columns.clone(),
        expectations: create.expectations.clone(),
        keys: views::keys(session, &create.keys)?,
        source_file: session.source_file().map(str::to_owned),
        suspended: false,
        ..Transform::default()
    })
}

/// A flow with full names. `checked` is its plan.
fn flow(
    session: &Session,
    name: ObjectName,
    body: &FlowBody,
    checked: &Checked,
) -> Result<Flow, QueryError> {
    let query = dialect::qualify(&body.query, session.schema());
    let fields = checked.plan.schema().fields();
    let (kind, columns) = match &body.changes {
        None => (FlowKind::Append, fields.iter().map(|field| field.name().clone()).collect()),
        Some(spec) => (FlowKind::Changes(Box::new(spec.clone())), Vec::new()),
    };
    Ok(Flow {
        name,
        definition_hash: meaning(session, body)?,
        reads: views::reads(session, &body.query)?,
        query,
        once: body.once,
        kind,
        columns,
        comment: None,
        files: None,
    })
}

fn normal(query: &str) -> Result<String, QueryError> {
    let query: Query = dialect::parse_flow_query(query)?;
    Ok(dialect::normal_form(&query))
}

/// Gives a table its flows, and what follows from them. `query` is that of AUTO CDC, if one of them
/// is.
pub(super) fn with_flows(
    view: &mut Transform,
    flows: Vec<Flow>,
    query: Option<String>,
) -> Result<(), QueryError> {
    let of_changes = flows.iter().find(|flow| matches!(flow.kind, FlowKind::Changes(_)));
    if let (Some(flow), true) = (of_changes, flows.len() > 1) {
        return Err(QueryError::Unsupported(format!(
            "the flow '{}' is AUTO CDC, and a table with such a flow has no other in this version",
            flow.name
        )));
    }
    view.query = query.filter(|_| of_changes.is_some()).unwrap_or_default();
    view.reads.clear();
    for read in flows.iter().flat_map(|flow| &flow.reads) {
        if !view.reads.contains(read) {
            view.reads.push(read.clone());
        }
    }
    let layout = serde_json::json!([view.partitioned_by, view.columns]).to_string();
    let declared = serde_json::json!([view.expectations, view.keys, view.query]).to_string();
    let parts = flows.iter().map(|flow| format!("{}={}", flow.name, flow.definition_hash));
    let parts: Vec<String> = [layout, declared].into_iter().chain(parts).collect();
    view.definition_hash = hash(parts.iter().map(String::as_str));
    view.flows = flows;
    check_trigger(view)
}

fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        // Lengths keep two lists of texts from running together into the same bytes.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) async fn create_flow(
    queries: &Queries,
    session: &Session,
    create: CreateFlow,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = new_name(session, &create.name)?;
    let mut object = streaming_table(inner, session, &create.target).await?;
    if let Some(other) = owner_of(inner, &name).await?
        && other.id != object.id
    {
        return Err(QueryError::Invalid(format!(
            "the flow '{name}' is one of '{}' already: give this one another name",
            other.name
        )));
    }
    if inner.objects_named(std::slice::from_ref(&name)).await?.pop().is_some() {
        return Err(CatalogError::ObjectExists(name).into());
    }
    let target = vec![object.name.schema().to_owned(), object.name.name().to_owned()];
    let checked_flow = check_flow(inner, session, &target, &name, &create.body).await?;
    let CheckedFlow { checked, of_changes, files } = checked_flow;
    if let ObjectBody::StreamingTable(table) = &mut object.body
        && table.flows.is_empty()
    {
        let fields = columns_of(&checked, of_changes.is_some(), table).await?;
        let state = &checked.resolved.state;
        clustering::check(&object.properties, fields.inner(), &table.partitioned_by)?;
        views::check_declared(inner, session, &object.name, state, &fields, table).await?;
    }
    let mut made = flow(session, name.clone(), &create.body, &checked)?;
    (made.comment, made.files) = (create.comment, files);
    let mut flows = object.transform().map(|table| table.flows.clone()).unwrap_or_default();
    match flows.iter_mut().find(|flow| flow.name == name) {
        Some(known) if known.means(&made) => {
            if known.comment != made.comment {
                known.comment = made.comment;
                put(inner, &object, flows, None).await?;
            }
            return Ok(CommandResult::done());
        }
        // A folder says what there is to be; a statement makes what is not there.
        Some(known) if session.source_file().is_some() => *known = made,
        Some(_) => {
            return Err(QueryError::Invalid(format!(
                "the flow '{name}' exists and does something else: DROP FLOW {} first; \
                 a flow of the same name goes on where the other one ended",
                name.to_sql()
            )));
        }
        None => flows.push(made),
    }
    put(inner, &object, flows, of_changes).await?;
    if session.defers_refresh() {
        return Ok(CommandResult::done());
    }
    let jobs = queries.submit_graph(session, &[object.id], JobCause::Definition).await?;
    Ok(CommandResult::rows(system::job_rows(&jobs)))
}

pub(super) async fn drop_flow(
    queries: &Queries,
    session: &Session,
    name: &NameParts,
    if_exists: bool,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = ObjectName::from_parts(name, session.schema())?;
    let rights = inner.rights(session.principal()).await?;
    let owner = owner_of(inner, &name).await?.filter(|object| rights.sees(object));
    let Some(object) = owner else {
        if if_exists {
            return Ok(CommandResult::done());
        }
        return Err(QueryError::Invalid(format!("the flow '{name}' does not exist")));
    };
    queries.must_own(session, &object).await?;
    if name == object.name {
        return Err(QueryError::Invalid(format!(
            "'{name}' declares that flow itself: write CREATE OR REFRESH STREAMING TABLE {} without it",
            name.to_sql()
        )));
    }
    let mut flows = object.transform().map(|table| table.flows.clone()).unwrap_or_default();
    flows.retain(|flow| flow.name != name);
    put(inner, &object, flows, None).await?;
    Ok(CommandResult::done())
}

/// The streaming table that has a flow.
async fn owner_of(inner: &Inner, flow: &ObjectName) -> Result<Option<Object>, QueryError> {
    let objects = inner.options.catalog.objects().await?;
    Ok(objects.into_iter().find(|object| {
        object.transform().is_some_and(|table| table.flows.iter().any(|known| known.name == *flow))
    }))
}

async fn streaming_table(
    inner: &Inner,
    session: &Session,
    name: &NameParts,
) -> Result<Object, QueryError> {
    let name = ObjectName::from_parts(name, session.schema())?;
    let object = inner.object_named(session, &name).await?;
    if object.kind() != ObjectKind::StreamingTable {
        return Err(wrong_kind(&object, "and only streaming tables have flows"));
    }
    Ok(object)
}

/// Stores a table with other flows.
async fn put(
    inner: &Inner,
    object: &Object,
    flows: Vec<Flow>,
    of_changes: Option<String>,
) -> Result<(), QueryError> {
    let mut changed = object.clone();
    if let ObjectBody::StreamingTable(view) = &mut changed.body {
        let query = of_changes.or_else(|| Some(view.query.clone()));
        with_flows(view, flows, query)?;
    }
    let on = OnConflict::Replace { id: object.id, definition_version: object.definition_version };
    inner.options.catalog.put_object(&changed, on).await?;
    Ok(())
}

/// The statements that make the flows of a table which it does not declare itself.
pub(super) fn create_statements(object: &Object) -> Result<Vec<String>, QueryError> {
    let flows = object.transform().map(|table| table.flows.as_slice()).unwrap_or_default();
    let parts = |name: &ObjectName| vec![name.schema().to_owned(), name.name().to_owned()];
    let mut statements = Vec::new();
    for flow in flows.iter().filter(|flow| flow.name != object.name) {
        let changes = match &flow.kind {
            FlowKind::Append => None,
            FlowKind::Changes(spec) => Some(spec.as_ref().clone()),
        };
        let query = dialect::parse_flow_query(&flow.query)?;
        let create = CreateFlow {
            name: parts(&flow.name),
            comment: flow.comment.clone(),
            target: parts(&object.name),
            body: FlowBody { once: flow.once, query, changes },
            definition: String::new(),
        };
        statements.extend(dialect::written(&Statement::CreateFlow(Box::new(create))));
    }
    Ok(statements)
}
