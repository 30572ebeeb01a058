//! SHOW, DESCRIBE and SET.

use sqlparser::{
    ast::{Expr, LimitClause, OrderBy, SetExpr},
    dialect::GenericDialect,
    parser::Parser,
    tokenizer::Token,
};

use crate::{
    cursor::Cursor,
    error::SyntaxError,
    jobs, rights,
    statement::{DropKind, JobStatement, Show, Statement},
};

const OBJECTS: [&str; 14] = [
    "TABLES",
    "VIEWS",
    "MATERIALIZED",
    "STREAMING",
    "SCHEMAS",
    "DATABASES",
    "COLUMNS",
    "CREATE",
    "JOBS",
    "ALL",
    "FUNCTIONS",
    "GRANTS",
    "ROLES",
    "USERS",
];

pub(crate) fn show(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("SHOW")?;
    for what in [
        "FULL TABLES",
        "EXTENDED",
        "FUNCTIONS",
        "PARTITIONS",
        "FLOWS",
        "CONTRACTS",
        "CONSUMERS",
        "CATALOGS",
        "TBLPROPERTIES",
    ] {
        if cursor.sees(what) {
            return Err(cursor.unsupported(&format!("SHOW {what}")));
        }
    }
    if let Some(statement) = rights::show(cursor)? {
        return Ok(statement);
    }
    let show = if cursor.take("JOBS") {
        return show_jobs(cursor);
    } else if cursor.take("TABLES") {
        tables(cursor, None)?
    } else if cursor.take("VIEWS") {
        tables(cursor, Some(DropKind::View))?
    } else if cursor.take("MATERIALIZED VIEWS") {
        tables(cursor, Some(DropKind::MaterializedView))?
    } else if cursor.take("STREAMING TABLES") {
        tables(cursor, Some(DropKind::StreamingTable))?
    } else if cursor.take("SCHEMAS") || cursor.take("DATABASES") {
        refuse_filter(cursor)?;
        Show::Schemas
    } else if cursor.take("COLUMNS") {
        if !cursor.take("FROM") {
            cursor.expect("IN")?;
        }
        let name = cursor.name("the name of a table")?;
        refuse_filter(cursor)?;
        Show::Columns { name }
    } else if cursor.take("CREATE") {
        const KINDS: [&str; 4] = ["TABLE", "VIEW", "MATERIALIZED VIEW", "STREAMING TABLE"];
        if !KINDS.iter().any(|kind| cursor.take(kind)) {
            return Err(cursor.expected_one_of(&KINDS));
        }
        Show::Create { name: cursor.name("the name of a table or view")? }
    } else if cursor.sees("MATERIALIZED") {
        cursor.expect("MATERIALIZED VIEWS")?;
        return Err(cursor.expected("VIEWS"));
    } else if cursor.sees("STREAMING") {
        cursor.expect("STREAMING TABLES")?;
        return Err(cursor.expected("TABLES"));
    } else if cursor.take("ALL") {
        Show::Setting { key: None }
    } else {
        setting(cursor)?
    };
    Ok(Statement::Show(show))
}

/// `SHOW key`.
fn setting(cursor: &mut Cursor<'_>) -> Result<Show, SyntaxError> {
    let expected = cursor.expected_one_of(&OBJECTS);
    if !matches!(cursor.peek(), Token::Word(_)) {
        return Err(cursor.expected("what to show, such as TABLES or JOBS"));
    }
    let key = key(cursor)?;
    // Keys of settings have several parts; one word is more likely a misspelled object.
    if key.contains('.') || expected.hint.is_none() {
        Ok(Show::Setting { key: Some(key) })
    } else {
        Err(expected)
    }
}

fn tables(cursor: &mut Cursor<'_>, kind: Option<DropKind>) -> Result<Show, SyntaxError> {
    let mut schema = None;
    if cursor.take("IN") || cursor.take("FROM") {
        let at = cursor.here();
        let mut parts = cursor.name("the name of a schema")?;
        let fits = parts.len() == 1 || (parts.len() == 2 && parts[0] == model::name::CATALOG);
        if !fits {
            return Err(SyntaxError::new(
                at,
                format!("'{}' is not the name of a schema", parts.join(".")),
            ));
        }
        schema = parts.pop();
    }
    refuse_filter(cursor)?;
    Ok(Show::Tables { schema, kind })
}

fn refuse_filter(cursor: &Cursor<'_>) -> Result<(), SyntaxError> {
    for what in ["LIKE", "ILIKE", "WHERE"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("SHOW … {what}"))
                .with_hint("query information_schema.tables"));
        }
    }
    Ok(())
}

/// SHOW JOBS is a query on `system.jobs`.
fn show_jobs(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    const BASE: &str = "SELECT * FROM system.jobs ORDER BY queued_at DESC";
    let start = cursor.here();
    let selection = if cursor.take("WHERE") { Some(cursor.run(Parser::parse_expr)?) } else { None };
    let order_by: Option<OrderBy> = cursor.run(Parser::parse_optional_order_by)?;
    let limit: Option<Expr> =
        if cursor.take("LIMIT") { Some(cursor.run(Parser::parse_expr)?) } else { None };
    if !cursor.at_end() {
        return Err(cursor.expected_one_of(&["WHERE", "ORDER BY", "LIMIT"]));
    }
    let mut ast = Parser::new(&GenericDialect {})
        .try_with_sql(BASE)
        .and_then(|mut parser| parser.parse_query())
        .map_err(|error| SyntaxError::from_parser(error, start))?;
    if let SetExpr::Select(select) = ast.body.as_mut() {
        select.selection = selection;
    }
    if order_by.is_some() {
        ast.order_by = order_by;
    }
    ast.limit_clause = limit.map(|limit| LimitClause::LimitOffset {
        limit: Some(limit),
        offset: None,
        limit_by: Vec::new(),
    });
    Ok(Statement::Job(JobStatement::Show(cursor.finish(ast)?)))
}

pub(crate) fn describe(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.skip(1);
    let more = cursor.peek_at(1) != &Token::EOF && cursor.peek_at(1) != &Token::Period;
    if more && cursor.take("JOB") {
        return Ok(Statement::Job(JobStatement::Describe { job: jobs::job_id(cursor)? }));
    }
    for what in ["EXTENDED", "FORMATTED", "SCHEMA", "DATABASE", "CONTRACT", "FUNCTION", "QUERY"] {
        if more && cursor.sees(what) {
            return Err(cursor.unsupported(&format!("DESCRIBE {what}")));
        }
    }
    if more && cursor.take("DETAIL") {
        return Ok(Statement::Show(Show::Detail { name: cursor.name("the name of a table")? }));
    }
    if more && cursor.take("HISTORY") {
        return history(cursor);
    }
    if cursor.sees("SELECT") || cursor.sees("WITH") {
        return Err(cursor.unsupported("DESCRIBE of a query").with_hint("write EXPLAIN"));
    }
    if more {
        let _said = cursor.take("TABLE") || cursor.take("VIEW") || cursor.take("MATERIALIZED VIEW");
    }
    Ok(Statement::Show(Show::Columns { name: cursor.name("the name of a table")? }))
}

/// `t [LIMIT n]`.
fn history(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let name = cursor.name("the name of a table")?;
    let limit = if cursor.take("LIMIT") {
        Some(cursor.whole_number("a number of versions")?)
    } else {
        None
    };
    if !cursor.at_end() {
        return Err(cursor.expected_one_of(&["LIMIT"]));
    }
    Ok(Statement::Show(Show::History { name, limit }))
}

pub(crate) fn set(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("SET")?;
    for what in ["SESSION", "LOCAL", "GLOBAL", "TRANSACTION", "ROLE"] {
        let is_key = matches!(cursor.peek_at(1), Token::Eq | Token::Period);
        if !is_key && cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("SET {what}"))
                .with_hint("write SET key = value"));
        }
    }
    let key = key(cursor)?;
    let equals = cursor.take_token(&Token::Eq) || cursor.take("TO");
    if !equals {
        return Err(cursor.expected("= or TO"));
    }
    let minus = cursor.take_token(&Token::Minus);
    let value = match cursor.peek() {
        Token::Number(digits, _) => format!("{}{digits}", if minus { "-" } else { "" }),
        Token::SingleQuotedString(text) if !minus => text.clone(),
        Token::Word(word) if !minus => word.value.clone(),
        _ => return Err(cursor.expected("a value")),
    };
    cursor.skip(1);
    if !cursor.at_end() {
        return Err(cursor
            .expected("end of statement")
            .with_hint("write the value in single quotes"));
    }
    Ok(Statement::Set { key, value })
}

/// The key of a setting, in lower case; TIME ZONE is one word.
fn key(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    if cursor.take("TIME ZONE") {
        return Ok("timezone".to_owned());
    }
    let mut parts = vec![cursor.ident("the key of a setting")?];
    while cursor.take_token(&Token::Period) {
        parts.push(cursor.ident("the key of a setting")?);
    }
    Ok(parts.join(".").to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
