//! `[lake]`: where tables are kept.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Deserialize;

use super::{
    key::{Key, Kind},
    quantity,
};

/// Settings of `[lake]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeConfig {
    /// A folder, or `s3://`, `gs://` or `az://`.
    pub url: String,
    /// Options of the object store, by the names that they have as environment variables, in lower
    /// case.
    #[serde(default)]
    pub storage: BTreeMap<String, String>,
    /// Further folders and URLs that `LOCATION` may name.
    pub locations: Vec<String>,
    /// Age up to which a known version of a table counts as the newest; zero asks each time.
    #[serde(deserialize_with = "quantity::duration")]
    pub stale_max: Duration,
    /// Versions of tables that are kept in memory.
    pub snapshots_max: usize,
    /// Size that data files are written to.
    #[serde(deserialize_with = "quantity::size")]
    pub target_file_size: u64,
}

impl fmt::Debug for LakeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeConfig")
            .field("url", &self.url)
            .field("storage", &self.storage.keys())
            .field("locations", &self.locations)
            .field("stale_max", &self.stale_max)
            .field("snapshots_max", &self.snapshots_max)
            .field("target_file_size", &self.target_file_size)
            .finish()
    }
}

pub(super) const KEYS: [Key; 6] = [
    Key {
        path: "lake.url",
        kind: Kind::Text,
        default: |facts| Some(format!("{}/lake", facts.data_dir).into()),
        doc: "Where tables are kept: a folder, s3://BUCKET/PREFIX, gs://… or az://….",
    },
    Key {
        path: "lake.locations",
        kind: Kind::List,
        default: |_| Some(toml::Value::Array(Vec::new())),
        doc: "Further folders and URLs that LOCATION may name.",
    },
    Key {
        path: "lake.stale_max",
        kind: Kind::Duration,
        default: |_| Some("0s".into()),
        doc: "Age up to which a known table version counts as the newest; 0s asks the store each time.",
    },
    Key {
        path: "lake.snapshots_max",
        kind: Kind::Count(1),
        default: |_| Some(256.into()),
        doc: "Table versions that are kept in memory.",
    },
    Key {
        path: "lake.target_file_size",
        kind: Kind::Size,
        default: |_| Some("128MiB".into()),
        doc: "Size that data files are written to.",
    },
    Key {
        path: "lake.storage",
        kind: Kind::Table,
        default: |_| None,
        doc: "Options of the object store, named like the usual variables in lower case: aws_region = \"…\". \
              AWS_*, GOOGLE_* and AZURE_* of the environment count too.",
    },
];
