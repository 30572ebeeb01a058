//! The queue of jobs, and the record of their runs.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use model::{
    approval::Approval,
    id::{GraphId, JobId, ObjectId, RunId, WorkerId},
    job::{
        ClaimedRun, Job, JobState, LastRun, Lease, LeaseState, NewJob, PinnedInput, RequestKey,
        Run, RunOutcome, RunProgress,
    },
    time::Timestamp,
    work::JobKind,
};

use crate::error::CatalogError;

/// Which jobs a worker takes, by their profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Takes {
    /// Only those of these profiles; those of any where nothing is said.
    pub only: Option<Vec<String>>,
    /// None of these profiles: as many of their runs as may are under way already.
    pub full: Vec<String>,
}

/// At which versions the newest run of a job reads its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// At those that are the newest at some time from now on.
    Newest,
    /// It is choosing them, or has chosen and not told yet.
    Choosing,
    /// At these.
    At(BTreeMap<ObjectId, i64>),
}

/// Which jobs to list. Everything that is given has to match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only these.
    pub ids: Option<Vec<JobId>>,
    /// Only of this object.
    pub object: Option<ObjectId>,
    /// Only of this kind.
    pub kind: Option<JobKind>,
    /// Only of this graph run.
    pub graph: Option<GraphId>,
    /// Only in one of these states.
    pub states: Option<Vec<JobState>>,
    /// At most so many, newest first.
    pub limit: Option<u32>,
}

/// Jobs, runs and leases. Times come in as arguments: a catalog reads no clock.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Queues jobs, all or none. Returns them in the order of `jobs`.
    ///
    /// A job that asks for exactly what a QUEUED job of the same object asks (equal work and
    /// `attempts_max`, no new `after`, not `force` unless that one is) is not queued again: the
    /// answer holds the one that is there, with the greater priority of both, and
    /// later jobs of the same call that name it in `after` wait for that one. A BACKFILL and its
    /// ranges are always jobs of their own. A QUEUED job whose
    /// run has begun, and which waits for its next attempt, is not taken for that: its inputs may be
    /// pinned already; nor is one of a graph run that has chosen the versions of its sources. A job
    /// that waits for approval is, since its next run begins anew; when a
    /// person asks (by a request, or by another definition) it goes back into the queue and looks
    /// again whether it needs approval. A job of a graph run that joins one of another puts both graph
    /// runs together, and takes one of none with it. A job with a `due_at` that was queued before is
    /// left out of the answer.
    /// Submitting a job id again answers the job that is there.
    ///
    /// [`CatalogError::ObjectGone`] when an object was dropped, [`CatalogError::JobNotFound`] when
    /// `after` names no job.
    async fn submit(&self, jobs: &[NewJob], now: Timestamp) -> Result<Vec<Job>, CatalogError>;

    /// As [`Jobs::submit`], once for each key of whoever asks, for ever: a request that comes again
    /// queues nothing and is answered with the jobs that the first one was answered with, as they
    /// are now. All jobs are asked for by the same principal.
    ///
    /// [`CatalogError::RequestKeyTaken`] when the key belongs to another request.
    async fn submit_once(
        &self,
        key: &RequestKey,
        jobs: &[NewJob],
        now: Timestamp,
    ) -> Result<Vec<Job>, CatalogError>;

    /// Jobs, newest first.
    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, CatalogError>;

    /// What the given jobs read, in any order. Left out are those that ended and never chose, and those
    /// whose graph run chose for them.
    async fn reading(&self, jobs: &[JobId]) -> Result<Vec<(JobId, Reading)>, CatalogError>;

    /// The newest time that is not after `until` and for which a job of the object was queued, see
    /// [`NewJob::due_at`]; an object that has none is left out.
    async fn last_due(
        &self,
        objects: &[ObjectId],
        until: Timestamp,
    ) -> Result<Vec<(ObjectId, Timestamp)>, CatalogError>;

    /// Takes the job of the greatest priority that can run, of several the oldest, and makes or continues its run under a new lease.
    ///
    /// A job can run when it is QUEUED with its next attempt due, or not final with a lease that
    /// ran out; when every job in its `after` succeeded; and when no other job of its object is
    /// under way, of whatever kind, be it with a worker or waiting for its next attempt: the runs of
    /// an object never overlap, and end in the order of their `run_seq`. A BACKFILL is never taken:
    /// it is under way while one of its ranges is not QUEUED, and ends when all of them have ended,
    /// without success if one of them did. A refresh that has not begun also waits for older QUEUED
    /// refreshes of its object that belong to graph runs: a newer one would read newer versions
    /// than theirs. A job one of whose `after` ended without
    /// success becomes UPSTREAM_FAILED here, and so do those behind it. A continued run keeps its
    /// id and `run_seq`; its attempt grows by one. An expired job whose attempts are used up
    /// becomes FAILED; one that was asked to stop becomes CANCELLED. A refresh that may have committed,
    /// since it was COMMITTING or is not in its first attempt, is not ended before somebody has looked:
    /// asked to stop, it is continued while it has attempts; COMMITTING, once more when it has none,
    /// by an attempt beyond `attempts_max` that looks and does nothing else. `run_seq` grows by one with
    /// each run of an object. Jobs of profiles that `takes` leaves out are for others, also those of
    /// which a run is to be continued.
    async fn claim(
        &self,
        worker: WorkerId,
        takes: &Takes,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<Option<ClaimedRun>, CatalogError>;

    /// Stores the input versions of the run's first attempt, and returns the stored ones on later
    /// attempts, whatever is passed. [`CatalogError::LeaseLost`] when the lease is not ours.
    async fn pin(
        &self,
        lease: &Lease,
        inputs: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError>;

    /// Inputs pinned by an earlier attempt of the run, or none.
    async fn pinned(&self, run: RunId) -> Result<Option<Vec<PinnedInput>>, CatalogError>;

    /// The versions at which the graph run of the run's job reads its inputs. Stores `inputs` first:
    /// of an object that has a version already, that one stays. Nothing for a job of no graph run.
    /// [`CatalogError::LeaseLost`] when the lease is not ours.
    async fn pin_graph(
        &self,
        lease: &Lease,
        inputs: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError>;

    /// Stores which version of the run's object later jobs of its graph run are to read, in the place
    /// of one that is there. Does nothing for a job of no graph run. [`CatalogError::LeaseLost`] when
    /// the lease is not ours.
    async fn put_graph_output(
        &self,
        lease: &Lease,
        output: &PinnedInput,
    ) -> Result<(), CatalogError>;

    /// The versions at which the given graph runs read their inputs.
    async fn graph_inputs(
        &self,
        graphs: &[GraphId],
    ) -> Result<Vec<(GraphId, PinnedInput)>, CatalogError>;

    /// Extends the lease and records the state (PLANNING, RUNNING or COMMITTING) and the progress.
    ///
    /// A job that was asked to stop answers [`LeaseState::StopAsked`] and is not moved to
    /// COMMITTING; the first COMMITTING that answers [`LeaseState::Held`] ends cancellability.
    async fn heartbeat(
        &self,
        lease: &Lease,
        state: JobState,
        progress: &RunProgress,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<LeaseState, CatalogError>;

    /// Records how the attempt ended and gives the lease back.
    ///
    /// A transient failure with attempts left makes the job QUEUED again, due after `retry_after`.
    /// [`RunOutcome::NeedsApproval`] makes it AWAITING_APPROVAL: without a worker, and in nobody's
    /// way. A refresh that succeeded sends the other jobs of its object that wait for approval back
    /// into the queue: they may not need it any more.
    /// [`CatalogError::LeaseLost`] when the lease is not ours: nothing is recorded then.
    async fn finish(
        &self,
        lease: &Lease,
        outcome: &RunOutcome,
        now: Timestamp,
    ) -> Result<(), CatalogError>;

    /// Asks a job to stop. A job that is QUEUED or waits for approval is CANCELLED at once, a running
    /// one when its worker next asks. COMMITTING or final: [`CatalogError::JobState`]. Of a BACKFILL
    /// all ranges that have not ended; one that is COMMITTING goes on.
    async fn cancel(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError>;

    /// Lets a job that waits for approval go on, with a new run and a fresh count of attempts, and
    /// keeps who said so. Others: [`CatalogError::JobState`].
    async fn approve(
        &self,
        job: JobId,
        approval: &Approval,
        now: Timestamp,
    ) -> Result<Job, CatalogError>;

    /// Queues a FAILED, CANCELLED or UPSTREAM_FAILED job again, with a new run and a fresh count of
    /// attempts, together with the unsuccessful jobs that it waits for. Of a BACKFILL the ranges that
    /// did not succeed. Their graph runs go on: a version that a job which succeeded has read stays,
    /// the others are chosen anew. Others:
    /// [`CatalogError::JobState`].
    async fn retry(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError>;

    /// Queues again what did not succeed (FAILED, CANCELLED or UPSTREAM_FAILED) of the graph run that a
    /// job belongs to, of the BACKFILL that it is, or of that whose range it is; each with a new run and
    /// a fresh count of attempts, together with the unsuccessful jobs that it waits for. Whatever state
    /// the job itself has. The versions that the graph run has chosen stay, all of them. Answers the jobs
    /// that are queued again, upstream first.
    ///
    /// [`CatalogError::JobState`] for a job of no graph run and no BACKFILL, and where nothing of them
    /// ended without success.
    async fn retry_failed(&self, job: JobId, now: Timestamp) -> Result<Vec<Job>, CatalogError>;

    /// What the last refresh of an object that succeeded stood on.
    async fn last_refresh(&self, object: ObjectId) -> Result<Option<LastRun>, CatalogError>;

    /// Runs of the given jobs, or the newest of all, newest first.
    async fn runs(&self, jobs: Option<&[JobId]>, limit: u32) -> Result<Vec<Run>, CatalogError>;

    /// One run, whatever it does and whatever became of it; `None` for one that never was, or is
    /// forgotten with its object.
    async fn run(&self, run: RunId) -> Result<Option<Run>, CatalogError>;

    /// Pinned inputs of the given runs, in the order of the runs.
    async fn run_inputs(&self, runs: &[RunId]) -> Result<Vec<(RunId, PinnedInput)>, CatalogError>;
}
