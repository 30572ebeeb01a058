use std::sync::Arc;

use arrow::{
    array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
        Int32Array, Int64Array, Int64Builder, IntervalMonthDayNanoArray, ListArray, MapBuilder,
        StringArray, StringBuilder, StructArray, Time64NanosecondArray, TimestampMicrosecondArray,
        UInt64Array,
    },
    datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano},
};

use super::*;

fn text_of(array: impl Array + 'static) -> Vec<String> {
    let column: ArrayRef = Arc::new(array);
    (0..column.len())
        .map(|row| {
            if column.is_null(row) {
                return "NULL".to_owned();
            }
            let mut out = BytesMut::new();
            plain(&column, row, &mut out).unwrap();
            String::from_utf8(out.to_vec()).unwrap()
        })
        .collect()
}

fn binary_of(array: impl Array + 'static) -> Vec<u8> {
    let column: ArrayRef = Arc::new(array);
    let mut out = BytesMut::new();
    cell(&column, 0, Format::Binary, &mut out).unwrap();
    out[4..].to_vec()
}

#[test]
fn values_read_as_postgres_prints_them() {
    assert_eq!(text_of(BooleanArray::from(vec![true, false])), ["t", "f"]);
    assert_eq!(text_of(UInt64Array::from(vec![u64::MAX])), ["18446744073709551615"]);
    let floats = [1.5, 1e15, 1e-5, -1e300, 0.1, f64::NAN, f64::NEG_INFINITY, 123_456_789_012_345.0];
    let expected =
        ["1.5", "1e+15", "1e-05", "-1e+300", "0.1", "NaN", "-Infinity", "123456789012345"];
    assert_eq!(text_of(Float64Array::from(floats.to_vec())), expected);
    assert_eq!(text_of(Float32Array::from(vec![0.1])), ["0.1"]);
    let decimals = Decimal128Array::from(vec![-5, 12345]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(text_of(decimals), ["-0.05", "123.45"]);
    assert_eq!(text_of(BinaryArray::from(vec![b"\x00\xff".as_slice()])), ["\\x00ff"]);
    assert_eq!(text_of(StringArray::from(vec![Some("a b"), None])), ["a b", "NULL"]);
}

#[test]
fn times_read_as_postgres_prints_them() {
    let days = Date32Array::from(vec![0, 19_782, -719_529, 2_932_897]);
    assert_eq!(text_of(days), ["1970-01-01", "2024-02-29", "0002-12-31 BC", "10000-01-01"]);
    let times = Time64NanosecondArray::from(vec![45_000_000_000_999, 1_500_000_000]);
    assert_eq!(text_of(times), ["12:30:00", "00:00:01.5"]);
    let stamps = vec![-1, 1_709_209_800_500_000];
    let naive = TimestampMicrosecondArray::from(stamps.clone());
    assert_eq!(text_of(naive), ["1969-12-31 23:59:59.999999", "2024-02-29 12:30:00.5"]);
    let zoned = TimestampMicrosecondArray::from(stamps).with_timezone("UTC");
    assert_eq!(text_of(zoned)[1], "2024-02-29 12:30:00.5+00");
    let interval = |months, days, nanos| IntervalMonthDayNano::new(months, days, nanos);
    let intervals = IntervalMonthDayNanoArray::from(vec![
        interval(14, -3, 14_706_700_000_000),
        interval(0, 0, 0),
        interval(0, 1, -1_000_000_000),
    ]);
    let expected = ["1 year 2 mons -3 days +04:05:06.7", "00:00:00", "1 day -00:00:01"];
    assert_eq!(text_of(intervals), expected);
    let beyond: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
    assert!(plain(&beyond, 0, &mut BytesMut::new()).is_err());
}

#[test]
fn lists_are_arrays_and_records_are_json() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        Some(vec![]),
    ]);
    assert_eq!(text_of(list), ["{1,NULL}", "{}"]);
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let words = StringArray::from(vec!["a b", "", "null", "x", "q\"\\"]);
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([5]);
    let list = ListArray::new(item, offsets, Arc::new(words), None);
    assert_eq!(text_of(list), [r#"{"a b","","null",x,"q\"\\"}"#]);
    let record = StructArray::from(vec![
        (
            Arc::new(Field::new("a", DataType::Float64, true)),
            Arc::new(Float64Array::from(vec![f64::NAN, 2.0])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b\"", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("x\n"), None])) as ArrayRef,
        ),
    ]);
    assert_eq!(text_of(record), [r#"{"a":"NaN","b\"":"x\n"}"#, r#"{"a":2,"b\"":null}"#]);
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_value(7);
    map.append(true).unwrap();
    assert_eq!(text_of(map.finish()), [r#"{"k":7}"#]);
}

#[test]
fn binary_forms_are_those_of_postgres() {
    assert_eq!(binary_of(Int64Array::from(vec![258])), 258_i64.to_be_bytes());
    assert_eq!(binary_of(Date32Array::from(vec![10_958])), 1_i32.to_be_bytes());
    let zero = TimestampMicrosecondArray::from(vec![946_684_800_000_001]);
    assert_eq!(binary_of(zero), 1_i64.to_be_bytes());
    let numeric = |value: i128, scale| {
        let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
        let bytes = binary_of(array);
        let words = bytes.chunks(2).map(|word| i16::from_be_bytes([word[0], word[1]]));
        words.collect::<Vec<_>>()
    };
    assert_eq!(numeric(1_234_567, 2), [3, 1, 0, 2, 1, 2345, 6700]);
    assert_eq!(numeric(-5, 2), [1, -1, 0x4000, 2, 500]);
    assert_eq!(numeric(0, 3), [0, 0, 0, 3]);
    assert_eq!(numeric(10_000, 0), [1, 1, 0, 0, 1]);
    assert_eq!(numeric(1, 5), [1, -2, 0, 5, 1000]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(7), None])]);
    let expected = [
        1_i32, 1, 23, 2, 1, // one direction, a NULL, int4, two items, from 1
        4, 7, -1,
    ];
    let bytes: Vec<u8> = expected.iter().flat_map(|n| n.to_be_bytes()).collect();
    assert_eq!(binary_of(list), bytes);
    let empty =
        ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(Vec::<Option<i32>>::new())]);
    let bytes: Vec<u8> = [0_i32, 0, 23].iter().flat_map(|n| n.to_be_bytes()).collect();
    assert_eq!(binary_of(empty), bytes);
    let _ = Int32Array::from(vec![1]);
}
