use std::sync::Arc;

use catalog::{Catalog, conformance, error::CatalogError, objects::Objects};

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
         VALUES (7, 'future', 1, x'00', 0)",
    )
    .execute(&raw)
    .await
    .unwrap();
    raw.close().await;
    let error = SqliteCatalog::open(&path).await.unwrap_err();
    assert!(matches!(error, CatalogError::NewerSchema { found: 7, known: 3 }), "{error:?}");
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
