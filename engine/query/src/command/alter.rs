//! ALTER TABLE and COMMENT ON.

use std::sync::Arc;

use catalog::objects::OnConflict;
use datafusion::{
    common::ToDFSchema, datasource::provider_as_source, logical_expr::LogicalPlanBuilder,
};
use dialect::statement::{Alter, AlterAction, Check, PropertyChange};
use lake::{Alteration, At, CONSTRAINT_PREFIX, Snapshot};
use model::{
    name::ObjectName,
    object::{Object, Properties},
};

use super::{
    tables::column_schema,
    target::{check_as, target_table, until_undisturbed},
};
use crate::{
    clustering,
    error::QueryError,
    numbers, plan,
    queries::{CommandResult, Inner, Queries},
    session::Session,
};

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    alter: &Alter,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = ObjectName::from_parts(&alter.target, session.schema())?;
    let Some(object) = inner.objects_named(std::slice::from_ref(&name)).await?.pop() else {
        if alter.if_exists {
            return Ok(CommandResult::done());
        }
        return Err(inner.missing(session, name).await);
    };
    let location = target_table(&object)?.location.clone();
    let lake = &inner.options.lake;
    until_undisturbed(|| async {
        let base = lake.snapshot(&location, At::Latest).await?;
        let Some(alteration) = alteration(queries, &name, &base, &alter.action).await? else {
            return Ok(());
        };
        let lake = Arc::clone(lake);
        super::finished(queries, async move { Ok(lake.alter(base, alteration).await?) }).await?;
        Ok(())
    })
    .await?;
    remember(inner, object, &alter.action).await?;
    Ok(CommandResult::done())
}

/// What the table's log is to say; `None` when there is nothing to do.
async fn alteration(
    queries: &Queries,
    name: &ObjectName,
    base: &Arc<Snapshot>,
    action: &AlterAction,
) -> Result<Option<Alteration>, QueryError> {
    Ok(Some(match action {
        AlterAction::AddColumns(columns) => {
            Alteration::AddColumns(column_schema(&queries.inner, columns).await?)
        }
        AlterAction::DropNotNull { column } => {
            has_column(name, base, column)?;
            Alteration::DropNotNull(column.clone())
        }
        AlterAction::Properties(PropertyChange::Set(properties)) => {
            no_constraints(properties)?;
            clustering::check(properties, &base.schema(), base.partitioned_by())?;
            Alteration::Properties { set: properties.clone(), unset: Vec::new() }
        }
        AlterAction::Properties(PropertyChange::Unset { keys, if_exists }) => {
            no_constraints(&keys.iter().map(|key| (key.clone(), String::new())).collect())?;
            for key in keys {
                if !if_exists && !base.properties().contains_key(key) {
                    return Err(QueryError::Invalid(format!(
                        "table '{name}' has no property '{key}'; write UNSET TBLPROPERTIES IF EXISTS"
                    )));
                }
            }
            Alteration::Properties { set: Properties::new(), unset: keys.clone() }
        }
        AlterAction::AddCheck(check) => {
            holds(queries, base, check).await?;
            let (name, condition) = (check.name.clone(), check.condition.clone());
            Alteration::AddCheck { name, condition }
        }
        AlterAction::DropCheck { name: check, if_exists } => {
            let is_there = base.constraints().any(|(other, _)| other.eq_ignore_ascii_case(check));
            match (is_there, if_exists) {
                (true, _) => Alteration::DropCheck { name: check.clone() },
                (false, true) => return Ok(None),
                (false, false) => {
                    return Err(QueryError::Invalid(format!(
                        "table '{name}' has no constraint '{check}'"
                    )));
                }
            }
        }
        AlterAction::Comment(comment) => Alteration::Comment(comment.clone()),
        AlterAction::ColumnComment { column, comment } => {
            has_column(name, base, column)?;
            Alteration::ColumnComment { column: column.clone(), comment: comment.clone() }
        }
    }))
}

fn has_column(name: &ObjectName, base: &Snapshot, column: &str) -> Result<(), QueryError> {
    let schema = base.schema();
    if schema.index_of(column).is_ok() {
        return Ok(());
    }
    let known = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
    Err(QueryError::Invalid(format!(
        "table '{name}' has no column '{column}'; it has {}",
        known.join(", ")
    )))
}

/// Constraints are properties in the log, but only their own clause sees to it that they hold.
pub(super) fn no_constraints(properties: &Properties) -> Result<(), QueryError> {
    match properties.keys().find(|key| key.to_lowercase().starts_with(CONSTRAINT_PREFIX)) {
        Some(key) => Err(QueryError::Invalid(format!(
            "'{key}' is a constraint: write ALTER TABLE … ADD CONSTRAINT name CHECK (…), or DROP CONSTRAINT name"
        ))),
        None => Ok(()),
    }
}

/// Fails when a row that is there makes the condition false.
async fn holds(queries: &Queries, base: &Arc<Snapshot>, check: &Check) -> Result<(), QueryError> {
    let state = queries.inner.state("main");
    check_as(&state, &base.schema(), None, &check.name, &check.condition)?;
    let scan = provider_as_source(base.provider()?);
    let schema = base.schema().to_dfschema()?;
    let condition = numbers::expression(&state, &check.condition, &schema)?;
    let violating = LogicalPlanBuilder::scan("t", scan, None)?
        .filter(datafusion::logical_expr::not(condition))?
        .limit(0, Some(1))?
        .build()?;
    let physical = plan::physical(&state, &violating).await?;
    let (runtime, task) = (queries.runtime(&physical).clone(), state.task_ctx());
    let found = runtime
        .spawn(async move { datafusion::physical_plan::collect(physical, task).await })
        .await??;
    let Some(row) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(()) };
    Err(QueryError::Invalid(format!(
        "CHECK '{}' ({}) does not hold for rows that are there, for example {}",
        check.name,
        check.condition,
        lake::shown(row)
    )))
}

/// What the properties of an object are after a change.
pub(super) fn changed(properties: &mut Properties, change: &PropertyChange) {
    match change {
        PropertyChange::Set(set) => properties.extend(set.clone()),
        PropertyChange::Unset { keys, .. } => properties.retain(|key, _| !keys.contains(key)),
    }
}

/// The catalog shows comment and properties as well.
async fn remember(
    inner: &Inner,
    mut object: Object,
    action: &AlterAction,
) -> Result<(), QueryError> {
    match action {
        AlterAction::Comment(comment) => object.comment.clone_from(comment),
        AlterAction::Properties(change) => changed(&mut object.properties, change),
        _ => return Ok(()),
    }
    let on = OnConflict::Replace { id: object.id, definition_version: object.definition_version };
    inner.options.catalog.put_object(&object, on).await?;
    Ok(())
}
