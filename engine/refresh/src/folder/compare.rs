//! What a declaration changes on what the catalog has.

use dialect::statement::{
    CreateMaterializedView, CreateStreamingTable, CreateView, Query, Statement,
};
use model::{
    object::{Object, ObjectBody, View},
    transform::{FlowKind, Transform},
};

use super::{
    ChangeKind,
    declare::{Declaration, DeclaredBody},
    error::FolderError,
};

/// The kind of change, and what it is for people.
pub(super) fn compare(
    declaration: &Declaration,
    existing: Option<&Object>,
    default_schema: &str,
) -> Result<(ChangeKind, String), FolderError> {
    let Some(existing) = existing else { return Ok((ChangeKind::Added, String::new())) };
    let (changed, metadata) = match (&declaration.body, &existing.body) {
        (DeclaredBody::View(declared), ObjectBody::View(view)) => {
            let changed = changed_of_view(declared, view, default_schema);
            (changed, metadata_of_view(declared, existing))
        }
        (DeclaredBody::MaterializedView(declared), ObjectBody::MaterializedView(view)) => {
            let changed = changed_of_transform(declared, view, default_schema);
            (changed, metadata_of_transform(declaration, declared, view, existing))
        }
        (DeclaredBody::StreamingTable(declared), ObjectBody::StreamingTable(table)) => {
            let changed = changed_of_stream(declared, table, existing, default_schema);
            (changed, metadata_of_stream(declaration, declared, table, existing))
        }
        _ => {
            return Err(FolderError::WrongKind {
                at: declaration.at.clone(),
                object: declaration.name.clone(),
                kind: existing.kind().as_sql(),
            });
        }
    };
    let kind = match (changed.is_empty(), metadata.is_empty()) {
        (false, _) => ChangeKind::Changed,
        (true, false) => ChangeKind::Metadata,
        (true, true) => ChangeKind::Unchanged,
    };
    let details: Vec<&str> = changed.into_iter().chain(metadata).collect();
    Ok((kind, details.join(", ")))
}

fn changed_of_transform(
    declared: &CreateMaterializedView,
    view: &Transform,
    default_schema: &str,
) -> Vec<&'static str> {
    let (location_before, keys_before) = match dialect::parse(&view.definition) {
        Ok(Statement::CreateMaterializedView(before)) => (before.location, before.keys),
        _ => (None, Vec::new()),
    };
    // A declaration without LOCATION leaves the data where it is.
    let moves = declared.location.is_some() && declared.location != location_before;
    named([
        (meaning(&declared.query, default_schema) != stored_meaning(&view.query), "query"),
        (declared.columns != view.columns, "columns"),
        (declared.expectations != view.expectations, "expectations"),
        (declared.keys != keys_before, "keys"),
        (declared.partitioned_by != view.partitioned_by, "partitioning"),
        (moves, "location"),
    ])
}

fn metadata_of_transform(
    declaration: &Declaration,
    declared: &CreateMaterializedView,
    view: &Transform,
    existing: &Object,
) -> Vec<&'static str> {
    let file = view.source_file.as_deref();
    named([
        (declared.schedule != view.schedule || declared.misfire != view.misfire, "schedule"),
        (declared.trigger != view.trigger, "trigger"),
        (
            (declared.policy, declared.on_full_refresh) != (view.policy, view.on_full_refresh),
            "refresh policy",
        ),
        (declared.resources != view.resources, "options"),
        (declared.comment != existing.comment, "comment"),
        (declared.properties != existing.properties, "properties"),
        (view.suspended, "was suspended"),
        (!view.suspended && file != Some(declaration.at.path.as_str()), "file"),
    ])
}

fn changed_of_stream(
    declared: &CreateStreamingTable,
    table: &Transform,
    existing: &Object,
    default_schema: &str,
) -> Vec<&'static str> {
    let (location_before, keys_before) = match dialect::parse(&table.definition) {
        Ok(Statement::CreateStreamingTable(before)) => (before.location, before.keys),
        _ => (None, Vec::new()),
    };
    let moves = declared.location.is_some() && declared.location != location_before;
    let own = table.flows.iter().find(|flow| flow.name == existing.name);
    let same_flow = match (&declared.flow, own) {
        (None, None) => true,
        (Some(declared), Some(flow)) => {
            let kind = match &declared.changes {
                None => FlowKind::Append,
                Some(changes) => FlowKind::Changes(Box::new(changes.clone())),
            };
            let query = dialect::qualify(&declared.query, default_schema);
            kind == flow.kind
                && declared.once == flow.once
                && flow_meaning(&query) == flow_meaning(&flow.query)
        }
        _ => false,
    };
    named([
        (!same_flow, "query"),
        (declared.columns != table.columns, "columns"),
        (declared.expectations != table.expectations, "expectations"),
        (declared.keys != keys_before, "keys"),
        (declared.partitioned_by != table.partitioned_by, "partitioning"),
        (moves, "location"),
    ])
}

fn metadata_of_stream(
    declaration: &Declaration,
    declared: &CreateStreamingTable,
    table: &Transform,
    existing: &Object,
) -> Vec<&'static str> {
    let file = table.source_file.as_deref();
    named([
        (declared.schedule != table.schedule || declared.misfire != table.misfire, "schedule"),
        (declared.trigger != table.trigger, "trigger"),
        (declared.on_full_refresh.unwrap_or_default() != table.on_full_refresh, "refresh policy"),
        (declared.resources != table.resources, "options"),
        (declared.comment != existing.comment, "comment"),
        (declared.properties != existing.properties, "properties"),
        (table.suspended, "was suspended"),
        (!table.suspended && file != Some(declaration.at.path.as_str()), "file"),
    ])
}

/// As [`meaning`], for a query of a flow with full names.
pub(super) fn flow_meaning(qualified: &str) -> Option<String> {
    dialect::parse_flow_query(qualified).ok().map(|query| dialect::normal_form(&query))
}

fn changed_of_view(declared: &CreateView, view: &View, default_schema: &str) -> Vec<&'static str> {
    let Ok(Statement::CreateView(before)) = dialect::parse(&view.definition) else {
        return vec!["query"];
    };
    // With a list of columns the stored query has their names in it.
    let query_changed = match declared.columns.is_empty() && before.columns.is_empty() {
        true => meaning(&declared.query, default_schema) != stored_meaning(&view.query),
        false => meaning(&declared.query, default_schema) != meaning(&before.query, default_schema),
    };
    named([(query_changed, "query"), (declared.columns != before.columns, "columns")])
}

fn metadata_of_view(declared: &CreateView, existing: &Object) -> Vec<&'static str> {
    named([(declared.comment != existing.comment, "comment")])
}

fn named<const N: usize>(differences: [(bool, &'static str); N]) -> Vec<&'static str> {
    differences.into_iter().filter(|(differs, _)| *differs).map(|(_, name)| name).collect()
}

/// A text that is equal for queries that mean the same, whatever their layout.
fn meaning(query: &Query, default_schema: &str) -> Option<String> {
    stored_meaning(&dialect::qualify(query, default_schema))
}

fn stored_meaning(qualified: &str) -> Option<String> {
    match dialect::parse(qualified) {
        Ok(Statement::Query(query)) => Some(dialect::normal_form(&query)),
        _ => None,
    }
}
