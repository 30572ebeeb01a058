//! Takes jobs from the queue and runs them, a limited number side by side.
//!
//! It keeps nothing that has to survive: everything that a job needs is in the catalog and the
//! lake, and the process may die at any instruction.

use std::{collections::HashMap, sync::Arc, time::Duration};

use catalog::{error::CatalogError, jobs::Takes};
use model::{
    id::WorkerId,
    job::{ClaimedRun, JobState},
    time::Timestamp,
};
use parking_lot::Mutex;
use rt::shutdown::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{bell::Bell, error::chain, options::RefreshOptions, run};

/// How soon the queue is asked again after the catalog did not answer.
const CLAIM_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many runs of each profile are under way in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<String, usize>>>);

impl Running {
    /// One more, until the answer is dropped.
    fn one_of(&self, profile: &str) -> RunningOne {
        *self.0.lock().entry(profile.to_owned()).or_default() += 1;
        RunningOne { running: self.clone(), profile: profile.to_owned() }
    }

    fn of(&self, profile: &str) -> usize {
        self.0.lock().get(profile).copied().unwrap_or_default()
    }
}

/// A run that is under way.
#[derive(Debug)]
struct RunningOne {
    running: Running,
    profile: String,
}

impl Drop for RunningOne {
    fn drop(&mut self) {
        if let Some(count) = self.running.0.lock().get_mut(&self.profile) {
            *count = count.saturating_sub(1);
        }
    }
}

pub(crate) struct Worker {
    pub(crate) options: Arc<RefreshOptions>,
    pub(crate) running: Running,
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
        let claimed = catalog.claim(self.id, &self.takes(), asked_at, *lease_for).await?;
        Ok(claimed.map(|claimed| (claimed, asked_at)))
    }

    /// What may be taken now. Asked by the one task that claims, so no run comes in between.
    fn takes(&self) -> Takes {
        let profiles = self.options.profiles.iter();
        let full = profiles.filter(|profile| {
            profile.runs_max.is_some_and(|max| self.running.of(&profile.name) >= max)
        });
        let full = full.map(|profile| profile.name.clone()).collect();
        Takes { only: self.options.takes(), full }
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
        let running = self.running.one_of(&claimed.job.resources.profile);
        debug_assert!(claimed.job.state != JobState::Committing || claimed.lease.attempt > 1);
        async move {
            let retry_after = run::attempt(&options, claimed, leased_at, give_up).await;
            drop((slot, running, guard));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_for_its_profile_until_it_has_ended() {
        let running = Running::default();
        let (first, second) = (running.one_of("large"), running.one_of("large"));
        assert_eq!((running.of("large"), running.of("default")), (2, 0));
        drop(first);
        assert_eq!(running.of("large"), 1);
        drop(second);
        assert_eq!(running.of("large"), 0);
    }
}
