//! A process that runs jobs and accepts no clients.

use std::{sync::Arc, time::Duration};

use query::{audit::AuditTrail, options::QueriesOptions, queries::Queries};
use rt::{
    clock::{Clock, SystemClock},
    cpu::CpuRuntime,
    shutdown::Shutdown,
};
use tokio::sync::Notify;

use super::{BootError, Parts, limits, make_folder, open_catalog, open_lake};
use crate::{
    auth::{AuthOptions, Authenticator},
    config::{Config, Machine},
};

/// Workers on the queue of a catalog that others serve.
#[derive(Debug)]
pub struct WorkerProcess {
    catalog: String,
    drain_max: Duration,
    shutdown: Shutdown,
    audit: Arc<AuditTrail>,
    // Given back last.
    _cpu: CpuRuntime,
}

impl WorkerProcess {
    /// Starts taking jobs. [`BootError::NotShared`] with a catalog that serves one process only.
    pub async fn start(config: &Config) -> Result<Self, BootError> {
        if let Some(point) = &config.crash_at {
            lake::faults::arm(point);
        }
        make_folder(&config.data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (shutdown, wake) = (Shutdown::new(), Arc::new(Notify::new()));
        let cpu = CpuRuntime::giving_way(Machine::detect().cores).map_err(BootError::Threads)?;
        let catalog = open_catalog(&config.catalog.url).await?;
        if !catalog.is_shared() {
            return Err(BootError::NotShared { catalog: catalog.describe() });
        }
        let described = catalog.describe();
        let lake = Arc::new(open_lake(config).await?);
        let audit =
            AuditTrail::start(Arc::clone(&catalog), Arc::clone(&clock), config.audit.options());
        let auth = Authenticator::new(
            Arc::clone(&catalog),
            Arc::clone(&clock),
            None,
            AuthOptions {
                token_ttl: config.server.token_ttl,
                tokens_max: config.server.tokens_max,
                seals: None,
            },
        );
        let queries = Queries::new(QueriesOptions {
            catalog: Arc::clone(&catalog),
            lake: Arc::clone(&lake),
            cpu: cpu.clone(),
            clock: Arc::clone(&clock),
            wake: Arc::clone(&wake),
            credentials: Arc::clone(&auth) as _,
            // Nobody sends it statements, and what is to be told is told by servers.
            receivers: None,
            audit: Some(Arc::clone(&audit)),
            shutdown: shutdown.clone(),
            limits: limits(config)?,
        })
        .map_err(BootError::Query)?;
        let parts = Parts {
            catalog,
            lake,
            queries,
            auth,
            audit: Arc::clone(&audit),
            clock,
            cpu: cpu.clone(),
            wake,
            shutdown: shutdown.clone(),
        };
        parts.start_refreshing(config)?;
        let drain_max = config.server.shutdown_drain;
        Ok(Self { catalog: described, drain_max, shutdown, audit, _cpu: cpu })
    }

    /// The catalog whose queue it works on, without secrets.
    #[must_use]
    pub fn catalog(&self) -> &str {
        &self.catalog
    }

    /// Takes no job any more, lets runs end within `server.shutdown_drain`, and answers what was
    /// still running then: it is queued again, or taken over once its lease has run out.
    pub async fn stop(self) -> Vec<String> {
        self.shutdown.trigger();
        let late = self.shutdown.drained(self.drain_max).await;
        self.audit.flush().await;
        late
    }
}
