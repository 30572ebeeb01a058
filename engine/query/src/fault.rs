//! What in particular a statement or a value is guilty of: finer than a [`Code`](model::code::Code),
//! which says who is at fault. SQL has numbers for these, and drivers make classes of them.
//!
//! DataFusion and Arrow tell most of it in words only. Their words are read here and nowhere else; what
//! is not recognized is no [`Fault`], and keeps the number of its code.

use arrow::error::ArrowError;
use datafusion::{common::SchemaError, error::DataFusionError};

/// What SQL has a name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A name means several columns.
    AmbiguousColumn,
    /// Two columns of one name where names have to differ.
    DuplicateColumn,
    /// Two tables of one name in a FROM, or two queries in a WITH.
    DuplicateAlias,
    /// Something was divided by zero.
    DivisionByZero,
    /// A column that is neither grouped nor aggregated, or an aggregate where none can be.
    Grouping,
    /// A column that is not there by its number.
    InvalidReference,
    /// A regular expression that is none.
    InvalidRegex,
    /// A text that is no date or time.
    InvalidTime,
    /// A text that is no value of the type.
    InvalidText,
    /// The argument of a function is out of its domain.
    InvalidArgument,
    /// Rows or lists that need as many columns as others and have not.
    ColumnCount,
    /// A type where another one is needed.
    Mismatch,
    /// A subquery that stands for a value has more rows than one.
    ManyRows,
    /// A number that its type cannot hold.
    OutOfRange,
    /// A date or time that there is not.
    TimeOutOfRange,
    /// No such column.
    UndefinedColumn,
    /// No such function or operator for these arguments.
    UndefinedFunction,
    /// A column of a table that is not among those that are read.
    UndefinedTable,
    /// No such type.
    UndefinedType,
}

/// Words that DataFusion's planner and its functions have for a fault, at the beginning of their text.
const BEGINNINGS: [(&str, Fault); 24] = [
    ("Invalid function '", Fault::UndefinedFunction),
    ("table function '", Fault::UndefinedFunction),
    ("Failed to coerce arguments", Fault::UndefinedFunction),
    ("Cannot coerce arithmetic expression", Fault::UndefinedFunction),
    ("Cannot infer common argument type", Fault::UndefinedFunction),
    ("Column in SELECT must be in GROUP BY", Fault::Grouping),
    ("Aggregate functions are not allowed", Fault::Grouping),
    ("HAVING clause references", Fault::Grouping),
    ("Order by column out of bounds", Fault::InvalidReference),
    ("Cannot find column with position", Fault::InvalidReference),
    ("Inconsistent data length across values list", Fault::ColumnCount),
    ("Too many columns! The subquery", Fault::ColumnCount),
    ("UNION queries have different number of columns", Fault::ColumnCount),
    ("INTERSECT queries have different number of columns", Fault::ColumnCount),
    ("EXCEPT queries have different number of columns", Fault::ColumnCount),
    ("Source table contains ", Fault::InvalidReference),
    ("Scalar subquery returned more than one row", Fault::ManyRows),
    ("WITH query name ", Fault::DuplicateAlias),
    ("Cannot create filter with non-boolean predicate", Fault::Mismatch),
    ("Projections require unique expression names", Fault::DuplicateColumn),
    ("Unsupported SQL type ", Fault::UndefinedType),
    ("regex parse error", Fault::InvalidRegex),
    ("Unsupported date_trunc granularity", Fault::InvalidArgument),
    ("Invalid input syntax for type interval", Fault::InvalidTime),
];

/// Words for a fault that stand further inside.
const INSIDE: [(&str, Fault); 11] = [
    (" is out of the range of ", Fault::OutOfRange),
    ("Array overflow on ", Fault::OutOfRange),
    ("Arithmetic Overflow in ", Fault::OutOfRange),
    ("Decimal overflow while applying ", Fault::OutOfRange),
    ("Overflow happened on ", Fault::OutOfRange),
    ("Date arithmetic overflow", Fault::TimeOutOfRange),
    ("No function matches the given name and argument types", Fault::UndefinedFunction),
    ("failed to match any signature", Fault::UndefinedFunction),
    ("Failed to parse regex", Fault::InvalidRegex),
    ("regex parse error", Fault::InvalidRegex),
    ("cannot take square root of a negative number", Fault::InvalidArgument),
];

/// That of an error of the planner or of an execution.
pub(crate) fn of_engine(error: &DataFusionError) -> Option<Fault> {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => Some(of_schema(schema)),
        DataFusionError::ArrowError(inner, _) => of_arrow(inner),
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::NotImplemented(text)
        | DataFusionError::Internal(text) => of_text(text),
        DataFusionError::External(inner) => of_text(&inner.to_string()),
        _ => None,
    }
}

fn of_schema(error: &SchemaError) -> Fault {
    match error {
        SchemaError::AmbiguousReference { .. } => Fault::AmbiguousColumn,
        SchemaError::DuplicateQualifiedField { .. } => Fault::DuplicateAlias,
        SchemaError::DuplicateUnqualifiedField { .. } => Fault::DuplicateColumn,
        SchemaError::FieldNotFound { field, valid_fields } => match &field.relation {
            Some(table)
                if valid_fields.iter().all(|valid| valid.relation.as_ref() != Some(table)) =>
            {
                Fault::UndefinedTable
            }
            _ => Fault::UndefinedColumn,
        },
    }
}

fn of_arrow(error: &ArrowError) -> Option<Fault> {
    match error {
        ArrowError::DivideByZero => Some(Fault::DivisionByZero),
        ArrowError::ArithmeticOverflow(_) => Some(Fault::OutOfRange),
        ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::ComputeError(text) => of_text(text),
        ArrowError::ExternalError(inner) => of_text(&inner.to_string()),
        _ => None,
    }
}

/// That of a text of DataFusion or Arrow, which may have been put into another one.
#[must_use]
pub fn of_text(text: &str) -> Option<Fault> {
    let beginning = BEGINNINGS.iter().find(|(words, _)| text.starts_with(words));
    let inside = || INSIDE.iter().find(|(words, _)| text.contains(words));
    if let Some((_, fault)) = beginning.or_else(inside) {
        return Some(*fault);
    }
    of_value(text)
}

/// Words for a value that does not fit its type.
fn of_value(text: &str) -> Option<Fault> {
    if text.contains("Can't cast value ") || text.contains(" is too large to store in a ") {
        return Some(Fault::OutOfRange);
    }
    if let Some((_, time)) = text.split_once("Error parsing timestamp from '") {
        return Some(of_time(time));
    }
    let (_, cast) = text
        .split_once("Cannot cast string '")
        .or_else(|| text.split_once("Cannot cast value '"))?;
    let (value, data_type) = cast.rsplit_once("' to value of ")?;
    let is_time = ["Date", "Time"].iter().any(|kind| data_type.starts_with(kind));
    let is_number = ["Int", "UInt", "Decimal", "Float"].iter().any(|k| data_type.starts_with(k));
    Some(match value.trim().parse::<f64>() {
        _ if is_time => of_time(value),
        // A whole number that is too large for its type reads the same as a text that is none.
        Ok(number) if is_number && number.fract() == 0.0 && !value.contains(['.', 'e', 'E']) => {
            Fault::OutOfRange
        }
        _ => Fault::InvalidText,
    })
}

/// A text that looks like a time names one that there is not.
fn of_time(text: &str) -> Fault {
    let value = text.split('\'').next().unwrap_or_default();
    let looks_like_one = value.len() >= "1-1-1".len()
        && value.bytes().all(|byte| byte.is_ascii_digit() || b"-:. T+Z".contains(&byte));
    if looks_like_one { Fault::TimeOutOfRange } else { Fault::InvalidTime }
}

#[cfg(test)]
mod tests;
