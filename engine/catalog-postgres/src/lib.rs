//! The catalog in a Postgres database, shared by any number of server and worker processes.
//!
//! It exists so that jobs can spread over machines. It never holds a statement of its own: those
//! are in `catalog-sql`, shared with SQLite.

mod connections;
mod database;

use catalog::error::CatalogError;
use catalog_sql::SqlCatalog;
use database::PostgresDatabase;

/// How to use the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connections that this process holds at most; at least 1.
    pub connections_max: u32,
}

/// A catalog in a Postgres database.
#[derive(Debug)]
pub struct PostgresCatalog(SqlCatalog<PostgresDatabase>);

impl PostgresCatalog {
    /// Connects and brings the database to the newest schema version; one process at a time does
    /// that, the others wait for it.
    ///
    /// `url` is `postgres://user:password@host:port/database?sslmode=verify-full`; TLS is as
    /// `sslmode` says. No error shows the password. An unreachable server is an error that
    /// [may go away](CatalogError::code); [`CatalogError::NewerSchema`] when a newer Whimbrel
    /// changed the database, and nothing is changed then.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, CatalogError> {
        Ok(Self(SqlCatalog::new(PostgresDatabase::connect(url, options).await?)))
    }
}

catalog_sql::delegate_catalog!(PostgresCatalog);

#[cfg(test)]
mod tests;
