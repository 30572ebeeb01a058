//! Values in the binary form of each type.

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        UInt8Type, UInt16Type, UInt32Type,
    },
};
use bytes::{BufMut, BytesMut};

use super::{PgError, defect, is_null, json, sized, temporal, text};
use query::postgres::types::{ColumnType, PgType, item_of};

const POSTGRES_EPOCH_MICROS: i64 = temporal::POSTGRES_EPOCH_DAYS as i64 * 86_400_000_000;

/// A value that is not NULL.
pub(super) fn value(
    array: &dyn Array,
    row: usize,
    column: ColumnType,
    out: &mut BytesMut,
) -> Result<(), PgError> {
    match column {
        ColumnType::Scalar(PgType::Json) => json::value(array, row, out),
        ColumnType::Scalar(kind) => scalar(array, row, kind, out),
        ColumnType::Array(item) => list(array, row, item, out),
    }
}

fn scalar(array: &dyn Array, row: usize, kind: PgType, out: &mut BytesMut) -> Result<(), PgError> {
    use DataType as T;
    match array.data_type() {
        T::Boolean => out.put_u8(u8::from(array.as_boolean().value(row))),
        T::Int8 => out.put_i16(i16::from(array.as_primitive::<Int8Type>().value(row))),
        T::UInt8 => out.put_i16(i16::from(array.as_primitive::<UInt8Type>().value(row))),
        T::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        T::UInt16 => out.put_i32(i32::from(array.as_primitive::<UInt16Type>().value(row))),
        T::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        T::UInt32 => out.put_i64(i64::from(array.as_primitive::<UInt32Type>().value(row))),
        T::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        T::Float16 => out.put_f32(array.as_primitive::<Float16Type>().value(row).to_f32()),
        T::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        T::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        T::Binary => out.put_slice(array.as_binary::<i32>().value(row)),
        T::LargeBinary => out.put_slice(array.as_binary::<i64>().value(row)),
        T::BinaryView => out.put_slice(array.as_binary_view().value(row)),
        T::FixedSizeBinary(_) => out.put_slice(array.as_fixed_size_binary().value(row)),
        T::Date32 | T::Date64 => {
            let days = temporal::days(array, row)?;
            out.put_i32(days.saturating_sub(temporal::POSTGRES_EPOCH_DAYS));
        }
        T::Time32(_) | T::Time64(_) => out.put_i64(temporal::time(array, row)?),
        T::Timestamp(..) => {
            out.put_i64(temporal::timestamp(array, row)?.saturating_sub(POSTGRES_EPOCH_MICROS));
        }
        T::Interval(_) | T::Duration(_) => {
            let interval = temporal::interval(array, row)?;
            out.put_i64(interval.micros);
            out.put_i32(interval.days);
            out.put_i32(interval.months);
        }
        _ if kind == PgType::Numeric => {
            let mut digits = BytesMut::new();
            text::value(array, row, &mut digits)?;
            numeric(std::str::from_utf8(&digits).unwrap_or_default(), out);
        }
        // Text is the same in both forms.
        T::Utf8 | T::LargeUtf8 | T::Utf8View => return text::value(array, row, out),
        other => return Err(defect(other)),
    }
    Ok(())
}

/// A number in groups of four decimal digits, counted from the point.
fn numeric(text: &str, out: &mut BytesMut) {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let before = whole.len().div_ceil(4);
    let padded = format!(
        "{}{whole}{fraction}{}",
        "0".repeat(before * 4 - whole.len()),
        "0".repeat(fraction.len().div_ceil(4) * 4 - fraction.len())
    );
    let groups: Vec<i16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let groups = &groups[leading..];
    let trailing = groups.iter().rev().take_while(|group| **group == 0).count();
    let groups = &groups[..groups.len() - trailing];
    let weight = if groups.is_empty() { 0 } else { count(before) - 1 - count(leading) };
    out.put_i16(count(groups.len()));
    out.put_i16(weight);
    out.put_i16(if is_negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_i16(count(fraction.len()));
    groups.iter().for_each(|group| out.put_i16(*group));
}

/// Decimals have at most 76 digits.
fn count(n: usize) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

/// Lengths in each direction, then the items.
fn list(array: &dyn Array, row: usize, item: PgType, out: &mut BytesMut) -> Result<(), PgError> {
    let mut lengths = Vec::new();
    let mut cells = BytesMut::new();
    let has_null = walk(text::items(array, row)?.as_ref(), 0, item, &mut lengths, &mut cells)?;
    // No items, no directions.
    if lengths.contains(&0) {
        lengths.clear();
    }
    out.put_i32(i32::from(count(lengths.len())));
    out.put_i32(i32::from(has_null));
    out.put_u32(item.oid());
    for length in lengths {
        out.put_i32(i32::try_from(length).map_err(|_| PgError::too_long(length, 1 << 31))?);
        out.put_i32(1);
    }
    out.put_slice(&cells);
    Ok(())
}

fn walk(
    items: &dyn Array,
    depth: usize,
    kind: PgType,
    lengths: &mut Vec<usize>,
    cells: &mut BytesMut,
) -> Result<bool, PgError> {
    match lengths.get(depth) {
        None => lengths.push(items.len()),
        Some(length) if *length != items.len() => return Err(ragged()),
        Some(_) => {}
    }
    let mut has_null = false;
    let nested = item_of(items.data_type()).is_some();
    for item in 0..items.len() {
        if is_null(items, item) {
            if nested {
                return Err(ragged());
            }
            has_null = true;
            cells.put_i32(-1);
        } else if nested {
            let inner = text::items(items, item)?;
            has_null |= walk(inner.as_ref(), depth + 1, kind, lengths, cells)?;
        } else {
            sized(cells, |out| scalar(items, item, kind, out))?;
        }
    }
    Ok(has_null)
}

fn ragged() -> PgError {
    PgError::new("2202E", "lists of different lengths in one list are no array of Postgres")
        .with_hint("ask for the column as text")
}
