//! Functions whose answer can be much larger than what they are given: `repeat`, `lpad`, `rpad`,
//! `replace`, `range`, `generate_series`, `array_repeat`, `array_resize`.
//!
//! They are DataFusion's own. What they make is in no account of memory: of literals it is made while a
//! statement is planned, and of columns in one piece for a whole batch. So the size of the answer is
//! told from the arguments, and one that no client could be sent is refused before it is made.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit},
};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    },
};

/// Bytes of one text.
const TEXT_MAX: u128 = 16 << 20;
/// Bytes of one list.
const LIST_MAX: u128 = 64 << 20;
/// Bytes that the rows of one batch have together.
const BATCH_MAX: u128 = 512 << 20;

/// These functions, in the place of those of the same names.
pub(crate) fn bounded(functions: &mut [Arc<ScalarUDF>]) {
    for function in functions {
        let growth = match function.name() {
            "repeat" => Growth::Repeat,
            "lpad" | "rpad" => Growth::Pad,
            "replace" => Growth::Replace,
            "range" | "generate_series" => Growth::Range,
            "array_repeat" => Growth::ListRepeat,
            "array_resize" => Growth::ListResize,
            _ => continue,
        };
        *function =
            Arc::new(ScalarUDF::new_from_impl(Bounded { inner: Arc::clone(function), growth }));
    }
}

/// One of them, with a look at its arguments before.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

/// What the size of an answer follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// A text, so many times.
    Repeat,
    /// As many signs as are asked for.
    Pad,
    /// A text with another one in the place of each that is found.
    Replace,
    /// Numbers or times from, to, by, in lists.
    Range,
    /// A value, so many times in a list.
    ListRepeat,
    /// A list of as many values as are asked for.
    ListResize,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let arguments = args.args.iter().map(Argument::of).collect::<Result<Vec<_>>>()?;
        // Literals make one value, however many rows there are.
        let rows = if arguments.iter().all(|a| a.is_literal) { 1 } else { args.number_rows };
        let value_max = match self.growth {
            Growth::Repeat | Growth::Pad | Growth::Replace => TEXT_MAX,
            Growth::Range | Growth::ListRepeat | Growth::ListResize => LIST_MAX,
        };
        let mut together = 0_u128;
        for row in 0..rows {
            let bytes = self.growth.bytes(&arguments, row).unwrap_or(0);
            together = together.saturating_add(bytes);
            if bytes > value_max {
                return Err(self.refused(&format!("a value of {bytes} bytes"), value_max));
            }
            if together > BATCH_MAX {
                let what = format!("the values of {rows} rows, which go together, larger");
                return Err(self.refused(&what, BATCH_MAX));
            }
        }
        Ok(())
    }

    fn refused(&self, what: &str, max: u128) -> DataFusionError {
        let name = self.inner.name();
        DataFusionError::Execution(format!(
            "{name} would make {what}; at most {max} bytes are made"
        ))
    }
}

impl Growth {
    /// Bytes of the answer for a row, about; `None` for a NULL, and for what the function refuses.
    fn bytes(self, arguments: &[Argument], row: usize) -> Option<u128> {
        let argument = |n: usize| arguments.get(n);
        let count = |n: usize| argument(n)?.number(row).map(|count| count.max(0).unsigned_abs());
        match self {
            Self::Repeat => Some(argument(0)?.text(row)?.len() as u128 * count(1)?),
            Self::Pad => count(1),
            Self::Replace => {
                let text = argument(0)?.text(row)?;
                let (from, to) = (argument(1)?.text(row)?, argument(2)?.text(row)?);
                let at_most = (text.len() as u128 + 1) * (to.len() as u128 + 1);
                if at_most <= TEXT_MAX {
                    return Some(at_most);
                }
                Some(text.len() as u128 + text.matches(from).count() as u128 * to.len() as u128)
            }
            Self::Range => {
                let (from, to) = match arguments.len() {
                    1 => (0, argument(0)?.number(row)?),
                    _ => (argument(0)?.number(row)?, argument(1)?.number(row)?),
                };
                let step = argument(2).map_or(Some(1), |step| step.number(row))?;
                let values = to.checked_sub(from)?.checked_div(step)?;
                Some((values.max(0).unsigned_abs() + 1) * size_of::<i64>() as u128)
            }
            Self::ListRepeat => Some(argument(0)?.bytes(row) * count(1)?),
            Self::ListResize => {
                let value = argument(2).map_or(size_of::<i64>() as u128, |value| value.bytes(row));
                Some(value * count(1)?)
            }
        }
    }
}

/// An argument of a function: a value for each row, or one for all.
struct Argument {
    values: ArrayRef,
    is_literal: bool,
}

impl Argument {
    fn of(value: &ColumnarValue) -> Result<Self> {
        Ok(match value {
            ColumnarValue::Array(values) => Self { values: comparable(values), is_literal: false },
            ColumnarValue::Scalar(value) => {
                Self { values: comparable(&value.to_array()?), is_literal: true }
            }
        })
    }

    /// Where the value of a row is; `None` when it is NULL.
    fn at(&self, row: usize) -> Option<usize> {
        let row = if self.is_literal { 0 } else { row };
        (row < self.values.len() && self.values.is_valid(row)).then_some(row)
    }

    fn text(&self, row: usize) -> Option<&str> {
        let row = self.at(row)?;
        Some(match self.values.data_type() {
            DataType::Utf8 => self.values.as_string::<i32>().value(row),
            DataType::LargeUtf8 => self.values.as_string::<i64>().value(row),
            DataType::Utf8View => self.values.as_string_view().value(row),
            _ => return None,
        })
    }

    fn number(&self, row: usize) -> Option<i128> {
        let row = self.at(row)?;
        let number = self.values.as_primitive_opt::<Int64Type>()?;
        Some(i128::from(number.value(row)))
    }

    fn bytes(&self, row: usize) -> u128 {
        let Some(row) = self.at(row) else { return 1 };
        let value = self.values.slice(row, 1).to_data().get_slice_memory_size();
        value.map_or(1, |bytes| bytes.max(1) as u128)
    }
}

/// Numbers and times as whole numbers of one kind: days become nanoseconds, and so do intervals, whose
/// months have 28 days here, so that a count is rather too large.
fn comparable(values: &ArrayRef) -> ArrayRef {
    const NANOS_OF_DAY: i64 = 86_400_000_000_000;
    let cast_to = |values: &ArrayRef, to: &DataType| cast(values, to).ok();
    let changed = match values.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let steps = values.as_primitive::<IntervalMonthDayNanoType>();
            let nanos = steps.unary::<_, Int64Type>(|step| {
                let days = i64::from(step.months) * 28 + i64::from(step.days);
                days.saturating_mul(NANOS_OF_DAY).saturating_add(step.nanoseconds)
            });
            Some(Arc::new(nanos) as ArrayRef)
        }
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            let times = DataType::Timestamp(TimeUnit::Nanosecond, None);
            cast_to(values, &times).and_then(|times| cast_to(&times, &DataType::Int64))
        }
        number if number.is_integer() => cast_to(values, &DataType::Int64),
        _ => None,
    };
    changed.unwrap_or_else(|| Arc::clone(values))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn said(sql: &str) -> String {
        let context = SessionContext::new();
        let mut functions: Vec<_> =
            context.state().scalar_functions().values().map(Arc::clone).collect();
        bounded(&mut functions);
        for function in functions {
            context.register_udf(ScalarUDF::clone(&function));
        }
        let answer = async { context.sql(sql).await?.collect().await };
        match answer.await {
            Ok(rows) => {
                let values = rows.iter().flat_map(|rows| rows.columns().first().cloned());
                let values = values.map(|values| cast(&values, &DataType::Utf8).unwrap());
                values.map(|values| values.as_string::<i32>().value(0).to_owned()).collect()
            }
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_before_it_is_made() {
        for sql in [
            "SELECT length(repeat('x', 2000000000))",
            "SELECT length(repeat('x', n)) FROM (VALUES (1), (2000000000)) AS t(n)",
            "SELECT length(repeat('x', 100000)) FROM generate_series(1, 8192) AS t(n) WHERE length(repeat(n::text, 100000)) > 0",
            "SELECT length(lpad('x', 2000000000))",
            "SELECT length(rpad('x', 2000000000, 'ab'))",
            "SELECT length(replace(repeat('a', 1000000), 'a', repeat('b', 1000000)))",
            "SELECT length(replace(repeat('a', 1000000), '', repeat('b', 1000000)))",
            "SELECT length(cast(range(1, 300000000) as string)) IS NULL",
            "SELECT array_length(generate_series(300000000))",
            "SELECT array_length(range(300000000, 0, -1))",
            "SELECT array_length(generate_series(DATE '1970-01-01', DATE '2200-01-01', INTERVAL '1' SECOND))",
            "SELECT array_length(range(TIMESTAMP '1970-01-01', TIMESTAMP '2200-01-01', INTERVAL '1' SECOND))",
            "SELECT array_length(array_repeat(1, 300000000))",
            "SELECT array_length(array_repeat(repeat('x', 1000000), 1000))",
            "SELECT array_length(list_repeat(1, 300000000))",
            "SELECT array_length(array_resize([1], 300000000, 0))",
        ] {
            let said = said(sql).await;
            assert!(said.contains("at most"), "{sql}: {said}");
        }
    }

    #[tokio::test]
    async fn what_is_small_enough_is_made() {
        for (sql, expected) in [
            ("SELECT length(repeat('ä', 1000000))", "1000000"),
            ("SELECT repeat('ab', -1)", ""),
            (
                "SELECT sum(length(repeat('x', 10000))) FROM generate_series(1, 20000) AS t(n)",
                "200000000",
            ),
            ("SELECT lpad('x', 3, 'ab')", "abx"),
            ("SELECT length(rpad('x', 16000000))", "16000000"),
            ("SELECT replace('banana', 'an', 'AN')", "bANANa"),
            // Its texts could grow beyond, and do not.
            ("SELECT length(replace(repeat('a', 1000000), 'b', repeat('b', 1000000)))", "1000000"),
            ("SELECT array_length(range(0, 1000000))", "1000000"),
            ("SELECT array_length(range(10, 0, -1))", "10"),
            (
                "SELECT array_length(generate_series(DATE '2026-01-01', DATE '2026-12-31', INTERVAL '1' MONTH))",
                "12",
            ),
            ("SELECT array_length(array_repeat('x', 1000))", "1000"),
            ("SELECT array_length(array_resize([1], 7, 0))", "7"),
            ("SELECT repeat(NULL, 3) IS NULL", "true"),
        ] {
            assert_eq!(said(sql).await, expected, "{sql}");
        }
    }
}
