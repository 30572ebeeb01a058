//! The sign of life of a run, on a task of its own.
//!
//! It exists so that a run keeps its lease however long its query takes, and so that a cancelled
//! or superseded run stops. All heartbeats of a run go through this one task: two that overtook
//! each other could turn COMMITTING back into RUNNING and make a commit cancellable.

use std::{sync::Arc, time::Duration};

use catalog::jobs::Jobs;
use model::{
    job::{JobState, Lease, LeaseState},
    time::Timestamp,
};
use rt::clock::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    progress::Progress,
    stop::{Stop, StopSignal},
};

/// How soon a heartbeat that the catalog did not answer is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What a heartbeat needs.
pub(crate) struct Heartbeat<J: ?Sized> {
    pub(crate) jobs: Arc<J>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lease: Lease,
    /// When the lease was asked for: it holds `lease_for` from then on.
    pub(crate) leased_at: Timestamp,
    pub(crate) lease_for: Duration,
    pub(crate) progress_every: Duration,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: StopSignal,
}

/// A heartbeat that beats. Dropping it stops it at once; the lease then runs out by itself.
#[derive(Debug)]
pub(crate) struct Beating {
    requests: mpsc::Sender<oneshot::Sender<Result<(), Stop>>>,
    task: AbortOnDropHandle<Timestamp>,
}

impl Beating {
    /// Moves the run to COMMITTING. After `Ok` nobody can cancel it any more.
    ///
    /// While the catalog cannot be reached it is asked again until the lease runs out.
    pub(crate) async fn committing(&self) -> Result<(), Stop> {
        let (answer, answered) = oneshot::channel();
        // A heartbeat that is gone has given the signal and nobody may commit without it.
        self.requests.send(answer).await.map_err(|_| Stop::Lost)?;
        answered.await.unwrap_or(Err(Stop::Lost))
    }

    /// Ends it after the beat that is on its way. Answers until when the lease holds.
    pub(crate) async fn end(self) -> Option<Timestamp> {
        drop(self.requests);
        self.task.await.ok()
    }
}

impl<J: Jobs + ?Sized + 'static> Heartbeat<J> {
    /// Begins to beat on the current runtime.
    pub(crate) fn start(self) -> Beating {
        let (requests, received) = mpsc::channel(1);
        Beating { requests, task: AbortOnDropHandle::new(tokio::spawn(self.beat(received))) }
    }

    /// Beats until the lease is gone, a stop is asked for, or nobody listens any more.
    async fn beat(
        self,
        mut requests: mpsc::Receiver<oneshot::Sender<Result<(), Stop>>>,
    ) -> Timestamp {
        let every = self.progress_every.min(self.lease_for / 3).max(Duration::from_millis(1));
        let mut held_until = self.leased_at.plus(self.lease_for);
        let mut waiting: Option<oneshot::Sender<Result<(), Stop>>> = None;
        let mut committing = false;
        let mut silent = false;
        loop {
            let pause = if silent { RETRY_AFTER.min(every) } else { every };
            let wait = pause.min(held_until.since(self.clock.now()));
            if waiting.is_none() || silent {
                tokio::select! {
                    biased;
                    request = requests.recv(), if waiting.is_none() => match request {
                        Some(request) => waiting = Some(request),
                        None => return held_until,
                    },
                    () = self.clock.sleep(wait) => {}
                }
            }
            let asked_at = self.clock.now();
            if asked_at >= held_until {
                return self.over(Stop::Expired, waiting, held_until);
            }
            let state = match waiting.is_some() || committing {
                true => JobState::Committing,
                false => self.progress.state(),
            };
            let figures = self.progress.figures();
            let call = self.jobs.heartbeat(&self.lease, state, &figures, asked_at, self.lease_for);
            let answer = tokio::select! {
                biased;
                answer = call => answer,
                () = self.clock.sleep(held_until.since(asked_at)) => {
                    return self.over(Stop::Expired, waiting, held_until);
                }
            };
            match answer {
                Ok(LeaseState::Held) => {
                    held_until = asked_at.plus(self.lease_for);
                    if silent {
                        tracing::info!(run = %self.lease.run, "the catalog answers again");
                        silent = false;
                    }
                    if let Some(waiting) = waiting.take() {
                        committing = true;
                        // Nobody waits for it: then nobody commits, and the lease runs out.
                        let _ = waiting.send(Ok(()));
                    }
                }
                // Too late to stop a commit that is on its way; what is committed is booked.
                Ok(LeaseState::StopAsked) if committing => {
                    held_until = asked_at.plus(self.lease_for)
                }
                Ok(LeaseState::StopAsked) => return self.over(Stop::Asked, waiting, held_until),
                Ok(LeaseState::Lost) => return self.over(Stop::Lost, waiting, held_until),
                Err(error) => {
                    if self.clock.now() >= held_until {
                        return self.over(Stop::Expired, waiting, held_until);
                    }
                    if !silent {
                        tracing::warn!(run = %self.lease.run, %error, held_until = %held_until,
                            "heartbeat not recorded; the run goes on while its lease holds");
                        silent = true;
                    }
                }
            }
        }
    }

    fn over(
        &self,
        why: Stop,
        waiting: Option<oneshot::Sender<Result<(), Stop>>>,
        held_until: Timestamp,
    ) -> Timestamp {
        self.stop.give(why);
        if let Some(waiting) = waiting {
            // The run may be gone already.
            let _ = waiting.send(Err(why));
        }
        // After a lost lease nothing may be recorded; after the others the lease is still ours.
        held_until
    }
}

#[cfg(test)]
mod tests;
