//! Jobs that wait for a person: asking, approving, and looking again whether that is still needed.
//!
//! The run that asked is over. Whatever comes next is another run, with a number of its own: while
//! the job waited, runs of other jobs of the object may have committed.

use catalog::error::CatalogError;
use model::{
    approval::Approval,
    id::{JobId, ObjectId},
    job::{Job, JobState, Lease},
    report::RunReport,
    time::Timestamp,
};

use super::{Ended, Locked, control::refused, end, lease::record_report, list, lock, moves};
use crate::{database::Transaction, sql::sql, value::values};

/// What a run asks.
pub(super) struct Question<'a> {
    pub(super) strategy: &'a str,
    pub(super) reason: &'a str,
    pub(super) report: &'a RunReport,
}

/// Gives the lease back and lets the job wait; one that was asked to stop ends instead.
pub(super) async fn ask(
    tx: &mut impl Transaction,
    job: &Locked,
    lease: &Lease,
    question: &Question<'_>,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let Question { strategy, reason, report } = question;
    record_report(tx, lease, report).await?;
    tx.rows(
        sql!("UPDATE runs SET strategy = $2, reason = $3, error = NULL WHERE id = $1"),
        values![lease.run, *strategy, *reason],
    )
    .await?;
    if job.stop_asked {
        return end(tx, job.id, &cancelled(None, now)).await;
    }
    let state = JobState::AwaitingApproval;
    moves(job.state, state);
    tx.rows(sql!("UPDATE runs SET state = $2 WHERE id = $1"), values![lease.run, state]).await?;
    tx.rows(
        sql!("UPDATE jobs SET state = $2, error = NULL, worker_id = NULL, lease_until = NULL,"
             " approved_by = NULL, approved_at = NULL, approved_definition = NULL WHERE id = $1"),
        values![job.id, state],
    )
    .await?;
    Ok(())
}

/// See [`catalog::jobs::Jobs::approve`].
pub(super) async fn approve(
    tx: &mut impl Transaction,
    id: JobId,
    approval: &Approval,
    now: Timestamp,
) -> Result<Job, CatalogError> {
    let job = lock(tx, id).await?;
    if job.state != JobState::AwaitingApproval {
        return Err(refused(&job, "only a job that waits for approval can be approved"));
    }
    let Approval { by, at, definition_hash } = approval;
    let why = format!("a full refresh was approved by '{by}': another run of the job does it");
    back_into_the_queue(tx, id, why, now).await?;
    tx.rows(
        sql!("UPDATE jobs SET approved_by = $2, approved_at = $3, approved_definition = $4"
             " WHERE id = $1"),
        values![id, by.as_str(), *at, definition_hash.as_str()],
    )
    .await?;
    list::job(tx, id).await
}

/// The jobs of an object that wait for approval go back into the queue. Those that somebody else has
/// locked just now stay: whoever that is decides about them.
pub(super) async fn look_again(
    tx: &mut impl Transaction,
    object: ObjectId,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let waiting = tx
        .rows(
            sql!("SELECT j.id FROM jobs j WHERE j.object_id = $1"
                 " AND j.state = 'AWAITING_APPROVAL' ORDER BY j.queued_at, j.queue_seq" SKIP_J),
            values![object],
        )
        .await?;
    for mut row in waiting {
        back_into_the_queue(tx, row.parsed("job id")?, looks_again(), now).await?;
    }
    Ok(())
}

/// What the record of a run says whose job looks again.
pub(super) fn looks_again() -> String {
    "another run of the job looks again whether it needs approval".to_owned()
}

/// Ends the run that asked, and queues the job, whose row is locked, for another one.
pub(super) async fn back_into_the_queue(
    tx: &mut impl Transaction,
    job: JobId,
    why: String,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let Ended { state, error, at } = cancelled(Some(why), now);
    tx.rows(
        sql!("UPDATE runs SET state = $2, error = $3, finished_at = $4"
             " WHERE id = (SELECT run_id FROM jobs WHERE id = $1)"),
        values![job, state, error, at],
    )
    .await?;
    moves(JobState::AwaitingApproval, JobState::Queued);
    tx.rows(
        sql!("UPDATE jobs SET state = 'QUEUED', error = NULL, not_before = $2, stop_asked = 0,"
             " run_id = NULL, attempt = 0 WHERE id = $1"),
        values![job, now],
    )
    .await?;
    Ok(())
}

fn cancelled(error: Option<String>, now: Timestamp) -> Ended {
    Ended { state: JobState::Cancelled, error, at: Some(now) }
}
