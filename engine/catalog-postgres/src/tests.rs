//! The conformance suite, on the server that `WHIMBREL_TEST_PG_URL` names.

use std::{
    collections::BTreeSet, error::Error as _, future::poll_fn, sync::Arc, task::Poll,
    time::Duration,
};

use catalog::{Catalog, conformance, error::CatalogError};
use catalog_sql::{
    database::{Database, Transaction},
    sql::Sql,
};
use model::{code::Code, id::RunId};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{PostgresCatalog, PostgresOptions, database::PostgresDatabase};

const OPTIONS: PostgresOptions = PostgresOptions { connections_max: 10 };

/// The URL of the test server; says loudly that a test does nothing without it.
fn server() -> Option<String> {
    let url = std::env::var("WHIMBREL_TEST_PG_URL").ok();
    if url.is_none() {
        eprintln!("SKIPPED: nothing was tested on Postgres, WHIMBREL_TEST_PG_URL is not set");
    }
    url
}

/// A schema of its own on the test server.
struct Scratch {
    server: String,
    schema: String,
}

impl Scratch {
    async fn new(server: &str) -> Self {
        let schema = format!("whimbrel_test_{}", RunId::generate().as_uuid().simple());
        let scratch = Self { server: server.to_owned(), schema };
        scratch.execute(format!("CREATE SCHEMA {}", scratch.schema)).await;
        scratch
    }

    fn url(&self) -> String {
        let separator = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{separator}options=-csearch_path%3D{}", self.server, self.schema)
    }

    async fn execute(&self, sql: String) {
        let mut connection = PgConnection::connect(&self.server).await.unwrap();
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn remove(self) {
        self.execute(format!("DROP SCHEMA {} CASCADE", self.schema)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_in_postgres_keeps_every_promise_of_the_ports() {
    let Some(server) = server() else { return };
    let mut failed = Vec::new();
    for check in conformance::checks() {
        let scratch = Scratch::new(&server).await;
        let catalog = PostgresCatalog::connect(&scratch.url(), OPTIONS).await.unwrap();
        let catalog: Arc<dyn Catalog> = Arc::new(catalog);
        if tokio::spawn((check.run)(catalog)).await.is_err() {
            failed.push(check.name);
        }
        scratch.remove().await;
    }
    assert!(failed.is_empty(), "{} checks failed: {failed:#?}", failed.len());
}

/// Of two statements on one connection the second is answered although the first failed, unless both are
/// in a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_nobody_waits_for_any_more_is_none() {
    let Some(server) = server() else { return };
    let scratch = Scratch::new(&server).await;
    let options = PostgresOptions { connections_max: 1 };
    let sql = |text| Sql { sqlite: "", postgres: text };
    let database = PostgresDatabase::connect(&scratch.url(), options).await.unwrap();
    for polls in 1..12 {
        let mut begun = database.write("begin");
        for _ in 0..polls {
            let is_begun = poll_fn(|context| Poll::Ready(begun.as_mut().poll(context).is_ready()));
            if is_begun.await {
                break;
            }
            // The server answers.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(begun);
        let failed = database.rows("fail", sql("SELECT 1 / 0"), Vec::new()).await;
        assert!(failed.unwrap_err().source().unwrap().to_string().contains("division by zero"));
        let answered = database.rows("ask", sql("SELECT 'x'"), Vec::new()).await;
        assert!(answered.is_ok(), "after {polls} polls: {:?}", answered.err());
    }
    scratch.remove().await;
}

/// The processes of the server that answer calls which come one after the other.
async fn backends(database: &PostgresDatabase, calls: usize) -> BTreeSet<i32> {
    let mut backends = BTreeSet::new();
    for _ in 0..calls {
        let mut lent = database.connections.lend().await.unwrap();
        let ask = sqlx::query_scalar("SELECT pg_backend_pid()");
        backends.insert(ask.fetch_one(&mut *lent).await.unwrap());
        lent.give_back();
    }
    backends
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_one_after_the_other_are_answered_by_one_connection() {
    let Some(server) = server() else { return };
    let scratch = Scratch::new(&server).await;
    let database = PostgresDatabase::connect(&scratch.url(), OPTIONS).await.unwrap();
    // One that is in use is nobody else's.
    let held = database.write("hold").await.unwrap();
    let others = backends(&database, 5).await;
    assert_eq!(others.len(), 1);
    held.commit().await.unwrap();
    assert_ne!(backends(&database, 5).await, others);
    scratch.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_ended_is_not_noticed_by_who_reads_or_begins() {
    let Some(server) = server() else { return };
    let scratch = Scratch::new(&server).await;
    let database = PostgresDatabase::connect(&scratch.url(), OPTIONS).await.unwrap();
    let sql = Sql { sqlite: "", postgres: "SELECT 'x'" };
    for begins in [false, true] {
        // Two lie warm, both are ended.
        let (one, other) = (database.write("hold").await.unwrap(), backends(&database, 1).await);
        one.commit().await.unwrap();
        let ended = &backends(&database, 1).await | &other;
        assert_eq!(ended.len(), 2);
        for process in &ended {
            scratch.execute(format!("SELECT pg_terminate_backend({process})")).await;
        }
        match begins {
            true => database.write("begin").await.unwrap().commit().await.unwrap(),
            false => assert_eq!(database.rows("ask", sql, Vec::new()).await.unwrap().len(), 1),
        }
        assert!(backends(&database, 5).await.is_disjoint(&ended));
    }
    scratch.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_that_start_at_once_bring_the_schema_up_to_date_once() {
    let Some(server) = server() else { return };
    let scratch = Scratch::new(&server).await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let url = scratch.url();
            tokio::spawn(async move { PostgresCatalog::connect(&url, OPTIONS).await })
        })
        .collect();
    let mut catalogs = Vec::new();
    for task in tasks {
        catalogs.push(task.await.unwrap().unwrap());
    }
    drop(catalogs);
    scratch.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_program_is_refused() {
    let Some(server) = server() else { return };
    let scratch = Scratch::new(&server).await;
    drop(PostgresCatalog::connect(&scratch.url(), OPTIONS).await.unwrap());
    let future = format!(
        "INSERT INTO {}._sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'future', true, ''::bytea, 0)",
        scratch.schema
    );
    scratch.execute(future).await;
    let error = PostgresCatalog::connect(&scratch.url(), OPTIONS).await.unwrap_err();
    scratch.remove().await;
    assert!(matches!(error, CatalogError::NewerSchema { found: 999, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_is_told_without_the_password() {
    let Some(server) = server() else { return };
    let scratch = Scratch::new(&server).await;
    let catalog = PostgresCatalog::connect(&scratch.url(), OPTIONS).await.unwrap();
    scratch.remove().await;
    let place = catalog.describe();
    assert!(place.starts_with("Postgres database '"), "{place}");
    assert!(format!("{catalog:?}").contains(&place));
    assert!(!place.contains("password"), "{place}");
}

#[tokio::test]
async fn a_server_out_of_reach_is_unavailable_and_no_error_shows_the_password() {
    // Port 1 is never a database.
    let url = "postgres://ada:s3cret@127.0.0.1:1/lake";
    let error = PostgresCatalog::connect(url, OPTIONS).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let source = error.source().unwrap().to_string();
    assert!(source.contains("127.0.0.1:1"), "{source}");
    assert!(!format!("{error} {error:?} {source}").contains("s3cret"));
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_showing_it() {
    for url in
        ["postgres://ada:s3cret/x@host/db", "s3cret", "postgres://a:s3cret@h/d?sslmode=s3cret"]
    {
        let error = PostgresCatalog::connect(url, OPTIONS).await.unwrap_err();
        let source = error.source().unwrap().to_string();
        assert_eq!(error.code(), Code::Internal, "{url}");
        assert!(!format!("{error} {error:?} {source}").contains("s3cret"), "{source}");
    }
}
