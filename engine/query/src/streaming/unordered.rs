//! `cdc_unordered(text, number)`: fails with a text where it is evaluated.
//!
//! It exists because SQL has no word for that, and events without an order have no answer. The number
//! is one of the row, so that nothing is known before there is one.

use std::sync::Arc;

use arrow::{array::BooleanArray, datatypes::DataType};
use datafusion::{
    common::ScalarValue,
    error::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

pub(super) const NAME: &str = "cdc_unordered";

/// The function, for every session.
pub(crate) fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Unordered { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Unordered {
    signature: Signature,
}

impl ScalarUDFImpl for Unordered {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.number_rows == 0 {
            return Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(Vec::<bool>::new()))));
        }
        let text = match args.args.first() {
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(text)))) => text.clone(),
            _ => "the events have no order".to_owned(),
        };
        Err(DataFusionError::Execution(text))
    }
}
