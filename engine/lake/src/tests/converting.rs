use std::{fs, path::Path, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
        StringArray, StructArray, TimestampMicrosecondArray, UInt8Array,
    },
    datatypes::{DataType, Field, Schema},
};
use datafusion::prelude::SessionContext;
use model::code::Code;
use parquet::arrow::ArrowWriter;

use super::{TestLake, labelled, latest, numbers, read_numbers, read_sql, write};
use crate::{Convert, Converted, Lake, LakeError, Severity, Validate, WriteMode};

fn put(path: &Path, rows: &RecordBatch) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

async fn convert(
    lake: &Lake,
    table: &str,
    by: &[(&str, DataType)],
) -> Result<Converted, LakeError> {
    let fields = by.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    let partitioned_by = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    lake.convert(Convert { location: table.to_owned(), partitioned_by }).await
}

/// The table is there, and says nothing that is not so.
async fn assert_healthy(lake: &Lake, table: &str) {
    let validate = Validate {
        location: table.to_owned(),
        task: SessionContext::new().task_ctx(),
        data_bytes_max: u64::MAX,
    };
    let findings = lake.validate(validate).await.unwrap();
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
}

fn all_types(first: i64) -> RecordBatch {
    let name = |n: i64| if n % 2 == 0 { Some("x".repeat(100)) } else { Some(format!("ü{n}")) };
    let rows = first..first + 10;
    let inner: ArrayRef = Arc::new(Int32Array::from_iter_values(0..10));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(rows.clone()))),
        ("name", Arc::new(StringArray::from_iter(rows.clone().map(name)))),
        (
            "f",
            Arc::new(Float64Array::from_iter(
                rows.clone().map(|n| (n != 3).then_some(n as f64 / 3.0)),
            )),
        ),
        ("day", Arc::new(Date32Array::from_iter_values(rows.clone().map(|n| -40_000 + n as i32)))),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                rows.clone().map(|n| -1_000_001 * n),
            )),
        ),
        (
            "zoned",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(rows.clone()).with_timezone("UTC"),
            ),
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from_iter_values(rows.clone().map(|n| i128::from(n) * 101 - 500))
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        (
            "large",
            Arc::new(
                Decimal128Array::from_iter_values(
                    rows.map(|n| i128::from(n) * 10_i128.pow(28) + 1),
                )
                .with_precision_and_scale(38, 0)
                .unwrap(),
            ),
        ),
        (
            "s",
            Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("a", DataType::Int32, true)),
                inner,
            )])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_types_become_a_table_where_they_are() {
    let test = TestLake::new();
    let table = test.table("t");
    put(&test.path("t/a.parquet"), &all_types(0));
    put(&test.path("t/deeper/b.parquet"), &all_types(100));
    // Columns that a file does not have are NULL in it.
    put(&test.path("t/c.parquet"), &numbers([7]));
    fs::write(test.path("t/_SUCCESS"), b"").unwrap();
    let done = convert(&test.lake, &table, &[]).await.unwrap();
    assert_eq!((done.files, done.rows), (3, 21));
    let snapshot = latest(&test.other(), &table).await;
    assert_eq!((snapshot.version(), snapshot.rows(), snapshot.files()), (0, Some(21), 3));
    assert!(test.path("t/deeper/b.parquet").exists());
    assert_healthy(&test.other(), &table).await;
    for (condition, count) in [
        ("n >= 100", 10),
        ("name IS NULL", 1),
        ("name > 'x'", 10 + 10),
        ("f < 1", 3),
        ("large > CAST('100000000000000000000000000' AS DECIMAL(38, 0))", 19),
        ("price < 0", 5),
        ("at > TIMESTAMP '1969-12-31 23:59:58'", 2),
        ("s['a'] = 9", 2),
    ] {
        let rows = read_sql(&snapshot, &format!("SELECT n FROM t WHERE {condition}")).await;
        assert_eq!(rows.num_rows(), count, "{condition}");
    }
    // It is a table like any other.
    let more = all_types(200);
    write(&test.lake, &table, WriteMode::Append, more).await.unwrap();
    assert_healthy(&test.lake, &table).await;
    let error = convert(&test.lake, &table, &[]).await.unwrap_err();
    assert!(matches!(error, LakeError::AlreadyExists { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_become_partitions() {
    let test = TestLake::new();
    let table = test.table("t");
    let by = [("day", DataType::Date32), ("shop", DataType::Utf8)];
    put(&test.path("t/day=2024-01-31/shop=a%2Fb c/1.parquet"), &numbers([1, 2]));
    put(&test.path("t/day=__HIVE_DEFAULT_PARTITION__/shop=x/2.parquet"), &numbers([3]));
    for (by, says) in [
        (vec![], "its folders say the columns day, shop, but PARTITIONED BY names nothing"),
        (vec![by[0].clone()], "PARTITIONED BY names day;"),
        (vec![by[1].clone(), by[0].clone()], "PARTITIONED BY names shop, day;"),
        (
            vec![("day", DataType::Int32), by[1].clone()],
            "'2024-01-31' in its folder's name is no Int32",
        ),
    ] {
        let error = convert(&test.lake, &table, &by).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(!test.path("t/_delta_log").exists());
    }
    convert(&test.lake, &table, &by).await.unwrap();
    let snapshot = latest(&test.other(), &table).await;
    assert_eq!(snapshot.partitioned_by(), ["day", "shop"]);
    let rows =
        read_sql(&snapshot, "SELECT n FROM t WHERE shop = 'a/b c' AND day = '2024-01-31'").await;
    assert_eq!(rows.num_rows(), 2);
    assert_eq!(read_numbers(&snapshot).await, [1, 2, 3]);
    assert_healthy(&test.other(), &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_table_is_refused_by_name() {
    let test = TestLake::new();
    let error = convert(&test.lake, &test.table("nothing"), &[]).await.unwrap_err();
    assert!(matches!(error, LakeError::FilesNotFound { .. }), "{error}");
    for (name, rows, says) in [
        ("types", labelled(&[(1, None)]).project(&[1]).unwrap(), None),
        (
            "other",
            RecordBatch::try_from_iter([("n", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)])
                .unwrap(),
            Some("'b.parquet': its column 'n' is Utf8, but it is Int64 in 'a.parquet'"),
        ),
        (
            "unsigned",
            RecordBatch::try_from_iter([("u", Arc::new(UInt8Array::from(vec![1])) as ArrayRef)])
                .unwrap(),
            Some("'b.parquet': its column 'u' is UInt8, and Delta has no unsigned"),
        ),
    ] {
        put(&test.path(&format!("{name}/a.parquet")), &numbers([1]));
        put(&test.path(&format!("{name}/b.parquet")), &rows);
        match (convert(&test.lake, &test.table(name), &[]).await, says) {
            (Ok(done), None) => assert_eq!(done.rows, 2),
            (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
            (other, _) => panic!("{other:?}"),
        }
    }
    for (file, bytes, says) in [
        (
            "broken.parquet",
            &b"PAR1 and no more"[..],
            "'broken.parquet': it cannot be read as Parquet",
        ),
        ("notes.txt", &b"hello"[..], "'notes.txt': its name does not end in .parquet"),
    ] {
        let name = file.split('.').next().unwrap();
        put(&test.path(&format!("{name}/a.parquet")), &numbers([1]));
        fs::write(test.path(&format!("{name}/{file}")), bytes).unwrap();
        let error = convert(&test.lake, &test.table(name), &[]).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    // Neither a part of a table, nor a folder with one in it.
    write(&test.lake, &test.table("shop/t"), super::create(), numbers([1])).await.unwrap();
    put(&test.path("shop/t/more/a.parquet"), &numbers([1]));
    for (folder, says) in [("shop", "inside it"), ("shop/t/more", "a part of the Delta table")] {
        let error = convert(&test.lake, &test.table(folder), &[]).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = test
        .lake
        .convert(Convert {
            location: "file:///etc/".to_owned(),
            partitioned_by: Arc::new(Schema::empty()),
        })
        .await
        .unwrap_err();
    assert!(matches!(error, LakeError::OutsideRoots { .. }), "{error}");
}
