//! What a run says of itself: its ledger of rows, its checks, and why it was computed as it was.
//!
//! The stored form is JSON: fields may be added, with a default.

use serde::{Deserialize, Serialize};

use crate::{id::ObjectId, transform::OnViolation};

/// The report of one run. Everything in it is optional: a run tells what it has found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunReport {
    /// Rows of the result before its expectations had their say. Where only some rows of the
    /// result were computed anew, those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_in: Option<u64>,
    /// Rows that were published of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_out: Option<u64>,
    /// Rows that were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_dropped: Option<u64>,
    /// Rows that went to the quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_quarantined: Option<u64>,
    /// What became of each expectation, in the order of their declaration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<ExpectationResult>,
    /// What became of each key that was checked, in the order of their declaration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyResult>,
    /// What kind of promise did not hold, of a run that failed because of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Promise>,
    /// Rows of sources that flows left out, because commits did more than add rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedRows>,
    /// Strategies that were not taken, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// Bytes of all inputs, where the run has asked whether it may read them in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_estimated: Option<u64>,
    /// The hash of all rows of the result, where it was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The files that it has read as a STREAM, where a flow reads some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesReport>,
    /// The partitions that it computed, where it was asked for some only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<PartResult>,
}

/// What became of the files that the flows of a run read as a STREAM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilesReport {
    /// Files that it took.
    pub taken: u64,
    /// Files that it left for the next run.
    pub waiting: u64,
    /// Files that an earlier run has taken and that changed since: they are not taken again.
    pub changed: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_changed: Option<String>,
}

impl FilesReport {
    /// The report of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            taken: self.taken + other.taken,
            waiting: self.waiting + other.waiting,
            changed: self.changed + other.changed,
            first_changed: self.first_changed.or(other.first_changed),
        }
    }
}

/// What a run of some partitions has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartResult {
    /// The partitions, as SQL.
    pub condition: String,
    /// Other partitions stand for other versions of the inputs, or nobody knows of which.
    pub is_mixed: bool,
}

/// The kind of a promise about the rows of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// An expectation.
    Expectation,
    /// A PRIMARY KEY or a UNIQUE key.
    Unique,
    /// A FOREIGN KEY.
    Foreign,
}

/// Rows of one source that the flows of a run left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRows {
    /// The source.
    pub input: ObjectId,
    /// Commits that did more than add rows.
    pub commits: u64,
    /// Rows that these changed or took away; nothing where one of their writers did not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// What a run found of one expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationResult {
    /// Its name.
    pub name: String,
    /// What becomes of rows that do not meet it.
    #[serde(default)]
    pub on_violation: OnViolation,
    /// Rows that did not.
    #[serde(default)]
    pub violated: u64,
}

/// What a run found of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyResult {
    /// Its name.
    pub name: String,
    /// Values that violate it; a run that finds one fails.
    #[serde(default)]
    pub violated: u64,
}

impl RunReport {
    /// Whether the run says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether each row that came went somewhere: out, dropped or quarantined. True where rows were
    /// not counted.
    #[must_use]
    pub fn balances(&self) -> bool {
        let Some(rows_in) = self.rows_in else { return true };
        let went = [self.rows_out, self.rows_dropped, self.rows_quarantined];
        rows_in == went.into_iter().flatten().sum::<u64>()
    }

    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts under names are JSON")
    }
}

#[cfg(test)]
mod tests;
