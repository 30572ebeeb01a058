//! `EXISTS` and `IN (subquery)` as values: in a SELECT list, below CASE or a function, in what is grouped by,
//! and in the ON of an outer join.
//!
//! DataFusion 55 plans them in a filter only, where a join marks the rows that have one. Here the node
//! takes its marks from the same join, below it. They are computed for each row, also where CASE would not
//! ask.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, JoinType, Result,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        Expr, Filter, LogicalPlan, LogicalPlanBuilder, expr_rewriter::NamePreserver,
        logical_plan::Join,
    },
    optimizer::{
        ApplyOrder, OptimizerConfig, OptimizerRule,
        decorrelate_predicate_subquery::DecorrelatePredicateSubquery,
    },
};

/// Goes right before [`DecorrelatePredicateSubquery`], which plans those of filters.
#[derive(Debug)]
pub(crate) struct Marks;

impl OptimizerRule for Marks {
    fn name(&self) -> &'static str {
        "marks"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Join(join) => match join.filter.as_ref().is_some_and(has_one) {
                true => beside(join, config),
                false => Ok(Transformed::no(LogicalPlan::Join(join))),
            },
            LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
                match plan.expressions().iter().any(has_one) {
                    true => above(plan, config),
                    false => Ok(Transformed::no(plan)),
                }
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn is_one(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_) | Expr::InSubquery(_))
}

fn has_one(expr: &Expr) -> bool {
    expr.exists(|part| Ok(is_one(part))).unwrap_or(false)
}

/// A node whose expressions are values, over rows with their marks.
fn above(node: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    let [input] = node.inputs()[..] else { return Ok(Transformed::no(node)) };
    let mut marked = Marked { rows: input.clone(), known: Vec::new() };
    let names = NamePreserver::new(&node);
    let mut values = Vec::new();
    for value in node.expressions() {
        let name = names.save(&value);
        values.push(name.restore(marked.value(value, config)?));
    }
    let over = node.with_new_exprs(values, vec![marked.rows])?;
    without_marks(over, &node)
}

/// A join whose condition has one.
fn beside(mut join: Join, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    let Some(condition) = join.filter.take() else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    if join.join_type == JoinType::Inner {
        let filter = Filter::try_new(condition, Arc::new(LogicalPlan::Join(join)))?;
        return Ok(Transformed::yes(LogicalPlan::Filter(filter)));
    }
    let before = LogicalPlan::Join(Join { filter: Some(condition.clone()), ..join.clone() });
    let mut sides = [&join.left, &join.right]
        .map(|side| Marked { rows: side.as_ref().clone(), known: Vec::new() });
    let condition = condition.transform_down(|part| {
        if !is_one(&part) {
            return Ok(Transformed::no(part));
        }
        let columns = columns_of(&part);
        let has_all =
            |side: &&mut Marked| columns.iter().all(|column| side.rows.schema().has_column(column));
        match sides.iter_mut().find(has_all) {
            Some(side) => side.value(part, config).map(Transformed::yes),
            // Of both sides: it stays, and is refused when nothing else can plan it.
            None => Ok(Transformed::no(part)),
        }
    })?;
    let [left, right] = sides.map(|side| Arc::new(side.rows));
    let after = Join::try_new(
        left,
        right,
        join.on,
        Some(condition.data),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    without_marks(LogicalPlan::Join(after), &before)
}

/// The columns of the rows around a subquery that it looks at.
fn columns_of(part: &Expr) -> Vec<Column> {
    let (of_value, subquery) = match part {
        Expr::InSubquery(within) => (within.expr.column_refs(), &within.subquery),
        Expr::Exists(exists) => (Default::default(), &exists.subquery),
        _ => return Vec::new(),
    };
    let outer = subquery.outer_ref_columns.iter().filter_map(|outer| match outer {
        Expr::OuterReferenceColumn(_, column) => Some(column),
        _ => None,
    });
    of_value.into_iter().chain(outer).cloned().collect()
}

/// A node with just the columns that it had; the rule has done nothing where it found no mark.
fn without_marks(after: LogicalPlan, before: &LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if after == *before {
        return Ok(Transformed::no(after));
    }
    if after.schema().fields().len() == before.schema().fields().len() {
        return Ok(Transformed::yes(after));
    }
    let columns = before.schema().columns().into_iter().map(Expr::Column);
    let plan = LogicalPlanBuilder::from(after).project(columns)?.build()?;
    Ok(Transformed::yes(plan))
}

/// Rows, and the marks that they have got.
struct Marked {
    rows: LogicalPlan,
    /// A subquery, and what tells the same of a row.
    known: Vec<(Expr, Expr)>,
}

impl Marked {
    /// The same value, of marks instead of subqueries.
    fn value(&mut self, value: Expr, config: &dyn OptimizerConfig) -> Result<Expr> {
        let value = value.transform_down(|part| {
            if !is_one(&part) {
                return Ok(Transformed::no(part));
            }
            if let Some((_, mark)) = self.known.iter().find(|(known, _)| *known == part) {
                return Ok(Transformed::yes(mark.clone()));
            }
            match self.mark(&part, config)? {
                None => Ok(Transformed::no(part)),
                Some(mark) => {
                    self.known.push((part, mark.clone()));
                    Ok(Transformed::yes(mark))
                }
            }
        })?;
        Ok(value.data)
    }

    /// Takes what DataFusion makes of a filter with such a condition, without the filter. None where it
    /// can make no join of the subquery.
    fn mark(&mut self, subquery: &Expr, config: &dyn OptimizerConfig) -> Result<Option<Expr>> {
        // Within another expression, or it would become a join that only keeps rows.
        let condition = Expr::IsTrue(Box::new(subquery.clone()));
        let filter = Filter::try_new(condition, Arc::new(self.rows.clone()))?;
        let filter = LogicalPlan::Filter(filter);
        let planned = DecorrelatePredicateSubquery::new().rewrite(filter, config)?;
        let LogicalPlan::Projection(narrowed) = planned.data else { return Ok(None) };
        let LogicalPlan::Filter(filter) = Arc::unwrap_or_clone(narrowed.input) else {
            return Ok(None);
        };
        let Expr::IsTrue(mark) = filter.predicate else { return Ok(None) };
        if has_one(&mark) {
            return Ok(None);
        }
        self.rows = Arc::unwrap_or_clone(filter.input);
        Ok(Some(*mark))
    }
}
