//! Who may do what, where SQL alone does not show it; the rest is in `slt/rights.slt`.

use std::{
    fs,
    time::{Duration, Instant},
};

use proto::v1::{CancelRequest, ListRequest, SubmitRequest, WatchRequest, jobs_client::JobsClient};
use tonic::{Code, Request};
use whimbrel_tests::{
    client::{Client, Failure},
    process::{Options, Server},
};

use crate::users::{basic, login, with_users};

const USERS: [(&str, &str); 2] = [("root", "secret-1"), ("bob", "secret-2")];

async fn both(server: &Server) -> (Client, Client) {
    let [(root, first), (bob, second)] = USERS;
    (login(server, root, first).await, login(server, bob, second).await)
}

#[tokio::test]
async fn a_prepared_statement_is_checked_each_time_it_runs() {
    let server = with_users(&Options::new(), &USERS);
    let (mut root, mut bob) = both(&server).await;
    root.script("CREATE TABLE t AS SELECT 1 AS a; GRANT SELECT, INSERT ON t TO bob").await;
    let mut query = bob.prepare("SELECT a FROM t").await;
    let mut insert = bob.prepare("INSERT INTO t VALUES (2)").await;
    let info = query.execute().await.unwrap();
    assert_eq!(bob.fetch(info).await.unwrap().cell(), "1");
    assert_eq!(insert.execute_update().await.unwrap(), 1);
    root.update("REVOKE SELECT ON t FROM bob").await;
    let refused = Failure::from(query.execute().await.unwrap_err());
    refused.expect(Code::PermissionDenied, &["'bob' may not SELECT"]);
    root.update("REVOKE INSERT ON t FROM bob").await;
    let refused = Failure::from(insert.execute_update().await.unwrap_err());
    refused.expect(Code::NotFound, &["'main.t' does not exist"]);
    assert_eq!(root.count("t").await, 2);
}

#[tokio::test]
async fn the_driver_is_told_of_nothing_that_the_caller_may_not_know() {
    let server = with_users(&Options::new(), &USERS);
    let (mut root, mut bob) = both(&server).await;
    root.script("CREATE TABLE t AS SELECT 1 AS a, 2 AS b; CREATE TABLE u AS SELECT 1 AS a").await;
    let tables = || arrow_flight::sql::CommandGetTables {
        table_types: vec!["TABLE".to_owned()],
        include_schema: true,
        ..Default::default()
    };
    assert_eq!(bob.command(tables()).await.column("table_name").len(), 0);
    root.update("GRANT SELECT (a) ON t TO bob").await;
    assert_eq!(bob.command(tables()).await.column("table_name"), ["t"]);
    assert_eq!(root.command(tables()).await.column("table_name"), ["t", "u"]);
    let prepared = bob.prepare("SELECT * FROM t").await;
    assert_eq!(prepared.dataset_schema().unwrap().fields().len(), 1);
}

#[tokio::test]
async fn a_primary_key_is_told_to_those_who_know_its_columns() {
    let server = with_users(&Options::new(), &USERS);
    let (mut root, mut bob) = both(&server).await;
    root.script(
        "CREATE TABLE t (a BIGINT NOT NULL, b BIGINT NOT NULL, PRIMARY KEY (a, b)); \
         GRANT SELECT (a) ON t TO bob",
    )
    .await;
    let keys =
        || arrow_flight::sql::CommandGetPrimaryKeys { table: "t".to_owned(), ..Default::default() };
    assert_eq!(root.command(keys()).await.column("column_name"), ["a", "b"]);
    // A part of it would say that its columns are unique.
    assert!(bob.command(keys()).await.is_empty());
    root.update("GRANT SELECT (a, b) ON t TO bob").await;
    assert_eq!(bob.command(keys()).await.column("column_name"), ["a", "b"]);
}

#[tokio::test]
async fn what_a_refresh_would_do_shows_no_policy_and_no_hidden_table() {
    let server = with_users(&Options::new(), &USERS);
    let (mut root, mut bob) = both(&server).await;
    root.script(
        "CREATE SCHEMA hr; CREATE TABLE hr.pay AS VALUES ('EMEA', 1), ('US', 2); \
         ALTER TABLE hr.pay SET ROW FILTER (column1 = 'EMEA'); \
         ALTER TABLE hr.pay ALTER COLUMN column2 SET MASK (-424242); \
         GRANT SELECT ON hr.pay TO bob; GRANT CREATE ON SCHEMA main TO bob; \
         CREATE TABLE hr.hidden AS VALUES (1, 'topsecret'); \
         CREATE MATERIALIZED VIEW hr.m AS SELECT column1 AS a FROM hr.hidden WHERE column2 = 'topsecret'; \
         GRANT REFRESH ON hr.m TO bob",
    )
    .await;
    bob.update("CREATE MATERIALIZED VIEW m AS SELECT column1 AS c, column2 AS d FROM hr.pay").await;
    for view in ["main.m", "hr.m"] {
        root.refresh(view).await;
        let explained = bob.query(&format!("EXPLAIN REFRESH {view} FULL")).await;
        let items = explained.column("item");
        assert!(items.contains(&"strategy".to_owned()), "{}", explained.text());
        assert!(!items.contains(&"plan".to_owned()), "{}", explained.text());
        assert!(!items.contains(&"bytes to read".to_owned()), "{}", explained.text());
        for hidden in ["EMEA", "424242", "topsecret", "hidden", ".parquet"] {
            assert!(!explained.text().contains(hidden), "{hidden} is in {}", explained.text());
        }
    }
    // Who may read all of it sees all of it.
    let items = root.query("EXPLAIN REFRESH hr.m FULL").await.column("item");
    assert!(items.contains(&"plan".to_owned()), "{items:?}");
    root.update("GRANT SELECT ON hr.hidden TO bob").await;
    root.update("GRANT SELECT ON hr.m TO bob").await;
    let items = bob.query("EXPLAIN REFRESH hr.m FULL").await.column("item");
    assert!(items.contains(&"plan".to_owned()), "{items:?}");
}

#[tokio::test]
async fn nobody_keeps_others_out_with_what_is_never_fetched() {
    let options = Options::new().env("WHIMBREL__SERVER__HANDLES_MAX", "4");
    let server = with_users(&options, &USERS);
    let (mut root, mut bob) = both(&server).await;
    // He takes all places.
    for _ in 0..5 {
        let _ = bob.try_prepare("SELECT 1").await;
        let _ = bob.flight_info("SELECT 1").await;
        let _ = bob.flight().begin_transaction().await;
    }
    let full = bob.try_prepare("SELECT 5").await.expect_err("he has all places");
    full.expect(
        Code::ResourceExhausted,
        &["nobody has more of them than you", "server.handles_max"],
    );
    let mut prepared = root.prepare("SELECT 7").await;
    let info = prepared.execute().await.unwrap();
    assert_eq!(root.fetch(info).await.unwrap().cell(), "7");
    assert_eq!(root.query("SELECT 8").await.cell(), "8");
    root.flight().begin_transaction().await.unwrap();
}

#[tokio::test]
async fn planning_a_large_statement_keeps_no_other_user_waiting() {
    let server = with_users(&Options::new(), &USERS);
    let (mut root, mut bob) = both(&server).await;
    let mut large = "WITH c0 AS (SELECT 1 AS a)".to_owned();
    for n in 1..=10 {
        let before = n - 1;
        large.push_str(&format!(", c{n} AS (SELECT x.a FROM c{before} x CROSS JOIN c{before} y)"));
    }
    large.push_str(" SELECT count(*) FROM c10");
    let began = Instant::now();
    bob.flight_info(&large).await.unwrap();
    let alone = began.elapsed();
    // More at once than there are threads that plan.
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let (mut bob, large) = (bob.clone(), large.clone());
            tokio::spawn(async move { bob.flight_info(&large).await.map(|_| ()) })
        })
        .collect();
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    while !busy.iter().any(|task| task.is_finished()) {
        let began = Instant::now();
        assert_eq!(root.query(&format!("SELECT {count}")).await.cell(), count.to_string());
        slowest = slowest.max(began.elapsed());
        count += 1;
    }
    assert!(slowest < alone, "one of {count} waited for {slowest:?}; a plan takes {alone:?}");
    for task in busy {
        task.await.unwrap().unwrap();
    }
    // It is a part of the time that a statement has.
    root.update("ALTER ROLE public SET LIMITS (run_time = '100ms')").await;
    let began = Instant::now();
    let late = bob.flight_info(&large).await.expect_err("its time is over");
    late.expect(Code::DeadlineExceeded, &["ran for 100ms"]);
    assert!(began.elapsed() < alone, "told after {:?}", began.elapsed());
}

#[tokio::test]
async fn jobs_over_grpc_are_those_that_the_caller_may_know_of() {
    let server = with_users(&Options::new(), &USERS);
    let (mut root, mut bob) = both(&server).await;
    root.script("CREATE TABLE t AS SELECT 1 AS a; CREATE MATERIALIZED VIEW m AS SELECT a FROM t")
        .await;
    let id = root.newest_job("main.m").await.id;
    let mut jobs = JobsClient::new(bob.channel());
    let [_, (name, password)] = USERS;
    let authorization = basic(name, password);
    let of_bob = |message| with_header(message, &authorization);
    let listed = jobs.list(of_bob(ListRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.jobs.len(), 0);
    let watch = WatchRequest { job_ids: vec![id.clone()] };
    let refused = jobs.watch(with_header(watch.clone(), &authorization)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let cancel = CancelRequest { job_id: id.clone() };
    let refused = jobs.cancel(with_header(cancel.clone(), &authorization)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    root.update("GRANT SELECT ON m TO bob").await;
    let mut watched = jobs.watch(with_header(watch, &authorization)).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().jobs.len(), 1);
    let refused = jobs.cancel(with_header(cancel, &authorization)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let submit = SubmitRequest { objects: vec!["m".to_owned()], ..SubmitRequest::default() };
    let refused = jobs.submit(with_header(submit, &authorization)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = bob.query_failure(&format!("RETRY JOB '{id}'")).await;
    refused.expect(Code::PermissionDenied, &["REFRESH"]);
}

fn with_header<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    request
}

#[tokio::test]
async fn a_folder_changes_only_what_its_sender_may_change() {
    let options = Options::new();
    let server = with_users(&options, &USERS);
    let (mut root, _) = both(&server).await;
    root.script("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a").await;
    let folder = options.folder().join("transforms");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("m.sql"), "CREATE MATERIALIZED VIEW s.m AS SELECT a FROM s.t").unwrap();
    let apply = |user: usize| {
        let (name, password) = USERS[user];
        let with_password = options.clone().env("WHIMBREL_PASSWORD", password);
        let (folder, url) = (folder.to_str().unwrap(), server.url());
        let output = with_password.run(&["apply", folder, "--url", &url, "--user", name], "");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (applied, told) = apply(1);
    assert!(!applied && told.contains("'s.t', which neither exists"), "{told}");
    root.update("GRANT SELECT ON SCHEMA s TO bob").await;
    let (applied, told) = apply(1);
    assert!(!applied && told.contains("'bob' may not CREATE ON SCHEMA s"), "{told}");
    let (applied, told) = apply(0);
    assert!(applied, "{told}");
    // An empty folder would suspend what root has declared.
    fs::remove_file(folder.join("m.sql")).unwrap();
    fs::write(folder.join("v.sql"), "CREATE VIEW s.v AS SELECT a FROM s.t").unwrap();
    root.update("GRANT CREATE ON SCHEMA s TO bob").await;
    let (applied, told) = apply(1);
    assert!(!applied && told.contains("do that with 's.m'"), "{told}");
    assert_eq!(root.query("SELECT suspended FROM system.transforms").await.cell(), "false");
}
