use std::time::Duration;

use catalog::{
    jobs::{JobFilter, Jobs, Takes},
    leaders::{Bid, Leaders},
    objects::{Objects, OnConflict},
};
use lake::{Lake, LakeOptions};
use model::{
    code::Code,
    job::{ClaimedRun, Job, JobState, PinnedInput, RunOutcome},
    name::ObjectName,
    object::{ObjectBody, Properties, Table, TableFormat},
    report::RunReport,
    schedule::Schedule,
    transform::{Misfire, Transform, Trigger},
};

use super::*;
use crate::sim::{catalog::FlakyCatalog, clock::SimClock};

struct Room {
    catalog: Arc<FlakyCatalog>,
    clock: Arc<SimClock>,
    reconciler: Reconciler,
    folder: tempfile::TempDir,
}

impl Room {
    async fn new() -> Self {
        let catalog = Arc::new(FlakyCatalog::new(1).await);
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(0)));
        let folder = tempfile::tempdir().unwrap();
        let reconciler = reconciler(&catalog, &clock, folder.path());
        Self { catalog, clock, reconciler, folder }
    }

    async fn add(&self, name: &str, schedule: Option<Schedule>, suspended: bool) {
        let view = Transform { schedule, suspended, ..transform(name) };
        self.put(name, ObjectBody::MaterializedView(view)).await;
    }

    async fn put(&self, name: &str, body: ObjectBody) -> Object {
        let object = Object {
            id: ObjectId::generate(),
            name: ObjectName::new("main", name).unwrap(),
            body,
            comment: None,
            properties: Properties::new(),
            owner: "ada".to_owned(),
            policy: model::object::Policy::default(),
            created_at: self.clock.now(),
            definition_version: 1,
        };
        self.catalog.put_object(&object, OnConflict::Fail).await.unwrap();
        object
    }

    /// A table of the file that [`Room::write`] writes.
    async fn add_source(&self, name: &str) -> Object {
        let table = Table {
            location: format!("file://{}", self.folder.path().join("s.csv").display()),
            format: TableFormat::Csv,
            external: true,
            options: Properties::new(),
            primary_key: Vec::new(),
            path_columns: Vec::new(),
            complete_when: None,
        };
        self.put(name, ObjectBody::Table(table)).await
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("s.csv"), text).unwrap();
    }

    async fn add_triggered(&self, name: &str, reads: &ObjectName) {
        let trigger = Some(Trigger { at_most_every_s: None });
        let view = Transform { trigger, reads: vec![reads.clone()], ..transform(name) };
        self.put(name, ObjectBody::MaterializedView(view)).await;
    }

    async fn claim(&self) -> ClaimedRun {
        let (worker, takes) = (WorkerId::generate(), Takes::default());
        self.catalog.claim(worker, &takes, self.clock.now(), LEASE).await.unwrap().unwrap()
    }

    /// Pins what the source has now.
    async fn pin(&self, run: &ClaimedRun, source: &Object) {
        let lake = lake_in(self.folder.path());
        let version = lake.files_fingerprint(source.location().unwrap()).await.unwrap();
        let (object, name) = (source.id, source.name.clone());
        let input = PinnedInput { object, name, delta_table_id: String::new(), version };
        self.catalog.pin(&run.lease, &[input]).await.unwrap();
    }

    /// Cancels what waits, so that nothing new is taken for it.
    async fn end_all(&self) {
        for job in self.catalog.jobs(&JobFilter::default()).await.unwrap() {
            let _ = self.catalog.cancel(job.id, self.clock.now()).await;
        }
    }

    /// Ticks after so many seconds; answers the jobs that are there then, oldest first.
    async fn after(&mut self, seconds: u64) -> Vec<Job> {
        self.clock.advance(Duration::from_secs(seconds));
        self.reconciler.tick().await;
        let mut jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
        jobs.reverse();
        jobs
    }
}

#[tokio::test]
async fn only_what_is_due_and_not_suspended_is_queued() {
    let mut room = Room::new().await;
    room.add("each_minute", Some(Schedule::every(60).unwrap()), false).await;
    room.add("each_hour", Some(Schedule::every(3600).unwrap()), false).await;
    room.add("suspended", Some(Schedule::every(1).unwrap()), true).await;
    room.add("by_hand", None, false).await;
    assert_eq!(room.after(59).await, []);
    let jobs = room.after(1).await;
    let names: Vec<_> = jobs.iter().map(|job| job.object_name.name()).collect();
    assert_eq!(names, ["each_minute"]);
    assert_eq!(jobs[0].cause, JobCause::Schedule);
    assert_eq!(jobs[0].requested_by, REQUESTED_BY);
    assert_eq!(jobs[0].attempts_max, 3);
}

#[tokio::test]
async fn ticks_of_the_same_moment_queue_once() {
    let mut room = Room::new().await;
    room.add("each_minute", Some(Schedule::every(60).unwrap()), false).await;
    assert_eq!(room.after(61).await.len(), 1);
    assert_eq!(room.after(0).await.len(), 1);
    assert_eq!(room.after(20).await.len(), 1);
}

#[tokio::test]
async fn missed_times_become_one_refresh_and_the_rhythm_stays() {
    let mut room = Room::new().await;
    room.add("each_minute", Some(Schedule::every(60).unwrap()), false).await;
    let jobs = room.after(605).await;
    assert_eq!(jobs.len(), 1);
    let object = jobs[0].object;
    let due = room.catalog.last_due(&[object], room.clock.now()).await.unwrap();
    assert_eq!(due, [(object, Timestamp::from_micros(600_000_000))]);
    room.catalog.cancel(jobs[0].id, room.clock.now()).await.unwrap();
    assert_eq!(room.after(54).await.len(), 1);
    assert_eq!(room.after(1).await.len(), 2);
}

#[tokio::test]
async fn a_schedule_that_is_added_knows_no_times_before_it() {
    let mut room = Room::new().await;
    let minute_of_an_hour = |minute| Schedule::cron(&format!("{minute} * * * *"), "UTC").unwrap();
    let cases = [
        ("past", minute_of_an_hour(50), Misfire::Once),
        ("past_skip", minute_of_an_hour(59), Misfire::Skip),
        ("every", Schedule::every(2_700).unwrap(), Misfire::Once),
    ];
    for (name, schedule, misfire) in cases {
        let since = Some(Timestamp::from_micros(3_600_000_000));
        let view = Transform {
            schedule: Some(schedule),
            schedule_since: since,
            misfire,
            ..transform(name)
        };
        // It was created at 0, and has its schedule since one hour later.
        room.put(name, ObjectBody::MaterializedView(view)).await;
    }
    let names = |jobs: &[Job]| -> Vec<String> {
        jobs.iter().map(|job| job.object_name.name().to_owned()).collect()
    };
    assert_eq!(names(&room.after(3_600).await), <[&str; 0]>::default());
    assert_eq!(names(&room.after(2_690).await), <[&str; 0]>::default());
    assert_eq!(names(&room.after(10).await), ["every"]);
    // A server that was away finds what was missed since then, and no more.
    room.end_all().await;
    let mut reconciler = reconciler(&room.catalog, &room.clock, room.folder.path());
    room.reconciler.election.resign().await;
    std::mem::swap(&mut room.reconciler, &mut reconciler);
    assert_eq!(names(&room.after(890).await), ["every", "past", "past_skip"]);
}

#[tokio::test]
async fn a_problem_is_told_once_until_it_is_over() {
    let mut room = Room::new().await;
    let broken = Schedule::Cron { expression: "nonsense".to_owned(), time_zone: "UTC".to_owned() };
    room.add("broken", Some(broken), false).await;
    room.add("each_minute", Some(Schedule::every(60).unwrap()), false).await;
    let jobs = room.after(60).await;
    assert_eq!(jobs.len(), 1, "one broken schedule does not keep the others back");
    assert_eq!(room.reconciler.told.len(), 1);
    room.after(60).await;
    assert_eq!(room.reconciler.told.len(), 1);
}

#[tokio::test]
async fn two_that_believe_to_lead_queue_a_time_once() {
    let mut room = Room::new().await;
    room.add("each_minute", Some(Schedule::every(60).unwrap()), false).await;
    let mut other = reconciler(&room.catalog, &room.clock, room.folder.path());
    assert_eq!(room.after(55).await.len(), 0);
    other.tick().await;
    assert_eq!((room.reconciler.epoch, other.epoch), (Some(1), None), "the other one follows");
    // Somebody takes the role from the leader, which does not look again for some seconds.
    let sign = room.catalog.leaders().await.unwrap()[0].sign;
    let third = WorkerId::generate();
    let (role, silent_since) = (SCHEDULER.to_owned(), Some(sign));
    let bid = Bid { role, worker: third, silent_since };
    room.catalog.lead(&bid, room.clock.now()).await.unwrap();
    room.catalog.resign(SCHEDULER, third).await.unwrap();
    let mut other = reconciler(&room.catalog, &room.clock, room.folder.path());
    other.tick().await;
    assert_eq!((room.reconciler.epoch, other.epoch), (Some(1), Some(3)), "two lead");
    room.clock.advance(Duration::from_secs(5));
    assert_eq!((other.tick().await, room.reconciler.tick().await), (1, 0));
    assert_eq!(room.reconciler.epoch, Some(1), "it still believes so");
    assert_eq!(room.catalog.jobs(&JobFilter::default()).await.unwrap().len(), 1);
    // Also when the first refresh is over.
    room.end_all().await;
    assert_eq!(room.reconciler.tick().await, 0);
    assert_eq!(room.after(10).await.len(), 1);
    assert_eq!(room.reconciler.epoch, None, "it was told");
}

#[tokio::test]
async fn a_clock_that_was_ahead_loses_no_time_that_comes() {
    let mut room = Room::new().await;
    room.add("each_minute", Some(Schedule::every(60).unwrap()), false).await;
    let cron = Schedule::cron("* * * * *", "UTC").unwrap();
    room.add("each_minute_by_cron", Some(cron), false).await;
    assert_eq!(room.after(60).await.len(), 2);
    room.end_all().await;
    room.clock.set(Timestamp::from_micros(86_400_000_000));
    assert_eq!(room.after(0).await.len(), 4);
    room.end_all().await;
    room.clock.set(Timestamp::from_micros(90_000_000));
    assert_eq!(room.after(0).await.len(), 4, "nothing twice");
    assert_eq!(
        room.after(30).await.len(),
        6,
        "and the next times are not waited for until tomorrow"
    );
}

#[tokio::test]
async fn a_trigger_queues_nothing_for_what_a_run_has_read_that_was_queued_before() {
    let mut room = Room::new().await;
    let source = room.add_source("s").await;
    room.write("one");
    room.add_triggered("t", &source.name).await;
    assert_eq!(room.after(1).await.len(), 1);
    room.write("one, two");
    assert_eq!(room.after(1).await.len(), 1, "the one that waits will read that");
    let run = room.claim().await;
    assert_eq!(room.after(1).await.len(), 1, "the one that has begun may have read that");
    room.pin(&run, &source).await;
    assert_eq!(room.after(1).await.len(), 1, "it has");
    room.write("one, two, three");
    let ended = RunOutcome::Failed {
        code: Code::Internal,
        message: "no".to_owned(),
        retry_after: Duration::ZERO,
        strategy: None,
        reason: None,
        report: RunReport::default(),
    };
    room.catalog.finish(&run.lease, &ended, room.clock.now()).await.unwrap();
    let jobs = room.after(1).await;
    assert_eq!(jobs.len(), 2, "it has not read that");
    assert_eq!(jobs[1].state, JobState::Queued);
    let calls = room.catalog.calls();
    let run = room.claim().await;
    room.pin(&run, &source).await;
    room.after(1).await;
    let settled = room.catalog.calls();
    for _ in 0..10 {
        assert_eq!(room.after(1).await.len(), 2);
    }
    assert!(calls < settled);
    assert!(room.catalog.calls() - settled <= 10 * 3, "nobody asks for what is known");
}

#[tokio::test]
async fn schedules_that_are_not_due_cost_the_catalog_next_to_nothing() {
    let mut room = Room::new().await;
    for n in 0..200 {
        room.add(&format!("each_hour_{n}"), Some(Schedule::every(3600).unwrap()), false).await;
    }
    room.after(1).await;
    let before = room.catalog.calls();
    const TICKS: u64 = 60;
    for _ in 0..TICKS {
        room.clock.advance(Duration::from_secs(5));
        assert_eq!(room.reconciler.tick().await, 0);
    }
    let calls = room.catalog.calls() - before;
    assert!(calls <= TICKS * 2, "{calls} statements in {TICKS} ticks");
}

fn transform(name: &str) -> Transform {
    Transform {
        query: "SELECT 1 AS x".to_owned(),
        definition: "CREATE …".to_owned(),
        definition_hash: "h".to_owned(),
        location: format!("file:///lake/{name}/"),
        ..Transform::default()
    }
}

const LEASE: Duration = Duration::from_secs(30);

fn reconciler(
    catalog: &Arc<FlakyCatalog>,
    clock: &Arc<SimClock>,
    folder: &std::path::Path,
) -> Reconciler {
    let catalog = Arc::clone(catalog) as Arc<dyn Catalog>;
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let role = (SCHEDULER, WorkerId::generate());
    Reconciler {
        election: Election::new(Arc::clone(&catalog), Arc::clone(&clock), role, LEASE),
        catalog,
        clock,
        attempts_max: 3,
        epoch: None,
        objects: None,
        due: DueTimes::default(),
        updates: Updates::new(lake_in(folder)),
        told: BTreeMap::new(),
    }
}

fn lake_in(folder: &std::path::Path) -> Arc<Lake> {
    let options = LakeOptions {
        root: folder.display().to_string(),
        storage: BTreeMap::new(),
        locations: Vec::new(),
        io: tokio::runtime::Handle::current(),
        stale_max: Duration::ZERO,
        snapshots_max: 10,
        target_file_size: 64 << 20,
    };
    Arc::new(Lake::open(options).unwrap())
}
