//! Tables over folders whose names say values of columns.

use std::fs;

use tonic::Code;
use whimbrel_tests::{client::Client, process::Options};

#[tokio::test]
async fn such_a_table_is_made_again_by_what_it_shows_and_reads_only_folders_that_fit() {
    let server = Options::new().start();
    let mut client = Client::connect(&server).await;
    for (entity, version) in [("a", 1), ("a", 2), ("b", 1)] {
        let place = format!("in/{entity}/v{version}/one.parquet");
        client.update(&format!("COPY (SELECT '{entity}{version}' AS what) TO '{place}'")).await;
    }
    client
        .update(
            "CREATE EXTERNAL TABLE pos USING PARQUET LOCATION 'in/{entity}/v{version}' \
             PATH COLUMNS (entity STRING, version BIGINT)",
        )
        .await;
    let shown = client.query("SHOW CREATE TABLE pos").await.only("create_statement");
    assert!(
        shown.contains("/in/{entity}/v{version}/'\nPATH COLUMNS (entity STRING, version BIGINT)")
    );
    let all = client.query("SELECT * FROM pos ORDER BY what").await.text();
    client.update("DROP TABLE pos").await;
    client.update(&shown).await;
    assert_eq!(client.query("SHOW CREATE TABLE pos").await.only("create_statement"), shown);
    assert_eq!(client.query("SELECT * FROM pos ORDER BY what").await.text(), all);

    let explained =
        "EXPLAIN SELECT what FROM pos WHERE version = 1 AND entity >= 'b' AND what <> ''";
    let plan = client.query(explained).await.text();
    assert!(plan.contains("in/b/v1/one.parquet"), "{plan}");
    assert!(!plan.contains("in/a/v"), "{plan}");

    // A folder that comes later is there at once, and one with another kind of name is told of.
    client.update("COPY (SELECT 'c1' AS what) TO 'in/c/v1/one.parquet'").await;
    assert_eq!(client.query("SELECT count(*) AS n FROM pos").await.only("n"), "4");
    client.update("COPY (SELECT 'no' AS what) TO 'in/c/v1b/one.parquet'").await;
    let refused =
        client.try_query("SELECT count(*) FROM pos WHERE entity = 'a'").await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    let text = refused.to_string();
    assert!(text.contains("the folder 'c/v1b' says '1b', which does not read as BIGINT"), "{text}");
}

#[tokio::test]
async fn a_marker_without_a_byte_makes_a_folder_complete() {
    let server = Options::new().start();
    let mut client = Client::connect(&server).await;
    client.update("COPY (SELECT 1 AS n) TO 'in/1/a.csv'").await;
    client.update("COPY (SELECT 2 AS n) TO 'in/2/a.csv'").await;
    let create = "CREATE EXTERNAL TABLE parts USING CSV LOCATION 'in/{part}/' \
                  PATH COLUMNS (part INT) COMPLETE WHEN '_SUCCESS'";
    let refused = client.try_update(create).await.unwrap_err();
    assert_eq!(refused.code, Code::NotFound);
    let folder = server.options().data().join("lake/in");
    fs::write(folder.join("2/_SUCCESS"), "").unwrap();
    client.update(create).await;
    let shown = client.query("SHOW CREATE TABLE parts").await.only("create_statement");
    assert!(shown.ends_with("PATH COLUMNS (part INT)\nCOMPLETE WHEN '_SUCCESS'"), "{shown}");
    assert_eq!(client.query("SELECT n FROM parts").await.only("n"), "2");
    fs::write(folder.join("1/_SUCCESS"), "").unwrap();
    assert_eq!(client.query("SELECT sum(n) AS s FROM parts").await.only("s"), "3");
}
