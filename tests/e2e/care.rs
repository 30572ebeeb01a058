//! OPTIMIZE and VACUUM are jobs: watched, stopped, taken over, one at a time for each table.

use proto::v1::{JobKind, JobState, WatchRequest, jobs_client::JobsClient};
use tonic::Code;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

use crate::lake::Log;

/// A server whose work stands still at the point, and a table of three files.
async fn standing_still(options: &Options, point: &str) -> (Server, Client) {
    let server = options.clone().env("WHIMBREL_PAUSE_AT", point).start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT) TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 hours');
             INSERT INTO t VALUES (1), (2);
             INSERT INTO t VALUES (3);
             INSERT INTO t VALUES (4)",
        )
        .await;
    (server, client)
}

async fn log(client: &mut Client, table: &str) -> Log {
    Log::at(&client.query(&format!("DESCRIBE DETAIL {table}")).await.only("location"))
}

/// Waits until so many files of a running job are done.
async fn has_come_to(client: &Client, id: &str, files: &str) {
    eventually("the job has come that far", || {
        let mut client = client.clone();
        async move {
            let sql = format!(
                "SELECT state, files, files_expected FROM system.jobs WHERE job_id = '{id}'"
            );
            (client.query(&sql).await.text() == format!("RUNNING|{files}")).then_some(())
        }
    })
    .await;
}

#[tokio::test]
async fn an_optimize_is_stopped_before_its_commit_and_leaves_nothing() {
    let (_server, mut client) = standing_still(&Options::new(), "staged").await;
    let log = log(&mut client, "t").await;
    let before = log.newest();
    // Whoever waits no longer leaves the job alone.
    let late = client.try_query("OPTIMIZE t SYNC TIMEOUT 100 MILLISECONDS").await.unwrap_err();
    late.expect(Code::DeadlineExceeded, &["main.t"]);
    let id = client.query("SELECT job_id FROM system.jobs").await.cell();
    has_come_to(&client, &id, "3|3").await;
    assert_eq!(log.orphans().len(), 1, "the new file is written");

    client.query(&format!("CANCEL JOB '{id}'")).await;
    client.job(&id).await.expect("CANCELLED");
    eventually("the staged file is gone", || {
        let orphans = log.orphans();
        async move { orphans.is_empty().then_some(()) }
    })
    .await;
    assert_eq!(log.newest(), before);
    assert_eq!(client.query("SELECT count(*), sum(a) FROM t").await.text(), "4|10");
}

#[tokio::test]
async fn who_waits_for_an_optimize_is_told_that_it_was_stopped() {
    let (_server, client) = standing_still(&Options::new(), "staged").await;
    let mut waiting = client.clone();
    let waits = tokio::spawn(async move { waiting.try_query("OPTIMIZE t").await });
    let id = eventually("the job runs", || {
        let mut client = client.clone();
        async move {
            let sql = "SELECT job_id FROM system.jobs WHERE state = 'RUNNING'";
            client.query(sql).await.column("job_id").pop()
        }
    })
    .await;
    client.clone().query(&format!("CANCEL JOB '{id}'")).await;
    let told = waits.await.unwrap().unwrap_err();
    told.expect(Code::FailedPrecondition, &["OPTIMIZE of 'main.t' ended CANCELLED"]);
}

#[tokio::test]
async fn a_vacuum_is_stopped_between_deletions() {
    let (_server, mut client) = standing_still(&Options::new(), "deleting").await;
    let log = log(&mut client, "t").await;
    client.update("DELETE FROM t WHERE a > 2").await;
    let files = client.query("VACUUM t DRY RUN").await.lines();
    assert_eq!(files.len(), 2);
    let id = client.query("VACUUM t ASYNC").await.only("job_id");
    has_come_to(&client, &id, "0|2").await;
    client.query(&format!("CANCEL JOB '{id}'")).await;
    client.job(&id).await.expect("CANCELLED");
    for file in files {
        assert!(log.folder().join(&file).is_file(), "{file}");
    }
    // A commit does not wait for a vacuum that was stopped.
    client.update("INSERT INTO t VALUES (5)").await;
    assert_eq!(client.count("t").await, 3);
}

#[tokio::test]
async fn work_on_one_table_is_done_one_after_the_other() {
    let (_server, mut client) = standing_still(&Options::new(), "staged").await;
    client.script("CREATE TABLE other (a BIGINT); INSERT INTO other VALUES (1)").await;
    let first = client.query("OPTIMIZE t ASYNC").await.only("job_id");
    has_come_to(&client, &first, "3|3").await;
    let second = client.query("VACUUM t ASYNC").await.only("job_id");
    let again = client.query("VACUUM t ASYNC").await.only("job_id");
    assert_eq!(second, again, "one that waits already");
    // Other tables do not wait, and nor do writers of this one.
    assert_eq!(client.query("VACUUM other").await.only("files_deleted"), "0");
    client.update("INSERT INTO t VALUES (5)").await;
    let state = format!("SELECT state FROM system.jobs WHERE job_id = '{second}'");
    assert_eq!(client.query(&state).await.cell(), "QUEUED");
    client.query(&format!("CANCEL JOB '{first}'")).await;
    client.job(&first).await.expect("CANCELLED");
    client.job(&second).await.expect("SUCCEEDED");
}

#[tokio::test]
async fn an_optimize_whose_server_was_killed_is_done_by_the_next_one() {
    let options = Options::new();
    let (server, mut client) = standing_still(&options, "staged").await;
    let id = client.query("OPTIMIZE t ASYNC").await.only("job_id");
    has_come_to(&client, &id, "3|3").await;
    server.kill();

    let server = options.start();
    let mut client = Client::connect(&server).await;
    client.job(&id).await.expect("SUCCEEDED");
    let sql = format!("SELECT kind, attempt, files, result FROM system.runs WHERE job_id = '{id}'");
    let run = client.query(&sql).await;
    assert_eq!((run.only("kind"), run.only("attempt")), ("OPTIMIZE".into(), "2".into()));
    let result = run.only("result");
    assert!(result.starts_with(r#"{"files_removed":3,"files_added":1,"#), "{result}");
    assert_eq!(client.query("DESCRIBE DETAIL t").await.only("num_files"), "1");
    assert_eq!(client.query("SELECT count(*), sum(a) FROM t").await.text(), "4|10");
    // What the dead one had staged belongs to nobody.
    let log = log(&mut client, "t").await;
    assert_eq!(log.orphans().len(), 1);
    client.query("VACUUM t FULL").await;
    assert_eq!(log.orphans().len(), 0);
}

#[tokio::test]
async fn an_optimize_is_watched_over_grpc() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.script("CREATE TABLE t AS SELECT 1 AS a; INSERT INTO t VALUES (2)").await;
    let queued = client.query("OPTIMIZE t ASYNC").await;
    assert_eq!((queued.only("kind"), queued.only("cause")), ("OPTIMIZE".into(), "request".into()));
    assert_eq!(queued.schema, client.query("SHOW JOBS").await.schema);
    let id = queued.only("job_id");
    let mut jobs = JobsClient::new(client.channel());
    let mut watch = jobs.watch(WatchRequest { job_ids: vec![id] }).await.unwrap().into_inner();
    let mut last = None;
    while let Some(changed) = watch.message().await.unwrap() {
        last = changed.jobs.into_iter().next();
    }
    let last = last.unwrap();
    assert_eq!((last.kind(), last.state()), (JobKind::Optimize, JobState::Succeeded));
    assert_eq!((last.files, last.files_expected, last.output_version), (2, 2, Some(2)));
    assert!(last.result().contains(r#""commits":1"#), "{}", last.result());
}

#[tokio::test]
async fn files_are_put_in_the_order_that_their_table_declares() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT, b BIGINT) CLUSTER BY (b);
             INSERT INTO t VALUES (1, 9), (2, 3);
             INSERT INTO t VALUES (3, 5)",
        )
        .await;
    assert_eq!(client.query("OPTIMIZE t").await.only("commits"), "1");
    assert_eq!(client.query("SELECT b FROM t").await.lines(), ["3", "5", "9"]);
    let said = client.query("DESCRIBE HISTORY t LIMIT 1").await.only("operation_parameters");
    assert!(said.contains(r#""zOrderBy":"[\"b\"]""#), "{said}");
    assert_eq!(client.query("OPTIMIZE t").await.only("commits"), "0");
    // What the statement says goes before.
    assert_eq!(client.query("OPTIMIZE t ZORDER BY (a)").await.only("commits"), "1");
    assert_eq!(client.query("SELECT b FROM t").await.lines(), ["9", "3", "5"]);
    client.update("ALTER TABLE t CLUSTER BY NONE").await;
    assert_eq!(client.query("OPTIMIZE t").await.only("commits"), "0");

    // A view is ordered as it declares now, and its next refresh needs nothing of it.
    client
        .query("CREATE MATERIALIZED VIEW m CLUSTER BY (a) REFRESH POLICY INCREMENTAL AS SELECT a, b FROM t")
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.update("ALTER MATERIALIZED VIEW m CLUSTER BY (b)").await;
    assert_eq!(client.query("OPTIMIZE m").await.only("commits"), "1");
    assert_eq!(client.query("SELECT b FROM m").await.lines(), ["3", "5", "9"]);
    client.update("INSERT INTO t VALUES (4, 1)").await;
    client.refresh("m").await.expect("SUCCEEDED");
    let strategies = "SELECT strategy FROM system.runs WHERE object = 'main.m' AND kind = 'REFRESH' ORDER BY run_seq";
    assert_eq!(client.query(strategies).await.lines(), ["FULL", "APPEND"]);
}
