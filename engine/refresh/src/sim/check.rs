//! What has to be true once everything has ended.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use ::catalog::{jobs::Jobs, objects::Objects};
use futures::TryStreamExt;
use model::{
    job::{JobState, PinnedInput, Run},
    name::ObjectName,
    object::{Object, ObjectBody},
    principal::Principal,
    transform::Transform,
};
use query::session::Session;
use serde_json::Value;

use super::World;
use query::incremental::app_id;

/// A commit of a run, as the Delta log has it.
#[derive(Debug)]
struct LoggedRun {
    version: i64,
    run_seq: i64,
    run: String,
    definition_hash: String,
}

/// Every SUCCEEDED run has exactly one commit with its transaction in its target's log, and every
/// commit a run; numbers of runs only grow; each version holds what the query says at the pinned
/// versions of its inputs.
pub(super) async fn check(world: &World) {
    for name in ["a", "b"] {
        let name = ObjectName::new("main", name).unwrap();
        let object = world.catalog.objects_named(&[name]).await.unwrap().pop().unwrap();
        let (ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)) = &object.body
        else {
            panic!("not a transform")
        };
        let logged = logged_runs(view, &app_id(object.id));
        let runs = world.catalog.runs(None, 10_000).await.unwrap();
        let runs: Vec<_> = runs.into_iter().filter(|run| run.object == object.id).collect();
        check_books(&object, &runs, &logged);
        for logged in &logged {
            let run = runs.iter().find(|run| run.run_seq == logged.run_seq).unwrap();
            let inputs = world.catalog.run_inputs(&[run.id]).await.unwrap();
            check_rows(world, &object, logged, &inputs[0].1).await;
        }
    }
}

fn check_books(object: &Object, runs: &[Run], logged: &[LoggedRun]) {
    let name = &object.name;
    let growing = logged.windows(2).all(|pair| pair[0].run_seq < pair[1].run_seq);
    assert!(growing, "{name}: a run was applied twice or late: {logged:#?}");
    let mut numbers: Vec<_> = runs.iter().map(|run| run.run_seq).collect();
    numbers.sort_unstable();
    let unique = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(unique, "{name}: numbers of runs: {numbers:?}");
    let by_number: BTreeMap<i64, &Run> = runs.iter().map(|run| (run.run_seq, run)).collect();
    for logged in logged {
        let run = by_number.get(&logged.run_seq);
        let run = run.unwrap_or_else(|| panic!("{name}: nobody made {logged:?}"));
        assert_eq!(run.id.to_string(), logged.run, "{name}");
        // Between the death of the attempt that committed and the next look at the log, a job can
        // be cancelled: its result is there, and the next run replaces it.
        let cancelled = run.state == JobState::Cancelled && run.attempt > 1;
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

async fn check_rows(world: &World, object: &Object, logged: &LoggedRun, input: &PinnedInput) {
    let (ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)) = &object.body
    else {
        return;
    };
    let query = match world.definitions.get(&logged.definition_hash) {
        Some(query) => query.clone(),
        None => {
            assert_eq!(logged.definition_hash, view.definition_hash, "{logged:?}");
            "SELECT 0 AS k, sum(s) AS s, count(*) AS n FROM a".to_owned()
        }
    };
    let columns = if object.name.name() == "a" { "k, s, n" } else { "0 AS k, s, n" };
    let source = input.name.name();
    let pinned = format!("FROM {source} VERSION AS OF {}", input.version);
    let expected = rows(world, &query.replace(&format!("FROM {source}"), &pinned)).await;
    let table = object.name.to_sql();
    let stored = format!("SELECT {columns} FROM {table} VERSION AS OF {}", logged.version);
    assert_eq!(rows(world, &stored).await, expected, "{logged:?}");
}

/// The rows of a query with the columns k, s and n as one text.
async fn rows(world: &World, query: &str) -> String {
    let texts = "CAST(k AS VARCHAR), CAST(coalesce(s, -1) AS VARCHAR), CAST(n AS VARCHAR)";
    let sql = format!(
        "SELECT string_agg(concat_ws(':', {texts}), ' ' ORDER BY k) AS t FROM ({query}) AS q"
    );
    let session = Session::new(Principal::anonymous());
    let queries = &world.client.queries;
    let prepared = queries.prepare(&session, &sql).await.unwrap();
    let planned = queries.plan(&session, &prepared, None).await.unwrap();
    let stream = queries.execute(planned).await.unwrap();
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    format!("{:?}", batches.iter().map(|batch| Arc::clone(batch.column(0))).collect::<Vec<_>>())
}

fn logged_runs(view: &Transform, app_id: &str) -> Vec<LoggedRun> {
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
            Some(LoggedRun { version, run_seq, run, definition_hash })
        })
        .collect()
}
