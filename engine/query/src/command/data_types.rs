//! Types of SQL as Arrow has them: those that the planner knows, and maps.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::{
    execution::SessionState,
    sql::sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType},
};
use futures::future::BoxFuture;

use crate::{error::QueryError, plan, resolve::parse_stored};

/// The Arrow type of one that SQL wrote.
pub(super) fn arrow_type<'a>(
    state: &'a SessionState,
    sql: &'a SqlType,
) -> BoxFuture<'a, Result<DataType, QueryError>> {
    Box::pin(async move {
        if !has_map(sql) {
            return planned(state, sql).await;
        }
        match sql {
            SqlType::Map(key, value) => {
                let key = Field::new("key", arrow_type(state, key).await?, false);
                let value = Field::new("value", arrow_type(state, value).await?, true);
                let entries = DataType::Struct(Fields::from(vec![key, value]));
                Ok(DataType::Map(Arc::new(Field::new("entries", entries, false)), false))
            }
            SqlType::Array(
                ArrayElemTypeDef::AngleBracket(item)
                | ArrayElemTypeDef::SquareBracket(item, _)
                | ArrayElemTypeDef::Parenthesis(item),
            ) => {
                let item = arrow_type(state, item).await?;
                Ok(DataType::List(Arc::new(Field::new_list_field(item, true))))
            }
            SqlType::Struct(fields, _) => {
                let mut found = Vec::with_capacity(fields.len());
                for (n, field) in fields.iter().enumerate() {
                    let name = match &field.field_name {
                        Some(name) if name.quote_style.is_some() => name.value.clone(),
                        Some(name) => name.value.to_lowercase(),
                        None => format!("c{n}"),
                    };
                    let data_type = arrow_type(state, &field.field_type).await?;
                    found.push(Field::new(name, data_type, true));
                }
                Ok(DataType::Struct(Fields::from(found)))
            }
            other => planned(state, other).await,
        }
    })
}

/// As the planner of queries has it.
async fn planned(state: &SessionState, sql: &SqlType) -> Result<DataType, QueryError> {
    let query = parse_stored(&format!("SELECT CAST(NULL AS {sql})"))?;
    let plan = plan::logical(state, &query).await?;
    Ok(plan.schema().field(0).data_type().clone())
}

fn has_map(sql: &SqlType) -> bool {
    match sql {
        SqlType::Map(..) => true,
        SqlType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => has_map(item),
        SqlType::Struct(fields, _) => fields.iter().any(|field| has_map(&field.field_type)),
        _ => false,
    }
}
