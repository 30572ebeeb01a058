//! Jobs and runs: what was asked, what happened. What kinds of work there are is in
//! [`crate::work`].

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    approval::{Approval, Chosen},
    code::Code,
    id::{GraphId, JobId, ObjectId, RunId, WorkerId},
    name::ObjectName,
    profile::Resources,
    report::RunReport,
    time::Timestamp,
    work::{JobKind, Maintained, Work},
};

/// Where a job or its newest run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Waits for a worker, for its upstream jobs, or for its next attempt.
    Queued,
    /// A worker has it: inputs are being pinned and the query planned.
    Planning,
    /// The query runs and files are staged; nothing is visible yet.
    Running,
    /// The commit is on its way; it can no longer be cancelled.
    Committing,
    /// Only a full refresh is left, and somebody has to approve it: no worker has it, and nothing
    /// happens until a person says so. See [`crate::approval`].
    AwaitingApproval,
    /// The new version is there.
    Succeeded,
    /// No attempt will follow. See the job's error.
    Failed,
    /// Ended on request before it committed.
    Cancelled,
    /// No input had a new version and the definition was the same: nothing was computed.
    SkippedNoChange,
    /// A job that this one waited for did not succeed.
    UpstreamFailed,
}

impl JobState {
    /// Whether nothing happens to the job any more, unless somebody retries it.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Queued
                | Self::Planning
                | Self::Running
                | Self::Committing
                | Self::AwaitingApproval
        )
    }

    /// Whether nothing happens to the job by itself: it has ended, or waits for a person.
    #[must_use]
    pub fn rests(self) -> bool {
        self.is_final() || self == Self::AwaitingApproval
    }

    /// Whether a worker has the job.
    #[must_use]
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Planning | Self::Running | Self::Committing)
    }

    /// Whether jobs that wait for this one may go on.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::SkippedNoChange)
    }

    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Planning => "PLANNING",
            Self::Running => "RUNNING",
            Self::Committing => "COMMITTING",
            Self::AwaitingApproval => "AWAITING_APPROVAL",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::SkippedNoChange => "SKIPPED_NO_CHANGE",
            Self::UpstreamFailed => "UPSTREAM_FAILED",
        }
    }

    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Planning,
        Self::Running,
        Self::Committing,
        Self::AwaitingApproval,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::SkippedNoChange,
        Self::UpstreamFailed,
    ];
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`JobState`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a job state")]
pub struct ParseJobStateError(String);

impl FromStr for JobState {
    type Err = ParseJobStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| ParseJobStateError(text.to_owned()))
    }
}

/// Why a job exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobCause {
    /// The transform was created or its definition changed.
    Definition,
    /// Somebody sent REFRESH, OPTIMIZE or VACUUM.
    Request,
    /// Its schedule was due.
    Schedule,
    /// Nobody asked: the table needed it, or an input has a new version and the transform is
    /// triggered by that.
    Automatic,
}

impl JobCause {
    /// Every cause.
    pub const ALL: [Self; 4] = [Self::Definition, Self::Request, Self::Schedule, Self::Automatic];

    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Request => "request",
            Self::Schedule => "schedule",
            Self::Automatic => "automatic",
        }
    }
}

/// A job that is to be queued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Chosen by the caller, so that jobs queued together can name each other.
    pub id: JobId,
    /// What is to be done.
    pub work: Work,
    /// The materialized view to refresh, or the table to look after.
    pub object: ObjectId,
    /// Why.
    pub cause: JobCause,
    /// Who asked.
    pub requested_by: String,
    /// Jobs that have to succeed first; queued before, or in the same call before this one.
    pub after: Vec<JobId>,
    /// For a job of a schedule: when it was due. A (object, due) pair is queued once, ever.
    pub due_at: Option<Timestamp>,
    /// Recompute even when no input changed.
    pub force: bool,
    /// Attempts in all before a transient failure is final.
    pub attempts_max: u32,
    /// Of the jobs that can run the one with the greatest number is taken first: see
    /// [`PRIORITIES`].
    pub priority: i32,
    /// The BACKFILL that this is a range of; queued before, or in the same call before this one.
    pub parent: Option<JobId>,
    /// The graph run that it belongs to; one for all jobs of a call.
    pub graph: Option<GraphId>,
    /// What its runs may take.
    pub resources: Resources,
}

/// What a job's priority may be; 0 is that of jobs for which nobody said another.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// What makes a request that is sent again the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// Chosen by who asks; everybody has keys of their own.
    pub key: String,
    /// Everything that the request says, in one spelling: another text is another request.
    pub request: String,
}

/// One requested refresh, OPTIMIZE or VACUUM, as users watch it. Figures are those of its newest
/// run.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub work: Work,
    /// What it refreshes or looks after.
    pub object: ObjectId,
    /// The object's name when the job was queued.
    pub object_name: ObjectName,
    /// Where it stands.
    pub state: JobState,
    /// Why it exists.
    pub cause: JobCause,
    /// Who asked.
    pub requested_by: String,
    /// Jobs it waits for.
    pub after: Vec<JobId>,
    /// Recompute even when no input changed.
    pub force: bool,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When a worker first took its newest run.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub finished_at: Option<Timestamp>,
    /// Its newest run, once a worker took it.
    pub run: Option<RunId>,
    /// Tries of the newest run so far.
    pub attempt: u32,
    /// Attempts in all before a transient failure is final.
    pub attempts_max: u32,
    /// What the newest run has done so far.
    pub progress: RunProgress,
    /// How the newest run computes its result, once that is decided and booked.
    pub chosen: Chosen,
    /// Who has approved a full refresh for it, unless it asks (again).
    pub approval: Option<Approval>,
    /// Version of the Delta table that holds the result.
    pub output_version: Option<i64>,
    /// What an OPTIMIZE or a VACUUM has done, once it succeeded.
    pub result: Option<Maintained>,
    /// Why it failed, or why the last attempt did; one text for people.
    pub error: Option<String>,
    /// Of the jobs that can run the one with the greatest number is taken first.
    pub priority: i32,
    /// The key of the request that queued it, if it had one.
    pub idempotency_key: Option<String>,
    /// The BACKFILL that this is a range of.
    pub parent: Option<JobId>,
    /// Of a BACKFILL: how far its ranges are.
    pub ranges: Option<Ranges>,
    /// The graph run that it belongs to.
    pub graph: Option<GraphId>,
    /// What its runs may take.
    pub resources: Resources,
}

/// How far the ranges of a BACKFILL are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ranges {
    /// How many there are.
    pub all: u32,
    /// Those that succeeded, or were right already.
    pub succeeded: u32,
    /// Those that ended in any other way.
    pub unsuccessful: u32,
}

/// What a run has done so far. Grows while it runs; exact once it succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunProgress {
    /// Rows that left the scans of the inputs.
    pub rows_read: u64,
    /// Rows in all inputs, by the statistics of their logs; 0 when unknown.
    pub rows_read_expected: u64,
    /// Rows handed to the writers.
    pub rows_written: u64,
    /// Bytes of the staged files.
    pub bytes_written: u64,
    /// Files that were put together, or deleted.
    pub files: u64,
    /// Files that are to be; 0 when unknown, and for refreshes.
    pub files_expected: u64,
}

/// A table at a version, as a run pins it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PinnedInput {
    /// The input.
    pub object: ObjectId,
    /// Its name when it was pinned.
    pub name: ObjectName,
    /// `metaData.id` of the Delta table; a table created anew at the same place has another one.
    /// Empty for inputs that are not Delta.
    pub delta_table_id: String,
    /// The Delta version; for an input that is not Delta, a fingerprint of its files.
    pub version: i64,
}

/// One execution of a job's work, as `system.runs` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The job it belongs to.
    pub job: JobId,
    /// What the job does.
    pub kind: JobKind,
    /// The transform, or the table.
    pub object: ObjectId,
    /// Its name when the job was queued.
    pub object_name: ObjectName,
    /// Counts the runs of the object; for a refresh, version of the application transaction of its
    /// commit.
    pub run_seq: i64,
    /// Where it stands.
    pub state: JobState,
    /// Tries so far.
    pub attempt: u32,
    /// Who has it or had it last.
    pub worker: Option<WorkerId>,
    /// When the first attempt began.
    pub started_at: Timestamp,
    /// When it reached a final state.
    pub finished_at: Option<Timestamp>,
    /// How it was computed, for example `FULL`.
    pub strategy: Option<String>,
    /// Why it was computed that way, for example `DEFINITION_CHANGED`.
    pub reason: Option<String>,
    /// What it has done.
    pub progress: RunProgress,
    /// The Delta version it made.
    pub output_version: Option<i64>,
    /// What an OPTIMIZE or a VACUUM has done, once it succeeded.
    pub result: Option<Maintained>,
    /// Why it failed.
    pub error: Option<String>,
    /// What it says of itself; empty until it has ended.
    pub report: RunReport,
    /// The graph run that its job belongs to.
    pub graph: Option<GraphId>,
    /// The definition that a refresh ran with, once it has a result.
    pub definition_hash: Option<String>,
}

/// The right of one worker to work on one attempt of a run until a point in time.
///
/// Every call that changes the run carries it; once another worker has taken the run over, the
/// calls of the former holder change nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// The attempt: the fencing token.
    pub attempt: u32,
    /// Who holds it.
    pub worker: WorkerId,
}

/// A run that a worker has taken.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedRun {
    /// The right to work on it.
    pub lease: Lease,
    /// The job.
    pub job: Job,
    /// Counts the runs of the object.
    pub run_seq: i64,
    /// What is known of the last refresh of the object that succeeded.
    pub last: Option<LastRun>,
    /// Grows with every change of any object: as long as it is the same, all objects are.
    pub objects_version: i64,
}

/// What the last successful refresh of an object stood on: equal inputs and definition, nothing to do.
#[derive(Debug, Clone, PartialEq)]
pub struct LastRun {
    /// Definition hash that it ran with.
    pub definition_hash: String,
    /// Versions that it read.
    pub inputs: Vec<PinnedInput>,
    /// The version that it made.
    pub output_version: i64,
    /// Only some partitions are of these versions: the run refreshed a part.
    pub is_mixed: bool,
}

/// What a heartbeat learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Go on.
    Held,
    /// The job is to be cancelled: stop before the commit.
    StopAsked,
    /// Somebody else has the run, or it is over: stop at once and record nothing.
    Lost,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunOutcome {
    /// The result is committed.
    Succeeded {
        /// The Delta version it made.
        output_version: i64,
        /// What it did.
        progress: RunProgress,
        /// How it was computed.
        strategy: String,
        /// Why it was computed that way.
        reason: String,
        /// The definition it ran with.
        definition_hash: String,
        /// What the run says of itself.
        report: RunReport,
    },
    /// An OPTIMIZE or a VACUUM is through.
    Maintained {
        /// The newest Delta version it made; none when it made none.
        output_version: Option<i64>,
        /// How much it was.
        progress: RunProgress,
        /// What it did.
        result: Maintained,
    },
    /// Nothing had changed.
    SkippedNoChange {
        /// The version that is still right.
        output_version: i64,
    },
    /// Stopped on request.
    Cancelled,
    /// Only a full refresh is left, and somebody has to approve it. Nothing was published; another
    /// run of the job begins anew once it is approved.
    NeedsApproval {
        /// How it would be computed.
        strategy: String,
        /// Why nothing less would do.
        reason: String,
        /// What the run says of itself: the ways that are not open, and an estimate.
        report: RunReport,
    },
    /// It did not work.
    Failed {
        /// Decides whether another attempt follows: see [`Code::is_transient`].
        code: Code,
        /// For people: what, where, what to do.
        message: String,
        /// How long to wait before the next attempt, if one follows.
        retry_after: Duration,
        /// How it was computed; `None` when it failed before that was decided.
        strategy: Option<String>,
        /// Why it was computed that way.
        reason: Option<String>,
        /// What the run found out before it failed.
        report: RunReport,
    },
}
