//! The types that travel: what every client can read.
//!
//! Inside, DataFusion uses views and dictionaries, which older drivers cannot read and which Arrow
//! IPC writes wastefully when only a part of their buffers is used. One schema is advertised and
//! every batch is cast to exactly that one.

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
    record_batch::{RecordBatch, RecordBatchOptions},
};

/// The type under which values of `data_type` travel.
///
/// Views become their plain types, dictionaries and run-end encodings their values, large and view
/// lists plain lists, small decimals 128 bits, unsigned integers of up to 32 bits the next larger
/// signed ones, nanoseconds of timestamps microseconds, cut off;
/// everything else stays. Nested types are treated
/// alike.
#[must_use]
pub fn wire_type(data_type: &DataType) -> DataType {
    use DataType as T;
    match data_type {
        T::Utf8View | T::LargeUtf8 => T::Utf8,
        T::BinaryView | T::LargeBinary => T::Binary,
        T::Dictionary(_, values) => wire_type(values),
        // As they are stored; JDBC takes them for signed ones.
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        // Tables have no finer times, and many clients cannot read them.
        T::Timestamp(TimeUnit::Nanosecond, zone) => {
            T::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        T::RunEndEncoded(_, values) => wire_type(values.data_type()),
        T::Decimal32(precision, scale) | T::Decimal64(precision, scale) => {
            T::Decimal128(*precision, *scale)
        }
        T::List(item) | T::LargeList(item) | T::ListView(item) | T::LargeListView(item) => {
            T::List(wire_item(item))
        }
        T::FixedSizeList(item, length) => T::FixedSizeList(wire_item(item), *length),
        T::Struct(fields) => T::Struct(fields.iter().map(wire_item).collect()),
        T::Map(entries, sorted) => T::Map(wire_item(entries), *sorted),
        other => other.clone(),
    }
}

/// The type that a client is told of a parameter: as [`wire_type`], but for timestamps, which are in
/// milliseconds, since the JDBC driver writes those, whatever unit it is told. Whoever binds another
/// unit is understood.
#[must_use]
pub fn parameter_type(data_type: &DataType) -> DataType {
    match wire_type(data_type) {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone),
        other => other,
    }
}

/// The schema under which batches of `schema` travel: wire types, every column nullable (the
/// nullability that a logical and a physical plan infer differs), no metadata.
#[must_use]
pub fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    Arc::new(Schema::new(
        fields
            .map(|field| Field::new(field.name(), wire_type(field.data_type()), true))
            .collect::<Vec<_>>(),
    ))
}

/// Casts a batch to the wire schema made from its own. Columns that fit are not copied.
pub fn to_wire(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns
        .map(|(column, field)| -> Result<ArrayRef, ArrowError> {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn wire_item(field: &FieldRef) -> FieldRef {
    let data_type = wire_type(field.data_type());
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, DictionaryArray, Int32Array, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn views_and_dictionaries_travel_as_plain_text() {
        let dictionary: DictionaryArray<arrow::datatypes::UInt16Type> =
            vec![Some("x"), None, Some("x")].into_iter().collect();
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef),
            ("v", Arc::new(StringViewArray::from(vec![Some("a"), None, Some("b")])) as ArrayRef),
            ("d", Arc::new(dictionary) as ArrayRef),
        ])
        .unwrap();
        let schema = wire_schema(batch.schema_ref());
        let sent = to_wire(&batch, &schema).unwrap();
        assert_eq!(sent.schema(), schema);
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
        let text = sent.column(1).as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(text.iter().collect::<Vec<_>>(), [Some("a"), None, Some("b")]);
        let text = sent.column(2).as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(text.iter().collect::<Vec<_>>(), [Some("x"), None, Some("x")]);
    }

    #[test]
    fn nested_types_are_treated_alike() {
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let nested = DataType::LargeList(Arc::new(Field::new(
            "item",
            DataType::Struct(vec![item].into()),
            true,
        )));
        let expected_item = Arc::new(Field::new("item", DataType::Utf8, true));
        let expected = DataType::List(Arc::new(Field::new(
            "item",
            DataType::Struct(vec![expected_item].into()),
            true,
        )));
        assert_eq!(wire_type(&nested), expected);
    }
}
