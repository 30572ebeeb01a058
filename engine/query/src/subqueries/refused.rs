//! Subqueries that look at the rows outside in a way that no join can stand for.
//!
//! DataFusion 55 takes the comparison with the rows outside from where it stands and makes it the condition
//! of a join. Above a window function, a numbered row or the side of an outer join it means another thing,
//! and nothing tells so.

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::{DataFusionError, Result},
    logical_expr::{Distinct, Expr, LogicalPlan, Subquery, utils::merge_schema},
};

use super::subquery_of;

/// An error for the first one that there is.
pub(super) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Subquery(lateral) = node {
            check_one(lateral)?;
        }
        let around = merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                let Some(subquery) = subquery_of(part) else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                let further = subquery.outer_ref_columns.iter().find_map(|outer| match outer {
                    Expr::OuterReferenceColumn(_, column) if !around.has_column(column) => {
                        Some(column)
                    }
                    _ => None,
                });
                if let Some(column) = further {
                    return Err(refused(&format!(
                        "a subquery names '{column}', a column of a query that is not the next one around it"
                    )));
                }
                check_one(subquery)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn check_one(subquery: &Subquery) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    looks_outside(&subquery.subquery).map(|_| ())
}

/// Whether something in a plan looks at the rows outside; an error where it may not.
fn looks_outside(plan: &LogicalPlan) -> Result<bool> {
    // What one in FROM looks at is not further outside.
    if matches!(plan, LogicalPlan::Subquery(_)) {
        return Ok(false);
    }
    let mut below = Vec::new();
    for input in plan.inputs() {
        below.push(looks_outside(input)?);
    }
    let why = match plan {
        _ if !below.contains(&true) => None,
        LogicalPlan::Window(_) => Some("a window function over rows"),
        LogicalPlan::Distinct(Distinct::On(_)) => Some("DISTINCT ON over rows"),
        LogicalPlan::Limit(limit) if limit.skip.is_some() => Some("OFFSET over rows"),
        // It would also forget the columns that it adds below.
        LogicalPlan::Join(_) => Some("a join of rows"),
        _ => None,
    };
    match why {
        Some(what) => Err(refused(&format!(
            "a subquery has {what} that a comparison with the row outside chooses"
        ))),
        None => Ok(below.contains(&true) || plan.contains_outer_reference()),
    }
}

fn refused(what: &str) -> DataFusionError {
    DataFusionError::NotImplemented(format!(
        "{what}, which is not supported in this version: compute it in a query of its own in FROM or WITH, \
         with the columns to compare by, and join that"
    ))
}
