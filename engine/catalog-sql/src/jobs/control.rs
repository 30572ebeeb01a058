//! What people do to jobs: cancel, retry.

use std::collections::HashSet;

use catalog::error::CatalogError;
use model::{
    id::{GraphId, JobId},
    job::{Job, JobState},
    time::Timestamp,
    work::JobKind,
};

use super::{Ended, Locked, end, graph, jobs_of, list, lock, moves, next_queue_seq, parent};
use crate::{
    database::{Transaction, row},
    notifications::tell_again,
    sql::sql,
    value::values,
};

pub(super) fn refused(job: &Locked, why: &'static str) -> CatalogError {
    CatalogError::JobState { job: job.id.to_string(), state: job.state.to_string(), why }
}

pub(super) fn has_ended(job: &Locked) -> CatalogError {
    refused(job, "it has ended; only a job that has not can be cancelled")
}

/// See [`catalog::jobs::Jobs::cancel`].
pub(super) async fn cancel(
    tx: &mut impl Transaction,
    id: JobId,
    now: Timestamp,
) -> Result<Job, CatalogError> {
    if parent::is_parent(tx, id).await? {
        return parent::cancel(tx, id, now).await;
    }
    let job = lock(tx, id).await?;
    match job.state {
        JobState::Queued | JobState::AwaitingApproval => {
            moves(job.state, JobState::Cancelled);
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
        _ => return Err(has_ended(&job)),
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
    // Of a BACKFILL the ranges that are missing; they bring it along.
    let ranges = match parent::is_parent(tx, id).await? {
        true => parent::children(tx, id).await?,
        false => Vec::new(),
    };
    let job = lock(tx, id).await?;
    if !is_unsuccessful(job.state) {
        return Err(refused(
            &job,
            "only a FAILED, CANCELLED or UPSTREAM_FAILED job can be queued again; send its statement once more for a new one",
        ));
    }
    let missing: Vec<_> = ranges.into_iter().filter(|job| is_unsuccessful(job.state)).collect();
    let missing = if missing.is_empty() { vec![job] } else { missing };
    let ids = queue_again(tx, missing, now).await?;
    graph::forget_unread(tx, &ids).await?;
    list::job(tx, id).await
}

/// See [`catalog::jobs::Jobs::retry_failed`].
pub(super) async fn retry_failed(
    tx: &mut impl Transaction,
    id: JobId,
    now: Timestamp,
) -> Result<Vec<Job>, CatalogError> {
    next_queue_seq(tx, 0).await?;
    let Some(parts) = parts(tx, id).await? else {
        let job = lock(tx, id).await?;
        return Err(refused(
            &job,
            "it belongs to no graph run and to no BACKFILL, so it has no parts of which some failed; RETRY JOB without FROM FAILED does it again",
        ));
    };
    let failed: Vec<_> = parts.into_iter().filter(|job| is_unsuccessful(job.state)).collect();
    if failed.is_empty() {
        let job = lock(tx, id).await?;
        return Err(refused(
            &job,
            "no part of its graph run or BACKFILL is FAILED, CANCELLED or UPSTREAM_FAILED",
        ));
    }
    let ids = queue_again(tx, failed, now).await?;
    let mut jobs = jobs_of(tx, ids.clone()).await?;
    jobs.sort_by_key(|job| ids.iter().position(|id| *id == job.id));
    Ok(jobs)
}

/// The jobs of the graph run or of the BACKFILL that a job is about, locked, in the order of the queue;
/// nothing for a job of neither.
async fn parts(tx: &mut impl Transaction, id: JobId) -> Result<Option<Vec<Locked>>, CatalogError> {
    let found =
        row(tx, sql!("SELECT kind, parent_id, graph_id FROM jobs WHERE id = $1"), values![id])
            .await?;
    let mut found = found.ok_or_else(|| CatalogError::JobNotFound(id.to_string()))?;
    let kind: JobKind = found.parsed("kind of a job")?;
    let parent: Option<JobId> = found.parsed_opt("job id")?;
    let graph: Option<GraphId> = found.parsed_opt("graph run of a job")?;
    let backfill = if kind == JobKind::Backfill { Some(id) } else { parent };
    match (backfill, graph) {
        (Some(backfill), _) => parent::children(tx, backfill).await.map(Some),
        (None, Some(graph)) => graph::members(tx, graph).await.map(Some),
        (None, None) => Ok(None),
    }
}

/// Puts unsuccessful jobs, and the unsuccessful ones that they wait for, at the end of the queue.
/// Answers their ids, upstream first.
async fn queue_again(
    tx: &mut impl Transaction,
    jobs: Vec<Locked>,
    now: Timestamp,
) -> Result<Vec<JobId>, CatalogError> {
    let mut again: Vec<Locked> = Vec::new();
    for job in jobs {
        for job in with_unsuccessful_upstream(tx, job).await? {
            if !again.iter().any(|other| other.id == job.id) {
                again.push(job);
            }
        }
    }
    for job in &again {
        let object =
            row(tx, sql!("SELECT id FROM objects WHERE id = $1"), values![job.object]).await?;
        if object.is_none() {
            return Err(refused(job, "what it was about was dropped; it cannot be queued again"));
        }
    }
    let mut seq = next_queue_seq(tx, again.len()).await?;
    let ids: Vec<_> = again.iter().map(|job| job.id).collect();
    for job in again {
        seq += 1;
        moves(job.state, JobState::Queued);
        tell_again(tx, job.id, now).await?;
        tx.rows(
            sql!("UPDATE jobs SET state = 'QUEUED', queue_seq = $2, queued_at = $3,"
                 " not_before = $3, finished_at = NULL, stop_asked = 0, error = NULL,"
                 " run_id = NULL, attempt = 0, worker_id = NULL, lease_until = NULL"
                 " WHERE id = $1"),
            values![job.id, seq, now],
        )
        .await?;
        parent::follows(tx, job.id, Some(now)).await?;
    }
    Ok(ids)
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
