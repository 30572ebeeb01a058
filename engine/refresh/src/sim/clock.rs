//! Time that passes only when the simulation says so.

use std::time::Duration;

use futures::future::BoxFuture;
use model::time::Timestamp;
use rt::clock::Clock;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct SimClock {
    now: watch::Sender<Timestamp>,
}

impl SimClock {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now: watch::Sender::new(now) }
    }

    /// Puts the clock, forward or back.
    pub(crate) fn set(&self, to: Timestamp) {
        self.now.send_modify(|now| *now = to);
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.plus(by));
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        let until = self.now().plus(wait);
        let mut now = self.now.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= until).await.is_err() {
                // The clock is gone and with it everything that could wake up.
                std::future::pending::<()>().await;
            }
        })
    }
}
