//! Which catalog a URL means.

use std::{path::PathBuf, sync::Arc};

use catalog::Catalog;
use catalog_postgres::{PostgresCatalog, PostgresOptions};
use catalog_sqlite::SqliteCatalog;

use super::BootError;
use crate::config::redact_url;

/// Connections to Postgres: enough for workers and metadata calls side by side.
const POSTGRES_CONNECTIONS: u32 = 16;

/// A URL of a catalog, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CatalogUrl {
    /// A file.
    Sqlite(PathBuf),
    /// Gone with the process.
    Memory,
    /// A database server.
    Postgres(String),
}

impl CatalogUrl {
    pub(super) fn parse(url: &str) -> Result<Self, BootError> {
        let refused = || BootError::CatalogUrl { url: redact_url(url) };
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        let path = url.strip_prefix("sqlite:").ok_or_else(refused)?;
        let path = path.strip_prefix("//").unwrap_or(path);
        match path {
            "" => Err(refused()),
            ":memory:" => Ok(Self::Memory),
            path => Ok(Self::Sqlite(PathBuf::from(path))),
        }
    }
}

/// Opens the catalog that the URL names, and makes a SQLite one that is missing.
pub async fn open_catalog(url: &str) -> Result<Arc<dyn Catalog>, BootError> {
    let refused = |source| BootError::Catalog { url: redact_url(url), source };
    Ok(match CatalogUrl::parse(url)? {
        CatalogUrl::Sqlite(path) => Arc::new(SqliteCatalog::open(&path).await.map_err(refused)?),
        CatalogUrl::Memory => Arc::new(SqliteCatalog::in_memory().await.map_err(refused)?),
        CatalogUrl::Postgres(url) => {
            let options = PostgresOptions { connections_max: POSTGRES_CONNECTIONS };
            Arc::new(PostgresCatalog::connect(&url, options).await.map_err(refused)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_catalogs_are_told_apart() {
        let cases = [
            ("sqlite:/d/c.sqlite", CatalogUrl::Sqlite("/d/c.sqlite".into())),
            ("sqlite:///d/c.sqlite", CatalogUrl::Sqlite("/d/c.sqlite".into())),
            ("sqlite:c.sqlite", CatalogUrl::Sqlite("c.sqlite".into())),
            ("sqlite::memory:", CatalogUrl::Memory),
            ("postgres://u:p@h/d", CatalogUrl::Postgres("postgres://u:p@h/d".to_owned())),
        ];
        for (url, expected) in cases {
            assert_eq!(CatalogUrl::parse(url).unwrap(), expected, "{url}");
        }
        for url in ["", "sqlite:", "mysql://u:secret@h/d", "/d/c.sqlite"] {
            let error = CatalogUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains("sqlite:PATH") && !error.contains("secret"), "{error}");
        }
    }
}
