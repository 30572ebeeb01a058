//! What the footer of a Parquet file says of its columns, as a Delta log says it.
//!
//! A bound that is not certain is left out: a file without one is read, a wrong one hides rows.

use std::cmp::Ordering;

use arrow::{
    array::{Array, ArrayRef},
    compute::cast,
    datatypes::{DataType, Schema},
    util::display::array_value_to_string,
};
use datafusion::common::ScalarValue;
use parquet::{
    arrow::arrow_reader::statistics::StatisticsConverter,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};
use serde_json::{Map, Value, json};

use crate::exact::EXACT_DIGITS_MAX;

/// Columns that statistics are kept of, as in tables that say nothing else.
const COLUMNS_MAX: usize = 32;
/// Longer texts are cut off, or left out where that would make a bound too low.
const TEXT_MAX: usize = 64;

/// The statistics of a file, for the table's columns that are stored in its files.
pub(crate) fn footer_statistics(
    footer: &ParquetMetaData,
    file: &Schema,
    table: &Schema,
    partitioned_by: &[String],
) -> Value {
    let rows = footer.file_metadata().num_rows();
    let (mut lowest, mut highest, mut nulls) = (Map::new(), Map::new(), Map::new());
    let stored = table.fields().iter().filter(|field| !partitioned_by.contains(field.name()));
    for field in stored.take(COLUMNS_MAX).filter(|field| !field.data_type().is_nested()) {
        let name = field.name();
        if file.field_with_name(name).is_err() {
            nulls.insert(name.clone(), json!(rows));
            continue;
        }
        let Some(column) = FooterColumn::of(footer, file, name, field.data_type()) else {
            continue;
        };
        let put = |map: &mut Map<String, Value>, value: Option<Value>| {
            map.extend(value.map(|value| (name.clone(), value)));
        };
        put(&mut nulls, column.nulls.map(|nulls| json!(nulls)));
        put(&mut lowest, column.lowest.as_ref().and_then(|bound| logged(bound, Ordering::Less)));
        put(
            &mut highest,
            column.highest.as_ref().and_then(|bound| logged(bound, Ordering::Greater)),
        );
    }
    json!({
        "numRecords": rows,
        "minValues": lowest,
        "maxValues": highest,
        "nullCount": nulls,
    })
}

struct FooterColumn {
    nulls: Option<u64>,
    lowest: Option<ScalarValue>,
    highest: Option<ScalarValue>,
}

impl FooterColumn {
    fn of(
        footer: &ParquetMetaData,
        file: &Schema,
        name: &str,
        data_type: &DataType,
    ) -> Option<Self> {
        let groups = footer.row_groups();
        let parquet_schema = footer.file_metadata().schema_descr();
        let converter = StatisticsConverter::try_new(name, file, parquet_schema).ok()?;
        let index = converter.parquet_column_index()?;
        let converter = converter.with_missing_null_counts_as_zero(false);
        let nulls = converter.row_group_null_counts(groups).ok()?;
        let known = nulls.null_count() == 0;
        // Old writers compared texts by signed bytes.
        let deprecated = |group: &RowGroupMetaData| {
            group.column(index).statistics().is_some_and(|s| s.is_min_max_deprecated())
        };
        let bounds_known = known && !groups.iter().any(deprecated);
        let has_values: Vec<bool> = groups
            .iter()
            .zip(nulls.iter())
            .map(|(group, nulls)| u64::try_from(group.num_rows()).ok() != nulls)
            .collect();
        let bound = |values: Option<ArrayRef>, outer: Ordering| {
            let values = cast(&values.filter(|_| bounds_known)?, data_type).ok()?;
            let mut bound: Option<ScalarValue> = None;
            for (group, _) in has_values.iter().enumerate().filter(|(_, has)| **has) {
                let value = ScalarValue::try_from_array(&values, group).ok()?;
                if value.is_null() || is_nan(&value) {
                    return None;
                }
                let further =
                    bound.as_ref().is_none_or(|bound| value.partial_cmp(bound) == Some(outer));
                if further {
                    bound = Some(value);
                }
            }
            bound
        };
        Some(Self {
            nulls: known.then(|| nulls.iter().flatten().sum()),
            lowest: bound(converter.row_group_mins(groups).ok(), Ordering::Less),
            highest: bound(converter.row_group_maxes(groups).ok(), Ordering::Greater),
        })
    }
}

fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(value)) => value.is_nan(),
        ScalarValue::Float64(Some(value)) => value.is_nan(),
        _ => false,
    }
}

/// A bound in the words of the log; `None` for what it cannot say exactly.
fn logged(bound: &ScalarValue, side: Ordering) -> Option<Value> {
    match bound {
        ScalarValue::Utf8(Some(text)) if text.len() <= TEXT_MAX => Some(json!(text)),
        ScalarValue::Utf8(Some(text)) if side == Ordering::Less => {
            let cut = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at))?;
            Some(json!(text[..cut]))
        }
        ScalarValue::Utf8(_) | ScalarValue::Boolean(_) | ScalarValue::Binary(_) => None,
        ScalarValue::Float32(Some(value)) => Some(json!(value)),
        ScalarValue::Float64(Some(value)) => Some(json!(value)),
        ScalarValue::Decimal128(_, digits, _) if *digits > EXACT_DIGITS_MAX => None,
        // Times are cut off to milliseconds, and readers know it.
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let time = chrono::DateTime::from_timestamp_millis(micros.div_euclid(1_000))?;
            let format = match zone {
                Some(_) => "%Y-%m-%dT%H:%M:%S%.3fZ",
                None => "%Y-%m-%d %H:%M:%S%.3f",
            };
            Some(json!(time.format(format).to_string()))
        }
        ScalarValue::Date32(_) => Some(json!(shown(bound)?)),
        _ => serde_json::from_str(&shown(bound)?).ok(),
    }
}

fn shown(value: &ScalarValue) -> Option<String> {
    array_value_to_string(&value.to_array().ok()?, 0).ok()
}
