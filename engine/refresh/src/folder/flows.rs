//! Flows that a folder declares, against those that streaming tables have.
//!
//! They come after all objects: what they read and what they feed is there by then. A flow that a
//! folder no longer declares is dropped, which takes nothing from its table; only tables that come
//! from a folder are looked at.

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

/// Adds the steps for flows to a plan that has those for objects.
pub(super) fn plan(
    plan: &mut FolderPlan,
    default_schema: &str,
    declared: &Declarations,
    existing: &[Object],
) -> Result<(), FolderError> {
    let by_name: BTreeMap<&ObjectName, &Object> =
        existing.iter().map(|object| (&object.name, object)).collect();
    let streaming: BTreeSet<&ObjectName> = declared
        .objects
        .iter()
        .filter(|declaration| matches!(declaration.body, DeclaredBody::StreamingTable(_)))
        .map(|declaration| &declaration.name)
        .collect();
    for flow in &declared.flows {
        let table = by_name.get(&flow.target).copied();
        let is_new = streaming.contains(&flow.target);
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
        let kind = match known {
            None => ChangeKind::Added,
            Some(known) if means(flow, known, default_schema) => ChangeKind::Unchanged,
            Some(_) => ChangeKind::Changed,
        };
        plan.changes.push(Change {
            kind,
            object: flow.name.to_string(),
            object_kind: "FLOW",
            path: flow.at.path.clone(),
            detail: match kind {
                ChangeKind::Changed => "query".to_owned(),
                _ => String::new(),
            },
        });
        if kind == ChangeKind::Unchanged {
            continue;
        }
        plan.steps.push(Step {
            at: flow.at.clone(),
            sql: flow.text.clone(),
            target: Target::Flow { table: flow.target.clone() },
            checkable: false,
        });
        if !plan.refreshed.contains(&flow.target) {
            plan.refreshed.push(flow.target.clone());
        }
    }
    drop_others(plan, declared, existing);
    Ok(())
}

fn drop_others(plan: &mut FolderPlan, declared: &Declarations, existing: &[Object]) {
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
