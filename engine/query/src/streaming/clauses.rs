//! The expressions of AUTO CDC, looked at one by one before they become a part of its query.
//!
//! It exists because a mistake in one of them is told by its clause: in the query that is made of them it
//! would have a place that nobody has written. What has no one answer for an event is refused, since the
//! events are the state, and a table of them is a table of its answers.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::{
    common::{DFSchema, TableReference, tree_node::TreeNode},
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{Expr, ExprSchemable},
    optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext},
};
use model::{name::ObjectName, transform::ChangeSpec};

use crate::{command::target::changes_with_time, error::QueryError, expect::has_query, numbers};

/// Checks all of them over the columns of the events. Answers the type of the sequence.
pub(crate) fn check(
    state: &SessionState,
    source: &ObjectName,
    events: &Schema,
    spec: &ChangeSpec,
) -> Result<DataType, QueryError> {
    let source = TableReference::partial(source.schema(), source.name());
    let columns = DFSchema::try_from_qualified_schema(source, events)?;
    let clauses = Clauses { state, columns };
    let conditions = [
        ("APPLY AS DELETE WHEN", &spec.delete_when),
        ("APPLY AS TRUNCATE WHEN", &spec.truncate_when),
    ];
    for (clause, text) in conditions {
        let Some(text) = text else { continue };
        match clauses.data_type(clause, text)? {
            DataType::Boolean | DataType::Null => {}
            other => {
                let why = format!("is no condition: it is {other}, not true or false");
                return Err(refused(clause, text, &why));
            }
        }
    }
    if let Some(text) = &spec.last_by {
        clauses.data_type("ON TIE LAST BY", text)?;
    }
    clauses.data_type("SEQUENCE BY", &spec.sequence_by)
}

fn refused(clause: &str, text: &str, why: &str) -> QueryError {
    QueryError::Invalid(format!("{clause} ({text}) {why}"))
}

struct Clauses<'a> {
    state: &'a SessionState,
    columns: DFSchema,
}

impl Clauses<'_> {
    /// The type of the answer, where it is one for each event, and always the same.
    fn data_type(&self, clause: &str, text: &str) -> Result<DataType, QueryError> {
        let refused = |why: &str| refused(clause, text, why);
        let cannot = |error: DataFusionError| {
            refused(&format!("cannot be evaluated: {}", QueryError::from(error)))
        };
        if has_query(text) {
            return Err(refused("has a subquery: it is asked of each event by itself"));
        }
        let expr = numbers::expression(self.state, text, &self.columns).map_err(cannot)?;
        let of_many = expr.exists(|expr| {
            Ok(matches!(expr, Expr::AggregateFunction(_) | Expr::WindowFunction(_)))
        })?;
        if of_many {
            return Err(refused(
                "has an aggregate or a window function: it is asked of each event by itself",
            ));
        }
        if changes_with_time(&expr)? {
            return Err(refused(
                "calls a function whose answer changes with time: \
                 an event has to mean the same to every run",
            ));
        }
        let context =
            SimplifyContext::builder().with_schema(Arc::new(self.columns.clone())).build();
        let typed = ExprSimplifier::new(context).coerce(expr, &self.columns).map_err(cannot)?;
        typed.get_type(&self.columns).map_err(cannot)
    }
}
