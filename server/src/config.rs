//! What the program is told: defaults, then `whimbrel.toml`, then `WHIMBREL__SECTION__KEY`, then flags.
//!
//! It exists so that every setting has one name, one place and one default. Nothing outside this
//! room reads the environment, and nothing is read again once the server has started.

mod audit;
mod auditor;
mod auth;
mod catalog;
mod environment;
mod key;
mod lake;
mod layer;
mod log;
mod machine;
mod notify;
mod quantity;
mod query;
mod redact;
mod refresh;
mod server;
mod show;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use self::{
    audit::{AuditConfig, AuditStatements},
    auditor::AuditorConfig,
    auth::{AuthConfig, OidcConfig},
    catalog::CatalogConfig,
    environment::Environment,
    key::{Facts, Key, Kind},
    lake::LakeConfig,
    layer::Origin,
    log::{LogConfig, LogFormat},
    machine::Machine,
    notify::NotifyConfig,
    quantity::{format_size, parse_duration},
    query::QueryConfig,
    redact::redact_url,
    refresh::{ProfileConfig, RefreshConfig},
    server::ServerConfig,
};
use self::{key::nearest, layer::Assignment};

/// The file that is read from the current folder when no other is named.
pub const FILE_NAME: &str = "whimbrel.toml";
/// Where data lives when nothing else is said.
pub const DATA_DIR: &str = "whimbrel-data";

/// Every setting, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder that holds whatever has no other place. Absolute.
    pub data_dir: PathBuf,
    /// The network side.
    pub server: ServerConfig,
    /// Who else may say who somebody is.
    pub auth: AuthConfig,
    /// Where definitions and jobs are kept.
    pub catalog: CatalogConfig,
    /// Where tables are kept.
    pub lake: LakeConfig,
    /// Limits of running statements.
    pub query: QueryConfig,
    /// How transforms are refreshed.
    pub refresh: RefreshConfig,
    /// Whom the server may tell of the ends of jobs.
    pub notify: NotifyConfig,
    /// What is recorded of who did what.
    pub audit: AuditConfig,
    /// What is verified although nobody asks.
    pub auditor: AuditorConfig,
    /// What is logged.
    pub log: LogConfig,
    /// For tests in debug builds: the named point at which the process aborts.
    #[serde(skip)]
    pub crash_at: Option<String>,
    /// For tests in debug builds: the named point at which work stands still.
    #[serde(skip)]
    pub pause_at: Option<String>,
    #[serde(skip)]
    effective: Vec<Effective>,
}

/// One setting as it is in force.
#[derive(Clone)]
struct Effective {
    path: String,
    value: toml::Value,
    origin: Origin,
}

/// The value may be a secret.
impl std::fmt::Debug for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.path, self.origin)
    }
}

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key, for example `server.flight_addr`.
    pub path: &'static str,
    /// The flag as users type it, for example `--flight-addr`.
    pub flag: &'static str,
    /// Its value.
    pub value: String,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration file '{path}'")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{path}:{line}: {why}", path = path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// There is no such key.
    #[error("unknown key '{key}' ({origin}); the nearest known key is '{nearest}'")]
    UnknownKey {
        /// The key as given.
        key: String,
        /// Who gave it.
        origin: Origin,
        /// The key that was probably meant.
        nearest: String,
    },
    /// The value does not fit the key.
    #[error("{key} ({origin}): {why}")]
    Value {
        /// The key.
        key: String,
        /// Who gave the value.
        origin: Origin,
        /// What is wrong and what is expected.
        why: String,
    },
    /// Two settings that cannot go together.
    #[error("{0}")]
    Conflict(String),
}

impl Config {
    /// Merges and checks everything that the program was told.
    ///
    /// `file` has to exist when it is given; without it, [`FILE_NAME`] in the current folder is
    /// read when it is there. Reads no other files and opens nothing.
    pub fn load(
        file: Option<&Path>,
        environment: &Environment,
        flags: &[Flag],
        machine: Machine,
    ) -> Result<Self, ConfigError> {
        let mut layers = layer::cloud_variables(environment);
        layers.extend(match file {
            Some(path) => layer::read_file(path)?,
            None => layer::read_file_if_there(Path::new(FILE_NAME))?,
        });
        layers.extend(layer::variables(environment));
        layers.extend(layer::flags(flags));
        let mut config = merge(layers, machine)?;
        config.crash_at = environment.crash_at();
        config.pause_at = environment.pause_at();
        Ok(config)
    }

    /// The configuration as TOML with the origin of every line, and without secrets.
    #[must_use]
    pub fn show(&self) -> String {
        show::show(&self.effective)
    }

    /// Whether nobody said anything about the key `path`.
    #[must_use]
    pub fn is_default(&self, path: &str) -> bool {
        !self
            .effective
            .iter()
            .any(|setting| setting.path == path && setting.origin != Origin::Default)
    }
}

/// Every key that exists, in the order in which it is shown.
#[must_use]
pub fn keys() -> Vec<Key> {
    let data_dir = Key {
        path: "data_dir",
        kind: Kind::Path,
        default: |facts| Some(facts.data_dir.clone().into()),
        doc: "Folder of everything that has no other place: catalog, lake, spilled data.",
    };
    let mut keys = vec![data_dir];
    keys.extend(server::KEYS);
    keys.extend(auth::KEYS);
    keys.extend(catalog::KEYS);
    keys.extend(lake::KEYS);
    keys.extend(query::KEYS);
    keys.extend(refresh::KEYS);
    keys.extend(notify::KEYS);
    keys.extend(audit::KEYS);
    keys.extend(auditor::KEYS);
    keys.extend(log::KEYS);
    keys
}

fn merge(layers: Vec<Assignment>, machine: Machine) -> Result<Config, ConfigError> {
    let keys = keys();
    let mut given = BTreeMap::new();
    for assignment in layers {
        let known = keys.iter().any(|key| key.owns(&assignment.path));
        if !known {
            return Err(ConfigError::UnknownKey {
                nearest: nearest(&keys, &assignment.path).to_owned(),
                key: assignment.path,
                origin: assignment.origin,
            });
        }
        given.insert(assignment.path.clone(), assignment);
    }
    let facts = Facts { data_dir: data_dir(&given)?, machine };
    let mut effective = Vec::new();
    for key in &keys {
        effective.extend(in_force(key, &given, &facts)?);
    }
    build(effective)
}

/// The data folder comes first, because defaults of other keys are folders in it.
fn data_dir(given: &BTreeMap<String, Assignment>) -> Result<String, ConfigError> {
    let (text, origin) = match given.get("data_dir") {
        None => (DATA_DIR.to_owned(), Origin::Default),
        Some(assignment) => {
            (assignment.value.as_str().unwrap_or_default().to_owned(), assignment.origin.clone())
        }
    };
    let refused = |why: String| ConfigError::Value { key: "data_dir".to_owned(), origin, why };
    if text.is_empty() {
        return Err(refused("expected a folder".to_owned()));
    }
    match std::path::absolute(&text) {
        Ok(path) => Ok(path.to_string_lossy().into_owned()),
        Err(error) => Err(refused(format!("'{text}' is no usable folder: {error}"))),
    }
}

fn in_force(
    key: &Key,
    given: &BTreeMap<String, Assignment>,
    facts: &Facts,
) -> Result<Vec<Effective>, ConfigError> {
    let mut settings = Vec::new();
    for (path, assignment) in given.iter().filter(|(path, _)| key.owns(path)) {
        let origin = assignment.origin.clone();
        let value = key
            .kind
            .normalise(&assignment.value, facts)
            .map_err(|why| ConfigError::Value { key: path.clone(), origin: origin.clone(), why })?;
        settings.push(Effective { path: path.clone(), value, origin });
    }
    if settings.is_empty()
        && let Some(value) = (key.default)(facts)
    {
        settings.push(Effective { path: key.path.to_owned(), value, origin: Origin::Default });
    }
    Ok(settings)
}

fn build(effective: Vec<Effective>) -> Result<Config, ConfigError> {
    let mut root = toml::Table::new();
    let sections =
        ["server", "auth", "catalog", "lake", "query", "refresh", "notify", "audit", "log"];
    for section in sections {
        root.insert(section.to_owned(), toml::Table::new().into());
    }
    for setting in &effective {
        insert(&mut root, &setting.path, setting.value.clone());
    }
    let mut config: Config = root.try_into().map_err(|error: toml::de::Error| {
        ConfigError::Conflict(format!("the configuration does not fit together: {error}"))
    })?;
    config.server.check()?;
    config.auth.check()?;
    config.notify.check()?;
    config.refresh.check(config.query.memory_max)?;
    config.effective = effective;
    Ok(config)
}

fn insert(table: &mut toml::Table, path: &str, value: toml::Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner =
                table.entry(section).or_insert_with(|| toml::Table::new().into()).as_table_mut();
            if let Some(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
