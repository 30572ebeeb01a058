//! Refreshes under everything that can go wrong, driven by a seed.
//!
//! A catalog, three processes with a lake and a query engine of their own on one folder, two
//! schedulers, and time that passes on command, or jumps. Workers die at any await and at named calls,
//! stand still and come back after somebody else took their run, lose answers of the catalog and
//! commits of the store, go on without a catalog for a minute, and are cancelled. In half of the worlds
//! `a` may be computed in full only with somebody's approval. At the end every job has ended, and the
//! Delta logs, the catalog and the rows have to agree: see [`check`].

pub(crate) mod catalog;
mod check;
pub(crate) mod clock;
mod faults;
mod parts;
pub(crate) mod random;
mod release;
mod views;

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use ::catalog::{
    Catalog,
    jobs::{JobFilter, Jobs, Takes},
    objects::Objects,
};
use futures::{FutureExt, future::BoxFuture};
use lake::{Lake, LakeOptions};
use model::{
    id::WorkerId,
    job::{JobState, Lease, LeaseState, RunProgress},
    name::ObjectName,
    principal::Principal,
    profile::Profiles,
    secret::Secret,
    time::Timestamp,
};
use parking_lot::Mutex;
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

use self::{
    catalog::FlakyCatalog,
    clock::SimClock,
    random::{Random, seeds, seeds_are_the_usual_ones},
};
use crate::{
    options::{Backoff, RefreshOptions},
    reconcile::Reconciler,
    run,
};

/// The variable with the seeds to try: `7`, or `0..100`.
const SEEDS: &str = "WHIMBREL_SIM_SEEDS";
const STEPS: u64 = 40;
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
    attempt: Attempt,
    process: usize,
}

/// One attempt of a run, with the clock of its process.
struct Attempt {
    work: BoxFuture<'static, Option<Duration>>,
    clock: Arc<SimClock>,
    lease: Lease,
}

/// What happened in all simulations, so that what never happens is noticed.
#[derive(Debug, Default)]
struct Seen {
    states: BTreeMap<&'static str, usize>,
    strategies: BTreeMap<String, usize>,
    causes: BTreeMap<&'static str, usize>,
    /// Joins of two branches of one source in one graph run.
    diamonds: usize,
    overtaken: usize,
    epochs: i64,
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
    schedulers: Vec<Reconciler>,
    /// Who led in which epoch.
    leaders: HashMap<i64, WorkerId>,
    /// Queries of `a` by the hash of their definition.
    definitions: BTreeMap<String, String>,
    /// Somebody has to approve full refreshes of `a`.
    asks: bool,
    /// Where commits are made to fail.
    below: String,
    seen: Arc<Mutex<Seen>>,
}

#[test]
fn the_books_and_the_logs_agree_whatever_happened() {
    // Its own threads for computing, shared by all seeds; one thread for everything that waits.
    let cpu = CpuRuntime::new(2).unwrap();
    let seen = Arc::new(Mutex::new(Seen::default()));
    for seed in seeds(SEEDS, 0..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        println!("seed {seed}");
        runtime.block_on(async {
            let mut world = World::new(seed, cpu.clone(), Arc::clone(&seen)).await;
            for _ in 0..STEPS {
                world.step().await;
            }
            world.settle().await;
            check::check(&world).await;
            parts::check(&world).await;
            world.count().await;
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
    let seen = seen.lock();
    println!("{seen:?}");
    if seeds_are_the_usual_ones(SEEDS) {
        assert!(seen.diamonds > 0 && seen.epochs > 10, "{seen:?}");
        for state in ["SUCCEEDED", "SKIPPED_NO_CHANGE", "CANCELLED", "UPSTREAM_FAILED"] {
            assert!(seen.states.contains_key(state), "no job ended {state}: {seen:?}");
        }
        assert!(seen.strategies.len() > 2 && seen.causes.contains_key("schedule"), "{seen:?}");
    }
}

impl World {
    async fn new(seed: u64, cpu: CpuRuntime, seen: Arc<Mutex<Seen>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(FlakyCatalog::new(seed).await);
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(1_000_000_000_000_000)));
        let process = || Process::new(&folder, &catalog, &clock, &cpu);
        let processes = (0..PROCESSES).map(|_| process()).collect();
        let client = process();
        let below = format!("file://{}/", folder.path().join("lake").display());
        let mut world = Self {
            random: Random::new(seed),
            _folder: folder,
            catalog,
            clock,
            cpu,
            processes,
            client,
            asleep: Vec::new(),
            schedulers: Vec::new(),
            leaders: HashMap::new(),
            definitions: BTreeMap::new(),
            asks: seed.is_multiple_of(2),
            below,
            seen,
        };
        for _ in 0..2 {
            world.start_scheduler();
        }
        for statement in views::BEGINNING {
            world.sql(statement).await;
        }
        world.define(0).await;
        for statement in views::AFTER_A {
            world.sql(statement).await;
        }
        world.sql(parts::CREATE).await;
        world
    }

    /// One thing that happens.
    async fn step(&mut self) {
        let failing = if self.random.one_in(2) { 0 } else { 12 };
        match self.random.below(0..30) {
            0..4 => self.change_sources().await,
            4 => {
                let variant = self.random.below(0..3);
                self.define(variant).await;
            }
            5..9 if self.random.one_in(4) => parts::step(self).await,
            5..9 => self.refresh().await,
            9 => self.cancel().await,
            10 => self.retry().await,
            11..14 => {
                let pause = Duration::from_millis(self.random.below(1..25_000));
                self.clock.advance(pause);
            }
            14..16 => self.wake_one().await,
            16..19 => {
                self.catalog.fail_one_in(failing);
                self.schedule().await;
                self.catalog.fail_one_in(0);
            }
            19 => self.jump(),
            20 => {
                self.approve().await;
            }
            _ => {
                self.catalog.fail_one_in(failing);
                let commits = if self.random.one_in(2) { 0 } else { 3 };
                lake::faults::fail_commits(&self.below, commits, self.random.next());
                self.work().await;
                lake::faults::fail_commits(&self.below, 0, 0);
                self.catalog.fail_one_in(0);
            }
        }
    }

    async fn change_sources(&mut self) {
        let (k, v) = (self.random.below(0..5), self.random.below(0..100));
        let statement = match self.random.below(0..8) {
            0..4 => format!("INSERT INTO src VALUES ({k}, {v})"),
            4 => format!("UPDATE src SET v = {v} WHERE k = {k}"),
            5 => format!("DELETE FROM src WHERE k = {k} AND v < {v}"),
            _ => format!("INSERT INTO log VALUES ({k}, {v})"),
        };
        self.sql(&statement).await;
    }

    async fn refresh(&mut self) {
        let last = views::TRANSFORMS.len() as u64;
        let chosen = self.random.below(0..last + 2);
        // The one on top of the diamond more often than others.
        let name = usize::try_from(chosen).ok().and_then(|n| views::TRANSFORMS.get(n));
        let name = name.copied().unwrap_or("j");
        let full = if self.random.one_in(5) { " FULL" } else { "" };
        let along = match self.random.below(0..4) {
            0 => "",
            1 => " WITH DOWNSTREAM",
            _ => " WITH UPSTREAM",
        };
        self.sql(&format!("REFRESH {name}{full} ASYNC{along}")).await;
    }

    /// A worker takes a job, and something becomes of it.
    async fn work(&mut self) {
        let free = |process: &usize| self.asleep.iter().all(|asleep| asleep.process != *process);
        let Some(process) = (0..self.processes.len()).find(free) else { return };
        let Some(mut attempt) = self.claim(process).await else { return };
        let polls = self.random.below(1..200);
        match self.random.below(0..7) {
            0 => {
                // It dies.
                poll_at_most(&mut attempt, polls, &self.clock).await;
            }
            1 => {
                if !poll_at_most(&mut attempt, polls, &self.clock).await {
                    self.asleep.push(Asleep { attempt, process });
                }
            }
            2 => self.die_at_a_call(attempt).await,
            3 => self.lose_the_catalog(attempt).await,
            _ => self.finish(attempt).await,
        }
    }

    async fn claim(&self, process: usize) -> Option<Attempt> {
        let now = self.clock.now();
        let claimed = self
            .catalog
            .claim(WorkerId::generate(), &Takes::default(), now, LEASE_FOR)
            .await
            .ok()??;
        let lease = claimed.lease.clone();
        self.check_leases(&lease).await;
        let clock = Arc::new(SimClock::new(now));
        let options = Arc::new(self.options(process, &clock));
        let work =
            async move { run::attempt(&options, claimed, now, CancellationToken::new()).await };
        Some(Attempt { work: work.boxed(), clock, lease })
    }

    /// Whoever had the run before has it no more.
    async fn check_leases(&self, lease: &Lease) {
        for Asleep { attempt, .. } in &self.asleep {
            if attempt.lease.run != lease.run {
                continue;
            }
            assert!(attempt.lease.attempt < lease.attempt, "{:?} and {lease:?}", attempt.lease);
            let (state, progress, now) =
                (JobState::Running, RunProgress::default(), self.clock.now());
            let before = self.catalog.unfailing();
            let beat = before.heartbeat(&attempt.lease, state, &progress, now, LEASE_FOR);
            assert_eq!(beat.await.unwrap(), LeaseState::Lost, "two have {lease:?}");
        }
    }

    fn options(&self, process: usize, clock: &Arc<SimClock>) -> RefreshOptions {
        let Process { lake, queries } = &self.processes[process];
        RefreshOptions {
            catalog: Arc::clone(&self.catalog) as Arc<dyn Catalog>,
            lake: Arc::clone(lake),
            queries: queries.clone(),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            cpu: self.cpu.clone(),
            wake: Arc::new(Notify::new()),
            workers: 1,
            lease_for: LEASE_FOR,
            tick: Duration::from_secs(1),
            progress_every: Duration::from_secs(1),
            attempts_max: 1000,
            backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(4) },
            drain_max: Duration::ZERO,
            audit_percent_per_day: 0,
            profiles: Profiles::default(),
            take_profiles: Vec::new(),
        }
    }

    /// Lets an attempt run to its end while time passes.
    async fn finish(&self, attempt: Attempt) {
        let Attempt { work, clock, .. } = attempt;
        let ended = async {
            tokio::select! { _ = work => {}, () = ticks(&clock, &self.clock) => {} }
        };
        let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
        assert!(ended.is_ok(), "an attempt hangs");
    }

    /// A worker that stood still goes on and believes that no time has passed.
    async fn wake_one(&mut self) {
        if self.asleep.is_empty() {
            return;
        }
        let Asleep { attempt, .. } = self.asleep.swap_remove(0);
        self.finish(attempt).await;
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

    /// Somebody approves a job that asks, if one does.
    async fn approve(&self) -> bool {
        let jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
        let asks = jobs.iter().find(|job| job.state == JobState::AwaitingApproval);
        let Some(job) = asks else { return false };
        assert!(self.asks, "nobody has to approve anything: {job:?}");
        self.sql(&format!("APPROVE JOB '{}'", job.id)).await;
        true
    }

    /// Everything ends in peace, or waits for a person; who then says yes.
    async fn settle(&mut self) {
        while !self.asleep.is_empty() {
            self.wake_one().await;
        }
        let mut idle = 0;
        for _ in 0..600 {
            match self.claim(0).await {
                Some(attempt) => {
                    self.finish(attempt).await;
                    idle = 0;
                }
                None => {
                    self.clock.advance(Duration::from_secs(3));
                    idle += 1;
                }
            }
            let jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
            let rest = self.client.queries.all_rest(&jobs).await.unwrap();
            // A refresh also rests behind an older one of a graph run that does, which no job tells: then
            // nobody finds anything to do for long.
            if (rest || idle > 40) && self.approve().await {
                idle = 0;
            } else if rest {
                assert!(jobs.iter().all(|job| job.state.is_final()), "{jobs:?}");
                return;
            }
        }
        panic!("jobs do not end: {:?}", self.catalog.jobs(&JobFilter::default()).await);
    }

    /// Notes what has happened.
    async fn count(&self) {
        let jobs = self.catalog.unfailing().jobs(&JobFilter::default()).await.unwrap();
        let runs = self.catalog.unfailing().runs(None, 100_000).await.unwrap();
        let mut seen = self.seen.lock();
        seen.epochs += self.leaders.keys().copied().max().unwrap_or(0);
        for job in jobs {
            *seen.states.entry(job.state.as_str()).or_default() += 1;
            *seen.causes.entry(job.cause.as_str()).or_default() += 1;
            let error = job.error.unwrap_or_default();
            seen.overtaken += usize::from(error.contains("another refresh was faster"));
        }
        for run in runs {
            if let Some(strategy) = run.strategy {
                *seen.strategies.entry(strategy).or_default() += 1;
            }
        }
    }

    async fn define(&mut self, variant: u64) {
        let query = views::query_of_a(variant);
        let declared = views::declared(&query);
        let asks = if self.asks { " ON FULL REFRESH APPROVE" } else { "" };
        let create = "CREATE OR REFRESH MATERIALIZED VIEW a REFRESH POLICY INCREMENTAL";
        self.sql(&format!("{create}{asks} AS {declared}")).await;
        let name = ObjectName::new("main", "a").unwrap();
        let object = self.catalog.objects_named(&[name]).await.unwrap().pop().unwrap();
        let hash = object.transform().unwrap().definition_hash.clone();
        self.definitions.insert(hash, query);
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
            receivers: None,
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
                profiles: Profiles::default(),
            },
        })
        .unwrap();
        Self { lake, queries }
    }
}

/// Polls an attempt so many times, at most, while time passes; answers whether it ended.
async fn poll_at_most(attempt: &mut Attempt, mut polls: u64, world: &SimClock) -> bool {
    let Attempt { work, clock, .. } = attempt;
    let polled = std::future::poll_fn(|cx| {
        polls -= 1;
        match Pin::new(&mut *work).poll(cx) {
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
