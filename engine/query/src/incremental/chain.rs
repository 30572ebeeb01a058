//! Windows below an operator that works by the same key.
//!
//! A window that is partitioned by a key, and filters and projections that keep it, work key by key
//! like the operator above them. So the whole chain commutes with a filter on the key: outside the keys
//! of the rows that changed below it, it gives what it gave, and for these keys it is computed anew from
//! there. That rows which a window orders alike may change places does no harm: nothing that was
//! computed before is computed again, only replaced key by key.

use std::sync::Arc;

use datafusion::{
    common::Column,
    error::DataFusionError,
    logical_expr::{Expr, LogicalPlan, Window},
};

use super::{delta::with_keys, keys::keyed};

/// The plan below the lowest window that works by the same key as what reads `plan`, and the parts of
/// that key over its columns; nothing where there is no such window.
pub(super) fn bottom<'a>(
    plan: &'a LogicalPlan,
    by: &[Expr],
) -> Option<(&'a LogicalPlan, Vec<Expr>)> {
    let (below, by_below) = step(plan, by)?;
    let lower = bottom(below, &by_below);
    let is_window = matches!(plan, LogicalPlan::Window(_));
    lower.or_else(|| is_window.then_some((below, by_below)))
}

/// The input of a plan that works key by key, and the key over its columns.
fn step<'a>(plan: &'a LogicalPlan, by: &[Expr]) -> Option<(&'a LogicalPlan, Vec<Expr>)> {
    match plan {
        LogicalPlan::Filter(filter) => Some((filter.input.as_ref(), by.to_vec())),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => Some((sort.input.as_ref(), by.to_vec())),
        LogicalPlan::SubqueryAlias(alias) => {
            let columns = alias.input.schema().columns();
            let below = |at: usize| columns.get(at).cloned().map(Expr::Column);
            Some((alias.input.as_ref(), moved(plan, by, below)?))
        }
        LogicalPlan::Projection(projection) => {
            let below = |at: usize| Some(projection.expr.get(at)?.clone().unalias());
            Some((projection.input.as_ref(), moved(plan, by, below)?))
        }
        LogicalPlan::Window(window) => {
            let of_window = keyed(plan).ok()?;
            let parts = of_window.by.first()?;
            by.iter().all(|part| parts.contains(part)).then(|| (window.input.as_ref(), by.to_vec()))
        }
        _ => None,
    }
}

/// The parts of a key, which are columns of a plan, as what they are below it.
fn moved(
    plan: &LogicalPlan,
    by: &[Expr],
    below: impl Fn(usize) -> Option<Expr>,
) -> Option<Vec<Expr>> {
    let at = |column: &Column| plan.schema().maybe_index_of_column(column);
    by.iter()
        .map(|part| match part {
            Expr::Column(column) => below(at(column)?),
            _ => None,
        })
        .collect()
}

/// The rows of a plan whose key is in the list, with as little computed as can be. `read` gives the
/// plan that is to be read instead of one.
pub(super) fn restricted(
    plan: &LogicalPlan,
    by: &[Expr],
    keys: &LogicalPlan,
    read: &impl Fn(&LogicalPlan) -> Result<LogicalPlan, DataFusionError>,
) -> Result<LogicalPlan, DataFusionError> {
    let Some((end, by_below)) = bottom(plan, by) else {
        return with_keys(read(plan)?, by, keys);
    };
    rebuilt(plan, end, with_keys(read(end)?, &by_below, keys)?)
}

/// A chain over another plan than the one at its end.
fn rebuilt(
    plan: &LogicalPlan,
    end: &LogicalPlan,
    other: LogicalPlan,
) -> Result<LogicalPlan, DataFusionError> {
    if std::ptr::eq(plan, end) {
        return Ok(other);
    }
    let Some(input) = plan.inputs().first().copied() else { return Ok(other) };
    let input = rebuilt(input, end, other)?;
    match plan {
        // Put together by hand: names and types of the result stay as they are.
        LogicalPlan::Window(window) => {
            Ok(LogicalPlan::Window(Window { input: Arc::new(input), ..window.clone() }))
        }
        plan => plan.with_new_exprs(plan.expressions(), vec![input]),
    }
}
