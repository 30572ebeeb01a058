//! An incremental refresh gives what a full one gives, whatever the query and whatever happened to
//! its tables: driven by a seed, from statements to rows.
//!
//! Every refresh is compared with the query over the same versions. Nobody dies here: that is what
//! `sim.rs` is about.

mod changes;
mod history;
mod query;

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use ::catalog::{
    Catalog,
    jobs::{JobFilter, Jobs, Takes},
    objects::{Objects, OnConflict},
    verifications::{Verdict, Verifications},
};
use ::query::{error::QueryError, session::Session};
use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::TryStreamExt;
use model::{
    id::{ObjectId, WorkerId},
    job::{JobState, PinnedInput, Run},
    name::ObjectName,
    object::ObjectBody,
    principal::Principal,
    profile::Profiles,
    time::Timestamp,
    transform::RefreshPolicy,
};
use query::{Author, Relation};
use rt::{clock::Clock, cpu::CpuRuntime};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    auditor::Auditor,
    options::{Backoff, RefreshOptions},
    run,
    sim::{
        Process,
        catalog::FlakyCatalog,
        clock::SimClock,
        random::{Random, seeds, seeds_are_the_usual_ones},
        ticks,
    },
};

/// The variable with the seeds to try: `7`, or `0..100`.
const SEEDS: &str = "WHIMBREL_PROOF_SEEDS";
const LEASE_FOR: Duration = Duration::from_secs(600);
/// Queries and refreshes of each in one history.
const VIEWS: usize = 6;
const STEPS: usize = 5;

/// A view that is compared with its query.
struct View {
    name: String,
    object: ObjectId,
    query: Relation,
    is_partitioned: bool,
}

struct World {
    random: Random,
    _folder: TempDir,
    catalog: Arc<FlakyCatalog>,
    clock: Arc<SimClock>,
    cpu: CpuRuntime,
    process: Process,
    views: Vec<View>,
    /// Everything that happened, to be shown when something is wrong.
    told: String,
    /// How often each strategy was taken.
    strategies: BTreeMap<String, usize>,
    refused: usize,
}

#[test]
fn an_incremental_refresh_gives_what_a_full_one_gives() {
    let cpu = CpuRuntime::new(2).unwrap();
    let mut strategies: BTreeMap<String, usize> = BTreeMap::new();
    let (mut refused, mut seen) = (0, 0);
    for seed in seeds(SEEDS, 0..15) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        println!("seed {seed}");
        runtime.block_on(async {
            let mut world = World::new(seed, cpu.clone()).await;
            for _ in 0..STEPS {
                world.step(seed).await;
            }
            seen += VIEWS;
            refused += world.refused;
            for (strategy, count) in world.strategies {
                *strategies.entry(strategy).or_default() += count;
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
    println!("{strategies:?}, {refused} of {seen} queries refused");
    assert!(refused * 3 <= seen, "{refused} of {seen} queries were refused");
    if seeds_are_the_usual_ones(SEEDS) {
        for strategy in ["FULL", "APPEND", "MERGE", "KEYS", "PARTITIONS", "ROWS", "PART", "BACK"] {
            assert!(
                strategies.contains_key(strategy),
                "{strategy} was never taken: {strategies:?}"
            );
        }
    }
}

#[test]
fn what_others_have_done_to_a_view_is_found() {
    let cpu = CpuRuntime::new(2).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::empty(0, cpu).await;
        for statement in [
            "CREATE TABLE t (k VARCHAR, n BIGINT, f DOUBLE)",
            "INSERT INTO t VALUES ('a', 1, 0.25), ('a', 2, 0.5), ('b', 3, 'NaN'), (NULL, 4, NULL)",
            "CREATE MATERIALIZED VIEW m PARTITIONED BY (k) AS SELECT k, sum(n) AS n, max(f) AS f FROM t GROUP BY k",
        ] {
            world.sql(statement).await.unwrap();
        }
        world.settle().await;
        let hash = world.verified("m").await;
        assert_eq!(
            (hash["verdict"].as_str(), hash["rows"].as_str(), hash["differing"].as_str()),
            ("EQUAL", "3", "NULL")
        );
        assert_eq!(hash["hash"], hash["hash_computed"]);
        let runs = world.catalog.runs(None, 10).await.unwrap();
        assert_eq!(runs[0].report.hash.as_ref(), Some(&hash["hash"]), "a full run notes its hash");

        let mut auditor = world.auditor();
        for _ in 0..2 {
            // The second one is not due yet.
            auditor.step().await;
            let noted = world.catalog.verifications().await.unwrap();
            assert_eq!(noted.len(), 1);
            let last = &noted[0].last;
            assert_eq!((last.verdict, last.version, noted[0].times), (Verdict::Equal, Some(0), 1));
            assert_eq!((last.rows, last.rows_computed, &last.detail), (Some(3), Some(3), &None));
        }
        world.clock.advance(Duration::from_secs(24 * 60 * 60));

        // What came to the table later is not what the view was computed from.
        world.sql("INSERT INTO t VALUES ('a', 100, 9.5)").await.unwrap();
        assert_eq!(world.verified("m").await, hash);

        let key = [ObjectName::new("main", "m").unwrap()];
        let object = world.catalog.objects_named(&key).await.unwrap().pop().unwrap();
        let view = object.transform().unwrap();
        // Somebody adds the rows of now to those of then.
        let (lake, queries) = (&world.process.lake, &world.process.queries);
        let owner = Principal::verified(&object.owner);
        let inputs = queries.transform_inputs(&owner, view, None).await.unwrap();
        let planned = queries.plan_transform(&owner, view, &inputs).await.unwrap();
        let stage = lake::Stage {
            location: view.location.clone(),
            plan: planned.plan,
            task: planned.task,
            mode: lake::WriteMode::Append,
            base: None,
            checks: Vec::new(),
            progress: Arc::default(),
        };
        let staged = lake.stage(stage).await.unwrap();
        lake.commit(staged, lake::CommitInfo::default()).await.unwrap();
        auditor.step().await;
        let noted = world.catalog.verifications().await.unwrap();
        let noted: Vec<_> = noted.iter().map(|noted| (noted.last.verdict, noted.times)).collect();
        assert_eq!(noted, [(Verdict::Different, 1), (Verdict::Equal, 1)], "the auditor finds it too");
        let found = world.verified("m").await;
        assert_eq!(found["verdict"], "DIFFERENT");
        assert_eq!((found["rows"].as_str(), found["rows_computed"].as_str()), ("6", "3"));
        assert_eq!(
            found["differing"].lines().collect::<Vec<_>>(),
            [
                "the last run made version 0, others have committed since",
                "only stored: k = NULL, n = 4, f = NULL",
                "only stored: k = 'a', n = 103, f = 9.5",
                "only stored: k = 'b', n = 3, f = NaN",
            ]
        );
        world.sql("REFRESH MATERIALIZED VIEW m ASYNC").await.unwrap();
        world.settle().await;
        assert_eq!(world.verified("m").await["verdict"], "EQUAL");
    });
}

impl World {
    async fn new(seed: u64, cpu: CpuRuntime) -> Self {
        let mut world = Self::empty(seed, cpu).await;
        for statement in history::beginning(&mut world.random) {
            world.sql(&statement).await.unwrap();
        }
        for number in 0..VIEWS {
            world.define(number).await;
        }
        world
    }

    async fn empty(seed: u64, cpu: CpuRuntime) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(FlakyCatalog::new(seed).await);
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(1_000_000_000_000_000)));
        let process = Process::new(&folder, &catalog, &clock, &cpu);
        Self {
            random: Random::new(seed),
            _folder: folder,
            catalog,
            clock,
            cpu,
            process,
            views: Vec::new(),
            told: String::new(),
            strategies: BTreeMap::new(),
            refused: 0,
        }
    }

    /// Makes a view of some query, and lets its first refresh run.
    async fn define(&mut self, number: usize) {
        let query = Author::new(&mut self.random).query();
        let name = format!("m{number}");
        let partitioned = match query.partition() {
            Some(column) if self.random.one_in(4) => format!(" PARTITIONED BY ({column})"),
            _ => String::new(),
        };
        let create = format!("CREATE MATERIALIZED VIEW {name}{partitioned} AS {}", query.sql);
        if self.sql(&create).await.is_err() {
            // What the engine cannot plan, or no table can hold, is not what this is about.
            self.refused += 1;
            return;
        }
        let object = self.refresh_whenever_proved(&name).await;
        let states = self.settle().await;
        if states.get(&object) != Some(&JobState::Succeeded) {
            assert!(self.rows(&query.sql).await.is_err(), "{}", self.told);
            self.refused += 1;
            return;
        }
        let is_partitioned = !partitioned.is_empty();
        self.views.push(View { name, object, query, is_partitioned });
    }

    /// Mostly lets a transform be refreshed incrementally wherever that is proved, whatever it costs.
    async fn refresh_whenever_proved(&mut self, name: &str) -> ObjectId {
        let key = [ObjectName::new("main", name).unwrap()];
        let mut object = self.catalog.objects_named(&key).await.unwrap().pop().unwrap();
        if let ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) =
            &mut object.body
        {
            let strictly = [RefreshPolicy::Auto, RefreshPolicy::Incremental];
            view.policy = strictly[usize::from(!self.random.one_in(4))];
        }
        let replaced =
            OnConflict::Replace { id: object.id, definition_version: object.definition_version };
        self.catalog.put_object(&object, replaced).await.unwrap();
        object.id
    }

    async fn newest_run(&self, name: &str) -> Run {
        let name = ObjectName::new("main", name).unwrap();
        let runs = self.catalog.runs(None, 10_000).await.unwrap();
        let runs = runs.into_iter().filter(|run| run.object_name == name);
        runs.max_by_key(|run| run.run_seq).unwrap()
    }

    /// Something happens to the tables, and every view is refreshed.
    async fn step(&mut self, seed: u64) {
        let before = self.told.len();
        for _ in 0..self.random.below(1..4) {
            let statement = history::statement(&mut self.random);
            // A MERGE that names a row twice, and what a partitioned table refuses.
            let _ = self.sql(&statement).await;
            self.settle().await;
        }
        let views = std::mem::take(&mut self.views);
        for view in views {
            if view.is_partitioned && self.random.one_in(3) {
                self.part(seed, &view).await;
                // Something may happen in between, and nothing may.
                if self.random.one_in(2) {
                    let statement = history::statement(&mut self.random);
                    let _ = self.sql(&statement).await;
                    self.settle().await;
                }
            }
            if self.random.one_in(3) {
                self.back(seed, &view).await;
            }
            self.sql(&format!("REFRESH MATERIALIZED VIEW {} ASYNC", view.name)).await.unwrap();
            let states = self.settle().await;
            let runs = self.catalog.runs(None, 10_000).await.unwrap();
            let run = runs.iter().filter(|run| run.object == view.object);
            let run = run.max_by_key(|run| run.run_seq).unwrap();
            let expected = self.rows(&view.query.sql).await;
            let about = format!(
                "seed {seed}, view {}: {} {:?} ({:?})\n{}\nsince the last refresh:\n{}",
                view.name,
                run.state,
                run.strategy,
                run.reason,
                view.query.sql,
                &self.told[before..],
            );
            let succeeded = matches!(
                states.get(&view.object),
                Some(JobState::Succeeded | JobState::SkippedNoChange)
            );
            let expected = match expected {
                Ok(expected) if succeeded => expected,
                // Both fail, for example because a number became too large.
                Err(_) if !succeeded => continue,
                other => panic!("{about}\n{:?}\n{other:?}\n\nall:\n{}", run.error, self.told),
            };
            let stored = self.rows(&format!("SELECT * FROM {}", view.name)).await.unwrap();
            let differ = difference(&stored, &expected);
            assert!(differ.is_empty(), "{about}\n{differ}\n\nall:\n{}", self.told);
            if self.random.one_in(3) {
                let verified = self.verified(&view.name).await;
                assert_eq!(verified["verdict"], "EQUAL", "{about}\n{verified:?}");
                let sampled = self.verified_in_part(&view.name).await;
                assert_eq!(sampled, "EQUAL", "{about}");
            }
            if run.state == JobState::Succeeded {
                let strategy = run.strategy.clone().unwrap_or_default();
                *self.strategies.entry(strategy).or_default() += 1;
            }
            self.views.push(view);
        }
    }

    /// Takes a view to older versions of some of its inputs: it is its query at just these, whatever
    /// strategy took it there, and goes on from them.
    async fn back(&mut self, seed: u64, view: &View) {
        let mut asked = Vec::new();
        for input in self.inputs(view).await {
            if self.random.one_in(2) || asked.is_empty() {
                let newest = u64::try_from(input.version).unwrap();
                let version = i64::try_from(self.random.below(0..newest + 1)).unwrap();
                asked.push(PinnedInput { version, ..input });
            }
        }
        let at = asked.iter().map(|input| format!("{} VERSION {}", input.name, input.version));
        let at = at.collect::<Vec<_>>().join(", ");
        let refresh = format!("REFRESH MATERIALIZED VIEW {} USING INPUTS ({at}) ASYNC", view.name);
        if asked.is_empty() || self.sql(&refresh).await.is_err() {
            return;
        }
        let states = self.settle().await;
        let run = self.newest_run(&view.name).await;
        let about = format!(
            "seed {seed}, {refresh}: {:?} {:?} {:?}\n{}\n\nall:\n{}",
            run.strategy, run.reason, run.error, view.query.sql, self.told
        );
        match states.get(&view.object) {
            Some(JobState::Succeeded) => {}
            Some(JobState::SkippedNoChange) => return,
            // The query may fail over the rows of then, or find other columns.
            _ => return assert!(!about.contains("defect"), "{about}"),
        }
        let read = self.inputs(view).await;
        assert!(asked.iter().all(|input| read.contains(input)), "{read:?}\n{about}");
        let verified = self.verified(&view.name).await;
        assert_eq!(verified["verdict"], "EQUAL", "{verified:?}\n{about}");
        *self.strategies.entry("BACK".to_owned()).or_default() += 1;
    }

    /// What the rows of a view were computed from last, each table once.
    async fn inputs(&self, view: &View) -> Vec<PinnedInput> {
        let last = self.catalog.last_refresh(view.object).await.unwrap();
        let mut inputs = last.map(|last| last.inputs).unwrap_or_default();
        inputs.retain(|input| !input.delta_table_id.is_empty());
        inputs
    }

    /// Refreshes a part of a view alone: what is in it is the query's answer of now, and all else
    /// stays.
    async fn part(&mut self, seed: u64, view: &View) {
        let parts = view.query.parts();
        let condition = &parts[usize::try_from(self.random.below(0..parts.len() as u64)).unwrap()];
        let chosen = format!("SELECT * FROM {} WHERE {condition}", view.name);
        let others = format!("SELECT * FROM {} WHERE ({condition}) IS NOT TRUE", view.name);
        let before = self.rows(&others).await.unwrap();
        let refresh = format!("REFRESH MATERIALIZED VIEW {} WHERE {condition} ASYNC", view.name);
        self.sql(&refresh).await.unwrap();
        let states = self.settle().await;
        // Without the condition the query may fail for rows that it need not look at with it.
        let whole = self.rows(&view.query.sql).await;
        let part = format!("SELECT * FROM ({}) AS q WHERE {condition}", view.query.sql);
        let expected = self.rows(&part).await;
        let about = format!(
            "seed {seed}, part {condition} of {}\n{}\n\nall:\n{}",
            view.name, view.query.sql, self.told
        );
        let succeeded = states.get(&view.object) == Some(&JobState::Succeeded);
        let expected = match (expected, whole) {
            (Ok(expected), Ok(_)) if succeeded => expected,
            (Err(_), _) | (_, Err(_)) => return,
            other => panic!("{about}\n{other:?}"),
        };
        let differ = difference(&self.rows(&chosen).await.unwrap(), &expected);
        assert!(differ.is_empty(), "{differ}\n{about}");
        let differ = difference(&self.rows(&others).await.unwrap(), &before);
        assert!(differ.is_empty(), "rows of other parts: {differ}\n{about}");
        let verified = self.verified(&view.name).await;
        assert_eq!(verified["verdict"], "EQUAL", "{verified:?}\n{about}");
        assert_eq!(self.verified_in_part(&view.name).await, "EQUAL", "{about}");
        *self.strategies.entry("PART".to_owned()).or_default() += 1;
    }

    /// One that looks at each view once a day.
    fn auditor(&self) -> Auditor {
        let options = RefreshOptions { audit_percent_per_day: 100, ..self.options() };
        Auditor::new(Arc::new(options), WorkerId::generate())
    }

    fn options(&self) -> RefreshOptions {
        RefreshOptions {
            catalog: Arc::clone(&self.catalog) as Arc<dyn Catalog>,
            lake: Arc::clone(&self.process.lake),
            queries: self.process.queries.clone(),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            cpu: self.cpu.clone(),
            wake: Arc::new(Notify::new()),
            workers: 1,
            lease_for: LEASE_FOR,
            tick: Duration::from_secs(1),
            progress_every: Duration::from_secs(60),
            attempts_max: 1,
            backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(4) },
            drain_max: Duration::ZERO,
            audit_percent_per_day: 0,
            profiles: Profiles::default(),
            take_profiles: Vec::new(),
        }
    }

    /// Lets all jobs run; answers how the newest one of each object ended.
    async fn settle(&mut self) -> BTreeMap<ObjectId, JobState> {
        for _ in 0..200 {
            let now = self.clock.now();
            let claimed = self
                .catalog
                .claim(WorkerId::generate(), &Takes::default(), now, LEASE_FOR)
                .await
                .unwrap();
            let Some(claimed) = claimed else { break };
            let options = Arc::new(self.options());
            let attempt = run::attempt(&options, claimed, now, CancellationToken::new());
            tokio::select! {
                _ = attempt => {},
                () = ticks(&self.clock, &self.clock) => {},
            }
        }
        let jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
        let mut newest = BTreeMap::new();
        for job in jobs {
            newest.entry(job.object).or_insert(job.state);
        }
        newest
    }

    /// What VERIFY answers, by column.
    async fn verified(&self, name: &str) -> BTreeMap<String, String> {
        self.asked(&format!("VERIFY {name}")).await.unwrap()
    }

    /// The verdict about a part of the keys. One that no column can choose has nothing wrong.
    async fn verified_in_part(&self, name: &str) -> String {
        match self.asked(&format!("VERIFY {name} SAMPLE 40 PERCENT OF KEYS")).await {
            Ok(found) => found["verdict"].clone(),
            Err(QueryError::Refused { problem, .. }) if problem.contains("floating point") => {
                "EQUAL".to_owned()
            }
            Err(error) => error.to_string(),
        }
    }

    /// The one row that a command answers, by column.
    async fn asked(&self, sql: &str) -> Result<BTreeMap<String, String>, QueryError> {
        let session = Session::new(Principal::anonymous());
        let queries = &self.process.queries;
        let prepared = queries.prepare(&session, sql).await?;
        let answer = queries.command(&session, &prepared, None).await?;
        let row = answer.batches.into_iter().find(|batch| batch.num_rows() == 1).unwrap();
        let options = FormatOptions::new().with_null("NULL");
        let columns = row.schema_ref().fields().iter().zip(row.columns());
        let text = |column| ArrayFormatter::try_new(column, &options).unwrap().value(0).to_string();
        Ok(columns.map(|(field, column)| (field.name().clone(), text(column))).collect())
    }

    async fn sql(&mut self, text: &str) -> Result<(), QueryError> {
        let session = Session::new(Principal::anonymous());
        let queries = &self.process.queries;
        let done = async {
            let prepared = queries.prepare(&session, text).await?;
            queries.command(&session, &prepared, None).await
        };
        let done = done.await.map(drop);
        let failed = done.as_ref().err().map(ToString::to_string).unwrap_or_default();
        writeln!(self.told, "{text}; {failed}").unwrap();
        done
    }

    /// How often each row is there.
    async fn rows(&self, sql: &str) -> Result<BTreeMap<String, usize>, QueryError> {
        let session = Session::new(Principal::anonymous());
        let queries = &self.process.queries;
        let prepared = queries.prepare(&session, sql).await?;
        let planned = queries.plan(&session, &prepared, None).await?;
        let stream = queries.execute(planned).await?;
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        let mut rows = BTreeMap::new();
        for batch in &batches {
            let options = FormatOptions::new().with_null("NULL");
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let values = columns.iter().map(|column| match column.value(row).to_string() {
                    zero if zero == "-0.0" => "0.0".to_owned(),
                    value => value,
                });
                *rows.entry(values.collect::<Vec<_>>().join("|")).or_default() += 1;
            }
        }
        Ok(rows)
    }
}

/// What is in one and not in the other.
fn difference(stored: &BTreeMap<String, usize>, expected: &BTreeMap<String, usize>) -> String {
    let mut text = String::new();
    for row in stored.keys().chain(expected.keys().filter(|row| !stored.contains_key(*row))) {
        let there = stored.get(row).copied().unwrap_or_default();
        let right = expected.get(row).copied().unwrap_or_default();
        if there != right {
            writeln!(text, "{row}: {there} times and should be {right} times").unwrap();
        }
    }
    text
}
