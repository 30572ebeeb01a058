//! ALTER of what a transform declares: its properties and its constraints.
//!
//! A transform means what its declaration says, as if CREATE OR REFRESH had said it: the same hash, and a
//! text that says it. Nothing is refreshed here.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use dialect::statement::{
    AddedConstraint, CreateMaterializedView, CreateStreamingTable, DeclaredKey, DeclaredKeyKind,
    PropertyChange, Statement,
};
use model::{
    name::ObjectName,
    object::{Object, ObjectBody, ObjectKind},
    rights::Rights,
    transform::{Expectation, RefreshPolicy, Transform},
};

use super::{
    alter::{changed, no_constraints},
    streaming, views,
};
use crate::{clustering, describe, error::QueryError, queries::Inner, session::Session};

/// SET and UNSET TBLPROPERTIES, CLUSTER BY among them. The table's log has them with a later refresh.
pub(super) async fn properties(
    inner: &Inner,
    object: &mut Object,
    change: &PropertyChange,
) -> Result<(), QueryError> {
    match change {
        PropertyChange::Set(set) => {
            no_constraints(set)?;
            if let (Some(columns), Some(view)) = (columns(inner, object).await?, object.transform())
            {
                clustering::check(set, &columns, &view.partitioned_by)?;
            }
        }
        PropertyChange::Unset { keys, if_exists } => {
            let missing = keys.iter().find(|key| !object.properties.contains_key(*key));
            if let (Some(key), false) = (missing, if_exists) {
                return Err(QueryError::Invalid(format!(
                    "'{}' has no property '{key}'; write UNSET TBLPROPERTIES IF EXISTS",
                    object.name
                )));
            }
        }
    }
    changed(&mut object.properties, change);
    Ok(())
}

/// ADD CONSTRAINT.
pub(super) async fn add(
    inner: &Inner,
    session: &Session,
    object: &mut Object,
    added: &AddedConstraint,
) -> Result<(), QueryError> {
    let name = object.name.clone();
    let mut declared = Constraints::of(object)?;
    let added_name = match added {
        AddedConstraint::Expectation(Expectation { name, .. }) => name,
        AddedConstraint::Key(DeclaredKey { name, .. }) => name,
    };
    if declared.has(added_name) {
        return Err(QueryError::Invalid(format!(
            "'{name}' has a constraint '{added_name}' already: DROP CONSTRAINT it first"
        )));
    }
    match added {
        AddedConstraint::Expectation(added) => declared.expectations.push(added.clone()),
        AddedConstraint::Key(added) => {
            let is_primary = |key: &DeclaredKey| key.kind == DeclaredKeyKind::Primary;
            if let (Some(other), true) =
                (declared.keys.iter().find(|key| is_primary(key)), is_primary(added))
            {
                return Err(QueryError::Invalid(format!(
                    "'{name}' has a primary key already: DROP CONSTRAINT {} first",
                    model::name::quote(&other.name)
                )));
            }
            declared.keys.push(of_schema(added, session.schema())?);
        }
    }
    declare(inner, session, object, declared).await
}

/// DROP CONSTRAINT.
pub(super) async fn drop(
    inner: &Inner,
    session: &Session,
    object: &mut Object,
    constraint: &str,
    if_exists: bool,
) -> Result<(), QueryError> {
    let mut declared = Constraints::of(object)?;
    if !declared.has(constraint) {
        return match if_exists {
            true => Ok(()),
            false => Err(QueryError::Invalid(format!(
                "'{}' has no constraint '{constraint}'",
                object.name
            ))),
        };
    }
    declared.expectations.retain(|other| !other.name.eq_ignore_ascii_case(constraint));
    declared.keys.retain(|other| !other.name.eq_ignore_ascii_case(constraint));
    declare(inner, session, object, declared).await
}

/// The constraints of a declaration, as they were written.
struct Constraints {
    expectations: Vec<Expectation>,
    keys: Vec<DeclaredKey>,
}

impl Constraints {
    fn of(object: &Object) -> Result<Self, QueryError> {
        let definition = object.transform().map_or("", |view| view.definition.as_str());
        Ok(match dialect::parse(definition)? {
            Statement::CreateMaterializedView(CreateMaterializedView {
                expectations,
                keys,
                ..
            }) => Self { expectations, keys },
            Statement::CreateStreamingTable(table) => {
                let CreateStreamingTable { expectations, keys, .. } = *table;
                Self { expectations, keys }
            }
            _ => Self { expectations: Vec::new(), keys: Vec::new() },
        })
    }

    fn has(&self, name: &str) -> bool {
        let expectations = self.expectations.iter().map(|expectation| &expectation.name);
        let mut names = expectations.chain(self.keys.iter().map(|key| &key.name));
        names.any(|other| other.eq_ignore_ascii_case(name))
    }
}

/// A key whose other object is named in full, whatever the schema of the declaration is.
fn of_schema(key: &DeclaredKey, schema: &str) -> Result<DeclaredKey, QueryError> {
    let mut key = key.clone();
    if let DeclaredKeyKind::Foreign { references, .. } = &mut key.kind {
        let name = ObjectName::from_parts(references, schema)?;
        *references = vec![name.schema().to_owned(), name.name().to_owned()];
    }
    Ok(key)
}

/// Gives a transform these constraints in the place of those that it has.
async fn declare(
    inner: &Inner,
    session: &Session,
    object: &mut Object,
    declared: Constraints,
) -> Result<(), QueryError> {
    let Constraints { expectations, keys } = declared;
    let columns = columns(inner, object).await?;
    let name = object.name.clone();
    let (ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)) = &mut object.body
    else {
        return Ok(());
    };
    if view.schema.is_empty() {
        return Err(QueryError::Unsupported(format!(
            "'{name}' was declared by an earlier version, which did not keep the schema of its names: \
             write CREATE OR REFRESH with the other constraints, once"
        )));
    }
    view.expectations = expectations;
    let full = keys.iter().cloned().map(|key| key.qualified(&view.schema));
    view.keys = full.collect::<Result<_, _>>()?;
    let mut statement = dialect::parse(&view.definition)?;
    match &mut statement {
        Statement::CreateMaterializedView(create) => {
            (create.expectations, create.keys) = (view.expectations.clone(), keys);
            view.definition_hash = views::definition_hash(create, &view.schema, &view.keys);
        }
        Statement::CreateStreamingTable(create) => {
            (create.expectations, create.keys) = (view.expectations.clone(), keys);
        }
        _ => {}
    }
    view.definition = dialect::written(&statement).unwrap_or_default();
    if let Some(columns) = columns {
        let state = inner.state(session.schema());
        let columns = DFSchema::try_from(columns.as_ref().clone())?;
        views::check_declared(inner, session, &name, &state, &columns, view).await?;
    }
    if matches!(statement, Statement::CreateStreamingTable(_)) {
        let (flows, query) = (std::mem::take(&mut view.flows), std::mem::take(&mut view.query));
        streaming::with_flows(view, flows, Some(query))?;
    }
    Ok(())
}

/// The columns of a transform; none of a streaming table that nothing feeds yet, whose first flow is
/// checked.
async fn columns(inner: &Inner, object: &Object) -> Result<Option<SchemaRef>, QueryError> {
    let is_fed = object.transform().is_some_and(|view| !view.flows.is_empty());
    if object.kind() == ObjectKind::StreamingTable && !is_fed {
        return Ok(None);
    }
    let rights = Arc::new(Rights::everything(&object.owner));
    describe::columns(inner, &rights, object).await.map(Some)
}

/// The declaration of a transform, as ALTER has left it.
pub(super) fn restated(object: &Object) -> Result<String, QueryError> {
    let Some(view) = object.transform() else { return Ok(String::new()) };
    let Transform { schedule, misfire, trigger, policy, on_full_refresh, .. } = view;
    let mut statement = dialect::parse(&view.definition)?;
    match &mut statement {
        Statement::CreateMaterializedView(create) => {
            (create.schedule, create.misfire) = (schedule.clone(), *misfire);
            create.trigger = *trigger;
            (create.policy, create.on_full_refresh) = (*policy, *on_full_refresh);
            create.properties.clone_from(&object.properties);
            create.comment.clone_from(&object.comment);
        }
        Statement::CreateStreamingTable(create) => {
            (create.schedule, create.misfire) = (schedule.clone(), *misfire);
            create.trigger = *trigger;
            let said = *policy == RefreshPolicy::Incremental;
            create.on_full_refresh = said.then_some(*on_full_refresh);
            create.properties.clone_from(&object.properties);
            create.comment.clone_from(&object.comment);
        }
        _ => {}
    }
    Ok(dialect::written(&statement).unwrap_or_else(|| view.definition.clone()))
}
