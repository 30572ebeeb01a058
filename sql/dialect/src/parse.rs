//! Texts to statements: which statement it is, by its first words.

use sqlparser::{
    ast,
    tokenizer::{Location, Token, TokenWithSpan},
};

use crate::{
    alter,
    bounded::Bounded,
    change, clauses, copy,
    cursor::{Cursor, slice},
    define,
    error::{SyntaxError, SyntaxErrorKind, nearest},
    insert, jobs, maintain, refused, rights, runs, show,
    statement::{FolderAction, QuarantineAction, Query, Statement},
    tokens::{settle, statements},
    transform,
};

/// One statement of a file of statements.
#[derive(Debug, Clone)]
pub struct ScriptStatement {
    /// Its text, from its first to its last word.
    pub text: String,
    /// The line of the file on which it begins, from 1.
    pub line: u64,
    /// What it says.
    pub statement: Statement,
}

/// A column of a list that says what files have.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenColumn {
    /// Its name: in lower case unless it was quoted.
    pub name: String,
    /// Its name as it was written.
    pub written: String,
    /// Its type.
    pub data_type: ast::DataType,
}

/// Words that begin a statement.
const HEADS: [&str; 37] = [
    "SELECT", "WITH", "VALUES", "FROM", "EXPLAIN", "INSERT", "DELETE", "UPDATE", "MERGE",
    "TRUNCATE", "ALTER", "COMMENT", "OPTIMIZE", "VACUUM", "RESTORE", "VALIDATE", "CREATE", "DROP",
    "REFRESH", "SHOW", "DESCRIBE", "WAIT", "CANCEL", "RETRY", "SET", "TABLE", "CONVERT", "COPY",
    "GRANT", "REVOKE", "SUSPEND", "RESUME", "VERIFY", "BACKFILL", "PURGE", "RELEASE", "APPROVE",
];

/// Reads exactly one statement; a `;` at its end and comments are fine.
///
/// Errors say where. A text without a statement and one with several are errors of their own kind.
pub fn parse(sql: &str) -> Result<Statement, SyntaxError> {
    let start = Location { line: 1, column: 1 };
    let mut all = statements(sql)?.into_iter();
    let Some(tokens) = all.next() else {
        return Err(
            SyntaxError::new(start, "there is no statement").of_kind(SyntaxErrorKind::Empty)
        );
    };
    if let Some(second) = all.next() {
        let at = second.first().map_or(start, |token| token.span.start);
        return Err(SyntaxError::new(
            at,
            "there is a second statement here; send one statement at a time",
        )
        .of_kind(SyntaxErrorKind::Many));
    }
    whole(sql, tokens)
}

/// Reads a file of statements with `;` between them. Positions of errors are those of the file.
pub fn parse_script(text: &str) -> Result<Vec<ScriptStatement>, SyntaxError> {
    let mut script = Vec::new();
    for tokens in statements(text)? {
        let start =
            tokens.first().map_or(Location { line: 1, column: 1 }, |token| token.span.start);
        let end = tokens.last().map_or(start, |token| token.span.end);
        let own_text = slice(text, start, end).to_owned();
        script.push(ScriptStatement {
            text: own_text,
            line: start.line,
            statement: whole(text, tokens)?,
        });
    }
    Ok(script)
}

/// Reads the query of a flow, as it is stored: in it, STREAM may stand before tables.
pub fn parse_flow_query(text: &str) -> Result<Query, SyntaxError> {
    let tokens = settle(statements(text)?.into_iter().next().unwrap_or_default())?;
    let dialect = Bounded::new(tokens.tokens.len());
    let mut cursor = Cursor::new(text, tokens, &dialect);
    cursor.allow_streams();
    let query = cursor.stored_query("flow")?;
    cursor.end()?;
    Ok(query)
}

/// Reads an SQL type, as declared column lists hold it.
pub fn parse_data_type(text: &str) -> Result<ast::DataType, SyntaxError> {
    let tokens = statements(text)?.into_iter().next().unwrap_or_default();
    let tokens = settle(tokens)?;
    let dialect = Bounded::new(tokens.tokens.len());
    let mut cursor = Cursor::new(text, tokens, &dialect);
    let data_type = cursor.data_type()?;
    cursor.end()?;
    Ok(data_type)
}

/// Reads a list of columns as `schema` of `read_files` has it, `id BIGINT, name STRING`. A comment of a column says nothing about the files and is passed over.
pub fn parse_columns(text: &str) -> Result<Vec<WrittenColumn>, SyntaxError> {
    let tokens = statements(text)?.into_iter().next().unwrap_or_default();
    let tokens = settle(tokens)?;
    let dialect = Bounded::new(tokens.tokens.len());
    let mut cursor = Cursor::new(text, tokens, &dialect);
    let mut columns: Vec<WrittenColumn> = Vec::new();
    loop {
        let at = cursor.here();
        let written = match cursor.peek() {
            Token::Word(word) => word.value.clone(),
            _ => String::new(),
        };
        let name = cursor.ident("the name of a column")?;
        if columns.iter().any(|known| known.name == name) {
            return Err(SyntaxError::new(at, format!("column '{name}' is declared twice")));
        }
        cursor.take_token(&Token::Colon);
        columns.push(WrittenColumn { name, written, data_type: cursor.data_type()? });
        if cursor.word() == "NOT" {
            return Err(cursor.unsupported("NOT NULL of a column of files").with_hint(
                "declare it where the rows go: in the column list of the table, or as an expectation",
            ));
        }
        if cursor.word() == "COMMENT" {
            clauses::comment(&mut cursor)?;
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.end()?;
    Ok(columns)
}

fn whole(text: &str, tokens: Vec<TokenWithSpan>) -> Result<Statement, SyntaxError> {
    let tokens = settle(tokens)?;
    let dialect = Bounded::new(tokens.tokens.len());
    let mut cursor = Cursor::new(text, tokens, &dialect);
    let statement = statement(&mut cursor)?;
    cursor.end()?;
    Ok(statement)
}

fn statement(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    if matches!(cursor.peek(), Token::LParen) {
        return Ok(Statement::Query(cursor.query()?));
    }
    let head = cursor.word();
    match head.as_str() {
        "SELECT" | "WITH" | "VALUES" | "FROM" | "TABLE" => Ok(Statement::Query(cursor.query()?)),
        "SUBSTRAIT" => {
            cursor.expect("SUBSTRAIT")?;
            Ok(Statement::Substrait { plan: cursor.string("a plan of Substrait in base64")? })
        }
        "EXPLAIN" => explain(cursor),
        "INSERT" => insert::insert(cursor),
        "DELETE" => change::delete(cursor),
        "UPDATE" => change::update(cursor),
        "MERGE" => change::merge(cursor),
        "TRUNCATE" => change::truncate(cursor),
        "ALTER" => alter::alter(cursor),
        "COMMENT" => alter::comment_on(cursor),
        "OPTIMIZE" => maintain::optimize(cursor),
        "VACUUM" => maintain::vacuum(cursor),
        "RESTORE" => maintain::restore(cursor),
        "VALIDATE" => maintain::validate(cursor),
        "CONVERT" => maintain::convert(cursor),
        "COPY" => copy::copy(cursor),
        "CREATE" => define::create(cursor),
        "DROP" => define::drop(cursor),
        "GRANT" => rights::grant(cursor),
        "REVOKE" => rights::revoke(cursor),
        "REFRESH" => jobs::refresh(cursor),
        "SUSPEND" => runs::suspend(cursor, FolderAction::Suspend),
        "RESUME" => runs::suspend(cursor, FolderAction::Resume),
        "VERIFY" => runs::verify(cursor),
        "BACKFILL" => runs::backfill(cursor),
        "PURGE" => runs::quarantine(cursor, QuarantineAction::Purge),
        "RELEASE" if cursor.sees("RELEASE QUARANTINE") => {
            runs::quarantine(cursor, QuarantineAction::Release)
        }
        "WAIT" => jobs::wait(cursor),
        "CANCEL" => jobs::cancel(cursor),
        "RETRY" => jobs::retry(cursor),
        "APPROVE" => jobs::approve(cursor),
        "APPLY" if cursor.sees("APPLY CHANGES") => transform::apply_changes(cursor),
        "SHOW" => show::show(cursor),
        "DESCRIBE" | "DESC" => show::describe(cursor),
        "SET" => show::set(cursor),
        _ => match refused::statement(cursor, &head) {
            Some(error) => Err(error),
            None => Err(unknown(cursor, &head)),
        },
    }
}

/// The error for a text that begins with no word of ours.
fn unknown(cursor: &Cursor<'_>, head: &str) -> SyntaxError {
    let error = cursor.expected("an SQL statement");
    let known: Vec<&str> = HEADS.into_iter().chain(refused::heads()).collect();
    match nearest(head, &known) {
        Some(word) => error.with_hint(format!("did you mean {word}?")),
        None => error.with_hint(
            "statements begin with a word such as SELECT, CREATE, INSERT, REFRESH or SHOW",
        ),
    }
}

fn explain(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("EXPLAIN")?;
    let (mut analyze, mut verbose) = (false, false);
    loop {
        match cursor.word().as_str() {
            "ANALYZE" if !analyze => analyze = cursor.take("ANALYZE"),
            "VERBOSE" if !verbose => verbose = cursor.take("VERBOSE"),
            "FORMAT" => return Err(cursor.unsupported("EXPLAIN FORMAT")),
            "EXPLAIN" => return Err(cursor.error("EXPLAIN cannot explain itself")),
            _ => break,
        }
    }
    if cursor.sees("REFRESH") {
        if analyze || verbose {
            let what = if analyze { "EXPLAIN ANALYZE REFRESH" } else { "EXPLAIN VERBOSE REFRESH" };
            return Err(cursor.unsupported(what).with_hint("write EXPLAIN REFRESH name"));
        }
        return runs::explain_refresh(cursor);
    }
    let at = cursor.here();
    let statement = Box::new(statement(cursor)?);
    if analyze && !matches!(*statement, Statement::Query(_)) {
        return Err(SyntaxError::unsupported(
            at,
            "EXPLAIN ANALYZE runs what it explains and takes queries only",
        )
        .with_hint("leave ANALYZE out"));
    }
    Ok(Statement::Explain { analyze, verbose, statement })
}

#[cfg(test)]
mod tests;
