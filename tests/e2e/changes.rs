//! Rows that change while others change them too, and while the server dies.

use futures::future::join_all;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

use crate::lake::Log;

async fn location(client: &mut Client, table: &str) -> String {
    client.query(&format!("DESCRIBE DETAIL {table}")).await.only("location")
}

#[tokio::test]
async fn a_change_that_dies_with_the_server_is_there_whole_or_not_at_all() {
    for table in changes_that_die(&Options::new()).await {
        let log = Log::at(&table);
        assert!(log.orphans().is_empty(), "{table}: {:?}", log.orphans());
    }
}

#[tokio::test]
async fn a_change_that_dies_with_the_server_is_there_whole_or_not_at_all_on_s3() {
    changes_that_die(&Options::new().on_s3()).await;
}

/// Lets a server die in each kind of change before and after its commit, and looks at what is there.
/// Returns where the tables are.
async fn changes_that_die(options: &Options) -> Vec<String> {
    let statements = [
        ("UPDATE t SET a = a + 10 WHERE a < 3", "3,4,11,12"),
        ("DELETE FROM t WHERE a > 2", "1,2"),
        (
            "MERGE INTO t USING (VALUES (1), (9)) s(a) ON t.a = s.a \
             WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT *",
            "2,3,4,9",
        ),
        ("INSERT INTO t REPLACE WHERE a > 3 VALUES (7)", "1,2,3,7"),
        ("INSERT OVERWRITE t VALUES (5)", "5"),
        ("INSERT INTO t VALUES (8), (9)", "1,2,3,4,8,9"),
        ("TRUNCATE TABLE t", ""),
        ("ALTER TABLE t SET TBLPROPERTIES ('made.by' = 'ada')", "1,2,3,4"),
        ("OPTIMIZE t", "1,2,3,4"),
        ("RESTORE t TO VERSION AS OF 0", ""),
    ];
    let mut deaths: Vec<_> = statements
        .iter()
        .flat_map(|(sql, changed)| [(*sql, "staged", "1,2,3,4"), (*sql, "committed", *changed)])
        .collect();
    // One file of several is deleted; a checkpoint is there, and nothing that it would let go is gone.
    deaths.push(("VACUUM t FULL", "deleting", "1,2,3,4"));
    deaths.push(("INSERT INTO t VALUES (5)", "checkpointed", "1,2,3,4,5"));
    let deaths: Vec<_> = deaths.into_iter().enumerate().collect();
    let server = options.start();
    let mut client = Client::connect(&server).await;
    for (n, (sql, ..)) in &deaths {
        client
            .script(&format!(
                "CREATE TABLE t{n} (a BIGINT) TBLPROPERTIES (
                     'delta.deletedFileRetentionDuration' = 'interval 0 hours',
                     'delta.checkpointInterval' = '3');
                 INSERT INTO t{n} VALUES (1), (2);
                 INSERT INTO t{n} VALUES (3), (4)",
            ))
            .await;
        if sql.starts_with("VACUUM") {
            client.update(&format!("UPDATE t{n} SET a = a")).await;
        }
    }
    server.stop();

    for (n, (sql, point, _)) in &deaths {
        let server = options.clone().env("WHIMBREL_CRASH_AT", *point).start();
        let mut client = Client::connect(&server).await;
        let sql = of_table(sql, *n);
        if let Err(failure) = client.flight_info(&sql).await {
            // The answer may be lost with the server.
            let lost = [tonic::Code::Unavailable, tonic::Code::Unknown];
            assert!(lost.contains(&failure.code), "{sql}: {failure}");
        }
        let ended = server.wait();
        assert!(!ended.status.success(), "{sql} did not die at '{point}':\n{}", ended.log);
    }

    let server = options.start();
    let mut client = Client::connect(&server).await;
    let mut tables = Vec::new();
    for (n, (sql, point, rows)) in &deaths {
        let all = format!(
            "SELECT coalesce(string_agg(CAST(a AS VARCHAR), ',' ORDER BY a), '') FROM t{n}"
        );
        assert_eq!(client.query(&all).await.cell(), *rows, "{sql} at '{point}'");
        // What it left behind is found, and nothing else.
        client.query(&format!("VACUUM t{n} FULL")).await;
        assert_eq!(client.query(&all).await.cell(), *rows, "{sql} at '{point}'");
        for finding in client.query(&format!("VALIDATE t{n}")).await.lines() {
            assert!(finding.starts_with("ok|"), "{sql} at '{point}': {finding}");
        }
        tables.push(location(&mut client, &format!("t{n}")).await);
    }
    server.stop();
    tables
}

/// The statement for the table with this number.
fn of_table(sql: &str, n: usize) -> String {
    let words =
        sql.split(' ').map(|word| if word == "t" { format!("t{n}") } else { word.to_owned() });
    words.collect::<Vec<_>>().join(" ").replace("t.a", &format!("t{n}.a"))
}

/// A server with a catalog of its own that sees the files of another.
fn beside(options: &Options) -> Server {
    let everything = options.folder().to_string_lossy().into_owned();
    options.clone().data_dir("beside").env("WHIMBREL__LAKE__LOCATIONS", everything).start()
}

#[tokio::test]
async fn many_sessions_of_two_servers_lose_nothing_and_bring_nothing_back() {
    const SESSIONS: usize = 6;
    const ROUNDS: usize = 8;
    let options = Options::new();
    let first = options.start();
    let mut client = Client::connect(&first).await;
    client
        .script(
            "CREATE TABLE t (id BIGINT, n BIGINT);
             INSERT INTO t VALUES (0, 0);
             INSERT INTO t SELECT value, 0 FROM generate_series(1, 6)",
        )
        .await;
    let place = location(&mut client, "t").await;
    let second = beside(&options);
    let mut other = Client::connect(&second).await;
    other.update(&format!("CREATE EXTERNAL TABLE t STORED AS DELTA LOCATION '{place}'")).await;

    let sessions = (0..SESSIONS).map(|session| {
        let server = if session % 2 == 0 { &first } else { &second };
        let address = server.address().to_owned();
        tokio::spawn(async move {
            let mut client = Client::connect_to(&address).await;
            let mut conflicts = 0;
            for round in 0..ROUNDS {
                let new = 1_000 + session * 100 + round;
                let own = session + 1;
                for statement in [
                    // One row that everybody counts up, and one of our own.
                    "UPDATE t SET n = n + 1 WHERE id = 0".to_owned(),
                    format!("INSERT INTO t VALUES ({new}, 1)"),
                    format!(
                        "MERGE INTO t USING (SELECT {own} AS id) s ON t.id = s.id \
                         WHEN MATCHED THEN UPDATE SET n = t.n + 1"
                    ),
                    format!("DELETE FROM t WHERE id = {new} AND n = 1"),
                ] {
                    // A statement that gave up changed nothing: it is sent again, as its error says.
                    loop {
                        match client.try_update(&statement).await {
                            Ok(1) => break,
                            Ok(rows) => panic!("{statement} changed {rows} rows"),
                            Err(failure) => {
                                failure.expect(tonic::Code::Aborted, &["run the statement again"]);
                                conflicts += 1;
                                assert!(conflicts < 200, "{failure}");
                            }
                        }
                    }
                }
            }
        })
    });
    for session in join_all(sessions).await {
        session.unwrap();
    }
    for client in [&mut client, &mut other] {
        let counted = client.query("SELECT id, n FROM t ORDER BY id").await.lines();
        let mut expected = vec![format!("0|{}", SESSIONS * ROUNDS)];
        expected.extend((1..=SESSIONS).map(|session| format!("{session}|{ROUNDS}")));
        assert_eq!(counted, expected);
    }
    let log = Log::at(&place);
    let commits = i64::try_from(SESSIONS * ROUNDS * 4).unwrap();
    assert!(log.newest() <= 2 + commits, "at most one commit for each statement");
    second.stop();
    first.stop();
}

#[tokio::test]
async fn a_prepared_change_takes_effect_once_for_each_row_of_parameters() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script("CREATE TABLE t (a BIGINT, b VARCHAR); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
        .await;
    // Preparing and explaining have no effect.
    client.prepare("DELETE FROM t WHERE a = ?").await;
    client.query("EXPLAIN DELETE FROM t").await;
    assert_eq!(client.count("t").await, 2);
    // Whichever call carries it, and whether or not its answer is fetched.
    client.flight_info("UPDATE t SET b = 'z' WHERE a = 1").await.unwrap();
    client.flight_info("DELETE FROM t WHERE a = 2").await.unwrap();
    assert_eq!(client.query("SELECT a, b FROM t").await.text(), "1|z");
    let versions = client.query("DESCRIBE HISTORY t").await.column("operation");
    assert_eq!(versions, ["DELETE", "UPDATE", "WRITE", "CREATE TABLE"]);
}

#[tokio::test]
async fn many_small_files_are_put_together_without_being_asked_unless_the_table_forbids_it() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE tended (a BIGINT);
             CREATE TABLE left_alone (a BIGINT) TBLPROPERTIES ('delta.autoOptimize.autoCompact' = 'false');
             CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM tended",
        )
        .await;
    for table in ["tended", "left_alone"] {
        for n in 0..50 {
            client.update(&format!("INSERT INTO {table} VALUES ({n})")).await;
        }
    }
    client.refresh("total").await.expect("SUCCEEDED");
    let url = server.address().to_owned();
    eventually("one file", || async {
        let mut client = Client::connect_to(&url).await;
        let files = client.query("DESCRIBE DETAIL tended").await.only("num_files");
        (files == "1").then_some(())
    })
    .await;
    assert_eq!(client.query("SELECT count(DISTINCT a) FROM tended").await.cell(), "50");
    let by_itself = "SELECT kind, cause, state FROM system.jobs WHERE cause = 'automatic'";
    eventually("the job has ended", || async {
        let mut client = Client::connect_to(&url).await;
        let states = client.query(by_itself).await.lines();
        (states == ["OPTIMIZE|automatic|SUCCEEDED"]).then_some(())
    })
    .await;
    let alone = client.query("DESCRIBE DETAIL left_alone").await;
    assert_eq!(alone.only("num_files"), "50");
    // The rows are what they were, so what was computed from them is right.
    client.refresh("total").await.expect("SKIPPED_NO_CHANGE");
    client.update("INSERT INTO tended VALUES (100)").await;
    client.refresh("total").await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT n FROM total").await.cell(), "51");
    assert_eq!(client.query("OPTIMIZE tended").await.only("files_removed"), "2");
    client.refresh("total").await.expect("SKIPPED_NO_CHANGE");
}
