use std::{collections::BTreeMap, fs};

use arrow::datatypes::DataType;
use datafusion::prelude::SessionContext;
use model::{
    code::Code,
    object::{PathColumn, Table, TableFormat},
};

use super::TestLake;
use crate::LakeError;

fn table(test: &TestLake, location: &str, columns: &[&str], marker: Option<&str>) -> Table {
    let location = match columns.is_empty() {
        true => test.lake.parse_location(location).unwrap(),
        false => test.lake.parse_folders(location).unwrap(),
    };
    let column = |name: &&str| PathColumn { name: (*name).into(), data_type: "STRING".into() };
    Table {
        location,
        format: TableFormat::Csv,
        external: true,
        options: BTreeMap::new(),
        primary_key: Vec::new(),
        path_columns: columns.iter().map(column).collect(),
        complete_when: marker.map(str::to_owned),
    }
}

/// The rows that a query gives of it as `t`, as text.
async fn rows(
    test: &TestLake,
    table: &Table,
    types: &[DataType],
    sql: &str,
) -> Result<Vec<String>, LakeError> {
    let context = SessionContext::new();
    let provider = test.lake.files_in_folders(table, types, &context.state()).await?;
    context.register_table("t", provider).unwrap();
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|n| batch.slice(n, 1)));
    Ok(rows.map(|row| crate::shown(&row)).collect())
}

fn write(test: &TestLake, file: &str, text: &str) {
    let path = test.path(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_folders_are_decoded_and_hidden_ones_left_out() {
    let test = TestLake::new();
    write(&test, "in/b%26c/v1/x=7/a.csv", "n\n1\n");
    write(&test, "in/__HIVE_DEFAULT_PARTITION__/v2/x=8/a.csv", "n\n2\n");
    write(&test, "in/_tmp/v3/x=9/a.csv", "n\n3\n");
    write(&test, "in/plain/w3/x=9/a.csv", "n\n4\n");
    write(&test, "in/plain/v4/x=9/_half/a.csv", "n\n5\n");
    write(&test, "in/plain/a.csv", "n\n6\n");
    write(&test, "in/plain/v4/x=9/a.csv", "n\n7\n");
    let known = table(&test, "in/{who}/v{version}", &["version", "who"], None);
    assert!(known.location.ends_with("/in/{who}/v{version}/"), "{}", known.location);
    let types = [DataType::Int32, DataType::Utf8];
    let all = rows(&test, &known, &types, "SELECT * FROM t ORDER BY n").await.unwrap();
    assert_eq!(
        all,
        [
            "n = 1, x = '7', version = 1, who = 'b&c'",
            "n = 2, x = '8', version = 2, who = NULL",
            "n = 7, x = '9', version = 4, who = 'plain'"
        ]
    );
    // A condition that fails for a folder of which no row is wanted.
    let sql = "SELECT n FROM t WHERE who = 'b&c' AND 3 / (version - 4) < 0";
    assert_eq!(rows(&test, &known, &types, sql).await.unwrap(), ["n = 1"]);
    let sql = "SELECT n FROM t WHERE who IS NULL";
    assert_eq!(rows(&test, &known, &types, sql).await.unwrap(), ["n = 2"]);
    let error = rows(&test, &known, &[DataType::Int32, DataType::Date32], sql).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.to_string().contains("the folder 'b%26c/v1' says 'b&c'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_without_their_marker_are_no_part_of_the_fingerprint() {
    let test = TestLake::new();
    let types = [DataType::Int64];
    write(&test, "in/1/a.csv", "n\n1\n");
    let known = table(&test, "in/{p}/", &["p"], Some("done.csv"));
    let of = async |table: &Table| test.lake.table_fingerprint(table).await.unwrap();
    let nothing = of(&known).await;
    let error = rows(&test, &known, &types, "SELECT * FROM t").await.unwrap_err();
    assert!(matches!(&error, LakeError::NotComplete { marker, .. } if marker == "done.csv"));
    assert_eq!(error.code(), Code::NotFound);
    write(&test, "in/1/done.csv", "");
    let one = of(&known).await;
    assert_ne!(one, nothing);
    write(&test, "in/2/a.csv", "n\n2\n");
    assert_eq!(of(&known).await, one);
    // The marker says that the folder is complete, and nothing else of it is read.
    write(&test, "in/1/done.csv", "other\nx\n");
    assert_eq!(of(&known).await, one);
    assert_eq!(rows(&test, &known, &types, "SELECT * FROM t").await.unwrap(), ["n = 1, p = 1"]);
    write(&test, "in/2/done.csv", "");
    assert_ne!(of(&known).await, one);
    let sql = "SELECT sum(n) AS n FROM t";
    assert_eq!(rows(&test, &known, &types, sql).await.unwrap(), ["n = 3"]);
    let all = table(&test, "in/{p}/", &["p"], None);
    assert_ne!(of(&all).await, of(&known).await);
    // The folder itself, and a file, of which nothing is to be complete.
    let whole = table(&test, "in/1/", &[], Some("done.csv"));
    assert_eq!(rows(&test, &whole, &[], "SELECT * FROM t").await.unwrap(), ["n = 1"]);
    let file = table(&test, "in/1/a.csv", &[], Some("done.csv"));
    let error = rows(&test, &file, &[], "SELECT * FROM t").await.unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
    // What is outside of the lake is not listed.
    let outside = Table { location: "file:///{p}/".into(), ..known };
    let error = test.lake.table_fingerprint(&outside).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
}
