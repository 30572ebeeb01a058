//! A comparison with a constant has it on the right.
//!
//! Where two conditions say that one column equals a constant, DataFusion 55 compares the conditions as they
//! are written: it takes `g = 'x' AND 'x' = g` for a contradiction, and finds no row. It writes such pairs itself, where a
//! condition goes through a join.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    error::Result,
    logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// Goes right before the rule that puts conditions together.
#[derive(Debug)]
pub(crate) struct Sides;

impl OptimizerRule for Sides {
    fn name(&self) -> &'static str {
        "sides"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(filter) if has_one(&filter.predicate) => {
                let predicate = turned(filter.predicate)?;
                let filter = Filter::try_new(predicate, Arc::clone(&filter.input))?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::Join(mut join) if join.filter.as_ref().is_some_and(has_one) => {
                join.filter = join.filter.map(turned).transpose()?;
                Ok(Transformed::yes(LogicalPlan::Join(join)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn has_one(condition: &Expr) -> bool {
    condition.exists(|part| Ok(is_turned_round(part))).unwrap_or(false)
}

fn is_turned_round(expr: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return false };
    op.swap().is_some() && left.as_literal().is_some() && right.as_literal().is_none()
}

fn turned(condition: Expr) -> Result<Expr> {
    let turned = condition.transform_up(|part| match part {
        Expr::BinaryExpr(binary) if is_turned_round(&Expr::BinaryExpr(binary.clone())) => {
            match binary.op.swap() {
                Some(op) => {
                    let (left, right) = (binary.right, binary.left);
                    Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
                }
                None => Ok(Transformed::no(Expr::BinaryExpr(binary))),
            }
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(turned.data)
}
