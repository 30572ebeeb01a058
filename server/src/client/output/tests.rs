use std::sync::Arc;

use arrow::{
    array::{Int32Array, ListArray, StringArray, TimestampMicrosecondArray, types::Int32Type},
    datatypes::{DataType, Field, TimeUnit},
    ipc::reader::StreamReader,
};

use super::*;

fn batch() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let schema = Schema::new(vec![
        Field::new("a,b", DataType::Int32, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("list", list.data_type().clone(), true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int32Array::from(vec![Some(1), None, Some(-3)])),
            Arc::new(StringArray::from(vec![Some("say \"hi\", you\nall"), Some(""), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None])),
            Arc::new(list),
        ],
    )
    .unwrap()
}

fn encode(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = Encoder::new(format);
    let mut bytes = Vec::new();
    encoder.begin(&batch().schema(), &mut bytes).unwrap();
    for batch in batches {
        encoder.batch(batch, &mut bytes).unwrap();
    }
    encoder.end(&mut bytes).unwrap();
    bytes
}

#[test]
fn csv_has_a_header_and_tells_null_from_empty() {
    let csv = String::from_utf8(encode(Format::Csv, &[batch()])).unwrap();
    let expected = "\"a,b\",text,at,list\n\
                    1,\"say \"\"hi\"\", you\nall\",1970-01-01T00:00:00,\"[1, NULL]\"\n\
                    ,\"\",1970-01-01T00:00:01.500,\n\
                    -3,,,[]\n";
    assert_eq!(csv, expected);
    let empty = String::from_utf8(encode(Format::Csv, &[])).unwrap();
    assert_eq!(empty, "\"a,b\",text,at,list\n");
}

#[test]
fn json_is_one_object_per_row_with_nulls() {
    let json = String::from_utf8(encode(Format::Json, &[batch(), batch()])).unwrap();
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["text"], "say \"hi\", you\nall");
    assert_eq!(lines[1]["a,b"], serde_json::Value::Null);
    assert_eq!(lines[3]["list"][0], 1);
    assert_eq!(encode(Format::Json, &[]), b"");
}

#[test]
fn arrow_reads_back_as_it_was() {
    let bytes = encode(Format::Arrow, &[batch(), batch()]);
    let read: Result<Vec<_>, _> = StreamReader::try_new(bytes.as_slice(), None).unwrap().collect();
    assert_eq!(read.unwrap(), [batch(), batch()]);
    let empty = encode(Format::Arrow, &[]);
    let reader = StreamReader::try_new(empty.as_slice(), None).unwrap();
    assert_eq!(reader.schema(), batch().schema());
    assert_eq!(reader.count(), 0);
}

#[test]
fn formats_are_read_by_name() {
    assert_eq!("CSV".parse::<Format>().unwrap(), Format::Csv);
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("table, csv, json and arrow"), "{error}");
}
