//! Which columns of a relation go on, and in which order.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use datafusion::{
    common::{
        Column,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result,
    logical_expr::{Expr, LogicalPlan, builder::project},
};
use datafusion_substrait::substrait::proto::{RelCommon, rel_common::EmitKind};

use super::consumer::{bounded, index};

/// The plan with the columns that its relation says; `copies` is told of parts that are copied.
pub(super) fn emit(
    plan: LogicalPlan,
    common: &RelCommon,
    columns_max: usize,
    mut copies: impl FnMut(u64) -> Result<()>,
) -> Result<LogicalPlan> {
    let Some(EmitKind::Emit(columns)) = &common.emit_kind else { return Ok(plan) };
    bounded(columns.output_mapping.len(), columns_max, "columns")?;
    let width = plan.schema().fields().len();
    let kept = columns.output_mapping.iter().map(|number| index(*number, width));
    let kept = kept.collect::<Result<Vec<_>>>()?;
    let mut names = Names::default();
    match plan {
        // The columns of a projection are chosen where they are computed, unless each copy of one would
        // be another value.
        LogicalPlan::Projection(projection) if !projection.expr.iter().any(Expr::is_volatile) => {
            let mut chosen = Vec::with_capacity(kept.len());
            for n in kept {
                let expr = &projection.expr[n];
                copies(parts(expr)?)?;
                chosen.push(names.unique(expr.clone()));
            }
            project(Arc::unwrap_or_clone(projection.input), chosen)
        }
        plan => {
            let column = |n| Expr::Column(Column::from(plan.schema().qualified_field(n)));
            let chosen: Vec<_> = kept.into_iter().map(|n| names.unique(column(n))).collect();
            project(plan, chosen)
        }
    }
}

/// Expressions inside of one.
fn parts(expr: &Expr) -> Result<u64> {
    let mut parts = 0;
    expr.apply(|_| {
        parts += 1;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(parts)
}

/// Names of the columns so far. A plan counts columns and names none, so two may have one name.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn unique(&mut self, expr: Expr) -> Expr {
        let (_, name) = expr.qualified_name();
        let taken = match self.0.entry(name.clone()) {
            Entry::Vacant(free) => {
                free.insert(0);
                return expr;
            }
            Entry::Occupied(taken) => taken.into_mut(),
        };
        *taken += 1;
        let other = format!("{name}@{taken}");
        expr.alias(other)
    }
}
