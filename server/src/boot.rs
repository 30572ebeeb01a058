//! Puts a server together, in the order in which things need each other, and takes it apart again.
//!
//! A list, no logic: what each part does is in its own room.

mod catalog_url;
mod folder;
mod lock;
mod signals;
mod worker;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use catalog::{Catalog, error::CatalogError};
use lake::{Lake, LakeError};
use model::{id::WorkerId, profile::Profiles};
use query::{
    audit::AuditTrail,
    error::QueryError,
    options::{QueriesOptions, QueryLimits},
    queries::Queries,
};
use refresh::{
    Refresher,
    options::{Backoff, RefreshOptions},
};
use rt::{
    clock::{Clock, SystemClock},
    cpu::CpuRuntime,
    shutdown::Shutdown,
};
use tokio::{net::TcpListener, runtime::Handle, sync::Notify, task::JoinHandle};
use tower::util::{MapRequestLayer, MapResponseLayer};

pub use self::{catalog_url::open_catalog, signals::Signals, worker::WorkerProcess};
use self::{folder::FolderWatch, lock::CatalogLock};
use crate::{
    auth::{AuthOptions, Authenticator, OidcOptions, Outside},
    config::{Config, Machine, OidcConfig, QueryConfig, ServerConfig, redact_url},
    error::blame_the_sender,
    flight::{self, FlightOptions, FlightSql, STATEMENT_TTL, ServerName},
    health,
    net::{self, Tls, TlsError},
    notify::{Notifier, NotifyOptions},
    pg::{self, PgOptions},
    rpc::{self, JobsOptions, TransformsOptions},
    seal::Seals,
};

/// How often the progress of a run is recorded: often enough for a progress bar.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Connections get this long to say goodbye once nothing runs any more.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
/// Bytes of the headers of one request: room for a token that is too long, so that it is refused by
/// those who can say so.
const HEADERS_MAX: u32 = 64 << 10;
/// What a client may have on its way to us: large, because uploads are long streams.
const WINDOW: u32 = 4 << 20;

/// A server that accepts statements.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    pg_address: Option<SocketAddr>,
    scheme: &'static str,
    drain_max: Duration,
    shutdown: Shutdown,
    health: health::Switch,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    audit: Arc<AuditTrail>,
    // Given back last.
    _cpu: CpuRuntime,
    _lock: Option<CatalogLock>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A folder cannot be made.
    #[error("make the folder '{path}'")]
    Folder {
        /// Which one.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another server has the catalog.
    #[error(
        "the catalog '{path}' is in use by another server{holder}: a SQLite catalog serves one server at a time; stop that one, give this one another --data-dir, or keep the catalog in Postgres (--catalog postgres://…)"
    )]
    Locked {
        /// The file of the catalog.
        path: String,
        /// What is known of the other one.
        holder: String,
    },
    /// A worker would be alone.
    #[error(
        "{catalog} serves one process at a time, and a worker works beside others: keep the catalog in Postgres (--catalog postgres://…), or run `whimbrel serve`, which works on jobs itself"
    )]
    NotShared {
        /// The catalog.
        catalog: String,
    },
    /// The lock file cannot be used.
    #[error("lock the catalog with the file '{path}'")]
    Lock {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The URL of the catalog is none.
    #[error(
        "catalog.url: '{url}' is no catalog; write sqlite:PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    CatalogUrl {
        /// The URL, without its password.
        url: String,
    },
    /// The catalog cannot be opened.
    #[error("open the catalog '{url}'")]
    Catalog {
        /// The URL, without its password.
        url: String,
        /// Why.
        #[source]
        source: CatalogError,
    },
    /// The lake cannot be opened, or cannot hold tables.
    #[error("open the lake '{url}'")]
    Lake {
        /// The URL, without its password.
        url: String,
        /// Why.
        #[source]
        source: LakeError,
    },
    /// The engine cannot start.
    #[error("start the query engine")]
    Query(#[source] QueryError),
    /// A second runtime cannot start.
    #[error("start the threads for queries")]
    Threads(#[source] std::io::Error),
    /// The address is taken, or not ours.
    #[error(
        "listen on {address}: {source}; choose another one with {flag}, port 0 picks a free port"
    )]
    Bind {
        /// Which address.
        address: String,
        /// What says another one.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Strangers could reach the server.
    #[error(
        "refusing to listen on {address}, which other machines can reach: {missing}; or listen on 127.0.0.1"
    )]
    Exposed {
        /// Which address.
        address: String,
        /// What is missing and how to get it.
        missing: String,
    },
    /// A certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The issuer of tokens cannot be believed.
    #[error("auth.oidc: {0}")]
    Oidc(String),
    /// Nothing can be sent to receivers of notifications.
    #[error("notify: {0}")]
    Notify(String),
    /// Profiles that nothing can be run with.
    #[error("{0}")]
    Profiles(String),
    /// The gRPC server cannot be made.
    #[error("make the gRPC server: {0}")]
    Grpc(String),
}

impl Server {
    /// Starts everything that the configuration asks for. When this answers, statements are
    /// accepted. Has to run on the runtime that is to do all I/O.
    pub async fn start(config: &Config) -> Result<Self, BootError> {
        if let Some(point) = &config.crash_at {
            lake::faults::arm(point);
        }
        if let Some(point) = &config.pause_at {
            lake::faults::arm_pause(point);
        }
        make_folder(&config.data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let shutdown = Shutdown::new();
        let wake = Arc::new(Notify::new());
        let cpu = CpuRuntime::giving_way(Machine::detect().cores).map_err(BootError::Threads)?;

        let lock = CatalogLock::take(&config.catalog.url)?;
        let catalog = open_catalog(&config.catalog.url).await?;
        refuse_exposure(&config.server, catalog.as_ref()).await?;
        let tls = match config.server.tls_files() {
            Some(files) => Some(Tls::open(files, Arc::clone(&clock)).await?),
            None => None,
        };
        let listener = bind(&config.server.flight_addr, "--flight-addr").await?;
        let pg_listener = match &config.server.pg_addr {
            Some(address) => Some(bind(address, "--pg-addr").await?),
            None => None,
        };
        let lake = Arc::new(open_lake(config).await?);
        let audit =
            AuditTrail::start(Arc::clone(&catalog), Arc::clone(&clock), config.audit.options());
        let seals = {
            let lives = [config.server.handle_ttl, config.server.token_ttl, STATEMENT_TTL];
            let life_max = lives.into_iter().max().unwrap_or_default();
            Arc::new(Seals::new(Arc::clone(&catalog) as _, Arc::clone(&clock), life_max))
        };
        let auth = Authenticator::with_outside(
            Arc::clone(&catalog),
            Arc::clone(&clock),
            Some(Arc::clone(&audit)),
            AuthOptions {
                token_ttl: config.server.token_ttl,
                tokens_max: config.server.tokens_max,
                // A server that is alone knows its logins itself.
                seals: catalog.is_shared().then(|| Arc::clone(&seals)),
            },
            Outside {
                oidc: oidc(&config.auth.oidc)?,
                certificates: config.server.tls_client_ca.is_some(),
            },
        )
        .map_err(BootError::Oidc)?;
        let notify = config.notify.options();
        let queries = Queries::new(QueriesOptions {
            catalog: Arc::clone(&catalog),
            lake: Arc::clone(&lake),
            cpu: cpu.clone(),
            clock: Arc::clone(&clock),
            wake: Arc::clone(&wake),
            credentials: Arc::clone(&auth) as _,
            receivers: notify.as_ref().map(|options| Arc::clone(&options.hosts) as _),
            audit: Some(Arc::clone(&audit)),
            shutdown: shutdown.clone(),
            limits: limits(config)?,
        })
        .map_err(BootError::Query)?;
        let parts = Parts { catalog, lake, queries, auth, audit, clock, cpu, wake, shutdown };
        let worker = parts.start_refreshing(config)?;
        if let Some(options) = notify {
            parts.start_notifying(options)?;
        }
        let front = Front { worker, seals, flight: listener, pg: pg_listener, tls };
        parts.serve(config, front, lock).await
    }

    /// Where clients find it: `grpc://HOST:PORT`, with the port that was picked.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Where Postgres clients find it, when they may: `postgres://HOST:PORT`.
    #[must_use]
    pub fn pg_url(&self) -> Option<String> {
        self.pg_address.map(|address| format!("postgres://{address}"))
    }

    /// Where clients on this machine find it.
    #[must_use]
    pub fn local_url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            let here: std::net::IpAddr = if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            address.set_ip(here);
        }
        format!("{}://{address}", self.scheme)
    }

    /// Ends when the server has ended by itself, which it only does when something is broken.
    pub async fn ended(&mut self) -> String {
        match (&mut self.serving).await {
            Ok(Ok(())) => "the server stopped".to_owned(),
            Ok(Err(error)) => format!("the server stopped: {error}"),
            Err(error) => format!("the server stopped: {error}"),
        }
    }

    /// Accepts nothing more, lets what runs end within `server.shutdown_drain`, and answers what
    /// was still running then.
    pub async fn stop(self) -> Vec<String> {
        let Self { drain_max, shutdown, health, mut serving, audit, _cpu, _lock, .. } = self;
        health.stopping().await;
        shutdown.trigger();
        let late = shutdown.drained(drain_max).await;
        if !serving.is_finished() && tokio::time::timeout(GOODBYE_MAX, &mut serving).await.is_err()
        {
            serving.abort();
        }
        audit.flush().await;
        late
    }
}

/// What a server has and a worker has not.
struct Front {
    worker: WorkerId,
    seals: Arc<Seals>,
    flight: TcpListener,
    pg: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
}

struct Parts {
    catalog: Arc<dyn Catalog>,
    lake: Arc<Lake>,
    queries: Queries,
    auth: Arc<Authenticator>,
    audit: Arc<AuditTrail>,
    clock: Arc<dyn Clock>,
    cpu: CpuRuntime,
    wake: Arc<Notify>,
    shutdown: Shutdown,
}

impl Parts {
    /// The id under which this process works.
    fn start_refreshing(&self, config: &Config) -> Result<WorkerId, BootError> {
        let options = RefreshOptions {
            catalog: Arc::clone(&self.catalog),
            lake: Arc::clone(&self.lake),
            queries: self.queries.clone(),
            clock: Arc::clone(&self.clock),
            cpu: self.cpu.clone(),
            wake: Arc::clone(&self.wake),
            workers: config.refresh.workers,
            lease_for: config.refresh.lease,
            tick: config.refresh.tick,
            progress_every: PROGRESS_EVERY,
            attempts_max: config.refresh.attempts_max,
            backoff: Backoff::STANDARD,
            drain_max: config.server.shutdown_drain,
            audit_percent_per_day: config.auditor.percent_per_day,
            profiles: profiles(config)?,
            take_profiles: config.refresh.take_profiles.clone(),
        };
        let refresher = Refresher::start(options, &self.shutdown);
        tracing::info!(worker = %refresher.worker(), workers = config.refresh.workers, "refreshing");
        if let Some(folder) = &config.refresh.transforms {
            let watch = FolderWatch {
                folder: folder.clone(),
                every: config.refresh.transforms_poll,
                queries: self.queries.clone(),
                catalog: Arc::clone(&self.catalog),
                clock: Arc::clone(&self.clock),
            };
            // No guard: an apply that shutdown cuts short is applied again at the next start.
            tokio::spawn(watch.run(self.shutdown.token()));
        }
        Ok(refresher.worker())
    }

    fn start_notifying(&self, options: NotifyOptions) -> Result<(), BootError> {
        let (catalog, clock) = (Arc::clone(&self.catalog), Arc::clone(&self.clock));
        let notifier = Notifier::new(options, catalog, clock).map_err(BootError::Notify)?;
        // No guard: a receiver that does not answer must not hold up a shutdown, and what was not
        // delivered is in the catalog.
        tokio::spawn(notifier.run(self.shutdown.token()));
        Ok(())
    }

    async fn serve(
        self,
        config: &Config,
        front: Front,
        lock: Option<CatalogLock>,
    ) -> Result<Server, BootError> {
        let Self { catalog, lake, queries, auth, audit, clock, cpu, shutdown, .. } = self;
        let Front { worker, seals, flight: listener, pg: pg_listener, tls } = front;
        if let Some(tls) = &tls {
            // No guard: there is nothing to finish.
            tokio::spawn(Arc::clone(tls).follow(shutdown.token()));
        }
        let address = local_address(&listener)?;
        let flight = flight::service(FlightOptions {
            queries: queries.clone(),
            seals,
            is_shared: catalog.is_shared(),
            server: ServerName { worker, address },
            auth: Arc::clone(&auth),
            clock: Arc::clone(&clock),
            handle_ttl: config.server.handle_ttl,
            handles_max: config.server.handles_max,
            message_size_max: config.server.message_size_max,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
        .map_err(|status| BootError::Grpc(status.message().to_owned()))?;
        let jobs = rpc::jobs_service(JobsOptions {
            queries: queries.clone(),
            auth: Arc::clone(&auth),
            clock: Arc::clone(&clock),
        });
        let pg_address = match pg_listener {
            None => None,
            Some(listener) => {
                let address = local_address(&listener)?;
                let options = PgOptions {
                    queries: queries.clone(),
                    auth: Arc::clone(&auth),
                    clock: Arc::clone(&clock),
                    shutdown: shutdown.clone(),
                    connections_max: config.server.pg_connections_max,
                    connections_per_user_max: config.server.pg_connections_per_user_max,
                    idle_timeout: config.server.pg_idle_timeout,
                    message_size_max: config.server.message_size_max,
                    tls: tls.clone(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                };
                pg::serve(listener, options);
                tracing::info!(%address, "accepting Postgres clients");
                Some(address)
            }
        };
        let transforms = rpc::transforms_service(TransformsOptions {
            catalog: Arc::clone(&catalog),
            queries,
            auth,
        });
        let (health, health_service) = health::service::<FlightSql>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| BootError::Grpc(error.to_string()))?;

        let mut builder = tonic::transport::Server::builder()
            .layer(MapResponseLayer::new(blame_the_sender))
            .layer(MapResponseLayer::new(flight::send_rows))
            .layer(MapRequestLayer::new(flight::whole_rows))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .http2_max_header_list_size(HEADERS_MAX)
            .http2_keepalive_interval(Some(Duration::from_secs(60)));
        let router = builder
            .add_service(flight)
            .add_service(jobs)
            .add_service(transforms)
            .add_service(health_service)
            .add_service(reflection);
        let incoming = net::incoming(listener, tls, clock, shutdown.token());
        let stop = shutdown.token().cancelled_owned();
        let serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop));
        tracing::info!(
            %address,
            catalog = catalog.describe(),
            lake = redact_url(lake.root()),
            "accepting statements"
        );
        Ok(Server {
            address,
            pg_address,
            scheme: if config.server.tls().is_some() { "grpc+tls" } else { "grpc" },
            drain_max: config.server.shutdown_drain,
            shutdown,
            health,
            serving,
            audit,
            _cpu: cpu,
            _lock: lock,
        })
    }
}

fn make_folder(path: &std::path::Path) -> Result<(), BootError> {
    std::fs::create_dir_all(path)
        .map_err(|source| BootError::Folder { path: path.display().to_string(), source })
}

async fn open_lake(config: &Config) -> Result<Lake, BootError> {
    let refused = |source| BootError::Lake { url: redact_url(&config.lake.url), source };
    let lake = Lake::open(lake::LakeOptions {
        root: config.lake.url.clone(),
        storage: config.lake.storage.clone(),
        locations: config.lake.locations.clone(),
        io: Handle::current(),
        stale_max: config.lake.stale_max,
        snapshots_max: config.lake.snapshots_max,
        target_file_size: config.lake.target_file_size,
    })
    .map_err(refused)?;
    lake.probe().await.map_err(refused)?;
    Ok(lake)
}

/// What runs may take, by name.
fn profiles(config: &Config) -> Result<Profiles, BootError> {
    let profiles = config.refresh.profiles(config.query.memory_max);
    profiles.map_err(|error| BootError::Profiles(error.to_string()))
}

fn limits(config: &Config) -> Result<QueryLimits, BootError> {
    let QueryConfig {
        memory_max,
        spill_dir,
        spill_max,
        concurrency,
        queue_max,
        queue_wait,
        statement_timeout,
        target_partitions,
    } = config.query.clone();
    Ok(QueryLimits {
        memory_max,
        spill_dir,
        spill_max,
        concurrency,
        queue_max,
        queue_wait,
        statement_timeout: statement_timeout.unwrap_or_default(),
        target_partitions,
        sql_length_max: config.server.sql_length_max,
        attempts_max: config.refresh.attempts_max,
        profiles: profiles(config)?,
    })
}

async fn bind(address: &str, flag: &'static str) -> Result<TcpListener, BootError> {
    TcpListener::bind(address).await.map_err(|source| BootError::Bind {
        address: address.to_owned(),
        flag,
        source,
    })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, BootError> {
    listener.local_addr().map_err(|source| BootError::Bind {
        address: "a socket".to_owned(),
        flag: "--flight-addr or --pg-addr",
        source,
    })
}

/// Other machines may only reach a server that knows who asks, over a line that nobody reads.
async fn refuse_exposure(config: &ServerConfig, catalog: &dyn Catalog) -> Result<(), BootError> {
    let Some(exposed) = config.exposed_addr() else { return Ok(()) };
    let asked = catalog.has_users().await;
    let has_users =
        asked.map_err(|source| BootError::Catalog { url: catalog.describe(), source })?;
    let mut missing = Vec::new();
    if !has_users {
        missing.push("there are no users (add one with `whimbrel user add NAME --password-stdin`)");
    }
    if config.tls().is_none() {
        missing.push("TLS is off (set server.tls_cert and server.tls_key)");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(BootError::Exposed { address: exposed.to_owned(), missing: missing.join(" and ") })
}

/// Whose tokens count, when any do.
fn oidc(config: &OidcConfig) -> Result<Option<OidcOptions>, BootError> {
    let Some(issuer) = &config.issuer else { return Ok(None) };
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path)
            .map_err(|error| BootError::Oidc(format!("read '{}': {error}", path.display())))
    };
    Ok(Some(OidcOptions {
        issuer: issuer.clone(),
        audience: config.audience.clone(),
        name_claim: config.name_claim.clone(),
        roles_claim: config.roles_claim.clone(),
        roles: config.group_roles(),
        unknown_users: config.unknown_users,
        clock_skew: config.clock_skew,
        authority: config.ca.as_ref().map(read).transpose()?,
    }))
}
