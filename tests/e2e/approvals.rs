//! Jobs that wait for a person, because only a full refresh is left.

use tonic::Code;
use whimbrel_tests::{
    client::{Client, Job},
    eventually::eventually,
    process::{Options, Server},
};

use crate::users::{login, with_users};

const ASKING: &str = "REFRESH POLICY INCREMENTAL ON FULL REFRESH APPROVE";

async fn start(options: &Options) -> (Server, Client) {
    let server = options.start();
    let client = Client::connect(&server).await;
    (server, client)
}

/// A view over three rows that was refreshed once, which nobody had to approve.
async fn refreshed_once(client: &mut Client) {
    client
        .script(&format!(
            "CREATE TABLE t (k BIGINT, a BIGINT);
             INSERT INTO t VALUES (1, 1), (1, 2), (2, 3);
             CREATE MATERIALIZED VIEW m {ASKING} AS SELECT k, sum(a) AS s FROM t GROUP BY k"
        ))
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
}

/// Gives the view another query, and answers the job that asks whether it may compute it.
async fn redefined(client: &mut Client, query: &str) -> Job {
    client.update(&format!("CREATE OR REFRESH MATERIALIZED VIEW m {ASKING} AS {query}")).await;
    let job = client.newest_job("main.m").await;
    job.expect("AWAITING_APPROVAL");
    job
}

const MAX: &str = "SELECT k, max(a) AS s FROM t GROUP BY k";
const MIN: &str = "SELECT k, min(a) AS s FROM t GROUP BY k";
const RESULT: &str = "SELECT string_agg(concat(k, ':', s), ' ' ORDER BY k) FROM m";

#[tokio::test]
async fn a_full_refresh_waits_until_somebody_approves_it_across_restarts() {
    let options = Options::new().env("WHIMBREL__REFRESH__WORKERS", "1");
    let (server, mut client) = start(&options).await;
    refreshed_once(&mut client).await;
    // What changed is computed without asking.
    client.update("INSERT INTO t VALUES (2, 4)").await;
    client.refresh("m").await.expect("SUCCEEDED");

    let explained = redefined(&mut client, MAX).await.id;
    let why = client
        .query(&format!(
            "SELECT strategy, reason, bytes_estimated > 0, approved_by, finished_at, error
             FROM system.jobs WHERE job_id = '{explained}'"
        ))
        .await;
    assert_eq!(why.text(), "FULL|DEFINITION_CHANGED|true|NULL|NULL|NULL");
    let run = client
        .query(&format!(
            "SELECT state, reason, bytes_estimated > 0 FROM system.runs WHERE job_id = '{explained}'"
        ))
        .await;
    assert_eq!(run.text(), "AWAITING_APPROVAL|DEFINITION_CHANGED|true");
    let plan = client.query("EXPLAIN REFRESH m").await.text();
    assert!(plan.contains("its job would wait for APPROVE JOB"), "{plan}");

    // Nothing was published, nobody waits in vain, and requests do not pile up.
    assert_eq!(client.query(RESULT).await.cell(), "1:3 2:7");
    let failure = client.query_failure("REFRESH m SYNC").await;
    failure.expect(Code::FailedPrecondition, &["main.m", "DEFINITION_CHANGED", &explained]);
    assert!(failure.message.contains("APPROVE JOB"), "{failure}");
    let waited = client.query(&format!("WAIT FOR JOB '{explained}'")).await;
    assert_eq!(waited.only("state"), "AWAITING_APPROVAL");
    assert_eq!(client.refresh("m").await.id, explained);
    assert_eq!(client.jobs_of("main.m").await.len(), 3);
    // It has no worker's place, though there is only one.
    client.update("OPTIMIZE t").await;

    server.kill();
    let (server, mut client) = start(&options).await;
    client.job(&explained).await.expect("AWAITING_APPROVAL");
    server.stop();
    let (_server, mut client) = start(&options).await;
    let approved = client.query(&format!("APPROVE JOB '{explained}'")).await;
    assert_eq!(approved.only("job_id"), explained);
    client.job(&explained).await.expect("SUCCEEDED");
    assert_eq!(client.query(RESULT).await.cell(), "1:2 2:4");
    let said = client
        .query(&format!(
            "SELECT strategy, reason, approved_by, approved_at IS NOT NULL
             FROM system.jobs WHERE job_id = '{explained}'"
        ))
        .await;
    assert_eq!(said.text(), "FULL|DEFINITION_CHANGED|anonymous|true");
    let again = client.query_failure(&format!("APPROVE JOB '{explained}'")).await;
    again.expect(Code::FailedPrecondition, &["only a job that waits for approval"]);
    // The approval was for that job alone.
    redefined(&mut client, MIN).await;
}

#[tokio::test]
async fn a_job_that_asks_can_be_cancelled_and_overtaken() {
    let (_server, mut client) = start(&Options::new()).await;
    refreshed_once(&mut client).await;
    let first = redefined(&mut client, MAX).await.id;
    let cancelled = client.query(&format!("CANCEL JOB '{first}'")).await;
    assert_eq!(cancelled.only("state"), "CANCELLED");
    assert_eq!(client.query(RESULT).await.cell(), "1:3 2:3");

    // Who asks for a full refresh needs no other word, and what asked finds nothing left to do.
    let second = redefined(&mut client, MAX).await.id;
    client.query("REFRESH m FULL SYNC").await;
    assert_eq!(client.query(RESULT).await.cell(), "1:2 2:3");
    eventually("the job that asked has looked again", || {
        let (mut client, second) = (client.clone(), second.clone());
        async move { (client.job(&second).await.state == "SKIPPED_NO_CHANGE").then_some(()) }
    })
    .await;

    // The same where nobody has to be asked any more.
    let third = redefined(&mut client, MIN).await.id;
    client.update(&format!("CREATE OR REFRESH MATERIALIZED VIEW m AS {MIN}")).await;
    client.query("REFRESH m SYNC").await;
    client.job(&third).await.expect("SUCCEEDED");
    assert_eq!(client.query(RESULT).await.cell(), "1:1 2:3");
}

#[tokio::test]
async fn another_definition_is_another_question() {
    // One worker, which stands still on command: so that there is time between approval and run.
    let options =
        Options::new().env("WHIMBREL__REFRESH__WORKERS", "1").env("WHIMBREL_PAUSE_AT", "staged");
    let (_server, mut client) = start(&options).await;
    refreshed_once(&mut client).await;
    client
        .script("CREATE TABLE o (a BIGINT); INSERT INTO o VALUES (1); INSERT INTO o VALUES (2)")
        .await;
    let asked = redefined(&mut client, MAX).await.id;
    let blocks = client.query("OPTIMIZE o ASYNC").await.only("job_id");
    eventually("the only worker stands still", || {
        let (mut client, blocks) = (client.clone(), blocks.clone());
        async move {
            let sql = format!("SELECT state FROM system.jobs WHERE job_id = '{blocks}'");
            (client.query(&sql).await.cell() == "RUNNING").then_some(())
        }
    })
    .await;
    let approved = client.query(&format!("APPROVE JOB '{asked}'")).await;
    assert_eq!(
        (approved.only("state"), approved.only("approved_by")),
        ("QUEUED".into(), "anonymous".into())
    );
    client.update(&format!("CREATE OR REFRESH MATERIALIZED VIEW m {ASKING} AS {MIN}")).await;
    client.query(&format!("CANCEL JOB '{blocks}'")).await;
    let asks_again = client.job(&asked).await;
    asks_again.expect("AWAITING_APPROVAL");
    let said = format!("SELECT approved_by FROM system.jobs WHERE job_id = '{asked}'");
    assert_eq!(client.query(&said).await.cell(), "NULL");
    assert_eq!(client.query(RESULT).await.cell(), "1:3 2:3");
    client.query(&format!("APPROVE JOB '{asked}'")).await;
    client.job(&asked).await.expect("SUCCEEDED");
    assert_eq!(client.query(RESULT).await.cell(), "1:1 2:3");
}

#[tokio::test]
async fn schedules_join_the_job_that_asks_and_readers_of_the_view_are_told() {
    let (_server, mut client) = start(&Options::new()).await;
    refreshed_once(&mut client).await;
    client.script("CREATE MATERIALIZED VIEW n AS SELECT sum(s) AS s FROM m").await;
    client.newest_job("main.n").await.expect("SUCCEEDED");
    let asked = redefined(&mut client, MAX).await.id;
    client
        .update("ALTER MATERIALIZED VIEW m ADD SCHEDULE CRON '* * * * * *' AT TIME ZONE 'UTC'")
        .await;
    let told = client.query_failure("REFRESH n WITH UPSTREAM SYNC").await;
    told.expect(Code::FailedPrecondition, &["main.m", &asked]);
    let behind = client.jobs_of("main.n").await.pop().unwrap();
    let waited = client.query(&format!("WAIT FOR JOB '{behind}'")).await;
    assert_eq!(waited.only("state"), "QUEUED");
    eventually("three times of the schedule have come", || {
        let mut client = client.clone();
        async move {
            let passed = "SELECT max(queued_at) < now() - INTERVAL '3' SECOND FROM system.jobs";
            (client.query(passed).await.cell() == "true").then_some(())
        }
    })
    .await;
    // One may have been queued while the first was at work; after that none has a job of its own.
    let jobs = client.jobs_of("main.m").await.len();
    assert!(jobs <= 3, "schedules come every second, and there are {jobs} jobs");
    client.query(&format!("APPROVE JOB '{asked}'")).await;
    client.job(&asked).await.expect("SUCCEEDED");
    client.job(&behind).await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT s FROM n").await.cell(), "5");
}

#[tokio::test]
async fn whoever_may_refresh_may_approve() {
    const USERS: [(&str, &str); 3] =
        [("root", "secret-1"), ("bob", "secret-2"), ("eve", "secret-3")];
    let server = with_users(&Options::new(), &USERS);
    let [mut root, mut bob, mut eve] = [
        login(&server, "root", "secret-1").await,
        login(&server, "bob", "secret-2").await,
        login(&server, "eve", "secret-3").await,
    ];
    refreshed_once(&mut root).await;
    root.script("GRANT REFRESH ON m TO bob; GRANT SELECT ON m TO eve").await;
    let asked = redefined(&mut root, MAX).await.id;
    let approve = format!("APPROVE JOB '{asked}'");
    let denied = eve.query_failure(&approve).await;
    denied.expect(Code::PermissionDenied, &["'eve' may not REFRESH"]);
    root.job(&asked).await.expect("AWAITING_APPROVAL");
    bob.query(&approve).await;
    root.job(&asked).await.expect("SUCCEEDED");
    let by = format!("SELECT approved_by, requested_by FROM system.jobs WHERE job_id = '{asked}'");
    assert_eq!(root.query(&by).await.text(), "bob|root");
    let trail =
        "SELECT principal, outcome FROM system.audit WHERE statement LIKE 'APPROVE%' ORDER BY at";
    eventually("the audit trail has both", || {
        let mut root = root.clone();
        async move { (root.query(trail).await.lines() == ["eve|DENIED", "bob|SUCCEEDED"]).then_some(()) }
    })
    .await;
}

/// A streaming table over three clicks that was refreshed once.
async fn clicks_read_once(client: &mut Client, clause: &str) {
    client
        .script(&format!(
            "CREATE TABLE clicks (id BIGINT, page STRING);
             INSERT INTO clicks VALUES (1, 'a'), (2, 'b'), (3, 'c');
             CREATE STREAMING TABLE visits {clause} AS SELECT id, page FROM STREAM clicks"
        ))
        .await;
    client.newest_job("main.visits").await.expect("SUCCEEDED");
}

const VISITS: &str = "SELECT string_agg(concat(id, page), ' ' ORDER BY id) FROM visits";

#[tokio::test]
async fn a_streaming_table_whose_source_is_another_one_asks_whether_to_begin_anew() {
    let (_server, mut client) = start(&Options::new()).await;
    clicks_read_once(&mut client, ASKING).await;
    // New rows are read without asking.
    client.update("INSERT INTO clicks VALUES (4, 'd')").await;
    client.refresh("visits").await.expect("SUCCEEDED");

    client.update("UPDATE clicks SET page = 'x' WHERE id = 1").await;
    let changed = client.refresh("visits").await;
    changed.expect("AWAITING_APPROVAL");
    let why = client
        .query(&format!(
            "SELECT strategy, reason LIKE 'INPUT_ROWS_CHANGED: %version 3%', bytes_estimated > 0
             FROM system.jobs WHERE job_id = '{}'",
            changed.id
        ))
        .await;
    assert_eq!(why.text(), "FULL|true|true");
    assert_eq!(client.query(VISITS).await.cell(), "1a 2b 3c 4d", "nothing was published");
    client.query(&format!("APPROVE JOB '{}'", changed.id)).await;
    client.job(&changed.id).await.expect("SUCCEEDED");
    assert_eq!(client.query(VISITS).await.cell(), "1x 2b 3c 4d");
    let run = "SELECT strategy, reason FROM system.runs WHERE object = 'main.visits'
               ORDER BY run_seq DESC LIMIT 1";
    assert_eq!(client.query(run).await.text(), "FULL|APPROVED_FULL: main.clicks up to 3");
    // It goes on from there as ever.
    client.update("INSERT INTO clicks VALUES (5, 'e')").await;
    client.refresh("visits").await.expect("SUCCEEDED");
    assert_eq!(client.query(VISITS).await.cell(), "1x 2b 3c 4d 5e");

    // A source that was made anew, and somebody who does not want its rows.
    client
        .script(
            "DROP TABLE clicks PURGE;
             CREATE TABLE clicks (id BIGINT, page STRING);
             INSERT INTO clicks VALUES (9, 'z')",
        )
        .await;
    let anew = client.refresh("visits").await;
    anew.expect("AWAITING_APPROVAL");
    let why = format!(
        "SELECT reason LIKE 'INPUT_CREATED_ANEW: %' FROM system.jobs WHERE job_id = '{}'",
        anew.id
    );
    assert_eq!(client.query(&why).await.cell(), "true");
    let cancelled = client.query(&format!("CANCEL JOB '{}'", anew.id)).await;
    assert_eq!(cancelled.only("state"), "CANCELLED");
    assert_eq!(client.query(VISITS).await.cell(), "1x 2b 3c 4d 5e");
    let full = client.query("REFRESH visits FULL SYNC").await;
    assert_eq!(full.only("state"), "SUCCEEDED");
    assert_eq!(client.query(VISITS).await.cell(), "9z");
}

#[tokio::test]
async fn a_streaming_table_that_does_not_ask_fails_as_ever() {
    let (_server, mut client) = start(&Options::new()).await;
    for clause in ["", "REFRESH POLICY INCREMENTAL ON FULL REFRESH FAIL"] {
        clicks_read_once(&mut client, clause).await;
        client.update("DELETE FROM clicks WHERE id = 1").await;
        client.refresh("visits").await.expect("FAILED");
        assert_eq!(client.query(VISITS).await.cell(), "1a 2b 3c");
        client.script("DROP STREAMING TABLE visits PURGE; DROP TABLE clicks PURGE").await;
    }
}

#[tokio::test]
async fn auto_cdc_over_events_that_were_changed_asks_too() {
    let (_server, mut client) = start(&Options::new()).await;
    client
        .script(&format!(
            "CREATE TABLE events (id BIGINT, name STRING, seq BIGINT);
             INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 1);
             CREATE STREAMING TABLE people {ASKING}
             FLOW AUTO CDC FROM STREAM events KEYS (id) SEQUENCE BY seq COLUMNS id, name"
        ))
        .await;
    client.newest_job("main.people").await.expect("SUCCEEDED");
    client.update("DELETE FROM events WHERE id = 2").await;
    let asked = client.refresh("people").await;
    asked.expect("AWAITING_APPROVAL");
    client.query(&format!("APPROVE JOB '{}'", asked.id)).await;
    client.job(&asked.id).await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT count(*) FROM people").await.cell(), "1");
}
