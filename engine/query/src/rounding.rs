//! `round` of decimals, which has one type from the first plan to the last.
//!
//! With a literal for its digits DataFusion 55 gives DECIMAL(10, 1), and DECIMAL(11, 2) where the digits
//! are computed. While a plan is made a literal becomes a cast of it, which is a literal again later: what
//! stands beside the number is made to fit the one type, and meets the other. Here only a literal of 64
//! bits counts, as the planner reads it: it is never cast, and digits that are computed are 32 bits.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{DFSchema, Result},
    functions::math,
    logical_expr::{
        ColumnarValue, Documentation, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs,
        ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
        expr::ScalarFunction,
        interval_arithmetic::Interval,
        sort_properties::{ExprProperties, SortProperties},
        type_coercion::functions::fields_with_udf,
    },
};

pub(crate) const ROUND: &str = "round";

/// The function, for the name that it has.
pub(crate) fn function() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Round { inner: math::round(), signature }))
}

/// The call with 32 bits for digits that are no literal; `None` where that is so already.
pub(crate) fn with_computed_digits(function: &ScalarFunction, columns: &DFSchema) -> Option<Expr> {
    let [number, digits] = function.args.as_slice() else { return None };
    let is_settled = matches!(digits, Expr::Literal(..))
        || digits.get_type(columns).is_ok_and(|of| of == DataType::Int32);
    if is_settled {
        return None;
    }
    let args = vec![number.clone(), cast(digits.clone(), DataType::Int32)];
    let func = Arc::clone(&function.func);
    Some(Expr::ScalarFunction(ScalarFunction { func, args }))
}

/// DataFusion's function, but for what tells the type of a decimal.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Round {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        ROUND
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let given: Vec<FieldRef> =
            types.iter().map(|of| Arc::new(Field::new("", of.clone(), true))).collect();
        let fields = fields_with_udf(&given, self.inner.as_ref())?;
        let mut coerced: Vec<DataType> =
            fields.iter().map(|field| field.data_type().clone()).collect();
        if let (Some(DataType::Int64), Some(digits)) = (types.get(1), coerced.get_mut(1)) {
            *digits = DataType::Int64;
        }
        Ok(coerced)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let tells =
            args.arg_fields.get(1).is_none_or(|digits| *digits.data_type() == DataType::Int64);
        if tells {
            return self.inner.return_field_from_args(args);
        }
        let unknown = vec![None; args.scalar_arguments.len()];
        self.inner.return_field_from_args(ReturnFieldArgs { scalar_arguments: &unknown, ..args })
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let (Some(digits), Some(field)) = (args.args.get_mut(1), args.arg_fields.get_mut(1))
            && digits.data_type() == DataType::Int64
        {
            *digits = digits.cast_to(&DataType::Int32, None)?;
            *field = Arc::new(field.as_ref().clone().with_data_type(DataType::Int32));
        }
        self.inner.invoke_with_args(args)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
