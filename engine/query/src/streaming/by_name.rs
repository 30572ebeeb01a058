//! Rows of flows in the columns of their table, which they find by name.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::{
    common::ScalarValue,
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit},
};
use model::transform::{DeclaredColumn, Flow};

use crate::{
    command::{self, named_once},
    error::QueryError,
    resolve::stored_schema,
};

/// The columns of a table that its first flow makes: those that are declared, else the flow's own.
/// A declared column without a type has that of the flow.
pub(super) async fn declared(
    state: &SessionState,
    plan: &LogicalPlan,
    columns: &[DeclaredColumn],
) -> Result<Vec<Arc<Field>>, QueryError> {
    let made = plan.schema().as_arrow();
    let mut fields: Vec<Field> = Vec::new();
    for column in columns {
        let data_type = match (&column.data_type, made.field_with_name(&column.name)) {
            (Some(text), _) => command::arrow_type(state, text).await?,
            (None, Ok(field)) => field.data_type().clone(),
            (None, Err(_)) => {
                return Err(QueryError::Invalid(format!(
                    "the column '{}' is declared without a type, and the flow does not have it",
                    column.name
                )));
            }
        };
        fields.push(Field::new(&column.name, data_type, !column.not_null));
    }
    let schema = if columns.is_empty() {
        let fields = made.fields().iter();
        let fields: Vec<Field> =
            fields.map(|field| Field::new(field.name(), field.data_type().clone(), true)).collect();
        stored_schema(&Schema::new(fields))?
    } else {
        stored_schema(&Schema::new(fields))?
    };
    Ok(schema.fields().to_vec())
}

/// A plan with exactly these columns. What the flow does not have is NULL; what the table does not
/// have is an error. But `*` stays what it was when the flow was declared: what came to its sources since
/// is left out where the table does not have it, and what went is an error.
pub(super) fn align(
    plan: LogicalPlan,
    fields: &[Arc<Field>],
    flow: &Flow,
) -> Result<LogicalPlan, QueryError> {
    named_once(plan.schema())?;
    let made = Arc::clone(plan.schema());
    let Flow { name: flow, columns: declared, .. } = flow;
    for field in fields {
        let is_gone = made.fields().iter().all(|made| made.name() != field.name());
        if is_gone && declared.contains(field.name()) {
            return Err(QueryError::Invalid(format!(
                "the flow '{flow}' no longer gives the column '{}', which it had when it was declared: \
                 name the columns that it is to give now",
                field.name()
            )));
        }
    }
    for field in made.fields() {
        let came_since = !declared.is_empty() && !declared.contains(field.name());
        if !came_since && !fields.iter().any(|known| known.name() == field.name()) {
            return Err(QueryError::Invalid(format!(
                "the flow '{flow}' gives the column '{}', which its table does not have: leave it out, \
                 or REFRESH the table FULL, which makes it anew",
                field.name()
            )));
        }
    }
    let mut expressions = Vec::with_capacity(fields.len());
    for field in fields {
        let position = made.fields().iter().position(|other| other.name() == field.name());
        let value = match position {
            Some(position) => Expr::from(made.qualified_field(position)),
            None => lit(ScalarValue::Null),
        };
        expressions.push(cast(value, field.data_type().clone()).alias(field.name()));
    }
    Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?)
}
