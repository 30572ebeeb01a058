//! The catalog in a SQLite file, for one server process; in memory, the catalog of tests.
//!
//! It exists so that Whimbrel runs with nothing installed. It never holds a statement of its own:
//! those are in `catalog-sql`, shared with Postgres.

mod database;
mod recent;

use std::path::Path;

use catalog::error::CatalogError;
use catalog_sql::SqlCatalog;
use database::SqliteDatabase;

/// A catalog in a SQLite database.
#[derive(Debug)]
pub struct SqliteCatalog(SqlCatalog<SqliteDatabase>);

impl SqliteCatalog {
    /// Opens the catalog in a file, makes the file and the folders above it when they are missing,
    /// and brings it to the newest schema version.
    ///
    /// [`CatalogError::NewerSchema`] when a newer Whimbrel wrote it; nothing is changed then.
    pub async fn open(path: &Path) -> Result<Self, CatalogError> {
        Ok(Self(SqlCatalog::new(SqliteDatabase::open(path).await?)))
    }

    /// A new, empty catalog that lives as long as this value.
    pub async fn in_memory() -> Result<Self, CatalogError> {
        Ok(Self(SqlCatalog::new(SqliteDatabase::in_memory().await?)))
    }
}

catalog_sql::delegate_catalog!(SqliteCatalog);

#[cfg(test)]
mod tests;
