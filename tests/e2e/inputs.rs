//! REFRESH … USING INPUTS: refreshes that read versions that were named.

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

use crate::users::{login, with_users};

async fn start() -> (Server, Client) {
    let server = Options::new().start();
    let client = Client::connect(&server).await;
    (server, client)
}

/// A table of three versions, with 0, 1 and 2 rows, and a view of another one and it.
async fn view(client: &mut Client, clauses: &str) {
    client
        .script(
            "CREATE TABLE s (k BIGINT, a BIGINT); INSERT INTO s VALUES (1, 1); INSERT INTO s VALUES (2, 2);
             CREATE TABLE o (k BIGINT); INSERT INTO o VALUES (1), (2)",
        )
        .await;
    let query = "SELECT s.k AS k, sum(s.a) AS total FROM s JOIN o ON s.k = o.k GROUP BY s.k";
    client.update(&format!("CREATE MATERIALIZED VIEW m {clauses} AS {query}")).await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
}

const ROWS: &str = "SELECT string_agg(concat(k, ':', total), ' ' ORDER BY k) FROM m";
const LAST: &str = "SELECT strategy, reason FROM system.runs WHERE object = 'main.m' ORDER BY run_seq DESC LIMIT 1";

/// The versions that the newest run of the view has read.
async fn read(client: &mut Client) -> String {
    let sql = "SELECT input, version FROM system.run_inputs WHERE run_id =
               (SELECT run_id FROM system.runs WHERE object = 'main.m' ORDER BY run_seq DESC LIMIT 1)
               ORDER BY input";
    client.query(sql).await.lines().join(" ")
}

#[tokio::test]
async fn a_view_goes_back_and_on_again_with_its_inputs() {
    let (_server, mut client) = start().await;
    view(&mut client, "REFRESH POLICY INCREMENTAL").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:1 2:2");
    let explained = client.query("EXPLAIN REFRESH m USING INPUTS (s VERSION 1)").await.text();
    for told in
        ["FULL", "INPUT_WENT_BACK", "main.s: version 2 back to 1", "main.o: version 1, unchanged"]
    {
        assert!(explained.contains(told), "{told}: {explained}");
    }
    assert_eq!(client.query(ROWS).await.cell(), "1:1 2:2", "nothing took effect");

    client.query("REFRESH m USING INPUTS (s VERSION 1) SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:1");
    assert_eq!(read(&mut client).await, "main.o|1 main.s|1");
    let last = client.query(LAST).await.text();
    assert!(last.starts_with("FULL|INPUT_WENT_BACK: 'main.s' from version 2 to 1"), "{last}");
    assert_eq!(client.query("VERIFY m").await.only("verdict"), "EQUAL");
    // There is nothing to do a second time.
    let again = client.query("REFRESH m USING INPUTS (main.s VERSION 1) SYNC").await;
    assert_eq!(again.only("state"), "SKIPPED_NO_CHANGE");

    // Others are read as they are now, and rows that came are added to what is there.
    client.script("INSERT INTO s VALUES (1, 10); INSERT INTO o VALUES (1)").await;
    client.query("REFRESH m USING INPUTS (s VERSION 2) SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:2 2:2");
    assert_eq!(read(&mut client).await, "main.o|2 main.s|2");
    assert!(!client.query(LAST).await.text().starts_with("FULL"));
    assert_eq!(client.query("VERIFY m").await.only("verdict"), "EQUAL");
    client.query("REFRESH m SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:22 2:2");
    assert!(!client.query(LAST).await.text().starts_with("FULL"));
    assert_eq!(client.query("VERIFY m").await.only("verdict"), "EQUAL");

    // Both at once, as far back as there is something; what is skipped and what is forced.
    client.query("REFRESH m USING INPUTS (s VERSION 0, o VERSION 0) SYNC").await;
    assert_eq!(client.count("m").await, 0);
    client.query("REFRESH m FULL USING INPUTS (s VERSION 2, o VERSION 1) SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:1 2:2");
    assert!(client.query(LAST).await.text().starts_with("FULL|REQUESTED_FULL"));
    client.query("REFRESH m SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:22 2:2");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let (_server, mut client) = start().await;
    view(&mut client, "").await;
    client.update("CREATE TABLE other (a BIGINT)").await;
    client.update("CREATE VIEW below AS SELECT * FROM s").await;
    for (inputs, code, told) in [
        (
            "s VERSION 3",
            Code::FailedPrecondition,
            &["input 'main.s'", "version 3", "newest one is 2"][..],
        ),
        (
            "other VERSION 0",
            Code::FailedPrecondition,
            &["'main.other' is no input of 'main.m'", "main.o, main.s"],
        ),
        ("below VERSION 0", Code::FailedPrecondition, &["'main.below' is a view"]),
        ("ss VERSION 0", Code::NotFound, &["'main.ss' does not exist"]),
        ("s VERSION 1, main.s VERSION 2", Code::InvalidArgument, &["'main.s' is named twice"]),
    ] {
        for head in ["REFRESH m", "EXPLAIN REFRESH m"] {
            client
                .query_failure(&format!("{head} USING INPUTS ({inputs})"))
                .await
                .expect(code, told);
        }
    }
    let at = "USING INPUTS (s VERSION 1)";
    for (sql, told) in [
        (format!("REFRESH m {at} WITH UPSTREAM"), "graph run"),
        (format!("REFRESH m {at} WHERE k = 1"), "WHERE"),
    ] {
        client.failure(&sql).await.expect(Code::InvalidArgument, &[told]);
    }
    assert_eq!(client.jobs_of("main.m").await.len(), 1);

    // Versions of which VACUUM has deleted a file.
    client.script("ALTER TABLE s SET TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 seconds')").await;
    client.update("UPDATE s SET a = a + 1").await;
    client.query("VACUUM s").await;
    let failure = client.failure("REFRESH m USING INPUTS (s VERSION 2)").await;
    failure.expect(Code::FailedPrecondition, &["input 'main.s'", "version 2", "VACUUM"]);
    client.query("REFRESH m USING INPUTS (s VERSION 0) SYNC").await;
    assert_eq!(client.count("m").await, 0);
}

#[tokio::test]
async fn a_policy_holds_also_for_going_back() {
    let (_server, mut client) = start().await;
    view(&mut client, "REFRESH POLICY INCREMENTAL STRICT").await;
    let back = "REFRESH m USING INPUTS (s VERSION 1)";
    let failure = client.query_failure(&format!("{back} SYNC")).await;
    failure.expect(Code::FailedPrecondition, &["INPUT_WENT_BACK", "STRICT"]);
    assert_eq!(client.query(ROWS).await.cell(), "1:1 2:2");
    client.query("REFRESH m FULL USING INPUTS (s VERSION 1) SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:1");
    client.query("REFRESH m SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:1 2:2");

    let approve = "REFRESH POLICY INCREMENTAL ON FULL REFRESH APPROVE";
    let query = "SELECT s.k AS k, sum(s.a) AS total FROM s JOIN o ON s.k = o.k GROUP BY s.k";
    client.update(&format!("CREATE OR REFRESH MATERIALIZED VIEW m {approve} AS {query}")).await;
    client.newest_job("main.m").await;
    let asking = client.query(back).await.only("job_id");
    client.job(&asking).await.expect("AWAITING_APPROVAL");
    // Who asks for the newest versions does not join it.
    let newest = client.refresh("m").await;
    newest.expect("SKIPPED_NO_CHANGE");
    client.job(&asking).await.expect("AWAITING_APPROVAL");
    client.query(&format!("APPROVE JOB '{asking}'")).await;
    client.job(&asking).await.expect("SUCCEEDED");
    assert_eq!(client.query(ROWS).await.cell(), "1:1");
}

#[tokio::test]
async fn a_key_of_a_request_knows_the_versions() {
    let (_server, mut client) = start().await;
    view(&mut client, "").await;
    let asked =
        |at: &str| format!("REFRESH m USING INPUTS ({at}) SYNC OPTIONS (idempotency_key = 'k')");
    let first = client.query(&asked("s VERSION 1, o VERSION 1")).await.only("job_id");
    let same = client.query(&asked("main.o VERSION 1, s VERSION 1")).await.only("job_id");
    assert_eq!(first, same);
    let other = client.query_failure(&asked("s VERSION 2, o VERSION 1")).await;
    other.expect(Code::AlreadyExists, &["s VERSION 1"]);
    // What is tried again reads the same.
    client.query("REFRESH m SYNC").await;
    assert_eq!(client.query(ROWS).await.cell(), "1:1 2:2");
}

#[tokio::test]
async fn a_streaming_table_takes_nothing_back() {
    let (_server, mut client) = start().await;
    client
        .script(
            "CREATE TABLE s (a BIGINT); INSERT INTO s VALUES (1); INSERT INTO s VALUES (2); INSERT INTO s VALUES (3);
             CREATE STREAMING TABLE seen;
             CREATE FLOW f AS INSERT INTO seen BY NAME SELECT a FROM STREAM s",
        )
        .await;
    let rows = "SELECT string_agg(concat(a, ''), ' ' ORDER BY a) FROM seen";
    client.newest_job("main.seen").await.expect("SUCCEEDED");
    assert_eq!(client.query(rows).await.cell(), "1 2 3");
    client.script("INSERT INTO s VALUES (4); INSERT INTO s VALUES (5)").await;
    client.query("REFRESH seen USING INPUTS (s VERSION 4) SYNC").await;
    assert_eq!(client.query(rows).await.cell(), "1 2 3 4");
    let failure = client.failure("REFRESH seen USING INPUTS (s VERSION 2)").await;
    failure.expect(
        Code::FailedPrecondition,
        &[
            "'main.seen' has read 'main.s' up to version 4",
            "version 2 is before that",
            "FULL USING INPUTS",
        ],
    );
    client.query("REFRESH seen FULL USING INPUTS (s VERSION 2) SYNC").await;
    assert_eq!(client.query(rows).await.cell(), "1 2");
    client.query("REFRESH seen SYNC").await;
    assert_eq!(client.query(rows).await.cell(), "1 2 3 4 5");
}

#[tokio::test]
async fn who_chooses_a_version_may_read_the_table() {
    let users = [("root", "secret-1"), ("bob", "secret-2")];
    let server = with_users(&Options::new(), &users);
    let mut root = login(&server, "root", "secret-1").await;
    let mut bob = login(&server, "bob", "secret-2").await;
    view(&mut root, "").await;
    root.update("GRANT REFRESH ON m TO bob").await;
    let sql = "REFRESH m USING INPUTS (s VERSION 1) SYNC";
    bob.failure(sql).await.expect(Code::NotFound, &["'main.s' does not exist"]);
    root.update("GRANT INSERT ON s TO bob").await;
    bob.failure(sql).await.expect(Code::PermissionDenied, &["SELECT ON", "main.s"]);
    root.update("GRANT SELECT ON s TO bob").await;
    bob.query(sql).await;
    assert_eq!(root.count("m").await, 1);
}
