//! `EXCEPT ALL` and `INTERSECT ALL`, which count copies, and `DISTINCT ON` with a column that is selected
//! twice.
//!
//! DataFusion 55 takes EXCEPT ALL for a row that is not on the other side at all, and so every copy of it
//! goes. Here the copies of a row have numbers, which are compared as well: the second copy is there if
//! the other side has two of them. A DISTINCT ON becomes a group with the first value of each column,
//! and equal ones are one column of it: here each is read once, and shown as often as it was written.

use std::sync::Arc;

use datafusion::{
    common::{Column, JoinType, NullEquality, Result, tree_node::Transformed},
    functions_window::row_number::row_number,
    logical_expr::{
        Distinct, DistinctOn, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder,
    },
};

/// The plan with copies counted and columns read once. It has to be one that the planner made of a
/// text: what an optimizer adds is not looked at.
pub(crate) fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if counts_copies(&join) => with_numbers(join).map(Transformed::yes),
        LogicalPlan::Distinct(Distinct::On(distinct)) if has_repeats(&distinct) => {
            read_once(distinct).map(Transformed::yes)
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(plan.data)
}

/// Whether a join is an EXCEPT or INTERSECT of rows that may have copies. No other join of a text has
/// NULLs that are equal, and without ALL the left side is DISTINCT.
fn counts_copies(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
}

fn with_numbers(join: Join) -> Result<LogicalPlan> {
    let columns = join.left.schema().columns();
    let (left, left_number) = numbered(&join.left, "copy of the left")?;
    let (right, right_number) = numbered(&join.right, "copy of the right")?;
    let mut on = join.on;
    on.push((Expr::Column(left_number), Expr::Column(right_number)));
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let columns = columns.into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(columns)?.build()
}

/// The rows with the number of each among its copies.
fn numbered(plan: &Arc<LogicalPlan>, name: &str) -> Result<(LogicalPlan, Column)> {
    let mut columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let number = row_number().partition_by(columns.clone()).build()?;
    let unnamed = Column::from_name(number.schema_name().to_string());
    columns.push(Expr::Column(unnamed).alias(name));
    let plan = LogicalPlanBuilder::from(plan.as_ref().clone())
        .window(vec![number])?
        .project(columns)?
        .build()?;
    Ok((plan, Column::from_name(name)))
}

fn has_repeats(distinct: &DistinctOn) -> bool {
    let bare: Vec<Expr> = distinct.select_expr.iter().map(|expr| expr.clone().unalias()).collect();
    bare.iter().enumerate().any(|(n, expr)| bare[..n].contains(expr))
}

fn read_once(distinct: DistinctOn) -> Result<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = distinct;
    let mut once: Vec<Expr> = Vec::new();
    let mut shown = Vec::with_capacity(select_expr.len());
    for expr in select_expr {
        let bare = expr.unalias();
        let place = once.iter().position(|known| *known == bare).unwrap_or_else(|| {
            once.push(bare);
            once.len() - 1
        });
        shown.push(place);
    }
    let once = DistinctOn::try_new(on_expr, once, sort_expr, input)?;
    let columns = once.schema.columns();
    let columns = shown.into_iter().zip(schema.iter()).map(|(place, (qualifier, field))| {
        Expr::Column(columns[place].clone()).alias_qualified(qualifier.cloned(), field.name())
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(LogicalPlan::Distinct(Distinct::On(once))).project(columns)?.build()
}
