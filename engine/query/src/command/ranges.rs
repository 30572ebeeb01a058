//! The ranges that a BACKFILL is cut into: conditions over one column, which meet without a gap and
//! without an overlap.
//!
//! Both borders belong to the whole. A range has its first value and not that of the next one; the
//! last range ends with the upper border.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, TimeDelta};
use datafusion::common::ScalarValue;
use dialect::statement::{Step, StepUnit};

use crate::error::QueryError;

/// Ranges of one BACKFILL, at most.
const RANGES_MAX: usize = 1_000;

/// A value that a range begins or ends with.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Border {
    Number(i64),
    Day(NaiveDate),
    Time(NaiveDateTime),
    Text(String),
}

impl Border {
    fn to_sql(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Day(day) => format!("DATE '{}'", day.format("%Y-%m-%d")),
            Self::Time(time) => format!("TIMESTAMP '{}'", time.format("%Y-%m-%dT%H:%M:%S%.6f")),
            Self::Text(text) => format!("'{}'", text.replace('\'', "''")),
        }
    }
}

/// A BACKFILL as it is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges {
    /// All of it.
    pub(super) whole: String,
    /// Its ranges, the first values first.
    pub(super) ranges: Vec<String>,
}

/// Cuts what lies between two values of a column, both of them included.
pub(super) fn cut(
    column: &str,
    data_type: &DataType,
    from: &ScalarValue,
    to: &ScalarValue,
    by: Option<Step>,
) -> Result<Ranges, QueryError> {
    let (first, last) = (border(column, data_type, from)?, border(column, data_type, to)?);
    if first > last {
        return Err(QueryError::Invalid(format!(
            "BACKFILL goes from the smaller value to the greater one, and {} is greater than {}",
            first.to_sql(),
            last.to_sql()
        )));
    }
    let named = format!("\"{}\"", column.replace('"', "\"\""));
    let until_last =
        |from: &Border| format!("{named} >= {} AND {named} <= {}", from.to_sql(), last.to_sql());
    let whole = until_last(&first);
    let Some(by) = by else { return Ok(Ranges { ranges: vec![whole.clone()], whole }) };
    check_step(column, &first, by)?;
    let mut ranges = Vec::new();
    let mut begins = first.clone();
    loop {
        if ranges.len() == RANGES_MAX {
            return Err(QueryError::Invalid(format!(
                "these are more than {RANGES_MAX} ranges: take larger ones (BY), or several BACKFILLs"
            )));
        }
        // From the first border each time, so that the days of long and short months do not drift.
        let steps = i64::try_from(ranges.len() + 1).unwrap_or(i64::MAX);
        match later(&first, by, steps).filter(|next| *next <= last) {
            Some(next) => {
                let (at, end) = (begins.to_sql(), next.to_sql());
                ranges.push(format!("{named} >= {at} AND {named} < {end}"));
                begins = next;
            }
            None => {
                ranges.push(until_last(&begins));
                return Ok(Ranges { whole, ranges });
            }
        }
    }
}

/// A written value as one of the column.
fn border(column: &str, data_type: &DataType, written: &ScalarValue) -> Result<Border, QueryError> {
    let text = match written {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Some(text.trim()),
        _ => None,
    };
    let border = match data_type {
        whole if whole.is_integer() => match text {
            Some(text) => text.parse().ok().map(Border::Number),
            None if written.data_type().is_integer() => number(written).map(Border::Number),
            None => None,
        },
        DataType::Date32 | DataType::Date64 => match (text, written) {
            (Some(text), _) => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Border::Day),
            (None, ScalarValue::Date32(Some(days))) => DateTime::UNIX_EPOCH
                .date_naive()
                .checked_add_signed(TimeDelta::days(i64::from(*days)))
                .map(Border::Day),
            _ => None,
        },
        DataType::Timestamp(..) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
            let is_time = text.is_some()
                || matches!(written.data_type(), DataType::Date32 | DataType::Timestamp(..));
            let cast = is_time.then(|| written.cast_to(&micros).ok()).flatten();
            match cast {
                Some(ScalarValue::TimestampMicrosecond(Some(micros), _)) => {
                    DateTime::from_timestamp_micros(micros).map(|t| Border::Time(t.naive_utc()))
                }
                _ => None,
            }
        }
        text_type if text_type.is_string() => text.map(|text| Border::Text(text.to_owned())),
        DataType::Dictionary(_, value) if value.is_string() => {
            text.map(|text| Border::Text(text.to_owned()))
        }
        other => {
            return Err(QueryError::Unsupported(format!(
                "BACKFILL goes over days, times, whole numbers and texts, and '{column}', the first \
                 column that the view is partitioned by, is {other}; REFRESH … WHERE computes the \
                 partitions that it names"
            )));
        }
    };
    let in_range = |border: &Border| match border {
        Border::Day(day) => (1..=9999).contains(&day.year()),
        Border::Time(time) => (1..=9999).contains(&time.year()),
        Border::Number(_) | Border::Text(_) => true,
    };
    border.filter(in_range).ok_or_else(|| {
        QueryError::Invalid(format!(
            "the border {written} of BACKFILL is no value of '{column}', the first column that the \
             view is partitioned by, which is {data_type}"
        ))
    })
}

fn number(written: &ScalarValue) -> Option<i64> {
    match written.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(number)) => number,
        _ => None,
    }
}

fn check_step(column: &str, first: &Border, by: Step) -> Result<(), QueryError> {
    let units = match first {
        Border::Number(_) if by.unit.is_none() => return Ok(()),
        Border::Number(_) => "no unit, since it holds numbers: BY n".to_owned(),
        Border::Text(_) => {
            return Err(QueryError::Invalid(format!(
                "'{column}' holds texts, which have no steps: leave BY out"
            )));
        }
        Border::Day(_) if matches!(by.unit, Some(StepUnit::Minute | StepUnit::Hour) | None) => {
            "DAY, WEEK, MONTH or YEAR, since it holds days".to_owned()
        }
        Border::Time(_) if by.unit.is_none() => {
            "MINUTE, HOUR, DAY, WEEK, MONTH or YEAR, since it holds times".to_owned()
        }
        Border::Day(_) | Border::Time(_) => return Ok(()),
    };
    Err(QueryError::Invalid(format!("BY over '{column}' takes {units}")))
}

/// So many steps after the first border; none where there are no such values any more.
fn later(first: &Border, by: Step, steps: i64) -> Option<Border> {
    let count = i64::from(by.count).checked_mul(steps)?;
    let months = |per: i64| u32::try_from(count.checked_mul(per)?).ok().map(Months::new);
    let days = |per: i64| u64::try_from(count.checked_mul(per)?).ok().map(Days::new);
    match (first, by.unit) {
        (Border::Number(number), _) => number.checked_add(count).map(Border::Number),
        (Border::Day(day), Some(unit)) => {
            let next = match unit {
                StepUnit::Day => day.checked_add_days(days(1)?),
                StepUnit::Week => day.checked_add_days(days(7)?),
                StepUnit::Month => day.checked_add_months(months(1)?),
                StepUnit::Year => day.checked_add_months(months(12)?),
                StepUnit::Minute | StepUnit::Hour => None,
            };
            next.map(Border::Day)
        }
        (Border::Time(time), Some(unit)) => {
            let next = match unit {
                StepUnit::Minute => time.checked_add_signed(TimeDelta::try_minutes(count)?),
                StepUnit::Hour => time.checked_add_signed(TimeDelta::try_hours(count)?),
                StepUnit::Day => time.checked_add_days(days(1)?),
                StepUnit::Week => time.checked_add_days(days(7)?),
                StepUnit::Month => time.checked_add_months(months(1)?),
                StepUnit::Year => time.checked_add_months(months(12)?),
            };
            next.map(Border::Time)
        }
        (Border::Day(_) | Border::Time(_), None) | (Border::Text(_), _) => None,
    }
}

#[cfg(test)]
mod tests;
