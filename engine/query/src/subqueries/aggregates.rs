//! An aggregate without GROUP BY has one row, also of no rows.
//!
//! DataFusion 55 groups such a subquery by what it compares with the rows outside, and then has none for a
//! row outside that nothing fits: EXISTS and IN find nothing where they should find the count 0. It knows
//! better where the subquery is a value, so here they become one.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    error::{DataFusionError, Result},
    logical_expr::{
        Expr, Filter, LogicalPlan, LogicalPlanBuilder, Subquery,
        expr::{Exists, InSubquery},
        expr_rewriter::NamePreserver,
        lit, when,
    },
};

/// The same node, without EXISTS and IN of such a subquery.
pub(super) fn with_their_row(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    let changed = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|part| match part {
            Expr::Exists(exists) => has_its_row(exists),
            Expr::InSubquery(within) => is_its_row(within),
            Expr::ScalarSubquery(subquery) => left_out(subquery),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?;
    if changed.transformed { changed.map_data(LogicalPlan::recompute_schema) } else { Ok(changed) }
}

fn has_its_row(exists: Exists) -> Result<Transformed<Expr>> {
    let Some(row) = OneRow::of(&exists.subquery)? else {
        return Ok(Transformed::no(Expr::Exists(exists)));
    };
    let found = row.is_there()?;
    Ok(Transformed::yes(if exists.negated { !found } else { found }))
}

fn is_its_row(within: InSubquery) -> Result<Transformed<Expr>> {
    let Some(row) = OneRow::of(&within.subquery)? else {
        return Ok(Transformed::no(Expr::InSubquery(within)));
    };
    let same = within.expr.as_ref().clone().eq(row.value()?);
    let found = match row.having {
        None => same,
        Some(_) => when(row.is_there()?, same).otherwise(lit(false))?,
    };
    Ok(Transformed::yes(if within.negated { !found } else { found }))
}

/// A value that a HAVING leaves out.
fn left_out(subquery: Subquery) -> Result<Transformed<Expr>> {
    let value = match OneRow::of(&subquery) {
        Ok(Some(row)) if row.having.is_some() => when(row.is_there()?, row.value()?).end()?,
        // What else is around the row of a value can be planned.
        _ => return Ok(Transformed::no(Expr::ScalarSubquery(subquery))),
    };
    Ok(Transformed::yes(value))
}

/// A subquery that looks at the rows outside and has one row for each of them, or none where a HAVING says so.
struct OneRow<'a> {
    subquery: &'a Subquery,
    having: Option<&'a Filter>,
}

impl<'a> OneRow<'a> {
    fn of(subquery: &'a Subquery) -> Result<Option<Self>> {
        if subquery.outer_ref_columns.is_empty() || !is_one_row(&subquery.subquery) {
            return Ok(None);
        }
        let mut plan = subquery.subquery.as_ref();
        while let LogicalPlan::Projection(selected) = plan {
            plan = &selected.input;
        }
        let (row, having) = match plan {
            LogicalPlan::Filter(having) => (having.input.as_ref(), Some(having)),
            other => (other, None),
        };
        match row {
            LogicalPlan::Aggregate(_) => Ok(Some(Self { subquery, having })),
            _ => Err(too_much()),
        }
    }

    fn scalar(&self, plan: LogicalPlan) -> Expr {
        Expr::ScalarSubquery(Subquery {
            subquery: Arc::new(plan),
            outer_ref_columns: self.subquery.outer_ref_columns.clone(),
            spans: self.subquery.spans.clone(),
        })
    }

    fn is_there(&self) -> Result<Expr> {
        let Some(having) = self.having else { return Ok(lit(true)) };
        let told = having.predicate.clone().alias("@has");
        let plan = LogicalPlanBuilder::from(having.input.as_ref().clone()).project([told])?;
        Ok(Expr::IsTrue(Box::new(self.scalar(plan.build()?))))
    }

    /// What is selected of the row, as if no HAVING were there.
    fn value(&self) -> Result<Expr> {
        let plan = self.subquery.subquery.as_ref().clone();
        let plan = plan.transform_down(|node| match node {
            LogicalPlan::Projection(_) => Ok(Transformed::no(node)),
            LogicalPlan::Filter(having) => {
                let row = Arc::unwrap_or_clone(having.input);
                Ok(Transformed::new(row, true, TreeNodeRecursion::Stop))
            }
            other => Ok(Transformed::new(other, false, TreeNodeRecursion::Stop)),
        })?;
        Ok(self.scalar(plan.data))
    }
}

/// Whether a plan has the row of an aggregate without GROUP BY, or leaves it out.
fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().is_some_and(|input| is_one_row(input)),
        _ => false,
    }
}

fn too_much() -> DataFusionError {
    DataFusionError::NotImplemented(
        "an aggregate without GROUP BY in EXISTS or IN that looks at the row outside can be followed by HAVING \
         and nothing else in this version: compare it as a value, (SELECT …) = x"
            .to_owned(),
    )
}
