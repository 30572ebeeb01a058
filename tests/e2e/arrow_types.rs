//! Every type of Arrow, sent as rows and as parameters: it comes back by the rule that the page
//! docs/sql.md gives for it, or is refused by name.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array,
        Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array, DictionaryArray,
        DurationMicrosecondArray, FixedSizeBinaryArray, Float16Array, Float32Array, Float64Array,
        Int8Array, Int16Array, Int32Array, Int64Array, IntervalDayTimeArray,
        IntervalMonthDayNanoArray, IntervalYearMonthArray, LargeBinaryArray, LargeStringArray,
        MapBuilder, NullArray, RecordBatch, RunArray, StringArray, StringBuilder, StringViewArray,
        StructArray, Time32SecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array,
        UInt16Array, UInt32Array, UInt64Array, UnionArray,
    },
    buffer::ScalarBuffer,
    compute::{cast, concat_batches},
    datatypes::{
        DataType, Field, Int8Type, Int32Type, IntervalDayTime, IntervalMonthDayNano, IntervalUnit,
        Schema, TimeUnit, UnionFields, UnionMode, i256,
    },
};
use arrow_flight::sql::{
    CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use tonic::Code;
use whimbrel_tests::{
    client::{Client, Failure},
    process::Server,
};

/// Values of one type: a value, a NULL and another one.
struct Case {
    name: &'static str,
    values: ArrayRef,
    /// The type of a column that was created from them, or what the refusal says.
    stored: Result<DataType, &'static str>,
}

fn micros(zone: Option<&str>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

fn list(data_type: impl Fn(Arc<Field>) -> DataType) -> ArrayRef {
    let values = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![Some(2), Some(3)]),
    ]);
    cast(&values, &data_type(Arc::new(Field::new_list_field(DataType::Int32, true)))).unwrap()
}

fn structs() -> ArrayRef {
    let fields =
        vec![Field::new("n", DataType::UInt8, true), Field::new("s", DataType::Utf8View, true)];
    let numbers: ArrayRef = Arc::new(UInt8Array::from(vec![Some(1), None, Some(255)]));
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None, None]));
    let nulls = vec![true, false, true].into();
    Arc::new(StructArray::new(fields.into(), vec![numbers, texts], Some(nulls)))
}

fn maps() -> ArrayRef {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), arrow::array::Int32Builder::new());
    maps.keys().append_value("a");
    maps.values().append_value(1);
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    maps.append(true).unwrap();
    Arc::new(maps.finish())
}

fn unions(mode: UnionMode) -> ArrayRef {
    let fields = UnionFields::from_fields([
        Field::new("n", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]);
    let ids = ScalarBuffer::from(vec![0_i8, 0, 1]);
    let (offsets, numbers, texts): (_, ArrayRef, ArrayRef) = match mode {
        UnionMode::Dense => (
            Some(ScalarBuffer::from(vec![0, 1, 0])),
            Arc::new(Int64Array::from(vec![Some(7), None])),
            Arc::new(StringArray::from(vec!["x"])),
        ),
        UnionMode::Sparse => (
            None,
            Arc::new(Int64Array::from(vec![Some(7), None, None])),
            Arc::new(StringArray::from(vec![None, None, Some("x")])),
        ),
    };
    Arc::new(UnionArray::try_new(fields, ids, offsets, vec![numbers, texts]).unwrap())
}

fn cases() -> Vec<Case> {
    use DataType as D;
    let case = |name, values: ArrayRef, stored| Case { name, values, stored };
    let plain = |name, values: ArrayRef| {
        let stored = values.data_type().clone();
        Case { name, values, stored: Ok(stored) }
    };
    let no_time = Err("no time of day");
    let no_interval = Err("no intervals");
    let dictionary: DictionaryArray<Int8Type> =
        vec![Some("a"), None, Some("b")].into_iter().collect();
    let numbers = DictionaryArray::<Int8Type>::new(
        Int8Array::from(vec![Some(0), None, Some(1)]),
        Arc::new(Int64Array::from(vec![5, 6])),
    );
    let runs: RunArray<Int32Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
    let days = IntervalDayTime::new(1, 2);
    let months = IntervalMonthDayNano::new(1, 2, 3);
    vec![
        plain("boolean", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        plain("int8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)]))),
        plain("int16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        plain("int32", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)]))),
        plain("int64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        case("uint8", Arc::new(UInt8Array::from(vec![Some(0), None, Some(u8::MAX)])), Ok(D::Int16)),
        case(
            "uint16",
            Arc::new(UInt16Array::from(vec![Some(0), None, Some(u16::MAX)])),
            Ok(D::Int32),
        ),
        case(
            "uint32",
            Arc::new(UInt32Array::from(vec![Some(0), None, Some(u32::MAX)])),
            Ok(D::Int64),
        ),
        case(
            "uint64",
            Arc::new(UInt64Array::from(vec![Some(0), None, Some(i64::MAX as u64)])),
            Ok(D::Int64),
        ),
        case(
            "float16",
            Arc::new(Float16Array::from(vec![Some(half(1.5)), None, Some(half(-0.25))])),
            Ok(D::Float32),
        ),
        plain("float32", Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::MAX)]))),
        plain(
            "float64",
            Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::MIN_POSITIVE)])),
        ),
        case(
            "decimal32",
            Arc::new(
                Decimal32Array::from(vec![Some(12345), None, Some(-1)])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
            Ok(D::Decimal128(9, 2)),
        ),
        case(
            "decimal64",
            Arc::new(
                Decimal64Array::from(vec![Some(12345), None, Some(-1)])
                    .with_precision_and_scale(18, 3)
                    .unwrap(),
            ),
            Ok(D::Decimal128(18, 3)),
        ),
        plain(
            "decimal128",
            Arc::new(
                Decimal128Array::from(vec![Some(12345), None, Some(-1)])
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        case(
            "decimal256",
            Arc::new(
                Decimal256Array::from(vec![Some(i256::from(12345)), None, Some(i256::from(-1))])
                    .with_precision_and_scale(30, 4)
                    .unwrap(),
            ),
            Ok(D::Decimal128(30, 4)),
        ),
        case(
            "wide_decimal256",
            Arc::new(
                Decimal256Array::from(vec![Some(i256::from(12345)), None, Some(i256::from(-1))])
                    .with_precision_and_scale(60, 4)
                    .unwrap(),
            ),
            Err("at most 38 digits"),
        ),
        plain("utf8", Arc::new(StringArray::from(vec![Some("ä🐦"), None, Some("")]))),
        case(
            "large_utf8",
            Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("b")])),
            Ok(D::Utf8),
        ),
        case(
            "utf8_view",
            Arc::new(StringViewArray::from(vec![
                Some("a text that is not inlined"),
                None,
                Some("b"),
            ])),
            Ok(D::Utf8),
        ),
        plain("binary", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None, Some(b"")]))),
        case(
            "large_binary",
            Arc::new(LargeBinaryArray::from(vec![Some(&b"\x00"[..]), None, Some(b"b")])),
            Ok(D::Binary),
        ),
        case(
            "binary_view",
            Arc::new(BinaryViewArray::from(vec![Some(&b"\x00"[..]), None, Some(b"b")])),
            Ok(D::Binary),
        ),
        case(
            "fixed_size_binary",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([1, 2]), None, Some([3, 4])].into_iter(),
                    2,
                )
                .unwrap(),
            ),
            Ok(D::Binary),
        ),
        plain("date32", Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(2_932_896)]))),
        case(
            "date64",
            Arc::new(Date64Array::from(vec![Some(86_400_000), None, Some(0)])),
            Ok(D::Date32),
        ),
        case(
            "time32",
            Arc::new(Time32SecondArray::from(vec![Some(1), None, Some(2)])),
            no_time.clone(),
        ),
        case(
            "time64",
            Arc::new(Time64NanosecondArray::from(vec![Some(1), None, Some(2)])),
            no_time,
        ),
        case(
            "timestamp_s",
            Arc::new(TimestampSecondArray::from(vec![Some(1), None, Some(-1)])),
            Ok(micros(None)),
        ),
        case(
            "timestamp_ms",
            Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, Some(-1)])),
            Ok(micros(None)),
        ),
        plain(
            "timestamp_us",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1)])),
        ),
        case(
            "timestamp_ns",
            Arc::new(TimestampNanosecondArray::from(vec![Some(1_000), None, Some(2_000)])),
            Ok(micros(None)),
        ),
        case(
            "timestamp_zone",
            Arc::new(
                TimestampMillisecondArray::from(vec![Some(1), None, Some(-1)])
                    .with_timezone("+02:00"),
            ),
            Ok(micros(Some("UTC"))),
        ),
        plain(
            "timestamp_utc",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1)]).with_timezone("UTC"),
            ),
        ),
        case(
            "duration",
            Arc::new(DurationMicrosecondArray::from(vec![Some(1), None, Some(2)])),
            no_interval.clone(),
        ),
        case(
            "interval_months",
            Arc::new(IntervalYearMonthArray::from(vec![Some(1), None, Some(2)])),
            no_interval.clone(),
        ),
        case(
            "interval_days",
            Arc::new(IntervalDayTimeArray::from(vec![Some(days), None, Some(days)])),
            no_interval.clone(),
        ),
        case(
            "interval_nanos",
            Arc::new(IntervalMonthDayNanoArray::from(vec![Some(months), None, Some(months)])),
            no_interval,
        ),
        case("list", list(D::List), Ok(list_of(D::Int32))),
        case("large_list", list(D::LargeList), Ok(list_of(D::Int32))),
        case("list_view", list(D::ListView), Ok(list_of(D::Int32))),
        case("large_list_view", list(D::LargeListView), Ok(list_of(D::Int32))),
        case("fixed_size_list", list(|item| D::FixedSizeList(item, 2)), Ok(list_of(D::Int32))),
        case(
            "struct",
            structs(),
            Ok(D::Struct(
                vec![Field::new("n", D::Int16, true), Field::new("s", D::Utf8, true)].into(),
            )),
        ),
        plain("map", maps()),
        case("dictionary", Arc::new(dictionary), Ok(D::Utf8)),
        case("dictionary_of_numbers", Arc::new(numbers), Ok(D::Int64)),
        case("runs", Arc::new(runs), Ok(D::Utf8)),
        case("null", Arc::new(NullArray::new(3)), Ok(D::Utf8)),
        case("dense_union", unions(UnionMode::Dense), Err("no unions")),
        case("sparse_union", unions(UnionMode::Sparse), Err("no unions")),
    ]
}

fn half(n: f32) -> <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native {
    let floats = Float32Array::from(vec![n]);
    let halves = cast(&floats, &DataType::Float16).unwrap();
    halves.as_any().downcast_ref::<Float16Array>().unwrap().value(0)
}

fn create(table: &str) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Create as i32,
            if_exists: TableExistsOption::Append as i32,
        }),
        table: table.to_owned(),
        ..CommandStatementIngest::default()
    }
}

fn batch(name: &str, values: &ArrayRef) -> RecordBatch {
    let field = Field::new(name, values.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::clone(values)]).unwrap()
}

/// The values as they have to come back.
fn expected(values: &ArrayRef, data_type: &DataType) -> ArrayRef {
    if values.data_type() == data_type {
        return Arc::clone(values);
    }
    cast(values, data_type).unwrap_or_else(|error| panic!("{error}"))
}

async fn ingest(client: &mut Client, case: &Case) -> Result<ArrayRef, Failure> {
    let table = format!("of_{}", case.name);
    // With their place, so that they can be brought into order again.
    let places: ArrayRef = Arc::new(Int64Array::from_iter_values(0..case.values.len() as i64));
    let fields = vec![
        Field::new("place", DataType::Int64, true),
        Field::new("value", case.values.data_type().clone(), true),
    ];
    let rows =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![places, Arc::clone(&case.values)]);
    client.try_ingest(create(&table), vec![rows.unwrap()]).await?;
    let answer = client.query(&format!("SELECT value FROM {table} ORDER BY place")).await;
    Ok(Arc::clone(concat_batches(&answer.schema, &answer.batches).unwrap().column(0)))
}

#[tokio::test]
async fn rows_of_every_type_come_back_by_their_rule() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let mut wrong = Vec::new();
    for case in cases() {
        match (ingest(&mut client, &case).await, &case.stored) {
            (Ok(read), Ok(stored)) => {
                let right = expected(&case.values, stored);
                if *read != *right {
                    wrong.push(format!("{}: {read:?} instead of {right:?}", case.name));
                }
            }
            (Err(failure), Err(text)) if failure.code == Code::InvalidArgument => {
                failure.expect(Code::InvalidArgument, &[text, "value"]);
            }
            (Ok(read), Err(_)) => {
                wrong.push(format!("{}: became {:?}", case.name, read.data_type()))
            }
            (Err(failure), _) => wrong.push(format!("{}: {failure}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(client.query("SELECT 1").await.cell(), "1");
}

/// How a type travels back that is in no table.
fn travels(data_type: &DataType) -> DataType {
    use DataType as D;
    let item = |item: &Arc<Field>| {
        Arc::new(Field::new(item.name(), travels(item.data_type()), item.is_nullable()))
    };
    match data_type {
        D::LargeUtf8 | D::Utf8View => D::Utf8,
        D::LargeBinary | D::BinaryView => D::Binary,
        D::Dictionary(_, values) => travels(values),
        D::RunEndEncoded(_, values) => travels(values.data_type()),
        D::Decimal32(p, s) | D::Decimal64(p, s) => D::Decimal128(*p, *s),
        D::UInt8 => D::Int16,
        D::UInt16 => D::Int32,
        D::UInt32 => D::Int64,
        D::Timestamp(TimeUnit::Nanosecond, zone) => {
            D::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        D::List(field) | D::LargeList(field) | D::ListView(field) | D::LargeListView(field) => {
            D::List(item(field))
        }
        D::FixedSizeList(field, length) => D::FixedSizeList(item(field), *length),
        D::Struct(fields) => D::Struct(fields.iter().map(item).collect()),
        other => other.clone(),
    }
}

#[tokio::test]
async fn parameters_of_every_type_come_back_by_their_rule() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let mut wrong = Vec::new();
    for case in cases() {
        // A union is what is inside.
        let union = matches!(case.values.data_type(), DataType::Union(..));
        for row in 0..case.values.len() {
            let value = case.values.slice(row, 1);
            let mut prepared = client.prepare("SELECT $1 AS value").await;
            prepared.set_parameters(batch("$1", &value)).unwrap();
            let read = match prepared.execute().await.map_err(Failure::from) {
                Ok(info) => client.fetch(info).await,
                Err(failure) => Err(failure),
            };
            let read = match read {
                Ok(answer) => concat_batches(&answer.schema, &answer.batches).unwrap(),
                Err(failure) => {
                    wrong.push(format!("{} {row}: {failure}", case.name));
                    continue;
                }
            };
            let right = match (union, row) {
                (true, 0) => Arc::new(Int64Array::from(vec![7])) as ArrayRef,
                (true, 1) => Arc::new(Int64Array::from(vec![None::<i64>])),
                (true, _) => Arc::new(StringArray::from(vec!["x"])),
                (false, _) => expected(&value, &travels(case.values.data_type())),
            };
            if **read.column(0) != *right {
                wrong.push(format!(
                    "{} {row}: {:?} instead of {right:?}",
                    case.name,
                    read.column(0)
                ));
            }
            prepared.close().await.unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn values_that_do_not_fit_are_errors_and_never_others() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t (place BIGINT, value BIGINT)").await;
    let places: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    for values in [
        Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef,
        Arc::new(StringArray::from(vec!["no number"])),
    ] {
        let rows = RecordBatch::try_from_iter([("place", Arc::clone(&places)), ("value", values)]);
        let refused = client.try_ingest(create("t"), vec![rows.unwrap()]).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    }
    assert_eq!(client.count("t").await, 0);
}

/// Whether a type is of a kind.
type Fits<'a> = &'a dyn Fn(&DataType) -> bool;

#[test]
fn every_kind_of_type_is_among_the_cases() {
    use DataType as D;
    let cases = cases();
    let has = |fits: Fits<'_>| cases.iter().any(|c| fits(c.values.data_type()));
    let kinds: [(&str, Fits<'_>); 12] = [
        ("integers", &|t| t.is_integer()),
        ("floats", &|t| t.is_floating()),
        ("decimals", &|t| t.is_decimal()),
        ("texts", &|t| t.is_string()),
        ("bytes", &|t| t.is_binary()),
        ("times", &|t| t.is_temporal()),
        ("lists", &|t| t.is_list()),
        ("structs", &|t| matches!(t, D::Struct(_))),
        ("maps", &|t| matches!(t, D::Map(..))),
        ("unions", &|t| matches!(t, D::Union(_, UnionMode::Dense))),
        ("intervals", &|t| matches!(t, D::Interval(IntervalUnit::DayTime))),
        ("runs", &|t| t.is_run_ends_type()),
    ];
    for (kind, fits) in kinds {
        assert!(has(fits), "no {kind}");
    }
}
