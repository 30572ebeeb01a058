//! What Postgres clients expect to find: `pg_catalog`, and the functions that go with it.
//!
//! It exists because tools ask a Postgres server about its tables in SQL, over tables and functions
//! that no standard has. They are there for the queries of Postgres sessions only: whoever comes
//! over Flight, and whatever is stored, never sees them. What we do not have (extensions, sequences
//! and so on) is an empty table, so that a question about it has its true answer.

mod empty;
mod functions;
mod information_schema;
mod kinds;
mod known;
mod privileges;
mod rewrite;
mod tables;
mod type_rows;
pub mod types;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use dialect::statement::{Query, Statement, TableUse};

use self::known::Known;
use crate::{
    error::QueryError,
    queries::Inner,
    resolve::{Reads, Resolved},
    session::Session,
};

/// The schema of what Postgres servers say about themselves.
pub(crate) const SCHEMA: &str = "pg_catalog";

/// What a Postgres session says about itself.
#[derive(Debug, Clone, Default)]
pub struct PostgresClient {
    /// Its number, as `pg_backend_pid()` answers it.
    pub pid: i32,
    /// What `version()` answers.
    pub version: String,
    /// Names and values of its settings.
    pub settings: Vec<(String, String)>,
}

/// Turns what only Postgres means into what the planner knows. The parameters that the statement gives
/// a type of Postgres alone, each with its number and that of the type.
pub(crate) fn rewrite(statement: &mut Statement) -> Result<Vec<(usize, u32)>, QueryError> {
    let mut statement = statement;
    while let Statement::Explain { statement: inner, .. } = statement {
        statement = inner;
    }
    match statement {
        Statement::Query(query) => rewrite::query(query),
        _ => Ok(Vec::new()),
    }
}

/// Whether the statement only asks for the catalog of Postgres.
pub(crate) fn is_catalog(table: &TableUse) -> bool {
    matches!(table.name.as_slice(), [schema, _] if schema == SCHEMA)
}

/// The tables of a query that are not `pg_catalog`'s.
pub(crate) fn others(query: &[TableUse]) -> Vec<TableUse> {
    query.iter().filter(|table| !is_catalog(table)).cloned().collect()
}

/// Adds functions, and the tables of `pg_catalog` that are read.
pub(crate) async fn add(
    inner: &Inner,
    session: &Session,
    client: &Arc<PostgresClient>,
    reads: Reads<'_>,
    resolved: &mut Resolved,
) -> Result<(), QueryError> {
    let wanted: Vec<&str> = reads
        .tables
        .iter()
        .filter(|table| is_catalog(table))
        .filter_map(|table| table.name.last().map(String::as_str))
        .collect();
    let known = Known::load(inner, session, client, &wanted).await?;
    for function in functions::all(&known) {
        resolved.state.register_udf(function)?;
    }
    for name in wanted {
        let table = tables::table(&known, name)?.ok_or_else(|| missing(name))?;
        resolved.add(SCHEMA, name, table)?;
    }
    Ok(())
}

fn missing(name: &str) -> QueryError {
    match model::name::ObjectName::new(SCHEMA, name) {
        Ok(name) => QueryError::TableNotFound { name, nearest: None, is_hidden: false },
        Err(error) => error.into(),
    }
}

/// Marks a query as one that needs what is known of all tables.
fn reads_catalog(query: &mut Query, table: &str) {
    let name = vec![SCHEMA.to_owned(), table.to_owned()];
    let used = TableUse { planned_name: name.clone(), name, at: None };
    if !query.tables.contains(&used) {
        query.tables.push(used);
    }
}

#[cfg(test)]
mod tests;
