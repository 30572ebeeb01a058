//! What jobs do: refreshing a transform, letting rows out of its quarantine, or looking after the
//! files of a table.
//!
//! Everything that the one who asked has said is in here, so that whichever server takes the job
//! does what was meant. Their stored form is JSON: fields may be added, with a default.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{job::PinnedInput, time::Timestamp};

/// The kind of a job's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Computes a transform's result.
    Refresh,
    /// Puts small files of a table together, or its rows in order.
    Optimize,
    /// Deletes files of a table that nobody needs.
    Vacuum,
    /// Refreshes ranges of a transform, each by a job of its own.
    Backfill,
    /// Lets rows out of the quarantine of a streaming table.
    Release,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Refresh, Self::Optimize, Self::Vacuum, Self::Backfill, Self::Release];

    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "REFRESH",
            Self::Optimize => "OPTIMIZE",
            Self::Vacuum => "VACUUM",
            Self::Backfill => "BACKFILL",
            Self::Release => "RELEASE",
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
    /// Computes a transform's result from versions of inputs that were named: a refresh too.
    At(AtWork),
    /// Computes some partitions of a transform's result: a refresh too.
    Part(PartWork),
    /// Puts files together.
    Optimize(OptimizeWork),
    /// Deletes files.
    Vacuum(VacuumWork),
    /// Is done by its children alone; no worker takes it.
    Backfill(BackfillWork),
    /// Lets rows out of quarantine.
    Release(ReleaseWork),
}

impl Work {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Refresh | Self::At(_) | Self::Part(_) => JobKind::Refresh,
            Self::Backfill(_) => JobKind::Backfill,
            Self::Optimize(_) => JobKind::Optimize,
            Self::Vacuum(_) => JobKind::Vacuum,
            Self::Release(_) => JobKind::Release,
        }
    }
}

impl Work {
    /// The partitions that it computes, as SQL, where it does not compute all of them.
    #[must_use]
    pub fn part(&self) -> Option<&str> {
        match self {
            Self::Part(part) => Some(&part.condition),
            Self::Backfill(backfill) => Some(&backfill.condition),
            Self::Refresh
            | Self::At(_)
            | Self::Optimize(_)
            | Self::Vacuum(_)
            | Self::Release(_) => None,
        }
    }
}

/// What a REFRESH … USING INPUTS was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtWork {
    /// The versions that it reads of the inputs that were named. Others are read at their newest.
    pub at: Vec<PinnedInput>,
}

/// What a REFRESH … WHERE was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartWork {
    /// The partitions, as SQL over the columns that the result is partitioned by.
    pub condition: String,
    /// Of a range of a BACKFILL: the versions that all its ranges are computed from, and that a
    /// range which is that already is not computed again. `None`: the newest, and always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<PinnedInput>>,
}

/// What a BACKFILL was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillWork {
    /// All of its partitions, as SQL over the first column that the result is partitioned by.
    pub condition: String,
    /// The versions that all ranges are computed from.
    pub inputs: Vec<PinnedInput>,
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

/// What a RELEASE QUARANTINE was asked to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseWork {
    /// Only rows that fulfil this condition over the columns of the quarantine, as SQL.
    pub condition: Option<String>,
    /// What `now()` is in the condition, where it depends on that: the same for each attempt.
    pub asked_at: Option<Timestamp>,
}

/// What an OPTIMIZE, a VACUUM or a RELEASE QUARANTINE has done: the numbers of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Maintained {
    /// Of an OPTIMIZE.
    Optimized(Optimized),
    /// Of a VACUUM.
    Vacuumed(Vacuumed),
    /// Of a RELEASE QUARANTINE.
    Released(Released),
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

/// What a RELEASE QUARANTINE has done with the rows that it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Rows that meet the expectations now and are in the table.
    pub rows_released: u64,
    /// Rows that still do not, and stay where they were.
    pub rows_kept: u64,
}

impl Maintained {
    /// Its numbers as JSON.
    #[must_use]
    pub fn to_json(self) -> String {
        let numbers = match &self {
            Self::Optimized(done) => serde_json::to_string(done),
            Self::Vacuumed(done) => serde_json::to_string(done),
            Self::Released(done) => serde_json::to_string(done),
        };
        numbers.expect("numbers under names are JSON")
    }
}

#[cfg(test)]
mod tests;
