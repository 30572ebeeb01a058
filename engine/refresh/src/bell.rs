//! Wakes everybody who waits for work.
//!
//! It exists because a `Notify` wakes one waiter or only those that wait at that instant, and
//! several loops here wait for the same news. A ring is never lost: who was busy sees it when it
//! next listens. It carries no message; who wakes looks at the catalog.

use std::{sync::Arc, time::Duration};

use rt::clock::Clock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Rings for all listeners. Clones ring the same bell.
#[derive(Debug, Clone)]
pub(crate) struct Bell {
    sender: watch::Sender<()>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { sender: watch::Sender::new(()) }
    }

    /// Wakes every listener.
    pub(crate) fn ring(&self) {
        self.sender.send_replace(());
    }

    /// Hears every ring from now on; many rings between two looks are one.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.sender.subscribe()
    }
}

/// Rings on each notification and on each tick, until `stop`.
pub(crate) async fn relay(
    bell: Bell,
    wake: Arc<Notify>,
    clock: Arc<dyn Clock>,
    tick: Duration,
    stop: CancellationToken,
) {
    // Ready before the first ring, so that what is notified meanwhile is not lost.
    let mut notified = std::pin::pin!(wake.notified());
    loop {
        notified.as_mut().enable();
        bell.ring();
        tokio::select! {
            () = stop.cancelled() => return,
            () = notified.as_mut() => notified.set(wake.notified()),
            () = clock.sleep(tick) => {}
        }
    }
}

#[cfg(test)]
mod tests;
