//! Functions that other databases have and that only stand for an expression: `year(day)` for
//! `date_part('year', day)`, `mod(a, b)` for `a % b`.
//!
//! They exist because tools write them. They are planned as functions, so that columns have the names
//! that were written, and are gone before types are made to fit. It never computes anything.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{DFSchema, Result, ScalarValue},
    error::DataFusionError,
    logical_expr::{
        ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
        ScalarUDF, ScalarUDFImpl, Signature, Volatility, binary_expr, cast, expr::ScalarFunction,
        lit, type_coercion::binary::BinaryTypeCoercer,
    },
};

use crate::{parts, rounding};

/// All of them, for the names that they have.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [
        ("year", Stands::Part("year")),
        ("quarter", Stands::Part("quarter")),
        ("month", Stands::Part("month")),
        ("week", Stands::Part("week")),
        ("weekofyear", Stands::Part("week")),
        ("day", Stands::Part("day")),
        ("dayofmonth", Stands::Part("day")),
        ("dayofyear", Stands::Part("doy")),
        ("hour", Stands::Part("hour")),
        ("minute", Stands::Part("minute")),
        ("second", Stands::Part("second")),
        ("mod", Stands::Remainder),
        ("div", Stands::Quotient),
        ("date_add", Stands::DaysLater),
        ("date_sub", Stands::DaysBefore),
        ("datediff", Stands::DaysBetween),
        ("last_day", Stands::LastDay),
    ];
    let function = |(name, stands): (&'static str, Stands)| {
        let signature = Signature::any(stands.arguments(), Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(StandIn { name, stands, signature }))
    };
    all.into_iter().map(function).collect()
}

/// Whether a call of this function could mean another expression.
pub(crate) fn could_mean_another(function: &ScalarFunction) -> bool {
    let name = function.func.name();
    name == rounding::ROUND || name == GET_FIELD || stand_in(function).is_some()
}

/// The expression that a call means; `None` where it is as it should be.
pub(crate) fn meant(function: &ScalarFunction, columns: &DFSchema) -> Result<Option<Expr>> {
    match function.func.name() {
        rounding::ROUND => Ok(rounding::with_computed_digits(function, columns)),
        GET_FIELD => Ok(with_key(function, columns)),
        _ => match stand_in(function) {
            Some(it) => it.stands.meant(it.name, &function.args, columns).map(Some),
            None => Ok(None),
        },
    }
}

const GET_FIELD: &str = "get_field";

/// `m[1]` with a key of the type that the keys of the map have.
fn with_key(function: &ScalarFunction, columns: &DFSchema) -> Option<Expr> {
    let [map, Expr::Literal(key, metadata)] = function.args.as_slice() else { return None };
    let DataType::Map(entries, _) = map.get_type(columns).ok()? else { return None };
    let DataType::Struct(fields) = entries.data_type() else { return None };
    let wanted = fields.first()?.data_type();
    let own = key.data_type();
    if own == *wanted || !own.is_numeric() || !wanted.is_numeric() {
        return None;
    }
    let fits = key
        .cast_to(wanted)
        .ok()
        .filter(|fits| !fits.is_null() && fits.cast_to(&own).is_ok_and(|back| back == *key));
    // No key of the map is a number that its type cannot hold.
    let key = fits.or_else(|| ScalarValue::try_from(wanted).ok())?;
    let args = vec![map.clone(), Expr::Literal(key, metadata.clone())];
    Some(Expr::ScalarFunction(ScalarFunction { func: Arc::clone(&function.func), args }))
}

fn stand_in(function: &ScalarFunction) -> Option<&StandIn> {
    function.func.inner().downcast_ref()
}

/// What one stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stands {
    /// A part of a time.
    Part(&'static str),
    Remainder,
    /// How often the second is in the first, without what is left.
    Quotient,
    DaysLater,
    DaysBefore,
    /// Days from the second to the first.
    DaysBetween,
    /// The last day of its month.
    LastDay,
}

impl Stands {
    fn arguments(self) -> usize {
        match self {
            Self::Part(_) | Self::LastDay => 1,
            _ => 2,
        }
    }

    fn return_type(self, types: &[DataType]) -> Result<DataType> {
        Ok(match (self, types) {
            (Self::Part(_) | Self::DaysBetween, _) => DataType::Int32,
            (Self::DaysLater | Self::DaysBefore | Self::LastDay, _) => DataType::Date32,
            (Self::Remainder, [left, right]) => {
                BinaryTypeCoercer::new(left, &Operator::Modulo, right).get_result_type()?
            }
            (Self::Quotient, [left, right]) => {
                BinaryTypeCoercer::new(left, &Operator::Divide, right).get_result_type()?
            }
            _ => return Err(DataFusionError::Internal("operands are two".to_owned())),
        })
    }

    fn meant(self, name: &str, args: &[Expr], columns: &DFSchema) -> Result<Expr> {
        let date = |of: &Expr| cast(of.clone(), DataType::Date32);
        let number = |of: &Expr| cast(date(of), DataType::Int32);
        match (self, args) {
            (Self::Part(part), [of]) => Ok(call(parts::date_part(), vec![lit(part), of.clone()])),
            (Self::Remainder, [left, right]) => {
                Ok(binary_expr(left.clone(), Operator::Modulo, right.clone()))
            }
            (Self::Quotient, [left, right]) => {
                let is_whole = |of: &Expr| {
                    of.get_type(columns).is_ok_and(|of| of.is_integer() || of.is_null())
                };
                if !(is_whole(left) && is_whole(right)) {
                    return Err(DataFusionError::Plan(format!(
                        "{name} takes whole numbers; write trunc(a / b) for others"
                    )));
                }
                Ok(binary_expr(left.clone(), Operator::Divide, right.clone()))
            }
            (Self::DaysLater | Self::DaysBefore, [day, days]) => {
                let of = days.get_type(columns);
                if of.is_ok_and(|of| !(of.is_integer() || of.is_null())) {
                    return Err(DataFusionError::Plan(format!(
                        "{name} takes a date and a whole number of days; write day + INTERVAL '1 month' \
                         for other steps"
                    )));
                }
                let op = if self == Self::DaysLater { Operator::Plus } else { Operator::Minus };
                let days = cast(days.clone(), DataType::Int32);
                Ok(cast(binary_expr(number(day), op, days), DataType::Date32))
            }
            (Self::DaysBetween, [to, from]) => {
                Ok(binary_expr(number(to), Operator::Minus, number(from)))
            }
            (Self::LastDay, [day]) => {
                let month = call(parts::date_trunc(), vec![lit("month"), date(day)]);
                let step = |months, days| {
                    let step = ScalarValue::new_interval_mdn(months, days, 0);
                    Expr::Literal(step, None)
                };
                let next = binary_expr(month, Operator::Plus, step(1, 0));
                Ok(cast(binary_expr(next, Operator::Minus, step(0, 1)), DataType::Date32))
            }
            _ => Err(DataFusionError::Plan(format!("{name} takes another number of arguments"))),
        }
    }
}

fn call(func: Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction { func, args })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct StandIn {
    name: &'static str,
    stands: Stands,
    signature: Signature,
}

impl ScalarUDFImpl for StandIn {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.stands.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|arg| arg.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name, self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = self.name;
        let text = format!("{name} is not known here; write the expression that it stands for");
        Err(DataFusionError::NotImplemented(text))
    }
}
