//! One signal to stop, and a list of those who have not stopped yet.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tells everybody to stop and waits for them. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Shutdown {
    /// Nobody was told to stop yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled once shutdown began.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Tells everybody to stop; calling it again changes nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Marks work that shutdown has to wait for, for as long as the guard lives.
    #[must_use]
    pub fn guard(&self, what: impl Into<String>) -> ShutdownGuard {
        let what = what.into();
        *self.running.lock().entry(what.clone()).or_default() += 1;
        ShutdownGuard { what, running: Arc::clone(&self.running), _token: self.tracker.token() }
    }

    /// Runs a future on the current runtime as work that shutdown has to wait for.
    pub fn spawn<F>(&self, what: impl Into<String>, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = self.guard(what);
        tokio::spawn(async move {
            work.await;
            drop(guard);
        });
    }

    /// Waits until all guards are gone, at most `limit`. Answers what was still running then.
    pub async fn drained(&self, limit: Duration) -> Vec<String> {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let running = self.running.lock();
        running
            .iter()
            .map(|(what, n)| if *n == 1 { what.clone() } else { format!("{n} × {what}") })
            .collect()
    }
}

/// Work that shutdown waits for.
#[derive(Debug)]
pub struct ShutdownGuard {
    what: String,
    running: Arc<Mutex<BTreeMap<String, usize>>>,
    _token: tokio_util::task::task_tracker::TaskTrackerToken,
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if let Some(n) = running.get_mut(&self.what) {
            *n -= 1;
            if *n == 0 {
                running.remove(&self.what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_guards_and_names_who_is_late() {
        let shutdown = Shutdown::new();
        let guard = shutdown.guard("query 7");
        shutdown.trigger();
        assert!(shutdown.token().is_cancelled());
        assert_eq!(shutdown.drained(Duration::from_millis(10)).await, ["query 7"]);
        drop(guard);
        assert!(shutdown.drained(Duration::from_secs(60)).await.is_empty());
    }
}
