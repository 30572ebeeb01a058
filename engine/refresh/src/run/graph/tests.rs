use std::sync::Arc;

use catalog::{
    Catalog,
    jobs::{JobFilter, Jobs, Takes},
    objects::Objects,
};
use futures::TryStreamExt;
use model::{
    id::WorkerId,
    job::{ClaimedRun, Job, JobState},
    name::ObjectName,
    principal::Principal,
    profile::Profiles,
    time::Timestamp,
    work::Maintained,
};
use query::session::Session;
use rt::{clock::Clock, cpu::CpuRuntime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    options::{Backoff, RefreshOptions},
    run,
    sim::{
        Process,
        catalog::{Fatal, FlakyCatalog},
        clock::SimClock,
        ticks,
    },
};

const LEASE_FOR: Duration = Duration::from_secs(600);

/// Two processes and nobody who takes jobs by himself.
struct Room {
    catalog: Arc<FlakyCatalog>,
    clock: Arc<SimClock>,
    cpu: CpuRuntime,
    processes: [Process; 2],
    _folder: tempfile::TempDir,
}

/// Tables whose files go as soon as they are vacuumed.
const AT_ONCE: &str = "TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 hours')";

impl Room {
    /// With a diamond over `src` that was refreshed once: `a` and `b` read it, `j` both of them.
    async fn with_diamond() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(FlakyCatalog::new(1).await);
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(1_000_000_000_000_000)));
        let cpu = CpuRuntime::new(2).unwrap();
        let process = || Process::new(&folder, &catalog, &clock, &cpu);
        let processes = [process(), process()];
        let room = Self { catalog, clock, cpu, processes, _folder: folder };
        for statement in [
            format!("CREATE TABLE src (k BIGINT, v BIGINT) {AT_ONCE}").as_str(),
            "INSERT INTO src VALUES (1, 1)",
            "CREATE TABLE gate (is_open BOOLEAN)",
            "INSERT INTO gate VALUES (true)",
            &format!(
                "CREATE MATERIALIZED VIEW a {AT_ONCE} AS SELECT k, sum(v) AS s FROM src GROUP BY k"
            ),
            "CREATE MATERIALIZED VIEW b (CONSTRAINT opened EXPECT (is_open) ON VIOLATION FAIL UPDATE) \
             AS SELECT k, sum(v) AS s, bool_and(is_open) AS is_open FROM src CROSS JOIN gate GROUP BY k",
            "CREATE MATERIALIZED VIEW j AS \
             SELECT a.k, a.s AS of_a, b.s AS of_b FROM a JOIN b ON a.k = b.k",
        ] {
            room.sql(statement).await;
        }
        room.run_all().await;
        assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["1, 1"]);
        room
    }

    async fn sql(&self, text: &str) {
        let session = Session::new(Principal::anonymous());
        let queries = &self.processes[0].queries;
        let prepared = queries.prepare(&session, text).await.unwrap();
        queries.command(&session, &prepared, None).await.unwrap();
        self.clock.advance(Duration::from_secs(1));
    }

    async fn rows(&self, text: &str) -> Vec<String> {
        let session = Session::new(Principal::anonymous());
        let queries = &self.processes[0].queries;
        let prepared = queries.prepare(&session, text).await.unwrap();
        let planned = queries.plan(&session, &prepared, None).await.unwrap();
        let stream = queries.execute(planned).await.unwrap();
        let batches: Vec<_> = stream.try_collect().await.unwrap();
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cell = |column: &arrow::array::ArrayRef| {
                    let shown = arrow::util::display::ArrayFormatter::try_new(column, &options);
                    shown.unwrap().value(row).to_string()
                };
                rows.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(", "));
            }
        }
        rows
    }

    async fn claim(&self) -> Option<ClaimedRun> {
        self.catalog
            .claim(WorkerId::generate(), &Takes::default(), self.clock.now(), LEASE_FOR)
            .await
            .unwrap()
    }

    /// Runs a claimed job to its end in one of the processes.
    async fn run(&self, claimed: ClaimedRun, process: usize) -> Job {
        let (options, id, now) = (self.options(process), claimed.job.id, self.clock.now());
        let attempt = run::attempt(&options, claimed, now, CancellationToken::new());
        tokio::select! {
            _ = attempt => {},
            () = ticks(&self.clock, &self.clock) => {},
        }
        self.job(id).await
    }

    /// Runs a claimed job until its result is committed, and lets its worker die then: nothing is booked.
    async fn run_until_committed(&self, claimed: ClaimedRun) {
        let name = claimed.job.object_name.name().to_owned();
        let before = self.version_of(&name).await;
        let (options, now) = (self.options(0), self.clock.now());
        let attempt = run::attempt(&options, claimed, now, CancellationToken::new());
        let call = "put_graph_output";
        self.catalog.kill_at(Some(Fatal { call, takes_effect: false }));
        tokio::select! {
            _ = attempt => panic!("it has ended"),
            () = self.catalog.struck() => {},
            () = ticks(&self.clock, &self.clock) => {},
        }
        assert_eq!(self.version_of(&name).await, before + 1, "it has committed");
    }

    /// The newest version of a transform's table.
    async fn version_of(&self, name: &str) -> i64 {
        let name = ObjectName::new("main", name).unwrap();
        let object = self.catalog.objects_named(&[name]).await.unwrap().pop().unwrap();
        let lake = &self.processes[0].lake;
        lake.snapshot(object.location().unwrap(), At::Latest).await.unwrap().version()
    }

    fn options(&self, process: usize) -> Arc<RefreshOptions> {
        let Process { lake, queries } = &self.processes[process];
        Arc::new(RefreshOptions {
            catalog: Arc::clone(&self.catalog) as Arc<dyn Catalog>,
            lake: Arc::clone(lake),
            queries: queries.clone(),
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
        })
    }

    async fn job(&self, id: model::id::JobId) -> Job {
        let filter = JobFilter { ids: Some(vec![id]), ..JobFilter::default() };
        self.catalog.jobs(&filter).await.unwrap().pop().unwrap()
    }

    async fn run_one(&self) -> Job {
        let claimed = self.claim().await.expect("a job can run");
        self.run(claimed, 0).await
    }

    /// Runs what is there; answers the jobs in the order in which they ended.
    async fn run_all(&self) -> Vec<(String, JobState)> {
        let mut ended = Vec::new();
        while let Some(claimed) = self.claim().await {
            let job = self.run(claimed, 0).await;
            ended.push((job.object_name.name().to_owned(), job.state));
        }
        ended
    }

    /// Vacuums a table in a process that has nothing open; answers how many files went.
    async fn vacuum(&self, name: &str) -> u64 {
        self.sql(&format!("VACUUM {name} RETAIN 0 HOURS ASYNC")).await;
        let job = self.claim().await.unwrap();
        assert_eq!(job.job.object_name.name(), name);
        let job = self.run(job, 1).await;
        match job.result {
            Some(Maintained::Vacuumed(done)) => done.files_deleted,
            _ => panic!("{job:?}"),
        }
    }

    async fn sources_of(&self, name: &str) -> Vec<PinnedInput> {
        let name = ObjectName::new("main", name).unwrap();
        let objects = self.catalog.objects_named(&[name]).await.unwrap();
        self.processes[0].queries.sources_of(&objects).await.unwrap()
    }

    /// The newest job of an object.
    async fn newest(&self, name: &str) -> Job {
        let jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
        jobs.into_iter().find(|job| job.object_name.name() == name).unwrap()
    }
}

fn ended(jobs: &[(String, JobState)]) -> Vec<(&str, JobState)> {
    jobs.iter().map(|(name, state)| (name.as_str(), *state)).collect()
}

#[tokio::test]
async fn both_branches_of_a_diamond_see_one_version_of_their_source() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    let first = room.run_one().await;
    room.sql("INSERT INTO src VALUES (1, 100)").await;
    let second = room.run_one().await;
    room.sql("INSERT INTO src VALUES (1, 1000)").await;
    let third = room.run_one().await;
    assert_eq!(third.object_name.name(), "j");
    assert!([&first, &second, &third].iter().all(|job| job.state == JobState::Succeeded));
    assert!(first.graph.is_some() && first.graph == second.graph && first.graph == third.graph);
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
    let read = "SELECT DISTINCT version FROM system.run_inputs WHERE input = 'main.src' \
                AND graph_id = (SELECT max(graph_id) FROM system.jobs WHERE object = 'main.j')";
    assert_eq!(room.rows(read).await, ["2"]);
    // The next one reads what came meanwhile, again at one version.
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    room.run_all().await;
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["1111, 1111"]);
    // And where nothing came, all of it is skipped, and says what it stands for.
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    let jobs = room.run_all().await;
    let skipped = JobState::SkippedNoChange;
    assert_eq!(ended(&jobs), [("a", skipped), ("b", skipped), ("j", skipped)]);
}

#[tokio::test]
async fn a_transform_reads_what_its_graph_run_has_made_and_nothing_newer() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    let (first, second) = (room.run_one().await, room.run_one().await);
    // Both branches are refreshed once more before their join.
    room.sql("INSERT INTO src VALUES (1, 100)").await;
    for name in ["a", "b"] {
        room.sql(&format!("REFRESH {name} ASYNC")).await;
    }
    let waiting = room.claim().await.unwrap();
    assert_eq!(waiting.job.object_name.name(), "j");
    let others = room.run_all().await;
    assert_eq!(others.len(), 2);
    assert_eq!(room.run(waiting, 0).await.state, JobState::Succeeded);
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
    assert_eq!(room.rows("SELECT s FROM a").await, ["111"]);
    let of = |job: &Job| {
        format!(
            "SELECT version FROM system.run_inputs WHERE object = 'main.j' AND input = '{}' \
         ORDER BY version DESC LIMIT 1",
            job.object_name
        )
    };
    for job in [&first, &second] {
        let version = job.output_version.unwrap().to_string();
        assert_eq!(room.rows(&of(job)).await, [version], "{}", job.object_name);
    }
}

#[tokio::test]
async fn a_newer_refresh_does_not_overtake_a_graph_run() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    let first = room.run_one().await;
    let other = if first.object_name.name() == "a" { "b" } else { "a" };
    room.sql("INSERT INTO src VALUES (1, 100)").await;
    room.sql(&format!("REFRESH {other} ASYNC")).await;
    let jobs = room.run_all().await;
    let succeeded = JobState::Succeeded;
    assert_eq!(ended(&jobs)[0], (other, succeeded));
    assert_eq!(jobs.len(), 3, "its own job, that of the graph run, and j: {jobs:?}");
    assert!(jobs.iter().all(|(_, state)| *state == succeeded), "{jobs:?}");
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
    assert_eq!(room.rows(&format!("SELECT s FROM {other}")).await, ["111"]);
}

#[tokio::test]
async fn a_table_that_stands_for_newer_rows_is_not_taken_back() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    // A refresh of b is under way, and has not looked at its inputs yet.
    room.sql("REFRESH b ASYNC").await;
    let alone = room.claim().await.unwrap();
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    let a = room.run_one().await;
    assert_eq!((a.object_name.name(), a.state), ("a", JobState::Succeeded));
    room.sql("INSERT INTO src VALUES (1, 100)").await;
    assert_eq!(room.run(alone, 0).await.state, JobState::Succeeded);
    let b = room.run_one().await;
    assert_eq!(b.state, JobState::Failed, "{b:?}");
    let error = b.error.unwrap();
    let told = "'main.b' stands for version 3 of 'main.src' already, and its graph run reads \
                version 2: another refresh was faster";
    assert!(error.contains(told), "{error}");
    assert!(error.contains("REFRESH main.b WITH UPSTREAM"), "{error}");
    assert!(room.claim().await.is_none());
    assert_eq!(room.newest("j").await.state, JobState::UpstreamFailed);
    assert_eq!(room.rows("SELECT s FROM b").await, ["111"]);
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["1, 1"], "as it was");
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    room.run_all().await;
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["111, 111"]);
}

#[tokio::test]
async fn files_that_were_only_put_together_are_no_newer_rows() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH b ASYNC").await;
    let alone = room.claim().await.unwrap();
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    room.run_one().await;
    room.sql("OPTIMIZE src ASYNC").await;
    room.run_one().await;
    assert_eq!(room.run(alone, 0).await.state, JobState::Succeeded);
    let jobs = room.run_all().await;
    assert_eq!(ended(&jobs), [("b", JobState::SkippedNoChange), ("j", JobState::Succeeded)]);
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
}

#[tokio::test]
async fn vacuum_keeps_what_a_waiting_job_of_a_graph_run_will_read() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    assert_eq!(room.run_one().await.object_name.name(), "a");
    // Source and result are other files by now, and the old ones may go.
    room.sql("UPDATE src SET v = v + 1000 WHERE true").await;
    room.sql("REFRESH a FULL ASYNC").await;
    let b = room.claim().await.unwrap();
    assert_eq!(b.job.object_name.name(), "b");
    let full = room.run_one().await;
    assert_eq!((full.object_name.name(), full.state), ("a", JobState::Succeeded));
    let during = (room.vacuum("src").await, room.vacuum("a").await);
    assert_eq!(during, (0, 1), "files of the source stay, and of a those of its last version");
    assert_eq!(room.run(b, 1).await.state, JobState::Succeeded);
    let j = room.claim().await.unwrap();
    let j = room.run(j, 1).await;
    assert_eq!((j.state, j.error), (JobState::Succeeded, None));
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
    // Once the graph run is over they go.
    assert_eq!((room.vacuum("src").await, room.vacuum("a").await), (2, 1));
}

#[tokio::test]
async fn a_graph_run_that_is_retried_goes_on_with_what_its_jobs_have_read() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("UPDATE gate SET is_open = false WHERE true").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    let jobs = room.run_all().await;
    assert_eq!(ended(&jobs), [("a", JobState::Succeeded), ("b", JobState::Failed)]);
    let j = room.newest("j").await;
    assert_eq!(j.state, JobState::UpstreamFailed);
    // What is mended is read anew, and what the other branch has read is not.
    room.sql("UPDATE gate SET is_open = true WHERE true").await;
    room.sql("INSERT INTO src VALUES (1, 100)").await;
    room.sql(&format!("RETRY JOB '{}'", j.id)).await;
    let jobs = room.run_all().await;
    assert_eq!(ended(&jobs), [("b", JobState::Succeeded), ("j", JobState::Succeeded)]);
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
}

#[tokio::test]
async fn a_worker_that_takes_over_reads_the_versions_of_the_one_before() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM").await;
    // It dies when the versions are chosen and nothing else is done.
    let dead = room.claim().await.unwrap();
    let pinned = room.sources_of("a").await;
    assert_eq!(pinned.len(), 1);
    room.catalog.pin_graph(&dead.lease, &pinned).await.unwrap();
    room.sql("INSERT INTO src VALUES (1, 100)").await;
    room.clock.advance(LEASE_FOR);
    let jobs = room.run_all().await;
    assert!(jobs.iter().all(|(_, state)| *state == JobState::Succeeded), "{jobs:?}");
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
}

#[tokio::test]
async fn a_cancelled_job_whose_commit_has_landed_is_told_to_its_graph_run() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM OPTIONS (max_attempts = 4)").await;
    // The first worker commits and dies, the second one dies before it looks; then somebody cancels.
    let first = room.claim().await.unwrap();
    let (id, name) = (first.job.id, first.job.object_name.name().to_owned());
    room.run_until_committed(first).await;
    room.clock.advance(LEASE_FOR);
    let second = room.claim().await.unwrap();
    assert_eq!((second.job.id, second.lease.attempt), (id, 2));
    room.sql(&format!("CANCEL JOB '{id}'")).await;
    room.clock.advance(LEASE_FOR);
    let jobs = room.run_all().await;
    let names: Vec<_> = ended(&jobs).iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(names.contains(&name), "somebody has looked: {jobs:?}");
    assert!(jobs.iter().all(|(_, state)| *state == JobState::Succeeded), "{jobs:?}");
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
}

#[tokio::test]
async fn a_cancelled_job_that_has_not_committed_ends_what_is_behind_it() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM OPTIONS (max_attempts = 4)").await;
    let first = room.claim().await.unwrap();
    let (id, name) = (first.job.id, first.job.object_name.to_string());
    for _ in 0..2 {
        room.clock.advance(LEASE_FOR);
        assert_eq!(room.claim().await.unwrap().job.id, id);
    }
    room.sql(&format!("CANCEL JOB '{id}'")).await;
    room.clock.advance(LEASE_FOR);
    room.run_all().await;
    assert_eq!(room.job(id).await.state, JobState::Cancelled);
    let j = room.newest("j").await;
    assert_eq!(j.state, JobState::UpstreamFailed);
    let why = format!("waited for job {id} of '{name}', which is CANCELLED");
    assert_eq!(j.error.as_deref(), Some(why.as_str()));
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["1, 1"], "as it was");
}

#[tokio::test]
async fn a_worker_that_dies_at_the_commit_of_its_last_attempt_has_succeeded_if_that_landed() {
    let room = Room::with_diamond().await;
    room.sql("INSERT INTO src VALUES (1, 10)").await;
    room.sql("REFRESH j ASYNC WITH UPSTREAM OPTIONS (max_attempts = 1)").await;
    let only = room.claim().await.unwrap();
    let id = only.job.id;
    room.run_until_committed(only).await;
    assert_eq!(room.job(id).await.state, JobState::Committing);
    room.clock.advance(LEASE_FOR);
    let jobs = room.run_all().await;
    assert!(jobs.iter().all(|(_, state)| *state == JobState::Succeeded), "{jobs:?}");
    assert_eq!(room.job(id).await.state, JobState::Succeeded);
    assert_eq!(room.rows("SELECT of_a, of_b FROM j").await, ["11, 11"]);
}
