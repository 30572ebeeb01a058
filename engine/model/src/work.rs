//! What jobs do: refreshing a transform, or looking after the files of a table.
//!
//! Everything that the one who asked has said is in here, so that whichever server takes the job
//! does what was meant. Their stored form is JSON: fields may be added, with a default.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The kind of a job's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Computes a transform's result.
    Refresh,
    /// Puts small files of a table together, or its rows in order.
    Optimize,
    /// Deletes files of a table that nobody needs.
    Vacuum,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Refresh, Self::Optimize, Self::Vacuum];

    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "REFRESH",
            Self::Optimize => "OPTIMIZE",
            Self::Vacuum => "VACUUM",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`JobKind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a kind of job")]
pub struct ParseJobKindError(String);

impl FromStr for JobKind {
    type Err = ParseJobKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseJobKindError(text.to_owned()))
    }
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Computes a transform's result.
    Refresh,
    /// Puts files together.
    Optimize(OptimizeWork),
    /// Deletes files.
    Vacuum(VacuumWork),
}

impl Work {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Refresh => JobKind::Refresh,
            Self::Optimize(_) => JobKind::Optimize,
            Self::Vacuum(_) => JobKind::Vacuum,
        }
    }
}

/// What an OPTIMIZE was asked to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptimizeWork {
    /// Only partitions that fulfil this condition, as SQL.
    pub condition: Option<String>,
    /// ZORDER BY: the columns.
    pub zorder_by: Vec<String>,
    /// Nobody asked: only files that are much smaller than the target.
    pub automatic: bool,
}

/// What a VACUUM was asked to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VacuumWork {
    /// FULL: every file in the table's folder is looked at.
    pub full: bool,
    /// RETAIN, in milliseconds; the table's own retention where none was said.
    pub retain_ms: Option<u64>,
}

/// What an OPTIMIZE or a VACUUM has done: the numbers of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Maintained {
    /// Of an OPTIMIZE.
    Optimized(Optimized),
    /// Of a VACUUM.
    Vacuumed(Vacuumed),
}

/// What an OPTIMIZE has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Optimized {
    /// Files that went.
    pub files_removed: u64,
    /// Files that came.
    pub files_added: u64,
    /// Bytes of the files that went.
    pub bytes_removed: u64,
    /// Bytes of the files that came.
    pub bytes_added: u64,
    /// Commits that it took.
    pub commits: u64,
}

/// What a VACUUM has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vacuumed {
    /// Data files that it deleted.
    pub files_deleted: u64,
    /// Their bytes, where they are known.
    pub bytes_deleted: u64,
    /// Files of the log that had expired, and were deleted.
    #[serde(default)]
    pub log_files_deleted: u64,
}

impl Maintained {
    /// Its numbers as JSON.
    #[must_use]
    pub fn to_json(self) -> String {
        let numbers = match &self {
            Self::Optimized(done) => serde_json::to_string(done),
            Self::Vacuumed(done) => serde_json::to_string(done),
        };
        numbers.expect("numbers under names are JSON")
    }
}

#[cfg(test)]
mod tests;
