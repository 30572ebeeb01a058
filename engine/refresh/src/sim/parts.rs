//! Parts of a view among everything that can go wrong.

use ::catalog::{
    jobs::{JobFilter, Jobs},
    objects::Objects,
};
use model::{job::JobState, name::ObjectName, work::JobKind};
use query::incremental::app_id;

use super::{
    World,
    check::{check_books, logged_runs, rows},
};

pub(super) const CREATE: &str =
    "CREATE MATERIALIZED VIEW p PARTITIONED BY (k) REFRESH POLICY INCREMENTAL AS
     SELECT k, sum(v) AS s, count(*) AS n FROM src GROUP BY k";

/// A request for all of the view, for a part of it, or for a range.
pub(super) async fn step(world: &mut World) {
    let (from, to) = (world.random.below(0..3), world.random.below(3..6));
    let statement = match world.random.below(0..4) {
        0 => "REFRESH MATERIALIZED VIEW p ASYNC".to_owned(),
        1 => format!("BACKFILL p FROM {from} TO {to} BY 2 ASYNC"),
        2 => format!("BACKFILL p FROM {from} TO {to} BY 1 ORDER DESC ASYNC"),
        _ => format!("REFRESH MATERIALIZED VIEW p WHERE k = {from} OR k > {to} ASYNC"),
    };
    world.sql(&statement).await;
}

/// Each version has in its part what the query says at the versions that its run has pinned, and
/// elsewhere what the version before had; and a BACKFILL is what its ranges are.
pub(super) async fn check(world: &World) {
    let name = ObjectName::new("main", "p").unwrap();
    let object = world.catalog.objects_named(&[name]).await.unwrap().pop().unwrap();
    let view = object.transform().unwrap();
    let logged = logged_runs(view, &app_id(object.id));
    let runs = world.catalog.runs(None, 10_000).await.unwrap();
    let runs: Vec<_> = runs.iter().filter(|run| run.object == object.id).collect();
    check_books(&object, &runs, &logged);
    for logged in &logged {
        let run = runs.iter().find(|run| run.run_seq == logged.run_seq).unwrap();
        let input = world.catalog.run_inputs(&[run.id]).await.unwrap().remove(0).1.version;
        let part = logged.part.clone().unwrap_or_else(|| "true".to_owned());
        let query = format!(
            "SELECT * FROM (SELECT k, sum(v) AS s, count(*) AS n FROM src VERSION AS OF {input} \
             GROUP BY k) AS q WHERE {part}"
        );
        let at = |version: i64, condition: &str| {
            format!("SELECT * FROM p VERSION AS OF {version} WHERE {condition}")
        };
        let stored = rows(world, &at(logged.version, &part)).await;
        assert_eq!(stored, rows(world, &query).await, "{logged:?} of {run:?}");
        if logged.part.is_some() {
            let others = format!("({part}) IS NOT TRUE");
            let (stays, was) = (at(logged.version, &others), at(logged.version - 1, &others));
            assert_eq!(rows(world, &stays).await, rows(world, &was).await, "{logged:?}");
        }
    }
    let jobs = world.catalog.jobs(&JobFilter::default()).await.unwrap();
    for parent in jobs.iter().filter(|job| job.work.kind() == JobKind::Backfill) {
        let ranges: Vec<_> = jobs.iter().filter(|job| job.parent == Some(parent.id)).collect();
        let succeeded = ranges.iter().filter(|job| job.state.is_success()).count();
        let counted = parent.ranges.unwrap();
        assert_eq!((counted.all as usize, counted.succeeded as usize), (ranges.len(), succeeded));
        assert_eq!(parent.state.is_success(), succeeded == ranges.len(), "{parent:?}");
        if parent.state == JobState::SkippedNoChange {
            assert!(ranges.iter().all(|job| job.state == JobState::SkippedNoChange));
        }
    }
}
