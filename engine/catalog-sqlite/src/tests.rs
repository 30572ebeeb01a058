use std::sync::Arc;

use catalog::{
    Catalog, conformance,
    error::CatalogError,
    grants::Grants,
    jobs::{JobFilter, Jobs},
    objects::Objects,
};
use model::{
    id::{JobId, ObjectId},
    work::Work,
};

use super::SqliteCatalog;

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_in_memory_keeps_every_promise_of_the_ports() {
    conformance::run(async || {
        Arc::new(SqliteCatalog::in_memory().await.unwrap()) as Arc<dyn Catalog>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_in_a_file_keeps_every_promise_of_the_ports() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // Random histories are long and end on the disk thousands of times; in memory they do not.
    let checks = conformance::checks().into_iter();
    for check in checks.filter(|check| !check.name.starts_with("random_")) {
        let catalog = SqliteCatalog::open(&path.join(check.name)).await.unwrap();
        (check.run)(Arc::new(catalog)).await;
    }
}

#[tokio::test]
async fn a_catalog_in_a_file_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below").join("catalog.db");
    // Spawned, as a server may do: the future goes from thread to thread.
    let opened = tokio::spawn({
        let path = path.clone();
        async move { SqliteCatalog::open(&path).await }
    });
    let first = opened.await.unwrap().unwrap();
    let schema = catalog::objects::Schema { name: "sales".into(), comment: None };
    first.create_schema(&schema).await.unwrap();
    drop(first);
    let second = SqliteCatalog::open(&path).await.unwrap();
    assert!(second.schemas().await.unwrap().contains(&schema));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_waits_for_is_seen_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::open(&folder.path().join("catalog.db")).await.unwrap();
    let catalog = Arc::new(catalog);
    for n in 0..200 {
        let name = format!("s{n}");
        let seen = |schemas: Vec<catalog::objects::Schema>| schemas.iter().any(|s| s.name == name);
        assert!(!seen(catalog.schemas().await.unwrap()));
        let schema = catalog::objects::Schema { name: name.clone(), comment: None };
        let created = tokio::spawn({
            let (catalog, schema) = (Arc::clone(&catalog), schema.clone());
            async move { catalog.create_schema(&schema).await }
        });
        // Somewhere between its beginning and its end.
        for _ in 0..n % 20 {
            tokio::task::yield_now().await;
        }
        created.abort();
        let was_answered = matches!(created.await, Ok(Ok(())));
        // Another one of the same name is refused by what is there.
        let is_there = catalog.create_schema(&schema).await.is_err();
        assert!(is_there || !was_answered);
        assert!(seen(catalog.schemas().await.unwrap()), "{name}, there before: {is_there}");
    }
}

/// Before there were rights every user might do everything, and nobody loses that by an update.
#[tokio::test]
async fn users_of_an_older_program_are_admins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let raw = crate::database::of_the_first_program(&path).await;
    sqlx::query("INSERT INTO users (name, password_hash) VALUES ('ada', 'x'), ('bob', 'y')")
        .execute(&raw)
        .await
        .unwrap();
    raw.close().await;
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    for name in ["ada", "bob"] {
        assert!(catalog.rights(name).await.unwrap().unwrap().is_admin(), "{name}");
    }
}

#[tokio::test]
async fn jobs_of_the_first_program_are_refreshes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let raw = crate::database::of_the_first_program(&path).await;
    let (job, object) = (JobId::generate(), ObjectId::generate());
    sqlx::query(
        "INSERT INTO jobs (id, queue_seq, object_id, object_schema, object_name, state, cause,
            requested_by, forced, attempts_max, queued_at, not_before)
         VALUES ($1, 1, $2, 'main', 'm', 'SUCCEEDED', 'request', 'ada', 0, 3, 1, 1)",
    )
    .bind(job.to_string())
    .bind(object.to_string())
    .execute(&raw)
    .await
    .unwrap();
    raw.close().await;
    let catalog = SqliteCatalog::open(&path).await.unwrap();
    let jobs = catalog.jobs(&JobFilter::default()).await.unwrap();
    let found: Vec<_> = jobs.iter().map(|found| (found.id, &found.work, found.result)).collect();
    assert_eq!(found, [(job, &Work::Refresh, None)]);
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    drop(SqliteCatalog::open(&path).await.unwrap());
    let raw =
        sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&path))
            .await
            .unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'future', 1, x'00', 0)",
    )
    .execute(&raw)
    .await
    .unwrap();
    raw.close().await;
    let error = SqliteCatalog::open(&path).await.unwrap_err();
    assert!(matches!(error, CatalogError::NewerSchema { found: 999, .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    std::fs::write(&path, "this is a text and no database, long enough to have a header").unwrap();
    let error = SqliteCatalog::open(&path).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("catalog.db"), "{source}");
}
