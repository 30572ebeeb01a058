//! CREATE SCHEMA and DROP SCHEMA.

use catalog::{error::CatalogError, objects::Schema};
use model::name::{CATALOG, RESERVED_SCHEMAS, check_part};

use crate::{
    error::QueryError,
    queries::{CommandResult, Queries},
};

pub(super) async fn create(
    queries: &Queries,
    name: &[String],
    if_not_exists: bool,
    comment: Option<String>,
) -> Result<CommandResult, QueryError> {
    let name = schema_name(name)?;
    let schema = Schema { name, comment };
    match queries.inner.options.catalog.create_schema(&schema).await {
        Err(CatalogError::SchemaExists(_)) if if_not_exists => Ok(CommandResult::done()),
        other => Ok(other.map(|()| CommandResult::done())?),
    }
}

pub(super) async fn drop(
    queries: &Queries,
    name: &[String],
    if_exists: bool,
    cascade: bool,
) -> Result<CommandResult, QueryError> {
    let name = schema_name(name)?;
    let catalog = &queries.inner.options.catalog;
    if cascade {
        let objects = catalog.objects().await?;
        for object in objects.into_iter().filter(|object| object.name.schema() == name) {
            catalog.drop_object(object.id, object.definition_version).await?;
        }
    }
    match catalog.drop_schema(&name).await {
        Err(CatalogError::SchemaNotFound(_)) if if_exists => Ok(CommandResult::done()),
        other => Ok(other.map(|()| CommandResult::done())?),
    }
}

fn schema_name(parts: &[String]) -> Result<String, QueryError> {
    let name = match parts {
        [name] => name,
        [catalog, name] if catalog == CATALOG => name,
        _ => {
            return Err(QueryError::Invalid(format!(
                "'{}' is not a schema name; write [{CATALOG}.]name",
                parts.join(".")
            )));
        }
    };
    check_part(name)?;
    if RESERVED_SCHEMAS.contains(&name.as_str()) {
        return Err(QueryError::Invalid(format!("schema '{name}' belongs to the server")));
    }
    Ok(name.clone())
}
