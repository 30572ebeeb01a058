use std::{collections::BTreeMap, fs, sync::Arc};

use arrow::{array::RecordBatch, compute::concat_batches};
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
