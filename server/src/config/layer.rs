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
/// The variables by which object stores are usually told where they are and who asks. Others with
/// the same beginnings (`AWS_PROFILE`, `AWS_PAGER` …) are meant for other programs.
const CLOUD_VARIABLES: [&str; 46] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ALLOW_HTTP",
    "AWS_CHECKSUM_ALGORITHM",
    "AWS_CONDITIONAL_PUT",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_DISABLE_TAGGING",
    "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IMDSV1_FALLBACK",
    "AWS_METADATA_ENDPOINT",
    "AWS_REGION",
    "AWS_REQUEST_PAYER",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_S3_EXPRESS",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SESSION_TOKEN",
    "AWS_SKIP_SIGNATURE",
    "AWS_SSE_BUCKET_KEY_ENABLED",
    "AWS_SSE_CUSTOMER_KEY_BASE64",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_UNSIGNED_PAYLOAD",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_ALLOW_HTTP",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_TENANT_ID",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SKIP_SIGNATURE",
];

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
    CLOUD_VARIABLES
        .into_iter()
        .filter_map(|name| Some((name, environment.get(name)?)))
        .filter(|(_, value)| !value.is_empty())
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
