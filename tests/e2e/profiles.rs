//! What runs may take: profiles of the configuration, and max_bytes.

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

async fn start(options: &Options) -> (Server, Client) {
    let server = options.start();
    let client = Client::connect(&server).await;
    (server, client)
}

fn with_profiles() -> Options {
    Options::new()
        .env("WHIMBREL__REFRESH__WORKERS", "4")
        .env("WHIMBREL__REFRESH__PROFILES__LARGE__MEMORY", "50%")
        .env("WHIMBREL__REFRESH__PROFILES__LARGE__PARTITIONS", "3")
        .env("WHIMBREL__REFRESH__PROFILES__ALONE__RUNS", "1")
        .env("WHIMBREL__REFRESH__PROFILES__SHORT__RUN_TIME", "300ms")
        .env("WHIMBREL__REFRESH__PROFILES__NARROW__MEMORY", "1MiB")
}

#[tokio::test]
async fn a_job_has_the_profile_of_its_transform_or_of_its_request() {
    let options = with_profiles();
    let (server, mut client) = start(&options).await;
    client
        .script(
            "CREATE TABLE t (k BIGINT, a BIGINT);
             INSERT INTO t VALUES (1, 1), (1, 2), (2, 3);
             CREATE MATERIALIZED VIEW m OPTIONS (profile = 'large', max_bytes = '1GiB')
                 AS SELECT k, sum(a) AS s FROM t GROUP BY k;
             CREATE MATERIALIZED VIEW plain AS SELECT k FROM t",
        )
        .await;
    let of = |object: &str| {
        format!("SELECT DISTINCT profile, max_bytes FROM system.jobs WHERE object = '{object}'")
    };
    client.newest_job("main.m").await.expect("SUCCEEDED");
    assert_eq!(client.query(&of("main.m")).await.text(), "large|1073741824");
    assert_eq!(client.query(&of("main.plain")).await.text(), "default|NULL");
    let shown = "SELECT name, profile, max_bytes FROM system.transforms ORDER BY name";
    let shown = client.query(shown).await.text();
    assert_eq!(shown, "main.m|large|1073741824\nmain.plain|default|NULL");
    let job = client.query("REFRESH m SYNC OPTIONS (profile = 'alone')").await;
    assert_eq!((job.only("profile"), job.only("max_bytes")), ("alone".into(), "1073741824".into()));
    let described = client.query(&format!("DESCRIBE JOB '{}'", job.only("job_id"))).await;
    assert_eq!(described.only("profile"), "alone");
    let explained = client.query("EXPLAIN REFRESH m FULL").await.text();
    assert!(
        explained.contains("profile|large") && explained.contains("bytes to read|"),
        "{explained}"
    );

    // Another profile is no other definition.
    client
        .update(
            "CREATE OR REFRESH MATERIALIZED VIEW m OPTIONS (profile = 'alone')
             AS SELECT k, sum(a) AS s FROM t GROUP BY k",
        )
        .await;
    client.newest_job("main.m").await.expect("SKIPPED_NO_CHANGE");

    let failure = client.query_failure("REFRESH m OPTIONS (profile = 'lagre')").await;
    failure.expect(
        Code::FailedPrecondition,
        &["there is no profile 'lagre'", "did you mean 'large'?", "alone, default, large"],
    );
    let failure = client
        .failure("CREATE MATERIALIZED VIEW n OPTIONS (profile = 'nobody') AS SELECT 1 AS one")
        .await;
    failure.expect(Code::FailedPrecondition, &["there is no profile 'nobody'"]);

    // A server that knows fewer profiles has nobody to leave the job to.
    client
        .update("CREATE MATERIALIZED VIEW gone OPTIONS (profile = 'large') AS SELECT k FROM t")
        .await;
    client.newest_job("main.gone").await.expect("SUCCEEDED");
    client.update("SUSPEND gone").await;
    client.update("INSERT INTO t VALUES (9, 9)").await;
    let options = server.stop();
    let options = ["MEMORY", "PARTITIONS"].iter().fold(options, |options, key| {
        options.without_env(&format!("WHIMBREL__REFRESH__PROFILES__LARGE__{key}"))
    });
    let (_server, mut client) = start(&options).await;
    client.update("ALTER MATERIALIZED VIEW gone ADD TRIGGER ON UPDATE").await;
    client.update("RESUME gone").await;
    let failed = eventually("the trigger has queued a job that fails", || {
        let mut client = client.clone();
        async move {
            let sql =
                "SELECT error FROM system.jobs WHERE object = 'main.gone' AND state = 'FAILED'";
            client.query(sql).await.lines().first().cloned()
        }
    })
    .await;
    assert!(failed.contains("the profile 'large', which there is not"), "{failed}");
    assert!(failed.contains("refresh.profiles"), "{failed}");
}

#[tokio::test]
async fn a_run_ends_before_its_commit_where_it_would_take_more_than_it_may() {
    let (_server, mut client) = start(&with_profiles()).await;
    client
        .script(
            "CREATE TABLE t AS SELECT value AS k, value % 10 AS a FROM generate_series(1, 200000);
             CREATE MATERIALIZED VIEW m AS SELECT k, a FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let version = "SELECT max(output_version) FROM system.runs WHERE object = 'main.m'";
    let before = client.query(version).await.cell();
    client.update("INSERT INTO t VALUES (0, 0)").await;

    let failure = client.query_failure("REFRESH m FULL SYNC OPTIONS (max_bytes = 1000)").await;
    failure.expect(
        Code::FailedPrecondition,
        &["it would read", "FULL, REQUESTED_FULL", "max_bytes is 1000B", "OPTIONS (max_bytes = …)"],
    );
    // What came is not as much; nothing is kept of the run that failed.
    client.query("REFRESH m SYNC OPTIONS (max_bytes = '100KiB')").await;
    assert_eq!(client.query("SELECT count(*) FROM m").await.cell(), "200001");
    // A query that reads nothing and writes much.
    client.update("CREATE MATERIALIZED VIEW wide AS SELECT 1 AS k").await;
    client.newest_job("main.wide").await.expect("SUCCEEDED");
    client
        .update(
            "CREATE OR REFRESH MATERIALIZED VIEW wide OPTIONS (max_bytes = 2000)
             AS SELECT value AS k FROM generate_series(1, 200000)",
        )
        .await;
    let job = client.newest_job("main.wide").await;
    job.expect("FAILED");
    let error = client
        .query(&format!("SELECT error FROM system.jobs WHERE job_id = '{}'", job.id))
        .await
        .cell();
    assert!(error.contains("it wrote") && error.contains("max_bytes is 2.0KiB"), "{error}");
    assert_eq!(client.query("SELECT count(*) FROM wide").await.cell(), "1");

    // Time.
    let slow = "SELECT count(*) AS n FROM generate_series(1, 400000) AS a(x) \
                JOIN generate_series(1, 400000) AS b(y) ON a.x < b.y";
    client
        .update(&format!("CREATE MATERIALIZED VIEW slow OPTIONS (profile = 'short') AS {slow}"))
        .await;
    let job = client.newest_job("main.slow").await;
    job.expect("FAILED");
    let error = client
        .query(&format!("SELECT error FROM system.jobs WHERE job_id = '{}'", job.id))
        .await
        .cell();
    assert!(
        error.contains("took longer than the 300ms that the profile 'short' allows"),
        "{error}"
    );

    // Memory. What can spill does.
    client
        .update(
            "CREATE MATERIALIZED VIEW whole OPTIONS (profile = 'narrow')
             AS SELECT k, max(a) OVER () AS most FROM t",
        )
        .await;
    let error = eventually("what needs all rows at once has failed", || {
        let mut client = client.clone();
        async move {
            let sql = "SELECT error FROM system.jobs WHERE object = 'main.whole'
                       AND error IS NOT NULL";
            client.query(sql).await.lines().first().cloned()
        }
    })
    .await;
    assert!(error.contains("that the profile 'narrow' allows"), "{error}");
    assert_ne!(client.query(version).await.cell(), before);
}

#[tokio::test]
async fn so_many_runs_of_a_profile_are_under_way_at_once() {
    // An OPTIMIZE, which is of the default profile, stands still on command.
    let options = with_profiles()
        .env("WHIMBREL__REFRESH__PROFILES__DEFAULT__RUNS", "1")
        .env("WHIMBREL_PAUSE_AT", "staged");
    let (_server, mut client) = start(&options).await;
    client
        .script("CREATE TABLE o (a BIGINT); INSERT INTO o VALUES (1); INSERT INTO o VALUES (2)")
        .await;
    let blocks = client.query("OPTIMIZE o ASYNC").await.only("job_id");
    eventually("the only run of the profile stands still", || {
        let (mut client, blocks) = (client.clone(), blocks.clone());
        async move {
            let sql = format!("SELECT state FROM system.jobs WHERE job_id = '{blocks}'");
            (client.query(&sql).await.cell() == "RUNNING").then_some(())
        }
    })
    .await;
    client
        .script(
            "CREATE MATERIALIZED VIEW waits AS SELECT 1 AS k;
             CREATE MATERIALIZED VIEW goes OPTIONS (profile = 'large') AS SELECT 2 AS k",
        )
        .await;
    client.newest_job("main.goes").await.expect("SUCCEEDED");
    let state = "SELECT state FROM system.jobs WHERE object = 'main.waits'";
    assert_eq!(client.query(state).await.cell(), "QUEUED");
    client.query(&format!("CANCEL JOB '{blocks}'")).await;
    client.newest_job("main.waits").await.expect("SUCCEEDED");
}
