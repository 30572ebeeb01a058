//! What the query engine is made with.

use std::{path::PathBuf, sync::Arc, time::Duration};

use catalog::Catalog;
use lake::Lake;
use model::profile::Profiles;
use rt::{clock::Clock, cpu::CpuRuntime, shutdown::Shutdown};
use tokio::sync::Notify;

use crate::{audit::AuditTrail, credentials::Credentials, notify::Receivers};

/// Parts and limits of [`crate::queries::Queries`].
#[derive(Clone)]
pub struct QueriesOptions {
    /// Names and jobs.
    pub catalog: Arc<dyn Catalog>,
    /// Tables.
    pub lake: Arc<Lake>,
    /// Where plans are run, one thread a processor; those that may keep a thread for long have
    /// others.
    pub cpu: CpuRuntime,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told when a job was queued.
    pub wake: Arc<Notify>,
    /// Makes what is stored of passwords and tokens.
    pub credentials: Arc<dyn Credentials>,
    /// Where notifications may go; without it REFRESH … NOTIFY is refused.
    pub receivers: Option<Arc<dyn Receivers>>,
    /// What was done, and by whom; without it nothing is recorded.
    pub audit: Option<Arc<AuditTrail>>,
    /// Running statements hold a guard of it.
    pub shutdown: Shutdown,
    /// Limits.
    pub limits: QueryLimits,
}

impl std::fmt::Debug for QueriesOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueriesOptions").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Bounds of what statements may use together.
#[derive(Debug, Clone)]
pub struct QueryLimits {
    /// Bytes that the operators of all plans may hold.
    pub memory_max: u64,
    /// Folder for data that does not fit; made when missing.
    pub spill_dir: PathBuf,
    /// Bytes of that folder.
    pub spill_max: u64,
    /// Statements that run at once.
    pub concurrency: usize,
    /// Statements that wait for one of them to end.
    pub queue_max: usize,
    /// How long a statement waits.
    pub queue_wait: Duration,
    /// What runs of jobs may take, by name.
    pub profiles: Profiles,
    /// How long a statement runs; zero for no limit.
    pub statement_timeout: Duration,
    /// Partitions of a plan: how many threads work on one statement.
    pub target_partitions: usize,
    /// Bytes of one statement's text.
    pub sql_length_max: usize,
    /// Attempts of a job in all before a transient failure is final.
    pub attempts_max: u32,
}
