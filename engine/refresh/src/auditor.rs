//! Verifies materialized views in the background, chosen by chance, one at a time.
//!
//! It exists so that a result which is wrong is found although nobody has asked: each part of a day
//! it computes one view once more and compares. One process of those that share a catalog does it. It
//! waits for a moment without jobs, repairs nothing, and keeps no value of a row.

use std::{sync::Arc, time::Duration};

use catalog::{
    error::CatalogError,
    jobs::JobFilter,
    verifications::{Verdict, Verification},
};
use model::{
    id::{RunId, WorkerId},
    job::JobState,
    object::Object,
    time::Timestamp,
};
use query::{error::QueryError, verification::Comparison};
use tokio_util::sync::CancellationToken;

use crate::{
    error::chain,
    leader::{AUDITOR, Election},
    options::RefreshOptions,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it waits for a moment without jobs.
const QUIET_WAIT: Duration = Duration::from_secs(60 * 60);
/// Views that are looked for one that something can be said of.
const TRIES: u64 = 8;
const REPAIR: &str = "VERIFY shows rows that differ, REFRESH … FULL computes all anew";

/// Audits until `stop`; ends at once when auditing is off.
pub(crate) async fn audit(options: Arc<RefreshOptions>, worker: WorkerId, stop: CancellationToken) {
    if options.audit_percent_per_day == 0 {
        return;
    }
    let clock = Arc::clone(&options.clock);
    let mut auditor = Auditor::new(options, worker);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = auditor.step() => {}
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = clock.sleep(auditor.election.every()) => {}
        }
    }
    auditor.election.resign().await;
}

/// One process that would audit.
pub(crate) struct Auditor {
    options: Arc<RefreshOptions>,
    election: Election,
    /// Since when a view is due, and jobs are in the way.
    due_since: Option<Timestamp>,
}

impl Auditor {
    pub(crate) fn new(options: Arc<RefreshOptions>, worker: WorkerId) -> Self {
        let RefreshOptions { catalog, clock, lease_for, .. } = options.as_ref();
        let (catalog, clock) = (Arc::clone(catalog), Arc::clone(clock));
        let election = Election::new(catalog, clock, (AUDITOR, worker), *lease_for);
        Self { options, election, due_since: None }
    }

    /// Verifies a view if one is due; what goes wrong is logged, and tried again on the next step.
    pub(crate) async fn step(&mut self) {
        match self.verify_when_due().await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(error = chain(&error), "nothing audited; tried again soon")
            }
        }
    }

    async fn verify_when_due(&mut self) -> Result<(), CatalogError> {
        if self.election.leads().await?.is_none() {
            return Ok(());
        }
        let catalog = Arc::clone(&self.options.catalog);
        let objects = catalog.objects().await?;
        let mut views: Vec<_> =
            objects.into_iter().filter(|object| object.computed().is_some()).collect();
        let last = catalog.verifications().await?.iter().map(|found| found.last.at).max();
        let now = self.options.clock.now();
        if !is_due(last, views.len(), self.options.audit_percent_per_day, now) {
            self.due_since = None;
            return Ok(());
        }
        if !self.is_quiet(now).await? {
            return Ok(());
        }
        self.due_since = None;
        for _ in 0..TRIES {
            if views.is_empty() {
                break;
            }
            let object = views.swap_remove(chance(views.len()));
            let Some(compared) = self.compare_while_leading(&object).await? else {
                return Ok(());
            };
            let found = match compared {
                Ok(None) => continue,
                Ok(Some(comparison)) => Ok(comparison),
                Err(error) if error.code().is_transient() => {
                    tracing::warn!(object = %object.name, error = chain(&error), "view not verified");
                    return Ok(());
                }
                Err(error) => Err(error),
            };
            let verification = verification(&object, found, self.options.clock.now());
            tell(&verification);
            return catalog.add_verification(&verification).await;
        }
        Ok(())
    }

    /// Whether no job waits or runs, or it was waited for long enough.
    async fn is_quiet(&mut self, now: Timestamp) -> Result<bool, CatalogError> {
        let since = *self.due_since.get_or_insert(now);
        if now.since(since) >= QUIET_WAIT {
            return Ok(true);
        }
        let open = JobState::ALL.into_iter().filter(|state| !state.is_final()).collect();
        let filter = JobFilter { states: Some(open), limit: Some(1), ..JobFilter::default() };
        Ok(self.options.catalog.jobs(&filter).await?.is_empty())
    }

    /// Compares, and renews the role meanwhile. `None` when another process has taken it.
    async fn compare_while_leading(
        &mut self,
        object: &Object,
    ) -> Result<Option<Result<Option<Comparison>, QueryError>>, CatalogError> {
        let options = Arc::clone(&self.options);
        let mut comparing = std::pin::pin!(options.queries.compare(object));
        loop {
            tokio::select! {
                compared = &mut comparing => return Ok(Some(compared)),
                () = options.clock.sleep(self.election.every()) => {}
            }
            // While the catalog does not answer the role is not lost yet: whoever takes it tells.
            if let Ok(None) = self.election.leads().await {
                return Ok(None);
            }
        }
    }
}

/// Whether the next view is due: so many percent of all views a day.
fn is_due(last: Option<Timestamp>, views: usize, percent: u32, now: Timestamp) -> bool {
    let a_day = u64::from(percent).saturating_mul(views as u64);
    if a_day == 0 {
        return false;
    }
    // A time from a clock that was ahead is none.
    let Some(last) = last.filter(|last| *last <= now) else { return true };
    let every = DAY.saturating_mul(100).as_millis() / u128::from(a_day);
    now.since(last).as_millis() >= every
}

/// A number below `bound`, by chance.
fn chance(bound: usize) -> usize {
    // An id has more bits by chance than are needed here.
    let (_, low) = RunId::generate().as_uuid().as_u64_pair();
    usize::try_from(low % bound.max(1) as u64).unwrap_or_default()
}

fn verification(
    object: &Object,
    found: Result<Comparison, QueryError>,
    at: Timestamp,
) -> Verification {
    let (object, name) = (object.id, object.name.clone());
    match found {
        Ok(Comparison { version, rows, rows_computed, is_equal }) => Verification {
            object,
            name,
            verdict: if is_equal { Verdict::Equal } else { Verdict::Different },
            at,
            version: Some(version),
            rows: Some(rows),
            rows_computed: Some(rows_computed),
            detail: (!is_equal).then(|| REPAIR.to_owned()),
        },
        Err(error) => Verification {
            object,
            name,
            verdict: Verdict::Failed,
            at,
            version: None,
            rows: None,
            rows_computed: None,
            detail: Some(chain(&error)),
        },
    }
}

fn tell(verification: &Verification) {
    let Verification { name, verdict, version, rows, rows_computed, detail, .. } = verification;
    match verdict {
        Verdict::Equal => tracing::info!(object = %name, version, rows, "view verified: equal"),
        Verdict::Different => tracing::error!(object = %name, version, rows, rows_computed,
            "a transform has other rows than its query gives; {REPAIR}"),
        Verdict::Failed => tracing::warn!(object = %name, detail, "view could not be verified"),
    }
}

#[cfg(test)]
mod tests;
