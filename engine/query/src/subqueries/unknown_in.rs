//! `x IN (subquery)`, and `x = ANY (subquery)` and its kin, are NULL where nobody knows.
//!
//! `x IN (subquery)` is NULL where the subquery has no x but a NULL, or x is NULL. DataFusion 55 knows that
//! only of a condition that is nothing else, and of `NOT IN` only where the subquery is the same for all
//! rows. Beside `OR`, or inside another expression, its join says true or false, never NULL:
//! `x NOT IN (…) OR z` then finds rows that it should not. Here such a condition becomes one of `EXISTS`,
//! which is never NULL, and so does one that is a value. Where NULL and false come to the same the condition
//! is left as it is.
//!
//! What DataFusion makes of `ANY` and `ALL` compares a column with itself where the subquery reads the
//! table that is around it. Here the column of a subquery has a name of its own.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        Column, DFSchema, JoinType, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    logical_expr::{
        BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Sort,
        SortExpr, Subquery, binary_expr, cast,
        expr::{Exists, InSubquery, SetComparison, SetQuantifier},
        expr_rewriter::NamePreserver,
        ident, lit,
        logical_plan::Join,
        when,
    },
};

use super::is_within;

/// The same node, with NULL where the answer is unknown and that matters.
pub(super) fn with_unknown(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Filter(filter) => {
            let schema = Arc::clone(filter.input.schema());
            let predicate = without_quantifiers(filter.predicate.clone(), &schema)?
                .transform_data(|condition| kept(condition, &schema))?;
            if !predicate.transformed {
                return Ok(Transformed::no(LogicalPlan::Filter(filter)));
            }
            let filter = Filter::try_new(predicate.data, filter.input)?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(is_within) => on_join(join),
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
            values_of(node)
        }
        LogicalPlan::Sort(sort) if sort.expr.iter().any(|by| is_within(&by.expr)) => sorted(sort),
        other => Ok(Transformed::no(other)),
    }
}

/// The condition of an inner join is a filter. In that of another one a row with an unknown answer stays, but
/// the join that marks it would not know so.
fn on_join(mut join: Join) -> Result<Transformed<LogicalPlan>> {
    let Some(condition) = join.filter.take() else {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let schema = join.left.schema().join(join.right.schema())?;
    let is_inner = join.join_type == JoinType::Inner;
    let condition = without_quantifiers(condition, &schema)?.transform_data(|condition| {
        if is_inner { kept(condition, &schema) } else { valued(condition, &schema) }
    })?;
    if !is_inner || !condition.transformed {
        join.filter = Some(condition.data);
        let join = LogicalPlan::Join(join);
        return Ok(Transformed::new_transformed(join, condition.transformed));
    }
    // Only filters are planned with EXISTS; what belongs to the join is found again.
    let filter = Filter::try_new(condition.data, Arc::new(LogicalPlan::Join(join)))?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}

/// Where it is a value, NULL and false never come to the same.
fn values_of(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let [input] = node.inputs()[..] else { return Ok(Transformed::no(node)) };
    let schema = Arc::clone(input.schema());
    let names = NamePreserver::new(&node);
    let values = node.map_expressions(|value| {
        let name = names.save(&value);
        let told =
            without_quantifiers(value, &schema)?.transform_data(|value| valued(value, &schema))?;
        Ok(told.update_data(|value| name.restore(value)))
    })?;
    values.map_data(LogicalPlan::recompute_schema)
}

/// A value of which NULL and false are two.
fn valued(value: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    value.transform_up(|expr| match expr {
        Expr::InSubquery(within) => told(within, schema),
        other => Ok(Transformed::no(other)),
    })
}

/// Rows in an order that a subquery has a say in: it is a column of theirs first.
fn sorted(sort: Sort) -> Result<Transformed<LogicalPlan>> {
    let columns: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
    let mut wider = columns.clone();
    let mut order = Vec::with_capacity(sort.expr.len());
    for (n, by) in sort.expr.into_iter().enumerate() {
        if !is_within(&by.expr) {
            order.push(by);
            continue;
        }
        let name = format!("@order{n}");
        wider.push(by.expr.alias(&name));
        order.push(SortExpr { expr: ident(name), ..by });
    }
    let wider = LogicalPlanBuilder::from(sort.input).project(wider)?.build()?;
    let wider = values_of(wider)?.data;
    let plan = LogicalPlanBuilder::from(wider).sort_with_limit(order, sort.fetch)?;
    Ok(Transformed::yes(plan.project(columns)?.build()?))
}

/// `ANY` and `ALL` as `IN` where they are the same, and else by what the subquery has.
fn without_quantifiers(value: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    value.transform_up(|expr| match expr {
        Expr::SetComparison(comparison) => quantified(comparison, schema).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
}

fn quantified(comparison: SetComparison, schema: &DFSchema) -> Result<Expr> {
    let SetComparison { expr, subquery, op, quantifier } = comparison;
    match (&op, &quantifier) {
        (Operator::Eq, SetQuantifier::Any) => {
            return Ok(Expr::InSubquery(InSubquery { expr, subquery, negated: false }));
        }
        (Operator::NotEq, SetQuantifier::All) => {
            return Ok(Expr::InSubquery(InSubquery { expr, subquery, negated: true }));
        }
        _ => {}
    }
    let asked = Asked::new(subquery)?;
    let (value, outer) = asked.looked_at(&expr, schema)?;
    let compared = binary_expr(value, op, Asked::column());
    let unknown = asked.has(Some(compared.clone().is_null()), &outer)?;
    match quantifier {
        SetQuantifier::Any => when(asked.has(Some(compared), &outer)?, lit(true))
            .when(unknown, no_answer())
            .otherwise(lit(false)),
        SetQuantifier::All => when(asked.has(Some(compared.is_false()), &outer)?, lit(false))
            .when(unknown, no_answer())
            .otherwise(lit(true)),
    }
}

fn no_answer() -> Expr {
    cast(lit(ScalarValue::Null), DataType::Boolean)
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
/// Without a column on both sides it has no key, and takes no NULL for what it is.
fn is_told(within: &InSubquery, is_not_in: bool) -> bool {
    !is_not_in
        || within.subquery.outer_ref_columns.is_empty()
            && !within.expr.column_refs().is_empty()
            && !is_constant(&within.subquery.subquery)
}

/// Whether the value of a subquery is the same for all of its rows, as far as its text tells.
fn is_constant(subquery: &LogicalPlan) -> bool {
    match subquery {
        LogicalPlan::Projection(selected) => match selected.expr.first() {
            Some(Expr::Column(_)) => is_constant(&selected.input),
            Some(value) => value.column_refs().is_empty(),
            None => true,
        },
        LogicalPlan::SubqueryAlias(alias) => is_constant(&alias.input),
        LogicalPlan::EmptyRelation(_) => true,
        _ => false,
    }
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
        other => valued(other, schema),
    }
}

/// True where the subquery has the value, else NULL where it could have it, else false.
fn told(within: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InSubquery { expr, subquery, negated } = within;
    let is_nullable = subquery.subquery.schema().field(0).is_nullable();
    let value_may_be_null = expr.nullable(schema)?;
    if !is_nullable && !value_may_be_null {
        return Ok(Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated })));
    }
    let asked = Asked::new(subquery)?;
    let (value, outer) = asked.looked_at(&expr, schema)?;
    let mut cases = when(asked.has(Some(Asked::column().eq(value)), &outer)?, lit(true));
    let alone = &asked.subquery.outer_ref_columns;
    if is_nullable {
        cases = cases.when(asked.has(Some(Asked::column().is_null()), alone)?, no_answer());
    }
    if value_may_be_null {
        cases = cases.when(expr.is_null().and(asked.has(None, alone)?), no_answer());
    }
    let found = cases.otherwise(lit(false))?;
    let found = if negated { Expr::Not(Box::new(found)) } else { found };
    Ok(Transformed::yes(found))
}

/// What its column is called: one of the rows around it may have the name that it has.
const ASKED: &str = "@asked";

/// A subquery of one column, which has a name of its own.
struct Asked {
    subquery: Subquery,
    rows: LogicalPlan,
}

impl Asked {
    fn new(subquery: Subquery) -> Result<Self> {
        let column = Expr::from(subquery.subquery.schema().qualified_field(0)).alias(ASKED);
        let rows = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery));
        let rows = rows.project([column])?.build()?;
        Ok(Self { subquery, rows })
    }

    fn column() -> Expr {
        Expr::Column(Column::new_unqualified(ASKED))
    }

    /// A value of the rows around it, as one may be used inside; and all that is used of them.
    fn looked_at(&self, value: &Expr, schema: &DFSchema) -> Result<(Expr, Vec<Expr>)> {
        let mut outer = self.subquery.outer_ref_columns.clone();
        let value = value.clone().transform_up(|part| match part {
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
        Ok((value.data, outer))
    }

    /// Whether it has a row for which the condition is true, or any.
    fn has(&self, condition: Option<Expr>, outer: &[Expr]) -> Result<Expr> {
        let mut rows = LogicalPlanBuilder::from(self.rows.clone());
        if let Some(condition) = condition {
            rows = rows.filter(condition)?;
        }
        let subquery = Subquery {
            subquery: Arc::new(rows.build()?),
            outer_ref_columns: outer.to_vec(),
            spans: self.subquery.spans.clone(),
        };
        Ok(Expr::Exists(Exists { subquery, negated: false }))
    }
}
