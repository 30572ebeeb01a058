//! What people do to jobs: cancel, retry.

use std::collections::HashSet;

use catalog::error::CatalogError;
use model::{
    id::JobId,
    job::{Job, JobState},
    time::Timestamp,
};

use super::{Ended, Locked, end, list, lock, next_queue_seq};
use crate::{
    database::{Transaction, row},
    sql::sql,
    value::values,
};

fn refused(job: &Locked, why: &'static str) -> CatalogError {
    CatalogError::JobState { job: job.id.to_string(), state: job.state.to_string(), why }
}

/// See [`catalog::jobs::Jobs::cancel`].
pub(super) async fn cancel(
    tx: &mut impl Transaction,
    id: JobId,
    now: Timestamp,
) -> Result<Job, CatalogError> {
    let job = lock(tx, id).await?;
    match job.state {
        JobState::Queued => {
            let ended = Ended { state: JobState::Cancelled, error: None, at: Some(now) };
            end(tx, id, &ended).await?;
        }
        JobState::Planning | JobState::Running => {
            tx.rows(sql!("UPDATE jobs SET stop_asked = 1 WHERE id = $1"), values![id]).await?;
        }
        JobState::Committing => {
            return Err(refused(
                &job,
                "its result is being committed and can no longer be stopped; wait for it to end",
            ));
        }
        _ => return Err(refused(&job, "it has ended; only a job that has not can be cancelled")),
    }
    list::job(tx, id).await
}

/// See [`catalog::jobs::Jobs::retry`].
pub(super) async fn retry(
    tx: &mut impl Transaction,
    id: JobId,
    now: Timestamp,
) -> Result<Job, CatalogError> {
    next_queue_seq(tx, 0).await?;
    let job = lock(tx, id).await?;
    if !is_unsuccessful(job.state) {
        return Err(refused(
            &job,
            "only a FAILED, CANCELLED or UPSTREAM_FAILED job can be queued again; send its statement once more for a new one",
        ));
    }
    let again = with_unsuccessful_upstream(tx, job).await?;
    for job in &again {
        let object =
            row(tx, sql!("SELECT id FROM objects WHERE id = $1"), values![job.object]).await?;
        if object.is_none() {
            return Err(refused(job, "what it was about was dropped; it cannot be queued again"));
        }
    }
    let mut seq = next_queue_seq(tx, again.len()).await?;
    for job in again {
        seq += 1;
        tx.rows(
            sql!("UPDATE jobs SET state = 'QUEUED', queue_seq = $2, queued_at = $3,"
                 " not_before = $3, finished_at = NULL, stop_asked = 0, error = NULL,"
                 " run_id = NULL, attempt = 0, worker_id = NULL, lease_until = NULL"
                 " WHERE id = $1"),
            values![job.id, seq, now],
        )
        .await?;
    }
    list::job(tx, id).await
}

fn is_unsuccessful(state: JobState) -> bool {
    state.is_final() && !state.is_success()
}

/// The job and every unsuccessful one that it waits for, the job itself last.
///
/// Jobs that are still open are looked through too: what they wait for may have failed already.
async fn with_unsuccessful_upstream(
    tx: &mut impl Transaction,
    job: Locked,
) -> Result<Vec<Locked>, CatalogError> {
    let mut seen = HashSet::from([job.id]);
    let mut found = Vec::new();
    let mut level = vec![job];
    while !level.is_empty() {
        let after = list::after(tx, level.iter().map(|job| job.id)).await?;
        let mut next: Vec<JobId> = after.into_values().flatten().collect();
        next.sort();
        found.append(&mut level);
        for id in next {
            if !seen.insert(id) {
                continue;
            }
            let upstream = lock(tx, id).await?;
            if !upstream.state.is_success() {
                level.push(upstream);
            }
        }
    }
    found.retain(|job| is_unsuccessful(job.state));
    // So that the nearest upstream comes right before the job in the queue.
    found.reverse();
    Ok(found)
}
