//! A worker killed at any point leaves either nothing or the finished version, and the next one
//! finishes the books.

use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

use crate::lake::Log;

/// Points at which a debug build can be told to die.
const POINTS: [&str; 4] = ["claimed", "staged", "committed", "before_finish"];

async fn start(options: &Options) -> (Server, Client) {
    let server = options.start();
    let client = Client::connect(&server).await;
    (server, client)
}

async fn log(client: &mut Client) -> Log {
    Log::at(
        &client.query("SELECT location FROM system.transforms WHERE name = 'main.m'").await.cell(),
    )
}

/// Starts a server that dies at the point, and sends it a statement that queues a job.
async fn die_at(options: &Options, point: &str, statement: &str) {
    let (server, mut client) = start(&options.clone().env("WHIMBREL_CRASH_AT", point)).await;
    // The answer may be lost with the server.
    let _ = client.flight_info(statement).await;
    let ended = server.wait();
    assert!(!ended.status.success(), "it did not die at '{point}':\n{}", ended.log);
}

#[tokio::test]
async fn the_first_refresh_survives_a_death_at_every_point() {
    for point in POINTS {
        let options = Options::new();
        let (server, mut client) = start(&options).await;
        client.script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2)").await;
        server.stop();

        die_at(&options, point, "CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t").await;

        let (server, mut client) = start(&options).await;
        let job = client.newest_job("main.m").await;
        job.expect("SUCCEEDED");
        assert_eq!(job.output_version, "0", "{point}");
        assert_eq!(client.query("SELECT s FROM m").await.cell(), "3", "{point}");
        let log = log(&mut client).await;
        assert_eq!((log.newest(), log.runs().len()), (0, 1), "{point}");
        assert_eq!(client.count("system.runs").await, 1, "{point}");
        let attempt = client.query("SELECT attempt FROM system.runs").await.cell();
        assert_eq!(attempt, "2", "{point}");
        client.refresh("m").await.expect("SKIPPED_NO_CHANGE");
        server.stop();
    }
}

#[tokio::test]
async fn a_later_refresh_survives_a_death_at_every_point() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT);
             INSERT INTO t VALUES (1);
             CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    server.stop();
    for (version, point) in (1..).zip(POINTS) {
        let (server, mut client) = start(&options).await;
        client.update("INSERT INTO t VALUES (1)").await;
        server.stop();

        die_at(&options, point, "REFRESH MATERIALIZED VIEW m").await;

        let (server, mut client) = start(&options).await;
        client.newest_job("main.m").await.expect("SUCCEEDED");
        let n = client.query("SELECT n FROM m").await.cell();
        assert_eq!(n, (version + 1).to_string(), "{point}");
        let log = log(&mut client).await;
        let expected: Vec<_> = (0..=version).map(|n| (n, n + 1)).collect();
        assert_eq!((log.newest(), log.runs()), (version, expected), "{point}");
        server.stop();
    }
}

#[tokio::test]
async fn what_nobody_has_booked_yet_is_verified_by_what_it_has_read() {
    for (refresh, whole) in
        [("REFRESH MATERIALIZED VIEW m", true), ("REFRESH MATERIALIZED VIEW m WHERE g = 1", false)]
    {
        let options = Options::new();
        let (server, mut client) = start(&options).await;
        client
            .script(
                "CREATE TABLE t (g BIGINT, a BIGINT);
                 INSERT INTO t VALUES (1, 0), (2, 0);
                 CREATE MATERIALIZED VIEW m PARTITIONED BY (g) AS SELECT g, a FROM t",
            )
            .await;
        client.newest_job("main.m").await.expect("SUCCEEDED");
        client.update("UPDATE t SET a = a + 1").await;
        server.stop();

        // Its lease outlives the test, so nobody does its books.
        let dying = options.clone().env("WHIMBREL__REFRESH__LEASE", "1h");
        die_at(&dying, "committed", refresh).await;

        let (server, mut client) = start(&options).await;
        let found = client.query("VERIFY m").await;
        assert_eq!(found.only("version"), "1", "{refresh}");
        assert_eq!(found.only("verdict"), "EQUAL", "{refresh}: {}", found.only("differing"));
        let note = found.only("note");
        assert_eq!(whole, !note.contains("g = 1"), "{refresh}: {note}");
        let state = client.query("SELECT state FROM system.jobs WHERE finished_at IS NULL").await;
        assert_eq!(state.cell(), "COMMITTING", "{refresh}");
        server.stop();
    }
}

#[tokio::test]
async fn a_streaming_table_gets_each_row_once_whenever_its_runs_die() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT);
             INSERT INTO t VALUES (0);
             CREATE STREAMING TABLE m AS SELECT a FROM STREAM t;
             CREATE TABLE old AS SELECT CAST(-1 AS BIGINT) AS a",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.update("CREATE FLOW old_rows AS INSERT INTO ONCE m BY NAME SELECT a FROM old").await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    server.stop();
    for (row, point) in (1..).zip(POINTS) {
        let (server, mut client) = start(&options).await;
        client.update(&format!("INSERT INTO t VALUES ({row})")).await;
        server.stop();

        die_at(&options, point, "REFRESH STREAMING TABLE m").await;

        let (server, mut client) = start(&options).await;
        client.newest_job("main.m").await.expect("SUCCEEDED");
        let rows = client.query("SELECT count(*), count(DISTINCT a), max(a) FROM m").await.text();
        assert_eq!(rows, format!("{0}|{0}|{row}", row + 2), "{point}");
        // What was booked later is what that run has written.
        let newest =
            "SELECT rows_in, rows_written FROM system.runs ORDER BY started_at DESC LIMIT 1";
        assert_eq!(client.query(newest).await.text(), "1|1", "{point}");
        client.refresh("m").await.expect("SKIPPED_NO_CHANGE");
        server.stop();
    }
}

#[tokio::test]
async fn a_table_and_its_quarantine_agree_whenever_a_run_dies() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT);
             INSERT INTO t VALUES (1), (-1);
             CREATE MATERIALIZED VIEW m
               (CONSTRAINT positive EXPECT (a > 0) ON VIOLATION QUARANTINE ROW)
               AS SELECT a FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    server.stop();
    let points = POINTS.into_iter().chain(["quarantine_committed"]);
    for (row, point) in (2..).zip(points) {
        for (statement, changed) in [
            (format!("INSERT INTO t VALUES ({row}), (-{row})"), "APPEND"),
            // Rows that went cannot be told apart any more, so all of them are computed anew.
            (format!("UPDATE t SET a = a WHERE a = {row}"), "FULL"),
        ] {
            let (server, mut client) = start(&options).await;
            client.update(&statement).await;
            server.stop();

            die_at(&options, point, "REFRESH MATERIALIZED VIEW m").await;

            let (server, mut client) = start(&options).await;
            client.newest_job("main.m").await.expect("SUCCEEDED");
            let table = "SELECT count(*), count(DISTINCT a), sum(a) FROM m";
            let sum: i64 = (1..=row).sum();
            let table = client.query(table).await.text();
            assert_eq!(table, format!("{row}|{row}|{sum}"), "{point} {changed}");
            let aside = "SELECT count(*), count(DISTINCT a), -sum(a) FROM QUARANTINE(m)";
            let aside = client.query(aside).await.text();
            assert_eq!(aside, format!("{row}|{row}|{sum}"), "{point} {changed}");
            let strategy = "SELECT strategy FROM system.runs ORDER BY run_seq DESC LIMIT 1";
            assert_eq!(client.query(strategy).await.cell(), changed, "{point}");
            client.refresh("m").await.expect("SKIPPED_NO_CHANGE");
            server.stop();
        }
    }
}

#[tokio::test]
async fn rows_leave_a_quarantine_once_whenever_their_release_dies() {
    let expecting = |condition: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE m
               (CONSTRAINT right_one EXPECT ({condition}) ON VIOLATION QUARANTINE ROW)
               AS SELECT a FROM STREAM t"
        )
    };
    for point in POINTS.into_iter().chain(["quarantine_committed"]) {
        let options = Options::new();
        let (server, mut client) = start(&options).await;
        client
            .script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (-1), (-2), (-3)")
            .await;
        client.update(&expecting("a > 0")).await;
        client.newest_job("main.m").await.expect("SUCCEEDED");
        client.update(&expecting("a > -3")).await;
        client.newest_job("main.m").await;
        server.stop();

        die_at(&options, point, "RELEASE QUARANTINE m").await;

        let (server, mut client) = start(&options).await;
        client.newest_job("main.m").await.expect("SUCCEEDED");
        let table = "SELECT count(*), count(DISTINCT a), sum(a) FROM m";
        assert_eq!(client.query(table).await.text(), "3|3|-2", "{point}");
        let aside = "SELECT count(*), min(a) FROM QUARANTINE(m)";
        assert_eq!(client.query(aside).await.text(), "1|-3", "{point}");
        let result = "SELECT result FROM system.jobs WHERE kind = 'RELEASE'";
        let result = client.query(result).await.cell();
        assert_eq!(result, r#"{"rows_released":2,"rows_kept":1}"#, "{point}");
        assert_eq!(client.query("RELEASE QUARANTINE m").await.text(), "0|1", "{point}");
        client.update("INSERT INTO t VALUES (5), (-5)").await;
        client.refresh("m").await.expect("SUCCEEDED");
        assert_eq!(client.query(table).await.text(), "4|4|3", "{point}");
        assert_eq!(client.query(aside).await.text(), "2|-5", "{point}");
        server.stop();
    }
}

#[tokio::test]
async fn an_optimize_survives_a_death_at_every_point() {
    for point in POINTS {
        let options = Options::new();
        let (server, mut client) = start(&options).await;
        client
            .script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)")
            .await;
        server.stop();

        die_at(&options, point, "OPTIMIZE t").await;

        let (server, mut client) = start(&options).await;
        client.newest_job("main.t").await.expect("SUCCEEDED");
        assert_eq!(client.query("SELECT count(*), sum(a) FROM t").await.text(), "2|3", "{point}");
        let table = client.query("DESCRIBE DETAIL t").await;
        assert_eq!(table.only("num_files"), "1", "{point}");
        let log = Log::at(&table.only("location"));
        assert_eq!(log.newest(), 3, "{point}: put together once");
        let attempt = client.query("SELECT attempt FROM system.runs").await.cell();
        assert_eq!(attempt, "2", "{point}");
        server.stop();
    }
}

#[tokio::test]
async fn a_table_whose_creation_dies_is_there_whole_or_can_be_created_again() {
    tables_whose_creation_dies(Options::new).await;
}

#[tokio::test]
async fn a_table_whose_creation_dies_is_there_whole_or_can_be_created_again_on_s3() {
    tables_whose_creation_dies(|| Options::new().on_s3()).await;
}

async fn tables_whose_creation_dies(options: impl Fn() -> Options) {
    for point in ["staged", "committed"] {
        let options = options();
        die_at(&options, point, "CREATE TABLE t AS SELECT 1 AS a").await;
        let (server, mut client) = start(&options).await;
        client.update("CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS a").await;
        assert_eq!(client.query("SELECT a FROM t").await.cell(), "1", "{point}");
        client.update("INSERT INTO t VALUES (2)").await;
        assert_eq!(client.query("SELECT sum(a) FROM t").await.cell(), "3", "{point}");
        server.stop();
    }
}

#[tokio::test]
async fn a_refresh_on_s3_survives_a_death_at_every_point() {
    for point in POINTS {
        let options = Options::new().on_s3();
        let (server, mut client) = start(&options).await;
        client.script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2)").await;
        server.stop();

        die_at(&options, point, "CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t").await;

        let (server, mut client) = start(&options).await;
        client.newest_job("main.m").await.expect("SUCCEEDED");
        assert_eq!(client.query("SELECT s FROM m").await.cell(), "3", "{point}");
        let history = client.query("DESCRIBE HISTORY m").await;
        assert_eq!(history.len(), 1, "{point}: published once");
        server.stop();
    }
}

#[tokio::test]
async fn sigkill_at_any_moment_loses_and_repeats_nothing() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT);
             CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n, sum(a) AS s FROM t",
        )
        .await;
    let mut running = server;
    for round in 0..6 {
        let mut client = Client::connect(&running).await;
        client.update(&format!("INSERT INTO t VALUES ({round})")).await;
        let id = client.query("REFRESH MATERIALIZED VIEW m").await.only("job_id");
        // Killed in a state that differs from round to round, if it is seen at all.
        let state = ["QUEUED", "PLANNING", "RUNNING", "COMMITTING"][round % 4];
        eventually("the job has come that far", || {
            let (mut client, id) = (client.clone(), id.clone());
            async move {
                let sql = format!("SELECT state FROM system.jobs WHERE job_id = '{id}'");
                let now = client.query(&sql).await.cell();
                let over = ["SUCCEEDED", "SKIPPED_NO_CHANGE", "FAILED"].contains(&now.as_str());
                (over || now == state).then_some(())
            }
        })
        .await;
        running.kill();
        running = options.start();
    }
    let mut client = Client::connect(&running).await;
    for id in client.jobs_of("main.m").await {
        let ended = client.job(&id).await;
        assert!(["SUCCEEDED", "SKIPPED_NO_CHANGE"].contains(&ended.state.as_str()), "{ended:?}");
    }
    assert_eq!(client.query("SELECT n, s FROM m").await.text(), "6|15");
    let log = log(&mut client).await;
    let succeeded = client
        .query(
            "SELECT output_version, run_seq FROM system.runs WHERE state = 'SUCCEEDED' ORDER BY 1",
        )
        .await
        .lines();
    let committed: Vec<_> = log.runs().iter().map(|(v, seq)| format!("{v}|{seq}")).collect();
    assert_eq!(committed, succeeded, "each version belongs to one run and each run to one version");
    assert_eq!(log.newest() + 1, i64::try_from(committed.len()).unwrap());
}

#[tokio::test]
async fn files_of_a_failed_refresh_do_not_stay() {
    let (_server, mut client) = start(&Options::new()).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT);
             INSERT INTO t VALUES (1);
             CREATE MATERIALIZED VIEW m AS SELECT 1 / a AS x FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES (0)").await;
    client.refresh("m").await.expect("FAILED");
    let log = log(&mut client).await;
    assert_eq!((log.newest(), log.orphans()), (0, Vec::new()));
}

#[tokio::test]
async fn a_part_is_published_once_whenever_its_run_dies() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    client
        .script(
            "CREATE TABLE t (g BIGINT, a BIGINT);
             INSERT INTO t VALUES (1, 0), (2, 0);
             CREATE MATERIALIZED VIEW m PARTITIONED BY (g) AS SELECT g, a FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    server.stop();
    for (version, point) in (1..).zip(POINTS) {
        let (server, mut client) = start(&options).await;
        client.update("UPDATE t SET a = a + 1").await;
        server.stop();

        die_at(&options, point, "REFRESH MATERIALIZED VIEW m WHERE g = 1").await;

        let (server, mut client) = start(&options).await;
        client.newest_job("main.m").await.expect("SUCCEEDED");
        let rows = client.query("SELECT a FROM m ORDER BY g").await.lines();
        assert_eq!(rows, [version.to_string().as_str(), "0"], "{point}");
        let log = log(&mut client).await;
        let expected: Vec<_> = (0..=version).map(|n| (n, n + 1)).collect();
        assert_eq!((log.newest(), log.runs()), (version, expected), "{point}");
        server.stop();
    }
    // What was left is mixed, whoever did the books.
    let (_server, mut client) = start(&options).await;
    client.refresh("m").await.expect("SUCCEEDED");
    let reason = client
        .query(
            "SELECT reason FROM system.runs WHERE object = 'main.m' ORDER BY run_seq DESC LIMIT 1",
        )
        .await
        .cell();
    assert!(reason.starts_with("PARTS_REFRESHED"), "{reason}");
    assert_eq!(client.query("SELECT a FROM m ORDER BY g").await.lines(), ["4", "4"]);
}

#[tokio::test]
async fn a_backfill_goes_on_whenever_a_range_of_it_dies() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    client
        .script(
            "CREATE TABLE t (g BIGINT, a BIGINT);
             INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0);
             CREATE MATERIALIZED VIEW m PARTITIONED BY (g) AS SELECT g, a FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    server.stop();
    for (round, point) in (1..).zip(POINTS) {
        let (server, mut client) = start(&options).await;
        client.update("UPDATE t SET a = a + 1").await;
        server.stop();

        // The first range dies; then, with a server that dies again, the next one.
        die_at(&options, point, "BACKFILL m FROM 1 TO 3 BY 1 ASYNC").await;
        let crashing = options.clone().env("WHIMBREL_CRASH_AT", point);
        let ended = match crashing.try_start() {
            Ok(again) => again.wait(),
            Err(ended) => ended,
        };
        assert!(!ended.status.success(), "it did not die at '{point}':\n{}", ended.log);

        let (server, mut client) = start(&options).await;
        let newest = "SELECT job_id FROM system.jobs WHERE kind = 'BACKFILL' ORDER BY queued_at DESC LIMIT 1";
        let parent = client.query(newest).await.cell();
        client.query(&format!("WAIT FOR JOB '{parent}' TIMEOUT 1 MINUTE")).await;
        let shown = client
            .query(&format!(
                "SELECT state, ranges, ranges_done, ranges_failed FROM system.jobs WHERE job_id = '{parent}'"
            ))
            .await
            .text();
        assert_eq!(shown, "SUCCEEDED|3|3|0", "{point}");
        let rows = client.query("SELECT a FROM m ORDER BY g").await.lines();
        let now = round.to_string();
        assert_eq!(rows, [now.as_str(), &now, &now, "0"], "{point}");
        // Each range is one commit, whatever died.
        let log = log(&mut client).await;
        let expected: Vec<_> = (0..=3 * round).map(|n| (n, n + 1)).collect();
        assert_eq!((log.newest(), log.runs()), (3 * round, expected), "{point}");
        server.stop();
    }
}
