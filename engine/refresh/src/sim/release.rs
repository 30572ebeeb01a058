//! A RELEASE QUARANTINE whose worker dies, or stands still, at every await: rows come in once.

use std::{sync::Arc, time::Duration};

use ::catalog::jobs::{JobFilter, Jobs};
use futures::TryStreamExt;
use model::{
    job::JobState,
    principal::Principal,
    work::{JobKind, Maintained, Released},
};
use query::session::Session;
use rt::cpu::CpuRuntime;

use super::{LEASE_FOR, World, poll_at_most};

/// A seed whose world asks nobody for approval.
const SEED: u64 = 1;

#[test]
fn rows_are_released_once_wherever_a_worker_dies() {
    at_every_await(|world, polls| {
        Box::pin(async move {
            let mut attempt = world.claim(0).await.unwrap();
            let ended = poll_at_most(&mut attempt, polls, &world.clock).await;
            drop(attempt);
            ended
        })
    });
}

#[test]
fn rows_are_released_once_wherever_a_worker_stands_still_past_its_lease() {
    at_every_await(|world, polls| {
        Box::pin(async move {
            let mut attempt = world.claim(0).await.unwrap();
            if poll_at_most(&mut attempt, polls, &world.clock).await {
                return true;
            }
            world.clock.advance(LEASE_FOR + Duration::from_secs(1));
            if let Some(other) = world.claim(1).await {
                world.finish(other).await;
            }
            // It believes that no time has passed.
            world.finish(attempt).await;
            false
        })
    });
}

type Interrupted<'a> = std::pin::Pin<Box<dyn Future<Output = bool> + 'a>>;

/// Interrupts a release after one poll, after two, … until it ends before that; each time in a world of
/// its own, whose rows have to be right at the end.
fn at_every_await(interrupt: impl for<'a> Fn(&'a World, u64) -> Interrupted<'a>) {
    let cpu = CpuRuntime::new(2).unwrap();
    let mut polls = 1;
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime.block_on(async {
            let mut world = World::new(SEED, cpu.clone(), Arc::default()).await;
            world.sql("CREATE TABLE e (id BIGINT, a BIGINT)").await;
            world.sql("INSERT INTO e VALUES (1, 1), (2, -2), (3, -3), (4, -40), (5, 5)").await;
            world.sql(&streaming("a > 0")).await;
            world.settle().await;
            world.sql(&streaming("a > -10")).await;
            world.settle().await;
            world.sql("RELEASE QUARANTINE s ASYNC").await;
            let ended = interrupt(&world, polls).await;
            world.settle().await;
            check(&world, polls).await;
            ended
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        if ended {
            return;
        }
        polls += 1 + polls / 6;
    }
}

fn streaming(condition: &str) -> String {
    format!(
        "CREATE OR REFRESH STREAMING TABLE s \
         (CONSTRAINT good EXPECT ({condition}) ON VIOLATION QUARANTINE ROW) \
         AS SELECT id, a FROM STREAM e"
    )
}

async fn check(world: &World, polls: u64) {
    let filter = JobFilter { kind: Some(JobKind::Release), ..JobFilter::default() };
    let job = world.catalog.jobs(&filter).await.unwrap().pop().unwrap();
    assert_eq!(job.state, JobState::Succeeded, "after {polls} polls: {job:?}");
    let released = Released { rows_released: 2, rows_kept: 1 };
    assert_eq!(job.result, Some(Maintained::Released(released)), "after {polls} polls");
    for (from, expected) in [("s", "1 2 3 5"), ("QUARANTINE(s)", "4")] {
        let text = format!("SELECT string_agg(id, ' ' ORDER BY id) AS t FROM {from}");
        assert_eq!(cell(world, &text).await, expected, "{from} after {polls} polls");
    }
}

/// The one text that a query answers.
async fn cell(world: &World, text: &str) -> String {
    use arrow::array::{Array, cast::AsArray};

    let session = Session::new(Principal::anonymous());
    let queries = &world.client.queries;
    let prepared = queries.prepare(&session, text).await.unwrap();
    let planned = queries.plan(&session, &prepared, None).await.unwrap();
    let rows: Vec<_> = queries.execute(planned).await.unwrap().try_collect().await.unwrap();
    let column = rows[0].column(0);
    assert_eq!(column.len(), 1);
    column.as_string::<i32>().value(0).to_owned()
}
