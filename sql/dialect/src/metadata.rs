//! `_metadata` of `read_files`: a column that a query has only where it names it.
//!
//! It exists because `*` does not mean that column, and the planner knows no columns that are there
//! and not in `*`: so where a query names it, each `*` that could mean it is told to leave it out.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, ExcludeSelectItem, Expr, Ident, SelectItem, SelectItemQualifiedWildcardKind, TableFactor,
    TableWithJoins, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};

use crate::{
    scope::{ident_name, name_parts},
    statement::{FilesFunction, FilesUse},
};

/// The column.
pub const METADATA: &str = "_metadata";

/// Gives files the column where the query names it. A query that was settled stays as it is.
pub(crate) fn settle(query: &mut ast::Query, files: &mut [FilesUse]) {
    let mut of_any: Vec<&mut FilesUse> =
        files.iter_mut().filter(|files| files.function == FilesFunction::Any).collect();
    if of_any.is_empty() || Visit::visit(&*query, &mut Named).is_continue() {
        return;
    }
    let names = of_any.iter_mut().map(|files| {
        files.has_metadata = true;
        files.planned_name()
    });
    let mut leave_out = LeaveOut { names: names.collect() };
    match VisitMut::visit(query, &mut leave_out) {
        ControlFlow::Continue(()) => {}
        ControlFlow::Break(never) => match never {},
    }
}

fn is_it(ident: &Ident) -> bool {
    ident_name(ident) == METADATA
}

/// Stops where the column is named.
struct Named;

impl Visitor for Named {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let named = match expr {
            Expr::Identifier(ident) => is_it(ident),
            Expr::CompoundIdentifier(idents) => idents.iter().any(is_it),
            _ => false,
        };
        if named { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

struct LeaveOut {
    /// The names by which the query refers to the files.
    names: Vec<String>,
}

impl LeaveOut {
    /// The names by which columns of the files are qualified in a SELECT.
    fn aliases(&self, from: &[TableWithJoins]) -> Vec<String> {
        let joined = from.iter().flat_map(|table| {
            let joins = table.joins.iter().map(|join| &join.relation);
            std::iter::once(&table.relation).chain(joins)
        });
        let mut aliases = Vec::new();
        for factor in joined {
            let TableFactor::Table { name, alias: Some(alias), .. } = factor else { continue };
            let planned = name_parts(name);
            if planned.is_some_and(|parts| parts.len() == 1 && self.names.contains(&parts[0])) {
                aliases.push(ident_name(&alias.name));
            }
        }
        aliases
    }
}

impl VisitorMut for LeaveOut {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<Self::Break> {
        let aliases = self.aliases(&select.from);
        if aliases.is_empty() {
            return ControlFlow::Continue(());
        }
        for item in &mut select.projection {
            match item {
                SelectItem::Wildcard(options) => leave_out(options),
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) if name_parts(name).is_some_and(|parts| aliases.contains(&parts.concat())) => {
                    leave_out(options);
                }
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                    let [.., of, field] = parts.as_slice() else { continue };
                    if !is_it(of) {
                        continue;
                    }
                    // A field's column has its name.
                    let (alias, parts) = (field.clone(), std::mem::take(parts));
                    let expr = Expr::CompoundIdentifier(parts);
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// `* EXCLUDE (_metadata)`, beside what is left out already.
fn leave_out(options: &mut WildcardAdditionalOptions) {
    if let Some(except) = &mut options.opt_except {
        let mut left_out =
            std::iter::once(&except.first_element).chain(&except.additional_elements);
        if !left_out.any(is_it) {
            except.additional_elements.push(Ident::new(METADATA));
        }
        return;
    }
    let mut left_out = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(one)) => vec![one],
        Some(ExcludeSelectItem::Multiple(all)) => all,
    };
    if !left_out.iter().any(|known| name_parts(known).is_some_and(|known| known == [METADATA])) {
        left_out.push(ast::ObjectName::from(vec![Ident::new(METADATA)]));
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(left_out));
}

#[cfg(test)]
mod tests;
