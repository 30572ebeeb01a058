//! Taking a job: who may run, and what ends because its worker or its upstream did.

use std::time::Duration;

use catalog::{error::CatalogError, jobs::Takes};
use model::{
    id::{JobId, ObjectId, RunId, WorkerId},
    job::{ClaimedRun, JobState, LastRun, Lease},
    time::Timestamp,
};

use super::{Ended, Locked, end, list, locked_columns, moves, parent};
use crate::{
    database::{Transaction, row},
    sql::sql,
    value::{Value, list as list_of, values},
};

/// Whether job `j`, whose lease ran out, is not continued by anybody.
///
/// A refresh that has committed cannot be cancelled, nor does it fail: so where an earlier attempt may
/// have committed, somebody looks into the log before the job ends.
macro_rules! given_up {
    () => {
        "((j.stop_asked = 1 AND NOT (j.kind = 'REFRESH' AND j.attempt > 1)) \
           OR (j.attempt >= j.attempts_max AND NOT (j.kind = 'REFRESH' \
             AND j.state = 'COMMITTING' AND j.attempt = j.attempts_max)))"
    };
}

/// Whether job `j` can run at time `$1`. A BACKFILL never does, and keeps no other job waiting.
///
/// What is older is told by the number in the queue: times come from clocks that differ. The states of
/// other jobs of the object are one list, for which there is an index: a claim must not cost more the
/// more jobs have ended.
macro_rules! runnable {
    () => {
        concat!(
            "j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING') \
             AND ((j.state = 'QUEUED' AND j.not_before <= $1) \
               OR (j.state <> 'QUEUED' AND j.lease_until <= $1 AND NOT ",
            given_up!(),
            ")) \
             AND NOT EXISTS (SELECT 1 FROM job_after a JOIN jobs u ON u.id = a.upstream_id \
               WHERE a.job_id = j.id AND u.state NOT IN ('SUCCEEDED', 'SKIPPED_NO_CHANGE')) \
             AND j.kind <> 'BACKFILL' \
             AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.object_id = j.object_id \
               AND o.id <> j.id AND o.kind <> 'BACKFILL' \
               AND o.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING') \
               AND (o.state <> 'QUEUED' OR o.run_id IS NOT NULL)) \
             AND NOT (j.kind = 'REFRESH' AND j.run_id IS NULL AND EXISTS (SELECT 1 FROM jobs g \
               WHERE g.object_id = j.object_id AND g.state = 'QUEUED' AND g.kind = 'REFRESH' \
               AND g.graph_id IS NOT NULL AND (j.graph_id IS NULL OR g.graph_id <> j.graph_id) \
               AND g.queue_seq < j.queue_seq))"
        )
    };
}

/// See [`catalog::jobs::Jobs::claim`].
pub(super) async fn claim(
    tx: &mut impl Transaction,
    worker: WorkerId,
    takes: &Takes,
    (now, lease_for): (Timestamp, Duration),
) -> Result<Option<ClaimedRun>, CatalogError> {
    end_abandoned(tx, now).await?;
    end_behind_failures(tx, now).await?;
    // When more than 64 are locked, as many workers claim in this moment; the next claim looks again.
    let candidates = tx
        .rows(
            sql!("SELECT j.id, j.object_id FROM jobs j WHERE " runnable
                 " AND ($2 IS NULL OR j.profile IN " [list 2] ")"
                 " AND j.profile NOT IN " [list 3]
                 " ORDER BY j.priority DESC, j.queued_at, j.queue_seq LIMIT 64"),
            vec![
                now.into(),
                takes.only.as_ref().map_or(Value::Text(None), list_of),
                list_of(&takes.full),
            ],
        )
        .await?;
    for mut candidate in candidates {
        let job = candidate.parsed("job id")?;
        let object = candidate.parsed("object id")?;
        let Some((locked, last_run_seq)) = lock_runnable(tx, job, object, now).await? else {
            continue;
        };
        let took = Taken { worker, now, lease_until: now.plus(lease_for), last_run_seq };
        return take(tx, &locked, &took).await.map(Some);
    }
    Ok(None)
}

/// Locks the job if it can still run.
///
/// The lock of the object comes first and the conditions are read after it: whoever held it before
/// has committed, so no two jobs of an object can be taken at the same time.
async fn lock_runnable(
    tx: &mut impl Transaction,
    job: JobId,
    object: ObjectId,
    now: Timestamp,
) -> Result<Option<(Locked, i64)>, CatalogError> {
    let counter = row(
        tx,
        sql!("SELECT last_run_seq FROM object_runs WHERE object_id = $1" SKIP),
        values![object],
    )
    .await?;
    let Some(mut counter) = counter else { return Ok(None) };
    let last_run_seq = counter.int("number of the last run")?;
    let found = row(
        tx,
        sql!("SELECT " locked_columns " FROM jobs j WHERE j.id = $2 AND " runnable SKIP_J),
        values![now, job],
    )
    .await?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some((Locked::read(found)?, last_run_seq)))
}

struct Taken {
    worker: WorkerId,
    now: Timestamp,
    lease_until: Timestamp,
    last_run_seq: i64,
}

async fn take(
    tx: &mut impl Transaction,
    job: &Locked,
    taken: &Taken,
) -> Result<ClaimedRun, CatalogError> {
    let Taken { worker, lease_until, .. } = *taken;
    let (run, run_seq, attempt) = match job.run {
        Some(run) => (run, continue_run(tx, job, run, worker).await?, job.attempt + 1),
        None => {
            let (run, run_seq) = begin_run(tx, job, taken).await?;
            (run, run_seq, 1)
        }
    };
    moves(job.state, JobState::Planning);
    tx.rows(
        sql!("UPDATE jobs SET state = 'PLANNING', run_id = $2, attempt = $3, worker_id = $4,"
             " lease_until = $5 WHERE id = $1"),
        values![job.id, run, attempt, worker, lease_until],
    )
    .await?;
    parent::follows(tx, job.id, None).await?;
    Ok(ClaimedRun {
        lease: Lease { run, attempt, worker },
        job: list::job(tx, job.id).await?,
        run_seq,
        last: last_run(tx, job.object).await?,
    })
}

async fn begin_run(
    tx: &mut impl Transaction,
    job: &Locked,
    taken: &Taken,
) -> Result<(RunId, i64), CatalogError> {
    let Taken { worker, now, last_run_seq, .. } = *taken;
    let (run, run_seq) = (RunId::generate(), last_run_seq + 1);
    tx.rows(
        sql!("UPDATE object_runs SET last_run_seq = $2 WHERE object_id = $1"),
        values![job.object, run_seq],
    )
    .await?;
    tx.rows(
        sql!("INSERT INTO runs (id, job_id, object_id, run_seq, state, attempt, worker_id,"
             " started_at) VALUES ($1, $2, $3, $4, 'PLANNING', 1, $5, $6)"),
        values![run, job.id, job.object, run_seq, worker, now],
    )
    .await?;
    Ok((run, run_seq))
}

/// The next attempt of a run, from the beginning.
async fn continue_run(
    tx: &mut impl Transaction,
    job: &Locked,
    run: RunId,
    worker: WorkerId,
) -> Result<i64, CatalogError> {
    let mut continued = row(
        tx,
        sql!("UPDATE runs SET state = 'PLANNING', attempt = $2, worker_id = $3, rows_read = 0,"
             " rows_read_expected = 0, rows_written = 0, bytes_written = 0, files = 0,"
             " files_expected = 0 WHERE id = $1 RETURNING run_seq"),
        values![run, job.attempt + 1, worker],
    )
    .await?
    .ok_or_else(|| crate::value::corrupt("run", format!("run {run} is missing")))?;
    continued.int("number of a run")
}

/// The last refresh that succeeded.
pub(super) async fn last_run(
    tx: &mut impl Transaction,
    object: ObjectId,
) -> Result<Option<LastRun>, CatalogError> {
    let found = row(
        tx,
        sql!("SELECT r.id, r.definition_hash, r.output_version, r.report FROM runs r"
             " JOIN jobs j ON j.id = r.job_id"
             " WHERE r.object_id = $1 AND r.state = 'SUCCEEDED' AND j.kind = 'REFRESH'"
             " ORDER BY r.run_seq DESC LIMIT 1"),
        values![object],
    )
    .await?;
    let Some(mut found) = found else { return Ok(None) };
    let run = found.parsed("run id")?;
    let definition_hash = found.text("definition hash")?;
    let output_version = found.int("output version")?;
    let part = list::read_report(&mut found)?.part;
    let is_mixed = part.is_some_and(|part| part.is_mixed);
    let inputs = list::run_inputs(tx, &[run]).await?;
    let inputs = inputs.into_iter().map(|(_, input)| input).collect();
    Ok(Some(LastRun { definition_hash, inputs, output_version, is_mixed }))
}

/// Ends the jobs whose worker stopped answering and which no other worker is to continue.
async fn end_abandoned(tx: &mut impl Transaction, now: Timestamp) -> Result<(), CatalogError> {
    let abandoned = tx
        .rows(
            sql!("SELECT " locked_columns " FROM jobs j"
                 " WHERE j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING')"
                 " AND j.state <> 'QUEUED' AND j.lease_until <= $1"
                 " AND " given_up
                 " ORDER BY j.queued_at, j.queue_seq" SKIP_J),
            values![now],
        )
        .await?;
    for row in abandoned {
        let job = Locked::read(row)?;
        let ended = if job.stop_asked {
            Ended { state: JobState::Cancelled, error: None, at: Some(now) }
        } else {
            let error = Some("the worker stopped answering".to_owned());
            Ended { state: JobState::Failed, error, at: Some(now) }
        };
        end(tx, job.id, &ended).await?;
    }
    Ok(())
}

/// Ends the jobs that wait for one that did not succeed, and those behind them.
async fn end_behind_failures(
    tx: &mut impl Transaction,
    now: Timestamp,
) -> Result<(), CatalogError> {
    // Each round ends at least one job that was open, so the rounds end too.
    loop {
        let behind = tx
            .rows(
                sql!("SELECT j.id, u.id, u.object_schema, u.object_name, u.state FROM jobs j"
                     " JOIN job_after a ON a.job_id = j.id JOIN jobs u ON u.id = a.upstream_id"
                     " WHERE j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING')"
                     " AND j.state = 'QUEUED'"
                     " AND u.state IN ('FAILED', 'CANCELLED', 'UPSTREAM_FAILED')"
                     " ORDER BY j.queued_at, j.queue_seq, a.position" SKIP_J),
                values![],
            )
            .await?;
        if behind.is_empty() {
            return Ok(());
        }
        let mut ended = None;
        for mut row in behind {
            let job: JobId = row.parsed("job id")?;
            if ended == Some(job) {
                continue;
            }
            ended = Some(job);
            let upstream: JobId = row.parsed("job id")?;
            let name = row.name("object name")?;
            let state: JobState = row.parsed("job state")?;
            let error = Some(format!("waited for job {upstream} of '{name}', which is {state}"));
            end(tx, job, &Ended { state: JobState::UpstreamFailed, error, at: Some(now) }).await?;
        }
    }
}
