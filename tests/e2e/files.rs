//! Files that come to a streaming table: each of them once, whatever dies and whatever is tidied up.

use std::{fs, path::PathBuf};

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

use crate::lake::Log;

const SYNC: &str = "SYNC TIMEOUT 2 MINUTES";
/// Points at which a debug build can be told to die.
const POINTS: [&str; 5] = ["claimed", "files_noted", "staged", "committed", "before_finish"];
const TABLE: &str = "CREATE OR REFRESH STREAMING TABLE raw AS SELECT id, _metadata.file_name AS file \
                     FROM STREAM read_files('in/*.csv', format => 'csv', header => true, schema => 'id BIGINT')";

async fn start(options: &Options) -> (Server, Client) {
    let server = options.start();
    let client = Client::connect(&server).await;
    (server, client)
}

/// The folder in the lake to which files come.
fn inbox(options: &Options) -> PathBuf {
    let folder = options.data().join("lake/in");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn arrive(options: &Options, name: &str, text: &str) {
    fs::write(inbox(options).join(name), text).unwrap();
}

async fn ids(client: &mut Client) -> Vec<String> {
    client.query("SELECT id FROM raw ORDER BY id").await.column("id")
}

async fn log(client: &mut Client) -> Log {
    Log::at(&client.query("DESCRIBE DETAIL raw").await.only("location"))
}

#[tokio::test]
async fn a_file_is_taken_once_whenever_its_worker_dies() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    arrive(&options, "0.csv", "id\n0\n");
    client.query(TABLE).await;
    client.query(&format!("REFRESH raw {SYNC}")).await;
    server.stop();
    for (n, point) in (1..).zip(POINTS) {
        arrive(&options, &format!("{n}.csv"), &format!("id\n{n}\n"));
        let (server, mut client) = start(&options.clone().env("WHIMBREL_CRASH_AT", point)).await;
        // The answer may be lost with the server.
        let _ = client.flight_info("REFRESH raw").await;
        let ended = server.wait();
        assert!(!ended.status.success(), "it did not die at '{point}':\n{}", ended.log);

        let (server, mut client) = start(&options).await;
        client.newest_job("main.raw").await.expect("SUCCEEDED");
        let expected: Vec<String> = (0..=n).map(|n: i32| n.to_string()).collect();
        assert_eq!(ids(&mut client).await, expected, "{point}");
        client.refresh("raw").await.expect("SKIPPED_NO_CHANGE");
        assert_eq!(log(&mut client).await.newest(), i64::from(n), "{point}");
        server.stop();
    }
}

#[tokio::test]
async fn a_broken_file_is_named_and_nothing_is_taken_until_it_is_gone() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    arrive(&options, "a.csv", "id\n1\n");
    client.query(TABLE).await;
    client.query(&format!("REFRESH raw {SYNC}")).await;
    arrive(&options, "b.csv", "id\n2\n");
    arrive(&options, "c.csv", "id\nthree\n");
    let failure = client.failure(&format!("REFRESH raw {SYNC}")).await;
    failure.expect(Code::FailedPrecondition, &["in/c.csv", "'id'", "three"]);
    assert_eq!(ids(&mut client).await, ["1"]);
    fs::remove_file(inbox(&options).join("c.csv")).unwrap();
    client.query(&format!("REFRESH raw {SYNC}")).await;
    assert_eq!(ids(&mut client).await, ["1", "2"]);
    // A file that is no file of its format at all.
    client
        .query(
            "CREATE STREAMING TABLE p AS SELECT * FROM STREAM read_files('in/*.parquet', schema => 'id BIGINT')",
        )
        .await;
    arrive(&options, "d.parquet", "not Parquet at all");
    let failure = client.failure(&format!("REFRESH p {SYNC}")).await;
    failure.expect(Code::FailedPrecondition, &["in/d.parquet"]);
    server.stop();
}

#[tokio::test]
async fn a_file_that_changes_is_told_and_one_that_goes_does_no_harm() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    arrive(&options, "a.csv", "id\n1\n");
    arrive(&options, "b.csv", "id\n2\n");
    client.query(TABLE).await;
    client.query(&format!("REFRESH raw {SYNC}")).await;
    arrive(&options, "a.csv", "id\n1\n11\n");
    fs::remove_file(inbox(&options).join("b.csv")).unwrap();
    client.refresh("raw").await.expect("SKIPPED_NO_CHANGE");
    arrive(&options, "c.csv", "id\n3\n");
    // A file that nobody has written to yet is left for later.
    arrive(&options, "d.csv", "");
    client.query(&format!("REFRESH raw {SYNC}")).await;
    assert_eq!(ids(&mut client).await, ["1", "2", "3"]);
    let run = client
        .query(
            "SELECT files_read, files_changed, reason FROM system.runs \
             WHERE object = 'main.raw' AND state = 'SUCCEEDED' ORDER BY run_seq DESC LIMIT 1",
        )
        .await;
    assert_eq!((run.only("files_read"), run.only("files_changed")), ("1".into(), "1".into()));
    let reason = run.only("reason");
    assert!(
        reason.contains("without 1 file that changed") && reason.contains("in/a.csv"),
        "{reason}"
    );
    arrive(&options, "d.csv", "id\n4\n");
    // One that comes back under its name was taken before.
    arrive(&options, "b.csv", "id\n2\n");
    client.query(&format!("REFRESH raw {SYNC}")).await;
    assert_eq!(ids(&mut client).await, ["1", "2", "3", "4"]);
    client.query(&format!("REFRESH raw FULL {SYNC}")).await;
    assert_eq!(ids(&mut client).await, ["1", "2", "3", "4", "11"]);
    server.stop();
}

#[tokio::test]
async fn what_was_taken_outlives_checkpoints_log_cleanup_and_vacuum() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    let properties = "'delta.checkpointInterval' = '3', 'delta.logRetentionDuration' = 'interval 0 seconds', \
                      'delta.deletedFileRetentionDuration' = 'interval 0 seconds'";
    let create = TABLE.replace("TABLE raw", &format!("TABLE raw TBLPROPERTIES ({properties})"));
    client.query(&create).await;
    for n in 0..14 {
        arrive(&options, &format!("{n}.csv"), &format!("id\n{n}\n"));
        client.query(&format!("REFRESH raw {SYNC}")).await;
        if n == 6 {
            client.query("OPTIMIZE raw").await;
        }
    }
    client.query("VACUUM raw FULL").await;
    client.query("VACUUM raw").await;
    server.stop();
    let (server, mut client) = start(&options).await;
    client.refresh("raw").await.expect("SKIPPED_NO_CHANGE");
    arrive(&options, "14.csv", "id\n14\n");
    client.query(&format!("REFRESH raw {SYNC}")).await;
    let expected: Vec<String> = (0..15).map(|n: i32| n.to_string()).collect();
    assert_eq!(ids(&mut client).await, expected);
    // Without what says so, only reading all of it again is left, and nothing is taken twice.
    let taken = log(&mut client).await.folder().join("_whimbrel_files");
    assert!(fs::read_dir(&taken).unwrap().count() == 1);
    fs::remove_dir_all(&taken).unwrap();
    let failure = client.failure(&format!("REFRESH raw {SYNC}")).await;
    failure.expect(Code::FailedPrecondition, &["which files were taken", "FULL"]);
    assert_eq!(client.count("raw").await, 15);
    client.query(&format!("REFRESH raw FULL {SYNC}")).await;
    assert_eq!(ids(&mut client).await, expected);
    server.stop();
}

#[tokio::test]
async fn thousands_of_files_are_taken_by_one_run() {
    let options = Options::new();
    let (server, mut client) = start(&options).await;
    for n in 0..3_000 {
        arrive(&options, &format!("{n:05}.csv"), &format!("id\n{n}\n"));
    }
    client.query(TABLE).await;
    client.query(&format!("REFRESH raw {SYNC}")).await;
    let counted = client.query("SELECT count(*) AS n, count(DISTINCT file) AS f FROM raw").await;
    assert_eq!((counted.only("n"), counted.only("f")), ("3000".into(), "3000".into()));
    client.refresh("raw").await.expect("SKIPPED_NO_CHANGE");
    assert_eq!(client.query("SELECT max(files_read) AS n FROM system.runs").await.cell(), "3000");
    server.stop();
}
