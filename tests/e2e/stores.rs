//! The same server on a real PostgreSQL and a real S3 store.

use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server, postgres_url},
};

fn on_postgres(database: &str) -> Options {
    Options::new().arg("--catalog").arg(postgres_url(database))
}

/// A little of everything.
async fn works(server: &Server) {
    let mut client = Client::connect(server).await;
    client
        .script(
            "CREATE SCHEMA s;
             CREATE TABLE s.t (a BIGINT NOT NULL, b VARCHAR) PARTITIONED BY (b);
             INSERT INTO s.t VALUES (1, 'x'), (2, 'y'), (3, NULL);
             CREATE VIEW s.v AS SELECT a, b FROM s.t WHERE a > 1;
             CREATE MATERIALIZED VIEW s.m AS SELECT sum(a) AS n FROM s.v;
             CREATE MATERIALIZED VIEW s.n PARTITIONED BY (b) AS SELECT a, b FROM s.t",
        )
        .await;
    client.newest_job("s.m").await.expect("SUCCEEDED");
    client.newest_job("s.n").await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT n FROM s.m").await.cell(), "5");
    client.refresh("s.m").await.expect("SKIPPED_NO_CHANGE");
    client.update("INSERT INTO s.t VALUES (10, 'z')").await;
    client.refresh("s.m").await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT n FROM s.m").await.cell(), "15");
    assert_eq!(client.query("SELECT n FROM s.m VERSION AS OF 0").await.cell(), "5");
    assert_eq!(client.query("SELECT b FROM s.t WHERE b = 'z'").await.cell(), "z");
    client
        .script(
            "COPY (SELECT 1 AS id) TO 'in/a b/1.csv';
             COPY (SELECT 2 AS id) TO 'in/a b/2%.csv';
             COPY (SELECT 4 AS id) TO 'in/a b/40.csv'",
        )
        .await;
    for (place, sum) in [("in/*/[12]*.csv", "3"), ("in/**", "7"), ("in/a b/1.csv", "1")] {
        let sql = format!("SELECT sum(id) FROM read_csv('{place}')");
        assert_eq!(client.query(&sql).await.cell(), sum, "{place}");
    }
}

#[tokio::test]
async fn a_catalog_in_postgres_and_a_lake_on_s3() {
    let options = on_postgres("e2e_s3").on_s3();
    let server = options.start();
    works(&server).await;
    assert!(!server.log().contains("whimbrel-test-secret"), "a secret is in the log");
    let options = server.stop();
    // Nothing but the catalog and the lake is needed: another machine goes on.
    let server = options.data_dir("elsewhere").start();
    let mut client = Client::connect(&server).await;
    assert_eq!(client.query("SELECT n FROM s.m").await.cell(), "15");
    client.refresh("s.m").await.expect("SKIPPED_NO_CHANGE");
    client.update("DROP TABLE s.t PURGE").await;
    client.query_failure("SELECT * FROM s.t").await;
    server.stop();
}

#[tokio::test]
async fn a_lake_on_s3_with_the_default_catalog() {
    let server = Options::new().on_s3().start();
    works(&server).await;
    server.stop();
}

#[tokio::test]
async fn an_s3_lake_with_wrong_credentials_or_without_a_bucket_is_refused_at_the_start() {
    let wrong = Options::new().on_s3().env("AWS_SECRET_ACCESS_KEY", "wrong");
    let ended = wrong.try_start().expect_err("the key is wrong");
    assert!(ended.log.contains("s3://"), "{}", ended.log);
    let absent = Options::new().on_s3().arg("--lake").arg("s3://no-such-bucket-here/x");
    let ended = absent.try_start().map(|_| ()).expect_err("there is no such bucket");
    assert!(!ended.status.success());
}

#[tokio::test]
async fn a_catalog_in_postgres_with_a_local_lake() {
    let server = on_postgres("e2e_serve").start();
    works(&server).await;
    let server = server.stop().start();
    let mut client = Client::connect(&server).await;
    assert_eq!(client.query("SELECT n FROM s.m").await.cell(), "15");
}

#[tokio::test]
async fn two_servers_on_one_postgres_share_the_work_and_run_each_job_once() {
    let first = on_postgres("e2e_two_servers");
    let lake = first.folder().join("shared-lake");
    let first = first.arg("--lake").arg(&lake).env("WHIMBREL__REFRESH__WORKERS", "1");
    let second = first.clone().data_dir("second");
    let (first, second) = (first.start(), second.start());
    let mut here = Client::connect(&first).await;
    let mut there = Client::connect(&second).await;
    here.script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(there.query("SELECT sum(a) FROM t").await.cell(), "3");
    there.update("INSERT INTO t VALUES (3)").await;
    assert_eq!(here.query("SELECT sum(a) FROM t").await.cell(), "6");
    let views = 12;
    for n in 0..views {
        let client = if n % 2 == 0 { &mut here } else { &mut there };
        client
            .update(&format!("CREATE MATERIALIZED VIEW m{n} AS SELECT a + {n} AS a FROM t"))
            .await;
    }
    for n in 0..views {
        let job = there.newest_job(&format!("main.m{n}")).await;
        job.expect("SUCCEEDED");
        assert_eq!(job.output_version, "0");
        let sum = here.query(&format!("SELECT sum(a) FROM m{n}")).await.cell();
        assert_eq!(sum, (6 + 3 * n).to_string());
    }
    let runs =
        here.query("SELECT count(*), count(DISTINCT object), max(attempt) FROM system.runs").await;
    assert_eq!(runs.text(), format!("{views}|{views}|1"));
    // Both append to one table at the same time, and nothing is lost.
    let writers = [here.clone(), there.clone()].map(|mut client| async move {
        for n in 0..10 {
            client.update(&format!("INSERT INTO t VALUES ({})", 100 + n)).await;
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(here.count("t").await, 23);
}

#[tokio::test]
async fn another_server_takes_over_from_one_that_was_killed() {
    let first = on_postgres("e2e_kill");
    let lake = first.folder().join("shared-lake");
    let first = first.arg("--lake").arg(&lake);
    let second = first.clone().data_dir("second");
    let dying = first.clone().env("WHIMBREL_CRASH_AT", "before_finish");
    {
        let server = first.start();
        let mut client = Client::connect(&server).await;
        client.script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2)").await;
        server.stop();
    }
    let server = dying.start();
    let mut client = Client::connect(&server).await;
    let _ = client.flight_info("CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM t").await;
    assert!(!server.wait().status.success(), "it did not die");
    let server = second.start();
    let mut client = Client::connect(&server).await;
    eventually("the job is known", || {
        let mut client = client.clone();
        async move { (client.jobs_of("main.m").await.len() == 1).then_some(()) }
    })
    .await;
    let job = client.newest_job("main.m").await;
    job.expect("SUCCEEDED");
    assert_eq!(job.output_version, "0");
    assert_eq!(client.query("SELECT s FROM m").await.cell(), "3");
}
