//! Statistics of a data file in the log, when some of its columns get other values.
//!
//! What cannot be told exactly is left out: a missing range only costs speed, a wrong one loses rows.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, Schema},
};
use datafusion::{
    common::ScalarValue,
    functions_aggregate::min_max::{MaxAccumulator, MinAccumulator},
    logical_expr::Accumulator,
};
use serde_json::{Map, Value, json};

/// Characters of a text that its bounds have at most, as other Delta writers have it.
const TEXT_MAX: usize = 32;
/// Digits of a decimal that a JSON number surely holds.
const DIGITS_MAX: u8 = 15;

/// What the statistics of a column need of its values.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewStats {
    nulls: usize,
    /// The lowest and the highest value of each array, or one that has no place in a range.
    extremes: Vec<ArrayRef>,
}

impl NewStats {
    /// Takes note of more values of the column.
    pub(crate) fn add(&mut self, array: &ArrayRef) {
        self.nulls += array.logical_null_count();
        self.extremes.push(extremes(array));
    }
}

/// A few values of an array that have the same range as all of them.
fn extremes(array: &ArrayRef) -> ArrayRef {
    if array.data_type().is_nested() {
        return array.slice(0, 0);
    }
    if array.data_type().is_floating()
        && let Ok(numbers) = cast(array, &DataType::Float64)
    {
        let numbers = numbers.as_primitive::<Float64Type>();
        if let Some(odd) = numbers.iter().position(|n| n.is_some_and(|n| !n.is_finite())) {
            return array.slice(odd, 1);
        }
    }
    let of = |mut accumulator: Box<dyn Accumulator>| {
        accumulator.update_batch(std::slice::from_ref(array))?;
        accumulator.evaluate()
    };
    let found = || {
        let lowest = of(Box::new(MinAccumulator::try_new(array.data_type())?))?;
        let highest = of(Box::new(MaxAccumulator::try_new(array.data_type())?))?;
        ScalarValue::iter_to_array([lowest, highest])
    };
    // All values: more of them than are needed.
    found().unwrap_or_else(|_| Arc::clone(array))
}

/// The statistics `old` with those of some columns replaced.
pub(crate) fn with_new_values(old: &str, columns: &Schema, values: &[NewStats]) -> String {
    let Ok(mut stats) = serde_json::from_str::<Value>(old) else { return old.to_owned() };
    for (field, new) in columns.fields().iter().zip(values) {
        let nulls = new.nulls;
        let range = if field.data_type().is_nested() { None } else { range(&new.extremes) };
        let (lowest, highest) = range.map_or((None, None), |(low, high)| (Some(low), Some(high)));
        let nulls = (!field.data_type().is_nested()).then(|| json!(nulls));
        for (kind, value) in [("minValues", lowest), ("maxValues", highest), ("nullCount", nulls)] {
            replace(&mut stats, kind, field.name(), value);
        }
    }
    stats.to_string()
}

/// Columns that had no statistics get none: the table has limited which do.
fn replace(stats: &mut Value, kind: &str, column: &str, value: Option<Value>) {
    let counted = stats.pointer("/nullCount").and_then(Value::as_object);
    let has_stats = counted.is_some_and(|counts| counts.contains_key(column));
    let Some(map) = stats.as_object_mut() else { return };
    let of_kind = map.entry(kind).or_insert_with(|| Value::Object(Map::new()));
    let Some(of_kind) = of_kind.as_object_mut() else { return };
    match value {
        Some(value) if has_stats => of_kind.insert(column.to_owned(), value),
        _ => of_kind.remove(column),
    };
}

/// The lowest and the highest value, as the log spells them.
fn range(arrays: &[ArrayRef]) -> Option<(Value, Value)> {
    let data_type = arrays.first()?.data_type().clone();
    match &data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let bounds = arrays.iter().filter_map(|array| {
                let array = cast(array, &DataType::Int64).ok()?;
                let array = array.as_primitive::<Int64Type>();
                arrow::compute::min(array).zip(arrow::compute::max(array))
            });
            outer(bounds).map(|(low, high)| (json!(low), json!(high)))
        }
        DataType::Float32 | DataType::Float64 => {
            let mut bounds: Option<(f64, f64)> = None;
            for array in arrays {
                let array = cast(array, &DataType::Float64).ok()?;
                for value in array.as_primitive::<Float64Type>().iter().flatten() {
                    // NaN and the infinities have no spelling in the log.
                    if !value.is_finite() {
                        return None;
                    }
                    let (low, high) = bounds.unwrap_or((value, value));
                    bounds = Some((low.min(value), high.max(value)));
                }
            }
            bounds.map(|(low, high)| (json!(low), json!(high)))
        }
        DataType::Date32 => {
            let bounds = arrays.iter().filter_map(|array| {
                let array = array.as_primitive::<Date32Type>();
                arrow::compute::min(array).zip(arrow::compute::max(array))
            });
            let (low, high) = outer(bounds)?;
            let shown = |days| Some(json!(Date32Type::to_naive_date_opt(days)?.to_string()));
            shown(low).zip(shown(high))
        }
        DataType::Decimal128(digits, scale) if *digits <= DIGITS_MAX => {
            let bounds = arrays.iter().filter_map(|array| {
                let array = array.as_primitive::<Decimal128Type>();
                arrow::compute::min(array).zip(arrow::compute::max(array))
            });
            let (low, high) = outer(bounds)?;
            let shown = |value: i128| {
                #[allow(clippy::cast_precision_loss, reason = "15 digits are exact")]
                let number = value as f64 / 10_f64.powi(i32::from(*scale));
                json!(number)
            };
            Some((shown(low), shown(high)))
        }
        DataType::Utf8 => {
            let bounds = arrays.iter().filter_map(|array| {
                let array = array.as_string::<i32>();
                arrow::compute::min_string(array).zip(arrow::compute::max_string(array))
            });
            let (low, high) = outer(bounds)?;
            let lowest: String = low.chars().take(TEXT_MAX).collect();
            let mut highest: String = high.chars().take(TEXT_MAX).collect();
            if highest.len() < high.len() {
                // Above every text that begins so.
                highest.push(char::MAX);
            }
            Some((json!(lowest), json!(highest)))
        }
        _ => None,
    }
}

fn outer<T: Ord>(bounds: impl Iterator<Item = (T, T)>) -> Option<(T, T)> {
    bounds.reduce(|(low, high), (lower, higher)| (low.min(lower), high.max(higher)))
}
