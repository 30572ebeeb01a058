//! A parsed query made ready: its tables named, time travel put into names, and whatever the
//! planner would silently ignore refused.

use std::{collections::HashMap, ops::ControlFlow};

use sqlparser::{
    ast::{
        self, BinaryOperator, Expr, Fetch, Ident, LimitClause, SelectFlavor, SelectItem, SetExpr,
        Spanned, TableAlias, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut,
        WildcardAdditionalOptions, helpers::attached_token::AttachedToken,
    },
    tokenizer::{Location, Word},
};

use crate::{
    error::SyntaxError,
    files, like, merged, metadata,
    scope::{Scope, name_parts},
    statement::{FilesUse, Query, TableUse, TimeTravel},
    tokens::{Travels, misplaced, normal},
};

/// Walks the query once. `find` answers where a word stands at or after a place.
pub(crate) fn finish(
    mut ast: Box<ast::Query>,
    travels: &mut Travels,
    parameters: usize,
    streams: bool,
    find: &dyn Fn(&str, Location) -> Location,
) -> Result<Query, SyntaxError> {
    let (scope, tables, files) = (Scope::default(), Vec::new(), Vec::new());
    let mut walk = Walk { scope, travels, tables, files, streams, find };
    match ast.visit(&mut walk) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => {
            let Walk { tables, mut files, .. } = walk;
            metadata::settle(&mut ast, &mut files);
            Ok(Query { ast, tables, files, parameters })
        }
    }
}

struct Walk<'a> {
    scope: Scope,
    travels: &'a mut Travels,
    tables: Vec<TableUse>,
    files: Vec<FilesUse>,
    streams: bool,
    find: &'a dyn Fn(&str, Location) -> Location,
}

type Step = ControlFlow<Box<SyntaxError>>;

impl VisitorMut for Walk<'_> {
    type Break = Box<SyntaxError>;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> Step {
        self.scope.enter(query);
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            refuse_at_sign(&cte.alias.name)?;
        }
        if query.with.is_some() {
            check_after_with(&query.body)?;
        }
        check_body(&query.body)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            all_of_from(select);
        }
        written_out(merged::write_out(query))?;
        limit_of_fetch(query);
        self.check_tail(query)
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> Step {
        self.scope.leave();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Step {
        regroup_distinct(expr);
        like::without_escape(expr);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> Step {
        all_of_from(select);
        written_out(merged::write_out_select(select))?;
        name_repeated(&mut select.projection);
        let Some(into) = &select.into else { return ControlFlow::Continue(()) };
        let error = unsupported(into.name.span().start, "SELECT INTO");
        stop(error.with_hint(format!("write CREATE TABLE {} AS SELECT …", into.name)))
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> Step {
        let TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            partitions,
            with_ordinality,
            json_path,
            sample,
            index_hints,
            ..
        } = table
        else {
            return check_factor(table);
        };
        let at = name.span().start;
        let ignored = [
            (sample.is_some(), "TABLESAMPLE"),
            (!partitions.is_empty(), "PARTITION after a table's name"),
            (!with_hints.is_empty() || !index_hints.is_empty(), "a hint after a table's name"),
            (json_path.is_some(), "a path after a table's name"),
            (*with_ordinality, "WITH ORDINALITY"),
        ];
        if let Some((_, what)) = ignored.into_iter().find(|(given, _)| *given) {
            return stop(unsupported(at, what));
        }
        let Some(planned_name) = name_parts(name) else {
            return stop(SyntaxError::new(at, format!("'{name}' is not the name of a table")));
        };
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        let travel = self.travels.get_mut(&last.span.start);
        if let Some(arguments) = args {
            let of_files = [files::READ_FILES] == *planned_name;
            let is_stream = match travel {
                None => false,
                Some(travel) if of_files && matches!(travel.at, TimeTravel::Stream(_)) => {
                    travel.used = true;
                    if !self.streams {
                        return stop(no_stream(travel.clause));
                    }
                    true
                }
                Some(travel) => return stop(misplaced(travel)),
            };
            let files = match files::read(&planned_name, arguments, at) {
                Ok(Some(files)) => FilesUse { is_stream, ..files },
                Ok(None) => {
                    // The planner finds them by their exact names, which are small.
                    if let [ast::ObjectNamePart::Identifier(name)] = name.0.as_mut_slice()
                        && name.quote_style.is_none()
                    {
                        name.value.make_ascii_lowercase();
                    }
                    return ControlFlow::Continue(());
                }
                Err(error) => return stop(error),
            };
            if alias.is_none() {
                // Columns are named by the function, as those of any other one are.
                let name = Ident::with_quote('"', files.name());
                *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
            }
            *name = ast::ObjectName::from(vec![Ident::with_quote('"', files.planned_name())]);
            *args = None;
            if !self.files.contains(&files) {
                self.files.push(files);
            }
            return ControlFlow::Continue(());
        }
        let Some(travel) = travel else {
            for part in &name.0 {
                part.as_ident().map_or(ControlFlow::Continue(()), refuse_at_sign)?;
            }
            if !self.scope.is_with_query(&planned_name) {
                self.add(TableUse { name: planned_name.clone(), at: None, planned_name });
            }
            return ControlFlow::Continue(());
        };
        for part in &name.0[..name.0.len() - 1] {
            part.as_ident().map_or(ControlFlow::Continue(()), refuse_at_sign)?;
        }
        travel.used = true;
        if matches!(travel.at, TimeTravel::Stream(_)) && !self.streams {
            return stop(no_stream(travel.clause));
        }
        let mut written = planned_name.clone();
        if let Some(last) = written.last_mut() {
            *last = normal(&travel.word);
        }
        if written.last().is_some_and(|last| last.contains('@')) {
            return stop(at_sign(last.span.start));
        }
        if self.scope.is_with_query(&written) {
            let error = SyntaxError::new(
                travel.clause,
                format!("'{}' is a query of WITH: only a table has versions", written.join(".")),
            );
            return stop(
                error.with_hint("write the clause inside the WITH query, after the table's name"),
            );
        }
        if alias.is_none() {
            // Columns are named by the table's own name, which the planner no longer sees.
            let Word { value, quote_style, .. } = travel.word.clone();
            let name = Ident { value, quote_style, span: last.span };
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
        let at = Some(travel.at.clone());
        self.add(TableUse { name: written, at, planned_name });
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> Step {
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        let is_number =
            name.strip_prefix('$').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        if is_number {
            return ControlFlow::Continue(());
        }
        stop(
            unsupported(value.span.start, &format!("the named parameter '{name}'"))
                .with_hint("write ? or $1"),
        )
    }
}

impl Walk<'_> {
    fn add(&mut self, table: TableUse) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }

    /// Clauses after the body that the planner ignores.
    fn check_tail(&self, query: &ast::Query) -> Step {
        let ignored = [
            (!query.locks.is_empty(), "FOR", "FOR UPDATE and FOR SHARE"),
            (query.for_clause.is_some(), "FOR", "FOR XML and FOR JSON"),
            (query.settings.is_some(), "SETTINGS", "SETTINGS after a query"),
            (query.format_clause.is_some(), "FORMAT", "FORMAT after a query"),
        ];
        match ignored.into_iter().find(|(given, ..)| *given) {
            Some((_, word, what)) => {
                stop(unsupported((self.find)(word, query.body.span().end), what))
            }
            None => ControlFlow::Continue(()),
        }
    }
}

/// `FROM t`, which is `SELECT * FROM t`.
fn all_of_from(select: &mut ast::Select) {
    if select.projection.is_empty() && select.flavor == SelectFlavor::FromFirstNoSelect {
        select.projection.push(SelectItem::Wildcard(WildcardAdditionalOptions::default()));
        select.flavor = SelectFlavor::Standard;
    }
}

fn written_out(result: Result<(), SyntaxError>) -> Step {
    result.map_or_else(stop, ControlFlow::Continue)
}

/// `FETCH FIRST 5 ROWS ONLY`, the standard's word for `LIMIT 5`, which the planner knows. Its other
/// forms stay, and are refused there.
fn limit_of_fetch(query: &mut ast::Query) {
    let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch else { return };
    let one = || Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
    let rows = quantity.clone().unwrap_or_else(one);
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = Some(rows),
        Some(_) => return,
        clause @ None => {
            let (offset, limit_by) = (None, Vec::new());
            *clause = Some(LimitClause::LimitOffset { limit: Some(rows), offset, limit_by });
        }
    }
    query.fetch = None;
}

/// The SQL parser takes all of `b AND c` for the right side of `a IS DISTINCT FROM b AND c`. The
/// words are put back in their order, and AND binds more than OR.
fn regroup_distinct(expr: &mut Expr) {
    use BinaryOperator::{And, Or};
    let (mut operands, mut operators) = (Vec::new(), Vec::new());
    match expr {
        Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right)
            if matches!(right.as_ref(), Expr::BinaryOp { op: And | Or, .. }) =>
        {
            flatten(taken(right), &mut operands, &mut operators);
            **right = operands.remove(0);
            operands.insert(0, taken(expr));
        }
        // What such a comparison gave back; the parser itself never leans to this side.
        Expr::BinaryOp { op: And, right, .. }
            if matches!(right.as_ref(), Expr::BinaryOp { op: And | Or, .. }) =>
        {
            flatten(taken(expr), &mut operands, &mut operators);
        }
        Expr::BinaryOp { op: Or, right, .. }
            if matches!(right.as_ref(), Expr::BinaryOp { op: Or, .. }) =>
        {
            flatten(taken(expr), &mut operands, &mut operators);
        }
        _ => return,
    }
    let join = |left: Option<Expr>, op: BinaryOperator, right: Expr| match left {
        Some(left) => Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) },
        None => right,
    };
    let (mut sum, mut product) = (None, None);
    let operators = [And].into_iter().chain(operators);
    for (operator, operand) in operators.zip(operands) {
        if operator == Or
            && let Some(product) = product.take()
        {
            sum = Some(join(sum.take(), Or, product));
        }
        product = Some(join(product.take(), And, operand));
    }
    if let Some(product) = product {
        *expr = join(sum, Or, product);
    }
}

/// The expression, with nothing left in its place.
fn taken(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Wildcard(AttachedToken::empty()))
}

/// The operands of AND and OR as they were written; brackets are kept together.
fn flatten(expr: Expr, operands: &mut Vec<Expr>, operators: &mut Vec<BinaryOperator>) {
    match expr {
        Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
            flatten(*left, operands, operators);
            operators.push(op);
            flatten(*right, operands, operators);
        }
        other => operands.push(other),
    }
}

/// The planner wants a name for each column: the second `a` of `SELECT a, a` becomes `a_1`.
fn name_repeated(projection: &mut [SelectItem]) {
    let mut keepers: HashMap<String, (usize, bool)> = HashMap::new();
    let mut texts = Vec::with_capacity(projection.len());
    for (n, item) in projection.iter().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else {
            texts.push(None);
            continue;
        };
        let text = as_named(expr).to_lowercase();
        let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let keeper = keepers.entry(text.clone()).or_insert((n, is_column));
        // A column keeps its name rather than a cast of it.
        if is_column && !keeper.1 {
            *keeper = (n, true);
        }
        texts.push(Some(text));
    }
    let mut repeats: HashMap<&str, usize> = HashMap::new();
    for (n, (item, text)) in projection.iter_mut().zip(&texts).enumerate() {
        let (SelectItem::UnnamedExpr(expr), Some(text)) = (&*item, text) else { continue };
        if keepers.get(text).is_some_and(|(keeper, _)| *keeper == n) {
            continue;
        }
        let repeat = repeats.entry(text).or_default();
        *repeat += 1;
        let name = match expr {
            Expr::Identifier(ident) => ident.value.clone(),
            Expr::CompoundIdentifier(parts) => {
                parts.last().map_or_else(|| expr.to_string(), |part| part.value.clone())
            }
            _ => expr.to_string(),
        };
        let alias = Ident::with_quote('"', format!("{name}_{repeat}").replace('"', "'"));
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// The text of an expression as the planner names its column: casts are not a part of the name, nor is
/// what a subquery asks that only tells yes or no.
fn as_named(expr: &Expr) -> String {
    /// Longer ones are compared as they are: walking them again could take the stack that is left.
    const LENGTH_MAX: usize = 1_000;
    struct Bare;
    impl VisitorMut for Bare {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            match expr {
                Expr::Cast { expr: inner, .. } => *expr = taken(inner),
                Expr::Exists { negated, .. } => {
                    *expr = Expr::Identifier(Ident::new(format!("exists {negated}")));
                }
                Expr::InSubquery { expr: inner, negated, .. } => {
                    let (inner, negated) = (Box::new(taken(inner)), *negated);
                    *expr = Expr::InList { expr: inner, list: Vec::new(), negated };
                }
                Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                    **right = Expr::Wildcard(AttachedToken::empty());
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let text = expr.to_string();
    let is_named_otherwise = ["CAST(", "::", "SELECT"].iter().any(|word| text.contains(word));
    if !is_named_otherwise || text.len() > LENGTH_MAX {
        return text;
    }
    let mut bare = expr.clone();
    let _ = bare.visit(&mut Bare);
    bare.to_string()
}

/// A statement that changes rows has its WITH further inside.
fn check_after_with(body: &SetExpr) -> Step {
    let (what, instead) = match body {
        SetExpr::Insert(_) => ("INSERT", "write INSERT INTO t WITH … SELECT …"),
        SetExpr::Update(_) => {
            ("UPDATE", "write UPDATE t SET … FROM (WITH … SELECT …) AS q WHERE …")
        }
        SetExpr::Delete(_) => {
            ("DELETE", "write DELETE FROM t USING (WITH … SELECT …) AS q WHERE …")
        }
        SetExpr::Merge(_) => ("MERGE", "write MERGE INTO t USING (WITH … SELECT …) AS s ON …"),
        _ => return ControlFlow::Continue(()),
    };
    let error = SyntaxError::new(body.span().start, format!("WITH cannot stand before {what}"));
    stop(error.with_hint(instead))
}

fn check_body(body: &SetExpr) -> Step {
    // A chain of set operations leans to the left; this walks down that side without recursion.
    let mut body = body;
    while let SetExpr::SetOperation { left, right, .. } = body {
        check_body(right)?;
        body = left;
    }
    // The place of a long chain is found by going down all of it, so only an error asks for it.
    let at = || body.span().start;
    match body {
        SetExpr::Insert(_) => stop(inside(at(), "INSERT")),
        SetExpr::Update(_) => stop(inside(at(), "UPDATE")),
        SetExpr::Delete(_) => stop(inside(at(), "DELETE")),
        SetExpr::Merge(_) => stop(inside(at(), "MERGE")),
        SetExpr::Table(_) => {
            stop(unsupported(at(), "TABLE at this place").with_hint("write SELECT * FROM …"))
        }
        SetExpr::Select(_)
        | SetExpr::Query(_)
        | SetExpr::Values(_)
        | SetExpr::SetOperation { .. } => ControlFlow::Continue(()),
    }
}

fn check_factor(table: &TableFactor) -> Step {
    match table {
        TableFactor::Derived { sample: Some(_), .. } => {
            stop(unsupported(table.span().start, "TABLESAMPLE"))
        }
        _ => ControlFlow::Continue(()),
    }
}

fn refuse_at_sign(ident: &Ident) -> Step {
    if ident.value.contains('@') {
        stop(at_sign(ident.span.start))
    } else {
        ControlFlow::Continue(())
    }
}

pub(crate) fn at_sign(at: Location) -> SyntaxError {
    SyntaxError::new(at, "a name cannot hold '@'")
        .with_hint("a version of a table is written t VERSION AS OF 3")
}

/// A statement that changes rows where a query is expected.
fn inside(at: Location, what: &str) -> SyntaxError {
    unsupported(at, &format!("{what} inside a query"))
        .with_hint("send it as a statement of its own")
}

pub(crate) fn unsupported(at: Location, what: &str) -> SyntaxError {
    SyntaxError::unsupported(at, format!("{what} is not supported in this version"))
}

/// The error for a STREAM outside of the query of a flow.
fn no_stream(at: Location) -> SyntaxError {
    let text = "STREAM reads what came since the last run, which only a flow has";
    SyntaxError::new(at, text)
        .with_hint("leave STREAM out to read the table as it is, or write CREATE STREAMING TABLE")
}

fn stop(error: SyntaxError) -> Step {
    ControlFlow::Break(Box::new(error))
}

#[cfg(test)]
mod tests;
