use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
        DictionaryArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
        ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder, StringViewArray,
        StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
        UInt8Array, UInt64Array,
    },
    datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit},
};
use datafusion::prelude::SessionContext;
use model::code::Code;
use parquet::{
    basic::{Compression, GzipLevel, ZstdLevel},
    file::{
        metadata::ColumnChunkMetaData, reader::FileReader, serialized_reader::SerializedFileReader,
    },
};

use super::{
    TestLake, create, create_by, data_files, labelled, latest, numbers, plan_of, read,
    read_numbers, read_sql, replace, stage, stage_plan, write,
};
use crate::{At, CommitInfo, CreateTable, LakeError, WriteMode, delta_schema};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn all_types() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None, Some(3)]),
        None,
        Some(vec![]),
    ]);
    let parts = StructArray::from(vec![
        (
            Arc::new(Field::new("a", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("x"), None, Some("")])) as ArrayRef,
        ),
    ]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    map.keys().append_value("k");
    map.values().append_value("v");
    map.append(true).unwrap();
    map.append(false).unwrap();
    map.append(true).unwrap();
    let decimal = Decimal128Array::from(vec![Some(12345), None, Some(-1)])
        .with_precision_and_scale(38, 9)
        .unwrap();
    let moment = [Some(1_700_000_000_123_456), None, Some(-1)];
    batch(vec![
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("byte", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)]))),
        ("short", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        ("int", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)]))),
        ("long", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        ("float", Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)]))),
        ("double", Arc::new(Float64Array::from(vec![Some(f64::MAX), None, Some(-0.0)]))),
        ("text", Arc::new(StringArray::from(vec![Some("äöü\u{1F600}"), None, Some("")]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(20_000)]))),
        ("decimal", Arc::new(decimal)),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter(moment).with_timezone("UTC"))),
        ("local", Arc::new(TimestampMicrosecondArray::from_iter(moment))),
        ("list", Arc::new(list)),
        ("parts", Arc::new(parts)),
        ("map", Arc::new(map.finish())),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_as_it_was_written() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = all_types();
    write(&test.lake, &table, create(), rows.clone()).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, rows.clone()).await.unwrap();
    for lake in [test.lake.clone(), test.other()] {
        let snapshot = latest(&lake, &table).await;
        let back = read_sql(&snapshot, "SELECT * FROM t ORDER BY n").await;
        assert_eq!(back.num_rows(), 6);
        assert_eq!(snapshot.schema(), delta_schema(&rows.schema()).unwrap());
        for (column, field) in rows.columns().iter().zip(snapshot.schema().fields()) {
            let expected = arrow::compute::cast(column, field.data_type()).unwrap();
            let found = back.column_by_name(field.name()).unwrap();
            for row in 0..6 {
                let (found, expected) = (found.slice(row, 1), expected.slice(row / 2, 1));
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{}", field.name());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_delta_lacks_become_the_next_larger_ones() {
    let test = TestLake::new();
    let table = test.table("t");
    let dictionary: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
    let nanos = TimestampNanosecondArray::from(vec![1_000, 2_000, 3_000]).with_timezone("+02:00");
    let rows = batch(vec![
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("small", Arc::new(UInt8Array::from(vec![255, 0, 1]))),
        ("large", Arc::new(UInt64Array::from(vec![1, 2, i64::MAX as u64]))),
        ("view", Arc::new(StringViewArray::from(vec!["x", "a text of more than twelve", ""]))),
        ("word", Arc::new(dictionary)),
        ("at", Arc::new(nanos)),
        ("nothing", Arc::new(NullArray::new(3))),
    ]);
    write(&test.lake, &table, create(), rows).await.unwrap();
    let snapshot = latest(&test.lake, &table).await;
    let types: Vec<DataType> =
        snapshot.schema().fields().iter().map(|f| f.data_type().clone()).collect();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let text = DataType::Utf8;
    assert_eq!(
        types,
        [DataType::Int64, DataType::Int16, DataType::Int64, text.clone(), text.clone(), utc, text]
    );
    let back = read_sql(&snapshot, "SELECT * FROM t ORDER BY n").await;
    let at = back.column(5).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(at.values().to_vec(), [1, 2, 3]);
    assert_eq!(back.column(4).as_string::<i32>().value(1), "b");
    assert_eq!(back.column(6).null_count(), 3);
    let too_large = batch(vec![("large", Arc::new(UInt64Array::from(vec![u64::MAX])))]);
    let error = write(&test.lake, &test.table("u"), create(), too_large).await.unwrap_err();
    assert!(matches!(error, LakeError::Value { ref column, .. } if column == "large"), "{error}");
    let time = batch(vec![("clock", Arc::new(Time64MicrosecondArray::from(vec![1])))]);
    let error = write(&test.lake, &test.table("u"), create(), time).await.unwrap_err();
    assert!(error.to_string().contains("'clock'"), "{error}");
    assert!(!test.lake.exists(&test.table("u")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_with_odd_values_come_back() {
    let test = TestLake::new();
    let table = test.table("t");
    let odd = ["a b", "50%", "x/y", "k=v", "ä😀", "a:b?c#d&e+f", "%20", "..", "'\"\\"];
    let mut rows: Vec<(i64, Option<&str>)> =
        odd.iter().enumerate().map(|(n, text)| (n as i64, Some(*text))).collect();
    rows.push((100, None));
    write(&test.lake, &table, create_by("label"), labelled(&rows)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, labelled(&rows)).await.unwrap();
    for lake in [test.lake.clone(), test.other()] {
        let snapshot = latest(&lake, &table).await;
        assert_eq!(snapshot.files(), 2 * rows.len());
        let back = read_sql(&snapshot, "SELECT n, label FROM t ORDER BY n").await;
        for (row, (n, label)) in rows.iter().flat_map(|row| [row, row]).enumerate() {
            assert_eq!(back.column(0).as_primitive::<Int64Type>().value(row), *n);
            let column = back.column(1).as_string::<i32>();
            assert_eq!(column.is_valid(row).then(|| column.value(row)), *label);
        }
        let one = read_sql(&snapshot, "SELECT n, label FROM t WHERE label = 'x/y'").await;
        assert_eq!(one.num_rows(), 2);
        let none = read_sql(&snapshot, "SELECT n, label FROM t WHERE label IS NULL").await;
        assert_eq!(none.num_rows(), 2);
    }
    // Everything is removed again by the paths that were read back.
    write(&test.lake, &table, WriteMode::Overwrite, labelled(&[(7, Some("a b"))])).await.unwrap();
    assert_eq!(read_numbers(&latest(&test.other(), &table).await).await, [7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_every_plain_type_come_back() {
    let test = TestLake::new();
    let rows = all_types();
    let plain = ["bool", "byte", "short", "int", "long", "date", "decimal", "at", "local", "text"];
    for column in plain {
        let table = test.table(column);
        let rows = rows.project(&[0, rows.schema().index_of(column).unwrap()]).unwrap();
        write(&test.lake, &table, create_by(column), rows.clone()).await.unwrap();
        let snapshot = latest(&test.lake, &table).await;
        let back = read_sql(&snapshot, "SELECT * FROM t ORDER BY n").await;
        assert_eq!(format!("{:?}", back.column(1)), format!("{:?}", rows.column(1)), "{column}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn append_overwrite_and_zero_rows() {
    let test = TestLake::new();
    let table = test.table("t");
    let error = write(&test.lake, &table, WriteMode::Append, numbers([1])).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let committed = write(&test.lake, &table, create(), numbers([1, 2])).await.unwrap();
    assert_eq!((committed.version, committed.rows, committed.files), (0, 2, 1));
    assert_eq!(committed.bytes, committed.snapshot.bytes());
    write(&test.lake, &table, WriteMode::Append, numbers([3])).await.unwrap();
    let nothing = write(&test.lake, &table, WriteMode::Append, numbers([])).await.unwrap();
    assert_eq!((nothing.version, nothing.rows, nothing.files), (2, 0, 0));
    assert_eq!(read_numbers(&nothing.snapshot).await, [1, 2, 3]);
    write(&test.lake, &table, WriteMode::Overwrite, numbers([4])).await.unwrap();
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [4]);
    let empty = write(&test.lake, &table, WriteMode::Overwrite, numbers([])).await.unwrap();
    assert_eq!((empty.version, empty.snapshot.rows(), empty.snapshot.files()), (4, Some(0), 0));
    assert_eq!(read(&empty.snapshot).await.num_rows(), 0);
    let error = write(&test.lake, &table, create(), numbers([1])).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn created_table_has_what_was_declared() {
    let test = TestLake::new();
    let location = test.table("t");
    let note = [("comment".to_owned(), "the \"key\"".to_owned())];
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false).with_metadata(note.into()),
        Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        Field::new("day", DataType::Date32, true),
    ]);
    let new = CreateTable {
        location: location.clone(),
        schema: Arc::new(schema),
        partitioned_by: vec!["day".to_owned()],
        comment: Some("all orders".to_owned()),
        properties: BTreeMap::from([("owner".to_owned(), "sales".to_owned())]),
    };
    let snapshot = test.lake.create(new.clone()).await.unwrap();
    assert_eq!((snapshot.version(), snapshot.rows()), (0, Some(0)));
    let snapshot = latest(&test.other(), &location).await;
    assert_eq!(snapshot.comment(), Some("all orders"));
    assert_eq!(snapshot.properties().get("owner").map(String::as_str), Some("sales"));
    assert_eq!(snapshot.partitioned_by(), ["day"]);
    let schema = snapshot.schema();
    assert!(!schema.field(0).is_nullable());
    assert_eq!(schema.field(0).metadata().get("comment").unwrap(), "the \"key\"");
    assert_eq!(test.lake.create(new.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    let refused = [
        CreateTable { partitioned_by: vec!["nope".to_owned()], ..new.clone() },
        CreateTable {
            properties: BTreeMap::from([("delta.enableDeletionVectors".into(), "true".into())]),
            ..new.clone()
        },
        CreateTable {
            schema: Arc::new(Schema::new(vec![
                Field::new("a", DataType::Int64, true),
                Field::new("A", DataType::Int64, true),
            ])),
            partitioned_by: Vec::new(),
            ..new.clone()
        },
        CreateTable {
            schema: Arc::new(Schema::new(vec![Field::new("count(*)", DataType::Int64, true)])),
            partitioned_by: Vec::new(),
            ..new
        },
    ];
    for new in refused {
        let new = CreateTable { location: test.table("other"), ..new };
        let error = test.lake.create(new).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_in_a_not_null_column_is_refused() {
    let test = TestLake::new();
    let table = test.table("t");
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: BTreeMap::new(),
        schema: Some(schema),
    };
    write(&test.lake, &table, mode, numbers([1])).await.unwrap();
    let rows = batch(vec![("n", Arc::new(Int64Array::from(vec![Some(2), None])))]);
    for mode in [WriteMode::Append, WriteMode::Overwrite] {
        let error = write(&test.lake, &table, mode, rows.clone()).await.unwrap_err();
        assert!(matches!(error, LakeError::NotNull { ref column, .. } if column == "n"), "{error}");
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [1]);
    wait_for_files(&test, "t", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_matched_in_order_and_checked() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), labelled(&[(1, Some("a"))])).await.unwrap();
    let narrow = batch(vec![
        ("other", Arc::new(Int32Array::from(vec![2]))),
        ("name", Arc::new(StringViewArray::from(vec!["b"]))),
    ]);
    write(&test.lake, &table, WriteMode::Append, narrow).await.unwrap();
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [1, 2]);
    let error = write(&test.lake, &table, WriteMode::Append, numbers([3])).await.unwrap_err();
    assert!(matches!(error, LakeError::ColumnCount { expected: 2, found: 1, .. }), "{error}");
    let swapped = batch(vec![
        ("label", Arc::new(StringArray::from(vec!["x"]))),
        ("n", Arc::new(Int64Array::from(vec![3]))),
    ]);
    let error = write(&test.lake, &table, WriteMode::Append, swapped).await.unwrap_err();
    assert!(matches!(error, LakeError::Column { ref column, .. } if column == "n"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_with_zoneless_times_raises_the_protocol() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let local = TimestampMicrosecondArray::from(vec![5]);
    let rows = batch(vec![("n", Arc::new(Int64Array::from(vec![1]))), ("local", Arc::new(local))]);
    write(&test.lake, &table, replace(), rows).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, read(&latest(&test.lake, &table).await).await)
        .await
        .unwrap();
    assert_eq!(read_numbers(&latest(&test.other(), &table).await).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_rules_we_do_not_check_are_refused_by_name() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let first = fs::read_to_string(test.path("t/_delta_log/00000000000000000000.json")).unwrap();
    let metadata = first.lines().find(|line| line.contains("metaData")).unwrap();
    let checked = metadata.replace(
        r#""configuration":{}"#,
        r#""configuration":{"delta.constraints.positive":"n > 0"}"#,
    );
    assert_ne!(metadata, checked);
    let protocol = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":3}}"#;
    fs::write(
        test.path("t/_delta_log/00000000000000000001.json"),
        format!("{protocol}\n{checked}"),
    )
    .unwrap();
    // Replacing the table takes its constraints away.
    for mode in [WriteMode::Append, WriteMode::Grow, WriteMode::Overwrite] {
        let error = write(&test.lake, &table, mode, numbers([-1])).await.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented);
        assert!(error.to_string().contains("checkConstraints"), "{error}");
    }
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn append_only_tables_take_appends_only() {
    let test = TestLake::new();
    let table = test.table("t");
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: BTreeMap::from([("delta.appendOnly".to_owned(), "true".to_owned())]),
        schema: None,
    };
    write(&test.lake, &table, mode, numbers([1])).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers([2])).await.unwrap();
    let error = write(&test.lake, &table, WriteMode::Overwrite, numbers([3])).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_results_are_one_file_and_large_ones_are_written_side_by_side() {
    let test = TestLake::new();
    let schema = numbers([]).schema();
    let small: Vec<_> = (0..8).map(|n| vec![numbers([n])]).collect();
    let plan = plan_of(&small, Arc::clone(&schema));
    let staged = stage_plan(&test.lake, &test.table("small"), create(), plan).await.unwrap();
    assert_eq!((staged.rows(), staged.files()), (8, 1));
    let large: Vec<_> = (0..4)
        .map(|n| (0..10).map(|m| numbers((0..10_000).map(|i| n + m + i))).collect())
        .collect();
    let plan = plan_of(&large, schema);
    let staged = stage_plan(&test.lake, &test.table("large"), create(), plan).await.unwrap();
    assert_eq!(staged.rows(), 400_000);
    assert!((2..=5).contains(&staged.files()), "{}", staged.files());
    let committed = test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    assert_eq!(committed.snapshot.rows(), Some(400_000));
    assert_eq!(read_numbers(&committed.snapshot).await.len(), 400_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_folder_gets_one_file_per_statement() {
    let test = TestLake::new();
    let parts: Vec<_> =
        (0..4).map(|n| vec![labelled(&[(n, Some("a")), (n, Some("b")), (n, None)])]).collect();
    let plan = plan_of(&parts, parts[0][0].schema());
    let staged = stage_plan(&test.lake, &test.table("t"), create_by("label"), plan).await.unwrap();
    assert_eq!((staged.rows(), staged.files()), (12, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_files_that_are_not_committed_are_deleted() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let staged = stage(&test.lake, &table, WriteMode::Append, numbers([2])).await.unwrap();
    assert_eq!(data_files(&test.path("t")).len(), 2);
    assert_eq!(latest(&test.lake, &table).await.rows(), Some(1));
    test.lake.discard(staged).await;
    assert_eq!(data_files(&test.path("t")).len(), 1);
    let staged = stage(&test.lake, &table, WriteMode::Append, numbers([2])).await.unwrap();
    drop(staged);
    wait_for_files(&test, "t", 1).await;
    assert_eq!(test.lake.snapshot(&table, At::Latest).await.unwrap().version(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_statement_leaves_no_files() {
    let folder = tempfile::TempDir::new().unwrap();
    let small_files = crate::LakeOptions { target_file_size: 64 * 1024, ..super::options(&folder) };
    let lake = crate::Lake::open(small_files).unwrap();
    let test = TestLake { lake: lake.clone(), folder };
    let table = test.table("t");
    let rows = numbers((0..20_000).map(|n: i64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)));
    let partitions = vec![vec![rows.clone(); 2_000]; 2];
    let plan = plan_of(&partitions, rows.schema());
    let staging = tokio::spawn(async move { stage_plan(&lake, &table, create(), plan).await });
    while data_files(&test.path("t")).is_empty() {
        assert!(!staging.is_finished(), "it was too fast to be cancelled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    staging.abort();
    assert!(staging.await.unwrap_err().is_cancelled());
    wait_for_files(&test, "t", 0).await;
}

async fn wait_for_files(test: &TestLake, table: &str, count: usize) {
    for _ in 0..200 {
        if data_files(&test.path(table)).len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(data_files(&test.path(table)).len(), count);
}

/// How the columns of all data files of a table are compressed.
fn codecs(table: &std::path::Path) -> Vec<Compression> {
    let mut found = Vec::new();
    for file in data_files(table) {
        let reader = SerializedFileReader::new(fs::File::open(file).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            found.extend(group.columns().iter().map(ColumnChunkMetaData::compression));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_compressed_as_the_table_says() {
    let level = ZstdLevel::try_new(1).unwrap();
    for (name, codec) in [
        (None, Compression::ZSTD(level)),
        (Some("zstd"), Compression::ZSTD(level)),
        (Some("SNAPPY"), Compression::SNAPPY),
        (Some("lz4_raw"), Compression::LZ4_RAW),
        (Some("GZIP"), Compression::GZIP(GzipLevel::default())),
        (Some("uncompressed"), Compression::UNCOMPRESSED),
    ] {
        let test = TestLake::new();
        let table = test.table("t");
        let properties = name.map(|name| ("delta.parquet.compression.codec", name));
        let mode = WriteMode::Create {
            partitioned_by: Vec::new(),
            comment: None,
            properties: properties
                .map(|(key, name)| (key.to_owned(), name.to_owned()))
                .into_iter()
                .collect(),
            schema: None,
        };
        write(&test.lake, &table, mode, all_types()).await.unwrap();
        write(&test.lake, &table, WriteMode::Append, all_types()).await.unwrap();
        let found = codecs(&test.path("t"));
        assert!(!found.is_empty());
        let same =
            |found: &Compression| std::mem::discriminant(found) == std::mem::discriminant(&codec);
        assert!(found.iter().all(same), "{name:?}: {found:?}");
        let back = read_sql(&latest(&test.lake, &table).await, "SELECT * FROM t").await;
        assert_eq!(back.num_rows(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codec_that_is_not_written_is_refused_by_its_name() {
    let test = TestLake::new();
    let table = test.table("t");
    let properties = [("delta.parquet.compression.codec".to_owned(), "LZ4".to_owned())];
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: properties.into_iter().collect(),
        schema: None,
    };
    let error = write(&test.lake, &table, mode, numbers([1])).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("must be UNCOMPRESSED, SNAPPY, GZIP, LZ4_RAW or ZSTD, not 'LZ4'"),
        "{error}"
    );
}

/// Whatever plans a write past the lake fails: it would pass by CHECK, NOT NULL and the log's turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_plans_read_cannot_be_written_through() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let now = latest(&test.lake, &table).await;
    for provider in [now.provider().unwrap(), now.rows_provider().unwrap()] {
        let context = SessionContext::new();
        context.register_table("t", provider).unwrap();
        for sql in
            ["INSERT INTO t (n) VALUES (2)", "DELETE FROM t", "UPDATE t SET n = 3", "TRUNCATE t"]
        {
            let failed = match context.sql(sql).await {
                Ok(frame) => frame.collect().await.is_err(),
                Err(_) => true,
            };
            assert!(failed, "{sql}");
        }
    }
    let now = latest(&test.other(), &table).await;
    assert_eq!((now.version(), read_numbers(&now).await), (0, vec![1]));
}
