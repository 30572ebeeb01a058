//! Flows that a folder declares, against those that streaming tables have.
//!
//! They come after the table that they feed and before what reads it. A flow that a folder no longer
//! declares is dropped, which takes nothing from its table; only tables that come from a folder are
//! looked at.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    name::ObjectName,
    object::{Object, ObjectBody},
    transform::{Flow, FlowKind},
};

use super::{
    Change, ChangeKind, FolderPlan, Step, Target,
    compare::flow_meaning,
    declare::{Declarations, DeclaredBody, DeclaredFlow},
    error::FolderError,
};

/// What flows are planned against.
pub(super) struct Known<'a> {
    pub(super) default_schema: &'a str,
    pub(super) declared: &'a Declarations,
    pub(super) existing: &'a BTreeMap<&'a ObjectName, &'a Object>,
}

/// Adds the step for a flow to a plan that has those for what it reads. `unsettled` are names whose
/// columns are not yet what they will be; the first flow of a table gives it its columns.
pub(super) fn plan<'a>(
    plan: &mut FolderPlan,
    flow: &'a DeclaredFlow,
    known: &Known<'_>,
    unsettled: &mut BTreeSet<&'a ObjectName>,
) -> Result<(), FolderError> {
    let Known { default_schema, declared, existing } = known;
    let table = existing.get(&flow.target).copied();
    let is_new = declared.objects.iter().any(|declaration| {
        declaration.name == flow.target
            && matches!(declaration.body, DeclaredBody::StreamingTable(_))
    });
    match table.map(|table| &table.body) {
        Some(ObjectBody::StreamingTable(_)) => {}
        _ if is_new => {}
        Some(_) => {
            return Err(FolderError::WrongKind {
                at: flow.at.clone(),
                object: flow.target.clone(),
                kind: table.map_or("", |table| table.kind().as_sql()),
            });
        }
        None => {
            return Err(FolderError::TargetMissing {
                at: flow.at.clone(),
                flow: flow.name.clone(),
                name: flow.target.clone(),
            });
        }
    }
    let known = table.and_then(|table| flows_of(table).find(|known| known.name == flow.name));
    let (kind, detail) = match known {
        None => (ChangeKind::Added, ""),
        Some(known) if !means(flow, known, default_schema) => (ChangeKind::Changed, "query"),
        Some(known) if known.comment != flow.create.comment => (ChangeKind::Metadata, "comment"),
        Some(_) => (ChangeKind::Unchanged, ""),
    };
    plan.changes.push(Change {
        kind,
        object: flow.name.to_string(),
        object_kind: "FLOW",
        path: flow.at.path.clone(),
        detail: detail.to_owned(),
    });
    if kind == ChangeKind::Unchanged {
        return Ok(());
    }
    let reads_unsettled = flow.reads.iter().any(|read| unsettled.contains(read));
    plan.steps.push(Step {
        at: flow.at.clone(),
        sql: flow.text.sql.clone(),
        as_written: flow.text.as_written,
        target: Target::Flow { table: flow.target.clone() },
        checkable: table.is_some() && !reads_unsettled,
    });
    if table.is_none_or(|table| flows_of(table).next().is_none()) {
        unsettled.insert(&flow.target);
    }
    if kind != ChangeKind::Metadata && !plan.refreshed.contains(&flow.target) {
        plan.refreshed.push(flow.target.clone());
    }
    Ok(())
}

/// Drops the flows that the folder no longer declares.
pub(super) fn drop_others(plan: &mut FolderPlan, declared: &Declarations, existing: &[Object]) {
    let names: BTreeSet<&ObjectName> = declared.flows.iter().map(|flow| &flow.name).collect();
    for object in existing {
        let Some(path) = object.transform().and_then(|table| table.source_file.as_ref()) else {
            continue;
        };
        let Some(declaration) = declared.objects.iter().find(|known| known.name == object.name)
        else {
            continue;
        };
        let others = flows_of(object).filter(|flow| flow.name != object.name);
        for flow in others.filter(|flow| !names.contains(&flow.name)) {
            plan.changes.push(Change {
                kind: ChangeKind::Removed,
                object: flow.name.to_string(),
                object_kind: "FLOW",
                path: path.clone(),
                detail: "dropped; its rows stay".to_owned(),
            });
            plan.steps.push(Step {
                at: declaration.at.clone(),
                sql: format!("DROP FLOW {}", flow.name.to_sql()),
                as_written: false,
                target: Target::Flow { table: object.name.clone() },
                checkable: false,
            });
        }
    }
}

fn flows_of(object: &Object) -> impl Iterator<Item = &Flow> {
    object.transform().into_iter().flat_map(|table| &table.flows)
}

/// Whether a flow does what is declared.
fn means(declared: &DeclaredFlow, known: &Flow, default_schema: &str) -> bool {
    let body = &declared.create.body;
    let same_kind = match (&body.changes, &known.kind) {
        (None, FlowKind::Append) => true,
        (Some(declared), FlowKind::Changes(known)) => declared == known.as_ref(),
        _ => false,
    };
    let declared = flow_meaning(&dialect::qualify(&body.query, default_schema));
    same_kind && body.once == known.once && declared == flow_meaning(&known.query)
}
