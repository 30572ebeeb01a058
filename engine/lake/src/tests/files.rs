use std::{collections::BTreeMap, fs, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::Int64Type,
};
use datafusion::prelude::SessionContext;
use model::{
    code::Code,
    object::{Properties, TableFormat},
};

use super::{TestLake, create, data_files, numbers, write};
use crate::LakeError;

fn with(options: &[(&str, &str)]) -> Properties {
    options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

async fn rows(
    test: &TestLake,
    place: &str,
    format: TableFormat,
    options: &Properties,
) -> Result<RecordBatch, LakeError> {
    let context = SessionContext::new();
    let location = test.lake.parse_location(place)?;
    let table = test.lake.files(&location, format, options, &context.state()).await?;
    context.register_table("t", table).unwrap();
    let frame = context.sql("SELECT * FROM t ORDER BY 1").await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    Ok(concat_batches(&schema, &frame.collect().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_files_are_read_with_their_options() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in/_hidden")).unwrap();
    fs::write(test.path("in/a.csv"), "id;name\n1;x\n2;n.a.\n").unwrap();
    fs::write(test.path("in/b.csv"), "id;name\n3;z\n").unwrap();
    fs::write(test.path("in/_hidden/c.csv"), "id;name\n9;hidden\n").unwrap();
    let options = with(&[("delimiter", ";"), ("null_value", "n.a.")]);
    let all = rows(&test, "in/", TableFormat::Csv, &options).await.unwrap();
    assert_eq!((all.num_rows(), all.num_columns()), (3, 2));
    assert_eq!(all.column(1).null_count(), 1);
    fs::write(test.path("in/b.csv"), "id;name\nn.a.;z\n").unwrap();
    let all = rows(&test, "in/", TableFormat::Csv, &options).await.unwrap();
    assert_eq!(all.column(0).data_type(), &arrow::datatypes::DataType::Int64);
    assert_eq!(all.column(0).null_count(), 1);
    let one = rows(&test, "in/b.csv", TableFormat::Csv, &options).await.unwrap();
    assert_eq!(one.num_rows(), 1);
    let raw = rows(&test, "in/b.csv", TableFormat::Csv, &with(&[("header", "false")])).await;
    assert_eq!(raw.unwrap().num_rows(), 2);
    for (option, value) in [("headr", "true"), ("header", "maybe"), ("delimiter", "||")] {
        let error =
            rows(&test, "in/", TableFormat::Csv, &with(&[(option, value)])).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.to_string().contains(&format!("'{option}'")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_parquet_files_are_read() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("j")).unwrap();
    fs::write(test.path("j/a.ndjson"), "{\"a\":1}\n{\"a\":2,\"b\":\"x\"}\n").unwrap();
    let json = rows(&test, "j/", TableFormat::Json, &Properties::new()).await.unwrap();
    assert_eq!((json.num_rows(), json.num_columns()), (2, 2));
    write(&test.lake, &test.table("t"), create(), numbers([1, 2, 3])).await.unwrap();
    fs::create_dir_all(test.path("p/year=2024")).unwrap();
    fs::copy(&data_files(&test.path("t"))[0], test.path("p/year=2024/x.parquet")).unwrap();
    let parquet = rows(&test, "p", TableFormat::Parquet, &Properties::new()).await.unwrap();
    assert_eq!((parquet.num_rows(), parquet.num_columns()), (3, 2));
    let error = rows(&test, "p", TableFormat::Parquet, &with(&[("header", "true")])).await;
    assert_eq!(error.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_files_are_not_found_and_named() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("empty")).unwrap();
    for place in ["nowhere/", "nowhere/x.csv", "empty/"] {
        let error = rows(&test, place, TableFormat::Csv, &Properties::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        assert!(error.to_string().contains(place.trim_end_matches('/')), "{error}");
    }
    fs::write(test.path("empty/bad.parquet"), "not parquet").unwrap();
    let error = rows(&test, "empty/", TableFormat::Parquet, &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(error, LakeError::Files { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fingerprint_changes_with_the_files() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in")).unwrap();
    fs::write(test.path("in/a.csv"), "a\n1\n").unwrap();
    let location = test.lake.parse_location("in/").unwrap();
    let first = test.lake.files_fingerprint(&location).await.unwrap();
    assert_eq!(test.other().files_fingerprint(&location).await.unwrap(), first);
    assert!(first >= 0);
    fs::write(test.path("in/b.csv"), "a\n1\n").unwrap();
    let second = test.lake.files_fingerprint(&location).await.unwrap();
    assert_ne!(second, first);
    fs::write(test.path("in/b.csv"), "a\n12\n").unwrap();
    assert_ne!(test.lake.files_fingerprint(&location).await.unwrap(), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_reads_what_it_matches_and_nothing_else() {
    let test = TestLake::new();
    for folder in ["in/b", "in/c/d", "in/_hidden", "in/.git"] {
        fs::create_dir_all(test.path(folder)).unwrap();
    }
    let files = [
        ("in/1.csv", 1),
        ("in/2.csv", 2),
        ("in/30.csv", 30),
        ("in/b/4.csv", 4),
        ("in/c/d/5.csv", 5),
        ("in/_6.csv", 6),
        ("in/.7.csv", 7),
        ("in/_hidden/8.csv", 8),
        ("in/.git/9.csv", 9),
    ];
    for (file, n) in files {
        fs::write(test.path(file), format!("n\n{n}\n")).unwrap();
    }
    fs::write(test.path("in/empty.csv"), "").unwrap();
    fs::write(test.path("in/other.json"), "{}").unwrap();
    for (place, expected) in [
        ("in/*.csv", vec![1, 2, 30]),
        ("in/?.csv", vec![1, 2]),
        ("in/[13]*.csv", vec![1, 30]),
        ("in/[!1]*.csv", vec![2, 30]),
        ("in/*/*.csv", vec![4]),
        ("in/**/*.csv", vec![1, 2, 4, 5, 30]),
        ("in/c/**/5.csv", vec![5]),
        ("*/1.csv", vec![1]),
    ] {
        let all = rows(&test, place, TableFormat::Csv, &Properties::new()).await.unwrap();
        let found = all.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(found, expected, "{place}");
    }
    for place in ["in/x*.csv", "nowhere/*.csv", "in/*.CSV", "in/_*.csv"] {
        let error = rows(&test, place, TableFormat::Csv, &Properties::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{place}: {error}");
    }
    // A name may hold such characters, and comes before what it would match.
    fs::write(test.path("in/[1].csv"), "n\n100\n").unwrap();
    let one = rows(&test, "in/[1].csv", TableFormat::Csv, &Properties::new()).await.unwrap();
    assert_eq!(one.column(0).as_primitive::<Int64Type>().values(), &[100]);
    let error = rows(&test, "in/***.csv", TableFormat::Csv, &Properties::new()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");

    let location = test.lake.parse_location("in/?.csv").unwrap();
    let first = test.lake.files_fingerprint(&location).await.unwrap();
    fs::write(test.path("in/40.csv"), "n\n40\n").unwrap();
    assert_eq!(test.lake.files_fingerprint(&location).await.unwrap(), first);
    fs::write(test.path("in/4.csv"), "n\n4\n").unwrap();
    assert_ne!(test.lake.files_fingerprint(&location).await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_pattern_may_have_different_columns() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in/year=2024")).unwrap();
    fs::write(test.path("in/a.json"), "{\"a\":1}\n").unwrap();
    fs::write(test.path("in/b.json"), "{\"a\":2,\"b\":\"x\"}\n").unwrap();
    fs::write(test.path("in/year=2024/c.json"), "{\"a\":3}\n").unwrap();
    let all = rows(&test, "in/*.json", TableFormat::Json, &Properties::new()).await.unwrap();
    assert_eq!((all.num_rows(), all.num_columns()), (2, 2));
    // Folders give columns where a folder is named, and none to a pattern.
    let all = rows(&test, "in/**/c.json", TableFormat::Json, &Properties::new()).await.unwrap();
    assert_eq!((all.num_rows(), all.num_columns()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_leads_nowhere_that_a_location_would_not() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in")).unwrap();
    for place in ["/*/passwd", "/etc/*", "../*", "in/../../*.csv", "/**", "file:///etc/pass*"] {
        let error = test.lake.parse_location(place).unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied, "{place}: {error}");
    }
    let beside = format!("{}*/x.csv", test.lake.root().trim_end_matches('/'));
    let error = test.lake.parse_location(&beside).unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
}
