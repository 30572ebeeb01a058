//! What has to be true once everything has ended.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use ::catalog::{
    jobs::{JobFilter, Jobs},
    objects::Objects,
};
use ::query::{incremental::app_id, session::Session};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use model::{
    id::{GraphId, JobId, ObjectId},
    job::{Job, JobState, PinnedInput, Run},
    name::ObjectName,
    object::Object,
    principal::Principal,
    transform::Transform,
};
use serde_json::Value;

use super::{World, views};

/// A commit of a run, as the Delta log has it.
#[derive(Debug)]
pub(super) struct LoggedRun {
    pub(super) version: i64,
    pub(super) run_seq: i64,
    run: String,
    definition_hash: String,
    /// The partitions that it computed, where it was asked for some only.
    pub(super) part: Option<String>,
}

/// Every SUCCEEDED run has exactly one commit with its transaction in its target's log, and every
/// commit a run; numbers of runs only grow; each version holds what the query says at the pinned
/// versions of its inputs; and a graph run has read each source at one version.
pub(super) async fn check(world: &World) {
    let all = world.catalog.runs(None, 100_000).await.unwrap();
    let mut inputs: HashMap<_, Vec<PinnedInput>> = HashMap::new();
    for run in &all {
        let of_run = world.catalog.run_inputs(&[run.id]).await.unwrap();
        inputs.insert(run.id, of_run.into_iter().map(|(_, input)| input).collect());
    }
    let mut objects: BTreeMap<&str, Object> = BTreeMap::new();
    for name in views::TRANSFORMS {
        let object = named(world, name).await;
        let view = object.transform().unwrap();
        let logged = logged_runs(view, &app_id(object.id));
        let runs: Vec<_> = all.iter().filter(|run| run.object == object.id).collect();
        check_books(&object, &runs, &logged);
        if world.asks && object.name.name() == "a" {
            check_approvals(world, &runs).await;
        }
        for logged in &logged {
            let run = runs.iter().find(|run| run.run_seq == logged.run_seq).unwrap();
            check_rows(world, name, logged, &inputs[&run.id]).await;
        }
        objects.insert(name, object);
    }
    check_graphs(world, &objects, &all, &inputs).await;
}

async fn named(world: &World, name: &str) -> Object {
    let name = ObjectName::new("main", name).unwrap();
    world.catalog.objects_named(&[name]).await.unwrap().pop().unwrap()
}

pub(super) fn check_books(object: &Object, runs: &[&Run], logged: &[LoggedRun]) {
    let name = &object.name;
    let growing = logged.windows(2).all(|pair| pair[0].run_seq < pair[1].run_seq);
    assert!(growing, "{name}: a run was applied twice or late: {logged:#?}");
    let mut numbers: Vec<_> = runs.iter().map(|run| run.run_seq).collect();
    numbers.sort_unstable();
    let unique = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(unique, "{name}: numbers of runs: {numbers:?}");
    let by_number: BTreeMap<i64, &&Run> = runs.iter().map(|run| (run.run_seq, run)).collect();
    for logged in logged {
        let run = by_number.get(&logged.run_seq);
        let run = run.unwrap_or_else(|| panic!("{name}: nobody made {logged:?}"));
        assert_eq!(run.id.to_string(), logged.run, "{name}");
        // Between the death of the attempt that committed, or the loss of the store's answer, and the
        // next look at the log, a job can be cancelled: its result is there, and the next run replaces it.
        let cancelled = run.state == JobState::Cancelled;
        assert!(run.state == JobState::Succeeded || cancelled, "{name}: {logged:?} of {run:?}");
        if run.state == JobState::Succeeded {
            assert_eq!(run.output_version, Some(logged.version), "{name}: {run:?}");
        }
    }
    for run in runs.iter().filter(|run| run.state == JobState::Succeeded) {
        let commits = logged.iter().filter(|logged| logged.run_seq == run.run_seq).count();
        assert_eq!(commits, 1, "{name}: commits of {run:?}");
    }
}

/// After the first result, nothing was computed in full that nobody has asked for or approved.
async fn check_approvals(world: &World, runs: &[&Run]) {
    let succeeded = runs.iter().filter(|run| run.state == JobState::Succeeded);
    let first = succeeded.map(|run| run.run_seq).min().unwrap_or(i64::MAX);
    let jobs = world.catalog.jobs(&JobFilter::default()).await.unwrap();
    let later = runs.iter().filter(|run| run.run_seq > first);
    for run in later.filter(|run| run.state == JobState::Succeeded) {
        let job = jobs.iter().find(|job| job.id == run.job).unwrap();
        let allowed = job.force || job.approval.is_some();
        let in_full = run.strategy.as_deref() == Some("FULL");
        assert!(!in_full || allowed, "nobody has approved {run:?} of {job:?}");
    }
}

async fn check_rows(world: &World, name: &str, logged: &LoggedRun, inputs: &[PinnedInput]) {
    let query = match views::query(name) {
        Some(query) => query,
        None => world.definitions[&logged.definition_hash].as_str(),
    };
    let expected = rows(world, &views::pinned(query, inputs)).await;
    let stored = format!("SELECT * FROM {name} VERSION AS OF {}", logged.version);
    assert_eq!(rows(world, &stored).await, expected, "{name}: {logged:?} of {inputs:?}");
}

/// Each source of a graph run was read at one version, and where two branches of it come together
/// both stand for that one.
async fn check_graphs(
    world: &World,
    objects: &BTreeMap<&str, Object>,
    runs: &[Run],
    inputs: &HashMap<model::id::RunId, Vec<PinnedInput>>,
) {
    let jobs = world.catalog.jobs(&JobFilter::default()).await.unwrap();
    let jobs: HashMap<JobId, &Job> = jobs.iter().map(|job| (job.id, job)).collect();
    let mut read: HashMap<(GraphId, &str), (i64, &Run)> = HashMap::new();
    let (a, d, j) = (objects["a"].id, objects["d"].id, objects["j"].id);
    for run in runs.iter().filter(|run| run.state.is_success()) {
        let Some(graph) = run.graph else { continue };
        for input in &inputs[&run.id] {
            let name = match input.name.name() {
                "src" => "src",
                "log" => "log",
                _ => continue,
            };
            let (version, other) = read.entry((graph, name)).or_insert((input.version, run));
            assert_eq!(*version, input.version, "{name} of one graph run: {run:?} and {other:?}");
        }
        let after = &jobs[&run.job].after;
        let waits_for = |object| {
            after.iter().any(|id| jobs[id].object == object && jobs[id].graph == run.graph)
        };
        // An earlier attempt's job may have been queued again meanwhile; only its last run counts.
        let is_last = jobs[&run.job].run == Some(run.id);
        if run.object == j && is_last && waits_for(a) && waits_for(d) {
            let source_of = |object: ObjectId| {
                let input = inputs[&run.id].iter().find(|input| input.object == object).unwrap();
                let made = runs.iter().find(|made| {
                    made.object == object
                        && made.output_version == Some(input.version)
                        && made.state == JobState::Succeeded
                });
                // A cancelled run may have made it: then nobody knows which one it was.
                made.map(|made| inputs[&made.id][0].version)
            };
            if let (Some(of_a), Some(of_d)) = (source_of(a), source_of(d)) {
                assert_eq!(of_a, of_d, "versions of src below both branches of {run:?}");
                world.seen.lock().diamonds += 1;
            }
        }
    }
}

/// The rows of a query as texts, in an order of their own.
pub(super) async fn rows(world: &World, sql: &str) -> Vec<String> {
    let session = Session::new(Principal::anonymous());
    let queries = &world.client.queries;
    let prepared = queries.prepare(&session, sql).await.unwrap();
    let planned = queries.plan(&session, &prepared, None).await.unwrap();
    let stream = queries.execute(planned).await.unwrap();
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<_> =
                columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join(":"));
        }
    }
    rows.sort();
    rows
}

pub(super) fn logged_runs(view: &Transform, app_id: &str) -> Vec<LoggedRun> {
    let folder = view.location.strip_prefix("file://").unwrap();
    let log = Path::new(folder).join("_delta_log");
    let mut files: Vec<_> = match fs::read_dir(&log) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        // Never refreshed.
        Err(_) => return Vec::new(),
    };
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
        .iter()
        .filter_map(|path| {
            let version = path.file_stem()?.to_str()?.parse().ok()?;
            let text = fs::read_to_string(path).unwrap();
            let actions: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let run_seq = actions
                .iter()
                .filter_map(|action| action.get("txn"))
                .find(|txn| txn["appId"] == app_id)
                .map(|txn| txn["version"].as_i64().unwrap())?;
            let info = actions.iter().find_map(|action| action.pointer("/commitInfo/whimbrel"));
            let info = info.unwrap();
            let text = |key: &str| info[key].as_str().unwrap().to_owned();
            let (run, definition_hash) = (text("run_id"), text("definition_hash"));
            let part = info.pointer("/report/part/condition");
            let part = part.map(|part| part.as_str().unwrap().to_owned());
            Some(LoggedRun { version, run_seq, run, definition_hash, part })
        })
        .collect()
}
