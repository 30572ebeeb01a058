//! Which queries may run over a part of a stream at a time.

use std::collections::HashSet;

use datafusion::{
    common::{JoinType, tree_node::TreeNode, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan},
};
use dialect::statement::{Query, TimeTravel};

use crate::error::QueryError;

/// Refuses a query whose rows depend on how its streams are cut into runs: each row that comes out
/// has to come from one row of a stream, whatever else came with it.
pub(crate) fn check(plan: &LogicalPlan, query: &Query) -> Result<(), QueryError> {
    let streams = query.tables.iter().filter(|used| matches!(used.at, Some(TimeTravel::Stream(_))));
    let names: HashSet<&str> =
        streams.filter_map(|used| used.planned_name.last().map(String::as_str)).collect();
    has_stream(plan, &names).map(|_| ())
}

/// Whether rows of a stream come out of a plan.
fn has_stream(plan: &LogicalPlan, names: &HashSet<&str>) -> Result<bool, QueryError> {
    let is_stream = match plan {
        LogicalPlan::TableScan(scan) => names.contains(scan.table_name.table()),
        // A table of which the owner sees a part only stands behind its name.
        LogicalPlan::SubqueryAlias(alias) => names.contains(alias.alias.table()),
        _ => false,
    };
    if is_stream {
        return Ok(true);
    }
    refuse_in_subqueries(plan, names)?;
    let mut sides = Vec::new();
    for input in plan.inputs() {
        sides.push(has_stream(input, names)?);
    }
    if !sides.contains(&true) {
        return Ok(false);
    }
    let refused = match plan {
        LogicalPlan::Join(join) => match (join.join_type, sides.as_slice()) {
            (_, [true, true]) => Some("a join of two streams"),
            (JoinType::Inner, _)
            | (JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti, [true, false])
            | (JoinType::Right | JoinType::RightSemi | JoinType::RightAnti, [false, true]) => None,
            _ => Some("an outer join that keeps rows without a row of the stream"),
        },
        LogicalPlan::Aggregate(_) => Some("an aggregate"),
        LogicalPlan::Distinct(_) => Some("DISTINCT"),
        LogicalPlan::Window(_) => Some("a window function"),
        LogicalPlan::Limit(_) => Some("LIMIT"),
        LogicalPlan::RecursiveQuery(_) => Some("a recursive query"),
        LogicalPlan::Sort(sort) if sort.fetch.is_some() => Some("LIMIT"),
        _ => None,
    };
    match refused {
        None => Ok(true),
        Some(what) => Err(QueryError::Unsupported(format!(
            "{what} over a STREAM would see the rows of one run at a time; \
             let the flow keep the rows, and compute it in a materialized view that reads the table"
        ))),
    }
}

/// A query within an expression is asked for each row, so it cannot be a part of a stream.
fn refuse_in_subqueries(plan: &LogicalPlan, names: &HashSet<&str>) -> Result<(), QueryError> {
    let mut found = Ok(false);
    let walked = plan.apply_expressions(|expression| {
        expression.apply(|expression| {
            let subquery = match expression {
                Expr::ScalarSubquery(subquery) => Some(&subquery.subquery),
                Expr::InSubquery(within) => Some(&within.subquery.subquery),
                Expr::Exists(exists) => Some(&exists.subquery.subquery),
                _ => None,
            };
            if let Some(subquery) = subquery {
                found = has_stream(subquery, names);
                if !matches!(found, Ok(false)) {
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
            Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
        })
    });
    walked?;
    match found? {
        false => Ok(()),
        true => Err(QueryError::Unsupported(
            "a STREAM within an expression would be another one for each run; \
             join it, or read the table without STREAM"
                .to_owned(),
        )),
    }
}
