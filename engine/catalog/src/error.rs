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
    /// The key of a request belongs to another one.
    #[error(
        "the idempotency_key '{key}' belongs to another request, which is job {job}: {request}; \
         send that request again to have its answer, or use another key"
    )]
    RequestKeyTaken {
        /// The key.
        key: String,
        /// The request that has it.
        request: String,
        /// The first of its jobs.
        job: String,
    },
    /// More messages about jobs wait than there may be.
    #[error(
        "{open_max} notifications wait already for the ends of their jobs, or for their receivers"
    )]
    NotificationsFull {
        /// How many may wait.
        open_max: u64,
    },
    /// The lease is no longer ours.
    #[error("the lease of run {0} was lost to another worker")]
    LeaseLost(String),
    /// A user or role of that name is there already.
    #[error("there is already a user or role '{0}'")]
    PrincipalExists(String),
    /// The user has a token of that name.
    #[error("'{user}' already has a token '{name}'")]
    TokenExists {
        /// The user.
        user: String,
        /// The name.
        name: String,
    },
    /// Neither a user nor a role has that name.
    #[error("there is no user or role '{0}'")]
    PrincipalNotFound(String),
    /// No role of that name.
    #[error("there is no role '{0}'")]
    RoleNotFound(String),
    /// A role that would be a member of itself.
    #[error(
        "'{role}' is a member of '{member}' already, so '{member}' cannot become a member of it"
    )]
    RoleCycle {
        /// The role.
        role: String,
        /// Who was to become a member.
        member: String,
    },
    /// Nobody would be left who may do everything.
    #[error("'{0}' is the last user who is an admin: make another one an admin first")]
    LastAdmin(String),
    /// A role that the server needs.
    #[error("role '{0}' belongs to the server and stays")]
    BuiltInRole(String),
    /// A user or role that owns something.
    #[error("'{name}' owns {objects} objects: drop them, or give them away with ALTER … OWNER TO")]
    StillOwns {
        /// The user or role.
        name: String,
        /// How many objects.
        objects: u64,
    },
}

impl CatalogError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Database { transient: true, .. } => Code::Unavailable,
            Self::Database { .. } => Code::Internal,
            Self::NewerSchema { .. }
            | Self::SchemaNotEmpty { .. }
            | Self::JobState { .. }
            | Self::RoleCycle { .. }
            | Self::LastAdmin(_)
            | Self::BuiltInRole(_)
            | Self::StillOwns { .. } => Code::FailedPrecondition,
            Self::NotificationsFull { .. } => Code::ResourceExhausted,
            Self::Corrupt { .. } => Code::DataLoss,
            Self::SchemaNotFound(_)
            | Self::ObjectNotFound(_)
            | Self::ObjectGone(_)
            | Self::JobNotFound(_)
            | Self::PrincipalNotFound(_)
            | Self::RoleNotFound(_) => Code::NotFound,
            Self::SchemaExists(_)
            | Self::ObjectExists(_)
            | Self::PrincipalExists(_)
            | Self::RequestKeyTaken { .. }
            | Self::TokenExists { .. } => Code::AlreadyExists,
            Self::ObjectChanged(_) | Self::LeaseLost(_) => Code::Aborted,
        }
    }
}
