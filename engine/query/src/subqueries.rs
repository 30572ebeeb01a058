//! Subqueries within expressions, where DataFusion 55 would find other rows or has no plan.
//!
//! It makes joins of them. What these cannot tell is told here before: NULL where nobody knows
//! ([`unknown_in`]), that an aggregate without GROUP BY has a row in any case ([`aggregates`]), and which of
//! several columns of one name is compared ([`apart`]). What would be wrong all the same is refused
//! ([`refused`]). [`marks`] plans them where DataFusion does not.

mod aggregates;
mod apart;
mod marks;
mod refused;
mod unknown_in;

use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    config::ConfigOptions,
    error::Result,
    logical_expr::{Expr, LogicalPlan, Subquery},
    optimizer::AnalyzerRule,
};

pub(crate) use self::marks::Marks;

/// Goes after the types are known: both sides of a comparison then have one.
#[derive(Debug)]
pub(crate) struct Subqueries;

impl AnalyzerRule for Subqueries {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        if !has_any(&plan)? {
            return Ok(plan);
        }
        refused::check(&plan)?;
        let mut names = apart::Names::default();
        let plan = plan.transform_up_with_subqueries(|node| names.apart(node))?;
        let plan = plan
            .transform_data(|plan| plan.transform_up_with_subqueries(aggregates::with_their_row))?;
        let plan = plan
            .transform_data(|plan| plan.transform_up_with_subqueries(unknown_in::with_unknown))?;
        if !plan.transformed {
            return Ok(plan.data);
        }
        // What is above may learn that a column can be NULL.
        let above = |node: LogicalPlan| node.recompute_schema().map(Transformed::yes);
        Ok(plan.data.transform_up_with_subqueries(above)?.data)
    }

    fn name(&self) -> &'static str {
        "subqueries"
    }
}

fn has_any(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        if matches!(node, LogicalPlan::Subquery(_)) {
            return Ok(true);
        }
        let mut found = false;
        node.apply_expressions(|expr| {
            found = found || is_within(expr);
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    })
}

/// The subquery that an expression is, if it is one.
fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(within) => Some(&within.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        Expr::ScalarSubquery(subquery) => Some(subquery),
        _ => None,
    }
}

/// Whether an expression has a subquery in it.
fn is_within(expr: &Expr) -> bool {
    expr.exists(|part| Ok(subquery_of(part).is_some())).unwrap_or(false)
}
