//! What a subquery compares with the rows outside has names that nothing else in it has.
//!
//! DataFusion 55 makes a condition of its join out of such a comparison, and knows the columns there by
//! their bare names: of `a.id = t.x AND b.id = t.y` it compares one and the same column twice, and an
//! output column of that name is taken for it.

use std::sync::Arc;

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    logical_expr::{
        Expr, LogicalPlan, LogicalPlanBuilder, SubqueryAlias,
        utils::{conjunction, split_conjunction_owned},
    },
};

/// The names that were given out.
#[derive(Default)]
pub(super) struct Names {
    count: usize,
}

impl Names {
    /// A condition that looks at the rows outside compares columns with new names, which are found above it.
    pub(super) fn apart(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let filter = match node {
            LogicalPlan::Filter(filter) => filter,
            LogicalPlan::SubqueryAlias(alias) if looks_outside(&alias.input) => {
                return renamed(alias);
            }
            other => return Ok(Transformed::no(other)),
        };
        if !filter.predicate.contains_outer() {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let columns: Vec<Expr> =
            filter.input.schema().columns().into_iter().map(Expr::Column).collect();
        let (outside, own): (Vec<_>, Vec<_>) =
            split_conjunction_owned(filter.predicate).into_iter().partition(Expr::contains_outer);
        let mut named: Vec<(Column, String)> = Vec::new();
        let mut conditions = Vec::with_capacity(outside.len());
        for condition in outside {
            let renamed = condition.transform_up(|part| match part {
                Expr::Column(column) => {
                    let name = match named.iter().find(|(known, _)| *known == column) {
                        Some((_, name)) => name.clone(),
                        None => {
                            let name = format!("@inside{}", self.count);
                            self.count += 1;
                            named.push((column, name.clone()));
                            name
                        }
                    };
                    Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
                }
                other => Ok(Transformed::no(other)),
            })?;
            conditions.push(renamed.data);
        }
        let mut rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(filter.input));
        if let Some(own) = conjunction(own) {
            rows = rows.filter(own)?;
        }
        let new = named.into_iter().map(|(column, name)| Expr::Column(column).alias(name));
        rows = rows.project(columns.iter().cloned().chain(new))?;
        if let Some(condition) = conjunction(conditions) {
            rows = rows.filter(condition)?;
        }
        Ok(Transformed::yes(rows.project(columns)?.build()?))
    }
}

/// Whether something in a plan looks at the rows outside of it.
fn looks_outside(plan: &LogicalPlan) -> bool {
    !matches!(plan, LogicalPlan::Subquery(_))
        && (plan.contains_outer_reference() || plan.inputs().into_iter().any(looks_outside))
}

/// The same columns by a projection: DataFusion forgets to give an alias the columns that it adds below it.
fn renamed(alias: SubqueryAlias) -> Result<Transformed<LogicalPlan>> {
    let columns = alias.input.schema().columns().into_iter().zip(alias.schema.columns());
    let columns =
        columns.map(|(from, to)| Expr::Column(from).alias_qualified(to.relation, to.name));
    let columns: Vec<_> = columns.collect();
    let rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(alias.input));
    Ok(Transformed::yes(rows.project(columns)?.build()?))
}
