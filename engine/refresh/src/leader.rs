//! Who follows the schedules, and who audits: one process of those that share a catalog.
//!
//! It exists so that ten servers do not do ten times what one has to. The role is a lease in the
//! catalog that its leader renews; whoever sees no renewal for the length of a lease, measured by its
//! own clock from what it has seen itself, takes over. So clocks may differ, jump and stand still: at
//! worst two believe for a moment that they lead, which is why what a leader does has to be harmless
//! when it is done twice (a due time is queued once, whoever asks).

use std::{sync::Arc, time::Duration};

use catalog::{
    Catalog,
    error::CatalogError,
    leaders::{Bid, Sign},
};
use model::{id::WorkerId, time::Timestamp};
use rt::clock::Clock;

/// Who looks at schedules and triggers.
pub(crate) const SCHEDULER: &str = "scheduler";
/// Who verifies materialized views in the background.
pub(crate) const AUDITOR: &str = "auditor";

/// One process that wants a role.
pub(crate) struct Election {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    worker: WorkerId,
    role: &'static str,
    lease_for: Duration,
    /// How long another leader has to be silent: the lease, or nothing where no other process can
    /// have the catalog, so that the one before this one is gone.
    patience: Duration,
    standing: Standing,
    /// What the other leader has shown last, and since when nothing else.
    seen: Option<(Sign, Timestamp)>,
}

/// What this process knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    /// It led when it asked at this time.
    Leads {
        epoch: i64,
        asked_at: Timestamp,
    },
    /// Another one led then.
    Follows {
        asked_at: Timestamp,
    },
}

impl Election {
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        (role, worker): (&'static str, WorkerId),
        lease_for: Duration,
    ) -> Self {
        let patience = if catalog.is_shared() { lease_for } else { Duration::ZERO };
        let (standing, seen) = (Standing::New, None);
        Self { catalog, clock, worker, role, lease_for, patience, standing, seen }
    }

    /// How often a leader renews, and others look.
    pub(crate) fn every(&self) -> Duration {
        self.lease_for / 3
    }

    /// Whether this process leads now, and in which epoch. Asks the catalog at most [`Self::every`] so
    /// often; while it does not answer nobody leads here.
    pub(crate) async fn leads(&mut self) -> Result<Option<i64>, CatalogError> {
        let now = self.clock.now();
        let fresh = |asked_at: Timestamp| asked_at <= now && now < asked_at.plus(self.every());
        match self.standing {
            Standing::Leads { epoch, asked_at } if fresh(asked_at) => return Ok(Some(epoch)),
            Standing::Follows { asked_at } if fresh(asked_at) => return Ok(None),
            _ => {}
        }
        match self.bid(now).await? {
            // The one before this process is gone: there is no other.
            None if self.patience.is_zero() => self.bid(now).await,
            epoch => Ok(epoch),
        }
    }

    async fn bid(&mut self, now: Timestamp) -> Result<Option<i64>, CatalogError> {
        let silent = |(_, since): &(Sign, Timestamp)| now.since(*since) >= self.patience;
        let silent_since = self.seen.filter(silent).map(|(sign, _)| sign);
        let bid = Bid { role: self.role.to_owned(), worker: self.worker, silent_since };
        let leader = self.catalog.lead(&bid, now).await?;
        let led = matches!(self.standing, Standing::Leads { .. });
        if leader.worker == Some(self.worker) {
            let epoch = leader.sign.epoch;
            if !matches!(self.standing, Standing::Leads { epoch: before, .. } if before == epoch) {
                tracing::info!(role = self.role, worker = %self.worker, epoch, "this process leads");
            }
            self.standing = Standing::Leads { epoch, asked_at: now };
            self.seen = None;
            return Ok(Some(epoch));
        }
        if led {
            tracing::warn!(role = self.role, worker = %self.worker, epoch = leader.sign.epoch,
                "another process leads now");
        }
        self.standing = Standing::Follows { asked_at: now };
        let since = match self.seen {
            // A clock that was put back begins to count anew.
            Some((sign, since)) if sign == leader.sign => since.min(now),
            _ => now,
        };
        self.seen = Some((leader.sign, since));
        Ok(None)
    }

    /// Gives the role back, so that nobody has to wait for the end of the lease.
    pub(crate) async fn resign(&mut self) {
        if !matches!(self.standing, Standing::Leads { .. }) {
            return;
        }
        self.standing = Standing::New;
        if let Err(error) = self.catalog.resign(self.role, self.worker).await {
            tracing::warn!(
                role = self.role,
                error = crate::error::chain(&error),
                "the role was not given back; another process takes it when the lease has run out"
            );
        }
    }
}

#[cfg(test)]
mod tests;
