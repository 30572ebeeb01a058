//! `+`, `-`, `*` and the sign of whole numbers and decimals, which fail where the type of their answer
//! cannot hold it; and `/` of decimals, which rounds half away from zero, as Postgres and Spark do.
//!
//! In DataFusion 55 whole numbers wrap around, and decimals get more digits than their type has. There
//! is no option for it, and literals are computed while a plan is made. So what could overflow becomes a
//! function of the same name and answer that looks. What cannot, by the types and literals that it is
//! computed of, stays as it is: the planner knows more about it, and it costs nothing. Its quotients of
//! decimals are cut off, 2 / 3 at 0.666666.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, Datum, Decimal128Array, new_null_array},
    compute::kernels::{
        arity::try_binary,
        numeric::{add, div, mul, neg, sub},
    },
    datatypes::{
        DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DECIMAL256_MAX_PRECISION, DataType,
        Decimal128Type, Decimal256Type, Field, FieldRef,
    },
    error::ArrowError,
};
use datafusion::{
    common::{
        DFSchema, Result, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    error::DataFusionError,
    logical_expr::{
        BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator,
        ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
        expr_rewriter::NamePreserver,
        interval_arithmetic::{Interval, apply_operator},
        sort_properties::{ExprProperties, SortProperties},
        type_coercion::binary::BinaryTypeCoercer,
        utils::merge_schema,
    },
    optimizer::AnalyzerRule,
    physical_expr_common::datum::apply,
};

use crate::command::show::sql_type;

/// Puts functions that look in the place of what could overflow, once the types of operands are known.
#[derive(Debug)]
pub(crate) struct Arithmetic;

impl AnalyzerRule for Arithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            if !computes(&node)? {
                return Ok(Transformed::no(node));
            }
            let mut columns = merge_schema(&node.inputs());
            if let LogicalPlan::TableScan(scan) = &node {
                let name = scan.table_name.clone();
                let table = DFSchema::try_from_qualified_schema(name, &scan.source.schema())?;
                columns.merge(&table);
            }
            let names = NamePreserver::new(&node);
            let rewritten = node.map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = expr.transform_up(|expr| Ok(looking(expr, &columns)))?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })?;
            if !rewritten.transformed {
                return Ok(rewritten);
            }
            rewritten.map_data(LogicalPlan::recompute_schema)
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "arithmetic"
    }
}

/// Whether a node has an operation in it at all.
fn computes(node: &LogicalPlan) -> Result<bool> {
    let mut computes = false;
    node.apply_expressions(|expr| {
        computes |= expr.exists(|expr| {
            Ok(match expr {
                Expr::BinaryExpr(binary) => Sign::of(binary.op).is_some(),
                Expr::Negative(_) => true,
                _ => false,
            })
        })?;
        Ok(if computes { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(computes)
}

/// The same for an expression that is in no plan. The types of its operands have to fit already.
pub(crate) fn checked(expr: Expr, columns: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|expr| Ok(looking(expr, columns)))?.data)
}

/// `left + right` and its like, checked, of two that have the types of the operator.
pub(crate) fn operation(left: Expr, op: Operator, right: Expr) -> Option<Expr> {
    let text =
        Expr::BinaryExpr(BinaryExpr::new(Box::new(left.clone()), op, Box::new(right.clone())));
    Some(call(Sign::of(op)?, text.human_display().to_string(), vec![left, right]))
}

fn call(sign: Sign, text: String, args: Vec<Expr>) -> Expr {
    let signature = Signature::any(args.len(), Volatility::Immutable);
    let function = ScalarUDF::new_from_impl(Looking { sign, text, signature });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), args))
}

/// The expression, as a function that looks if it could overflow.
fn looking(expr: Expr, columns: &DFSchema) -> Transformed<Expr> {
    let sign = match &expr {
        Expr::BinaryExpr(binary) => Sign::of(binary.op),
        Expr::Negative(_) => Some(Sign::Negative),
        _ => None,
    };
    let Some(sign) = sign.filter(|sign| sign.is_other(&expr, columns)) else {
        return Transformed::no(expr);
    };
    let text = expr.human_display().to_string();
    let args = match expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => vec![*left, *right],
        Expr::Negative(of) => vec![*of],
        other => return Transformed::no(other),
    };
    Transformed::yes(call(sign, text, args))
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sign {
    Plus,
    Minus,
    Times,
    Over,
    Negative,
}

impl Sign {
    fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::Plus => Some(Self::Plus),
            Operator::Minus => Some(Self::Minus),
            Operator::Multiply => Some(Self::Times),
            Operator::Divide => Some(Self::Over),
            _ => None,
        }
    }

    fn op(self) -> Option<Operator> {
        match self {
            Self::Plus => Some(Operator::Plus),
            Self::Minus => Some(Operator::Minus),
            Self::Times => Some(Operator::Multiply),
            Self::Over => Some(Operator::Divide),
            Self::Negative => None,
        }
    }

    /// Whether the answer is another one than the planner's own.
    fn is_other(self, expr: &Expr, columns: &DFSchema) -> bool {
        match (self, expr) {
            (Self::Over, Expr::BinaryExpr(BinaryExpr { left, right, .. })) => {
                let is_decimal = |of: &Expr| {
                    of.get_type(columns).is_ok_and(|of| matches!(of, DataType::Decimal128(..)))
                };
                is_decimal(left) && is_decimal(right)
            }
            _ => self.could_overflow(expr, columns),
        }
    }

    /// Whether there are values for which the type of the answer has no place.
    fn could_overflow(self, expr: &Expr, columns: &DFSchema) -> bool {
        let is_number = |expr: &Expr| expr.get_type(columns).is_ok_and(|of| is_exact(&of));
        let are_numbers = match expr {
            Expr::BinaryExpr(binary) => is_number(&binary.left) && is_number(&binary.right),
            Expr::Negative(of) => is_number(of),
            _ => false,
        };
        let Ok(of) = expr.get_type(columns) else { return false };
        if !are_numbers || !is_exact(&of) || (self == Self::Negative && !of.is_signed_integer()) {
            return false;
        }
        let fits = computed(expr, columns).is_some_and(|most| most * CLOSE <= largest(&of));
        !fits || (self == Self::Minus && of.is_unsigned_integer())
    }
}

/// How much larger than it looks a number may be that was computed in floating point.
const CLOSE: f64 = 1.0 + 1e-9;

fn is_exact(of: &DataType) -> bool {
    of.is_integer() || matches!(of, DataType::Decimal128(..) | DataType::Decimal256(..))
}

/// The largest value of a type, of a decimal without its point.
fn largest(of: &DataType) -> f64 {
    match of {
        DataType::Int8 => f64::from(i8::MAX),
        DataType::Int16 => f64::from(i16::MAX),
        DataType::Int32 => f64::from(i32::MAX),
        DataType::Int64 => 2_f64.powi(63),
        DataType::UInt8 => f64::from(u8::MAX),
        DataType::UInt16 => f64::from(u16::MAX),
        DataType::UInt32 => f64::from(u32::MAX),
        DataType::UInt64 => 2_f64.powi(64),
        of => 10_f64.powi(decimal(of).map_or(0, |(precision, _)| precision)),
    }
}

/// Digits of a decimal, and how many of them are behind the point; whole numbers have none there.
fn decimal(of: &DataType) -> Option<(i32, i32)> {
    match of {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((i32::from(*precision), i32::from(*scale)))
        }
        of if of.is_integer() => Some((0, 0)),
        _ => None,
    }
}

/// The largest amount that an operation can have; `None` where that is not known.
fn computed(expr: &Expr, columns: &DFSchema) -> Option<f64> {
    let scale = |expr: &Expr| Some(decimal(&expr.get_type(columns).ok()?)?.1);
    match expr {
        Expr::Negative(of) => most(of, columns),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (l, r) = (most(left, columns)?, most(right, columns)?);
            if *op == Operator::Multiply {
                return Some(l * r);
            }
            let (left, right, all) = (scale(left)?, scale(right)?, scale(expr)?);
            Some(l * 10_f64.powi(all - left) + r * 10_f64.powi(all - right))
        }
        _ => None,
    }
}

/// The largest amount that a value can have, of a decimal without its point.
fn most(expr: &Expr, columns: &DFSchema) -> Option<f64> {
    let of = expr.get_type(columns).ok().filter(is_exact)?;
    // One more than the largest: the least of a type is further from zero.
    let by_type = largest(&of) + 1.0;
    let known = match expr {
        Expr::Alias(alias) => most(&alias.expr, columns),
        Expr::Literal(value, _) => amount(value),
        Expr::Cast(Cast { expr, .. }) => {
            let scale = |expr: &Expr| Some(decimal(&expr.get_type(columns).ok()?)?.1);
            let more = decimal(&of)?.1 - scale(expr).unwrap_or(0);
            most(expr, columns).map(|most| most * 10_f64.powi(more) + 1.0)
        }
        Expr::BinaryExpr(_) | Expr::Negative(_) => computed(expr, columns),
        _ => None,
    };
    Some(known.map_or(by_type, |known| known.min(by_type)))
}

fn amount(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Decimal128(value, ..) => Some(value.unwrap_or(0).unsigned_abs() as f64),
        ScalarValue::Decimal256(..) => None,
        whole => match whole.cast_to(&DataType::Float64).ok()? {
            ScalarValue::Float64(value) => Some(value.unwrap_or(0.0).abs()),
            _ => None,
        },
    }
}

/// An operation that fails where its type has no place for the answer.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Looking {
    sign: Sign,
    /// As it was written, for the error.
    text: String,
    signature: Signature,
}

impl ScalarUDFImpl for Looking {
    fn name(&self) -> &str {
        match self.sign {
            Sign::Plus => "+",
            Sign::Minus | Sign::Negative => "-",
            Sign::Times => "*",
            Sign::Over => "/",
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.plain(args).to_string())
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.plain(args).schema_name().to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.sign.op(), types) {
            (Some(op), [left, right]) => BinaryTypeCoercer::new(left, &op, right).get_result_type(),
            (None, [of]) => Ok(of.clone()),
            _ => Err(self.wrong_arguments()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|arg| arg.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|arg| arg.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let of = args.return_field.data_type();
        let kernel = match self.sign {
            Sign::Plus => add,
            Sign::Minus => sub,
            Sign::Times => mul,
            Sign::Over => quotients,
            Sign::Negative => {
                let [value] = args.args.as_slice() else { return Err(self.wrong_arguments()) };
                let negated =
                    |of_it: &ArrayRef| neg(of_it.as_ref()).map_err(|error| self.failed(error, of));
                return Ok(match value {
                    ColumnarValue::Array(values) => ColumnarValue::Array(negated(values)?),
                    ColumnarValue::Scalar(value) => {
                        let negated = negated(&value.to_array()?)?;
                        ColumnarValue::Scalar(ScalarValue::try_from_array(&negated, 0)?)
                    }
                });
            }
        };
        let [left, right] = args.args.as_slice() else { return Err(self.wrong_arguments()) };
        let looked = |left: &dyn Datum, right: &dyn Datum| -> Result<ArrayRef, ArrowError> {
            let answer = kernel(left, right)?;
            within(&answer)?;
            Ok(answer)
        };
        apply(left, right, looked).map_err(|error| match error {
            DataFusionError::ArrowError(inner, _) => self.failed(*inner, of),
            other => other,
        })
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        let bounds = match (self.sign.op(), inputs) {
            (Some(op), [left, right]) => apply_operator(&op, left, right),
            (None, [of]) => of.arithmetic_negate(),
            _ => Err(self.wrong_arguments()),
        };
        bounds.or_else(|_| Interval::make_unbounded(&DataType::Null))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        let sorted: Vec<_> = inputs.iter().map(|input| input.sort_properties).collect();
        Ok(match (self.sign, sorted.as_slice()) {
            (Sign::Plus, [left, right]) => left.add(right),
            (Sign::Minus, [left, right]) => left.sub(right),
            (Sign::Negative, [of]) => -*of,
            (_, sorted) if sorted.iter().all(|of| *of == SortProperties::Singleton) => {
                SortProperties::Singleton
            }
            _ => SortProperties::Unordered,
        })
    }
}

impl Looking {
    /// The expression that it stands for.
    fn plain(&self, args: &[Expr]) -> Expr {
        match (self.sign.op(), args) {
            (Some(op), [left, right]) => Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left.clone()),
                op,
                Box::new(right.clone()),
            )),
            (_, args) => Expr::Negative(Box::new(args.first().cloned().unwrap_or_default())),
        }
    }

    fn wrong_arguments(&self) -> DataFusionError {
        DataFusionError::Internal(format!("'{}' has other arguments than operands", self.name()))
    }

    fn failed(&self, error: ArrowError, of: &DataType) -> DataFusionError {
        match error {
            ArrowError::ArithmeticOverflow(text) => {
                let values = text.strip_prefix("Overflow happened on: ").unwrap_or(&text);
                out_of_range(&self.text, of, values)
            }
            // What `within` says of a decimal.
            ArrowError::InvalidArgumentError(text) if text.contains("is too large to store") => {
                let value = text.split(' ').next().unwrap_or_default();
                out_of_range(&self.text, of, value)
            }
            other => other.into(),
        }
    }
}

/// The error for a number that its type cannot hold: what computes it, its type, and the number or
/// what it would be of.
pub(crate) fn out_of_range(what: &str, of: &DataType, value: &str) -> DataFusionError {
    let instead = match of {
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "CAST to a DECIMAL with fewer digits behind the point, or to DOUBLE, before"
        }
        DataType::Int64 | DataType::UInt64 => "CAST to DECIMAL(38, 0) or DOUBLE before",
        _ => "CAST to BIGINT before",
    };
    DataFusionError::Execution(format!(
        "{what} is out of the range of {}: {value}; {instead}",
        sql_type(of)
    ))
}

/// The quotients of decimals, with the types and errors of [`div`].
fn quotients(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    let ((l, l_is_scalar), (r, r_is_scalar)) = (left.get(), right.get());
    let (&DataType::Decimal128(precision, l_scale), &DataType::Decimal128(_, r_scale)) =
        (l.data_type(), r.data_type())
    else {
        return div(left, right);
    };
    let scale = l_scale.saturating_add(4).min(DECIMAL128_MAX_SCALE);
    let more = i32::from(scale) - i32::from(l_scale) + i32::from(r_scale);
    let precision = u8::try_from(i32::from(precision) + more).unwrap_or(u8::MAX);
    let power = |of: i32| 10_i128.pow_checked(u32::try_from(of).unwrap_or(0));
    let (l_times, r_times) = (power(more)?, power(-more)?);
    let over = |l: i128, r: i128| rounded(l.mul_checked(l_times)?, r.mul_checked(r_times)?);
    let (l, r) = (l.as_primitive::<Decimal128Type>(), r.as_primitive::<Decimal128Type>());
    let nulls = |like: &Decimal128Array| new_null_array(like.data_type(), like.len());
    let answer: ArrayRef = match (l_is_scalar, r_is_scalar) {
        (true, false) if l.is_null(0) => nulls(r),
        (false, true) if r.is_null(0) => nulls(l),
        (true, false) => {
            let l = l.value(0);
            Arc::new(r.try_unary::<_, Decimal128Type, ArrowError>(|r| over(l, r))?)
        }
        (false, true) => {
            let r = r.value(0);
            Arc::new(l.try_unary::<_, Decimal128Type, ArrowError>(|l| over(l, r))?)
        }
        _ => Arc::new(try_binary::<_, _, _, Decimal128Type>(l, r, over)?),
    };
    let answer = answer.as_primitive::<Decimal128Type>().clone();
    let precision = precision.min(DECIMAL128_MAX_PRECISION);
    Ok(Arc::new(answer.with_precision_and_scale(precision, scale)?))
}

/// A quotient, rounded half away from zero.
fn rounded(of: i128, by: i128) -> Result<i128, ArrowError> {
    let cut = of.div_checked(by)?;
    let (rest, whole) = (of.mod_checked(by)?.unsigned_abs(), by.unsigned_abs());
    let away = match (rest >= whole - rest, (of < 0) == (by < 0)) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => -1,
    };
    cut.add_checked(away)
}

/// Fails on a decimal with more digits than there are. Of those with fewer the types grow with them.
fn within(numbers: &ArrayRef) -> Result<(), ArrowError> {
    match numbers.data_type() {
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, _) => {
            let numbers = numbers.as_primitive::<Decimal128Type>();
            numbers.validate_decimal_precision(DECIMAL128_MAX_PRECISION)
        }
        DataType::Decimal256(DECIMAL256_MAX_PRECISION, _) => {
            let numbers = numbers.as_primitive::<Decimal256Type>();
            numbers.validate_decimal_precision(DECIMAL256_MAX_PRECISION)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
