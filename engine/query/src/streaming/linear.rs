//! Which queries may run over a part of a stream at a time.

use datafusion::{
    common::{JoinType, tree_node::TreeNode, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan},
};
use dialect::statement::{Query, TableUse, TimeTravel};

use crate::error::QueryError;

/// Refuses a query whose rows depend on how its streams are cut into runs: each row that comes out
/// has to come from one row of a stream, whatever else came with it.
pub(crate) fn check(plan: &LogicalPlan, query: &Query) -> Result<(), QueryError> {
    has_stream(plan, query).map(|_| ())
}

/// The table of the query that a node reads.
fn table_of<'a>(node: &LogicalPlan, query: &'a Query) -> Option<&'a TableUse> {
    let name = match node {
        LogicalPlan::TableScan(scan) => scan.table_name.table(),
        // A table of which the owner sees a part only stands behind its name.
        LogicalPlan::SubqueryAlias(alias) => alias.alias.table(),
        _ => return None,
    };
    query.tables.iter().find(|used| used.planned_name.last().is_some_and(|known| known == name))
}

/// Whether a node reads the STREAM of files of the query.
fn is_stream_of_files(node: &LogicalPlan, query: &Query) -> bool {
    let LogicalPlan::TableScan(scan) = node else { return false };
    let mut streams = query.files.iter().filter(|files| files.is_stream);
    streams.any(|files| files.planned_name() == scan.table_name.table())
}

/// Whether rows of a stream come out of a plan.
fn has_stream(plan: &LogicalPlan, query: &Query) -> Result<bool, QueryError> {
    if is_stream_of_files(plan, query) {
        return Ok(true);
    }
    let table = table_of(plan, query);
    if table.is_some_and(|used| matches!(used.at, Some(TimeTravel::Stream(_)))) {
        return Ok(true);
    }
    refuse_in_subqueries(plan, query)?;
    let mut sides = Vec::new();
    for input in plan.inputs() {
        sides.push(has_stream(input, query)?);
    }
    if !sides.contains(&true) {
        return Ok(false);
    }
    if let (LogicalPlan::Union(union), Some(whole)) = (plan, sides.iter().position(|side| !side)) {
        return Err(comes_again(&union.inputs[whole], query)?);
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

/// The error for rows of no stream beside those of one.
fn comes_again(rows: &LogicalPlan, query: &Query) -> Result<QueryError, QueryError> {
    let mut tables: Vec<String> = Vec::new();
    rows.apply_with_subqueries(|node| {
        if let Some(used) = table_of(node, query) {
            let name = format!("'{}'", used.name.join("."));
            if !tables.contains(&name) {
                tables.push(name);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let tables = if tables.is_empty() { "rows of no table".to_owned() } else { tables.join(", ") };
    Ok(QueryError::Unsupported(format!(
        "a UNION of a STREAM with {tables} would add what it reads whole again with each run; \
         read the table as a STREAM too, or once by a flow of its own: \
         CREATE FLOW name AS INSERT INTO ONCE table BY NAME SELECT …"
    )))
}

/// A query within an expression is asked for each row, so it cannot be a part of a stream.
fn refuse_in_subqueries(plan: &LogicalPlan, query: &Query) -> Result<(), QueryError> {
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
                found = has_stream(subquery, query);
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
