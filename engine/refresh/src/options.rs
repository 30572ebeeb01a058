//! What a refresher works with, and its limits.

use std::{fmt, sync::Arc, time::Duration};

use catalog::Catalog;
use lake::Lake;
use model::{id::RunId, profile::Profiles};
use query::queries::Queries;
use rt::{clock::Clock, cpu::CpuRuntime};
use tokio::sync::Notify;

/// Everything a [`crate::Refresher`] needs. Built once, where the server boots.
#[derive(Clone)]
pub struct RefreshOptions {
    /// The queue of jobs, and the definitions.
    pub catalog: Arc<dyn Catalog>,
    /// Where results are written.
    pub lake: Arc<Lake>,
    /// Plans the queries of transforms.
    pub queries: Queries,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where the queries of transforms are planned.
    pub cpu: CpuRuntime,
    /// Notified by whoever queued a job or asked one to stop, so that nobody waits for the tick.
    pub wake: Arc<Notify>,
    /// Runs at the same time, at least one.
    pub workers: usize,
    /// How long a worker may be silent before another one takes its run over.
    pub lease_for: Duration,
    /// How often the queue and the schedules are looked at when nothing wakes anybody.
    pub tick: Duration,
    /// How often the progress of a run is recorded; a third of `lease_for` when that is shorter.
    pub progress_every: Duration,
    /// Attempts in all of a job of a schedule before a transient failure is final.
    pub attempts_max: u32,
    /// How long to wait before the next attempt.
    pub backoff: Backoff,
    /// How long after the beginning of shutdown everything has ended. Runs that are not done when
    /// nine tenths of it have passed are stopped before their commit and queued again.
    pub drain_max: Duration,
    /// So many percent of the materialized views are verified in the background each day; 0 for none.
    pub audit_percent_per_day: u32,
    /// What a run may take, by the profile of its job.
    pub profiles: Profiles,
    /// Only jobs of these profiles are taken here; of all that are known when there is none.
    pub take_profiles: Vec<String>,
}

impl RefreshOptions {
    /// The profiles whose jobs are taken here. Where nobody else could take a job of a profile that is
    /// not known, it is taken too, and fails with that reason; with others it is left to them.
    pub(crate) fn takes(&self) -> Option<Vec<String>> {
        if !self.take_profiles.is_empty() {
            return Some(self.take_profiles.clone());
        }
        self.catalog.is_shared().then(|| self.profiles.names().map(str::to_owned).collect())
    }
}

impl fmt::Debug for RefreshOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshOptions")
            .field("catalog", &self.catalog.describe())
            .field("workers", &self.workers)
            .field("lease_for", &self.lease_for)
            .field("tick", &self.tick)
            .field("progress_every", &self.progress_every)
            .field("attempts_max", &self.attempts_max)
            .field("backoff", &self.backoff)
            .field("drain_max", &self.drain_max)
            .field("audit_percent_per_day", &self.audit_percent_per_day)
            .field("profiles", &self.profiles)
            .field("take_profiles", &self.take_profiles)
            .finish_non_exhaustive()
    }
}

/// Waiting times between attempts: they double from `first` up to `max`, less up to a half of
/// jitter, so that jobs that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt, at most.
    pub first: Duration,
    /// Before any attempt, at most.
    pub max: Duration,
}

impl Backoff {
    /// For a server: a second, two, four, up to a minute.
    pub const STANDARD: Self = Self { first: Duration::from_secs(1), max: Duration::from_secs(60) };

    /// How long to wait after the given attempt of a run failed; attempts count from 1.
    ///
    /// The jitter depends on the run and the attempt alone: equal arguments, equal answers.
    #[must_use]
    pub fn after(&self, attempt: u32, run: RunId) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(1.0 - jitter(attempt, run) / 2.0)
    }
}

/// A number in [0, 1) that is spread evenly over runs and attempts.
fn jitter(attempt: u32, run: RunId) -> f64 {
    let (high, low) = run.as_uuid().as_u64_pair();
    // The finalizer of splitmix64: every bit of the input reaches every bit of the output.
    let mut mixed =
        high ^ low.rotate_left(17) ^ u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit into a double exactly")]
    let share = (mixed >> 32) as f64 / (1_u64 << 32) as f64;
    share
}

#[cfg(test)]
mod tests;
