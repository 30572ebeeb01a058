//! What a statement can ask about its caller: `current_user()` and `has_role('role')`.

use std::sync::Arc;

use arrow::{array::AsArray, datatypes::DataType};
use datafusion::{
    common::ScalarValue,
    error::Result,
    execution::SessionState,
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};
use model::rights::Rights;

/// Makes both functions known to a session, answering for whoever has these rights.
pub(crate) fn register(state: &mut SessionState, rights: &Arc<Rights>) -> Result<()> {
    use datafusion::execution::FunctionRegistry as _;
    let functions: [ScalarUDF; 2] =
        [CurrentUser::new(rights.name()).into(), HasRole::new(rights).into()];
    for function in functions {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CurrentUser {
    name: String,
    signature: Signature,
    aliases: Vec<String>,
}

impl CurrentUser {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            signature: Signature::nullary(Volatility::Stable),
            aliases: vec!["session_user".to_owned()],
        }
    }
}

impl ScalarUDFImpl for CurrentUser {
    fn name(&self) -> &'static str {
        "current_user"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(self.name.clone()))))
    }
}

#[derive(Debug)]
struct HasRole {
    rights: Arc<Rights>,
    signature: Signature,
}

impl HasRole {
    fn new(rights: &Arc<Rights>) -> Self {
        let signature = Signature::exact(vec![DataType::Utf8], Volatility::Stable);
        Self { rights: Arc::clone(rights), signature }
    }
}

// One statement has one caller, so the names are enough to tell two of them apart.
impl PartialEq for HasRole {
    fn eq(&self, other: &Self) -> bool {
        self.rights == other.rights
    }
}

impl Eq for HasRole {}

impl std::hash::Hash for HasRole {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.rights.name().hash(state);
    }
}

impl ScalarUDFImpl for HasRole {
    fn name(&self) -> &'static str {
        "has_role"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let roles = ColumnarValue::values_to_arrays(&args.args)?;
        let is_member = |role: Option<&str>| role.map(|role| self.rights.is_member(role));
        let members: arrow::array::BooleanArray =
            roles[0].as_string::<i32>().iter().map(is_member).collect();
        Ok(ColumnarValue::Array(Arc::new(members)))
    }
}
