//! What streaming tables and checked transforms leave in the lake, and what their errors tell.

use tonic::Code;
use whimbrel_tests::{client::Client, process::Options};

use crate::lake::Log;

const SYNC: &str = "SYNC TIMEOUT 2 MINUTES";

#[tokio::test]
async fn a_changed_comment_of_a_streaming_table_is_in_its_log_after_the_next_refresh() {
    let server = Options::new().start();
    let mut client = Client::connect(&server).await;
    let create = |comment: &str, properties: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE s COMMENT '{comment}' TBLPROPERTIES ({properties}) \
             AS SELECT id FROM STREAM t"
        )
    };
    client.script("CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1)").await;
    client.query(&create("one", "'team' = 'a'")).await;
    client.query(&format!("REFRESH s {SYNC}")).await;
    let described = client.query("DESCRIBE DETAIL s").await;
    assert_eq!(
        (described.only("description"), described.only("version")),
        ("one".into(), "0".into())
    );

    // Without new rows, and with some.
    for (comment, rows) in [("two", ""), ("three", "INSERT INTO t VALUES (2)")] {
        client.script(rows).await;
        client.query(&create(comment, "'team' = 'a', 'kind' = 'b'")).await;
        client.query(&format!("REFRESH s {SYNC}")).await;
        let described = client.query("DESCRIBE DETAIL s").await;
        assert_eq!(described.only("description"), comment);
        assert!(described.only("properties").contains("kind"), "{}", described.text());
    }
    assert_eq!(client.count("s").await, 2);
    let log = Log::at(&client.query("DESCRIBE DETAIL s").await.only("location"));
    let before = log.newest();
    client.query(&format!("REFRESH s {SYNC}")).await;
    assert_eq!(log.newest(), before, "what is so already is not written again");
}

#[tokio::test]
async fn a_broken_promise_has_the_sqlstate_of_a_constraint() {
    let server = Options::new().start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1), (1), (2);
             CREATE TABLE others (id BIGINT); INSERT INTO others VALUES (1)",
        )
        .await;
    for (name, constraint, sqlstate) in [
        ("k1", "PRIMARY KEY (id)", "23505"),
        ("k2", "UNIQUE (id)", "23505"),
        ("k3", "FOREIGN KEY (id) REFERENCES others (id)", "23503"),
        ("k4", "EXPECT (id < 2) ON VIOLATION FAIL UPDATE", "23514"),
        // Another reason than a promise.
        ("k5", "EXPECT (10 / (id - 1) > 0)", "55000"),
    ] {
        let create = format!(
            "CREATE MATERIALIZED VIEW {name} (CONSTRAINT c {constraint}) AS SELECT id FROM t"
        );
        client.query(&create).await;
        let refused = client.try_query(&format!("REFRESH {name} {SYNC}")).await.unwrap_err();
        refused.expect(Code::FailedPrecondition, &[name, "FAILED"]);
        assert_eq!(refused.sqlstate.as_deref(), Some(sqlstate), "{refused}");
    }
}

#[tokio::test]
async fn vacuum_of_a_transform_takes_what_was_purged_from_its_quarantine() {
    let server = Options::new().start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1), (-1);
             CREATE MATERIALIZED VIEW m (CONSTRAINT c EXPECT (id > 0) ON VIOLATION QUARANTINE ROW)
               TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 hours')
               AS SELECT id FROM t",
        )
        .await;
    client.query(&format!("REFRESH m {SYNC}")).await;
    client.script("INSERT INTO t VALUES (2), (-2)").await;
    client.query(&format!("REFRESH m {SYNC}")).await;
    client.script("PURGE QUARANTINE m WHERE id = -1").await;
    let location = client.query("DESCRIBE DETAIL m").await.only("location");
    let aside = Log::at(&format!("{}__quarantine", location.trim_end_matches('/')));
    let files = || {
        let files = std::fs::read_dir(aside.folder()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "parquet")).count()
    };
    let before = files();
    let dry = client.query("VACUUM m RETAIN 0 HOURS DRY RUN").await.column("path");
    let named = dry.iter().filter(|path| path.contains("__quarantine/")).count();
    assert!(named > 0 && files() == before, "{dry:?}");
    let done = client.query("VACUUM m RETAIN 0 HOURS").await;
    assert_eq!(done.only("files_deleted"), dry.len().to_string());
    assert_eq!(files(), before - named);
    assert_eq!(client.query("SELECT id FROM QUARANTINE(m)").await.text(), "-2");
    assert_eq!(client.count("m").await, 2);
}

#[tokio::test]
async fn rows_out_of_events_are_explained_and_verified_as_those_of_a_view_are() {
    let server = Options::new().start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE events (id BIGINT, name STRING, seq BIGINT);
             INSERT INTO events VALUES (1, 'a', 1), (2, 'b', 1), (3, 'c', 1), (4, 'd', 1), (5, 'e', 1)",
        )
        .await;
    client
        .query(
            "CREATE STREAMING TABLE people REFRESH POLICY INCREMENTAL ON FULL REFRESH FAIL \
             FLOW AUTO CDC FROM STREAM events KEYS (id) SEQUENCE BY seq STORED AS SCD TYPE 2",
        )
        .await;
    client.newest_job("main.people").await.expect("SUCCEEDED");
    client.update("INSERT INTO events VALUES (1, 'aa', 2)").await;
    let explained = client.query("EXPLAIN REFRESH people").await.text();
    assert!(explained.contains("KEYS"), "{explained}");
    client.query(&format!("REFRESH people {SYNC}")).await;
    let verified = client.query("VERIFY people").await;
    assert_eq!(verified.only("verdict"), "EQUAL", "{}", verified.text());
    assert_eq!(verified.only("rows"), "6");

    // Events that came since belong to the next run.
    client.update("INSERT INTO events VALUES (2, 'bb', 2)").await;
    assert_eq!(client.query("VERIFY people").await.only("verdict"), "EQUAL");

    // Of events that were changed the next run would say no, and what is there stays right.
    client.update("DELETE FROM events WHERE id = 5").await;
    let explained = client.query("EXPLAIN REFRESH people").await.text();
    assert!(explained.contains("did more than add rows: DELETE"), "{explained}");
    let explained = client.query("EXPLAIN REFRESH people FULL").await.text();
    assert!(explained.contains("REQUESTED_FULL"), "{explained}");
    assert_eq!(client.query("VERIFY people").await.only("verdict"), "EQUAL");

    // Of events whose files are gone nothing can be said.
    let at_once = "('delta.deletedFileRetentionDuration' = 'interval 0 seconds')";
    client.script(&format!("ALTER TABLE events SET TBLPROPERTIES {at_once}")).await;
    client.query("VACUUM events").await;
    let failure = client.failure("VERIFY people").await;
    failure.expect(Code::FailedPrecondition, &["files of the versions", "VACUUM", "FULL"]);
    client.query(&format!("REFRESH people FULL {SYNC}")).await;
    assert_eq!(client.query("VERIFY people").await.only("verdict"), "EQUAL");

    // Rows that somebody else has written or deleted are found.
    let location = client.query("DESCRIBE DETAIL people").await.only("location");
    let other = format!("CREATE EXTERNAL TABLE others STORED AS DELTA LOCATION '{location}'");
    client.script(&other).await;
    client.update("DELETE FROM others WHERE id = 3").await;
    let verified = client.query("VERIFY people").await;
    assert_eq!(verified.only("verdict"), "DIFFERENT", "{}", verified.text());
    assert!(verified.only("differing").contains("id = 3"), "{}", verified.text());

    // Of one that only appends there is nothing to explain, nor to compare.
    client.query("CREATE STREAMING TABLE copies AS SELECT id FROM STREAM people").await;
    for sql in ["EXPLAIN REFRESH copies", "VERIFY copies"] {
        let failure = client.failure(sql).await;
        assert!(failure.message.contains("AUTO CDC"), "{sql}: {}", failure.message);
    }
}

#[tokio::test]
async fn a_run_that_failed_tells_how_it_was_computed() {
    let server = Options::new().start();
    let mut client = Client::connect(&server).await;
    client.script("CREATE TABLE t (id BIGINT); INSERT INTO t VALUES (1)").await;
    let expected = "(CONSTRAINT small EXPECT (id < 3) ON VIOLATION FAIL UPDATE)";
    client.query(&format!("CREATE MATERIALIZED VIEW m {expected} AS SELECT id FROM t")).await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    client.query(&format!("CREATE STREAMING TABLE s {expected} AS SELECT id FROM STREAM t")).await;
    client.newest_job("main.s").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES (3)").await;
    for (object, reason) in [("m", "INPUT_CHANGED"), ("s", "NEW_ROWS: main.t after 1 up to 2")] {
        client.refresh(object).await.expect("FAILED");
        let runs = format!(
            "SELECT strategy, reason FROM system.runs \
             WHERE object = 'main.{object}' AND state = 'FAILED'"
        );
        let run = client.query(&runs).await;
        assert_eq!((run.only("strategy"), run.only("reason")), ("APPEND".into(), reason.into()));
    }
    // Where it failed before that was decided nothing is said, and what is said, once.
    client.script("CREATE OR REPLACE TABLE t (idd BIGINT)").await;
    let failed = client.refresh("m").await;
    failed.expect("FAILED");
    assert_eq!(failed.error.matches("No field named").count(), 1, "{}", failed.error);
    let runs = "SELECT count(*) FROM system.runs WHERE object = 'main.m' AND strategy IS NULL";
    assert_eq!(client.query(runs).await.cell(), "1");
}
