//! VERIFY of what one run has made.

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

async fn start() -> (Server, Client) {
    let server = Options::new().start();
    let client = Client::connect(&server).await;
    (server, client)
}

/// The id of the newest run of an object in a state.
async fn run(client: &mut Client, object: &str, state: &str) -> String {
    let newest = format!(
        "SELECT run_id FROM system.runs WHERE object = '{object}' AND state = '{state}' \
         ORDER BY started_at DESC LIMIT 1"
    );
    client.query(&newest).await.only("run_id")
}

/// What is said of a run that is not compared.
async fn refused(client: &mut Client, name: &str, run: &str) -> String {
    let error = client.try_query(&format!("VERIFY {name} AT RUN '{run}'")).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition, "{error}");
    error.to_string()
}

#[tokio::test]
async fn each_run_is_verified_by_what_it_has_read() {
    let (_server, mut client) = start().await;
    client
        .script(
            "CREATE TABLE t (k BIGINT, a BIGINT);
             INSERT INTO t VALUES (1, 1), (1, 2), (2, 3);
             CREATE MATERIALIZED VIEW m AS SELECT k, sum(a) AS s FROM t GROUP BY k",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let first = run(&mut client, "main.m", "SUCCEEDED").await;
    client.script("UPDATE t SET a = 10 WHERE k = 1; INSERT INTO t VALUES (3, 4)").await;
    client.query("REFRESH m SYNC").await;
    let second = run(&mut client, "main.m", "SUCCEEDED").await;
    assert_ne!(first, second);
    for (run, version, rows) in [(&first, "0", "2"), (&second, "1", "3")] {
        let told = client.query(&format!("VERIFY m AT RUN '{run}'")).await;
        assert_eq!(told.only("verdict"), "EQUAL", "{}", told.text());
        assert_eq!((told.only("version"), told.only("rows")), (version.into(), rows.into()));
    }
    let sampled = format!("VERIFY m AT RUN '{first}' SAMPLE 100 PERCENT OF KEYS SYNC");
    assert_eq!(client.query(&sampled).await.only("rows"), "2");

    // What somebody else has done to the newest version is no matter of the runs before.
    let location = client.query("DESCRIBE DETAIL m").await.only("location");
    client.update(&format!("CREATE EXTERNAL TABLE other USING DELTA LOCATION '{location}'")).await;
    client.update("UPDATE other SET s = 0 WHERE k = 2").await;
    assert_eq!(client.query("VERIFY m").await.only("verdict"), "DIFFERENT");
    let told = client.query(&format!("VERIFY m AT RUN '{second}'")).await;
    assert_eq!(told.only("verdict"), "EQUAL", "{}", told.text());

    // No run of this view, or none with a result.
    client.update("CREATE MATERIALIZED VIEW n AS SELECT k FROM t").await;
    client.newest_job("main.n").await.expect("SUCCEEDED");
    client.query("REFRESH n SYNC").await;
    let of_other = run(&mut client, "main.n", "SUCCEEDED").await;
    let text = refused(&mut client, "m", &of_other).await;
    assert!(text.contains("is one of 'main.n', not of 'main.m'"), "{text}");
    assert!(text.contains("FROM system.runs WHERE object = 'main.m'"), "{text}");
    let skipped = run(&mut client, "main.n", "SKIPPED_NO_CHANGE").await;
    let text = refused(&mut client, "n", &skipped).await;
    assert!(text.contains("it is SKIPPED_NO_CHANGE: nothing had changed"), "{text}");
    client.update("CREATE MATERIALIZED VIEW f AS SELECT 1 / (k - 1) AS x FROM t").await;
    client.newest_job("main.f").await.expect("FAILED");
    let failed = run(&mut client, "main.f", "FAILED").await;
    let text = refused(&mut client, "f", &failed).await;
    assert!(text.contains("it is FAILED: it has made no version"), "{text}");

    // A table that was made anew at its name is not the one that was read.
    client.script("DROP TABLE t PURGE; CREATE TABLE t AS SELECT 1 AS k, 1 AS a").await;
    let text = refused(&mut client, "m", &first).await;
    assert!(text.contains("'main.t' was created anew since"), "{text}");

    // Another definition, of which there is no run yet.
    client
        .update("CREATE OR REFRESH MATERIALIZED VIEW m AS SELECT k, max(a) AS s FROM t GROUP BY k")
        .await;
    let text = refused(&mut client, "m", &first).await;
    assert!(text.contains("'main.m' was redefined after it"), "{text}");
    client.script("DROP MATERIALIZED VIEW m; CREATE MATERIALIZED VIEW m AS SELECT 1 AS k").await;
    let text = refused(&mut client, "m", &first).await;
    assert!(text.contains("there is no run") || text.contains("which was dropped since"), "{text}");
}

#[tokio::test]
async fn a_part_is_verified_as_that_and_what_is_vacuumed_is_told() {
    let (_server, mut client) = start().await;
    client
        .script(
            "CREATE TABLE t (k BIGINT, a BIGINT) \
               TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 hours');
             INSERT INTO t VALUES (1, 1), (2, 2);
             CREATE MATERIALIZED VIEW m PARTITIONED BY (k) AS SELECT k, sum(a) AS s FROM t GROUP BY k",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let whole = run(&mut client, "main.m", "SUCCEEDED").await;
    client.update("UPDATE t SET a = a + 1").await;
    client.query("REFRESH m WHERE k = 2 SYNC").await;
    let part = run(&mut client, "main.m", "SUCCEEDED").await;
    let told = client.query(&format!("VERIFY m AT RUN '{part}'")).await;
    assert_eq!((told.only("verdict"), told.only("rows")), ("EQUAL".into(), "1".into()));
    assert!(told.only("note").contains("only partitions WHERE"), "{}", told.text());
    let told = client.query(&format!("VERIFY m AT RUN '{whole}'")).await;
    assert_eq!((told.only("verdict"), told.only("rows")), ("EQUAL".into(), "2".into()));
    client.query("VACUUM t RETAIN 0 HOURS").await;
    let text = refused(&mut client, "m", &whole).await;
    assert!(text.contains("versions or files of then are gone"), "{text}");
    assert!(text.contains("VERIFY main.m compares the newest result"), "{text}");
}

#[tokio::test]
async fn files_that_are_others_now_are_told_and_not_called_different() {
    let (_server, mut client) = start().await;
    client
        .script(
            "COPY (SELECT 1 AS n) TO 'in/1/a.csv';
             CREATE EXTERNAL TABLE f USING CSV LOCATION 'in/{p}/' PATH COLUMNS (p INT);
             CREATE MATERIALIZED VIEW m AS SELECT n, p FROM f",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let first = run(&mut client, "main.m", "SUCCEEDED").await;
    let verify = format!("VERIFY m AT RUN '{first}'");
    assert_eq!(client.query(&verify).await.only("verdict"), "EQUAL");
    client.update("COPY (SELECT 2 AS n) TO 'in/2/a.csv'").await;
    let text = refused(&mut client, "m", &first).await;
    assert!(text.contains("the files of 'main.f' are not those that it has read"), "{text}");
    let told = client.query("VERIFY m").await;
    assert_eq!(told.only("verdict"), "UNKNOWN", "{}", told.text());
    client.query("REFRESH m SYNC").await;
    assert_eq!(client.query("VERIFY m").await.only("verdict"), "EQUAL");
}
