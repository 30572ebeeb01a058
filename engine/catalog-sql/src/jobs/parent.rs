//! A BACKFILL and its ranges: the parent is what its children are, and nobody runs it.
//!
//! Whoever changes the state of a child brings the parent along, in the same transaction. A child is
//! locked before its parent, never the other way round.

use catalog::error::CatalogError;
use model::{
    id::JobId,
    job::{Job, JobState},
    time::Timestamp,
    work::JobKind,
};

use super::{Locked, list, lock, locked_columns};
use crate::{
    database::{Transaction, row},
    sql::sql,
    value::values,
};

/// Whether a job is a BACKFILL; false when there is no such job.
pub(super) async fn is_parent(tx: &mut impl Transaction, job: JobId) -> Result<bool, CatalogError> {
    let found = row(tx, sql!("SELECT kind FROM jobs WHERE id = $1"), values![job]).await?;
    let Some(mut found) = found else { return Ok(false) };
    Ok(found.parsed::<JobKind>("kind of a job")? == JobKind::Backfill)
}

/// The children of a job, locked, in the order of the queue.
///
/// They are locked in the order of their ids: whoever else locks several does the same.
pub(super) async fn children(
    tx: &mut impl Transaction,
    parent: JobId,
) -> Result<Vec<Locked>, CatalogError> {
    tx.rows(
        sql!("SELECT j.id FROM jobs j WHERE j.parent_id = $1 ORDER BY j.id" LOCK_J),
        values![parent],
    )
    .await?;
    let rows = tx
        .rows(
            sql!("SELECT " locked_columns " FROM jobs j WHERE j.parent_id = $1"
                 " ORDER BY j.queue_seq"),
            values![parent],
        )
        .await?;
    rows.into_iter().map(Locked::read).collect()
}

/// What happened to a child is taken over by its parent, if it has one.
pub(super) async fn follows(
    tx: &mut impl Transaction,
    child: JobId,
    at: Option<Timestamp>,
) -> Result<(), CatalogError> {
    let found = row(tx, sql!("SELECT parent_id FROM jobs WHERE id = $1"), values![child]).await?;
    let Some(mut found) = found else { return Ok(()) };
    let Some(parent) = found.parsed_opt("job id")? else { return Ok(()) };
    settle(tx, parent, at).await
}

/// How many children are in which states.
#[derive(Default)]
struct Count {
    all: u32,
    waiting: u32,
    open: u32,
    skipped: u32,
    succeeded: u32,
    unsuccessful: Vec<(JobState, u32)>,
}

async fn counted(tx: &mut impl Transaction, parent: JobId) -> Result<Count, CatalogError> {
    let rows = tx
        .rows(
            sql!("SELECT state, count(*) FROM jobs WHERE parent_id = $1"
                 " GROUP BY state ORDER BY state"),
            values![parent],
        )
        .await?;
    let mut count = Count::default();
    for mut row in rows {
        let (state, jobs): (JobState, _) = (row.parsed("job state")?, row.small("number of jobs")?);
        count.all += jobs;
        match state {
            JobState::Queued => count.waiting += jobs,
            JobState::SkippedNoChange => count.skipped += jobs,
            state if state.is_success() => count.succeeded += jobs,
            state if state.is_final() => count.unsuccessful.push((state, jobs)),
            _ => {}
        }
        if !state.is_final() {
            count.open += jobs;
        }
    }
    Ok(count)
}

/// Brings a BACKFILL to where its children are. One that has ended is left alone, unless a child of
/// it was queued again.
pub(super) async fn settle(
    tx: &mut impl Transaction,
    parent: JobId,
    at: Option<Timestamp>,
) -> Result<(), CatalogError> {
    let job = lock(tx, parent).await?;
    let count = counted(tx, parent).await?;
    if count.open > 0 {
        let state = if count.waiting == count.all { JobState::Queued } else { JobState::Running };
        let reopened = job.state.is_final();
        if job.state == state {
            return Ok(());
        }
        let stop_asked = job.stop_asked && !reopened;
        tx.rows(
            sql!("UPDATE jobs SET state = $2, finished_at = NULL, error = NULL, stop_asked = $3"
                 " WHERE id = $1"),
            values![parent, state, stop_asked],
        )
        .await?;
        return Ok(());
    }
    if job.state.is_final() {
        return Ok(());
    }
    let (state, error) = ended(tx, &job, &count).await?;
    tx.rows(
        sql!("UPDATE jobs SET state = $2, finished_at = $3, error = $4 WHERE id = $1"),
        values![parent, state, at, error],
    )
    .await?;
    Ok(())
}

/// How a BACKFILL whose children have all ended has ended itself.
async fn ended(
    tx: &mut impl Transaction,
    job: &Locked,
    count: &Count,
) -> Result<(JobState, Option<String>), CatalogError> {
    if count.unsuccessful.is_empty() {
        let nothing_to_do = count.succeeded == 0;
        let state = if nothing_to_do { JobState::SkippedNoChange } else { JobState::Succeeded };
        return Ok((state, None));
    }
    let unsuccessful: u32 = count.unsuccessful.iter().map(|(_, jobs)| jobs).sum();
    let states = count.unsuccessful.iter().map(|(state, jobs)| format!("{jobs} {state}"));
    let states = states.collect::<Vec<_>>().join(", ");
    let all = count.all;
    let mut error = format!("{unsuccessful} of {all} ranges did not succeed ({states})");
    let first = row(
        tx,
        sql!("SELECT id, error FROM jobs WHERE parent_id = $1 AND state = 'FAILED'"
             " ORDER BY queue_seq LIMIT 1"),
        values![job.id],
    )
    .await?;
    if let Some(mut first) = first {
        let id: JobId = first.parsed("job id")?;
        let why = first.text_opt("error of a job")?.unwrap_or_default();
        error.push_str(&format!("; the first that failed is job {id}: {why}"));
    }
    let retry = format!("RETRY JOB '{}' does those alone", job.id);
    error.push_str(&format!("; {retry}"));
    let state = if job.stop_asked { JobState::Cancelled } else { JobState::Failed };
    Ok((state, Some(error)))
}

/// Cancels the ranges that wait, and asks the one that runs to stop. One that commits is let through.
pub(super) async fn cancel(
    tx: &mut impl Transaction,
    id: JobId,
    now: Timestamp,
) -> Result<Job, CatalogError> {
    children(tx, id).await?;
    let job = lock(tx, id).await?;
    if job.state.is_final() {
        return Err(super::control::has_ended(&job));
    }
    tx.rows(sql!("UPDATE jobs SET stop_asked = 1 WHERE id = $1"), values![id]).await?;
    tx.rows(
        sql!("UPDATE runs SET state = 'CANCELLED', error = NULL, finished_at = $2 WHERE id IN"
             " (SELECT run_id FROM jobs WHERE parent_id = $1 AND state = 'QUEUED')"),
        values![id, now],
    )
    .await?;
    tx.rows(
        sql!("UPDATE jobs SET state = 'CANCELLED', error = NULL, finished_at = $2,"
             " worker_id = NULL, lease_until = NULL WHERE parent_id = $1 AND state = 'QUEUED'"),
        values![id, now],
    )
    .await?;
    tx.rows(
        sql!("UPDATE jobs SET stop_asked = 1 WHERE parent_id = $1"
             " AND state IN ('PLANNING', 'RUNNING')"),
        values![id],
    )
    .await?;
    settle(tx, id, Some(now)).await?;
    list::job(tx, id).await
}
