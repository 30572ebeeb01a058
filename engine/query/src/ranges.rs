//! Windows that are ordered by what has no ranges, which are refused.
//!
//! A window with an ORDER BY and no frame reaches to the last row that is equal to its own. DataFusion 55
//! finds that row by comparing values, and ends with an internal error where they are a STRUCT or MAP.

use arrow::datatypes::DataType;
use datafusion::{
    common::{Result, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    logical_expr::{Expr, ExprSchemable, LogicalPlan, WindowFrameUnits},
};

/// Refuses a plan that has such a window.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Window(window) = node else { return Ok(TreeNodeRecursion::Continue) };
        let columns = window.input.schema();
        for expr in &window.window_expr {
            let Expr::WindowFunction(function) = expr.clone().unalias() else { continue };
            if function.params.window_frame.units != WindowFrameUnits::Range {
                continue;
            }
            for key in &function.params.order_by {
                let Ok(of) = key.expr.get_type(columns) else { continue };
                let (what, instead) = match of {
                    DataType::Struct(_) => ("STRUCT", "its fields, such as s.a, s.b"),
                    DataType::Map(..) => ("MAP", "values in it, such as m['key']"),
                    _ => continue,
                };
                return Err(DataFusionError::Plan(format!(
                    "{}(…) OVER (ORDER BY {}) is ordered by a {what}, which is not supported; order it \
                     by {instead}",
                    function.fun.name(),
                    key.expr.human_display()
                )));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
