//! Refreshes under everything that can go wrong, driven by a seed.
//!
//! A catalog, three processes with a lake and a query engine of their own on one folder, and time
//! that passes on command. Workers die at any await, stand still and come back after somebody else
//! took their run, lose answers of the catalog, and are cancelled. At the end the Delta logs, the
//! catalog and the rows have to agree: see [`check`].

pub(crate) mod catalog;
mod check;
pub(crate) mod clock;
pub(crate) mod random;

use std::{collections::BTreeMap, pin::Pin, sync::Arc, task::Poll, time::Duration};

use ::catalog::{
    Catalog,
    jobs::{JobFilter, Jobs},
    objects::Objects,
};
use futures::{FutureExt, future::BoxFuture};
use lake::{Lake, LakeOptions};
use model::{
    id::WorkerId, name::ObjectName, object::ObjectBody, principal::Principal, secret::Secret,
    time::Timestamp,
};
use query::{
    credentials::{Credentials, MadeToken, StoredPassword},
    error::QueryError,
    options::{QueriesOptions, QueryLimits},
    queries::Queries,
    session::Session,
};
use rt::{clock::Clock, cpu::CpuRuntime, shutdown::Shutdown};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{catalog::FlakyCatalog, clock::SimClock, random::Random};
use crate::{
    options::{Backoff, RefreshOptions},
    run,
};

const SEEDS: u64 = 20;
const STEPS: u64 = 30;
const PROCESSES: u64 = 3;
const LEASE_FOR: Duration = Duration::from_secs(10);

/// Nobody logs in here.
struct NoCredentials;

#[async_trait::async_trait]
impl Credentials for NoCredentials {
    async fn password(&self, _: &Secret) -> Result<StoredPassword, QueryError> {
        Err(QueryError::Unsupported("passwords".to_owned()))
    }

    fn token(&self) -> Result<MadeToken, QueryError> {
        Err(QueryError::Unsupported("tokens".to_owned()))
    }

    fn changed(&self) {}
}

/// One server process: it shares the catalog and the folder with the others, and nothing else.
pub(crate) struct Process {
    pub(crate) lake: Arc<Lake>,
    pub(crate) queries: Queries,
}

/// A worker that stands still in the middle of an attempt, its clock included.
struct Asleep {
    attempt: BoxFuture<'static, Option<Duration>>,
    clock: Arc<SimClock>,
    process: usize,
}

struct World {
    random: Random,
    _folder: TempDir,
    catalog: Arc<FlakyCatalog>,
    clock: Arc<SimClock>,
    cpu: CpuRuntime,
    processes: Vec<Process>,
    client: Process,
    asleep: Vec<Asleep>,
    /// Queries of `a` by the hash of their definition.
    definitions: BTreeMap<String, String>,
}

#[test]
fn the_books_and_the_logs_agree_whatever_happened() {
    // Its own threads for computing, shared by all seeds; one thread for everything that waits.
    let cpu = CpuRuntime::new(2).unwrap();
    for seed in seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        println!("seed {seed}");
        runtime.block_on(async {
            let mut world = World::new(seed, cpu.clone()).await;
            for _ in 0..STEPS {
                world.step().await;
            }
            world.settle().await;
            check::check(&world).await;
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// All of them, or the one that `WHIMBREL_SIM_SEED` names.
fn seeds() -> Vec<u64> {
    match option_env!("WHIMBREL_SIM_SEED").and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..SEEDS).collect(),
    }
}

impl World {
    async fn new(seed: u64, cpu: CpuRuntime) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(FlakyCatalog::new(seed).await);
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(1_000_000_000_000_000)));
        let process = || Process::new(&folder, &catalog, &clock, &cpu);
        let processes = (0..PROCESSES).map(|_| process()).collect();
        let client = process();
        let mut world = Self {
            random: Random::new(seed),
            _folder: folder,
            catalog,
            clock,
            cpu,
            processes,
            client,
            asleep: Vec::new(),
            definitions: BTreeMap::new(),
        };
        world.sql("CREATE TABLE src (k BIGINT, v BIGINT)").await;
        world.sql("INSERT INTO src VALUES (0, 1), (1, 2)").await;
        world.define(0).await;
        world.sql("CREATE MATERIALIZED VIEW b AS SELECT count(*) AS n, sum(s) AS s FROM a").await;
        world
    }

    /// One thing that happens.
    async fn step(&mut self) {
        let failing = if self.random.one_in(2) { 0 } else { 12 };
        match self.random.below(0..20) {
            0..3 => {
                let (k, v) = (self.random.below(0..5), self.random.below(0..100));
                self.sql(&format!("INSERT INTO src VALUES ({k}, {v})")).await;
            }
            3 => {
                let variant = self.random.below(0..3);
                self.define(variant).await;
            }
            4..7 => {
                let name = if self.random.one_in(2) { "a" } else { "b" };
                let full = if self.random.one_in(4) { " FULL" } else { "" };
                let upstream = if self.random.one_in(2) { " WITH UPSTREAM" } else { "" };
                self.sql(&format!("REFRESH MATERIALIZED VIEW {name}{full}{upstream}")).await;
            }
            7 => self.cancel().await,
            8..11 => {
                let pause = Duration::from_millis(self.random.below(1..25_000));
                self.clock.advance(pause);
            }
            11..13 => self.wake_one().await,
            _ => {
                self.catalog.fail_one_in(failing);
                self.work().await;
                self.catalog.fail_one_in(0);
            }
        }
    }

    /// A worker takes a job, and something becomes of it.
    async fn work(&mut self) {
        let free = |process: &usize| self.asleep.iter().all(|asleep| asleep.process != *process);
        let Some(process) = (0..self.processes.len()).find(free) else { return };
        let Some((mut attempt, clock)) = self.claim(process).await else { return };
        let polls = self.random.below(1..120);
        match self.random.below(0..4) {
            0 => {
                // It dies.
                poll_at_most(&mut attempt, polls, &clock, &self.clock).await;
            }
            1 => {
                if !poll_at_most(&mut attempt, polls, &clock, &self.clock).await {
                    self.asleep.push(Asleep { attempt, clock, process });
                }
            }
            _ => self.finish(attempt, &clock).await,
        }
    }

    async fn claim(
        &self,
        process: usize,
    ) -> Option<(BoxFuture<'static, Option<Duration>>, Arc<SimClock>)> {
        let now = self.clock.now();
        let claimed = self.catalog.claim(WorkerId::generate(), now, LEASE_FOR).await.ok()??;
        let clock = Arc::new(SimClock::new(now));
        let Process { lake, queries } = &self.processes[process];
        let options = Arc::new(RefreshOptions {
            catalog: Arc::clone(&self.catalog) as Arc<dyn Catalog>,
            lake: Arc::clone(lake),
            queries: queries.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            cpu: self.cpu.clone(),
            wake: Arc::new(Notify::new()),
            workers: 1,
            lease_for: LEASE_FOR,
            tick: Duration::from_secs(1),
            progress_every: Duration::from_secs(1),
            attempts_max: 1000,
            backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(4) },
            drain_max: Duration::ZERO,
        });
        let attempt =
            async move { run::attempt(&options, claimed, now, CancellationToken::new()).await };
        Some((attempt.boxed(), clock))
    }

    /// Lets an attempt run to its end while time passes.
    async fn finish(&self, attempt: BoxFuture<'static, Option<Duration>>, clock: &SimClock) {
        let ended = async {
            tokio::select! { _ = attempt => {}, () = ticks(clock, &self.clock) => {} }
        };
        let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
        assert!(ended.is_ok(), "an attempt hangs");
    }

    /// A worker that stood still goes on and believes that no time has passed.
    async fn wake_one(&mut self) {
        if self.asleep.is_empty() {
            return;
        }
        let Asleep { attempt, clock, .. } = self.asleep.swap_remove(0);
        self.finish(attempt, &clock).await;
    }

    async fn cancel(&mut self) {
        let jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
        let open: Vec<_> = jobs.iter().filter(|job| !job.state.is_final()).collect();
        if open.is_empty() {
            return;
        }
        let chosen = self.random.below(0..open.len() as u64);
        let job = open[usize::try_from(chosen).unwrap()];
        // One that commits refuses, and that is fine.
        let _ = self.catalog.cancel(job.id, self.clock.now()).await;
    }

    /// Everything ends in peace.
    async fn settle(&mut self) {
        while !self.asleep.is_empty() {
            self.wake_one().await;
        }
        for _ in 0..300 {
            match self.claim(0).await {
                Some((attempt, clock)) => self.finish(attempt, &clock).await,
                None => self.clock.advance(Duration::from_secs(3)),
            }
            let jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
            if jobs.iter().all(|job| job.state.is_final()) {
                return;
            }
        }
        panic!("jobs do not end: {:?}", self.catalog.jobs(&JobFilter::default()).await);
    }

    async fn define(&mut self, variant: u64) {
        let query = format!("SELECT k, sum(v) + {variant} AS s, count(*) AS n FROM src GROUP BY k");
        self.sql(&format!("CREATE OR REFRESH MATERIALIZED VIEW a AS {query}")).await;
        let name = ObjectName::new("main", "a").unwrap();
        let object = self.catalog.objects_named(&[name]).await.unwrap().pop().unwrap();
        let (ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)) = object.body
        else {
            panic!("not a transform")
        };
        self.definitions.insert(view.definition_hash, query);
    }

    async fn sql(&self, text: &str) {
        let session = Session::new(Principal::anonymous());
        let queries = &self.client.queries;
        let prepared = queries.prepare(&session, text).await.unwrap();
        queries.command(&session, &prepared, None).await.unwrap();
    }
}

impl Process {
    pub(crate) fn new(
        folder: &TempDir,
        catalog: &Arc<FlakyCatalog>,
        clock: &Arc<SimClock>,
        cpu: &CpuRuntime,
    ) -> Self {
        let lake = Arc::new(
            Lake::open(LakeOptions {
                root: folder.path().join("lake").display().to_string(),
                storage: BTreeMap::new(),
                locations: Vec::new(),
                io: tokio::runtime::Handle::current(),
                stale_max: Duration::ZERO,
                snapshots_max: 100,
                target_file_size: 64 << 20,
            })
            .unwrap(),
        );
        let queries = Queries::new(QueriesOptions {
            catalog: Arc::clone(catalog) as Arc<dyn Catalog>,
            lake: Arc::clone(&lake),
            cpu: cpu.clone(),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            wake: Arc::new(Notify::new()),
            credentials: Arc::new(NoCredentials),
            audit: None,
            shutdown: Shutdown::new(),
            limits: QueryLimits {
                memory_max: 256 << 20,
                spill_dir: folder.path().join("spill"),
                spill_max: 1 << 30,
                concurrency: 8,
                queue_max: 100,
                queue_wait: Duration::from_secs(3600),
                statement_timeout: Duration::ZERO,
                target_partitions: 2,
                sql_length_max: 1 << 20,
                attempts_max: 1000,
            },
        })
        .unwrap();
        Self { lake, queries }
    }
}

/// Polls an attempt so many times, at most, while time passes; answers whether it ended.
async fn poll_at_most(
    attempt: &mut BoxFuture<'static, Option<Duration>>,
    mut polls: u64,
    clock: &SimClock,
    world: &SimClock,
) -> bool {
    let polled = std::future::poll_fn(|cx| {
        polls -= 1;
        match Pin::new(&mut *attempt).poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polls == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    });
    tokio::select! {
        ended = polled => ended,
        () = ticks(clock, world) => false,
    }
}

/// Lets time pass for a worker and the world alike, ten times as fast as it does.
pub(crate) async fn ticks(clock: &SimClock, world: &SimClock) {
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        world.advance(Duration::from_millis(20));
        clock.advance(Duration::from_millis(20));
    }
}
