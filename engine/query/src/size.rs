//! How large a plan a text becomes, told before it is planned.
//!
//! The planner puts the query of a CTE or of a view in the place of each name that stands for it, and
//! writes out each set of a CUBE. So a short text becomes a plan of millions of operators when each of
//! its CTEs names the one before twice, and once the planner has begun nothing counts its memory and
//! nothing ends it. The texts are counted here as they would be written out, which takes no longer
//! than to read them.

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result as DataFusionResult,
    execution::SessionState,
    logical_expr::LogicalPlan,
    sql::{
        parser::Statement,
        sqlparser::ast::{
            self, Expr, GroupByExpr, Ident, ObjectName, ObjectNamePart, Select, Visit, Visitor,
        },
    },
};

use crate::error::QueryError;

/// Tables, operators, columns and expressions that a plan may have beside those that its text has.
pub(crate) const COPIED_MAX: u64 = 100_000;
/// Columns of all grouping sets of one GROUP BY together: those of a CUBE of 12.
const GROUPED_MAX: u64 = 65_536;

/// Refuses a statement whose plan would be too large.
pub(crate) async fn check(state: &SessionState, statement: &Statement) -> Result<(), QueryError> {
    let ast = match statement {
        Statement::Statement(ast) => ast,
        Statement::Explain(explain) => return Box::pin(check(state, &explain.statement)).await,
        _ => return Ok(()),
    };
    let mut tables: HashMap<String, u64> = HashMap::new();
    for table in state.resolve_table_references(statement)? {
        // What is not there, the planner says.
        let Ok(schema) = state.schema_for_ref(table.clone()) else { continue };
        if table.schema() == Some("information_schema") {
            continue;
        }
        let Ok(Some(provider)) = schema.table(table.table()).await else { continue };
        let size = match provider.get_logical_plan() {
            Some(plan) => size_of(&plan)?,
            None => provider.schema().fields().len() as u64,
        };
        // Tables of several schemas may have one name: then the larger one counts.
        let known = tables.entry(table.table().to_owned()).or_default();
        *known = size.max(*known);
    }
    let mut sizes = Sizes { tables, open: Vec::new(), written: 0 };
    match ast.visit(&mut sizes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Operators and expressions of a plan; about as many as are allowed when there are more.
pub(crate) fn size_of(plan: &LogicalPlan) -> DataFusionResult<u64> {
    let mut size = 0;
    plan.apply_with_subqueries(|node| {
        size += 1;
        node.apply_expressions(|expr| {
            expr.apply(|_| {
                size += 1;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(if size > COPIED_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(size)
}

/// Counts a statement on the way through its text.
struct Sizes {
    /// What each table of the catalog counts for.
    tables: HashMap<String, u64>,
    /// The queries that have begun, the outermost first.
    open: Vec<Open>,
    /// Parts that the text has.
    written: u64,
}

/// A query that has begun.
struct Open {
    /// Its parts as far as it was read, written out.
    size: u64,
    /// Names of its CTEs, in their order.
    ctes: Vec<String>,
    /// What those that were read count for. They come before everything else of the query.
    sizes: Vec<u64>,
}

impl Sizes {
    fn add(&mut self, written: u64, size: u64) -> ControlFlow<QueryError> {
        self.written = self.written.saturating_add(written);
        let Some(query) = self.open.last_mut() else { return ControlFlow::Continue(()) };
        query.size = query.size.saturating_add(size);
        if query.size <= self.written.saturating_add(COPIED_MAX) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(QueryError::Invalid(format!(
            "written out, with each CTE and each view in the place of its name, the statement has more \
             than {COPIED_MAX} parts more than its text: name them less often, or keep a part of it as \
             a table or a materialized view"
        )))
    }

    /// The size of a CTE that can be named here.
    fn of_cte(&self, name: &ObjectName) -> Option<u64> {
        let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else { return None };
        let name = folded(name);
        self.open.iter().rev().find_map(|query| {
            let known = query.ctes.iter().zip(&query.sizes);
            known.rev().find(|(cte, _)| **cte == name).map(|(_, size)| *size)
        })
    }
}

impl Visitor for Sizes {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<QueryError> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        let ctes = ctes.map(|cte| folded(&cte.alias.name)).collect();
        self.open.push(Open { size: 0, ctes, sizes: Vec::new() });
        self.add(1, 1)
    }

    fn post_visit_query(&mut self, _: &ast::Query) -> ControlFlow<QueryError> {
        let Some(done) = self.open.pop() else { return ControlFlow::Continue(()) };
        match self.open.last_mut() {
            Some(outer) if outer.sizes.len() < outer.ctes.len() => {
                outer.sizes.push(done.size);
                ControlFlow::Continue(())
            }
            _ => self.add(0, done.size),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        if let GroupByExpr::Expressions(by, _) = &select.group_by
            && let Some(error) = too_many_sets(by)
        {
            return ControlFlow::Break(error);
        }
        self.add(1, 1)
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<QueryError> {
        let of_cte = self.of_cte(name);
        let last = name.0.last().and_then(ObjectNamePart::as_ident);
        let of_table = || last.and_then(|last| self.tables.get(&folded(last)).copied());
        let size = of_cte.or_else(of_table).unwrap_or(0);
        self.add(1, size.saturating_add(1))
    }

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<QueryError> {
        self.add(1, 1)
    }
}

/// A name as the planner reads it.
fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

/// An error when the sets of a GROUP BY have too many columns together. Several of them in one clause
/// are multiplied with each other.
fn too_many_sets(by: &[Expr]) -> Option<QueryError> {
    let (mut sets, mut columns) = (1_u64, 0_u64);
    for expr in by {
        let (more, of): (u64, &[Vec<Expr>]) = match expr {
            Expr::Cube(of) => {
                let power = u32::try_from(of.len()).ok().and_then(|n| 1_u64.checked_shl(n));
                (power.unwrap_or(u64::MAX), of)
            }
            Expr::Rollup(of) => ((of.len() as u64).saturating_add(1), of),
            Expr::GroupingSets(of) => (of.len() as u64, of),
            _ => {
                columns += 1;
                continue;
            }
        };
        sets = sets.saturating_mul(more);
        columns += of.iter().map(|of| of.len() as u64).sum::<u64>();
    }
    if sets == 1 || sets.saturating_mul(columns) <= GROUPED_MAX {
        return None;
    }
    Some(QueryError::Invalid(format!(
        "the grouping sets of a GROUP BY have at most {GROUPED_MAX} columns together, as those of a CUBE of \
         12, and these have more: name the sets that are needed with GROUPING SETS"
    )))
}

#[cfg(test)]
mod tests;
