//! Values as Postgres prints them.

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use bytes::{BufMut, BytesMut};

use super::{
    PgError, defect, digits, is_null, json,
    temporal::{self, put},
};
use query::postgres::types::{ColumnType, PgType, item_of};

/// A value that is not NULL.
pub(super) fn value(array: &dyn Array, row: usize, out: &mut BytesMut) -> Result<(), PgError> {
    match ColumnType::of(array.data_type()) {
        ColumnType::Scalar(PgType::Json) => json::value(array, row, out),
        ColumnType::Scalar(_) => scalar(array, row, out),
        ColumnType::Array(_) => list(array, row, out),
    }
}

macro_rules! integer {
    ($array:expr, $row:expr, $out:expr, $type:ty) => {
        digits::integer($array.as_primitive::<$type>().value($row).into(), $out)
    };
}

macro_rules! decimal {
    ($array:expr, $row:expr, $out:expr, $type:ty) => {{
        let array = $array.as_primitive::<$type>();
        let (precision, scale) = (array.precision(), array.scale());
        if !digits::decimal(array.value($row).into(), precision, scale, $out) {
            $out.put_slice(array.value_as_string($row).as_bytes());
        }
    }};
}

fn scalar(array: &dyn Array, row: usize, out: &mut BytesMut) -> Result<(), PgError> {
    use DataType as T;
    match array.data_type() {
        T::Boolean => out.put_u8(if array.as_boolean().value(row) { b't' } else { b'f' }),
        T::Int8 => integer!(array, row, out, Int8Type),
        T::Int16 => integer!(array, row, out, Int16Type),
        T::Int32 => integer!(array, row, out, Int32Type),
        T::Int64 => integer!(array, row, out, Int64Type),
        T::UInt8 => integer!(array, row, out, UInt8Type),
        T::UInt16 => integer!(array, row, out, UInt16Type),
        T::UInt32 => integer!(array, row, out, UInt32Type),
        T::UInt64 => digits::unsigned(array.as_primitive::<UInt64Type>().value(row), out),
        T::Float16 => {
            let value = array.as_primitive::<Float16Type>().value(row).to_f32();
            float(f64::from(value), format_args!("{value}"), format_args!("{value:e}"), out);
        }
        T::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(f64::from(value), format_args!("{value}"), format_args!("{value:e}"), out);
        }
        T::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(value, format_args!("{value}"), format_args!("{value:e}"), out);
        }
        T::Decimal32(..) => decimal!(array, row, out, Decimal32Type),
        T::Decimal64(..) => decimal!(array, row, out, Decimal64Type),
        T::Decimal128(..) => decimal!(array, row, out, Decimal128Type),
        T::Decimal256(..) => {
            let text = array.as_primitive::<Decimal256Type>().value_as_string(row);
            out.put_slice(text.as_bytes());
        }
        T::Utf8 => out.put_slice(array.as_string::<i32>().value(row).as_bytes()),
        T::LargeUtf8 => out.put_slice(array.as_string::<i64>().value(row).as_bytes()),
        T::Utf8View => out.put_slice(array.as_string_view().value(row).as_bytes()),
        T::Binary => hex(array.as_binary::<i32>().value(row), out),
        T::LargeBinary => hex(array.as_binary::<i64>().value(row), out),
        T::BinaryView => hex(array.as_binary_view().value(row), out),
        T::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row), out),
        T::Date32 | T::Date64 => temporal::write_day(temporal::days(array, row)?, out)?,
        T::Time32(_) | T::Time64(_) => temporal::write_time(temporal::time(array, row)?, out),
        T::Timestamp(_, zone) => {
            let zone = if zone.is_some() { "+00" } else { "" };
            temporal::write_timestamp(temporal::timestamp(array, row)?, zone, out)?;
        }
        T::Interval(_) | T::Duration(_) => {
            temporal::write_interval(temporal::interval(array, row)?, out);
        }
        other => return Err(defect(other)),
    }
    Ok(())
}

/// The shortest digits that are read back as the same number, with an exponent where Postgres has
/// one.
fn float(
    value: f64,
    plain: std::fmt::Arguments<'_>,
    scientific: std::fmt::Arguments<'_>,
    out: &mut BytesMut,
) {
    if value.is_nan() {
        return out.put_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.put_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    if value == 0.0 || (1e-4..1e15).contains(&value.abs()) {
        return put(out, plain);
    }
    let text = scientific.to_string();
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    put(out, format_args!("{digits}e{sign}{:02}", exponent.abs()));
}

pub(super) fn hex(bytes: &[u8], out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}

/// `{1,NULL,"a b"}`. An array of Postgres has one length in each direction; a list of lists that has
/// not is written in the same way, and a client may refuse it.
fn list(array: &dyn Array, row: usize, out: &mut BytesMut) -> Result<(), PgError> {
    let items = items(array, row)?;
    out.put_u8(b'{');
    for item in 0..items.len() {
        if item > 0 {
            out.put_u8(b',');
        }
        if is_null(items.as_ref(), item) {
            out.put_slice(b"NULL");
        } else if item_of(items.data_type()).is_some() {
            list(items.as_ref(), item, out)?;
        } else {
            let start = out.len();
            scalar(items.as_ref(), item, out)?;
            quote(start, out);
        }
    }
    out.put_u8(b'}');
    Ok(())
}

/// The items of one list.
pub(super) fn items(array: &dyn Array, row: usize) -> Result<arrow::array::ArrayRef, PgError> {
    match array.data_type() {
        DataType::List(_) => Ok(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Ok(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Ok(array.as_fixed_size_list().value(row)),
        other => Err(defect(other)),
    }
}

/// Puts what was written since `start` in quotes when an array needs them.
fn quote(start: usize, out: &mut BytesMut) {
    let text = &out[start..];
    let is_special = |byte: &u8| {
        matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\')
            || byte.is_ascii_whitespace()
            || *byte == 11
    };
    let plain =
        !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(is_special);
    if plain {
        return;
    }
    let text = out.split_off(start);
    out.put_u8(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}
