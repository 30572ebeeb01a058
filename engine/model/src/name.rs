//! Names of schemas, tables, views and transforms.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The only catalog there is: the first part of a three-part name.
pub const CATALOG: &str = "whimbrel";
/// The schema of a name that says none.
pub const DEFAULT_SCHEMA: &str = "main";
/// Schemas that the server itself provides and nobody can change.
pub const RESERVED_SCHEMAS: [&str; 2] = ["information_schema", "system"];
const LENGTH_MAX: usize = 255;

/// `schema.name` of a table, a view or a transform. Case is kept; unquoted SQL arrives in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    schema: String,
    name: String,
}

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// More than three parts, or none.
    #[error("'{0}' is not a name of the form [catalog.][schema.]name")]
    Parts(String),
    /// The catalog part is not [`CATALOG`].
    #[error("catalog '{0}' does not exist; the only catalog is '{CATALOG}'")]
    Catalog(String),
    /// Empty, too long, or with a character that no path can hold.
    #[error(
        "'{0}' cannot be used as a name: 1 to {LENGTH_MAX} characters, no '/', '\\', '@' or control character"
    )]
    Characters(String),
}

impl ObjectName {
    /// Checks and joins the two parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Result<Self, NameError> {
        let (schema, name) = (schema.into(), name.into());
        check_part(&schema)?;
        check_part(&name)?;
        Ok(Self { schema, name })
    }

    /// From the one to three parts of an SQL name; `default_schema` fills a missing schema.
    pub fn from_parts(parts: &[String], default_schema: &str) -> Result<Self, NameError> {
        match parts {
            [name] => Self::new(default_schema, name),
            [schema, name] => Self::new(schema, name),
            [catalog, schema, name] if catalog == CATALOG => Self::new(schema, name),
            [catalog, _, _] => Err(NameError::Catalog(catalog.clone())),
            _ => Err(NameError::Parts(parts.join("."))),
        }
    }

    /// The schema part.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The last part.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as SQL that parses back to it.
    #[must_use]
    pub fn to_sql(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Checks one part of a name: a schema or an object.
pub fn check_part(part: &str) -> Result<(), NameError> {
    let usable = !part.is_empty()
        && part.len() <= LENGTH_MAX
        && part != "."
        && part != ".."
        && !part.chars().any(|c| c.is_control() || matches!(c, '/' | '\\' | '@'));
    if usable { Ok(()) } else { Err(NameError::Characters(part.to_owned())) }
}

/// An identifier as SQL: quoted unless it is plain lower case.
#[must_use]
pub fn quote(identifier: &str) -> String {
    let plain = identifier.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && identifier.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { identifier.to_owned() } else { format!("\"{}\"", identifier.replace('"', "\"\"")) }
}
