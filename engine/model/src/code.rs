//! Who is at fault and what a caller may do about it: the one classification of every error.
//!
//! The server turns a [`Code`] into a gRPC status, an SQLSTATE or an HTTP status in one place;
//! nobody ever looks at an error's text to decide anything.

use std::fmt;

/// The class of an error. A restricted subset of the gRPC status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The statement, its parameters or an option is wrong; the same call fails again.
    InvalidArgument,
    /// A named thing does not exist.
    NotFound,
    /// A named thing exists already.
    AlreadyExists,
    /// The principal is known and may not do this.
    PermissionDenied,
    /// The caller did not prove who it is.
    Unauthenticated,
    /// The state of the object does not allow this now; change the state, not the statement.
    FailedPrecondition,
    /// Lost against a concurrent change; the caller may run the statement again.
    Aborted,
    /// A limit of the server is reached: memory, disk, queue, handles.
    ResourceExhausted,
    /// Ended by its owner or by shutdown.
    Cancelled,
    /// Took longer than its limit.
    DeadlineExceeded,
    /// A store, a catalog or a network is out of reach for now; trying again may help.
    Unavailable,
    /// Valid SQL that this version cannot do.
    Unimplemented,
    /// Stored data or metadata is broken.
    DataLoss,
    /// A defect of Whimbrel. Never a user's mistake.
    Internal,
}

impl Code {
    /// Whether the same work may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Aborted | Self::ResourceExhausted | Self::Unavailable)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
