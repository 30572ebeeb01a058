//! RETRY JOB … FROM FAILED: what failed of a graph run, again.

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

use crate::users::{login, with_users};

/// `good` and `bad` over one table, `both` over them, and `side` behind `good` alone. `bad` fails while
/// the gate is shut.
const DIAMOND: &str = "
    CREATE TABLE s (k BIGINT); INSERT INTO s VALUES (1);
    CREATE TABLE gate (shut BOOLEAN); INSERT INTO gate VALUES (false);
    CREATE MATERIALIZED VIEW good AS SELECT count(*) AS n FROM s;
    CREATE MATERIALIZED VIEW bad (CONSTRAINT opened EXPECT (NOT shut) ON VIOLATION FAIL UPDATE)
      AS SELECT count(*) AS n, bool_or(shut) AS shut FROM s CROSS JOIN gate;
    CREATE MATERIALIZED VIEW both AS SELECT good.n AS g, bad.n AS b FROM good CROSS JOIN bad;
    CREATE MATERIALIZED VIEW side AS SELECT n + 1 AS n FROM good";

const ALL: &str = "REFRESH good, bad, both, side";
const STATES: &str = "SELECT object, state FROM system.jobs WHERE graph_id =
    (SELECT max(graph_id) FROM system.jobs WHERE object = 'main.both') ORDER BY object";

async fn start() -> (Server, Client) {
    let server = Options::new().start();
    let client = Client::connect(&server).await;
    (server, client)
}

/// A graph run in which `bad` failed; the job of each view by its name.
async fn failed(client: &mut Client) -> Vec<(String, String)> {
    client.query(&format!("{ALL} SYNC")).await;
    client
        .script("INSERT INTO s VALUES (2); DELETE FROM gate; INSERT INTO gate VALUES (true)")
        .await;
    let queued = client.query(ALL).await;
    let jobs: Vec<_> = queued.column("object").into_iter().zip(queued.column("job_id")).collect();
    for (_, job) in &jobs {
        client.job(job).await;
    }
    let states = client.query(STATES).await.lines();
    let expected = [
        "main.bad|FAILED",
        "main.both|UPSTREAM_FAILED",
        "main.good|SUCCEEDED",
        "main.side|SUCCEEDED",
    ];
    assert_eq!(states, expected);
    jobs
}

fn job<'a>(jobs: &'a [(String, String)], object: &str) -> &'a str {
    &jobs.iter().find(|(of, _)| of == object).unwrap().1
}

#[tokio::test]
async fn what_failed_runs_again_at_the_versions_of_its_graph_run() {
    let (_server, mut client) = start().await;
    client.script(DIAMOND).await;
    let jobs = failed(&mut client).await;
    let runs = "SELECT count(*) FROM system.runs WHERE object IN ('main.good', 'main.side')";
    let before = client.query(runs).await.cell();
    // What came since is for the next graph run. The gate is one of its sources, so it stays shut.
    client
        .script("INSERT INTO s VALUES (3); DELETE FROM gate; INSERT INTO gate VALUES (false)")
        .await;
    let again = client.query(&format!("RETRY JOB '{}' FROM FAILED", job(&jobs, "main.side"))).await;
    assert_eq!(again.column("object"), ["main.bad", "main.both"]);
    assert_eq!(again.column("job_id"), [job(&jobs, "main.bad"), job(&jobs, "main.both")]);
    client.job(job(&jobs, "main.both")).await.expect("UPSTREAM_FAILED");
    client.job(job(&jobs, "main.bad")).await.expect("FAILED");

    // Without FROM FAILED what nobody has read yet is read anew: the gate, and not the source.
    client.query(&format!("RETRY JOB '{}'", job(&jobs, "main.both"))).await;
    client.job(job(&jobs, "main.both")).await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT g, b FROM both").await.text(), "2|2");
    assert_eq!(client.query(runs).await.cell(), before, "what succeeded is not run again");
    let failure =
        client.failure(&format!("RETRY JOB '{}' FROM FAILED", job(&jobs, "main.bad"))).await;
    failure.expect(Code::FailedPrecondition, &["no part of its graph run"]);
}

#[tokio::test]
async fn what_failed_for_a_reason_that_is_gone_succeeds() {
    let (_server, mut client) = start().await;
    client.script(DIAMOND).await;
    let jobs = failed(&mut client).await;
    client.script("INSERT INTO s VALUES (3)").await;
    // Another promise is another definition; its sources stay those of the graph run.
    client
        .update(
            "CREATE OR REFRESH MATERIALIZED VIEW bad
             AS SELECT count(*) AS n, bool_or(shut) AS shut FROM s CROSS JOIN gate",
        )
        .await;
    let newest = client.newest_job("main.bad").await;
    newest.expect("SUCCEEDED");
    // It has read what is newer than the graph run by then, and no table is taken back.
    client.query(&format!("RETRY JOB '{}' FROM FAILED", job(&jobs, "main.good"))).await;
    let overtaken = client.job(job(&jobs, "main.bad")).await;
    overtaken.expect("FAILED");
    assert!(overtaken.error.contains("another refresh was faster"), "{}", overtaken.error);
    client.job(job(&jobs, "main.both")).await.expect("UPSTREAM_FAILED");

    let alone = client.query("REFRESH good").await.only("job_id");
    client.job(&alone).await;
    let failure = client.failure(&format!("RETRY JOB '{alone}' FROM FAILED")).await;
    failure.expect(Code::FailedPrecondition, &["no graph run", "RETRY JOB without FROM FAILED"]);
}

#[tokio::test]
async fn who_repeats_all_that_failed_may_refresh_each_of_it() {
    let users = [("root", "secret-1"), ("bob", "secret-2")];
    let server = with_users(&Options::new(), &users);
    let mut root = login(&server, "root", "secret-1").await;
    let mut bob = login(&server, "bob", "secret-2").await;
    root.script(DIAMOND).await;
    let jobs = failed(&mut root).await;
    root.script("GRANT REFRESH ON good TO bob; GRANT SELECT ON both TO bob").await;
    let sql = format!("RETRY JOB '{}' FROM FAILED", job(&jobs, "main.good"));
    bob.failure(&sql).await.expect(Code::PermissionDenied, &["bob"]);
    root.script("GRANT REFRESH ON both TO bob").await;
    // He does not know of the third, and is not told its name.
    let failure = bob.failure(&sql).await;
    failure.expect(Code::PermissionDenied, &["may not know all of it"]);
    assert!(!failure.message.contains("main.bad"), "{failure}");
    root.script("GRANT REFRESH ON bad TO bob").await;
    assert_eq!(bob.query(&sql).await.column("object"), ["main.bad", "main.both"]);
}
