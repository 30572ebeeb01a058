//! The column that `RIGHT JOIN … USING (a)` and `FULL JOIN … USING (a)` make of two.
//!
//! It is the value of the side that has the row: of the right table, or of either. The planner takes that
//! of the left one, which is NULL where only the right table has a row. Here `a` becomes an expression
//! over both, and the join one with ON. What cannot be told from the text is refused; columns that are
//! written with their table mean what they say in any case.

use std::{collections::HashSet, ops::ControlFlow};

use sqlparser::ast::{
    self, BinaryOperator, ExceptSelectItem, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint,
    JoinOperator, ObjectName, OrderBy, OrderByKind, ReplaceSelectElement, ReplaceSelectItem,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use crate::{error::SyntaxError, query::unsupported, scope::ident_name};

/// Writes out the merged columns of a query's own SELECT, in its ORDER BY too.
pub(crate) fn write_out(query: &mut ast::Query) -> Result<(), SyntaxError> {
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(()) };
    let merged = of_select(select);
    if merged.is_empty() {
        return Ok(());
    }
    in_select(select, &merged)?;
    if let Some(OrderBy { kind: OrderByKind::Expressions(keys), .. }) = &mut query.order_by {
        for key in keys {
            // The name of a column that is shown stands for that one.
            let is_shown = |name: &str| select.projection.iter().any(|item| shows(item, name));
            if matches!(&key.expr, Expr::Identifier(name) if is_shown(&ident_name(name))) {
                continue;
            }
            in_expressions(&mut key.expr, &merged)?;
        }
    }
    settle(select);
    Ok(())
}

/// The same for a SELECT that is a part of a UNION, which has no ORDER BY of its own.
pub(crate) fn write_out_select(select: &mut Select) -> Result<(), SyntaxError> {
    let merged = of_select(select);
    if merged.is_empty() {
        return Ok(());
    }
    in_select(select, &merged)?;
    settle(select);
    Ok(())
}

/// A column that joins make of two, or all of those of a NATURAL one.
struct Merged {
    /// `None` for whichever a NATURAL join has.
    name: Option<String>,
    /// What is written for it; `None` where the text does not tell.
    meant: Option<Expr>,
    /// The join, for errors.
    written: String,
}

fn of_select(select: &Select) -> Vec<Merged> {
    let mut merged = Vec::new();
    for table in &select.from {
        of_table(table, &mut merged);
    }
    if !are_told_apart(&select.from) {
        merged.iter_mut().for_each(|of| of.meant = None);
    }
    merged
}

/// Whether the tables have different names, without their schemas: a column is written with those.
fn are_told_apart(from: &[TableWithJoins]) -> bool {
    let mut known = HashSet::new();
    from.iter()
        .flat_map(|table| {
            [&table.relation].into_iter().chain(table.joins.iter().map(|join| &join.relation))
        })
        .filter_map(name_of)
        .all(|name| known.insert(ident_name(&name)))
}

fn of_table(table: &TableWithJoins, merged: &mut Vec<Merged>) {
    for factor in [&table.relation].into_iter().chain(table.joins.iter().map(|join| &join.relation))
    {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            let mut inside = Vec::new();
            of_table(table_with_joins, &mut inside);
            // In brackets: what is around them may have more of the same name.
            merged.extend(inside.into_iter().map(|of| Merged { meant: None, ..of }));
        }
    }
    for join in &table.joins {
        let Some((kind @ (Kind::Right | Kind::Full), constraint)) = of_join(join) else { continue };
        let kind = if kind == Kind::Full { "FULL JOIN" } else { "RIGHT JOIN" };
        match constraint {
            JoinConstraint::Natural => {
                let written = format!("NATURAL {kind}");
                merged.push(Merged { name: None, meant: None, written });
            }
            JoinConstraint::Using(columns) => merged.extend(columns.iter().map(|column| {
                let written = format!("{kind} … USING ({column})");
                let own = own_name(column);
                let meant = own.and_then(|own| meant(table, table.joins.len(), own));
                Merged { name: own.map(ident_name), meant, written }
            })),
            _ => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All rows that it has are rows of the left side.
    Left,
    Right,
    Full,
}

fn of_join(join: &Join) -> Option<(Kind, &JoinConstraint)> {
    match &join.join_operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on) => Some((Kind::Left, on)),
        JoinOperator::Right(on) | JoinOperator::RightOuter(on) => Some((Kind::Right, on)),
        JoinOperator::FullOuter(on) => Some((Kind::Full, on)),
        _ => None,
    }
}

fn own_name(column: &ObjectName) -> Option<&Ident> {
    column.0.last().and_then(|part| part.as_ident())
}

/// The kind of a join that makes one column of this name.
fn merges(join: &Join, own: &Ident) -> Option<Kind> {
    let (kind, JoinConstraint::Using(columns)) = of_join(join)? else { return None };
    let name = ident_name(own);
    columns.iter().filter_map(own_name).any(|own| ident_name(own) == name).then_some(kind)
}

/// What a column without a table means after the first joins; `None` where the text does not tell
/// whose it is.
fn meant(table: &TableWithJoins, joins: usize, own: &Ident) -> Option<Expr> {
    let Some(before) = joins.checked_sub(1) else {
        return Some(column(name_of(&table.relation)?, own));
    };
    let join = table.joins.get(before)?;
    let Some(kind) = merges(join, own) else {
        let is_merged = table.joins[..before].iter().any(|join| merges(join, own).is_some());
        return if is_merged { meant(table, before, own) } else { None };
    };
    let right = column(name_of(&join.relation)?, own);
    Some(match kind {
        Kind::Left => meant(table, before, own)?,
        Kind::Right => right,
        Kind::Full => coalesce(meant(table, before, own)?, right),
    })
}

/// What columns of a table are written with.
fn name_of(table: &TableFactor) -> Option<Ident> {
    match table {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, args: None, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// What `*` is written with: of a table in a schema the planner wants both names.
fn whole_name_of(table: &TableFactor) -> Option<ObjectName> {
    match table {
        TableFactor::Table { alias: None, name, args: None, .. } => Some(name.clone()),
        table => Some(vec![name_of(table)?].into()),
    }
}

fn column(table: Ident, own: &Ident) -> Expr {
    Expr::CompoundIdentifier(vec![table, own.clone()])
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    let argument = |argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("coalesce")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![argument(left), argument(right)],
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Whether an item of a SELECT gives a column of this name.
fn shows(item: &SelectItem, wanted: &str) -> bool {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => ident_name(alias) == wanted,
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => ident_name(name) == wanted,
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            parts.last().is_some_and(|name| ident_name(name) == wanted)
        }
        _ => false,
    }
}

fn in_select(select: &mut Select, merged: &[Merged]) -> Result<(), SyntaxError> {
    let mut projection = Vec::with_capacity(select.projection.len());
    for mut item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) => {
                projection.extend(all_columns(&select.from, options, merged)?);
                continue;
            }
            // The column keeps its name.
            SelectItem::UnnamedExpr(Expr::Identifier(alias)) => {
                let mut expr = Expr::Identifier(alias.clone());
                in_expressions(&mut expr, merged)?;
                item = match expr {
                    same @ Expr::Identifier(_) => SelectItem::UnnamedExpr(same),
                    expr => SelectItem::ExprWithAlias { expr, alias },
                };
            }
            _ => in_expressions(&mut item, merged)?,
        }
        projection.push(item);
    }
    select.projection = projection;
    if let Some(condition) = &mut select.selection {
        in_expressions(condition, merged)?;
    }
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        in_expressions(keys, merged)?;
    }
    for condition in [&mut select.having, &mut select.qualify].into_iter().flatten() {
        in_expressions(condition, merged)?;
    }
    in_expressions(&mut select.named_window, merged)?;
    in_expressions(&mut select.distinct, merged)
}

/// The columns of `*`: those of the left table with the merged ones among them, then what else the
/// right one has.
fn all_columns(
    from: &[TableWithJoins],
    options: WildcardAdditionalOptions,
    merged: &[Merged],
) -> Result<Vec<SelectItem>, SyntaxError> {
    let at = options.wildcard_token.0.span.start;
    let all = match from {
        [TableWithJoins { relation, joins }] if is_plain(&options) => match joins.as_slice() {
            [join] => of_two([relation, &join.relation], merged),
            _ => None,
        },
        _ => None,
    };
    all.ok_or_else(|| {
        let written = merged.first().map_or("", |of| of.written.as_str());
        unsupported(at, &format!("* of {written}")).with_hint(
            "name the columns; t.* has those of one table, and coalesce(t.a, u.a) one that both have",
        )
    })
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    let plain = WildcardAdditionalOptions {
        wildcard_token: options.wildcard_token.clone(),
        ..WildcardAdditionalOptions::default()
    };
    plain == *options
}

fn of_two([left, right]: [&TableFactor; 2], merged: &[Merged]) -> Option<Vec<SelectItem>> {
    let (mut items, mut names) = (Vec::new(), Vec::new());
    for of in merged {
        let column_name = Ident::with_quote('"', of.name.clone()?);
        names.push(column_name.clone());
        let expr = of.meant.clone()?;
        items.push(Box::new(ReplaceSelectElement { expr, column_name, as_keyword: true }));
    }
    let first_element = names.first()?.clone();
    let additional_elements = names.split_off(1);
    let opt_replace = Some(ReplaceSelectItem { items });
    let opt_except = Some(ExceptSelectItem { first_element, additional_elements });
    let all_of = |table: &TableFactor, options| {
        let name = SelectItemQualifiedWildcardKind::ObjectName(whole_name_of(table)?);
        Some(SelectItem::QualifiedWildcard(name, options))
    };
    let plain = WildcardAdditionalOptions::default;
    Some(vec![
        all_of(left, WildcardAdditionalOptions { opt_replace, ..plain() })?,
        all_of(right, WildcardAdditionalOptions { opt_except, ..plain() })?,
    ])
}

/// Puts what they mean in the place of merged columns; subqueries have columns of their own.
fn in_expressions(node: &mut impl VisitMut, merged: &[Merged]) -> Result<(), SyntaxError> {
    match node.visit(&mut Columns { merged, depth: 0 }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Columns<'a> {
    merged: &'a [Merged],
    /// Queries around the place of the walk.
    depth: usize,
}

impl VisitorMut for Columns<'_> {
    type Break = Box<SyntaxError>;

    fn pre_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::Identifier(name) = &*expr else { return ControlFlow::Continue(()) };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let own = ident_name(name);
        // The last join is the one that the column comes out of.
        let is_it = |of: &&Merged| of.name.as_ref().is_none_or(|name| *name == own);
        let of = self.merged.iter().rev().find(is_it);
        let Some(of) = of else { return ControlFlow::Continue(()) };
        let Some(meant) = &of.meant else {
            let text = format!("the column '{name}' of {}", of.written);
            let hint = match of.name {
                Some(_) => {
                    format!("write coalesce(t.{name}, u.{name}) with the names of the tables")
                }
                None => "join with ON, and write each column with its table".to_owned(),
            };
            let error = unsupported(name.span.start, &text).with_hint(hint);
            return ControlFlow::Break(Box::new(error));
        };
        *expr = meant.clone();
        ControlFlow::Continue(())
    }
}

/// Joins whose columns are known become joins with ON: what was not seen, such as a column in a
/// subquery, is ambiguous then, and no longer that of the left table.
fn settle(select: &mut Select) {
    if !are_told_apart(&select.from) {
        return;
    }
    for table in &mut select.from {
        let on: Vec<Option<Expr>> = (0..table.joins.len()).map(|n| condition(table, n)).collect();
        for (join, on) in table.joins.iter_mut().zip(on) {
            if let (
                Some(on),
                JoinOperator::Join(of)
                | JoinOperator::Inner(of)
                | JoinOperator::Left(of)
                | JoinOperator::LeftOuter(of)
                | JoinOperator::Right(of)
                | JoinOperator::RightOuter(of)
                | JoinOperator::FullOuter(of),
            ) = (on, &mut join.join_operator)
            {
                *of = JoinConstraint::On(on);
            }
        }
    }
}

/// The condition that the USING of a join stands for; `None` where it may stay, or is not known.
fn condition(table: &TableWithJoins, n: usize) -> Option<Expr> {
    let join = table.joins.get(n)?;
    let (_, JoinConstraint::Using(columns)) = of_join(join)? else { return None };
    let is_outer = |own: &Ident| {
        let kinds = table.joins[..=n].iter().filter_map(|join| merges(join, own));
        kinds.into_iter().any(|kind| kind != Kind::Left)
    };
    if !columns.iter().filter_map(own_name).any(is_outer) {
        return None;
    }
    let mut all = None;
    for own in columns {
        let own = own_name(own)?;
        let (left, right) = (meant(table, n, own)?, column(name_of(&join.relation)?, own));
        let pair = binary(left, BinaryOperator::Eq, right);
        all = Some(match all {
            None => pair,
            Some(all) => binary(all, BinaryOperator::And, pair),
        });
    }
    all
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

#[cfg(test)]
mod tests {
    use crate::{parse, statement::Statement};

    fn made_of(sql: &str) -> String {
        match parse(sql) {
            Ok(Statement::Query(query)) => query.ast.to_string(),
            Ok(_) => panic!("{sql} is no query"),
            Err(error) => format!("refused: {error}"),
        }
    }

    #[test]
    fn a_merged_column_is_that_of_the_side_with_the_row() {
        for (sql, made) in [
            (
                "SELECT a, t.x FROM t FULL JOIN u USING (a) WHERE a > 3 ORDER BY a, a + 1",
                "SELECT coalesce(t.a, u.a) AS a, t.x FROM t FULL JOIN u ON t.a = u.a \
                 WHERE coalesce(t.a, u.a) > 3 ORDER BY a, coalesce(t.a, u.a) + 1",
            ),
            (
                "SELECT A + 1 FROM s.t RIGHT JOIN u AS v USING (a) GROUP BY a",
                "SELECT v.a + 1 FROM s.t RIGHT JOIN u AS v ON t.a = v.a GROUP BY v.a",
            ),
            (
                "SELECT a FROM t FULL JOIN u USING (a) FULL JOIN v USING (a)",
                "SELECT coalesce(coalesce(t.a, u.a), v.a) AS a FROM t FULL JOIN u ON t.a = u.a \
                 FULL JOIN v ON coalesce(t.a, u.a) = v.a",
            ),
            (
                "SELECT * FROM t RIGHT JOIN u USING (a)",
                "SELECT t.* REPLACE (u.a AS \"a\"), u.* EXCEPT (\"a\") FROM t RIGHT JOIN u ON t.a = u.a",
            ),
            (
                "SELECT * FROM s.t FULL JOIN s.u AS v USING (a)",
                "SELECT s.t.* REPLACE (coalesce(t.a, v.a) AS \"a\"), v.* EXCEPT (\"a\") FROM s.t \
                 FULL JOIN s.u AS v ON t.a = v.a",
            ),
            // As it was: these are the planner's own.
            ("SELECT a FROM t LEFT JOIN u USING (a)", "SELECT a FROM t LEFT JOIN u USING(a)"),
            (
                "SELECT t.a, u.b FROM t JOIN u ON t.c = u.c FULL JOIN v USING (a)",
                "SELECT t.a, u.b FROM t JOIN u ON t.c = u.c FULL JOIN v USING(a)",
            ),
        ] {
            assert_eq!(made_of(sql), made, "{sql}");
        }
    }

    #[test]
    fn what_the_text_does_not_tell_is_refused() {
        for sql in [
            "SELECT a FROM t NATURAL FULL JOIN u",
            "SELECT * FROM t NATURAL RIGHT JOIN u",
            "SELECT a FROM t JOIN u ON t.c = u.c FULL JOIN v USING (a)",
            "SELECT * FROM t FULL JOIN u USING (a) FULL JOIN v USING (a)",
            "SELECT a FROM r.t FULL JOIN s.t USING (a)",
            "SELECT 1 AS x UNION SELECT a FROM t NATURAL FULL JOIN u",
        ] {
            assert!(made_of(sql).starts_with("refused"), "{sql}: {}", made_of(sql));
        }
    }
}
