//! Expired entries of a log go, and whoever asks for a version that went with them is told so.

use std::fs;

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

use crate::lake::Log;

/// Properties of a table of which nothing has to stay.
const NOTHING_STAYS: &str = "'delta.logRetentionDuration' = 'interval 0 seconds', \
                             'delta.deletedFileRetentionDuration' = 'interval 0 seconds'";

async fn log(client: &mut Client, table: &str) -> Log {
    Log::at(&client.query(&format!("DESCRIBE DETAIL {table}")).await.only("location"))
}

/// Versions whose entries are in a log.
fn versions(log: &Log) -> Vec<i64> {
    let names = fs::read_dir(log.folder().join("_delta_log")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut versions: Vec<i64> =
        names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
    versions.sort_unstable();
    versions
}

async fn has_checkpoint(log: &Log, version: i64) {
    let file = log.folder().join(format!("_delta_log/{version:020}.checkpoint.parquet"));
    eventually("the checkpoint is written", || async { file.is_file().then_some(()) }).await;
}

async fn insert(client: &mut Client, table: &str, rows: i64) {
    for n in 0..rows {
        client.update(&format!("INSERT INTO {table} VALUES ({n})")).await;
    }
}

#[tokio::test]
async fn a_version_whose_entries_expired_is_missed_in_so_many_words() {
    let options = Options::new();
    let server = options.start();
    let mut client = Client::connect(&server).await;
    client
        .update(&format!(
            "CREATE TABLE t (a BIGINT) TBLPROPERTIES ({NOTHING_STAYS}, 'delta.checkpointInterval' = '5', \
             'delta.enableChangeDataFeed' = 'true')"
        ))
        .await;
    insert(&mut client, "t", 7).await;
    let log = log(&mut client, "t").await;
    has_checkpoint(&log, 5).await;
    client.query("SELECT count(*) FROM t VERSION AS OF 3").await;
    client.query("VACUUM t DRY RUN").await;
    assert_eq!(versions(&log), (0..=7).collect::<Vec<_>>());
    client.query("VACUUM t").await;
    assert_eq!(versions(&log), [5, 6, 7]);
    let result = client.query("SELECT result FROM system.jobs WHERE kind = 'VACUUM'").await.cell();
    assert!(result.contains(r#""log_files_deleted":5"#), "{result}");
    server.stop();

    let server = options.start();
    let mut client = Client::connect(&server).await;
    assert_eq!(client.query("SELECT count(*), sum(a) FROM t").await.text(), "7|21");
    assert_eq!(client.query("SELECT count(*) FROM t VERSION AS OF 5").await.cell(), "5");
    for (sql, code, text) in [
        (
            "SELECT * FROM t VERSION AS OF 4",
            Code::NotFound,
            "no longer in its log, which begins with version 5",
        ),
        (
            "RESTORE t TO VERSION AS OF 2",
            Code::NotFound,
            "no longer in its log, which begins with version 5",
        ),
        (
            "SELECT * FROM t TIMESTAMP AS OF '2001-01-01'",
            Code::InvalidArgument,
            "its first known version is of",
        ),
        ("SELECT * FROM table_changes('t', 2)", Code::FailedPrecondition, "version 2"),
        (
            "SELECT * FROM table_changes('t', '2001-01-01')",
            Code::FailedPrecondition,
            "no longer in the log",
        ),
        ("SELECT * FROM t VERSION AS OF 8", Code::NotFound, "does not exist; its newest one is 7"),
    ] {
        client.try_query(sql).await.unwrap_err().expect(code, &[text]);
    }
    assert_eq!(client.query("SELECT a FROM table_changes('t', 6)").await.lines(), ["5", "6"]);
    let history = client.query("DESCRIBE HISTORY t").await;
    assert_eq!(history.column("version"), ["7", "6", "5"]);
    let found = client.query("VALIDATE t").await;
    assert!(
        found.column("severity").iter().all(|severity| severity == "ok"),
        "{:?}",
        found.lines()
    );
    assert_eq!(found.lines()[0], "ok|log|3 commits, versions 5 to 7|NULL|NULL");
    client.update("INSERT INTO t VALUES (7)").await;
    client.update("DELETE FROM t WHERE a = 0").await;
    assert_eq!(client.query("SELECT count(*) FROM t").await.cell(), "7");
}

#[tokio::test]
async fn expired_entries_go_by_themselves_behind_a_checkpoint() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let tables = [
        ("short", NOTHING_STAYS.to_owned()),
        ("standard", "'delta.deletedFileRetentionDuration' = 'interval 0 seconds'".to_owned()),
        ("vacuumed_late", "'delta.logRetentionDuration' = 'interval 0 seconds'".to_owned()),
        ("kept", format!("{NOTHING_STAYS}, 'delta.enableExpiredLogCleanup' = 'false'")),
    ];
    for (table, properties) in &tables {
        client
            .update(&format!("CREATE TABLE {table} (a BIGINT) TBLPROPERTIES ({properties})"))
            .await;
        insert(&mut client, table, 42).await;
    }
    let url = server.address().to_owned();
    eventually("the short log is cleaned", || async {
        let mut client = Client::connect_to(&url).await;
        (versions(&log(&mut client, "short").await)[0] >= 20).then_some(())
    })
    .await;
    for (table, _) in &tables {
        has_checkpoint(&log(&mut client, table).await, 40).await;
        assert_eq!(client.query(&format!("SELECT count(*) FROM {table}")).await.cell(), "42");
    }
    for table in ["standard", "vacuumed_late", "kept"] {
        client.query(&format!("VACUUM {table}")).await;
        assert_eq!(versions(&log(&mut client, table).await)[0], 0, "{table}");
    }
}

#[tokio::test]
async fn entries_that_a_run_is_pinned_to_stay() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .update(&format!(
            "CREATE TABLE t (a BIGINT) TBLPROPERTIES ({NOTHING_STAYS}, 'delta.checkpointInterval' = '4')"
        ))
        .await;
    insert(&mut client, "t", 6).await;
    client
        .script(
            "CREATE TABLE many AS SELECT unnest(range(0, 3000)) AS n;
             CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t, many AS x, many AS y, many AS z, many AS w WHERE x.n + y.n + z.n + w.n < t.a",
        )
        .await;
    let pinned = "SELECT version FROM system.run_inputs WHERE input = 'main.t'";
    let url = server.address().to_owned();
    eventually("the run is pinned", || async {
        let mut client = Client::connect_to(&url).await;
        (client.query(pinned).await.lines() == ["6"]).then_some(())
    })
    .await;
    insert(&mut client, "t", 4).await;
    let log = log(&mut client, "t").await;
    has_checkpoint(&log, 8).await;
    client.query("VACUUM t").await;
    assert_eq!(versions(&log)[0], 4, "version 6 needs the checkpoint before it");
    assert_eq!(client.query("SELECT count(*) FROM t VERSION AS OF 6").await.cell(), "6");
    let job = client.jobs_of("main.m").await.remove(0);
    client.query(&format!("CANCEL JOB '{job}'")).await;
    client.job(&job).await.expect("CANCELLED");
    client.query("VACUUM t").await;
    assert_eq!(versions(&log)[0], 10, "the first VACUUM has left a checkpoint behind");
}

#[tokio::test]
async fn no_commit_waits_for_a_checkpoint() {
    let server = Options::new().env("WHIMBREL_PAUSE_AT", "checkpoint").start();
    let mut client = Client::connect(&server).await;
    client
        .update("CREATE TABLE t (a BIGINT) TBLPROPERTIES ('delta.checkpointInterval' = '1')")
        .await;
    insert(&mut client, "t", 3).await;
    client.update("UPDATE t SET a = a + 1").await;
    assert_eq!(client.query("SELECT sum(a) FROM t").await.cell(), "6");
    let log = log(&mut client, "t").await;
    let names = fs::read_dir(log.folder().join("_delta_log")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let checkpoints: Vec<String> = names.filter(|name| name.contains("checkpoint")).collect();
    assert!(checkpoints.is_empty(), "they stand still: {checkpoints:?}");
    server.stop();
}

/// What the server does by itself is in the list of statements, and can be ended there.
#[tokio::test]
async fn a_checkpoint_can_be_seen_and_ended() {
    let server = Options::new().env("WHIMBREL_PAUSE_AT", "checkpoint").start();
    let mut client = Client::connect(&server).await;
    client
        .update("CREATE TABLE t (a BIGINT) TBLPROPERTIES ('delta.checkpointInterval' = '1')")
        .await;
    insert(&mut client, "t", 1).await;
    const RUNNING: &str = "SELECT query_id, sql FROM system.queries \
                           WHERE principal = 'whimbrel' AND state = 'RUNNING'";
    let running = eventually("the checkpoint has begun", || async {
        let mut client = Client::connect(&server).await;
        let running = client.query(RUNNING).await;
        (!running.is_empty()).then_some(running)
    });
    let running = running.await;
    let (id, what) = (running.only("query_id"), running.only("sql"));
    assert!(
        what.starts_with("checkpoint of 'file://") && what.ends_with("' at version 1"),
        "{what}"
    );
    let ended = client.query(&format!("CANCEL QUERY '{id}'")).await;
    assert_eq!(ended.only("state"), "CANCELLED");
    assert!(client.query(RUNNING).await.is_empty());
    insert(&mut client, "t", 1).await;
    assert_eq!(client.query("SELECT count(*) FROM t").await.cell(), "2");
    server.stop();
}
