//! Queueing jobs.

use std::collections::{HashMap, HashSet};

use catalog::{error::CatalogError, jobs::JobFilter};
use model::{
    approval::Chosen,
    id::{JobId, ObjectId},
    job::{Job, JobCause, JobState, NewJob, RunProgress},
    name::ObjectName,
    profile::Resources,
    time::Timestamp,
    work::{JobKind, Work},
};
use serde_json::json;

use super::{
    approval::{back_into_the_queue, looks_again},
    graph::{self, graph_has_begun},
    list, next_queue_seq,
};
use crate::{
    body::write_arguments,
    database::{Transaction, row},
    sql::sql,
    value::{list as json_list, values},
};

/// See [`catalog::jobs::Jobs::submit`]; `key` is that of the request, if it has one.
pub(super) async fn submit(
    tx: &mut impl Transaction,
    jobs: &[NewJob],
    key: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Job>, CatalogError> {
    let mut seq = next_queue_seq(tx, jobs.len()).await?;
    let mut known = Known::read(tx, jobs).await?;
    let mut pending = Pending::default();
    // Which stored job each job of this call became.
    let mut stored_as: HashMap<JobId, JobId> = HashMap::new();
    let mut answered = Vec::new();
    for job in jobs {
        seq += 1;
        if known.jobs.contains(&job.id) {
            // The same call came before and its answer was lost.
            stored_as.insert(job.id, job.id);
            answered.push(Answered::There(job.id));
            continue;
        }
        if let Some(earlier) = queued_for_due(tx, job).await? {
            known.jobs.insert(earlier);
            stored_as.insert(job.id, earlier);
            continue;
        }
        let name = known.names.get(&job.object).cloned();
        let name = name.ok_or_else(|| CatalogError::ObjectGone(job.object.to_string()))?;
        let after = rewritten(&job.after, &stored_as);
        let joined = match known.waiting.contains(&job.object) {
            true => {
                pending.write(tx).await?;
                coalescible(tx, job, &after).await?
            }
            false => None,
        };
        let stored = match joined {
            Some(Joined { there, state }) => {
                let asked = matches!(job.cause, JobCause::Request | JobCause::Definition);
                if state == JobState::AwaitingApproval && asked {
                    back_into_the_queue(tx, there, looks_again(), now).await?;
                }
                graph::join(tx, there, job.graph).await?;
                known.jobs.insert(there);
                answered.push(Answered::There(there));
                there
            }
            None => {
                let new = New { name, after, key, seq, now };
                insert(tx, job, &new, &mut known, &mut pending).await?;
                graph::join(tx, job.id, job.graph).await?;
                answered.push(Answered::New(Box::new(new.job(job))));
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
    }
    pending.write(tx).await?;
    // As it was queued, unless it is put together with others, or is told of by its ranges.
    let is_as_queued = |answer: &Answered| match answer {
        Answered::New(job) => job.graph.is_none() && job.work.kind() != JobKind::Backfill,
        Answered::There(_) => false,
    };
    if answered.iter().all(is_as_queued) {
        let new = answered.into_iter().filter_map(|answer| match answer {
            Answered::New(job) => Some(*job),
            Answered::There(_) => None,
        });
        return Ok(new.collect());
    }
    in_order(tx, answered.iter().map(Answered::id).collect()).await
}

/// A job of the answer.
enum Answered {
    /// As this call has queued it.
    New(Box<Job>),
    There(JobId),
}

impl Answered {
    fn id(&self) -> JobId {
        match self {
            Self::New(job) => job.id,
            Self::There(id) => *id,
        }
    }
}

/// What the database knows of the jobs of a call, asked once for all of them. Nobody else queues
/// meanwhile.
#[derive(Default)]
struct Known {
    /// Those of the jobs, and of the jobs that they name, that are stored.
    jobs: HashSet<JobId>,
    /// Names of the objects that are there.
    names: HashMap<ObjectId, ObjectName>,
    /// Objects of which a job waits that may be what one of these asks.
    waiting: HashSet<ObjectId>,
    /// Objects whose runs are counted.
    counted: HashSet<ObjectId>,
}

impl Known {
    async fn read(tx: &mut impl Transaction, jobs: &[NewJob]) -> Result<Self, CatalogError> {
        let named =
            jobs.iter().flat_map(|job| job.after.iter().chain(&job.parent).chain([&job.id]));
        let objects = jobs.iter().map(|job| job.object);
        let rows = tx
            .rows(
                sql!("SELECT 'JOB', j.id, NULL, NULL FROM jobs j WHERE j.id " [among 1]
                     " UNION ALL SELECT 'OBJECT', o.id, o.schema_name, o.name FROM objects o"
                     " WHERE o.id " [among 2]
                     " UNION ALL SELECT 'WAITING', w.object_id, NULL, NULL FROM jobs w"
                     " WHERE w.object_id " [among 2]
                     " AND w.state IN ('QUEUED', 'AWAITING_APPROVAL')"
                     " UNION ALL SELECT 'COUNTED', c.object_id, NULL, NULL FROM object_runs c"
                     " WHERE c.object_id " [among 2]),
                vec![json_list(named), json_list(objects)],
            )
            .await?;
        let mut known = Self::default();
        for mut row in rows {
            match row.text("kind of an id")?.as_str() {
                "JOB" => _ = known.jobs.insert(row.parsed("job id")?),
                "WAITING" => _ = known.waiting.insert(row.parsed("object id")?),
                "COUNTED" => _ = known.counted.insert(row.parsed("object id")?),
                _ => {
                    let object = row.parsed("object id")?;
                    known.names.insert(object, row.name("object name")?);
                }
            }
        }
        Ok(known)
    }
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

impl New<'_> {
    /// The job as it is stored.
    fn job(self, job: &NewJob) -> Job {
        let resources =
            Resources { bytes_max: bytes_max(job).map(i64::unsigned_abs), ..job.resources.clone() };
        Job {
            id: job.id,
            work: job.work.clone(),
            object: job.object,
            object_name: self.name,
            state: JobState::Queued,
            cause: job.cause,
            requested_by: job.requested_by.clone(),
            after: self.after,
            force: job.force,
            queued_at: self.now,
            started_at: None,
            finished_at: None,
            run: None,
            attempt: 0,
            attempts_max: job.attempts_max.max(1),
            progress: RunProgress::default(),
            chosen: Chosen::default(),
            approval: None,
            output_version: None,
            result: None,
            error: None,
            priority: job.priority,
            idempotency_key: self.key.map(str::to_owned),
            parent: job.parent,
            ranges: None,
            graph: job.graph,
            resources,
        }
    }
}

/// The bytes that a run may take, as they are stored; what is too many to be stored is no limit.
fn bytes_max(job: &NewJob) -> Option<i64> {
    job.resources.bytes_max.and_then(|bytes| i64::try_from(bytes).ok())
}

/// Jobs that the database does not have yet, so that they take one way to it.
#[derive(Default)]
struct Pending(Vec<serde_json::Value>);

impl Pending {
    fn push(&mut self, job: &NewJob, new: &New<'_>) -> Result<(), CatalogError> {
        let New { name, key, seq, now, .. } = new;
        self.0.push(json!({
            "id": job.id.to_string(),
            "seq": seq,
            "object": job.object.to_string(),
            "schema": name.schema(),
            "name": name.name(),
            "cause": job.cause.as_str(),
            "by": job.requested_by.as_str(),
            "forced": i64::from(job.force),
            "attempts_max": job.attempts_max.max(1),
            "now": now.as_micros(),
            "kind": job.work.kind().as_str(),
            "arguments": write_arguments(&job.work)?,
            "priority": job.priority,
            "parent": job.parent.map(|parent| parent.to_string()),
            "key": key,
            "profile": job.resources.profile.as_str(),
            "bytes_max": bytes_max(job),
        }));
        Ok(())
    }

    /// Writes them down; before anything else is asked that may be about them.
    async fn write(&mut self, tx: &mut impl Transaction) -> Result<(), CatalogError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let jobs = json_list(std::mem::take(&mut self.0));
        tx.rows(
            sql!("INSERT INTO jobs (id, queue_seq, object_id, object_schema, object_name, state,"
                 " cause, requested_by, forced, attempts_max, queued_at, not_before, kind,"
                 " arguments, priority, parent_id, idempotency_key, profile, bytes_max)"
                 " SELECT r ->> 'id', CAST(r ->> 'seq' AS BIGINT), r ->> 'object',"
                 " r ->> 'schema', r ->> 'name', 'QUEUED', r ->> 'cause', r ->> 'by',"
                 " CAST(r ->> 'forced' AS BIGINT), CAST(r ->> 'attempts_max' AS BIGINT),"
                 " CAST(r ->> 'now' AS BIGINT), CAST(r ->> 'now' AS BIGINT), r ->> 'kind',"
                 " r ->> 'arguments', CAST(r ->> 'priority' AS BIGINT), r ->> 'parent',"
                 " r ->> 'key', r ->> 'profile', CAST(r ->> 'bytes_max' AS BIGINT)"
                 " FROM " [objects 1]),
            vec![jobs],
        )
        .await?;
        Ok(())
    }
}

/// Queues a job: at once when others are told of it here, else with those that are pending.
async fn insert(
    tx: &mut impl Transaction,
    job: &NewJob,
    new: &New<'_>,
    known: &mut Known,
    pending: &mut Pending,
) -> Result<(), CatalogError> {
    for upstream in new.after.iter().chain(&job.parent) {
        if !known.jobs.contains(upstream) {
            return Err(CatalogError::JobNotFound(upstream.to_string()));
        }
    }
    pending.push(job, new)?;
    if !new.after.is_empty() || job.graph.is_some() || job.due_at.is_some() {
        pending.write(tx).await?;
    }
    for (position, upstream) in (0_i64..).zip(&new.after) {
        tx.rows(
            sql!("INSERT INTO job_after (job_id, position, upstream_id) VALUES ($1, $2, $3)"),
            values![job.id, position, *upstream],
        )
        .await?;
    }
    if known.counted.insert(job.object) {
        tx.rows(
            sql!("INSERT INTO object_runs (object_id, last_run_seq) VALUES ($1, 0)"
                 " ON CONFLICT (object_id) DO NOTHING"),
            values![job.object],
        )
        .await?;
    }
    known.jobs.insert(job.id);
    known.waiting.insert(job.object);
    Ok(())
}
