//! `like_pattern(pattern, sign)`: a pattern for LIKE whose escape sign is another than the backslash.

use std::sync::Arc;

use arrow::{
    array::{AsArray, StringArray},
    datatypes::DataType,
};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};
use dialect::{LIKE_PATTERN, like_pattern};

/// The function, for every session.
pub(crate) fn function() -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![DataType::Utf8, DataType::Utf8], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(LikePattern { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct LikePattern {
    signature: Signature,
}

impl ScalarUDFImpl for LikePattern {
    fn name(&self) -> &'static str {
        LIKE_PATTERN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let pairs = arrays[0].as_string::<i32>().iter().zip(arrays[1].as_string::<i32>());
        let written = pairs.map(|(pattern, sign)| -> Result<Option<String>> {
            let (Some(pattern), Some(sign)) = (pattern, sign) else { return Ok(None) };
            let mut signs = sign.chars();
            match (signs.next(), signs.next()) {
                (Some(sign), None) => Ok(Some(like_pattern(pattern, sign))),
                _ => Err(DataFusionError::Execution(format!(
                    "the escape of a LIKE has one sign, '{sign}' has another number"
                ))),
            }
        });
        Ok(ColumnarValue::Array(Arc::new(written.collect::<Result<StringArray>>()?)))
    }
}
