//! Files that are read one by one: of each its own columns, found by name.

use std::{fs, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::{DataType, Int64Type, TimeUnit},
    util::pretty::pretty_format_batches,
};
use datafusion::prelude::SessionContext;
use model::{code::Code, object::TableFormat};

use super::TestLake;
use crate::{FileColumn, FilesReading, FilesTable, LakeError, NewColumns};

/// A file of `name,id` and `zed,4`, by gzip.
const PACKED: [u8; 34] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 203, 75, 204, 77, 213, 201, 76, 225, 170, 74, 77, 209, 49,
    225, 2, 0, 36, 193, 17, 162, 14, 0, 0, 0,
];

/// How the files of a test are read.
struct Wish<'a> {
    place: &'a str,
    format: TableFormat,
    options: &'a [(&'a str, &'a str)],
    columns: &'a [(&'a str, DataType)],
    new: NewColumns,
}

fn wish<'a>(place: &'a str, format: TableFormat, columns: &'a [(&'a str, DataType)]) -> Wish<'a> {
    Wish { place, format, options: &[], columns, new: NewColumns::Ignore }
}

async fn rows(test: &TestLake, wish: Wish<'_>, sql: &str) -> Result<RecordBatch, LakeError> {
    let Wish { place, format, options, columns, new } = wish;
    let context = SessionContext::new();
    let location = test.lake.parse_location(place)?;
    let files = test.lake.listed_files(&location, None).await?;
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let reading = FilesReading { format, options: options.collect() };
    let mut wanted: Vec<FileColumn> = columns
        .iter()
        .map(|(name, data_type)| FileColumn {
            name: name.to_lowercase(),
            in_file: (*name).to_owned(),
            data_type: data_type.clone(),
        })
        .collect();
    if wanted.is_empty() {
        let found = test.lake.columns_of_files(&files, &reading, &context.state()).await?;
        wanted = found
            .fields()
            .iter()
            .map(|field| FileColumn {
                name: field.name().clone(),
                in_file: field.name().clone(),
                data_type: field.data_type().clone(),
            })
            .collect();
    }
    let metadata = Some("_metadata".to_owned());
    let table = FilesTable { files, reading, columns: wanted, new, metadata };
    context.register_table("t", test.lake.files_table(table)).unwrap();
    let frame = context.sql(sql).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.map_err(|error| match error {
        datafusion::error::DataFusionError::External(inner) => {
            *inner.downcast::<LakeError>().expect("an error of the lake")
        }
        other => panic!("{other}"),
    })?;
    Ok(concat_batches(&schema, &batches).unwrap())
}

fn text(batch: &RecordBatch) -> String {
    pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_csv_file_has_its_columns_where_its_header_says() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in/day=2026-01-05")).unwrap();
    fs::write(test.path("in/a.csv"), "id,Name,amount\n1,ann,1.50\n").unwrap();
    fs::write(test.path("in/b.csv"), "amount,extra,name,id\n2.25,x,n.a.,2\n").unwrap();
    fs::write(test.path("in/day=2026-01-05/c.csv"), "id\n3\n").unwrap();
    fs::write(test.path("in/empty.csv"), "").unwrap();
    fs::write(test.path("in/head.csv"), "id,name\n").unwrap();
    fs::write(test.path("in/d.csv.gz"), PACKED).unwrap();
    let columns = [
        ("id", DataType::Int64),
        ("name", DataType::Utf8),
        ("amount", DataType::Decimal128(10, 2)),
        ("day", DataType::Date32),
    ];
    let of = |options| Wish { options, ..wish("in/", TableFormat::Csv, &columns) };
    let all = rows(
        &test,
        of(&[("null_value", "n.a.")]),
        "SELECT id, name, amount, day, _metadata['file_name'] AS file FROM t ORDER BY id",
    );
    assert_eq!(
        text(&all.await.unwrap()),
        "+----+------+--------+------------+----------+\n\
         | id | name | amount | day        | file     |\n\
         +----+------+--------+------------+----------+\n\
         | 1  | ann  | 1.50   |            | a.csv    |\n\
         | 2  |      | 2.25   |            | b.csv    |\n\
         | 3  |      |        | 2026-01-05 | c.csv    |\n\
         | 4  | zed  |        |            | d.csv.gz |\n\
         +----+------+--------+------------+----------+"
    );
    let count = rows(&test, of(&[]), "SELECT count(*) FROM t WHERE day IS NULL").await.unwrap();
    assert_eq!(count.column(0).as_primitive::<Int64Type>().value(0), 3);
    let strict = Wish { new: NewColumns::Fail, ..of(&[]) };
    let error = rows(&test, strict, "SELECT id FROM t").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(
        error.to_string().contains("'extra'") && error.to_string().contains("in/b.csv"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_header_columns_are_found_by_their_place() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in/day=2026-01-05")).unwrap();
    fs::write(test.path("in/day=2026-01-05/a.csv"), "1;ann\n2;bob\n").unwrap();
    let columns = [
        ("day", DataType::Utf8),
        ("id", DataType::Int64),
        ("name", DataType::Utf8),
        ("more", DataType::Utf8),
    ];
    let options = [("header", "false"), ("delimiter", ";")];
    let wish = Wish { options: &options, ..wish("in/", TableFormat::Csv, &columns) };
    let all = rows(&test, wish, "SELECT day, id, name, more FROM t ORDER BY id").await.unwrap();
    assert_eq!(
        text(&all),
        "+------------+----+------+------+\n\
         | day        | id | name | more |\n\
         +------------+----+------+------+\n\
         | 2026-01-05 | 1  | ann  |      |\n\
         | 2026-01-05 | 2  | bob  |      |\n\
         +------------+----+------+------+"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_looked_up_are_those_of_all_files() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in/k=1")).unwrap();
    fs::write(test.path("in/a.json"), "{\"id\": 1, \"s\": {\"x\": 1}}\n{\"id\": 2}\n").unwrap();
    fs::write(test.path("in/k=1/b.json"), "{\"id\": 2.5, \"s\": {\"y\": \"z\"}, \"n\": null}\n")
        .unwrap();
    let found = rows(&test, wish("in/", TableFormat::Json, &[]), "SELECT * FROM t ORDER BY id");
    let found = found.await.unwrap();
    let schema = found.schema();
    let kinds: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    assert_eq!(found.num_rows(), 3);
    assert_eq!(
        kinds[..3],
        [
            "id Float64".to_owned(),
            "s Struct(\"x\": Int64, \"y\": Utf8)".to_owned(),
            "n Utf8".to_owned(),
        ]
    );
    assert_eq!(kinds[3], "k Utf8");
    // A field within a field is a column that came later as well.
    let columns = [
        ("id", DataType::Float64),
        (
            "s",
            DataType::Struct(vec![arrow::datatypes::Field::new("x", DataType::Int64, true)].into()),
        ),
        ("n", DataType::Utf8),
    ];
    let of = |new| Wish { new, ..wish("in/", TableFormat::Json, &columns) };
    let error = rows(&test, of(NewColumns::Fail), "SELECT id FROM t").await.unwrap_err();
    assert!(error.to_string().contains("'s.y'") && error.to_string().contains("b.json"), "{error}");
    assert_eq!(
        rows(&test, of(NewColumns::Ignore), "SELECT id FROM t").await.unwrap().num_rows(),
        3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_number_in_json_has_no_fraction() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in")).unwrap();
    fs::write(
        test.path("in/a.json"),
        "{\"n\": 9223372036854775807, \"l\": [1, 2e1]}\n{\"n\": \"7\"}\n{}\n",
    )
    .unwrap();
    let item = arrow::datatypes::Field::new_list_field(DataType::Int32, true);
    let columns = [("n", DataType::Int64), ("l", DataType::List(Arc::new(item)))];
    let of = || wish("in/*.json", TableFormat::Json, &columns);
    let all = rows(&test, of(), "SELECT n, l FROM t ORDER BY n").await.unwrap();
    assert_eq!(
        text(&all),
        "+---------------------+---------+\n\
         | n                   | l       |\n\
         +---------------------+---------+\n\
         | 7                   |         |\n\
         | 9223372036854775807 | [1, 20] |\n\
         |                     |         |\n\
         +---------------------+---------+"
    );
    for line in
        ["{\"n\": 1.5}", "{\"n\": 9223372036854775808}", "{\"l\": [1, 2.25]}", "{\"n\": \"x\"}"]
    {
        fs::write(test.path("in/b.json"), line).unwrap();
        let error = rows(&test, of(), "SELECT n, l FROM t").await.expect_err(line);
        assert!(error.to_string().contains("in/b.json"), "{line}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_is_told_with_its_file() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("in")).unwrap();
    fs::write(test.path("in/good.csv"), "id,at\n1,2026-01-05 09:00:00\n").unwrap();
    fs::write(test.path("in/bad.csv"), "id,at\n2,yesterday\n").unwrap();
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = [("id", DataType::Int64), ("at", micros)];
    let error = rows(&test, wish("in/*.csv", TableFormat::Csv, &columns), "SELECT * FROM t").await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let told = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    for text in ["in/bad.csv", "column 'at'", "yesterday"] {
        assert!(told.contains(text), "{told}");
    }
    // What is not asked for need not fit.
    let ids = rows(&test, wish("in/*.csv", TableFormat::Csv, &columns), "SELECT id FROM t").await;
    assert_eq!(ids.unwrap().num_rows(), 2);
}
