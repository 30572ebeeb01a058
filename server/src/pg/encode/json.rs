//! Structs, maps and what holds them, as JSON text: Postgres has no types for them.
//!
//! A struct is an object of its fields, a map an object with its keys as text, a list an array.
//! Numbers stay numbers but for NaN and infinities; whatever else is the text that a cell would have.

use arrow::{
    array::{Array, AsArray},
    datatypes::DataType,
};
use bytes::{BufMut, BytesMut};

use super::{PgError, is_null, text};
use query::postgres::types::PgType;

pub(super) fn value(array: &dyn Array, row: usize, out: &mut BytesMut) -> Result<(), PgError> {
    if is_null(array, row) {
        out.put_slice(b"null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            out.put_u8(b'{');
            for (n, field) in fields.iter().enumerate() {
                if n > 0 {
                    out.put_u8(b',');
                }
                quoted(field.name(), out)?;
                out.put_u8(b':');
                value(columns.column(n).as_ref(), row, out)?;
            }
            out.put_u8(b'}');
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.put_u8(b'{');
            for entry in 0..entries.len() {
                if entry > 0 {
                    out.put_u8(b',');
                }
                let mut key = BytesMut::new();
                text::value(keys.as_ref(), entry, &mut key)?;
                quoted(&String::from_utf8_lossy(&key), out)?;
                out.put_u8(b':');
                value(values.as_ref(), entry, out)?;
            }
            out.put_u8(b'}');
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let items = text::items(array, row)?;
            out.put_u8(b'[');
            for item in 0..items.len() {
                if item > 0 {
                    out.put_u8(b',');
                }
                value(items.as_ref(), item, out)?;
            }
            out.put_u8(b']');
        }
        DataType::Boolean => {
            out.put_slice(if array.as_boolean().value(row) { b"true" } else { b"false" });
        }
        other => {
            let mut cell = BytesMut::new();
            match PgType::of_scalar(other) {
                // A union, or what may come to be: nothing tells how it should read.
                PgType::Json => return Err(super::defect(other)),
                kind => {
                    text::value(array, row, &mut cell)?;
                    let is_number = matches!(
                        kind,
                        PgType::Int2
                            | PgType::Int4
                            | PgType::Int8
                            | PgType::Numeric
                            | PgType::Float4
                            | PgType::Float8
                    ) && !cell.iter().any(|byte| matches!(byte, b'N' | b'I'));
                    if is_number {
                        out.put_slice(&cell);
                    } else {
                        quoted(&String::from_utf8_lossy(&cell), out)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn quoted(text: &str, out: &mut BytesMut) -> Result<(), PgError> {
    serde_json::to_writer(out.writer(), text)
        .map_err(|error| PgError::new("XX000", format!("write JSON: {error}")))
}
