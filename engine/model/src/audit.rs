//! Who did what, and what came of it, as it is kept for those who have to answer for the server.

use std::time::Duration;

use crate::time::Timestamp;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditEvent {
    /// Somebody proved who they are, or failed to.
    Login,
    /// A statement that reads.
    Query,
    /// A statement that takes effect.
    Command,
    /// Records were lost: more came than the catalog took.
    Gap,
}

impl AuditEvent {
    const ALL: [Self; 4] = [Self::Login, Self::Query, Self::Command, Self::Gap];

    /// The word that is shown and stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "LOGIN",
            Self::Query => "QUERY",
            Self::Command => "COMMAND",
            Self::Gap => "GAP",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == word)
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditOutcome {
    /// It was done.
    Succeeded,
    /// It was not allowed, or the proof was wrong.
    Denied,
    /// It could not be done.
    Failed,
    /// Its client went away, or somebody ended it.
    Cancelled,
}

impl AuditOutcome {
    const ALL: [Self; 4] = [Self::Succeeded, Self::Denied, Self::Failed, Self::Cancelled];

    /// The word that is shown and stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Denied => "DENIED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// One line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it ended.
    pub at: Timestamp,
    /// Who did it; for a login that failed, who was said to.
    pub principal: String,
    /// Where from: the protocol and the address, as far as known.
    pub client: Option<String>,
    /// What it was.
    pub event: AuditEvent,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// Its id in `system.queries`.
    pub query_id: Option<String>,
    /// The text of the statement, without secrets, cut where it is very long.
    pub statement: Option<String>,
    /// Rows that were handed out or changed.
    pub rows: u64,
    /// How long it took.
    pub duration: Duration,
    /// Why it was not done.
    pub error: Option<String>,
}
