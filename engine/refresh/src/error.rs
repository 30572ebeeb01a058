//! What can go wrong with a job.

use std::{error::Error, sync::Arc, time::Duration};

use catalog::error::CatalogError;
use lake::LakeError;
use model::{
    code::Code,
    id::JobId,
    name::ObjectName,
    quantity::{format_duration, format_size},
    report::RunReport,
};
use query::{
    error::QueryError,
    incremental::{ApprovalNeeded, Why},
    violation::Violation,
};
use rt::cpu::CpuTaskError;

/// Why an attempt of a run did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The object was dropped after the job was queued.
    #[error("'{0}' was dropped after its job was queued")]
    Dropped(ObjectName),
    /// The name belongs to something else by now.
    #[error("'{0}' is no materialized view and no streaming table any more")]
    NotATransform(ObjectName),
    /// Somebody has suspended it, or its file is gone from the folder that declared it.
    #[error("'{object}' is suspended: RESUME it, or bring back the file that declared it")]
    Suspended {
        /// The transform.
        object: ObjectName,
    },
    /// A streaming table that nothing feeds.
    #[error("the streaming table '{0}' has no flow yet")]
    NoFlow(ObjectName),
    /// A job that no worker does.
    #[error("a BACKFILL of '{0}' was handed to a worker, and only its ranges are for workers")]
    NotAWorkersJob(ObjectName),
    /// The tables that the ranges of a BACKFILL are computed from are not those that it reads now.
    #[error(
        "'{0}' was changed, or one of the tables that it reads was made anew, since its BACKFILL was asked for"
    )]
    BackfillOutdated(ObjectName),
    /// Only a materialized view has parts that could be computed alone.
    #[error(
        "'{0}' is a streaming table, which keeps what it has read once: no part of it can be computed again"
    )]
    NoParts(ObjectName),
    /// What it has cannot be added to.
    #[error("'{object}' has to be read again in full: {why}")]
    NeedsFull {
        /// The streaming table.
        object: ObjectName,
        /// A word for machines.
        code: &'static str,
        /// Why nothing can be added.
        why: String,
    },
    /// Only a full refresh is left, and somebody has to approve it.
    #[error("'{object}' can only be refreshed in full ({}), which somebody has to approve", needed.reason)]
    NeedsApproval {
        /// The transform.
        object: ObjectName,
        /// Why, and what it would cost.
        needed: Box<ApprovalNeeded>,
    },
    /// It reads a transform that has no data yet.
    #[error("'{object}' reads '{input}', which has not been refreshed yet")]
    InputNotRefreshed {
        /// The transform.
        object: ObjectName,
        /// What it reads.
        input: ObjectName,
    },
    /// It reads other tables than when the run began.
    #[error(
        "'{object}' was changed, or one of the tables that it reads was made anew, between two attempts of its run"
    )]
    Redefined {
        /// The transform.
        object: ObjectName,
        /// The job that cannot go on.
        job: JobId,
    },
    /// Another refresh came in between two jobs of a graph run.
    #[error(
        "'{object}' stands for version {read} of '{input}' already, and its graph run reads version {pinned}: another refresh was faster"
    )]
    Overtaken {
        /// The transform.
        object: ObjectName,
        /// What it reads.
        input: ObjectName,
        /// The version that its table stands for.
        read: i64,
        /// The version of the graph run.
        pinned: i64,
    },
    /// What a graph run reads is gone while it ran.
    #[error(
        "'{object}' reads '{input}', which was made anew, or whose files are others, since its graph run began"
    )]
    SourceReplaced {
        /// The transform.
        object: ObjectName,
        /// What it reads.
        input: ObjectName,
    },
    /// An input that USING INPUTS names is not what it was.
    #[error(
        "'{object}' does not read '{input}' any more, or that was made anew, since versions of it were named"
    )]
    InputReplaced {
        /// The transform.
        object: ObjectName,
        /// What it was to read.
        input: ObjectName,
    },
    /// USING INPUTS names a version below what a streaming table has read.
    #[error(
        "the streaming table '{object}' has read '{input}' up to version {read} already and takes no row back: version {asked} is before that"
    )]
    TakenAlready {
        /// The streaming table.
        object: ObjectName,
        /// What it reads.
        input: ObjectName,
        /// The version up to which it has read.
        read: i64,
        /// The version that was asked for.
        asked: i64,
    },
    /// The Delta log knows a later run than the catalog.
    #[error(
        "the table of '{object}' holds the result of run {committed}, but the catalog says that run {run_seq} is new"
    )]
    CatalogBehind {
        /// The transform.
        object: ObjectName,
        /// Newest run in the log of the table.
        committed: i64,
        /// The run that was to be made.
        run_seq: i64,
    },
    /// Its inputs could not be resolved, or its query not planned.
    #[error("{step} '{object}'")]
    Query {
        /// What was being done.
        step: &'static str,
        /// The transform.
        object: ObjectName,
        /// Why not.
        #[source]
        source: QueryError,
    },
    /// Its table could not be read or written.
    #[error("{step} '{object}'")]
    Lake {
        /// What was being done.
        step: &'static str,
        /// The transform.
        object: ObjectName,
        /// Why not.
        #[source]
        source: LakeError,
    },
    /// Rows of its result are not what its declaration promises.
    #[error("'{object}' was not refreshed: {violation}")]
    Violated {
        /// The transform.
        object: ObjectName,
        /// What is violated.
        violation: Box<Violation>,
        /// What the run had found out.
        report: Box<RunReport>,
    },
    /// Rows got lost on their way, or came out of nothing.
    #[error(
        "the ledger of '{object}' does not balance, so nothing was published: {} rows came, \
         {} went on, {} were dropped, {} quarantined, and {staged} were written",
        shown(report.rows_in), shown(report.rows_out), shown(report.rows_dropped),
        shown(report.rows_quarantined)
    )]
    Ledger {
        /// The transform.
        object: ObjectName,
        /// What was counted.
        report: Arc<RunReport>,
        /// Rows in the staged files.
        staged: u64,
    },
    /// The catalog did not answer.
    #[error("{step} '{object}'")]
    Catalog {
        /// What was being done.
        step: &'static str,
        /// The transform.
        object: ObjectName,
        /// Why not.
        #[source]
        source: CatalogError,
    },
    /// Nobody here knows what its run may take.
    #[error("'{object}' is to be refreshed with the profile '{profile}', which there is not")]
    UnknownProfile {
        /// The transform.
        object: ObjectName,
        /// The name that its job has.
        profile: String,
        /// Names that there are.
        known: String,
    },
    /// Its profile gives a run less time than it takes.
    #[error(
        "the run of '{object}' took longer than the {} that the profile '{profile}' allows one",
        format_duration(*limit)
    )]
    TooLong {
        /// The transform.
        object: ObjectName,
        /// The profile.
        profile: String,
        /// How long a run may take.
        limit: Duration,
    },
    /// It would read, or has written, more bytes than its job allows.
    #[error("'{object}' was not refreshed: {what}, and max_bytes is {}", format_size(*max))]
    TooManyBytes {
        /// The transform.
        object: ObjectName,
        /// What was to be done, how and why.
        what: String,
        /// The limit.
        max: u64,
    },
    /// A thread that worked on it died, or the server goes down.
    #[error("compute '{object}'")]
    Task {
        /// The transform.
        object: ObjectName,
        /// What happened.
        #[source]
        source: CpuTaskError,
    },
    /// A defect of ours, outside the query.
    #[error("the job of '{object}' ended unexpectedly: {panic}")]
    Panicked {
        /// The transform.
        object: ObjectName,
        /// The panic's text.
        panic: String,
    },
    /// The last attempt died while it committed, and nothing was committed.
    #[error("the worker that refreshed '{0}' stopped answering before its commit was there")]
    StoppedAnswering(ObjectName),
    /// The server went down before the run was done.
    #[error("the server was shut down during the job of '{0}'")]
    ShutDown(ObjectName),
}

impl RefreshError {
    /// Who is at fault. Decides whether another attempt follows: see [`Code::is_transient`].
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Dropped(_) => Code::NotFound,
            Self::Violated { .. } => Code::InvalidArgument,
            Self::Ledger { .. } | Self::NotAWorkersJob(_) => Code::Internal,
            Self::NotATransform(_)
            | Self::Suspended { .. }
            | Self::InputNotRefreshed { .. }
            | Self::NoFlow(_)
            | Self::NeedsFull { .. }
            | Self::BackfillOutdated(_)
            | Self::NoParts(_)
            | Self::NeedsApproval { .. }
            | Self::Redefined { .. }
            | Self::Overtaken { .. }
            | Self::SourceReplaced { .. }
            | Self::InputReplaced { .. }
            | Self::TakenAlready { .. }
            | Self::StoppedAnswering(_)
            | Self::UnknownProfile { .. }
            | Self::TooManyBytes { .. } => Code::FailedPrecondition,
            Self::TooLong { .. } => Code::DeadlineExceeded,
            Self::CatalogBehind { .. } => Code::DataLoss,
            Self::Query { source, .. } => source.code(),
            Self::Lake { source, .. } => source.code(),
            Self::Catalog { source, .. } => source.code(),
            Self::Task { source: CpuTaskError::Panicked(_), .. } | Self::Panicked { .. } => {
                Code::Internal
            }
            Self::Task { source: CpuTaskError::ShutDown, .. } | Self::ShutDown(_) => {
                Code::Unavailable
            }
        }
    }

    /// See [`QueryError::is_of_a_value`].
    #[must_use]
    pub(crate) fn is_of_a_value(&self) -> bool {
        matches!(self, Self::Query { source, .. } if source.is_of_a_value())
    }

    /// Why the flows of a streaming table can only go on by reading everything again, if that is what it
    /// says.
    #[must_use]
    pub(crate) fn begins_anew(&self) -> Option<Why> {
        match self {
            Self::NeedsFull { code, why, .. } => Some(Why { code, detail: why.clone() }),
            Self::Query { source, .. } => source.begins_anew(),
            _ => None,
        }
    }

    /// What somebody can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotATransform(object) => {
                Some(format!("create it again, or read '{object}' directly: it needs no refresh"))
            }
            Self::InputNotRefreshed { object, .. } => {
                Some(format!("REFRESH {} WITH UPSTREAM", object.to_sql()))
            }
            Self::NoFlow(object) => Some(format!(
                "CREATE FLOW name AS INSERT INTO {} BY NAME SELECT … FROM STREAM …",
                object.to_sql()
            )),
            Self::NeedsFull { object, .. } => Some(format!(
                "REFRESH STREAMING TABLE {} FULL reads all rows that its sources have now",
                object.to_sql()
            )),
            Self::BackfillOutdated(_) => {
                Some("send BACKFILL again: it computes from what is there now".to_owned())
            }
            Self::NoParts(object) => Some(format!(
                "REFRESH STREAMING TABLE {} FULL reads all rows that its sources have now",
                object.to_sql()
            )),
            Self::Redefined { job, .. } => {
                Some(format!("RETRY JOB '{job}' begins a new run with what it reads now"))
            }
            Self::Overtaken { object, .. } | Self::SourceReplaced { object, .. } => Some(format!(
                "nothing was changed; REFRESH {} WITH UPSTREAM begins a new graph run",
                object.to_sql()
            )),
            Self::InputReplaced { object, .. } => Some(format!(
                "EXPLAIN REFRESH {} tells what it reads now, and at which versions",
                object.to_sql()
            )),
            Self::TakenAlready { object, input, read, asked } => Some(format!(
                "name version {read} or a later one, or begin anew: REFRESH STREAMING TABLE {} FULL \
                 USING INPUTS ({} VERSION {asked})",
                object.to_sql(),
                input.to_sql()
            )),
            Self::CatalogBehind { object, .. } => Some(format!(
                "the catalog is older than the lake, as after restoring a backup: \
                 REFRESH {} FULL until its runs are newer, or drop and create it",
                object.to_sql()
            )),
            Self::Violated { violation, .. } => Some(violation.hint.clone()),
            Self::UnknownProfile { known, .. } => Some(format!(
                "the configuration names profiles (refresh.profiles): {known}; REFRESH … OPTIONS \
                 (profile = …) takes another one"
            )),
            Self::TooLong { profile, .. } => Some(format!(
                "raise refresh.profiles.{profile}.run_time, or REFRESH … OPTIONS (profile = …)"
            )),
            Self::TooManyBytes { .. } => Some(
                "nothing was published; REFRESH … OPTIONS (max_bytes = …) lets one run take more"
                    .to_owned(),
            ),
            Self::Query { source, .. } => source.hint(),
            Self::Task { source: CpuTaskError::Panicked(_), .. }
            | Self::Panicked { .. }
            | Self::Ledger { .. } => {
                Some("this is a defect of Whimbrel; the log of the server says where".to_owned())
            }
            _ => None,
        }
    }

    /// One text for people: what, where, why, what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = chain(self);
        if let Some(hint) = self.hint() {
            text.push_str("; hint: ");
            text.push_str(&hint);
        }
        text
    }
}

fn shown(rows: Option<u64>) -> u64 {
    rows.unwrap_or_default()
}

/// An error and its causes in one line; a cause whose text is there already is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        if !text.contains(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        // Its text has those of its causes, without the words that libraries put before them.
        cause = error.source().filter(|_| !error.is::<QueryError>());
    }
    text
}
