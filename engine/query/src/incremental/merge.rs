//! MERGE: aggregates of new rows, added to the aggregates that are there.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{Column, JoinConstraint, JoinType, NullEquality},
    logical_expr::{
        Aggregate, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator,
        binary_expr, cast, lit, when,
    },
};
use lake::{FILE_COLUMN, RowChange, Snapshot};

use super::{Why, apply, choose::same_values};
use crate::error::QueryError;

/// How two values of an aggregate become the one of both sets of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Combine {
    Add,
    Least,
    Greatest,
    And,
    Or,
}

/// The plan of changes that adds the aggregates of the rows that came, or why there is none.
pub(super) fn changes(
    node: &Aggregate,
    came: LogicalPlan,
    shown: &[Option<usize>],
    base: &Arc<Snapshot>,
) -> Result<Result<LogicalPlan, Why>, QueryError> {
    let groups = node.group_expr.len();
    if node.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Ok(Err(Why::new("GROUPING_SETS", "")));
    }
    let mut combined = Vec::with_capacity(node.aggr_expr.len());
    for expr in &node.aggr_expr {
        match combine(expr, &node.input) {
            Ok(how) => combined.push(how),
            Err(why) => return Ok(Err(why)),
        }
    }
    for group in 0..groups {
        let Some(column) = shown.iter().position(|of| *of == Some(group)) else {
            return Ok(Err(Why::new("KEY_NOT_SHOWN", "a part of the key is no column")));
        };
        // Two groups must not become one by being stored.
        let (of_query, stored) = (node.schema.field(group), base.schema());
        if !same_values(of_query.data_type(), stored.field(column).data_type()) {
            return Ok(Err(Why::new("KEY_NOT_SHOWN", "a part of the key is stored rounded")));
        }
    }
    let added = LogicalPlan::Aggregate(Aggregate::try_new_with_schema(
        Arc::new(came),
        node.group_expr.clone(),
        node.aggr_expr.clone(),
        Arc::clone(&node.schema),
    )?);
    // In the columns of the table, with its types.
    let columns = added.schema().columns();
    let stored = base.schema();
    let items = shown.iter().zip(stored.fields()).map(|(of, field)| {
        let of = of.and_then(|of| columns.get(of)).cloned();
        let column = of.unwrap_or_else(|| Column::from_name(field.name()));
        cast(Expr::Column(column), field.data_type().clone()).alias(field.name())
    });
    let added = LogicalPlanBuilder::from(added)
        .project(items.collect::<Vec<_>>())?
        .alias("@added")?
        .build()?;
    let there = apply::places(base)?;
    let of = |relation: &str, name: &str| Expr::Column(Column::new(Some(relation), name));
    let is_key = |of: &Option<usize>| of.is_some_and(|of| of < groups);
    let on = shown
        .iter()
        .zip(stored.fields())
        .filter(|(of, _)| is_key(of))
        .map(|(_, field)| (of("@added", field.name()), of(apply::TARGET, field.name())))
        .collect();
    let joined = LogicalPlan::Join(Join::try_new(
        Arc::new(added),
        Arc::new(there),
        on,
        None,
        JoinType::Left,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?);
    let place = of(apply::TARGET, FILE_COLUMN);
    let change = when(place.is_null(), lit(RowChange::Insert as i8))
        .otherwise(lit(RowChange::Update as i8))?;
    let values = shown.iter().zip(stored.fields()).map(|(shown, field)| {
        let (new, old) = (of("@added", field.name()), of(apply::TARGET, field.name()));
        let how = shown.and_then(|of| of.checked_sub(groups)).and_then(|of| combined.get(of));
        let value = match how {
            None => new,
            Some(how) => {
                let both = both(*how, new.clone(), old.clone());
                when(old.clone().is_null(), new.clone())
                    .when(new.is_null(), old)
                    .otherwise(cast(both, field.data_type().clone()))?
            }
        };
        Ok(value.alias(field.name()))
    });
    let values = values.collect::<Result<Vec<_>, QueryError>>()?;
    Ok(Ok(apply::plan_of_changes(joined, change, values)?))
}

fn both(how: Combine, new: Expr, old: Expr) -> Expr {
    let lesser = |a: Expr, b: Expr| when(a.clone().lt(b.clone()), a).otherwise(b);
    match how {
        Combine::Add => binary_expr(old, Operator::Plus, new),
        Combine::And => old.and(new),
        Combine::Or => old.or(new),
        Combine::Least => lesser(new.clone(), old).unwrap_or(new),
        Combine::Greatest => {
            let greater = when(new.clone().gt(old.clone()), new.clone()).otherwise(old);
            greater.unwrap_or(new)
        }
    }
}

fn combine(expr: &Expr, input: &LogicalPlan) -> Result<Combine, Why> {
    let not = |why: String| Err(Why::new("NOT_ADDITIVE", why));
    let Expr::AggregateFunction(call) = expr.clone().unalias() else {
        return not("an aggregate of a form that is not known".to_owned());
    };
    let name = call.func.name().to_ascii_lowercase();
    if call.params.distinct {
        return not(format!("{name}(DISTINCT …) of two sets is not known from those of each"));
    }
    let types: Vec<_> = call.params.args.iter().map(|arg| arg.get_type(input.schema())).collect();
    let floats = types.iter().any(|t| {
        matches!(t, Ok(DataType::Float16 | DataType::Float32 | DataType::Float64) | Err(_))
    });
    match name.as_str() {
        "count" => Ok(Combine::Add),
        "sum" | "min" | "max" if floats => {
            Err(Why::new("FLOAT_ORDER", format!("{name} of floating point numbers")))
        }
        "sum" => Ok(Combine::Add),
        "min" => Ok(Combine::Least),
        "max" => Ok(Combine::Greatest),
        "bool_and" => Ok(Combine::And),
        "bool_or" => Ok(Combine::Or),
        _ => not(format!("{name} of two sets is not known from those of each")),
    }
}
