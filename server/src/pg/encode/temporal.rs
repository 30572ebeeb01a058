//! Dates, times and intervals: numbers taken out of their columns, and how they read.

use std::fmt::Write;

use arrow::{
    array::{Array, AsArray},
    datatypes::{
        DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
        DurationNanosecondType, DurationSecondType, IntervalDayTimeType, IntervalMonthDayNanoType,
        IntervalUnit, IntervalYearMonthType, Time32MillisecondType, Time32SecondType,
        Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};
use bytes::BytesMut;
use chrono::{Datelike, Days, NaiveDate};

use super::{PgError, defect, digits};

/// Days from 1970-01-01 to 2000-01-01, from which Postgres counts.
pub(crate) const POSTGRES_EPOCH_DAYS: i32 = 10_957;
const MICROS_PER_DAY: i64 = 86_400_000_000;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// Months, days and microseconds, as Postgres keeps them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Interval {
    pub(super) months: i32,
    pub(super) days: i32,
    pub(super) micros: i64,
}

fn range(what: &str) -> PgError {
    PgError::new("22008", format!("a {what} is outside of what Postgres clients can read"))
}

/// Days since 1970-01-01.
pub(super) fn days(array: &dyn Array, row: usize) -> Result<i32, PgError> {
    match array.data_type() {
        DataType::Date32 => Ok(array.as_primitive::<Date32Type>().value(row)),
        DataType::Date64 => {
            let millis = array.as_primitive::<Date64Type>().value(row);
            i32::try_from(millis.div_euclid(MILLIS_PER_DAY)).map_err(|_| range("date"))
        }
        other => Err(defect(other)),
    }
}

/// Microseconds since midnight; parts of one are cut off.
pub(super) fn time(array: &dyn Array, row: usize) -> Result<i64, PgError> {
    Ok(match array.data_type() {
        DataType::Time32(TimeUnit::Second) => {
            i64::from(array.as_primitive::<Time32SecondType>().value(row)) * 1_000_000
        }
        DataType::Time32(_) => {
            i64::from(array.as_primitive::<Time32MillisecondType>().value(row)) * 1_000
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            array.as_primitive::<Time64NanosecondType>().value(row) / 1_000
        }
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(row),
        other => return Err(defect(other)),
    })
}

/// Microseconds since 1970-01-01 00:00; parts of one are cut off.
pub(super) fn timestamp(array: &dyn Array, row: usize) -> Result<i64, PgError> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Err(defect(array.data_type()));
    };
    match unit {
        TimeUnit::Second => {
            array.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000)
        }
        TimeUnit::Millisecond => {
            array.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1_000)
        }
        TimeUnit::Microsecond => Some(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        TimeUnit::Nanosecond => {
            Some(array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000))
        }
    }
    .ok_or_else(|| range("timestamp"))
}

pub(super) fn interval(array: &dyn Array, row: usize) -> Result<Interval, PgError> {
    let micros = |value: i64, factor: i64| {
        let micros = value.checked_mul(factor).ok_or_else(|| range("interval"))?;
        Ok(Interval { micros, ..Interval::default() })
    };
    match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = array.as_primitive::<IntervalYearMonthType>().value(row);
            Ok(Interval { months, ..Interval::default() })
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let value = array.as_primitive::<IntervalDayTimeType>().value(row);
            let micros = i64::from(value.milliseconds) * 1_000;
            Ok(Interval { months: 0, days: value.days, micros })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let micros = value.nanoseconds / 1_000;
            Ok(Interval { months: value.months, days: value.days, micros })
        }
        DataType::Duration(TimeUnit::Second) => {
            micros(array.as_primitive::<DurationSecondType>().value(row), 1_000_000)
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            micros(array.as_primitive::<DurationMillisecondType>().value(row), 1_000)
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            micros(array.as_primitive::<DurationMicrosecondType>().value(row), 1)
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            micros(array.as_primitive::<DurationNanosecondType>().value(row) / 1_000, 1)
        }
        other => Err(defect(other)),
    }
}

/// `2024-02-29`, and whether it is before Christ: that is said behind the time.
fn write_date(days: i64, out: &mut BytesMut) -> Result<bool, PgError> {
    let epoch = NaiveDate::default();
    let distance = Days::new(days.unsigned_abs());
    let date = match days < 0 {
        true => epoch.checked_sub_days(distance),
        false => epoch.checked_add_days(distance),
    };
    let date = date.ok_or_else(|| range("date"))?;
    let is_before = date.year() <= 0;
    let year = if is_before { 1 - date.year() } else { date.year() };
    match u16::try_from(year) {
        Ok(year @ ..=9999) => digits::date(year, date.month(), date.day(), out),
        _ => put(out, format_args!("{year:04}-{:02}-{:02}", date.month(), date.day())),
    }
    Ok(is_before)
}

pub(super) fn write_day(days: i32, out: &mut BytesMut) -> Result<(), PgError> {
    if write_date(i64::from(days), out)? {
        put(out, format_args!(" BC"));
    }
    Ok(())
}

/// `12:30:00.5`.
pub(super) fn write_time(micros: i64, out: &mut BytesMut) {
    let seconds = micros / 1_000_000;
    put(out, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    write_fraction(micros % 1_000_000, out);
}

fn write_fraction(micros: i64, out: &mut BytesMut) {
    if micros == 0 {
        return;
    }
    let digits = format!("{micros:06}");
    put(out, format_args!(".{}", digits.trim_end_matches('0')));
}

/// `2024-02-29 12:30:00.5`, with `zone` after it.
pub(super) fn write_timestamp(micros: i64, zone: &str, out: &mut BytesMut) -> Result<(), PgError> {
    let start = out.len();
    let is_before = write_date(micros.div_euclid(MICROS_PER_DAY), out)?;
    debug_assert!(out.len() > start);
    put(out, format_args!(" "));
    write_time(micros.rem_euclid(MICROS_PER_DAY), out);
    put(out, format_args!("{zone}{}", if is_before { " BC" } else { "" }));
    Ok(())
}

/// `1 year 2 mons -3 days 04:05:06.7`, as Postgres prints it by default.
pub(super) fn write_interval(interval: Interval, out: &mut BytesMut) {
    let Interval { months, days, micros } = interval;
    let start = out.len();
    let mut was_negative = false;
    for (value, one) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if out.len() > start { " " } else { "" };
        let plus = if was_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        put(out, format_args!("{space}{plus}{value} {one}{plural}"));
        was_negative = value < 0;
    }
    if micros != 0 || out.len() == start {
        let space = if out.len() > start { " " } else { "" };
        let sign = match (micros < 0, was_negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let seconds = (micros / 1_000_000).unsigned_abs();
        put(
            out,
            format_args!(
                "{space}{sign}{:02}:{:02}:{:02}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            ),
        );
        write_fraction((micros % 1_000_000).abs(), out);
    }
}

pub(super) fn put(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    // A buffer grows and never fails.
    let _ = out.write_fmt(text);
}
