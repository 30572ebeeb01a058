//! Taking a job: who may run, and what ends because its worker or its upstream did.

use std::time::Duration;

use catalog::{error::CatalogError, jobs::Takes};
use model::{
    id::{JobId, RunId, WorkerId},
    job::{ClaimedRun, Job, JobState, Lease},
    time::Timestamp,
};

use super::{
    Ended, Locked, end, last,
    list::{self, columns_of_a_new_run},
    locked_columns, moves, parent,
};
use crate::{
    database::{Database, Transaction, row},
    sql::{Sql, sql},
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
/// more jobs have ended. And what is asked of other rows is a value, not EXISTS, of which Postgres would
/// make joins of all open jobs: the first one that can run is enough.
macro_rules! runnable {
    () => {
        concat!(
            "j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING') \
             AND ((j.state = 'QUEUED' AND j.not_before <= $1) \
               OR (j.state <> 'QUEUED' AND j.lease_until <= $1 AND NOT ",
            given_up!(),
            ")) \
             AND (SELECT 1 FROM job_after a JOIN jobs u ON u.id = a.upstream_id \
               WHERE a.job_id = j.id AND u.state NOT IN ('SUCCEEDED', 'SKIPPED_NO_CHANGE') \
               LIMIT 1) IS NULL \
             AND j.kind <> 'BACKFILL' \
             AND (SELECT 1 FROM jobs o WHERE o.object_id = j.object_id \
               AND o.id <> j.id AND o.kind <> 'BACKFILL' \
               AND o.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING') \
               AND (o.state <> 'QUEUED' OR o.run_id IS NOT NULL) LIMIT 1) IS NULL \
             AND NOT (j.kind = 'REFRESH' AND j.run_id IS NULL AND (SELECT 1 FROM jobs g \
               WHERE g.object_id = j.object_id AND g.state = 'QUEUED' AND g.kind = 'REFRESH' \
               AND g.graph_id IS NOT NULL AND (j.graph_id IS NULL OR g.graph_id <> j.graph_id) \
               AND g.queue_seq < j.queue_seq LIMIT 1) IS NOT NULL)"
        )
    };
}

/// Whether the job `j` of somebody who stopped answering ends: see [`end_abandoned`].
macro_rules! abandoned {
    () => {
        concat!("(j.state <> 'QUEUED' AND j.lease_until <= $1 AND ", given_up!(), ")")
    };
}

/// Whether job `j` waits for one that did not succeed: see [`end_behind_failures`].
macro_rules! behind_a_failure {
    () => {
        "(j.state = 'QUEUED' AND (SELECT 1 FROM job_after a \
           JOIN jobs u ON u.id = a.upstream_id WHERE a.job_id = j.id \
           AND u.state IN ('FAILED', 'CANCELLED', 'UPSTREAM_FAILED') LIMIT 1) IS NOT NULL)"
    };
}

/// The job to take, with the counter of its object, at time `$1` for profiles `$2` without `$3`; both
/// locked. First the parts before `FROM`, then those after all of it.
///
/// A job comes to be under way in two ways: a new run of it counts, or somebody goes on with a run of
/// it while no other job of the object is under way. So nobody has taken another job of the object
/// since the state that this statement sees when the counter, as it is now that it is locked, is as it
/// was in that state: Postgres looks at the conditions again for rows that others have changed, with
/// `j` and `c` as they are now, and everything else as it was. What is locked is somebody else's.
macro_rules! next_job {
    ({ $($before:tt)* } { $($after:tt)* }) => {
        sql!($($before)*
             " FROM jobs j JOIN object_runs c ON c.object_id = j.object_id WHERE " runnable
             " AND ($2 IS NULL OR j.profile IN " [list 2] ")"
             " AND j.profile NOT IN " [list 3]
             " AND c.last_run_seq ="
             " (SELECT s.last_run_seq FROM object_runs s WHERE s.object_id = j.object_id)"
             " ORDER BY j.priority DESC, j.queued_at, j.queue_seq LIMIT 1" SKIP_J_C
             $($after)*)
    };
}

/// See [`catalog::jobs::Jobs::claim`].
pub(super) async fn claim(
    db: &impl Database,
    worker: WorkerId,
    takes: &Takes,
    (now, lease_for): (Timestamp, Duration),
) -> Result<Option<ClaimedRun>, CatalogError> {
    const OPERATION: &str = "claim a job";
    let took = Taken { worker, now, lease_until: now.plus(lease_for) };
    if let Some(claimed) = begin_next(db, takes, &took).await? {
        return Ok(Some(claimed));
    }
    if !something_is_left(db, takes, now).await? {
        return Ok(None);
    }
    let mut tx = db.write(OPERATION).await?;
    end_abandoned(&mut tx, now).await?;
    end_behind_failures(&mut tx, now).await?;
    tx.commit().await?;
    let mut tx = db.write(OPERATION).await?;
    let Some(found) = lock_runnable(&mut tx, takes, now).await? else {
        tx.commit().await?;
        return Ok(None);
    };
    let claimed = take(&mut tx, &found, &took).await?;
    tx.commit().await?;
    Ok(Some(claimed.with_last(db).await?))
}

/// A run whose job does not say yet what the last refresh has left.
struct Claimed {
    lease: Lease,
    job: Job,
    run_seq: i64,
    objects_version: i64,
}

impl Claimed {
    /// Nobody but the holder of the lease adds to the refreshes of the object.
    async fn with_last(self, db: &impl Database) -> Result<ClaimedRun, CatalogError> {
        let Self { lease, job, run_seq, objects_version } = self;
        let last = last::last_run(db, job.object).await?;
        Ok(ClaimedRun { lease, job, run_seq, last, objects_version })
    }
}

/// What nearly all claims are: the next job begins its first run, in one statement. None when there is
/// no job, or one for which there is more to do: one that is continued, or a part of another job.
async fn begin_next(
    db: &impl Database,
    takes: &Takes,
    took: &Taken,
) -> Result<Option<ClaimedRun>, CatalogError> {
    const OPERATION: &str = "claim a job";
    let run = RunId::generate();
    let begun = db
        .change(
            OPERATION,
            BEGIN_NEXT,
            vec![
                took.now.into(),
                takes.only.as_ref().map_or(Value::Text(None), list_of),
                list_of(&takes.full),
                run.into(),
                // The one place of a time in the columns of a new run.
                took.now.into(),
                took.lease_until.into(),
                took.worker.into(),
            ],
        )
        .await?;
    let Some(mut begun) = begun.into_iter().next() else { return Ok(None) };
    let run_seq = begun.int("number of a run")?;
    let newest = last::read(&mut begun)?;
    let waited = begun.truth("whether a job waited")?;
    let objects_version = begun.int("version of the objects")?;
    let some_have_to_end = begun.truth("whether jobs have to end")?;
    let mut job = list::read_job(begun)?;
    if some_have_to_end {
        let mut tx = db.write(OPERATION).await?;
        end_abandoned(&mut tx, took.now).await?;
        end_behind_failures(&mut tx, took.now).await?;
        tx.commit().await?;
    }
    if waited {
        let mut tx = db.read(OPERATION).await?;
        job.after = list::after(&mut tx, [job.id]).await?.remove(&job.id).unwrap_or_default();
        tx.commit().await?;
    }
    let lease = Lease { run, attempt: 1, worker: took.worker };
    let last = match newest {
        None if run_seq > last::NEWEST => last::older(db, job.object).await?,
        newest => newest,
    };
    Ok(Some(ClaimedRun { lease, job, run_seq, last, objects_version }))
}

/// What a claim of a new run answers beside its number and the last refresh: see [`begin_next`].
macro_rules! claimed_columns {
    () => {
        concat!(
            "(SELECT count(*) FROM job_after w WHERE w.job_id = jobs.id), \
             (SELECT v.value FROM catalog_state v WHERE v.name = 'objects_version'), \
             (SELECT count(*) FROM (SELECT 1 FROM jobs j \
               WHERE j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING') AND (",
            abandoned!(),
            " OR ",
            behind_a_failure!(),
            ") LIMIT 1) e), ",
            columns_of_a_new_run!()
        )
    };
}

/// In SQLite the statements come one after the other, and find what the first of them has written.
const BEGIN_NEXT: Sql = Sql {
    sqlite: next_job!(
        {
            "INSERT INTO runs (id, job_id, object_id, run_seq, state, attempt, worker_id,"
            " started_at) SELECT $4, job_id, object_id, run_seq, 'PLANNING', 1, $7, $1 FROM"
            " (SELECT j.id AS job_id, j.object_id AS object_id, c.last_run_seq + 1 AS run_seq,"
            " j.run_id AS run_id, j.parent_id AS parent_id"
        }
        {
            ") WHERE run_id IS NULL AND parent_id IS NULL;"
            " UPDATE object_runs SET last_run_seq = r.run_seq FROM runs r"
            " WHERE r.id = $4 AND object_runs.object_id = r.object_id;"
            " UPDATE jobs SET state = 'PLANNING', run_id = $4, attempt = 1, worker_id = $7,"
            " lease_until = $6 WHERE id = (SELECT r.job_id FROM runs r WHERE r.id = $4)"
            " RETURNING (SELECT r.run_seq FROM runs r WHERE r.id = $4), " NEWEST_REFRESH ", " claimed_columns
        }
    )
    .sqlite,
    postgres: next_job!(
        {
            "WITH found AS MATERIALIZED (SELECT j.id AS found_job, j.object_id AS found_object,"
            " c.last_run_seq + 1 AS found_seq, j.run_id AS found_run, j.parent_id AS found_parent"
        }
        {
            "), plain AS MATERIALIZED (SELECT * FROM found"
            " WHERE found_run IS NULL AND found_parent IS NULL),"
            " begun AS (INSERT INTO runs (id, job_id, object_id, run_seq, state, attempt,"
            " worker_id, started_at)"
            " SELECT $4, found_job, found_object, found_seq, 'PLANNING', 1, $7, $1 FROM plain),"
            " counted AS (UPDATE object_runs SET last_run_seq = found_seq FROM plain"
            " WHERE object_id = found_object)"
            " UPDATE jobs SET state = 'PLANNING', run_id = $4, attempt = 1, worker_id = $7,"
            " lease_until = $6 FROM plain WHERE id = found_job RETURNING found_seq, "
            NEWEST_REFRESH ", " claimed_columns
        }
    )
    .postgres,
};

/// Whether there is a job to take, or anything to do for [`end_abandoned`] or [`end_behind_failures`].
async fn something_is_left(
    db: &impl Database,
    takes: &Takes,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    let found = db
        .rows(
            "look for jobs",
            sql!("SELECT j.id FROM jobs j"
                 " WHERE j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING')"
                 " AND (" abandoned " OR " behind_a_failure " OR (" runnable
                 " AND ($2 IS NULL OR j.profile IN " [list 2] ")"
                 " AND j.profile NOT IN " [list 3] ")) LIMIT 1"),
            vec![
                now.into(),
                takes.only.as_ref().map_or(Value::Text(None), list_of),
                list_of(&takes.full),
            ],
        )
        .await?;
    Ok(!found.is_empty())
}

/// A job that can run, locked, with the counter of its object's runs.
struct Runnable {
    job: Locked,
    last_run_seq: i64,
    /// Whether it waited for others.
    waited: bool,
    objects_version: i64,
}

/// Finds and locks the job to take, and the counter of its object.
async fn lock_runnable(
    tx: &mut impl Transaction,
    takes: &Takes,
    now: Timestamp,
) -> Result<Option<Runnable>, CatalogError> {
    let found = row(
        tx,
        next_job!(
            {
                "SELECT " locked_columns ", c.last_run_seq,"
                " (SELECT count(*) FROM job_after w WHERE w.job_id = j.id),"
                " (SELECT v.value FROM catalog_state v WHERE v.name = 'objects_version')"
            }
            {}
        ),
        vec![
            now.into(),
            takes.only.as_ref().map_or(Value::Text(None), list_of),
            list_of(&takes.full),
        ],
    )
    .await?;
    let Some(mut found) = found else { return Ok(None) };
    Ok(Some(Runnable {
        job: Locked::take(&mut found)?,
        last_run_seq: found.int("number of the last run")?,
        waited: found.truth("whether a job waited")?,
        objects_version: found.int("version of the objects")?,
    }))
}

struct Taken {
    worker: WorkerId,
    now: Timestamp,
    lease_until: Timestamp,
}

async fn take(
    tx: &mut impl Transaction,
    found: &Runnable,
    taken: &Taken,
) -> Result<Claimed, CatalogError> {
    let Taken { worker, lease_until, .. } = *taken;
    let Runnable { job: locked, last_run_seq, waited, objects_version } = found;
    moves(locked.state, JobState::Planning);
    let (run, run_seq, attempt, mut job) = match locked.run {
        Some(run) => {
            let run_seq = continue_run(tx, locked, run, worker).await?;
            let attempt = locked.attempt + 1;
            tx.rows(
                sql!("UPDATE jobs SET state = 'PLANNING', run_id = $2, attempt = $3,"
                     " worker_id = $4, lease_until = $5 WHERE id = $1"),
                values![locked.id, run, attempt, worker, lease_until],
            )
            .await?;
            (run, run_seq, attempt, list::job(tx, locked.id).await?)
        }
        None => {
            let (run, run_seq) = (RunId::generate(), last_run_seq + 1);
            (run, run_seq, 1, begin_run(tx, locked, (run, run_seq), taken).await?)
        }
    };
    if *waited && locked.run.is_none() {
        job.after = list::after(tx, [job.id]).await?.remove(&job.id).unwrap_or_default();
    }
    if job.parent.is_some() {
        parent::follows(tx, job.id, None).await?;
    }
    let lease = Lease { run, attempt, worker };
    Ok(Claimed { lease, job, run_seq, objects_version: *objects_version })
}

/// The first attempt of a new run; everything of its job but those that it waits for.
async fn begin_run(
    tx: &mut impl Transaction,
    job: &Locked,
    (run, run_seq): (RunId, i64),
    taken: &Taken,
) -> Result<Job, CatalogError> {
    let Taken { worker, now, lease_until } = *taken;
    let begun = row(
        tx,
        sql!(FIRST
             "UPDATE object_runs SET last_run_seq = $7 WHERE object_id = $2"
             THEN
             "INSERT INTO runs (id, job_id, object_id, run_seq, state, attempt, worker_id,"
             " started_at) VALUES ($3, $1, $2, $7, 'PLANNING', 1, $4, $5)"
             LAST
             "UPDATE jobs SET state = 'PLANNING', run_id = $3, attempt = 1, worker_id = $4,"
             " lease_until = $6 WHERE id = $1 RETURNING " columns_of_a_new_run),
        values![job.id, job.object, run, worker, now, lease_until, run_seq],
    )
    .await?;
    list::read_job(begun.ok_or_else(|| CatalogError::JobNotFound(job.id.to_string()))?)
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

/// Ends the jobs whose worker stopped answering and which no other worker is to continue.
async fn end_abandoned(tx: &mut impl Transaction, now: Timestamp) -> Result<(), CatalogError> {
    let abandoned = tx
        .rows(
            sql!("SELECT " locked_columns " FROM jobs j"
                 " WHERE j.state IN ('QUEUED', 'PLANNING', 'RUNNING', 'COMMITTING')"
                 " AND " abandoned
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
