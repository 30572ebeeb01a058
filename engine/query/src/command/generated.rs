//! Generated columns: values that follow from the other columns of their row.
//!
//! A statement that leaves such a column out gets its value from the expression; one that gives a
//! value is checked row by row, as a CHECK is. The lake refuses writers that bring no such checks.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    common::{DFSchema, ToDFSchema, tree_node::TreeNode},
    execution::SessionState,
    logical_expr::{
        Expr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, cast, ident, when,
    },
};
use lake::{Check, GENERATED, Rule};

use super::target::{changes_with_time, physical_of};
use crate::{error::QueryError, numbers};

/// In which rows a column gets the value of its expression.
pub(super) enum Computed {
    /// In none: the statement gives all values.
    Nowhere,
    Everywhere,
    Where(Expr),
}

/// Rows whose columns from `leading` on are those of a table, of its types; more may follow.
pub(super) struct Rows {
    pub(super) plan: LogicalPlan,
    pub(super) leading: usize,
}

/// The expression of a column, if it is generated.
pub(super) fn expression_of(field: &Field) -> Option<&str> {
    field.metadata().get(GENERATED).map(String::as_str)
}

/// What every row has to keep: each generated column has the value of its expression.
pub(super) fn checks(state: &SessionState, table: &SchemaRef) -> Result<Vec<Check>, QueryError> {
    let schema = Arc::clone(table).to_dfschema()?;
    let mut checks = Vec::new();
    for field in table.fields() {
        let Some(expression) = expression_of(field) else { continue };
        let value = value(state, &schema, field, expression)?;
        let same = binary_expr(ident(field.name()), Operator::IsNotDistinctFrom, value);
        let expr = physical_of(state, same, &schema)?;
        let (name, condition) = (field.name().clone(), expression.to_owned());
        checks.push(Check { rule: Rule::Generated, name, condition, expr });
    }
    Ok(checks)
}

/// The leading columns and those of the table, with values in the generated ones.
pub(super) fn filled(
    state: &SessionState,
    table: &SchemaRef,
    rows: Rows,
    computed: impl Fn(&Field) -> Computed,
) -> Result<LogicalPlan, QueryError> {
    let Rows { plan, leading } = rows;
    let schema = Arc::clone(table).to_dfschema()?;
    let mut items: Vec<Expr> =
        plan.schema().columns().into_iter().take(leading).map(Expr::Column).collect();
    for field in table.fields() {
        let given = ident(field.name());
        // What is given has no alias: a struct would be there twice when its fields are read beside it.
        let item = match expression_of(field).map(|expression| (expression, computed(field))) {
            None | Some((_, Computed::Nowhere)) => given,
            Some((expression, Computed::Everywhere)) => {
                computable(state, &schema, field, expression)?.alias(field.name())
            }
            Some((expression, Computed::Where(rows))) => {
                let value = computable(state, &schema, field, expression)?;
                when(rows, value).otherwise(given)?.alias(field.name())
            }
        };
        items.push(item);
    }
    Ok(LogicalPlanBuilder::from(plan).project(items)?.build()?)
}

/// As [`value`], where rows get it. The optimizer moves what is read of a struct to where the struct comes
/// from, and has the struct's column there twice: then there is no plan.
fn computable(
    state: &SessionState,
    schema: &DFSchema,
    field: &Field,
    expression: &str,
) -> Result<Expr, QueryError> {
    let value = value(state, schema, field, expression)?;
    let reads_a_struct = value.exists(|expr| {
        Ok(matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "get_field"))
    })?;
    if reads_a_struct {
        return Err(QueryError::Unsupported(format!(
            "generated column '{}' ({expression}) reads a field of a struct, and such a one is checked and not \
             computed: give its value",
            field.name()
        )));
    }
    Ok(value)
}

/// The value of a generated column over the table's columns, of the column's type.
fn value(
    state: &SessionState,
    schema: &DFSchema,
    field: &Field,
    expression: &str,
) -> Result<Expr, QueryError> {
    let refused = |why: String| {
        Err(QueryError::Invalid(format!(
            "generated column '{}' ({expression}) {why}",
            field.name()
        )))
    };
    let expr = match numbers::expression(state, expression, schema) {
        Ok(expr) => expr,
        Err(error) => return refused(format!("cannot be computed: {error}")),
    };
    if changes_with_time(&expr)? {
        return refused(
            "calls a function whose answer changes with time: \
             the same row has to give the same value again"
                .to_owned(),
        );
    }
    for column in expr.column_refs() {
        if schema
            .as_arrow()
            .field_with_name(&column.name)
            .is_ok_and(|of| expression_of(of).is_some())
        {
            return refused(format!(
                "depends on '{}', which is itself a generated column: write out its expression",
                column.name
            ));
        }
    }
    // Planned for its type, and because a plan would only fail when it is made.
    let planned = match physical_of(state, expr.clone(), schema) {
        Ok(planned) => planned.data_type(schema.as_arrow())?,
        Err(error) => return refused(format!("cannot be computed: {error}")),
    };
    let planned = Schema::new(vec![Field::new(field.name(), planned, true)]);
    let stored = lake::delta_schema(&planned)?;
    let (from, to) = (stored.field(0).data_type(), field.data_type());
    // Which integers a literal makes is told differently by every engine; the value is not.
    if !(from == to || (is_integer(from) && is_integer(to))) {
        return refused(format!("is {from}, and the column is {to}: cast it"));
    }
    Ok(cast(expr, to.clone()))
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}
