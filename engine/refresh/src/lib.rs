//! Runs jobs: refreshes of transforms and the care of tables. Schedules, the queue, workers, and
//! folders of `.sql` files.
//!
//! It exists so that a refresh is one path whoever asked for it, and so that a worker may die at any
//! instruction: nothing visible happens before one Delta commit, and a commit that nobody booked is
//! found in the log by its transaction. It never talks to a client and never parses a request.

mod auditor;
mod bell;
mod commit;
pub mod error;
pub mod folder;
mod heartbeat;
mod leader;
mod maintain;
pub mod options;
mod progress;
mod quarantine;
mod reconcile;
mod run;
mod stop;
mod worker;

#[cfg(test)]
mod proof;
#[cfg(test)]
mod sim;

use std::sync::Arc;

use model::id::WorkerId;
use rt::shutdown::Shutdown;

use crate::{bell::Bell, options::RefreshOptions, worker::Worker};

/// Runs the jobs of the queue, and queues those of the schedules, until shutdown.
#[derive(Debug, Clone)]
pub struct Refresher {
    worker: WorkerId,
}

impl Refresher {
    /// Starts on the current Tokio runtime, which does the waiting; queries are
    /// planned on [`RefreshOptions::cpu`] and run where [`query::queries::Queries::runtime`] says.
    ///
    /// Once `shutdown` is triggered no job is taken any more. Runs that are under way end within
    /// [`RefreshOptions::drain_max`]; `shutdown` waits for them and names the late ones.
    #[must_use]
    pub fn start(options: RefreshOptions, shutdown: &Shutdown) -> Self {
        let options = Arc::new(options);
        let (bell, stop, worker) = (Bell::new(), shutdown.token(), WorkerId::generate());
        let work = Worker {
            options: Arc::clone(&options),
            running: worker::Running::default(),
            id: worker,
            bell: bell.clone(),
            shutdown: shutdown.clone(),
        };
        shutdown.spawn("refresh workers", work.work());
        let schedules =
            reconcile::reconcile(Arc::clone(&options), worker, bell.clone(), stop.clone());
        shutdown.spawn("refresh schedules", schedules);
        let audit = auditor::audit(Arc::clone(&options), worker, stop.clone());
        shutdown.spawn("auditor", audit);
        let RefreshOptions { wake, clock, tick, .. } = options.as_ref();
        let relay = bell::relay(bell, Arc::clone(wake), Arc::clone(clock), *tick, stop);
        shutdown.spawn("refresh bell", relay);
        Self { worker }
    }

    /// Under which id `system.runs` shows what this refresher has run.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }
}
