//! Parts of times: `date_part`, which EXTRACT is, of what lies between two times, and `date_trunc` of
//! times that nanoseconds do not reach.
//!
//! DataFusion 55 answers `date_part` of a difference with all of its seconds or hours, and its `epoch`
//! without their fraction; here a difference has days, hours, minutes and seconds, as it is shown. Its
//! `date_trunc` goes over nanoseconds, of which 64 bits end in 2262; later and earlier times are
//! truncated here. Everything else is DataFusion's own.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, PrimitiveArray},
    datatypes::{
        DataType, DurationMicrosecondType, Field, FieldRef, Int32Type, IntervalMonthDayNano,
        IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
    },
};
use chrono::{DateTime, Datelike, NaiveDate};
use datafusion::{
    common::{DFSchema, Result, ScalarValue},
    error::DataFusionError,
    functions::datetime,
    logical_expr::{
        ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
        preimage::PreimageResult,
        simplify::SimplifyContext,
        sort_properties::{ExprProperties, SortProperties},
        type_coercion::functions::fields_with_udf,
    },
    sql::sqlparser::ast::BinaryOperator,
};

use crate::times::ZONE;

const MICROS_OF_DAY: i64 = 86_400_000_000;

/// The two functions, for the names that they have.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    [date_part(), date_trunc()]
}

pub(crate) fn date_trunc() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    let inner = datetime::date_trunc();
    Arc::new(ScalarUDF::new_from_impl(Truncated { inner, signature }))
}

pub(crate) fn date_part() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Part { inner: datetime::date_part() }))
}

/// Plans EXTRACT as the function here, and `3 * INTERVAL '1 day'` as three days.
#[derive(Debug)]
pub(crate) struct Extracts;

impl ExprPlanner for Extracts {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        use ScalarValue::{Int64, IntervalMonthDayNano};
        let product = match (&expr.op, &expr.left, &expr.right) {
            (
                BinaryOperator::Multiply,
                Expr::Literal(Int64(Some(times)), _),
                Expr::Literal(IntervalMonthDayNano(Some(step)), _),
            )
            | (
                BinaryOperator::Multiply,
                Expr::Literal(IntervalMonthDayNano(Some(step)), _),
                Expr::Literal(Int64(Some(times)), _),
            ) => so_many(*times, *step),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let product = product.ok_or_else(|| {
            DataFusionError::Plan("an interval is longer than one can be".to_owned())
        })?;
        let product = IntervalMonthDayNano(Some(product));
        Ok(PlannerResult::Planned(Expr::Literal(product, None)))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let call = ScalarFunction::new_udf(date_part(), args);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

fn so_many(times: i64, step: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let few = i32::try_from(times).ok()?;
    let (months, days) = (step.months.checked_mul(few)?, step.days.checked_mul(few)?);
    Some(IntervalMonthDayNano::new(months, days, step.nanoseconds.checked_mul(times)?))
}

/// `date_part`, with days and what is left of them for a difference.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Part {
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

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let (Some(of), Some(field)) = (args.args.get_mut(1), args.arg_fields.get_mut(1))
            && matches!(of.data_type(), DataType::Duration(_))
        {
            *of = in_days(of)?;
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            *field = Arc::new(field.as_ref().clone().with_data_type(interval));
        }
        if let [ColumnarValue::Scalar(part), of] = args.args.as_slice()
            && of.data_type() == DataType::Interval(IntervalUnit::MonthDayNano)
            && let Some(unit) = part.try_as_str().flatten().and_then(nanos_of)
        {
            return small_parts(of, unit);
        }
        self.inner.invoke_with_args(args)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.inner.preimage(args, literal, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Nanoseconds of the units that are counted within a minute, and not from second to second.
fn nanos_of(part: &str) -> Option<i64> {
    match part.trim_matches(['\'', '"']).to_lowercase().as_str() {
        "millisecond" | "milliseconds" | "msecond" | "mseconds" | "msec" | "msecs" | "ms" => {
            Some(1_000_000)
        }
        "microsecond" | "microseconds" | "usecond" | "useconds" | "usec" | "usecs" | "us" => {
            Some(1_000)
        }
        _ => None,
    }
}

/// The seconds of intervals with their fraction, in a smaller unit. DataFusion leaves the fraction out.
fn small_parts(of: &ColumnarValue, unit: i64) -> Result<ColumnarValue> {
    const MINUTE: i64 = 60_000_000_000;
    let parts = |values: &ArrayRef| -> ArrayRef {
        let steps = values.as_primitive::<IntervalMonthDayNanoType>();
        let part = |step: IntervalMonthDayNano| (step.nanoseconds % MINUTE / unit) as i32;
        Arc::new(steps.unary::<_, Int32Type>(part))
    };
    Ok(match of {
        ColumnarValue::Array(values) => ColumnarValue::Array(parts(values)),
        ColumnarValue::Scalar(value) => {
            let parts = parts(&value.to_array()?);
            ColumnarValue::Scalar(ScalarValue::try_from_array(&parts, 0)?)
        }
    })
}

/// A difference as days and what is left of them; both have its sign.
fn in_days(of: &ColumnarValue) -> Result<ColumnarValue> {
    let split = |values: &ArrayRef| -> Result<ArrayRef> {
        let micros = arrow::compute::cast(values, &DataType::Duration(TimeUnit::Microsecond))?;
        let micros = micros.as_primitive::<DurationMicrosecondType>();
        let days = micros.try_unary::<_, IntervalMonthDayNanoType, DataFusionError>(|all| {
            let days = i32::try_from(all / MICROS_OF_DAY).map_err(|_| {
                let text = "date_part of a difference of more days than 32 bits count";
                DataFusionError::Execution(text.to_owned())
            })?;
            Ok(IntervalMonthDayNano::new(0, days, all % MICROS_OF_DAY * 1_000))
        })?;
        Ok(Arc::new(days))
    };
    Ok(match of {
        ColumnarValue::Array(values) => ColumnarValue::Array(split(values)?),
        ColumnarValue::Scalar(value) => {
            let split = split(&value.to_array()?)?;
            ColumnarValue::Scalar(ScalarValue::try_from_array(&split, 0)?)
        }
    })
}

/// `date_trunc`, of all times that 64 bits of microseconds hold; a date is one of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Truncated {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Truncated {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let field = |of: &DataType| {
            let of = match of {
                DataType::Date32 | DataType::Date64 => {
                    DataType::Timestamp(TimeUnit::Microsecond, None)
                }
                of => of.clone(),
            };
            Arc::new(Field::new("", of, true))
        };
        let given: Vec<FieldRef> = types.iter().map(field).collect();
        let fields = fields_with_udf(&given, self.inner.as_ref())?;
        Ok(fields.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Scalar(unit), times] => {
                let unit = unit.try_as_str().flatten().map(str::to_lowercase);
                match unit.and_then(|unit| far(&unit, times).transpose()) {
                    Some(truncated) => truncated,
                    None => self.inner.invoke_with_args(args),
                }
            }
            _ => self.inner.invoke_with_args(args),
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Times truncated, if one of them is further away than nanoseconds reach.
fn far(unit: &str, times: &ColumnarValue) -> Result<Option<ColumnarValue>> {
    const REACH: i64 = i64::MAX / 1_000 - 366 * MICROS_OF_DAY;
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = times.data_type() else {
        return Ok(None);
    };
    if zone.as_deref().is_some_and(|zone| !matches!(zone, ZONE | "+00:00")) {
        return Ok(None);
    }
    let values = match times {
        ColumnarValue::Array(values) => Arc::clone(values),
        ColumnarValue::Scalar(value) => value.to_array()?,
    };
    let values = values.as_primitive::<TimestampMicrosecondType>();
    if values.iter().flatten().all(|micros| (-REACH..=REACH).contains(&micros)) {
        return Ok(None);
    }
    if truncated(unit, 0).is_none() {
        // Its name is not known: the error for it is DataFusion's.
        return Ok(None);
    }
    let truncated = values.try_unary::<_, TimestampMicrosecondType, DataFusionError>(|micros| {
        truncated(unit, micros).ok_or_else(|| {
            DataFusionError::Execution(format!("date_trunc('{unit}') of a time out of its range"))
        })
    })?;
    let truncated: PrimitiveArray<_> = truncated.with_data_type(times.data_type());
    Ok(Some(match times {
        ColumnarValue::Array(_) => ColumnarValue::Array(Arc::new(truncated)),
        ColumnarValue::Scalar(_) => {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&truncated, 0)?)
        }
    }))
}

/// The beginning of the unit of UTC that a time is in; `None` for other units, and out of range.
fn truncated(unit: &str, micros: i64) -> Option<i64> {
    let of = |length: i64| micros.div_euclid(length).checked_mul(length);
    let date = || Some(DateTime::from_timestamp_micros(micros)?.date_naive());
    let first = |year, month| {
        Some(
            NaiveDate::from_ymd_opt(year, month, 1)?
                .and_hms_opt(0, 0, 0)?
                .and_utc()
                .timestamp_micros(),
        )
    };
    match unit {
        "microsecond" => Some(micros),
        "millisecond" => of(1_000),
        "second" => of(1_000_000),
        "minute" => of(60_000_000),
        "hour" => of(3_600_000_000),
        "day" => of(MICROS_OF_DAY),
        "week" => {
            let days = micros.div_euclid(MICROS_OF_DAY);
            // 1970 began with a Thursday, and weeks begin with Mondays.
            (days - (days + 3).rem_euclid(7)).checked_mul(MICROS_OF_DAY)
        }
        "month" => date().and_then(|date| first(date.year(), date.month())),
        "quarter" => date().and_then(|date| first(date.year(), date.month0() / 3 * 3 + 1)),
        "year" => date().and_then(|date| first(date.year(), 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_are_truncated_to_the_beginning_of_their_unit() {
        let micros = |text: &str| {
            let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f");
            time.unwrap().and_utc().timestamp_micros()
        };
        for (unit, time, beginning) in [
            ("year", "9999-12-31 23:59:59.5", "9999-01-01 00:00:00"),
            ("quarter", "9999-12-31 23:59:59.5", "9999-10-01 00:00:00"),
            ("month", "0001-02-28 01:00:00", "0001-02-01 00:00:00"),
            ("week", "9999-12-31 23:59:59", "9999-12-27 00:00:00"),
            ("week", "1969-12-31 23:59:59", "1969-12-29 00:00:00"),
            ("day", "0001-02-28 01:00:00", "0001-02-28 00:00:00"),
            ("hour", "0001-02-28 01:59:00", "0001-02-28 01:00:00"),
            ("second", "9999-12-31 23:59:59.5", "9999-12-31 23:59:59"),
        ] {
            assert_eq!(truncated(unit, micros(time)), Some(micros(beginning)), "{unit} of {time}");
        }
        assert_eq!(truncated("fortnight", 0), None);
    }
}
