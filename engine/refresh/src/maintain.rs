//! One attempt of a job that looks after the files of a table.
//!
//! Doing it again does no harm: files that were put together or deleted are not there any more. So
//! an attempt keeps nothing and pins nothing; it may die anywhere, and the next one begins anew with
//! the newest version. It can be stopped until the last commit, and between two deletions.

use std::{sync::Arc, time::Duration};

use lake::{LakeError, faults::pause_point};
use model::{
    job::{ClaimedRun, RunOutcome},
    name::ObjectName,
    object::Object,
    work::{Maintained, OptimizeWork, Optimized, VacuumWork, Vacuumed},
};
use query::error::QueryError;

use crate::{
    error::RefreshError, options::RefreshOptions, progress::Progress, run::Ended, stop::StopSignal,
};

/// How often files are put together anew because others changed their rows meanwhile.
const TRIES_MAX: u32 = 10;
const CONFLICT_WAIT: Duration = Duration::from_millis(40);

pub(crate) struct Maintenance<'a> {
    pub(crate) options: &'a Arc<RefreshOptions>,
    pub(crate) claimed: &'a ClaimedRun,
    pub(crate) progress: &'a Arc<Progress>,
    pub(crate) stop: StopSignal,
}

impl Maintenance<'_> {
    /// Puts files together until nothing is left to do.
    pub(crate) async fn optimize(&self, work: &OptimizeWork) -> Result<RunOutcome, Ended> {
        let object = self.object().await?;
        let mut done = Done::default();
        let mut tries = 1;
        loop {
            match self.optimize_once(&object, work, &mut done).await {
                Ok(()) => break,
                Err(Ended::Failed(error)) if tries < TRIES_MAX && is_conflict(&error) => {
                    tracing::info!(object = %object.name, error = %error, tries, "put together anew");
                    self.unless_stopped(self.options.clock.sleep(CONFLICT_WAIT * tries)).await?;
                    tries += 1;
                }
                Err(ended) => return Err(ended),
            }
        }
        Ok(RunOutcome::Maintained {
            output_version: done.version,
            progress: self.progress.figures(),
            result: Maintained::Optimized(done.numbers),
        })
    }

    async fn optimize_once(
        &self,
        object: &Object,
        work: &OptimizeWork,
        done: &mut Done,
    ) -> Result<(), Ended> {
        let queries = &self.options.queries;
        let before = done.numbers;
        let staged = self.progress.staged();
        let planned = self.unless_stopped(queries.plan_optimize(object, work, staged)).await?;
        let mut optimizing =
            planned.map_err(|source| self.failed("plan the OPTIMIZE of", source))?;
        self.progress.working(optimizing.files());
        loop {
            let staging = self.unless_stopped(queries.stage_optimize(optimizing)).await?;
            let staged;
            (optimizing, staged) =
                staging.map_err(|source| self.failed("put files together of", source))?;
            let Some(staged) = staged else { return Ok(()) };
            if let Err(stopped) = self.unless_stopped(pause_point("staged")).await {
                self.options.lake.discard(staged).await;
                return Err(stopped);
            }
            // A commit that is on its way is waited for.
            let committed = optimizing.commit(staged).await.map_err(|source| {
                RefreshError::Lake { step: "commit files of", object: self.name(), source }
            })?;
            done.version = Some(committed.version);
            done.numbers = sum(before, optimizing.done());
        }
    }

    /// Deletes files that nobody needs.
    pub(crate) async fn vacuum(&self, work: &VacuumWork) -> Result<RunOutcome, Ended> {
        let object = self.object().await?;
        self.progress.working(0);
        let deleting = self.options.queries.vacuum(&object, work, self.progress.vacuumed());
        let done = self.unless_stopped(deleting).await?;
        let done = done.map_err(|source| self.failed("delete files of", source))?;
        let result = Vacuumed {
            files_deleted: done.files.len() as u64,
            bytes_deleted: done.bytes,
            log_files_deleted: done.log_files,
        };
        Ok(RunOutcome::Maintained {
            output_version: None,
            progress: self.progress.figures(),
            result: Maintained::Vacuumed(result),
        })
    }

    /// What the work comes to, unless it is to stop before: then the work is dropped.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Ended> {
        tokio::select! {
            biased;
            why = self.stop.given() => Err(Ended::Stopped(why)),
            done = work => Ok(done),
        }
    }

    async fn object(&self) -> Result<Object, RefreshError> {
        let found = self.options.catalog.object(self.claimed.job.object).await;
        found
            .map_err(|source| RefreshError::Catalog {
                step: "read the definition of",
                object: self.name(),
                source,
            })?
            .ok_or_else(|| RefreshError::Dropped(self.name()))
    }

    fn failed(&self, step: &'static str, source: QueryError) -> RefreshError {
        RefreshError::Query { step, object: self.name(), source }
    }

    fn name(&self) -> ObjectName {
        self.claimed.job.object_name.clone()
    }
}

/// What an attempt has committed so far.
#[derive(Default)]
struct Done {
    version: Option<i64>,
    numbers: Optimized,
}

fn sum(before: Optimized, now: lake::Optimized) -> Optimized {
    Optimized {
        files_removed: before.files_removed + now.removed_files,
        files_added: before.files_added + now.added_files,
        bytes_removed: before.bytes_removed + now.removed_bytes,
        bytes_added: before.bytes_added + now.added_bytes,
        commits: before.commits + now.commits,
    }
}

fn is_conflict(error: &RefreshError) -> bool {
    matches!(error, RefreshError::Lake { source: LakeError::Conflict { .. }, .. })
}
