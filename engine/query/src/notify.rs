//! Who may be told of the end of a job: the port to whatever knows the network.
//!
//! It exists so that a statement which names a receiver nobody may send to is refused at once. What
//! is sent later is kept in the catalog; nothing is sent from here.

use model::job::Job;
use serde_json::{Value, json};

use crate::error::QueryError;

/// What is known of the receivers of notifications.
pub trait Receivers: Send + Sync {
    /// The address in its normal form; an error that says what to do when it is none, or nobody may
    /// send there.
    fn check(&self, url: &str) -> Result<String, QueryError>;

    /// How many notifications may wait at a time.
    fn open_max(&self) -> u64;
}

/// A job as a notification tells of it: the columns of `system.jobs` that have a value.
#[must_use]
pub fn job_json(job: &Job) -> Value {
    let progress = &job.progress;
    let all = json!({
        "job_id": job.id.to_string(),
        "object": job.object_name.to_string(),
        "kind": job.work.kind().as_str(),
        "state": job.state.as_str(),
        "cause": job.cause.as_str(),
        "requested_by": job.requested_by,
        "queued_at": job.queued_at.to_string(),
        "started_at": job.started_at.map(|at| at.to_string()),
        "finished_at": job.finished_at.map(|at| at.to_string()),
        "attempt": job.attempt,
        "rows_read": progress.rows_read,
        "rows_expected": progress.rows_read_expected,
        "rows_written": progress.rows_written,
        "bytes_written": progress.bytes_written,
        "files": progress.files,
        "files_expected": progress.files_expected,
        "output_version": job.output_version,
        "result": job.result.map(|result| result.to_json()),
        "error": job.error,
        "run_id": job.run.map(|run| run.to_string()),
        "strategy": job.chosen.strategy,
        "reason": job.chosen.reason,
        "approved_by": job.approval.as_ref().map(|approval| &approval.by),
        "approved_at": job.approval.as_ref().map(|approval| approval.at.to_string()),
    });
    match all {
        Value::Object(all) => all.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}
