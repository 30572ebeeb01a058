//! Takes jobs from the queue and runs them, a limited number side by side.
//!
//! It keeps nothing that has to survive: everything that a job needs is in the catalog and the
//! lake, and the process may die at any instruction.

use std::{sync::Arc, time::Duration};

use catalog::error::CatalogError;
use model::{
    id::WorkerId,
    job::{ClaimedRun, JobState},
    time::Timestamp,
};
use rt::shutdown::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{bell::Bell, error::chain, options::RefreshOptions, run};

/// How soon the queue is asked again after the catalog did not answer.
const CLAIM_RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Worker {
    pub(crate) options: Arc<RefreshOptions>,
    pub(crate) id: WorkerId,
    pub(crate) bell: Bell,
    pub(crate) shutdown: Shutdown,
}

impl Worker {
    /// Works until shutdown, then waits for the runs that are under way: see
    /// [`RefreshOptions::drain_max`].
    pub(crate) async fn work(self) {
        let runs = TaskTracker::new();
        let give_up = CancellationToken::new();
        self.take(&runs, &give_up).await;
        runs.close();
        tokio::select! {
            () = runs.wait() => {}
            // The rest of the time is for stopping, and for the books.
            () = self.options.clock.sleep(self.options.drain_max * 9 / 10) => {
                tracing::warn!(runs = runs.len(), "jobs stopped by shutdown; they are queued again");
                give_up.cancel();
                runs.wait().await;
            }
        }
    }

    async fn take(&self, runs: &TaskTracker, give_up: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.options.workers.max(1)));
        let stop = self.shutdown.token();
        let mut rings = self.bell.listen();
        let mut silent = false;
        loop {
            let slot = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            let Ok(slot) = slot else { return };
            // What rings from here on may be news that this claim does not see.
            rings.mark_unchanged();
            match self.claim().await {
                Ok(Some((claimed, leased_at))) => {
                    silent = false;
                    runs.spawn(self.run(claimed, leased_at, slot, give_up.clone()));
                }
                Ok(None) => {
                    silent = false;
                    drop(slot);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        // The bell is ours too, so its other end cannot be gone.
                        _ = rings.changed() => {}
                    }
                }
                Err(error) => {
                    drop(slot);
                    if !silent {
                        tracing::warn!(
                            error = chain(&error),
                            "no job taken; tried again until the catalog answers"
                        );
                        silent = true;
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.options.clock.sleep(CLAIM_RETRY_AFTER) => {}
                    }
                }
            }
        }
    }

    async fn claim(&self) -> Result<Option<(ClaimedRun, Timestamp)>, CatalogError> {
        let RefreshOptions { catalog, clock, lease_for, .. } = self.options.as_ref();
        let asked_at = clock.now();
        let claimed = catalog.claim(self.id, asked_at, *lease_for).await?;
        Ok(claimed.map(|claimed| (claimed, asked_at)))
    }

    /// The whole life of one attempt, on a task of its own.
    fn run(
        &self,
        claimed: ClaimedRun,
        leased_at: Timestamp,
        slot: OwnedSemaphorePermit,
        give_up: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (options, bell, stop) =
            (Arc::clone(&self.options), self.bell.clone(), self.shutdown.token());
        let guard = self.shutdown.guard(format!(
            "{} of {}",
            claimed.job.work.kind(),
            claimed.job.object_name
        ));
        debug_assert!(claimed.job.state != JobState::Committing || claimed.lease.attempt > 1);
        async move {
            let retry_after = run::attempt(&options, claimed, leased_at, give_up).await;
            drop((slot, guard));
            // Others may have waited for this job.
            bell.ring();
            let Some(retry_after) = retry_after else { return };
            tokio::select! {
                () = stop.cancelled() => {}
                () = options.clock.sleep(retry_after) => bell.ring(),
            }
        }
    }
}
