//! The table that a statement writes to: what it is, what it checks, and trying again when somebody
//! else was faster.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::{DFSchema, ToDFSchema, tree_node::TreeNode},
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{Expr, Volatility},
    optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext},
    physical_expr::PhysicalExpr,
};
use lake::{Check, LakeError, Rule, Snapshot};
use model::{
    name::ObjectName,
    object::{Object, ObjectBody, Table, TableFormat},
};

use super::generated;
use crate::{arithmetic, error::QueryError, numbers, queries::Inner, session::Session};

/// How often a statement is computed anew because others changed what it had read.
const TRIES_MAX: u32 = 10;

/// The Delta table that an object is; everything else cannot be written.
pub(super) fn target_table(object: &Object) -> Result<&Table, QueryError> {
    let wrong = |kind, problem: &str| QueryError::WrongKind {
        name: object.name.clone(),
        kind,
        problem: problem.to_owned(),
    };
    match &object.body {
        ObjectBody::Table(table) if table.format == TableFormat::Delta => Ok(table),
        ObjectBody::Table(table) => Err(wrong(
            table.format.as_sql(),
            "table, which is read only: only Delta tables are written",
        )),
        ObjectBody::View(_) => Err(wrong("view", "which holds no rows of its own")),
        ObjectBody::MaterializedView(_) | ObjectBody::StreamingTable(_) => Err(wrong(
            "materialized view",
            "whose rows come from its query: change a table that it reads",
        )),
    }
}

/// As [`target_table`], for a name.
pub(super) async fn named_target(
    inner: &Inner,
    session: &Session,
    name: &ObjectName,
) -> Result<Table, QueryError> {
    let object = inner.object_named(session, name).await?;
    target_table(&object).cloned()
}

/// Plans the CHECK constraints and the generated columns of a table over its columns.
pub(super) fn checks(state: &SessionState, snapshot: &Snapshot) -> Result<Vec<Check>, QueryError> {
    let columns = snapshot.schema();
    let constraints = snapshot.constraints();
    let mut checks = constraints
        .map(|(name, condition)| check_as(state, &columns, None, name, condition))
        .collect::<Result<Vec<_>, _>>()?;
    checks.extend(generated::checks(state, &columns)?);
    Ok(checks)
}

/// Plans one condition over a table's columns, which it may call by an alias of the table.
pub(super) fn check_as(
    state: &SessionState,
    columns: &SchemaRef,
    alias: Option<&str>,
    name: &str,
    condition: &str,
) -> Result<Check, QueryError> {
    let schema = match alias {
        Some(alias) => DFSchema::try_from_qualified_schema(alias, columns)?,
        None => Arc::clone(columns).to_dfschema()?,
    };
    let logical = numbers::expression(state, condition, &schema);
    if let Ok(expr) = &logical
        && changes_with_time(expr)?
    {
        return Err(QueryError::Invalid(format!(
            "CHECK '{name}' ({condition}) calls a function whose answer changes with time: \
             a row that was accepted has to stay right"
        )));
    }
    let planned = logical.and_then(|expr| physical_of(state, expr, &schema));
    let expr = planned.map_err(|error| {
        let error = QueryError::from(error);
        QueryError::Invalid(format!("CHECK '{name}' ({condition}) cannot be evaluated: {error}"))
    })?;
    let data_type = expr.data_type(schema.as_arrow())?;
    if data_type != arrow::datatypes::DataType::Boolean {
        return Err(QueryError::Invalid(format!(
            "CHECK '{name}' ({condition}) is no condition: it is {data_type}, not true or false"
        )));
    }
    let (rule, name) = (Rule::Constraint, name.to_owned());
    Ok(Check { rule, name, condition: condition.to_owned(), expr })
}

/// Whether an expression calls a function whose answer is not always the same.
pub(crate) fn changes_with_time(expr: &Expr) -> Result<bool, DataFusionError> {
    expr.exists(|expr| {
        let Expr::ScalarFunction(function) = expr else { return Ok(false) };
        Ok(function.func.signature().volatility != Volatility::Immutable)
    })
}

/// The expression over batches.
pub(crate) fn physical_of(
    state: &SessionState,
    expr: Expr,
    schema: &DFSchema,
) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    // Some functions only exist until they are simplified.
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let simplifier = ExprSimplifier::new(context);
    let expr = arithmetic::checked(simplifier.coerce(expr, schema)?, schema)?;
    let expr = simplifier.simplify(expr)?;
    state.create_physical_expr(expr, schema)
}

/// Runs `attempt` until nobody else changed meanwhile what it had read. Each attempt reads anew.
pub(super) async fn until_undisturbed<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, QueryError>
where
    F: Future<Output = Result<T, QueryError>>,
{
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(QueryError::Lake(error @ LakeError::Conflict { .. })) if tries < TRIES_MAX => {
                tracing::info!(%error, tries, "computed anew");
                tokio::time::sleep(Duration::from_millis(20 << tries.min(6))).await;
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

/// The snapshot of a table that a statement resolved.
pub(super) fn snapshot_of(
    resolved: &crate::resolve::Resolved,
    name: &ObjectName,
) -> Result<Arc<Snapshot>, QueryError> {
    let found = resolved.snapshots.get(name).map(Arc::clone);
    found.ok_or_else(|| QueryError::TableNotFound {
        name: name.clone(),
        nearest: None,
        is_hidden: false,
    })
}
