//! Queueing jobs.

use std::collections::{HashMap, HashSet};

use catalog::{error::CatalogError, jobs::JobFilter};
use model::{
    id::JobId,
    job::{Job, JobCause, JobState, NewJob},
    name::ObjectName,
    time::Timestamp,
    work::Work,
};

use super::{
    approval::{back_into_the_queue, looks_again},
    graph::{self, graph_has_begun},
    list, next_queue_seq,
};
use crate::{
    body::write_arguments,
    database::{Transaction, row},
    sql::sql,
    value::{Value, list as json_list, values},
};

/// See [`catalog::jobs::Jobs::submit`]; `key` is that of the request, if it has one.
pub(super) async fn submit(
    tx: &mut impl Transaction,
    jobs: &[NewJob],
    key: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Job>, CatalogError> {
    let mut seq = next_queue_seq(tx, jobs.len()).await?;
    // Which stored job each job of this call became.
    let mut stored_as: HashMap<JobId, JobId> = HashMap::new();
    let mut answered = Vec::new();
    for job in jobs {
        seq += 1;
        if exists(tx, job.id).await? {
            // The same call came before and its answer was lost.
            stored_as.insert(job.id, job.id);
            answered.push(job.id);
            continue;
        }
        if let Some(earlier) = queued_for_due(tx, job).await? {
            stored_as.insert(job.id, earlier);
            continue;
        }
        let name = object_name(tx, job).await?;
        let after = rewritten(&job.after, &stored_as);
        let stored = match coalescible(tx, job, &after).await? {
            Some(Joined { there, state }) => {
                let asked = matches!(job.cause, JobCause::Request | JobCause::Definition);
                if state == JobState::AwaitingApproval && asked {
                    back_into_the_queue(tx, there, looks_again(), now).await?;
                }
                graph::join(tx, there, job.graph).await?;
                there
            }
            None => {
                insert(tx, job, &New { name, after, key, seq, now }).await?;
                graph::join(tx, job.id, job.graph).await?;
                job.id
            }
        };
        if let Some(due_at) = job.due_at {
            tx.rows(
                sql!("INSERT INTO job_due (object_id, due_at, job_id) VALUES ($1, $2, $3)"),
                values![job.object, due_at, stored],
            )
            .await?;
        }
        stored_as.insert(job.id, stored);
        answered.push(stored);
    }
    in_order(tx, answered).await
}

/// Jobs in the order of their ids.
pub(super) async fn in_order(
    tx: &mut impl Transaction,
    ids: Vec<JobId>,
) -> Result<Vec<Job>, CatalogError> {
    let filter = JobFilter { ids: Some(ids.clone()), ..JobFilter::default() };
    let found = list::jobs(tx, &filter).await?;
    let found: HashMap<JobId, Job> = found.into_iter().map(|job| (job.id, job)).collect();
    let answer = ids
        .into_iter()
        .map(|id| found.get(&id).cloned().ok_or_else(|| CatalogError::JobNotFound(id.to_string())));
    answer.collect()
}

async fn exists(tx: &mut impl Transaction, id: JobId) -> Result<bool, CatalogError> {
    Ok(row(tx, sql!("SELECT id FROM jobs WHERE id = $1"), values![id]).await?.is_some())
}

async fn queued_for_due(
    tx: &mut impl Transaction,
    job: &NewJob,
) -> Result<Option<JobId>, CatalogError> {
    let Some(due_at) = job.due_at else { return Ok(None) };
    let found = row(
        tx,
        sql!("SELECT job_id FROM job_due WHERE object_id = $1 AND due_at = $2"),
        values![job.object, due_at],
    )
    .await?;
    found.map(|mut row| row.parsed("job id")).transpose()
}

async fn object_name(tx: &mut impl Transaction, job: &NewJob) -> Result<ObjectName, CatalogError> {
    let found =
        row(tx, sql!("SELECT schema_name, name FROM objects WHERE id = $1"), values![job.object])
            .await?;
    found.ok_or_else(|| CatalogError::ObjectGone(job.object.to_string()))?.name("object name")
}

/// The stored jobs to wait for, each once.
fn rewritten(after: &[JobId], stored_as: &HashMap<JobId, JobId>) -> Vec<JobId> {
    let mut seen = HashSet::new();
    let stored = after.iter().map(|id| *stored_as.get(id).unwrap_or(id));
    stored.filter(|id| seen.insert(*id)).collect()
}

/// A job that is there already, and where it stands.
struct Joined {
    there: JobId,
    state: JobState,
}

/// A job that waits in the queue, or for approval, and does at least what `job` asks.
///
/// A range of a BACKFILL is a job of its own, and so is the BACKFILL. One whose run or graph run has
/// begun is none either: the versions of its inputs may be pinned already, older than what this
/// request wants to see.
async fn coalescible(
    tx: &mut impl Transaction,
    job: &NewJob,
    after: &[JobId],
) -> Result<Option<Joined>, CatalogError> {
    if job.parent.is_some() || matches!(job.work, Work::Backfill(_)) {
        return Ok(None);
    }
    // Locked, so that no worker takes it before this call has answered.
    let waiting = tx
        .rows(
            sql!("SELECT j.id, j.forced, j.state FROM jobs j WHERE j.object_id = $1"
                 " AND j.kind = $2 AND j.arguments = $3 AND j.attempts_max = $4"
                 " AND j.parent_id IS NULL AND j.profile = $5"
                 " AND coalesce(j.bytes_max, -1) = $6"
                 " AND (j.state = 'AWAITING_APPROVAL'"
                 " OR (j.state = 'QUEUED' AND j.run_id IS NULL)) AND NOT " graph_has_begun
                 " ORDER BY j.queued_at, j.queue_seq" LOCK_J),
            values![
                job.object,
                job.work.kind().as_str(),
                write_arguments(&job.work)?,
                job.attempts_max.max(1),
                job.resources.profile.as_str(),
                bytes_max(job).unwrap_or(-1),
            ],
        )
        .await?;
    if waiting.is_empty() {
        return Ok(None);
    }
    let unmet = unmet(tx, after).await?;
    for mut row in waiting {
        let there: JobId = row.parsed("job id")?;
        let forced = row.truth("force")?;
        let state = row.parsed("job state")?;
        let waits_for = list::after(tx, [there]).await?.remove(&there).unwrap_or_default();
        let waits_enough = unmet.iter().all(|id| waits_for.contains(id));
        if waits_enough && (forced || !job.force) {
            // Whoever asks for the same sooner makes it sooner for all.
            tx.rows(
                sql!("UPDATE jobs SET priority = $2 WHERE id = $1 AND priority < $2"),
                values![there, i64::from(job.priority)],
            )
            .await?;
            return Ok(Some(Joined { there, state }));
        }
    }
    Ok(None)
}

/// Those of the jobs that have not succeeded.
async fn unmet(tx: &mut impl Transaction, after: &[JobId]) -> Result<Vec<JobId>, CatalogError> {
    if after.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx
        .rows(
            sql!("SELECT id FROM jobs WHERE id IN " [list 1]
                 " AND state IN ('SUCCEEDED', 'SKIPPED_NO_CHANGE')"),
            vec![json_list(after)],
        )
        .await?;
    let mut met: HashSet<JobId> = HashSet::new();
    for mut row in rows {
        met.insert(row.parsed("job id")?);
    }
    Ok(after.iter().copied().filter(|id| !met.contains(id)).collect())
}

/// What a stored job has beyond a [`NewJob`].
struct New<'a> {
    name: ObjectName,
    after: Vec<JobId>,
    key: Option<&'a str>,
    seq: i64,
    now: Timestamp,
}

/// The bytes that a run may take, as they are stored; what is too many to be stored is no limit.
fn bytes_max(job: &NewJob) -> Option<i64> {
    job.resources.bytes_max.and_then(|bytes| i64::try_from(bytes).ok())
}

async fn insert(
    tx: &mut impl Transaction,
    job: &NewJob,
    new: &New<'_>,
) -> Result<(), CatalogError> {
    let New { name, after, key, seq, now } = new;
    for upstream in after.iter().chain(&job.parent) {
        if !exists(tx, *upstream).await? {
            return Err(CatalogError::JobNotFound(upstream.to_string()));
        }
    }
    tx.rows(
        sql!("INSERT INTO jobs (id, queue_seq, object_id, object_schema, object_name, state,"
             " cause, requested_by, forced, attempts_max, queued_at, not_before, kind, arguments,"
             " priority, parent_id, idempotency_key, profile, bytes_max)"
             " VALUES ($1, $2, $3, $4, $5, 'QUEUED', $6, $7, $8, $9, $10, $10, $11, $12, $13,"
             " $14, $15, $16, $17)"),
        values![
            job.id,
            *seq,
            job.object,
            name.schema(),
            name.name(),
            job.cause.as_str(),
            job.requested_by.as_str(),
            job.force,
            job.attempts_max.max(1),
            *now,
            job.work.kind().as_str(),
            write_arguments(&job.work)?,
            i64::from(job.priority),
            job.parent.map(|parent| parent.to_string()),
            key.map(str::to_owned),
            job.resources.profile.as_str(),
            Value::Int(bytes_max(job)),
        ],
    )
    .await?;
    for (position, upstream) in (0_i64..).zip(after) {
        tx.rows(
            sql!("INSERT INTO job_after (job_id, position, upstream_id) VALUES ($1, $2, $3)"),
            values![job.id, position, *upstream],
        )
        .await?;
    }
    tx.rows(
        sql!("INSERT INTO object_runs (object_id, last_run_seq) VALUES ($1, 0)"
             " ON CONFLICT (object_id) DO NOTHING"),
        values![job.object],
    )
    .await?;
    Ok(())
}
