//! The process: start, stop, restart, and what else it serves on its port.

use futures::TryStreamExt;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE SCHEMA s COMMENT 'kept';
             CREATE TABLE s.t (a BIGINT NOT NULL) COMMENT 'rows';
             INSERT INTO s.t VALUES (1), (2);
             CREATE VIEW s.v AS SELECT a FROM s.t WHERE a > 1;
             CREATE MATERIALIZED VIEW s.m SCHEDULE EVERY 1 DAY AS SELECT count(*) AS n FROM s.v",
        )
        .await;
    client.newest_job("s.m").await.expect("SUCCEEDED");
    let questions = [
        "SHOW SCHEMAS",
        "SHOW TABLES",
        "DESCRIBE s.t",
        "SHOW CREATE TABLE s.t",
        "SHOW CREATE VIEW s.v",
        "SHOW CREATE MATERIALIZED VIEW s.m",
        "SELECT * FROM s.t ORDER BY a",
        "SELECT * FROM s.v",
        "SELECT * FROM s.m",
        "SELECT job_id, object, state, output_version, rows_read FROM system.jobs",
        "SELECT run_id, run_seq, strategy, reason FROM system.runs",
        "SELECT * FROM system.run_inputs",
        "SELECT name, definition, schedule, next_due_at FROM system.transforms",
    ];
    let mut before = Vec::new();
    for question in questions {
        before.push(client.query(question).await.lines());
    }
    let server = server.stop().start();
    let mut client = Client::connect(&server).await;
    for (question, before) in questions.into_iter().zip(before) {
        assert_eq!(client.query(question).await.lines(), before, "{question}");
    }
    client.refresh("s.m").await.expect("SKIPPED_NO_CHANGE");
}

#[tokio::test]
async fn sigterm_lets_a_running_query_end() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT unnest(range(0, 1500)) AS n").await;
    let info = client.flight_info("SELECT a.n, b.n AS m FROM t AS a, t AS b").await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.flight().do_get(ticket).await.unwrap();
    let mut rows = stream.try_next().await.unwrap().unwrap().num_rows();
    server.ask_to_stop();
    while let Some(batch) = stream.try_next().await.unwrap() {
        rows += batch.num_rows();
    }
    assert_eq!(rows, 1_500 * 1_500);
    let ended = server.wait();
    assert!(ended.status.success(), "{ended:?}");
}

#[tokio::test]
async fn sigterm_waits_no_longer_than_it_was_told() {
    let server = Options::new().env("WHIMBREL__SERVER__SHUTDOWN_DRAIN", "500ms").start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t AS SELECT unnest(range(0, 3000)) AS n;
             CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t AS a, t AS b, t AS c, t AS d WHERE a.n + b.n + c.n + d.n < 0",
        )
        .await;
    let info = client.flight_info("SELECT a.n FROM t AS a, t AS b, t AS c").await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.flight().do_get(ticket).await.unwrap();
    stream.try_next().await.unwrap();
    server.ask_to_stop();
    let options = server.options().clone();
    let ended = server.wait();
    assert!(ended.status.success(), "{ended:?}");
    // The job that was under way was given back and goes on.
    let server = options.start();
    let mut client = Client::connect(&server).await;
    let state = client.query("SELECT state FROM system.jobs").await.cell();
    assert!(["QUEUED", "PLANNING", "RUNNING"].contains(&state.as_str()), "{state}");
}

#[tokio::test]
async fn health_and_reflection_are_on_the_same_port() {
    let server = Server::start();
    let client = Client::connect(&server).await;
    let mut health = HealthClient::new(client.channel());
    for service in ["", "arrow.flight.protocol.FlightService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status.as_str_name(), "SERVING", "{service}");
    }
}

#[tokio::test]
async fn two_servers_do_not_share_one_sqlite_catalog() {
    let server = Server::start();
    let second = server.options().try_start().expect_err("the folder is taken");
    assert!(!second.status.success());
    assert!(second.log.contains("in use by another server"), "{}", second.log);
    let mut client = Client::connect(&server).await;
    client.query("SELECT 1").await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let server = Server::start();
    let other = Options::new().arg("--flight-addr").arg(server.address());
    let ended = other.try_start().expect_err("the port is taken");
    assert!(
        ended.log.contains(server.address()) && ended.log.contains("--flight-addr"),
        "{}",
        ended.log
    );
}

#[tokio::test]
async fn a_job_is_watched_over_grpc_until_it_is_over() {
    use proto::v1::{
        Along, JobState, ListRequest, SubmitOptions, SubmitRequest, WatchRequest,
        jobs_client::JobsClient,
    };

    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t AS SELECT unnest(range(0, 1000)) AS n;
             CREATE MATERIALIZED VIEW a AS SELECT n FROM t;
             CREATE MATERIALIZED VIEW b AS SELECT sum(n) AS n FROM a",
        )
        .await;
    client.newest_job("main.b").await.expect("SUCCEEDED");
    client.update("INSERT INTO t VALUES (1)").await;
    let mut jobs = JobsClient::new(client.channel());
    let submitted = jobs
        .submit(SubmitRequest {
            objects: vec!["a".to_owned()],
            along: Along::Downstream.into(),
            options: Some(SubmitOptions {
                idempotency_key: Some("it's one".to_owned()),
                priority: Some(7),
                max_bytes: Some(1 << 30),
                ..SubmitOptions::default()
            }),
            ..SubmitRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .jobs;
    assert_eq!(submitted.len(), 2);
    for job in &submitted {
        assert_eq!((job.priority, job.max_bytes), (7, Some(1 << 30)));
        assert_eq!(job.profile, "default");
        assert_eq!(job.idempotency_key.as_deref(), Some("it's one"));
    }
    let job_ids: Vec<_> = submitted.iter().map(|job| job.id.clone()).collect();
    let mut watch =
        jobs.watch(WatchRequest { job_ids: job_ids.clone() }).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().expect("every job at the start");
    assert_eq!(first.jobs.len(), 2);
    let mut last = std::collections::BTreeMap::new();
    let mut message = Some(first);
    while let Some(changed) = message {
        last.extend(changed.jobs.into_iter().map(|job| (job.id.clone(), job)));
        message = watch.message().await.unwrap();
    }
    for id in &job_ids {
        assert_eq!(last[id].state(), JobState::Succeeded);
        assert_eq!(last[id].output_version, Some(1));
    }
    // Only the new row: what was there is not read again.
    assert_eq!(last[&job_ids[0]].rows_read, 1);
    let listed = jobs
        .list(ListRequest { job_ids: job_ids.clone(), ..ListRequest::default() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.jobs.len(), 2);
    let refused = jobs
        .submit(SubmitRequest { objects: vec!["nowhere".to_owned()], ..SubmitRequest::default() })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let refused = jobs.watch(WatchRequest { job_ids: Vec::new() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn metadata_and_submission_answer_while_transforms_saturate_the_machine() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT unnest(range(0, 3000)) AS n").await;
    for view in ["x", "y"] {
        client
            .update(&format!("CREATE MATERIALIZED VIEW {view} AS SELECT count(*) AS n FROM t AS a, t AS b, t AS c, t AS d WHERE a.n + b.n + c.n + d.n < 0"))
            .await;
    }
    eventually("both run", || {
        let mut client = client.clone();
        async move {
            let running = "SELECT count(*) FROM system.jobs WHERE state = 'RUNNING'";
            (client.query(running).await.cell() == "2").then_some(())
        }
    })
    .await;
    client.query("SHOW TABLES").await;
    client.query("REFRESH MATERIALIZED VIEW x").await;
    client.command(arrow_flight::sql::CommandGetTableTypes {}).await;
    client.query("SELECT count(*) FROM t").await;
    for id in client
        .query("SELECT job_id FROM system.jobs WHERE state IN ('RUNNING', 'QUEUED')")
        .await
        .column("job_id")
    {
        client.query(&format!("CANCEL JOB '{id}'")).await;
        client.job(&id).await.expect("CANCELLED");
    }
}
