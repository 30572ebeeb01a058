//! What wakes a transform without being asked, and processes that do nothing but its runs.

use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server, postgres_url},
};

use crate::lake::Log;

#[tokio::test]
async fn a_trigger_refreshes_when_an_input_has_a_new_version() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (k VARCHAR, a BIGINT);
             INSERT INTO t VALUES ('x', 1);
             CREATE VIEW seen AS SELECT * FROM t;
             CREATE MATERIALIZED VIEW m TRIGGER ON UPDATE AS
             SELECT k, sum(a) AS s FROM seen GROUP BY k",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES ('x', 2)").await;
    eventually("the view has the new row", || {
        let url = server.address().to_owned();
        async move {
            let mut client = Client::connect_to(&url).await;
            let sum = client.query("SELECT s FROM m").await.cell();
            (sum == "3").then_some(())
        }
    })
    .await;
    let asked = client.query("SELECT cause, requested_by FROM system.jobs LIMIT 1").await;
    assert_eq!(asked.rows(), [["automatic", "trigger"]]);
    // Suspended it sleeps on, and what came meanwhile is there once it is awake.
    client.script("SUSPEND m; INSERT INTO t VALUES ('x', 4)").await;
    let failure = client.failure("REFRESH MATERIALIZED VIEW m SYNC").await;
    assert!(failure.message.contains("is suspended"), "{failure:?}");
    assert_eq!(client.query("SELECT s FROM m").await.cell(), "3");
    client.update("RESUME m").await;
    eventually("the view has what came while it slept", || {
        let url = server.address().to_owned();
        async move {
            let mut client = Client::connect_to(&url).await;
            let sum = client.query("SELECT s FROM m").await.cell();
            (sum == "7").then_some(())
        }
    })
    .await;
}

#[test]
fn a_worker_refuses_a_catalog_that_serves_one_process() {
    let options = Options::new();
    let output = options.run(&["worker", "--data-dir", options.data().to_str().unwrap()], "");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("serves one process at a time"), "{text}");
    assert!(text.contains("whimbrel serve"), "{text}");
}

/// A server dies with a job, then one worker after another, each a little further on.
#[tokio::test]
async fn workers_take_over_what_died_with_others_and_apply_it_once() {
    let catalog = postgres_url("e2e_workers");
    let options = Options::new().arg("--catalog").arg(catalog.clone());
    let server = options.start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (k VARCHAR, a BIGINT);
             INSERT INTO t VALUES ('x', 1), ('y', 2);
             CREATE MATERIALIZED VIEW m AS SELECT k, sum(a) AS s FROM t GROUP BY k",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES ('x', 10)").await;
    server.stop();

    let dying = options.clone().env("WHIMBREL_CRASH_AT", "claimed");
    let server = dying.start();
    let mut client = Client::connect(&server).await;
    let _ = client.flight_info("REFRESH MATERIALIZED VIEW m").await;
    assert!(!server.wait().status.success());
    let data = options.data().to_str().unwrap().to_owned();
    let worker = ["worker", "--catalog", &catalog, "--data-dir", &data];
    for point in ["staged", "committed"] {
        let died = options.clone().env("WHIMBREL_CRASH_AT", point).run(&worker, "");
        let log = String::from_utf8_lossy(&died.stderr).into_owned();
        assert!(!died.status.success(), "it did not die at '{point}':\n{log}");
        let out = String::from_utf8_lossy(&died.stdout).into_owned();
        assert!(out.starts_with("working on "), "{out}");
    }

    let server = options.start();
    let mut client = Client::connect(&server).await;
    let job = client.newest_job("main.m").await;
    job.expect("SUCCEEDED");
    assert_eq!(job.output_version, "1");
    let run = client
        .query("SELECT strategy, attempt FROM system.runs WHERE output_version = 1 AND object = 'main.m'")
        .await;
    assert_eq!(run.rows(), [["MERGE", "4"]]);
    assert_eq!(
        client.query("SELECT k, s FROM m ORDER BY k").await.rows(),
        [["x", "11"], ["y", "2"]]
    );
    let location =
        client.query("SELECT location FROM system.transforms WHERE name = 'main.m'").await.cell();
    let log = Log::at(&location);
    assert_eq!((log.newest(), log.runs().len()), (1, 2));
}

#[tokio::test]
async fn processes_that_share_a_catalog_take_jobs_of_their_profiles() {
    let catalog = postgres_url("e2e_profiles");
    let options = Options::new()
        .arg("--catalog")
        .arg(catalog)
        .env("WHIMBREL__REFRESH__PROFILES__LARGE__RUNS", "1");
    let usual = options.clone().env("WHIMBREL__REFRESH__TAKE_PROFILES", "default").start();
    let mut client = Client::connect(&usual).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT);
             CREATE MATERIALIZED VIEW large OPTIONS (profile = 'large') AS SELECT a FROM t;
             CREATE MATERIALIZED VIEW usual AS SELECT a FROM t",
        )
        .await;
    // The older one is for others, and keeps nobody waiting.
    client.newest_job("main.usual").await.expect("SUCCEEDED");
    let state = "SELECT state FROM system.jobs WHERE object = 'main.large'";
    assert_eq!(client.query(state).await.cell(), "QUEUED");
    let large = options.env("WHIMBREL__REFRESH__TAKE_PROFILES", "large").start();
    client.newest_job("main.large").await.expect("SUCCEEDED");
    let workers = "SELECT count(DISTINCT worker) FROM system.runs";
    assert_eq!(client.query(workers).await.cell(), "2");
    usual.stop();
    large.stop();
}
