//! What is wrong with a folder of `.sql` files, with the file and the line.

use std::fmt;

use catalog::error::CatalogError;
use dialect::SyntaxError;
use model::{
    code::Code,
    name::{NameError, ObjectName},
};
use query::error::QueryError;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as its sender names it.
    pub path: String,
    /// The line on which the statement begins, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

/// Why a folder cannot be planned or applied. Nothing of it took effect then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file is not SQL.
    #[error("{path}: {source}")]
    Syntax {
        /// The file.
        path: String,
        /// Where in it, and what.
        source: SyntaxError,
    },
    /// The caller may not do it.
    #[error("{0}")]
    Refused(#[from] QueryError),
    /// A statement that declares nothing.
    #[error("{at}: {statement} does not belong into a folder of transforms")]
    NotADeclaration {
        /// The statement.
        at: Place,
        /// Its first words.
        statement: &'static str,
    },
    /// A name that cannot be one.
    #[error("{at}: {source}")]
    Name {
        /// The statement.
        at: Place,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two statements declare one name.
    #[error("'{name}' is declared twice: at {first} and at {second}")]
    DeclaredTwice {
        /// The name.
        name: String,
        /// One of them.
        first: Place,
        /// The other.
        second: Place,
    },
    /// A statement declares an object in a schema that nobody made.
    #[error("{at}: schema '{schema}' of '{object}' does not exist")]
    SchemaMissing {
        /// The statement.
        at: Place,
        /// What it declares.
        object: ObjectName,
        /// The schema.
        schema: String,
    },
    /// A query reads something that neither exists nor is declared.
    #[error("{at}: '{object}' reads '{name}', which neither exists nor is declared in the folder")]
    ReadMissing {
        /// The statement.
        at: Place,
        /// What it declares.
        object: ObjectName,
        /// What it reads.
        name: ObjectName,
        /// The most similar name that does exist or is declared.
        nearest: Option<String>,
    },
    /// A flow feeds something that neither exists nor is declared.
    #[error(
        "{at}: the flow '{flow}' feeds '{name}', which neither exists nor is declared in the folder"
    )]
    TargetMissing {
        /// The statement.
        at: Place,
        /// What it declares.
        flow: ObjectName,
        /// What it feeds.
        name: ObjectName,
    },
    /// Something reads a streaming table that has no flow, and so no columns.
    #[error("{at}: '{object}' reads the streaming table '{name}', which no flow feeds")]
    NotFed {
        /// The statement.
        at: Place,
        /// What it declares.
        object: ObjectName,
        /// The table.
        name: ObjectName,
    },
    /// A temporary view is read in a way in which only a table can be.
    #[error("{at}: the temporary view '{name}' cannot be read so: {problem}")]
    TemporaryView {
        /// The statement that reads it.
        at: Place,
        /// The view.
        name: String,
        /// What it would have to be.
        problem: &'static str,
    },
    /// Declarations that read each other in a circle.
    #[error("{at}: '{}' would read itself: {}", .names[0], cycle(.names))]
    Cycle {
        /// The first of the statements.
        at: Place,
        /// The objects of the circle; the first is also the last.
        names: Vec<ObjectName>,
    },
    /// The name belongs to something of another kind.
    #[error("{at}: '{object}' exists already and is a {kind}")]
    WrongKind {
        /// The statement.
        at: Place,
        /// The name.
        object: ObjectName,
        /// What it is.
        kind: &'static str,
    },
    /// The server refused a statement.
    #[error("{at}: {source}")]
    Statement {
        /// The statement; when more is known, the line of the mistake.
        at: Place,
        /// Why.
        source: QueryError,
    },
    /// The jobs could not be queued; the definitions are in effect.
    #[error("the definitions are in effect but their refreshes were not queued: {source}")]
    Queue {
        /// Why.
        source: QueryError,
    },
    /// The catalog did not answer.
    #[error("{}", crate::error::chain(.0))]
    Catalog(#[from] CatalogError),
}

impl FolderError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Syntax { source, .. } => source.code(),
            Self::NotADeclaration { .. }
            | Self::Name { .. }
            | Self::DeclaredTwice { .. }
            | Self::NotFed { .. }
            | Self::TemporaryView { .. }
            | Self::Cycle { .. }
            | Self::WrongKind { .. } => Code::InvalidArgument,
            Self::SchemaMissing { .. } | Self::ReadMissing { .. } | Self::TargetMissing { .. } => {
                Code::NotFound
            }
            Self::Statement { source, .. } | Self::Queue { source } | Self::Refused(source) => {
                source.code()
            }
            Self::Catalog(source) => source.code(),
        }
    }

    /// What the author can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax { source, .. } => source.hint.clone(),
            Self::NotADeclaration { .. } => Some(
                "a folder holds CREATE MATERIALIZED VIEW, CREATE STREAMING TABLE, CREATE FLOW, CREATE VIEW, \
                 CREATE TEMPORARY VIEW and CREATE SCHEMA; \
                 send other statements with `whimbrel sql`"
                    .to_owned(),
            ),
            Self::DeclaredTwice { .. } => Some("remove or rename one of them".to_owned()),
            Self::SchemaMissing { schema, .. } => {
                Some(format!("add CREATE SCHEMA {} to the folder", model::name::quote(schema)))
            }
            Self::TargetMissing { name, .. } => {
                Some(format!("add CREATE STREAMING TABLE {} to the folder", name.to_sql()))
            }
            Self::NotFed { name, .. } => Some(format!(
                "add CREATE FLOW … AS INSERT INTO {} BY NAME SELECT … to the folder, or a query to the table",
                name.to_sql()
            )),
            Self::ReadMissing { nearest, .. } => Some(match nearest {
                Some(nearest) => format!("did you mean '{nearest}'?"),
                None => "SHOW TABLES lists what there is".to_owned(),
            }),
            Self::TemporaryView { name, .. } => Some(format!(
                "write STREAM before a table in the query of '{name}', or make '{name}' a streaming table"
            )),
            Self::Cycle { .. } => Some("take one of these reads out".to_owned()),
            Self::WrongKind { .. } => {
                Some("declare it under another name, or drop what is there".to_owned())
            }
            Self::Statement { source, .. } | Self::Refused(source) => source.hint(),
            Self::Queue { .. } => Some("REFRESH MATERIALIZED VIEW queues them".to_owned()),
            Self::Name { .. } | Self::Catalog(_) => None,
        }
    }
}

fn cycle(names: &[ObjectName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> ")
}
