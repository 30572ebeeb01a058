//! A statement takes effect exactly once, whichever call carries it, and looking never does.

use whimbrel_tests::{client::Client, process::Server};

async fn table(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client.update("CREATE TABLE t (a BIGINT)").await;
    client
}

#[tokio::test]
async fn insert_as_a_query_takes_effect_without_a_fetch() {
    let server = Server::start();
    let mut client = table(&server).await;
    client.flight_info("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(client.count("t").await, 1);
}

#[tokio::test]
async fn insert_as_a_query_takes_effect_once_when_it_is_fetched() {
    let server = Server::start();
    let mut client = table(&server).await;
    let answer = client.query("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(answer.cell(), "2");
    assert_eq!(client.count("t").await, 2);
}

#[tokio::test]
async fn a_ticket_of_an_insert_fetched_twice_does_not_insert_twice() {
    let server = Server::start();
    let mut client = table(&server).await;
    let info = client.flight_info("INSERT INTO t VALUES (1)").await.unwrap();
    client.fetch(info.clone()).await.unwrap();
    assert!(client.fetch(info).await.is_err());
    assert_eq!(client.count("t").await, 1);
}

#[tokio::test]
async fn insert_as_an_update_takes_effect_once() {
    let server = Server::start();
    let mut client = table(&server).await;
    assert_eq!(client.update("INSERT INTO t VALUES (1), (2), (3)").await, 3);
    assert_eq!(client.count("t").await, 3);
}

#[tokio::test]
async fn insert_as_a_prepared_query_takes_effect_once_for_each_execution() {
    let server = Server::start();
    let mut client = table(&server).await;
    let mut prepared = client.prepare("INSERT INTO t VALUES (1)").await;
    assert_eq!(client.count("t").await, 0);
    prepared.execute().await.unwrap();
    assert_eq!(client.count("t").await, 1);
    let info = prepared.execute().await.unwrap();
    client.fetch(info).await.unwrap();
    assert_eq!(client.count("t").await, 2);
    prepared.close().await.unwrap();
    assert_eq!(client.count("t").await, 2);
}

#[tokio::test]
async fn insert_as_a_prepared_update_takes_effect_once_for_each_execution() {
    let server = Server::start();
    let mut client = table(&server).await;
    let mut prepared = client.prepare("INSERT INTO t VALUES (1)").await;
    assert!(prepared.dataset_schema().unwrap().fields().is_empty());
    assert_eq!(prepared.execute_update().await.unwrap(), 1);
    assert_eq!(prepared.execute_update().await.unwrap(), 1);
    assert_eq!(client.count("t").await, 2);
}

#[tokio::test]
async fn ddl_takes_effect_without_a_fetch() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    for sql in [
        "CREATE SCHEMA s",
        "CREATE TABLE s.t AS SELECT 1 AS a",
        "CREATE VIEW s.v AS SELECT a + 1 AS b FROM s.t",
        "CREATE MATERIALIZED VIEW s.m AS SELECT b FROM s.v",
    ] {
        client.flight_info(sql).await.unwrap();
    }
    assert_eq!(client.query("SELECT b FROM s.v").await.cell(), "2");
    client.newest_job("s.m").await.expect("SUCCEEDED");
    assert_eq!(client.jobs_of("s.m").await.len(), 1);
    client.flight_info("DROP VIEW s.v").await.unwrap();
    assert!(client.try_query("SELECT b FROM s.v").await.is_err());
}

#[tokio::test]
async fn preparing_takes_no_effect() {
    let server = Server::start();
    let mut client = table(&server).await;
    for sql in [
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE other (a BIGINT)",
        "CREATE TABLE other AS SELECT 1 AS a",
        "CREATE MATERIALIZED VIEW m AS SELECT a FROM t",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE SCHEMA s",
        "DROP TABLE t",
    ] {
        let prepared = client.prepare(sql).await;
        prepared.close().await.unwrap();
    }
    assert_eq!(client.count("t").await, 0);
    assert_eq!(client.query("SHOW TABLES").await.column("name"), ["t"]);
    assert_eq!(client.count("system.jobs").await, 0);
    assert!(!client.query("SHOW SCHEMAS").await.column("schema").contains(&"s".to_owned()));
}

#[tokio::test]
async fn explaining_takes_no_effect() {
    let server = Server::start();
    let mut client = table(&server).await;
    let plan = client.query("EXPLAIN SELECT a FROM t WHERE a > 1").await.text();
    assert!(plan.contains("TableScan"), "{plan}");
    client.query("EXPLAIN INSERT INTO t VALUES (1)").await;
    assert_eq!(client.count("t").await, 0);
    // Would run it.
    client.query_failure("EXPLAIN ANALYZE INSERT INTO t VALUES (1)").await;
    assert_eq!(client.count("t").await, 0);
    let measured = client.query("EXPLAIN ANALYZE SELECT count(*) FROM t").await.text();
    assert!(measured.contains("metrics"), "{measured}");
}

#[tokio::test]
async fn asking_for_a_schema_takes_no_effect() {
    use arrow_flight::{
        FlightDescriptor,
        sql::{CommandStatementQuery, ProstMessageExt},
    };
    use prost::Message;

    let server = Server::start();
    let mut client = table(&server).await;
    let query = "INSERT INTO t VALUES (1)".to_owned();
    let command = CommandStatementQuery { query, transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    client.flight().inner_mut().get_schema(descriptor).await.unwrap();
    assert_eq!(client.count("t").await, 0);
}

#[tokio::test]
async fn a_failed_insert_leaves_nothing_and_can_be_sent_again() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t (a BIGINT NOT NULL)").await;
    client.failure("INSERT INTO t VALUES (1), (NULL)").await;
    assert_eq!(client.count("t").await, 0);
    client.update("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(client.count("t").await, 2);
}

#[tokio::test]
async fn statements_side_by_side_all_take_effect() {
    let server = Server::start();
    let client = table(&server).await;
    let writers = (0..8).map(|writer| {
        let mut client = client.clone();
        async move {
            for n in 0..5 {
                client.update(&format!("INSERT INTO t VALUES ({})", writer * 100 + n)).await;
            }
        }
    });
    futures::future::join_all(writers).await;
    let mut client = client;
    assert_eq!(client.query("SELECT count(*), count(DISTINCT a) FROM t").await.text(), "40|40");
}
