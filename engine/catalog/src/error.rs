//! What can go wrong in a catalog.

use model::{code::Code, name::ObjectName};

/// An error of any catalog method.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database did not answer or refused.
    #[error("{operation} in the catalog")]
    Database {
        /// What was tried, for example "list the objects".
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether it may work later.
        transient: bool,
    },
    /// The database was written by a newer Whimbrel.
    #[error(
        "the catalog has schema version {found}, this program knows up to {known}: run the newer program"
    )]
    NewerSchema {
        /// Version in the database.
        found: i64,
        /// Version this program can read.
        known: i64,
    },
    /// A stored value cannot be read back.
    #[error("the catalog holds an unreadable {what}: {why}")]
    Corrupt {
        /// Which kind of value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No schema of that name.
    #[error("schema '{0}' does not exist")]
    SchemaNotFound(String),
    /// The schema is there already.
    #[error("schema '{0}' already exists")]
    SchemaExists(String),
    /// The schema still holds objects.
    #[error(
        "schema '{schema}' is not empty: it holds {objects} objects; drop them first, or say CASCADE"
    )]
    SchemaNotEmpty {
        /// The schema.
        schema: String,
        /// How many objects it holds.
        objects: u64,
    },
    /// No object of that name.
    #[error("'{0}' does not exist")]
    ObjectNotFound(ObjectName),
    /// An object of that name is there already.
    #[error("'{0}' already exists")]
    ObjectExists(ObjectName),
    /// No object of that id, any more.
    #[error("object {0} does not exist any more")]
    ObjectGone(String),
    /// The object was changed by somebody else since it was read.
    #[error("'{0}' was changed by another statement at the same time")]
    ObjectChanged(ObjectName),
    /// No such job.
    #[error("job '{0}' does not exist")]
    JobNotFound(String),
    /// The job's state does not allow it.
    #[error("job {job} is {state}: {why}")]
    JobState {
        /// The job.
        job: String,
        /// Its state.
        state: String,
        /// What is not possible, and what is.
        why: &'static str,
    },
    /// The lease is no longer ours.
    #[error("the lease of run {0} was lost to another worker")]
    LeaseLost(String),
    /// The user is there already.
    #[error("user '{0}' already exists")]
    UserExists(String),
}

impl CatalogError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Database { transient: true, .. } => Code::Unavailable,
            Self::Database { .. } => Code::Internal,
            Self::NewerSchema { .. } | Self::SchemaNotEmpty { .. } | Self::JobState { .. } => {
                Code::FailedPrecondition
            }
            Self::Corrupt { .. } => Code::DataLoss,
            Self::SchemaNotFound(_)
            | Self::ObjectNotFound(_)
            | Self::ObjectGone(_)
            | Self::JobNotFound(_) => Code::NotFound,
            Self::SchemaExists(_) | Self::ObjectExists(_) | Self::UserExists(_) => {
                Code::AlreadyExists
            }
            Self::ObjectChanged(_) | Self::LeaseLost(_) => Code::Aborted,
        }
    }
}
