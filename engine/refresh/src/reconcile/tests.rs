use std::time::Duration;

use catalog::{
    jobs::{JobFilter, Jobs},
    objects::{Objects, OnConflict},
};
use catalog_sqlite::SqliteCatalog;
use lake::{Lake, LakeOptions};
use model::{
    job::Job,
    name::ObjectName,
    object::{ObjectBody, Properties},
    schedule::Schedule,
    transform::Transform,
};

use super::*;
use crate::sim::clock::SimClock;

struct Room {
    catalog: Arc<SqliteCatalog>,
    clock: Arc<SimClock>,
    reconciler: Reconciler,
    _folder: tempfile::TempDir,
}

impl Room {
    async fn new() -> Self {
        let catalog = Arc::new(SqliteCatalog::in_memory().await.unwrap());
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(0)));
        let folder = tempfile::tempdir().unwrap();
        let lake = lake_in(folder.path());
        let reconciler = Reconciler {
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            attempts_max: 3,
            updates: Updates::new(lake),
            told: BTreeMap::new(),
        };
        Self { catalog, clock, reconciler, _folder: folder }
    }

    async fn add(&self, name: &str, schedule: Option<Schedule>, suspended: bool) {
        let view = Transform {
            query: "SELECT 1 AS x".to_owned(),
            definition: "CREATE …".to_owned(),
            definition_hash: "h".to_owned(),
            reads: Vec::new(),
            location: format!("file:///lake/{name}/"),
            partitioned_by: Vec::new(),
            schedule,
            columns: Vec::new(),
            source_file: None,
            suspended,
            ..Transform::default()
        };
        let object = Object {
            id: ObjectId::generate(),
            name: ObjectName::new("main", name).unwrap(),
            body: ObjectBody::MaterializedView(view),
            comment: None,
            properties: Properties::new(),
            owner: "ada".to_owned(),
            policy: model::object::Policy::default(),
            created_at: self.clock.now(),
            definition_version: 1,
        };
        self.catalog.put_object(&object, OnConflict::Fail).await.unwrap();
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
    let due = room.catalog.last_due(object).await.unwrap().unwrap();
    assert_eq!(due, Timestamp::from_micros(600_000_000));
    room.catalog.cancel(jobs[0].id, room.clock.now()).await.unwrap();
    assert_eq!(room.after(54).await.len(), 1);
    assert_eq!(room.after(1).await.len(), 2);
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
