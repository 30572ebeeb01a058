//! Where settings come from: the file, the environment, the command line.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use toml::{
    Value,
    de::{DeTable, DeValue},
};

use super::{ConfigError, Environment, Flag};

/// Prefix of the variables that are settings.
const VARIABLE_PREFIX: &str = "WHIMBREL__";
/// Prefixes of the variables by which object stores are usually told their credentials.
const CLOUD_PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Who gave a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it is built in, or computed from the machine.
    Default,
    /// A line of a file.
    File {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One value for one key, unchecked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assignment {
    pub(super) path: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The assignments of a file that has to be there.
pub(super) fn read_file(path: &Path) -> Result<Vec<Assignment>, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse_file(path, &text)
}

/// The assignments of a file that may be missing.
pub(super) fn read_file_if_there(path: &Path) -> Result<Vec<Assignment>, ConfigError> {
    match fs::read_to_string(path) {
        Ok(text) => parse_file(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Vec<Assignment>, ConfigError> {
    let syntax = |error: &toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        why: error.message().to_owned(),
    };
    // Twice: once for the values, once for the places of the keys.
    let values: toml::Table = text.parse().map_err(|error| syntax(&error))?;
    let places = DeTable::parse(text).map_err(|error| syntax(&error))?;
    let mut lines = Vec::new();
    collect_lines(text, "", places.get_ref(), &mut lines);
    let mut assignments = Vec::new();
    flatten("", &values, &mut |key, value| {
        let line = lines.iter().find(|(name, _)| *name == key).map_or(1, |(_, line)| *line);
        let origin = Origin::File { path: path.to_owned(), line };
        assignments.push(Assignment { path: key, value, origin });
    });
    Ok(assignments)
}

fn flatten(prefix: &str, table: &toml::Table, found: &mut impl FnMut(String, Value)) {
    for (name, value) in table {
        let key = join(prefix, name);
        match value {
            Value::Table(inner) => flatten(&key, inner, found),
            other => found(key, other.clone()),
        }
    }
}

fn collect_lines(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut Vec<(String, usize)>) {
    for (name, value) in table {
        let key = join(prefix, name.get_ref());
        lines.push((key.clone(), line_of(text, name.span().start)));
        if let DeValue::Table(inner) = value.get_ref() {
            collect_lines(text, &key, inner, lines);
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// `WHIMBREL__SERVER__FLIGHT_ADDR` and its like.
pub(super) fn variables(environment: &Environment) -> Vec<Assignment> {
    environment
        .with_prefix(VARIABLE_PREFIX)
        .map(|(name, value)| Assignment {
            path: name[VARIABLE_PREFIX.len()..].to_ascii_lowercase().replace("__", "."),
            value: value.into(),
            origin: Origin::Variable(name.to_owned()),
        })
        .collect()
}

/// `AWS_REGION` and its like, as options of the object store.
pub(super) fn cloud_variables(environment: &Environment) -> Vec<Assignment> {
    CLOUD_PREFIXES
        .into_iter()
        .flat_map(|prefix| environment.with_prefix(prefix))
        .map(|(name, value)| Assignment {
            path: format!("lake.storage.{}", name.to_ascii_lowercase()),
            value: value.into(),
            origin: Origin::Variable(name.to_owned()),
        })
        .collect()
}

/// Flags of the command line.
pub(super) fn flags(flags: &[Flag]) -> Vec<Assignment> {
    flags
        .iter()
        .map(|Flag { path, flag, value }| Assignment {
            path: (*path).to_owned(),
            value: value.clone().into(),
            origin: Origin::Flag(flag),
        })
        .collect()
}
