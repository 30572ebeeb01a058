//! `x IN (subquery)` is NULL where the subquery has no x but a NULL, or x is NULL.
//!
//! DataFusion 55 knows that only of a condition that is nothing else, and of `NOT IN` only where the
//! subquery is the same for all rows. Beside `OR`, or inside another
//! expression, its join says true or false, never NULL: `x NOT IN (…) OR z` then finds rows that it
//! should not. Here such a condition becomes one of `EXISTS`, which is never NULL. Where NULL and
//! false come to the same the condition is left as it is.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        DFSchema, JoinType, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    config::ConfigOptions,
    error::{DataFusionError, Result},
    logical_expr::{
        BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
        Subquery, cast, exists, expr::InSubquery, lit, when,
    },
    optimizer::AnalyzerRule,
};

/// Goes last among the rules: both sides then have one type.
#[derive(Debug)]
pub(crate) struct UnknownIn;

impl AnalyzerRule for UnknownIn {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Filter(filter) => {
                let schema = Arc::clone(filter.input.schema());
                let predicate = kept(filter.predicate.clone(), &schema)?;
                if !predicate.transformed {
                    return Ok(Transformed::no(LogicalPlan::Filter(filter)));
                }
                let filter = Filter::try_new(predicate.data, filter.input)?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            LogicalPlan::Join(mut join) => {
                let Some(condition) = join.filter.take() else {
                    return Ok(Transformed::no(LogicalPlan::Join(join)));
                };
                let schema = join.left.schema().join(join.right.schema())?;
                let condition = kept(condition, &schema)?;
                if !condition.transformed {
                    join.filter = Some(condition.data);
                    return Ok(Transformed::no(LogicalPlan::Join(join)));
                }
                if join.join_type != JoinType::Inner {
                    return Err(DataFusionError::NotImplemented(
                        "IN (subquery) beside OR, or inside another expression, in the ON of an \
                         outer join: write EXISTS, or put it into a subquery in FROM"
                            .to_owned(),
                    ));
                }
                // Only filters are planned with EXISTS; what belongs to the join is found again.
                let filter = Filter::try_new(condition.data, Arc::new(LogicalPlan::Join(join)))?;
                Ok(Transformed::yes(LogicalPlan::Filter(filter)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "unknown_in"
    }
}

/// A condition that keeps a row where it is true; each part that AND puts together may be planned as
/// a join of its own.
fn kept(condition: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let (left, right) = (kept(*left, schema)?, kept(*right, schema)?);
            let transformed = left.transformed || right.transformed;
            Ok(Transformed::new_transformed(left.data.and(right.data), transformed))
        }
        Expr::InSubquery(within) if is_told(&within, within.negated) => {
            Ok(Transformed::no(Expr::InSubquery(within)))
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(within) if is_told(&within, !within.negated) => {
                Ok(Transformed::no(!Expr::InSubquery(within)))
            }
            inner => true_or_not(!inner, schema),
        },
        other => true_or_not(other, schema),
    }
}

/// Whether the join of DataFusion tells true from what is not, for a condition that is nothing else.
/// Of a `NOT IN` it takes every NULL of the subquery, also one that only another row would find in it.
fn is_told(within: &InSubquery, is_not_in: bool) -> bool {
    !is_not_in || within.subquery.outer_ref_columns.is_empty()
}

/// A part of a condition of which only matters whether it is true.
fn true_or_not(part: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match part {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (true_or_not(*left, schema)?, true_or_not(*right, schema)?);
            let transformed = left.transformed || right.transformed;
            let (left, right) = (Box::new(left.data), Box::new(right.data));
            let both = Expr::BinaryExpr(BinaryExpr { left, op, right });
            Ok(Transformed::new_transformed(both, transformed))
        }
        Expr::InSubquery(InSubquery { negated: false, .. }) => Ok(Transformed::no(part)),
        other => other.transform_up(|expr| match expr {
            Expr::InSubquery(within) => with_unknown(within, schema),
            other => Ok(Transformed::no(other)),
        }),
    }
}

/// True where the subquery has the value, else NULL where it could have it, else false.
fn with_unknown(within: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InSubquery { expr, subquery, negated } = within;
    let (field, from) = {
        let inner = subquery.subquery.schema();
        let (qualifier, field) = inner.qualified_field(0);
        (Arc::clone(field), Expr::from((qualifier, field)))
    };
    let value_may_be_null = expr.nullable(schema)?;
    if !field.is_nullable() && !value_may_be_null {
        return Ok(Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated })));
    }
    let mut outer = subquery.outer_ref_columns.clone();
    let value = expr.as_ref().clone().transform_up(|part| match part {
        Expr::Column(column) => {
            let field = Arc::clone(schema.qualified_field_from_column(&column)?.1);
            let reference = Expr::OuterReferenceColumn(field, column);
            if !outer.contains(&reference) {
                outer.push(reference.clone());
            }
            Ok(Transformed::yes(reference))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let some = |condition: Option<Expr>, outer: &Vec<Expr>| -> Result<Expr> {
        let rows = match condition {
            None => Arc::clone(&subquery.subquery),
            Some(condition) => {
                let rows = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery));
                Arc::new(rows.filter(condition)?.build()?)
            }
        };
        let (outer_ref_columns, spans) = (outer.clone(), subquery.spans.clone());
        let Expr::Exists(mut found) = exists(Arc::clone(&rows)) else { return Ok(lit(false)) };
        found.subquery = Subquery { subquery: rows, outer_ref_columns, spans };
        Ok(Expr::Exists(found))
    };
    let unknown = || cast(lit(ScalarValue::Null), DataType::Boolean);
    let same = some(Some(from.clone().eq(value.data)), &outer)?;
    let mut cases = when(same, lit(true));
    if field.is_nullable() {
        cases = cases.when(some(Some(from.is_null()), &subquery.outer_ref_columns)?, unknown());
    }
    if value_may_be_null {
        let any = some(None, &subquery.outer_ref_columns)?;
        cases = cases.when(expr.as_ref().clone().is_null().and(any), unknown());
    }
    let found = cases.otherwise(lit(false))?;
    let found = if negated { Expr::Not(Box::new(found)) } else { found };
    Ok(Transformed::yes(found))
}
