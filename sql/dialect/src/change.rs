//! DELETE, UPDATE, MERGE and TRUNCATE.

use sqlparser::{
    ast::{Expr, Ident, Join, JoinConstraint, JoinOperator, TableFactor, TableWithJoins},
    parser::Parser,
    tokenizer::{Location, Token},
};

use crate::{
    cursor::Cursor,
    error::SyntaxError,
    rows::{self, Target},
    scope::ident_name,
    statement::{Change, ChangeAction, ChangeClause, ChangeKind, Statement, When},
    tokens::normal,
};

/// What other databases write after a change, and what to do instead.
const TAILS: [(&str, &str); 9] = [
    ("RETURNING", READ_BEFORE),
    ("OUTPUT", READ_BEFORE),
    ("ORDER BY", CHOOSE),
    ("LIMIT", CHOOSE),
    ("OFFSET", CHOOSE),
    ("FETCH", CHOOSE),
    ("ON CONFLICT", UPSERT),
    ("ON DUPLICATE", UPSERT),
    ("PARTITION", "name the partition's columns in WHERE"),
];
const READ_BEFORE: &str = "read the rows with SELECT and the same condition";
const CHOOSE: &str = "choose the rows in WHERE: key IN (SELECT key FROM t ORDER BY … LIMIT …)";
const UPSERT: &str = "write MERGE INTO t USING … ON … WHEN MATCHED THEN UPDATE SET …";

/// `DELETE FROM name [[AS] alias] [USING relation, …] [WHERE condition]`.
pub(crate) fn delete(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.spell_out_table_queries();
    cursor.expect("DELETE")?;
    if !cursor.sees("FROM") {
        return Err(cursor.expected("FROM").with_hint("write DELETE FROM t WHERE …"));
    }
    cursor.skip(1);
    let target = Target::read_with_alias(cursor)?;
    refuse_second_target(cursor, "DELETE FROM")?;
    let read = if cursor.take("USING") { relations(cursor)? } else { Vec::new() };
    let selection = selection(cursor)?;
    refuse_tail(cursor, "DELETE")?;
    let rows = Rows { expressions: Vec::new(), read, selection };
    change(cursor, ChangeKind::Delete, target, rows, ChangeAction::Delete)
}

/// `UPDATE name [[AS] alias] SET column = expression, … [FROM relation, …] [WHERE condition]`.
pub(crate) fn update(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.spell_out_table_queries();
    cursor.expect("UPDATE")?;
    let target = Target::read_with_alias(cursor)?;
    refuse_second_target(cursor, "UPDATE")?;
    refuse_tail(cursor, "UPDATE")?;
    if !cursor.sees("SET") {
        let error = cursor.expected("SET");
        return Err(error.with_hint("write UPDATE t SET column = value FROM … WHERE …"));
    }
    cursor.skip(1);
    let mut expressions = Vec::new();
    let assignments = assignments(cursor, &target, &mut expressions)?;
    let read = if cursor.take("FROM") { relations(cursor)? } else { Vec::new() };
    let selection = selection(cursor)?;
    refuse_tail(cursor, "UPDATE")?;
    let rows = Rows { expressions, read, selection };
    change(cursor, ChangeKind::Update, target, rows, ChangeAction::Update(assignments))
}

/// `TRUNCATE [TABLE] name`.
pub(crate) fn truncate(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("TRUNCATE")?;
    cursor.take("TABLE");
    let target = Target::read(cursor)?;
    refuse_second_target(cursor, "TRUNCATE")?;
    for what in ["CASCADE", "RESTRICT", "RESTART IDENTITY", "CONTINUE IDENTITY"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("TRUNCATE … {what}"))
                .with_hint("leave it out: TRUNCATE TABLE t deletes the rows of t only"));
        }
    }
    for what in ["WHERE", "PARTITION"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("TRUNCATE … {what}"))
                .with_hint("write DELETE FROM t WHERE …"));
        }
    }
    Ok(Statement::Truncate { target: target.name })
}

/// `MERGE [WITH SCHEMA EVOLUTION] INTO name [[AS] alias] USING source ON condition WHEN …`.
pub(crate) fn merge(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.spell_out_table_queries();
    cursor.expect("MERGE")?;
    let schema_evolution = cursor.sees("WITH");
    if schema_evolution {
        cursor.expect("WITH SCHEMA EVOLUTION")?;
    }
    cursor.expect("INTO")?;
    let target = Target::read_with_alias(cursor)?;
    cursor.expect("USING")?;
    let (source, source_alias) = source(cursor, &target)?;
    cursor.expect("ON")?;
    let on = cursor.expression()?;
    let mut expressions = Vec::new();
    let mut clauses: Vec<ChangeClause> = Vec::new();
    while cursor.sees("WHEN") {
        let at = cursor.here();
        let when = when(cursor)?;
        if clauses.iter().any(|earlier| earlier.when == when && earlier.condition.is_none()) {
            return Err(SyntaxError::new(
                at,
                "this clause can never apply: an earlier one of its kind has no condition and takes every row",
            )
            .with_hint("give the earlier clause a condition: AND …"));
        }
        let first = expressions.len();
        let condition = if cursor.take("AND") {
            Some(push(&mut expressions, cursor.expression()?))
        } else {
            None
        };
        cursor.expect("THEN")?;
        let action = action(cursor, when, &target, &mut expressions)?;
        // Here a row has one side only, so a bare name can mean no other.
        let side = match when {
            When::Matched => None,
            When::NotMatchedByTarget => Some(source_alias.clone()),
            When::NotMatchedBySource => Some(target.ident().clone()),
        };
        if let Some(side) = side {
            expressions[first..].iter_mut().for_each(|expr| rows::bare_names_of(expr, &side));
        }
        clauses.push(ChangeClause { when, condition, action });
    }
    refuse_tail(cursor, "MERGE")?;
    if clauses.is_empty() || !cursor.at_end() {
        return Err(cursor.expected_one_of(&["WHEN MATCHED", "WHEN NOT MATCHED"]));
    }
    let join = Join {
        relation: source,
        global: false,
        join_operator: JoinOperator::Inner(JoinConstraint::On(on)),
    };
    let from = vec![TableWithJoins { relation: target.relation(), joins: vec![join] }];
    let rows = cursor.finish(rows::select(expressions, from, None))?;
    Ok(Statement::Change(Change {
        kind: ChangeKind::Merge,
        target: target.name,
        rows,
        clauses,
        schema_evolution,
    }))
}

/// What makes the rows of a DELETE or an UPDATE, besides its target.
struct Rows {
    expressions: Vec<Expr>,
    read: Vec<TableWithJoins>,
    selection: Option<Expr>,
}

/// The one clause of a DELETE or an UPDATE.
fn change(
    cursor: &mut Cursor<'_>,
    kind: ChangeKind,
    target: Target,
    Rows { expressions, read, selection }: Rows,
    action: ChangeAction,
) -> Result<Statement, SyntaxError> {
    let mut from = vec![TableWithJoins { relation: target.relation(), joins: Vec::new() }];
    from.extend(read);
    let rows = cursor.finish(rows::select(expressions, from, selection))?;
    Ok(Statement::Change(Change {
        kind,
        target: target.name,
        rows,
        clauses: vec![ChangeClause { when: When::Matched, condition: None, action }],
        schema_evolution: false,
    }))
}

/// `relation, …` of USING or FROM.
fn relations(cursor: &mut Cursor<'_>) -> Result<Vec<TableWithJoins>, SyntaxError> {
    let mut relations = Vec::new();
    loop {
        relations.push(cursor.run_in_query(Parser::parse_table_and_joins)?);
        if !cursor.take_token(&Token::Comma) {
            return Ok(relations);
        }
    }
}

/// `WHERE condition`, if it comes next.
fn selection(cursor: &mut Cursor<'_>) -> Result<Option<Expr>, SyntaxError> {
    if cursor.take("WHERE") { Ok(Some(cursor.expression()?)) } else { Ok(None) }
}

/// A statement changes one table.
fn refuse_second_target(cursor: &Cursor<'_>, what: &str) -> Result<(), SyntaxError> {
    if !matches!(cursor.peek(), Token::Comma) {
        return Ok(());
    }
    Err(cursor
        .unsupported(&format!("{what} several tables"))
        .with_hint("write one statement for each table"))
}

/// Clauses that some database reads after a change, but not this one.
fn refuse_tail(cursor: &Cursor<'_>, what: &str) -> Result<(), SyntaxError> {
    match TAILS.into_iter().find(|(tail, _)| cursor.sees(tail)) {
        Some((tail, instead)) => {
            Err(cursor.unsupported(&format!("{what} … {tail}")).with_hint(instead))
        }
        None => Ok(()),
    }
}

/// The number that an expression gets.
fn push(expressions: &mut Vec<Expr>, expression: Expr) -> usize {
    expressions.push(expression);
    expressions.len() - 1
}

/// `column = expression, …`, each column once.
fn assignments(
    cursor: &mut Cursor<'_>,
    target: &Target,
    expressions: &mut Vec<Expr>,
) -> Result<Vec<(String, usize)>, SyntaxError> {
    let mut assignments: Vec<(String, usize)> = Vec::new();
    loop {
        let at = cursor.here();
        let column = assigned(cursor, target)?;
        if assignments.iter().any(|(other, _)| *other == column) {
            return Err(SyntaxError::new(at, format!("column '{column}' is set twice")));
        }
        cursor.expect_token(&Token::Eq)?;
        let value = value(cursor)?;
        assignments.push((column, push(expressions, value)));
        if !cursor.take_token(&Token::Comma) {
            return Ok(assignments);
        }
    }
}

/// The column before `=`, perhaps with the name that the target goes by.
fn assigned(cursor: &mut Cursor<'_>, target: &Target) -> Result<String, SyntaxError> {
    let at = cursor.here();
    match cursor.peek() {
        Token::LParen => {
            return Err(cursor
                .unsupported("SET (column, …) = (…)")
                .with_hint("set each column by itself: SET a = …, b = …"));
        }
        Token::Mul => {
            return Err(cursor
                .error("SET * has a meaning only in MERGE")
                .with_hint("set each column by itself: SET a = …, b = …"));
        }
        _ => {}
    }
    let parts = cursor.name("the name of a column")?;
    let alias = target.alias();
    let column = match parts.as_slice() {
        [column] => column.clone(),
        [of, column] if *of == alias => column.clone(),
        [of, column] if target.name.last() == Some(of) => {
            return Err(SyntaxError::new(at, format!("the table is called '{alias}' here"))
                .with_hint(format!("write {alias}.{column}")));
        }
        _ => {
            return Err(SyntaxError::unsupported(
                at,
                format!(
                    "setting '{}', a part of a column, is not supported in this version",
                    parts.join(".")
                ),
            )
            .with_hint(format!(
                "set the whole column, as SET column = …; the table is called '{alias}' here"
            )));
        }
    };
    if matches!(cursor.peek(), Token::LBracket) {
        return Err(cursor
            .unsupported("setting an element of a column")
            .with_hint("set the whole column, as SET column = …"));
    }
    Ok(column)
}

/// An expression that a column takes.
fn value(cursor: &mut Cursor<'_>) -> Result<Expr, SyntaxError> {
    let alone = matches!(
        cursor.peek_at(1),
        Token::Comma | Token::RParen | Token::SemiColon | Token::EOF | Token::Word(_)
    );
    if alone && cursor.sees("DEFAULT") {
        return Err(cursor
            .unsupported("DEFAULT as a value")
            .with_hint("columns have no defaults: write the value, or NULL"));
    }
    cursor.expression()
}

/// The source of a MERGE, which always goes by a name of its own.
fn source(cursor: &mut Cursor<'_>, target: &Target) -> Result<(TableFactor, Ident), SyntaxError> {
    let at = cursor.here();
    let mut source = cursor.run_in_query(Parser::parse_table_factor)?;
    let name = match &mut source {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => alias.name.clone(),
        TableFactor::Table { name, alias, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident()).cloned();
            let Some(last) = last else {
                return Err(SyntaxError::new(at, format!("'{name}' is not the name of a table")));
            };
            match cursor.travel(last.span.start) {
                // Its alias is given where the clause is put into the name.
                Some(travel) => Ident::with_quote('"', normal(&travel.word)),
                None => {
                    *alias = Some(rows::alias(last.clone()));
                    last
                }
            }
        }
        TableFactor::Derived { alias: None, .. } => {
            return Err(SyntaxError::new(at, "the query after USING needs an alias")
                .with_hint("write USING (SELECT …) AS s ON …"));
        }
        _ => {
            return Err(SyntaxError::unsupported(
                at,
                "a source of MERGE that is neither a table nor a query is not supported in this version",
            )
            .with_hint("write USING (SELECT … FROM …) AS s ON …"));
        }
    };
    for what in ["JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported("a join as the source of MERGE")
                .with_hint("write USING (SELECT … FROM a JOIN b ON …) AS s ON …"));
        }
    }
    let alias = name;
    let name = ident_name(&alias);
    if name == target.alias() {
        return Err(SyntaxError::new(at, format!("target and source are both called '{name}'"))
            .with_hint("give one of them an alias: MERGE INTO t AS a USING … AS b"));
    }
    Ok((source, alias))
}

/// `WHEN [NOT] MATCHED [BY TARGET | BY SOURCE]`.
fn when(cursor: &mut Cursor<'_>) -> Result<When, SyntaxError> {
    cursor.expect("WHEN")?;
    if cursor.take("MATCHED") {
        return Ok(When::Matched);
    }
    if cursor.sees("NOT") {
        cursor.expect("NOT MATCHED")?;
        return if cursor.take("BY SOURCE") {
            Ok(When::NotMatchedBySource)
        } else if cursor.take("BY TARGET") || !cursor.take("BY") {
            Ok(When::NotMatchedByTarget)
        } else {
            Err(cursor.expected_one_of(&["TARGET", "SOURCE"]))
        };
    }
    Err(cursor.expected_one_of(&["MATCHED", "NOT MATCHED"]))
}

/// What stands after THEN.
fn action(
    cursor: &mut Cursor<'_>,
    when: When,
    target: &Target,
    expressions: &mut Vec<Expr>,
) -> Result<ChangeAction, SyntaxError> {
    let at = cursor.here();
    match cursor.word().as_str() {
        word @ ("UPDATE" | "DELETE") if when == When::NotMatchedByTarget => {
            let error = SyntaxError::new(at, format!("{word} has no row to change here"));
            Err(error.with_hint("WHEN NOT MATCHED is followed by THEN INSERT"))
        }
        "INSERT" if when == When::Matched => {
            Err(SyntaxError::new(at, "INSERT has no meaning for a row that is there already")
                .with_hint("write WHEN NOT MATCHED THEN INSERT …"))
        }
        "INSERT" if when == When::NotMatchedBySource => {
            Err(SyntaxError::new(at, "INSERT has no row of the source to take here")
                .with_hint("write WHEN NOT MATCHED THEN INSERT …"))
        }
        "DELETE" => {
            cursor.skip(1);
            Ok(ChangeAction::Delete)
        }
        "UPDATE" => {
            cursor.expect("UPDATE SET")?;
            if when == When::NotMatchedBySource && matches!(cursor.peek(), Token::Mul) {
                return Err(cursor
                    .error("UPDATE SET * has no row of the source to take here")
                    .with_hint("set each column by itself: UPDATE SET a = …, b = …"));
            }
            if cursor.take_token(&Token::Mul) {
                return Ok(ChangeAction::UpdateAll);
            }
            Ok(ChangeAction::Update(assignments(cursor, target, expressions)?))
        }
        "INSERT" => {
            cursor.skip(1);
            insert(cursor, expressions)
        }
        "DO" => Err(cursor
            .unsupported("DO NOTHING")
            .with_hint("a row that no clause takes stays as it is; put the exception into AND …")),
        _ if when == When::NotMatchedByTarget => Err(cursor.expected_one_of(&["INSERT"])),
        _ => Err(cursor.expected_one_of(&["UPDATE SET", "DELETE"])),
    }
}

/// `*`, or `[(columns)] VALUES (expressions)`.
fn insert(
    cursor: &mut Cursor<'_>,
    expressions: &mut Vec<Expr>,
) -> Result<ChangeAction, SyntaxError> {
    if cursor.take_token(&Token::Mul) {
        return Ok(ChangeAction::InsertAll);
    }
    let columns: Vec<String> = if matches!(cursor.peek(), Token::LParen) {
        cursor.columns()?.into_iter().map(|(column, _)| column).collect()
    } else {
        Vec::new()
    };
    if !cursor.sees("VALUES") {
        return Err(cursor.expected_one_of(if columns.is_empty() {
            &["*", "(columns)", "VALUES"]
        } else {
            &["VALUES"]
        }));
    }
    cursor.skip(1);
    let at = cursor.here();
    let values = values(cursor, expressions)?;
    if !columns.is_empty() && columns.len() != values.len() {
        return Err(count_mismatch(at, columns.len(), values.len()));
    }
    Ok(ChangeAction::Insert { columns, values })
}

fn values(cursor: &mut Cursor<'_>, expressions: &mut Vec<Expr>) -> Result<Vec<usize>, SyntaxError> {
    cursor.expect_token(&Token::LParen)?;
    let mut values = Vec::new();
    loop {
        let value = value(cursor)?;
        values.push(push(expressions, value));
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if !cursor.take_token(&Token::RParen) {
        return Err(cursor.expected(", or )"));
    }
    if matches!(cursor.peek(), Token::Comma) {
        return Err(cursor
            .error("INSERT of MERGE adds one row for each row of the source")
            .with_hint("put more rows into the source"));
    }
    Ok(values)
}

fn count_mismatch(at: Location, columns: usize, values: usize) -> SyntaxError {
    SyntaxError::new(
        at,
        format!("the number of columns is {columns}, but the number of values is {values}"),
    )
    .with_hint("give one value for each column")
}

#[cfg(test)]
mod tests;
