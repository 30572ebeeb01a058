//! `x IS TRUE` and its kin, where they are values.
//!
//! DataFusion 55 says of such a column that it is never NULL and then computes it by an expression of
//! which it says that it may be: a GROUP BY or DISTINCT above ends with an internal error. Here it is
//! that expression from the beginning. In a condition nobody asks, and it is left as it is.

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    config::ConfigOptions,
    error::Result,
    logical_expr::{Expr, LogicalPlan, Operator, binary_expr, expr_rewriter::NamePreserver, lit},
    optimizer::AnalyzerRule,
};

#[derive(Debug)]
pub(crate) struct Truths;

impl AnalyzerRule for Truths {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            let has_values = matches!(
                node,
                LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)
            );
            if !has_values {
                return Ok(Transformed::no(node));
            }
            let names = NamePreserver::new(&node);
            let rewritten = node.map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = expr.transform_up(as_computed)?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })?;
            rewritten.map_data(LogicalPlan::recompute_schema)
        })?;
        if !plan.transformed {
            return Ok(plan.data);
        }
        // What is above says the same of its columns.
        let above = |node: LogicalPlan| node.recompute_schema().map(Transformed::yes);
        Ok(plan.data.transform_up_with_subqueries(above)?.data)
    }

    fn name(&self) -> &'static str {
        "truths"
    }
}

fn as_computed(expr: Expr) -> Result<Transformed<Expr>> {
    let (same, differs) = (Operator::IsNotDistinctFrom, Operator::IsDistinctFrom);
    let (of, how, truth) = match expr {
        Expr::IsTrue(of) => (of, same, true),
        Expr::IsFalse(of) => (of, same, false),
        Expr::IsNotTrue(of) => (of, differs, true),
        Expr::IsNotFalse(of) => (of, differs, false),
        Expr::IsUnknown(of) => return Ok(Transformed::yes(Expr::IsNull(of))),
        Expr::IsNotUnknown(of) => return Ok(Transformed::yes(Expr::IsNotNull(of))),
        other => return Ok(Transformed::no(other)),
    };
    Ok(Transformed::yes(binary_expr(*of, how, lit(truth))))
}
