//! Materialized views: what creating, refreshing, waiting, cancelling and retrying them means.

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

use crate::lake::Log;

async fn client(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client.script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2), (3)").await;
    client
}

async fn location(client: &mut Client, view: &str) -> Log {
    let sql = format!("SELECT location FROM system.transforms WHERE name = '{view}'");
    Log::at(&client.query(&sql).await.cell())
}

/// A query that takes longer than any test.
const ENDLESS: &str = "SELECT count(*) AS n FROM wide AS a, wide AS b, wide AS c, wide AS d WHERE a.x + b.x + c.x + d.x < 0";

async fn wide(client: &mut Client) {
    client.update("CREATE TABLE wide AS SELECT unnest(range(1, 2000)) AS x").await;
}

#[tokio::test]
async fn creating_one_queues_its_first_refresh() {
    let server = Server::start();
    let mut client = client(&server).await;
    client.update("CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t").await;
    let job = client.newest_job("main.m").await;
    job.expect("SUCCEEDED");
    assert_eq!(job.output_version, "0");
    assert_eq!(client.query("SELECT s FROM m").await.cell(), "6");
    assert_eq!(client.query("SELECT cause FROM system.jobs").await.cell(), "definition");
    let run = client
        .query("SELECT state, strategy, rows_read, rows_written, output_version FROM system.runs")
        .await;
    assert_eq!(run.text(), "SUCCEEDED|FULL|3|1|0");
    let input = client.query("SELECT object, input, version FROM system.run_inputs").await;
    assert_eq!(input.text(), "main.m|main.t|1");
}

#[tokio::test]
async fn before_its_first_refresh_it_says_so() {
    let server = Server::start();
    let mut client = client(&server).await;
    wide(&mut client).await;
    client.update(&format!("CREATE MATERIALIZED VIEW m AS {ENDLESS}")).await;
    let failure = client.query_failure("SELECT n FROM m").await;
    failure.expect(Code::FailedPrecondition, &["main.m", "has not been refreshed", "hint"]);
}

#[tokio::test]
async fn a_refresh_answers_at_once_with_its_job() {
    let server = Server::start();
    let mut client = client(&server).await;
    wide(&mut client).await;
    client.update(&format!("CREATE MATERIALIZED VIEW m AS {ENDLESS}")).await;
    let row = client.query("REFRESH MATERIALIZED VIEW m ASYNC").await;
    let state = row.only("state");
    assert!(["QUEUED", "PLANNING", "RUNNING"].contains(&state.as_str()), "{state}");
    assert_eq!(row.only("object"), "main.m");
    assert!(row.columns().contains(&"queued_at"));
    assert_eq!(row.only("watch_sql"), format!("WAIT FOR JOB '{}'", row.only("job_id")));
}

#[tokio::test]
async fn nothing_new_means_nothing_is_computed() {
    let server = Server::start();
    let mut client = client(&server).await;
    client.update("CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t").await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let again = client.refresh("m").await;
    again.expect("SKIPPED_NO_CHANGE");
    assert_eq!(location(&mut client, "main.m").await.newest(), 0);
    // The same definition again is no reason either.
    client.update("CREATE OR REFRESH MATERIALIZED VIEW m AS select sum(a) as s\nfrom t").await;
    client.newest_job("main.m").await.expect("SKIPPED_NO_CHANGE");
    // A new version of an input is.
    client.update("INSERT INTO t VALUES (10)").await;
    let refreshed = client.refresh("m").await;
    refreshed.expect("SUCCEEDED");
    assert_eq!(refreshed.output_version, "1");
    assert_eq!(client.query("SELECT s FROM m").await.cell(), "16");
    // And so is another definition.
    client.update("CREATE OR REFRESH MATERIALIZED VIEW m AS SELECT max(a) AS s FROM t").await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT s FROM m").await.cell(), "10");
    // FULL asks for it anyway.
    let row = client.query("REFRESH MATERIALIZED VIEW m FULL").await;
    client.job(&row.only("job_id")).await.expect("SUCCEEDED");
    let log = location(&mut client, "main.m").await;
    let runs = client
        .query(
            "SELECT output_version, run_seq FROM system.runs WHERE state = 'SUCCEEDED' ORDER BY 1",
        )
        .await
        .lines();
    let commits: Vec<_> = log.runs().iter().map(|(v, seq)| format!("{v}|{seq}")).collect();
    assert_eq!(commits, runs, "each version carries the number of its run");
    assert_eq!(log.newest(), 3);
}

#[tokio::test]
async fn a_chain_is_refreshed_in_its_order() {
    let server = Server::start();
    let mut client = client(&server).await;
    client
        .script(
            "CREATE MATERIALIZED VIEW a AS SELECT a + 1 AS n FROM t;
             CREATE VIEW between AS SELECT n * 10 AS n FROM a;
             CREATE MATERIALIZED VIEW b AS SELECT sum(n) AS n FROM between;
             CREATE MATERIALIZED VIEW c AS SELECT n + 1 AS n FROM b",
        )
        .await;
    for view in ["main.a", "main.b", "main.c"] {
        client.newest_job(view).await.expect("SUCCEEDED");
    }
    assert_eq!(client.query("SELECT n FROM c").await.cell(), "91");
    client.update("INSERT INTO t VALUES (4)").await;
    for statement in
        ["REFRESH MATERIALIZED VIEW c WITH UPSTREAM", "REFRESH MATERIALIZED VIEW a WITH DOWNSTREAM"]
    {
        let jobs = client.query(statement).await;
        assert_eq!(jobs.column("object"), ["main.a", "main.b", "main.c"], "{statement}");
        for job in jobs.column("job_id") {
            let ended = client.job(&job).await.state;
            assert!(["SUCCEEDED", "SKIPPED_NO_CHANGE"].contains(&ended.as_str()), "{ended}");
        }
        assert_eq!(client.query("SELECT n FROM c").await.cell(), "141");
    }
    // The second time around nothing had changed.
    for view in ["main.a", "main.b", "main.c"] {
        client.newest_job(view).await.expect("SKIPPED_NO_CHANGE");
    }
}

#[tokio::test]
async fn a_sync_refresh_answers_when_it_is_over() {
    let server = Server::start();
    let mut client = client(&server).await;
    client.update("CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t").await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES (4)").await;
    let row = client.query("REFRESH MATERIALIZED VIEW m SYNC").await;
    assert_eq!((row.only("state"), row.only("output_version")), ("SUCCEEDED".into(), "1".into()));
}

#[tokio::test]
async fn waiting_blocks_until_the_end_or_its_timeout() {
    let server = Server::start();
    let mut client = client(&server).await;
    wide(&mut client).await;
    let quick = client.query("CREATE MATERIALIZED VIEW quick AS SELECT a FROM t").await;
    let waited = client.query(&quick.only("watch_sql")).await;
    assert_eq!(waited.only("state"), "SUCCEEDED");
    let endless = client
        .query(&format!("CREATE MATERIALIZED VIEW endless AS {ENDLESS}"))
        .await
        .only("job_id");
    let failure =
        client.query_failure(&format!("WAIT FOR JOB '{endless}' TIMEOUT 200 MILLISECONDS")).await;
    failure.expect(Code::DeadlineExceeded, &["main.endless"]);
    let failure =
        client.query_failure("REFRESH MATERIALIZED VIEW endless SYNC TIMEOUT 1 SECOND").await;
    failure.expect(Code::DeadlineExceeded, &["main.endless"]);
}

#[tokio::test]
async fn a_running_job_can_be_cancelled_and_leaves_nothing() {
    let server = Server::start();
    let mut client = client(&server).await;
    wide(&mut client).await;
    let id = client.query(&format!("CREATE MATERIALIZED VIEW m AS {ENDLESS}")).await.only("job_id");
    eventually("the job runs", || {
        let (mut client, id) = (client.clone(), id.clone());
        async move {
            let state = format!("SELECT state FROM system.jobs WHERE job_id = '{id}'");
            (client.query(&state).await.cell() == "RUNNING").then_some(())
        }
    })
    .await;
    client.query(&format!("CANCEL JOB '{id}' REASON 'too slow'")).await;
    client.job(&id).await.expect("CANCELLED");
    let log = location(&mut client, "main.m").await;
    assert!(!log.folder().join("_delta_log/00000000000000000000.json").exists());
    // What is over cannot be cancelled.
    let failure = client.failure(&format!("CANCEL JOB '{id}'")).await;
    failure.expect(Code::FailedPrecondition, &["CANCELLED"]);
    // The server has its workers back.
    client.update("CREATE MATERIALIZED VIEW other AS SELECT a FROM t").await;
    client.newest_job("main.other").await.expect("SUCCEEDED");
}

#[tokio::test]
async fn a_users_mistake_fails_at_once_and_those_behind_are_told() {
    let server = Server::start();
    let mut client = client(&server).await;
    client
        .script(
            "CREATE MATERIALIZED VIEW first AS SELECT 10 / (a - 4) AS n FROM t;
             CREATE MATERIALIZED VIEW second AS SELECT sum(n) AS n FROM first;
             CREATE MATERIALIZED VIEW third AS SELECT n FROM second",
        )
        .await;
    client.newest_job("main.third").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES (4)").await;
    let jobs = client.query("REFRESH MATERIALIZED VIEW first WITH DOWNSTREAM").await;
    let ids = jobs.column("job_id");
    let first = client.job(&ids[0]).await;
    first.expect("FAILED");
    assert!(first.error.to_lowercase().contains("divide by zero"), "{first:?}");
    client.job(&ids[1]).await.expect("UPSTREAM_FAILED");
    client.job(&ids[2]).await.expect("UPSTREAM_FAILED");
    let attempts = format!("SELECT attempt FROM system.jobs WHERE job_id = '{}'", ids[0]);
    assert_eq!(client.query(&attempts).await.cell(), "1", "what cannot pass is not tried again");
    // What was there before is still there.
    assert_eq!(client.query("SELECT n FROM third").await.cell(), "-18");
    // Put right and retried from the end, the whole chain runs.
    client.update("INSERT OVERWRITE t VALUES (5), (6)").await;
    client.query(&format!("RETRY JOB '{}'", ids[2])).await;
    for id in &ids {
        client.job(id).await.expect("SUCCEEDED");
    }
    assert_eq!(client.query("SELECT n FROM third").await.cell(), "15");
    let failure = client.failure(&format!("RETRY JOB '{}'", ids[0])).await;
    failure.expect(Code::FailedPrecondition, &["SUCCEEDED"]);
}

#[tokio::test]
async fn a_partitioned_view_keeps_its_partitions_and_declared_columns() {
    let server = Server::start();
    let mut client = client(&server).await;
    client
        .update(
            "CREATE MATERIALIZED VIEW m (bucket COMMENT 'odd or even', n)
             PARTITIONED BY (bucket) COMMENT 'by bucket' TBLPROPERTIES ('team' = 'birds')
             AS SELECT a % 2, a FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let rows = client.query("SELECT bucket, n FROM m ORDER BY n").await.lines();
    assert_eq!(rows, ["1|1", "0|2", "1|3"]);
    let log = location(&mut client, "main.m").await;
    let partitioned = log.actions().iter().any(|(_, action)| {
        action.get("metaData").is_some_and(|meta| meta["partitionColumns"][0] == "bucket")
    });
    assert!(partitioned);
    let columns = client.query("DESCRIBE m").await;
    assert_eq!(columns.column("column"), ["bucket", "n"]);
    assert_eq!(columns.column("partition"), ["true", "false"]);
    assert_eq!(columns.column("comment"), ["odd or even", "NULL"]);
}

#[tokio::test]
async fn a_schedule_refreshes_without_being_asked() {
    let server = Options::new().start();
    let mut client = client(&server).await;
    client
        .update(
            "CREATE MATERIALIZED VIEW m SCHEDULE CRON '* * * * * *' AS SELECT sum(a) AS s FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES (4)").await;
    eventually("the schedule has refreshed the view", || {
        let mut client = client.clone();
        async move { (client.query("SELECT s FROM m").await.cell() == "10").then_some(()) }
    })
    .await;
    let causes = client.query("SELECT DISTINCT cause FROM system.jobs ORDER BY cause").await;
    assert_eq!(causes.lines(), ["definition", "schedule"]);
    let next = client.query("SELECT next_due_at IS NOT NULL FROM system.transforms").await;
    assert_eq!(next.cell(), "true");
}

#[tokio::test]
async fn dropping_keeps_the_data_unless_purge_is_said() {
    let server = Server::start();
    let mut client = client(&server).await;
    for (view, purge) in [("kept", ""), ("gone", " PURGE")] {
        client.update(&format!("CREATE MATERIALIZED VIEW {view} AS SELECT a FROM t")).await;
        client.newest_job(&format!("main.{view}")).await.expect("SUCCEEDED");
        let log = location(&mut client, &format!("main.{view}")).await;
        client.update(&format!("DROP MATERIALIZED VIEW {view}{purge}")).await;
        client
            .query_failure(&format!("SELECT * FROM {view}"))
            .await
            .expect(Code::NotFound, &[view]);
        assert_eq!(log.is_there(), purge.is_empty(), "{view}");
    }
    // The jobs stay for the record.
    assert_eq!(client.jobs_of("main.gone").await.len(), 1);
}

#[tokio::test]
async fn independent_views_read_their_inputs_at_the_pinned_version() {
    let server = Server::start();
    let mut client = client(&server).await;
    client.update("CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t").await;
    for n in 0..5 {
        client.update(&format!("INSERT INTO t VALUES ({n})")).await;
        client.query("REFRESH MATERIALIZED VIEW m").await;
    }
    for job in client.jobs_of("main.m").await {
        let ended = client.job(&job).await.state;
        assert!(["SUCCEEDED", "SKIPPED_NO_CHANGE"].contains(&ended.as_str()), "{ended}");
    }
    // Version v of the table has 3 rows at 1 and one more with each version.
    let runs = client
        .query(
            "SELECT r.output_version, i.version FROM system.runs AS r
             JOIN system.run_inputs AS i ON i.run_id = r.run_id
             WHERE r.state = 'SUCCEEDED' ORDER BY 1",
        )
        .await
        .rows();
    for run in runs {
        let (output, input) = (&run[0], run[1].parse::<i64>().unwrap());
        let n = client.query(&format!("SELECT n FROM m VERSION AS OF {output}")).await.cell();
        assert_eq!(n, (input + 2).to_string(), "version {output} was made from {input}");
    }
}
