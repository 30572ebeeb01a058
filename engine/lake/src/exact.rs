//! Takes out of the statistics of written files what they cannot say exactly.
//!
//! The library writes the bounds of decimals as floating-point numbers, and those without a fraction
//! as 64-bit integers at most. Of decimals with many digits that makes bounds which their values are
//! outside of, and readers would leave out rows that they were asked for. A file without a bound is
//! always read.

use arrow::datatypes::{DataType, Fields, Schema};
use deltalake_core::kernel::Add;
use serde_json::Value;

/// Decimals with at most so many digits come through a floating-point number unchanged.
pub(crate) const EXACT_DIGITS_MAX: u8 = 15;

/// The files with no bounds of columns that hold longer decimals.
pub(crate) fn only_exact_bounds(mut adds: Vec<Add>, schema: &Schema) -> Vec<Add> {
    if !has_long_decimals(schema.fields()) {
        return adds;
    }
    for add in &mut adds {
        let Some(text) = &add.stats else { continue };
        let Ok(mut stats) = serde_json::from_str::<Value>(text) else { continue };
        for kind in ["minValues", "maxValues"] {
            if let Some(bounds) = stats.get_mut(kind) {
                take_out(bounds, schema.fields());
            }
        }
        add.stats = Some(stats.to_string());
    }
    adds
}

fn has_long_decimals(fields: &Fields) -> bool {
    fields.iter().any(|field| match field.data_type() {
        DataType::Decimal128(digits, _) => *digits > EXACT_DIGITS_MAX,
        DataType::Struct(fields) => has_long_decimals(fields),
        _ => false,
    })
}

fn take_out(bounds: &mut Value, fields: &Fields) {
    let Some(bounds) = bounds.as_object_mut() else { return };
    for field in fields {
        match field.data_type() {
            DataType::Decimal128(digits, _) if *digits > EXACT_DIGITS_MAX => {
                bounds.remove(field.name());
            }
            DataType::Struct(fields) => {
                if let Some(within) = bounds.get_mut(field.name()) {
                    take_out(within, fields);
                }
            }
            _ => {}
        }
    }
}
