//! What the auditor has found of materialized views.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use model::{id::ObjectId, name::ObjectName, time::Timestamp};

use crate::error::CatalogError;

/// What one look at a materialized view came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has the rows that its query gives.
    Equal,
    /// It has others.
    Different,
    /// That could not be found out.
    Failed,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Equal, Self::Different, Self::Failed];

    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "EQUAL",
            Self::Different => "DIFFERENT",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`Verdict`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a verdict")]
pub struct ParseVerdictError(String);

impl FromStr for Verdict {
    type Err = ParseVerdictError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
            .ok_or_else(|| ParseVerdictError(text.to_owned()))
    }
}

/// One look at a materialized view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The materialized view.
    pub object: ObjectId,
    /// Its name then.
    pub name: ObjectName,
    /// What was found.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
    /// The version of its table that was looked at.
    pub version: Option<i64>,
    /// Rows that are stored.
    pub rows: Option<u64>,
    /// Rows that the query gives.
    pub rows_computed: Option<u64>,
    /// Why it could not be found out, or what to do. Never a value of a row.
    pub detail: Option<String>,
}

/// The newest verification of one object with one verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVerification {
    /// The newest.
    pub last: Verification,
    /// When that verdict was found first.
    pub first_at: Timestamp,
    /// How often it was found.
    pub times: u64,
}

/// What the auditor has found: of each object at most one row for each verdict.
#[async_trait]
pub trait Verifications: Send + Sync {
    /// Records what was found, in the place of the last one with the same verdict. A NUL in a text
    /// becomes U+FFFD.
    async fn add_verification(&self, verification: &Verification) -> Result<(), CatalogError>;

    /// Everything that was found, the newest first. That of dropped objects stays.
    async fn verifications(&self) -> Result<Vec<StoredVerification>, CatalogError>;
}
