//! Queries as the proof reads them: typed, with subqueries as joins, and without what has no one
//! answer.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, Volatility},
    optimizer::{
        Optimizer, OptimizerConfig, OptimizerRule,
        decorrelate_lateral_join::DecorrelateLateralJoin,
        decorrelate_predicate_subquery::DecorrelatePredicateSubquery,
        extract_equijoin_predicate::ExtractEquijoinPredicate,
        replace_distinct_aggregate::ReplaceDistinctWithAggregate,
        rewrite_set_comparison::RewriteSetComparison,
        scalar_subquery_to_join::ScalarSubqueryToJoin,
    },
};

use super::Why;
use crate::error::QueryError;

/// The same query for the proof. Only rules that change its form and none of its rows are used.
pub(super) fn prepared(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan, QueryError> {
    let options = state.options();
    let typed = state.analyzer().execute_and_check(plan, &options, |_, _| {})?;
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
    ];
    Ok(Optimizer::with_rules(rules).optimize(typed, state, |_, _| {})?)
}

/// Refuses queries with a subquery that no rule has made a join of: its tables are not seen by what
/// looks at the plan node by node, and its value may decide about rows that have not changed.
pub(super) fn without_subqueries(plan: &LogicalPlan) -> Result<Option<Why>, QueryError> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            found = found
                || expr.exists(|expr| {
                    Ok(matches!(
                        expr,
                        Expr::ScalarSubquery(_)
                            | Expr::Exists(_)
                            | Expr::InSubquery(_)
                            | Expr::SetComparison(_)
                    ))
                })?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    let why = "its value may decide about rows that have not changed";
    Ok(found.then(|| Why::new("SUBQUERY", why)))
}

/// Refuses queries that may answer differently for the same inputs.
pub(super) fn deterministic(plan: &LogicalPlan) -> Result<Option<Why>, QueryError> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let volatile = match expr {
                    Expr::ScalarFunction(call) => changes(call.func.signature().volatility)
                        .then(|| call.func.name().to_owned()),
                    Expr::AggregateFunction(call) => changes(call.func.signature().volatility)
                        .then(|| call.func.name().to_owned()),
                    Expr::Placeholder(parameter) => Some(parameter.id.clone()),
                    _ => None,
                };
                found = found.take().or(volatile);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found.map(|function| {
        Why::new("NOT_DETERMINISTIC", format!("{function}() answers differently from run to run"))
    }))
}

fn changes(volatility: Volatility) -> bool {
    volatility != Volatility::Immutable
}
