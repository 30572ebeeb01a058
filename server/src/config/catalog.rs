//! `[catalog]`: where names, definitions and jobs are kept.

use serde::Deserialize;

use super::key::{Key, Kind};

/// Settings of `[catalog]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogConfig {
    /// `sqlite:PATH`, `sqlite::memory:` or `postgres://…`.
    pub url: String,
}

impl std::fmt::Debug for CatalogConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogConfig").field("url", &super::redact_url(&self.url)).finish()
    }
}

pub(super) const KEYS: [Key; 1] = [Key {
    path: "catalog.url",
    kind: Kind::Text,
    default: |facts| Some(format!("sqlite:{}/catalog.sqlite", facts.data_dir).into()),
    doc: "Database of the catalog: sqlite:PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/DATABASE.",
}];
