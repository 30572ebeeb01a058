//! Bound parameters: text or binary of each type, as one row of Arrow.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
        Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
        StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, new_null_array,
    },
    buffer::OffsetBuffer,
    compute::{CastOptions, cast_with_options, concat},
    datatypes::{DataType, Field, IntervalMonthDayNano, Schema},
    record_batch::RecordBatch,
};
use bytes::{Buf, Bytes};
use pgwire::messages::extendedquery::Bind;
use query::postgres::types::{declared, of_parameter};

use super::{
    encode::{Format, POSTGRES_EPOCH_DAYS},
    error::PgError,
};
use crate::error::sqlstate_of_value;

const POSTGRES_EPOCH_MICROS: i64 = POSTGRES_EPOCH_DAYS as i64 * 86_400_000_000;
/// Digits that a number may have in all.
const DIGITS_MAX: usize = 38;
/// Items that an array may have.
const ITEMS_MAX: usize = 1_000_000;
const NUMERIC: u32 = 1700;
const INTERVAL: u32 = 1186;

/// The types that a statement's parameters have: what the client declared, else what the statement
/// says, else text.
pub(super) fn oids(declared: &[u32], said: &Schema) -> Vec<u32> {
    let of = |(n, field): (usize, &Arc<Field>)| match declared.get(n) {
        Some(oid) if *oid != 0 => *oid,
        _ => of_parameter(field),
    };
    said.fields().iter().enumerate().map(of).collect()
}

/// One row of parameters, or none where the statement takes none.
pub(super) fn row(bind: &Bind, oids: &[u32]) -> Result<Option<RecordBatch>, PgError> {
    let given = bind.parameters.len();
    if given != oids.len() {
        return Err(PgError::protocol(format!(
            "the statement has {} parameters and {given} were bound",
            oids.len()
        )));
    }
    if given == 0 {
        return Ok(None);
    }
    let formats = formats(&bind.parameter_format_codes, given)?;
    let mut fields = Vec::with_capacity(given);
    let mut columns = Vec::with_capacity(given);
    for (n, ((bytes, oid), format)) in bind.parameters.iter().zip(oids).zip(formats).enumerate() {
        let column = match bytes {
            None => new_null_array(&declared(*oid).unwrap_or(DataType::Utf8), 1),
            Some(bytes) => {
                let number = n + 1;
                if is_text(*oid, format) {
                    characters(bytes).map_err(|why| {
                        PgError::new("22021", format!("parameter ${number} {why}"))
                    })?;
                }
                value(bytes, *oid, format).map_err(|why| {
                    let sqlstate = match format {
                        Format::Text => sqlstate_of_value(&why),
                        Format::Binary => "22P03",
                    };
                    PgError::new(sqlstate, format!("parameter ${number}: {why}"))
                })?
            }
        };
        fields.push(Field::new(format!("${}", n + 1), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map(Some)
        .map_err(|error| PgError::invalid(error.to_string()))
}

/// One form for each of `count` values: none given is text, one given is for all.
pub(super) fn formats(codes: &[i16], count: usize) -> Result<Vec<Format>, PgError> {
    match codes {
        [] => Ok(vec![Format::Text; count]),
        [code] => Ok(vec![Format::of(*code)?; count]),
        codes if codes.len() == count => codes.iter().map(|code| Format::of(*code)).collect(),
        codes => Err(PgError::protocol(format!("{} formats for {count} values", codes.len()))),
    }
}

/// An array of one value, or why it is none.
pub(super) type Decoded = Result<ArrayRef, String>;

/// One value of a type.
pub(super) fn value(bytes: &Bytes, oid: u32, format: Format) -> Decoded {
    if let Some(item) = item_of(oid) {
        return match format {
            Format::Text => list(text_items(text(bytes)?)?, item),
            Format::Binary => list(binary_items(bytes)?, item),
        };
    }
    match format {
        Format::Text => from_text(text(bytes)?, oid),
        Format::Binary => from_binary(bytes, oid),
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "is no UTF-8".to_owned())
}

/// The text that the bytes are. Texts end with a zero byte for clients, which would see a part of one
/// that has it inside.
pub(super) fn characters(bytes: &[u8]) -> Result<&str, &'static str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => Err("has a zero byte, which a text cannot have"),
        Err(_) => Err("is no UTF-8"),
    }
}

/// Whether a value travels as a text.
fn is_text(oid: u32, format: Format) -> bool {
    format == Format::Text || matches!(oid, 18 | 19 | 25 | 114 | 705 | 1042 | 1043)
}

fn one(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}

fn utf8(text: &str) -> ArrayRef {
    one(StringArray::from(vec![text]))
}

fn from_text(text: &str, oid: u32) -> Decoded {
    match declared(oid) {
        Some(DataType::Boolean) => {
            let word = text.trim().to_ascii_lowercase();
            let truth = match word.as_str() {
                "t" | "true" | "y" | "yes" | "on" | "1" => true,
                "f" | "false" | "n" | "no" | "off" | "0" => false,
                _ => return Err(format!("'{text}' is neither true nor false")),
            };
            Ok(one(BooleanArray::from(vec![truth])))
        }
        Some(DataType::Binary) => Ok(one(BinaryArray::from(vec![bytea(text)?.as_slice()]))),
        Some(DataType::Utf8) | None if oid == NUMERIC => Ok(decimal(text).unwrap_or(utf8(text))),
        Some(DataType::Utf8) | None => Ok(utf8(text)),
        Some(data_type) => {
            // As Postgres does: a zone is for types that have one.
            let text = match data_type {
                DataType::Date32 => text.trim().split([' ', 'T']).next().unwrap_or_default(),
                DataType::Time64(_) | DataType::Timestamp(_, None) => without_zone(text.trim()),
                _ => text,
            };
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(&utf8(text.trim()), &data_type, &options)
                .map_err(|error| error.to_string())
        }
    }
}

/// A time without `+01` or `Z` behind it.
fn without_zone(text: &str) -> &str {
    let clock = text.find(':').unwrap_or(text.len());
    let zone = text[clock..].find(['+', '-', 'Z']).map_or(text.len(), |at| clock + at);
    text[..zone].trim_end()
}

/// `\x00ff`, or the older form with octal numbers.
pub(super) fn bytea(text: &str) -> Result<Vec<u8>, String> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pair = |pair: &[u8]| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(pair).collect();
        return bytes.ok_or_else(|| "is no hexadecimal bytea".to_owned());
    }
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        match (*first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            (b'\\', _) => return Err("is no bytea".to_owned()),
            (byte, after) => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    Ok(bytes)
}

/// A plain number with as many digits after the point as were written.
fn decimal(text: &str) -> Option<ArrayRef> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() + fraction.len() > DIGITS_MAX || fraction.starts_with(['+', '-']) {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i8::try_from(fraction.len()).ok()?;
    let precision = u8::try_from(DIGITS_MAX).ok()?;
    let array = Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale);
    array.ok().map(one)
}

fn from_binary(bytes: &[u8], oid: u32) -> Decoded {
    fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
        bytes.try_into().map_err(|_| format!("has {} bytes instead of {N}", bytes.len()))
    }
    let micros = |bytes| Ok::<_, String>(i64::from_be_bytes(fixed(bytes)?));
    Ok(match oid {
        16 => one(BooleanArray::from(vec![fixed::<1>(bytes)? != [0]])),
        17 => one(BinaryArray::from(vec![bytes])),
        20 => one(Int64Array::from(vec![i64::from_be_bytes(fixed(bytes)?)])),
        21 => one(Int16Array::from(vec![i16::from_be_bytes(fixed(bytes)?)])),
        23 => one(Int32Array::from(vec![i32::from_be_bytes(fixed(bytes)?)])),
        26 => one(Int64Array::from(vec![i64::from(u32::from_be_bytes(fixed(bytes)?))])),
        700 => one(Float32Array::from(vec![f32::from_be_bytes(fixed(bytes)?)])),
        701 => one(Float64Array::from(vec![f64::from_be_bytes(fixed(bytes)?)])),
        1082 => {
            let days = i32::from_be_bytes(fixed(bytes)?);
            let days = days.checked_add(POSTGRES_EPOCH_DAYS).ok_or("is out of range")?;
            one(Date32Array::from(vec![days]))
        }
        1083 => one(Time64MicrosecondArray::from(vec![micros(bytes)?])),
        1114 | 1184 => {
            let micros = micros(bytes)?.checked_add(POSTGRES_EPOCH_MICROS);
            let stamp = TimestampMicrosecondArray::from(vec![micros.ok_or("is out of range")?]);
            if oid == 1184 { one(stamp.with_timezone("UTC")) } else { one(stamp) }
        }
        INTERVAL => {
            let mut bytes: &[u8] = &fixed::<16>(bytes)?;
            let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            let nanos = micros.checked_mul(1_000).ok_or("is out of range")?;
            let interval = IntervalMonthDayNano::new(months, days, nanos);
            one(IntervalMonthDayNanoArray::from(vec![interval]))
        }
        NUMERIC => {
            let digits = numeric(bytes)?;
            decimal(&digits).unwrap_or(utf8(&digits))
        }
        2950 => {
            let id = uuid::Uuid::from_bytes(fixed(bytes)?);
            utf8(&id.to_string())
        }
        3802 => match bytes.split_first() {
            Some((1, json)) => utf8(text(json)?),
            _ => return Err("is no jsonb of version 1".to_owned()),
        },
        18 | 19 | 25 | 114 | 705 | 1042 | 1043 => utf8(text(bytes)?),
        other => return Err(format!("has the type {other}, which is taken as text only")),
    })
}

/// The digits of a binary numeric.
fn numeric(mut bytes: &[u8]) -> Result<String, String> {
    if bytes.len() < 8 {
        return Err("is no numeric".to_owned());
    }
    let (count, weight) = (bytes.get_u16(), bytes.get_i16());
    let (sign, scale) = (bytes.get_u16(), usize::from(bytes.get_u16()));
    if bytes.len() != usize::from(count) * 2 {
        return Err("is no numeric".to_owned());
    }
    let sign = match sign {
        0 => "",
        0x4000 => "-",
        _ => return Err("is no finite number".to_owned()),
    };
    let groups: Vec<u16> = bytes.chunks(2).map(|pair| (&pair[..]).get_u16()).collect();
    if groups.iter().any(|group| *group > 9999) || scale > 1000 || !(-256..256).contains(&weight) {
        return Err("is no numeric that can be read".to_owned());
    }
    let group = |at: i16| -> u16 {
        let index = usize::try_from(weight - at);
        index.ok().and_then(|index| groups.get(index).copied()).unwrap_or(0)
    };
    let mut whole: String =
        (0..=weight.max(0)).rev().map(|at| format!("{:04}", group(at))).collect();
    let start = whole.len() - whole.trim_start_matches('0').len();
    whole.drain(..start.min(whole.len() - 1));
    if scale == 0 {
        return Ok(format!("{sign}{whole}"));
    }
    let groups_after = i16::try_from(scale.div_ceil(4)).unwrap_or(i16::MAX);
    let mut fraction: String = (1..=groups_after).map(|at| format!("{:04}", group(-at))).collect();
    fraction.truncate(scale);
    Ok(format!("{sign}{whole}.{fraction}"))
}

/// The type of the items of an array type.
fn item_of(oid: u32) -> Option<u32> {
    Some(match oid {
        1000 => 16,
        1001 => 17,
        1005 => 21,
        1007 => 23,
        1016 => 20,
        1028 => 26,
        1021 => 700,
        1022 => 701,
        1002 | 1003 | 1009 | 1014 | 1015 | 199 | 3807 => 25,
        2951 => 2950,
        1115 => 1114,
        1182 => 1082,
        1183 => 1083,
        1185 => 1184,
        1187 => INTERVAL,
        1231 => NUMERIC,
        _ => return None,
    })
}

/// An item in its form; `None` is NULL.
type Item = Option<(Bytes, Format)>;

fn list(items: Vec<Item>, item: u32) -> Decoded {
    let values = items
        .iter()
        .map(|item_value| match item_value {
            None => Ok(None),
            Some((bytes, format)) => value(bytes, item, *format).map(Some),
        })
        .collect::<Result<Vec<_>, String>>()?;
    let known = values.iter().flatten().next().map(|array| array.data_type().clone());
    // Numbers of one array may be written with different scales.
    let data_type = match (item, known) {
        (NUMERIC, _) => DataType::Decimal128(38, 10),
        (_, Some(known)) => known,
        (item, None) => declared(item).unwrap_or(DataType::Utf8),
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let values = values
        .into_iter()
        .map(|array| match array {
            None => Ok(new_null_array(&data_type, 1)),
            Some(array) => cast_with_options(&array, &data_type, &options),
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let length = values.len();
    let values = if values.is_empty() {
        new_null_array(&data_type, 0)
    } else {
        let values: Vec<_> = values.iter().map(|value| value.as_ref()).collect();
        concat(&values).map_err(|error| error.to_string())?
    };
    let field = Arc::new(Field::new("item", data_type, true));
    let offsets = OffsetBuffer::from_lengths([length]);
    ListArray::try_new(field, offsets, values, None).map(one).map_err(|error| error.to_string())
}

fn binary_items(bytes: &Bytes) -> Result<Vec<Item>, String> {
    const BROKEN: &str = "is no array";
    let mut bytes = bytes.clone();
    if bytes.len() < 12 {
        return Err(BROKEN.to_owned());
    }
    let (directions, _has_null, _type) = (bytes.get_i32(), bytes.get_i32(), bytes.get_u32());
    if directions == 0 {
        return Ok(Vec::new());
    }
    if directions != 1 {
        return Err("is an array of arrays; only plain arrays are taken".to_owned());
    }
    if bytes.len() < 8 {
        return Err(BROKEN.to_owned());
    }
    let (count, _lower) = (bytes.get_i32(), bytes.get_i32());
    let count = usize::try_from(count).map_err(|_| BROKEN)?;
    if count > ITEMS_MAX || count > bytes.len() / 4 {
        return Err(BROKEN.to_owned());
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        if bytes.len() < 4 {
            return Err(BROKEN.to_owned());
        }
        match usize::try_from(bytes.get_i32()) {
            Err(_) => items.push(None),
            Ok(length) if length <= bytes.len() => {
                items.push(Some((bytes.split_to(length), Format::Binary)));
            }
            Ok(_) => return Err(BROKEN.to_owned()),
        }
    }
    Ok(items)
}

/// The items of `{1,NULL,"a b"}`.
fn text_items(text: &str) -> Result<Vec<Item>, String> {
    let broken = || format!("'{text}' is no array");
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let mut chars = inner.ok_or_else(broken)?.trim().chars().peekable();
    let mut items = Vec::new();
    if chars.peek().is_none() {
        return Ok(items);
    }
    loop {
        let (mut item, mut is_quoted, mut open) = (String::new(), false, false);
        loop {
            match chars.peek().copied() {
                None => break,
                Some(',') if !open => break,
                Some('{' | '}') if !open => {
                    return Err(format!("'{text}' is no plain array; only plain arrays are taken"));
                }
                Some('"') => {
                    open = !open;
                    is_quoted = true;
                }
                Some('\\') => {
                    chars.next();
                    item.push(*chars.peek().ok_or_else(broken)?);
                }
                Some(c) => item.push(c),
            }
            chars.next();
        }
        if open || items.len() >= ITEMS_MAX {
            return Err(broken());
        }
        if !is_quoted {
            item = item.trim().to_owned();
        }
        let is_null = !is_quoted && item.eq_ignore_ascii_case("null");
        items.push((!is_null).then(|| (Bytes::from(item), Format::Text)));
        if chars.next().is_none() {
            return Ok(items);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;
    use proptest::prelude::*;

    use super::*;

    fn shown(bytes: &[u8], oid: u32, format: Format) -> String {
        let array = value(&Bytes::copy_from_slice(bytes), oid, format).unwrap();
        array_value_to_string(&array, 0).unwrap()
    }

    #[test]
    fn texts_are_read_as_their_types() {
        for (text, oid, expected) in [
            ("t", 16, "true"),
            ("-7", 20, "-7"),
            ("1.50", 1700, "1.50"),
            ("\\x00ff", 17, "00ff"),
            ("a\\\\\\001", 17, "615c01"),
            ("2024-02-29", 1082, "2024-02-29"),
            ("2024-02-29 12:30:00.5+01", 1184, "2024-02-29T11:30:00.500Z"),
            ("2024-02-29 12:30:00.5+01", 1114, "2024-02-29T12:30:00.500"),
            ("2024-02-29 +00", 1082, "2024-02-29"),
            ("x", 25, "x"),
            ("{1,NULL,3}", 1007, "[1, , 3]"),
            ("{\"a b\",\"\\\"\",null,\"null\"}", 1009, "[a b, \", , null]"),
            ("{}", 1016, "[]"),
        ] {
            assert_eq!(shown(text.as_bytes(), oid, Format::Text), expected, "{text}");
        }
        for (text, oid) in [("maybe", 16), ("x", 23), ("\\xf", 17), ("2024-13-01", 1082)] {
            let read = value(&Bytes::copy_from_slice(text.as_bytes()), oid, Format::Text);
            assert!(read.is_err(), "{text}");
        }
    }

    #[test]
    fn binary_forms_are_read_as_their_types() {
        let numeric = |words: &[u16]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        for (bytes, oid, expected) in [
            (vec![1], 16, "true"),
            (258_i64.to_be_bytes().to_vec(), 20, "258"),
            (1_i32.to_be_bytes().to_vec(), 1082, "2000-01-02"),
            (1_500_000_i64.to_be_bytes().to_vec(), 1114, "2000-01-01T00:00:01.500"),
            (numeric(&[3, 1, 0, 2, 1, 2345, 6700]), 1700, "12345.67"),
            (numeric(&[1, 0xffff, 0x4000, 2, 500]), 1700, "-0.05"),
            (numeric(&[0, 0, 0, 3]), 1700, "0.000"),
            (numeric(&[1, 1, 0, 0, 1]), 1700, "10000"),
        ] {
            assert_eq!(shown(&bytes, oid, Format::Binary), expected, "{bytes:?}");
        }
        assert!(value(&Bytes::from_static(&[1, 2]), 23, Format::Binary).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_not_more(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            oid in prop::sample::select(vec![
                16_u32, 17, 20, 25, 1082, 1184, 1186, 1700, 1007, 1009, 1231, 2950, 3802,
            ]),
        ) {
            let bytes = Bytes::from(bytes);
            let _ = value(&bytes, oid, Format::Binary);
            let _ = value(&bytes, oid, Format::Text);
        }
    }
}
