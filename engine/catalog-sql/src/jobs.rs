//! Jobs, runs and leases.
//!
//! The row of a job holds its state and the lease on its newest run, so that one row lock orders
//! everything that happens to a job. The row of a run is its record.

mod approval;
mod claim;
mod control;
mod graph;
mod keys;
pub(crate) mod last;
mod lease;
mod list;
mod parent;
mod submit;

use std::time::Duration;

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    jobs::{JobFilter, Jobs, Reading, Takes},
};
use model::{
    approval::Approval,
    id::{GraphId, JobId, ObjectId, RunId, WorkerId},
    job::{
        ClaimedRun, Job, JobState, LastRun, Lease, LeaseState, NewJob, PinnedInput, RequestKey,
        Run, RunOutcome, RunProgress,
    },
    time::Timestamp,
};

use crate::{
    SqlCatalog,
    database::{Database, Transaction, over, row},
    sql::sql,
    value::{Row, corrupt, list, values},
};

#[async_trait]
impl<D: Database> Jobs for SqlCatalog<D> {
    async fn submit(&self, jobs: &[NewJob], now: Timestamp) -> Result<Vec<Job>, CatalogError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.write("queue jobs").await?;
        let queued = submit::submit(&mut tx, jobs, None, now).await;
        over(tx, queued).await
    }

    async fn submit_once(
        &self,
        key: &RequestKey,
        jobs: &[NewJob],
        now: Timestamp,
    ) -> Result<Vec<Job>, CatalogError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.write("queue jobs").await?;
        let queued = keys::submit_once(&mut tx, key, jobs, now).await;
        over(tx, queued).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, CatalogError> {
        let mut tx = self.db.read("list jobs").await?;
        let jobs = list::jobs(&mut tx, filter).await;
        over(tx, jobs).await
    }

    async fn reading(&self, jobs: &[JobId]) -> Result<Vec<(JobId, Reading)>, CatalogError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        list::reading(&self.db, jobs).await
    }

    async fn last_due(
        &self,
        objects: &[ObjectId],
        until: Timestamp,
    ) -> Result<Vec<(ObjectId, Timestamp)>, CatalogError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self
            .db
            .rows(
                "read the last due times",
                sql!("SELECT object_id, max(due_at) FROM job_due WHERE object_id IN " [list 1]
                     " AND due_at <= $2 GROUP BY object_id"),
                vec![list(objects), until.into()],
            )
            .await?;
        let read = |mut row: Row| Ok((row.parsed("object id")?, row.time("due time")?));
        rows.into_iter().map(read).collect()
    }

    async fn claim(
        &self,
        worker: WorkerId,
        takes: &Takes,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<Option<ClaimedRun>, CatalogError> {
        claim::claim(&self.db, worker, takes, (now, lease_for)).await
    }

    async fn pin(
        &self,
        lease: &Lease,
        inputs: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError> {
        if lease::pin_first(&self.db, lease, inputs).await? {
            return Ok(inputs.to_vec());
        }
        let mut tx = self.db.write("pin the inputs of a run").await?;
        let pinned = lease::pin(&mut tx, lease, inputs).await;
        over(tx, pinned).await
    }

    async fn pinned(&self, run: RunId) -> Result<Option<Vec<PinnedInput>>, CatalogError> {
        let mut tx = self.db.read("read the inputs of a run").await?;
        let pinned = lease::pinned(&mut tx, run).await;
        over(tx, pinned).await
    }

    async fn pin_graph(
        &self,
        lease: &Lease,
        inputs: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError> {
        let mut tx = self.db.write("pin the inputs of a graph run").await?;
        let pinned = graph::pin(&mut tx, lease, inputs).await;
        over(tx, pinned).await
    }

    async fn put_graph_output(
        &self,
        lease: &Lease,
        output: &PinnedInput,
    ) -> Result<(), CatalogError> {
        let mut tx = self.db.write("pin an output of a graph run").await?;
        let ended = graph::put_output(&mut tx, lease, output).await;
        over(tx, ended).await
    }

    async fn graph_inputs(
        &self,
        graphs: &[GraphId],
    ) -> Result<Vec<(GraphId, PinnedInput)>, CatalogError> {
        let mut tx = self.db.read("list the inputs of graph runs").await?;
        let inputs = graph::inputs(&mut tx, graphs).await;
        over(tx, inputs).await
    }

    async fn heartbeat(
        &self,
        lease: &Lease,
        state: JobState,
        progress: &RunProgress,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<LeaseState, CatalogError> {
        let beat = lease::Beat { state, progress: *progress, lease_until: now.plus(lease_for) };
        lease::heartbeat(&self.db, lease, &beat).await
    }

    async fn finish(
        &self,
        lease: &Lease,
        outcome: &RunOutcome,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        if lease::finish_plainly(&self.db, lease, outcome, now).await? {
            return Ok(());
        }
        let mut tx = self.db.write("finish a run").await?;
        let ended = lease::finish(&mut tx, lease, outcome, now).await;
        over(tx, ended).await
    }

    async fn cancel(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError> {
        let mut tx = self.db.write("cancel a job").await?;
        let job = control::cancel(&mut tx, job, now).await;
        over(tx, job).await
    }

    async fn approve(
        &self,
        job: JobId,
        approval: &Approval,
        now: Timestamp,
    ) -> Result<Job, CatalogError> {
        let mut tx = self.db.write("approve a job").await?;
        let job = approval::approve(&mut tx, job, approval, now).await;
        over(tx, job).await
    }

    async fn retry(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError> {
        let mut tx = self.db.write("retry a job").await?;
        let job = control::retry(&mut tx, job, now).await;
        over(tx, job).await
    }

    async fn retry_failed(&self, job: JobId, now: Timestamp) -> Result<Vec<Job>, CatalogError> {
        let mut tx = self.db.write("retry what failed with a job").await?;
        let jobs = control::retry_failed(&mut tx, job, now).await;
        over(tx, jobs).await
    }

    async fn last_refresh(&self, object: ObjectId) -> Result<Option<LastRun>, CatalogError> {
        last::last_run(&self.db, object).await
    }

    async fn runs(&self, jobs: Option<&[JobId]>, limit: u32) -> Result<Vec<Run>, CatalogError> {
        let mut tx = self.db.read("list runs").await?;
        let runs = list::runs(&mut tx, jobs, limit).await;
        over(tx, runs).await
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, CatalogError> {
        let mut tx = self.db.read("read a run").await?;
        let run = list::run(&mut tx, run).await;
        over(tx, run).await
    }

    async fn run_inputs(&self, runs: &[RunId]) -> Result<Vec<(RunId, PinnedInput)>, CatalogError> {
        let mut tx = self.db.read("list the inputs of runs").await?;
        let inputs = list::run_inputs(&mut tx, runs).await;
        over(tx, inputs).await
    }
}

/// Jobs by their ids, in no order that counts.
pub(crate) async fn jobs_of(
    tx: &mut impl Transaction,
    ids: Vec<JobId>,
) -> Result<Vec<Job>, CatalogError> {
    list::jobs(tx, &JobFilter { ids: Some(ids), ..JobFilter::default() }).await
}

/// Holds a change of a state to the table of moves, where that is worth a crash.
fn moves(from: JobState, to: JobState) {
    debug_assert!(from.may_become(to), "a job went from {from} to {to}");
}

/// What a decision about a job needs to know, read under the lock of its row.
struct Locked {
    id: JobId,
    object: ObjectId,
    state: JobState,
    run: Option<RunId>,
    attempt: u32,
    attempts_max: u32,
    worker: Option<WorkerId>,
    stop_asked: bool,
}

macro_rules! locked_columns {
    () => {
        "j.id, j.object_id, j.state, j.run_id, j.attempt, j.attempts_max, j.worker_id, \
         j.stop_asked"
    };
}
use locked_columns;

impl Locked {
    fn read(mut row: Row) -> Result<Self, CatalogError> {
        Self::take(&mut row)
    }

    /// From the next columns of a row that has more.
    fn take(row: &mut Row) -> Result<Self, CatalogError> {
        Ok(Self {
            id: row.parsed("job id")?,
            object: row.parsed("object id")?,
            state: row.parsed("job state")?,
            run: row.parsed_opt("run id")?,
            attempt: row.small("attempt")?,
            attempts_max: row.small("number of attempts")?,
            worker: row.parsed_opt("worker id")?,
            stop_asked: row.truth("stop request")?,
        })
    }
}

/// Waits for the row of a job and locks it.
async fn lock(tx: &mut impl Transaction, job: JobId) -> Result<Locked, CatalogError> {
    let found =
        row(tx, sql!("SELECT " locked_columns " FROM jobs j WHERE j.id = $1" LOCK_J), values![job])
            .await?;
    Locked::read(found.ok_or_else(|| CatalogError::JobNotFound(job.to_string()))?)
}

/// Draws `count` numbers of the queue order and returns the last one before them. From here on
/// nobody else queues, retries or drops until this transaction is over.
pub(crate) async fn next_queue_seq(
    tx: &mut impl Transaction,
    count: usize,
) -> Result<i64, CatalogError> {
    let count = i64::try_from(count).map_err(|e| corrupt("number of jobs", e))?;
    let mut last = row(
        tx,
        sql!("UPDATE catalog_state SET value = value + $1 WHERE name = 'queue_seq'"
             " RETURNING value"),
        values![count],
    )
    .await?
    .ok_or_else(|| corrupt("queue order", "it is missing"))?;
    Ok(last.int("queue order")? - count)
}

/// A final state that is no success.
pub(crate) struct Ended {
    pub(crate) state: JobState,
    pub(crate) error: Option<String>,
    /// None when the time is not known.
    pub(crate) at: Option<Timestamp>,
}

/// Ends a job, whose row is locked, and its newest run, and gives the lease back.
pub(crate) async fn end(
    tx: &mut impl Transaction,
    job: JobId,
    ended: &Ended,
) -> Result<(), CatalogError> {
    let Ended { state, error, at } = ended;
    debug_assert!(state.is_final() && !state.is_success());
    tx.rows(
        sql!("UPDATE runs SET state = $2, error = $3, finished_at = $4"
             " WHERE id = (SELECT run_id FROM jobs WHERE id = $1)"),
        values![job, *state, error.clone(), *at],
    )
    .await?;
    tx.rows(
        sql!("UPDATE jobs SET state = $2, error = $3, finished_at = $4, worker_id = NULL,"
             " lease_until = NULL WHERE id = $1"),
        values![job, *state, error.clone(), *at],
    )
    .await?;
    parent::follows(tx, job, *at).await
}
