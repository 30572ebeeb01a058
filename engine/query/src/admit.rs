//! Who may run now: a bounded number of statements, a bounded queue behind them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rt::clock::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::QueryError;

/// Hands out the right to run.
#[derive(Debug)]
pub(crate) struct Admission {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    running_max: usize,
    waiting_max: usize,
    wait_max: Duration,
    clock: Arc<dyn Clock>,
}

/// The right to run one statement, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new(
        running_max: usize,
        waiting_max: usize,
        wait_max: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let running_max = running_max.max(1);
        let running = Arc::new(Semaphore::new(running_max));
        Self { running, waiting: AtomicUsize::new(0), running_max, waiting_max, wait_max, clock }
    }

    /// Waits for a turn, first come first served. Cancel-safe: a dropped wait leaves the queue.
    pub(crate) async fn admit(&self) -> Result<Permit, QueryError> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(Permit { _permit: permit });
        }
        let _place = Place::take(&self.waiting, self.waiting_max)
            .ok_or(QueryError::Busy { running: self.running_max, waiting: self.waiting_max })?;
        tokio::select! {
            permit = Arc::clone(&self.running).acquire_owned() => {
                let permit = permit.expect("the semaphore is never closed");
                Ok(Permit { _permit: permit })
            }
            () = self.clock.sleep(self.wait_max) => Err(QueryError::QueueWait(self.wait_max)),
        }
    }
}

/// One place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1))
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rt::clock::SystemClock;

    use super::*;

    fn admission(running: usize, waiting: usize, wait: Duration) -> Admission {
        Admission::new(running, waiting, wait, Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_freed_place_admits() {
        let admission = Arc::new(admission(1, 1, Duration::from_secs(60)));
        let first = admission.admit().await.unwrap();
        let waiter = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.admit().await.map(drop) }
        });
        while admission.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(admission.admit().await, Err(QueryError::Busy { .. })));
        drop(first);
        waiter.await.unwrap().unwrap();
        admission.admit().await.unwrap();
    }

    #[tokio::test]
    async fn a_long_wait_is_given_up() {
        let admission = admission(1, 1, Duration::from_millis(5));
        let _first = admission.admit().await.unwrap();
        assert!(matches!(admission.admit().await, Err(QueryError::QueueWait(_))));
    }
}
