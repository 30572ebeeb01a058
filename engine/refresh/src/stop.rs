//! Why a run has to stop before it is done, and how it learns of it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody cancelled the job.
    Asked,
    /// Another worker has the run, or it is over.
    Lost,
    /// The lease ran out by our own clock while the catalog could not be reached.
    Expired,
    /// The server goes down and the time for finishing is over.
    ShutDown,
}

/// Given once by the heartbeat, awaited by the run. Clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct StopSignal {
    why: Arc<OnceLock<Stop>>,
    given: CancellationToken,
    shut_down: CancellationToken,
}

impl StopSignal {
    /// Not given yet; `shut_down` gives it too.
    pub(crate) fn new(shut_down: CancellationToken) -> Self {
        Self { why: Arc::default(), given: CancellationToken::new(), shut_down }
    }

    /// Gives it; the first reason stays.
    pub(crate) fn give(&self, why: Stop) {
        // A later reason changes nothing: the run is stopping already.
        let _ = self.why.set(why);
        self.given.cancel();
    }

    /// Ends once it is given; cancel-safe.
    pub(crate) async fn given(&self) -> Stop {
        tokio::select! {
            biased;
            () = self.given.cancelled() => self.why.get().copied().unwrap_or(Stop::Lost),
            () = self.shut_down.cancelled() => Stop::ShutDown,
        }
    }
}
