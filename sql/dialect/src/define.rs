//! CREATE and DROP.

use model::object::Properties;
use sqlparser::tokenizer::{Location, Token};

use crate::{
    checks::{self, Checks},
    clauses::{self, Clauses, Of, check_declared},
    cursor::Cursor,
    error::SyntaxError,
    folders,
    live::{self, Made},
    rights,
    statement::{
        Column, CreateMode, CreateTable, CreateView, Drop, DropKind, NameParts, Statement,
    },
    tokens::is_unquoted,
    transform::{self, Head},
};

/// Things that SQL creates or drops, but not this version.
const UNSUPPORTED_OBJECTS: [&str; 28] = [
    "FUNCTION",
    "AGGREGATE",
    "PROCEDURE",
    "INDEX",
    "UNIQUE INDEX",
    "SEQUENCE",
    "TRIGGER",
    "TYPE",
    "DOMAIN",
    "GROUP",
    "EXTENSION",
    "POLICY",
    "SECRET",
    "MACRO",
    "CATALOG",
    "CONTRACT",
    "ENVIRONMENT",
    "TEST",
    "VOLUME",
    "CONNECTION",
    "SHARE",
    "RECIPIENT",
    "STAGE",
    "SERVER",
    "GLOBAL",
    "LOCAL",
    "VIRTUAL TABLE",
    "FOREIGN TABLE",
];
const CREATE_OBJECTS: [&str; 8] = [
    "TABLE",
    "EXTERNAL TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "STREAMING TABLE",
    "FLOW",
    "SCHEMA",
    "DATABASE",
];
/// What stands between CREATE and the kind of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Or {
    Nothing,
    Replace,
    Refresh,
}

pub(crate) fn create(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let start = cursor.here();
    cursor.expect("CREATE")?;
    let or_at = cursor.here();
    let or = if cursor.take("OR REPLACE") {
        Or::Replace
    } else if cursor.take("OR REFRESH") {
        Or::Refresh
    } else if cursor.take("OR") {
        return Err(cursor.expected_one_of(&["REPLACE", "REFRESH"]));
    } else {
        Or::Nothing
    };
    let private_at = cursor.here();
    // What is temporary in a pipeline is its own: others cannot read it.
    let temporary = cursor.take("TEMPORARY") || cursor.take("TEMP");
    let private = cursor.take("PRIVATE") || temporary;
    let mut made = live::made(cursor);
    if temporary && made.is_none() && cursor.take("VIEW") {
        made = Some(Made::TemporaryView);
    }
    let of_transform =
        made.is_some() || cursor.sees("MATERIALIZED VIEW") || cursor.sees("STREAMING TABLE");
    if private && !of_transform {
        let what = if temporary { "CREATE TEMPORARY" } else { "CREATE PRIVATE" };
        return Err(SyntaxError::unsupported(
            private_at,
            format!("{what} is not supported in this version"),
        )
        .with_hint("only views, materialized views and streaming tables are that"));
    }
    for what in ["UNBOUNDED", "UNLOGGED", "TRANSIENT", "RECURSIVE", "SECURE"] {
        if cursor.sees(what) {
            return Err(cursor.unsupported(&format!("CREATE {what}")));
        }
    }
    if let Some(what) = UNSUPPORTED_OBJECTS.iter().find(|what| cursor.sees(what)) {
        return Err(cursor.unsupported(&format!("CREATE {what}")));
    }
    if or == Or::Nothing
        && let Some(statement) = rights::create(cursor)?
    {
        return Ok(statement);
    }
    let refresh_misplaced = |words: &str| {
        SyntaxError::new(or_at, format!("CREATE OR REFRESH {words} has no meaning"))
            .with_hint("only materialized views and streaming tables are refreshed")
    };
    let mode = match or {
        Or::Replace => CreateMode::OrReplace,
        Or::Refresh => CreateMode::OrRefresh,
        Or::Nothing => CreateMode::Create,
    };
    let head = Head { start, mode, private };
    if made == Some(Made::MaterializedView) || cursor.take("MATERIALIZED VIEW") {
        return transform::create_materialized_view(cursor, head);
    }
    if made == Some(Made::StreamingTable) || cursor.take("STREAMING TABLE") {
        return transform::create_streaming_table(cursor, head);
    }
    if made == Some(Made::TemporaryView) {
        return match or {
            Or::Refresh => Err(refresh_misplaced("VIEW")),
            _ => create_temporary_view(cursor, start, or),
        };
    }
    if cursor.sees("FLOW") {
        if or != Or::Nothing {
            return Err(SyntaxError::new(or_at, "a flow is created, not replaced")
                .with_hint("write DROP FLOW f, then CREATE FLOW f"));
        }
        cursor.skip(1);
        return transform::create_flow(cursor, start);
    }
    if cursor.take("VIEW") {
        return if or == Or::Refresh {
            Err(refresh_misplaced("VIEW"))
        } else {
            create_view(cursor, start, or)
        };
    }
    let external = cursor.take("EXTERNAL");
    if cursor.take("TABLE") {
        return if or == Or::Refresh {
            Err(refresh_misplaced("TABLE"))
        } else {
            create_table(cursor, or, external)
        };
    }
    if external {
        cursor.expect("TABLE")?;
    }
    for words in ["MATERIALIZED VIEW", "STREAMING TABLE"] {
        if words.split(' ').next().is_some_and(|word| cursor.sees(word)) {
            cursor.expect(words)?;
        }
    }
    let schema = cursor.take("SCHEMA") || cursor.take("DATABASE");
    if !schema {
        return Err(cursor.expected_one_of(&CREATE_OBJECTS));
    }
    if or != Or::Nothing {
        return Err(SyntaxError::unsupported(
            or_at,
            "CREATE OR REPLACE SCHEMA is not supported in this version",
        )
        .with_hint("write CREATE SCHEMA IF NOT EXISTS"));
    }
    create_schema(cursor)
}

fn create_schema(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name("the name of a schema")?;
    let comment = if cursor.sees("COMMENT") { Some(clauses::comment(cursor)?) } else { None };
    for what in ["LOCATION", "MANAGED LOCATION", "WITH", "AUTHORIZATION", "DEFAULT"] {
        if cursor.sees(what) {
            return Err(cursor.unsupported(&format!("{what} of a schema")));
        }
    }
    Ok(Statement::CreateSchema { name, if_not_exists, comment })
}

/// IF NOT EXISTS, which excludes OR REPLACE and OR REFRESH.
fn if_not_exists(cursor: &mut Cursor<'_>, or: Or) -> Result<bool, SyntaxError> {
    let at = cursor.here();
    let said = cursor.if_not_exists();
    if said && or != Or::Nothing {
        return Err(SyntaxError::new(
            at,
            "IF NOT EXISTS and OR REPLACE or OR REFRESH exclude each other",
        ));
    }
    Ok(said)
}

fn create_view(cursor: &mut Cursor<'_>, start: Location, or: Or) -> Result<Statement, SyntaxError> {
    let if_not_exists = if_not_exists(cursor, or)?;
    let name = cursor.name("the name of a view")?;
    let mut columns = Vec::new();
    if matches!(cursor.peek(), Token::LParen) {
        if let (Token::Word(_), Token::Word(_)) = (cursor.peek_at(1), cursor.peek_at(2)) {
            cursor.skip(2);
            return Err(cursor
                .unsupported(&format!("{} after a column of a view", cursor.found()))
                .with_hint("give names only"));
        }
        columns = cursor.columns()?.into_iter().map(|(column, _)| column).collect();
    }
    let Clauses { comment, .. } = clauses::read(cursor, Of::View)?;
    cursor.expect("AS")?;
    let query = cursor.stored_query("view")?;
    let definition = cursor.text_from(start);
    Ok(Statement::CreateView(CreateView {
        name,
        if_not_exists,
        or_replace: or == Or::Replace,
        columns,
        comment,
        query,
        definition,
    }))
}

/// As a view, with whatever pipelines let be said of one; nothing is kept of that, as there is no object.
fn create_temporary_view(
    cursor: &mut Cursor<'_>,
    start: Location,
    or: Or,
) -> Result<Statement, SyntaxError> {
    cursor.allow_streams();
    let if_not_exists = if_not_exists(cursor, or)?;
    let name_at = cursor.here();
    let name = transform::target(cursor, "the name of a view")?;
    if name.len() > 1 {
        return Err(SyntaxError::new(name_at, "a temporary view is in no schema")
            .with_hint(format!("write {}", name.last().map_or("", String::as_str))));
    }
    let columns = if matches!(cursor.peek(), Token::LParen) { described(cursor)? } else { vec![] };
    let Clauses { comment, .. } = clauses::read(cursor, Of::TemporaryView)?;
    cursor.expect("AS")?;
    let query = cursor.stored_query("view")?;
    Ok(Statement::CreateTemporaryView(Box::new(CreateView {
        name,
        if_not_exists,
        or_replace: or == Or::Replace,
        columns,
        comment,
        query,
        definition: cursor.text_from(start),
    })))
}

/// `(a, b COMMENT 'text', …)`.
fn described(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SyntaxError> {
    let mut columns = Vec::new();
    cursor.expect_token(&Token::LParen)?;
    loop {
        if constraint_ahead(cursor).is_some() {
            return Err(cursor.unsupported("a constraint of a temporary view").with_hint(
                "its rows are not kept: write the constraint where they are, in what reads the view",
            ));
        }
        let at = cursor.here();
        let column = cursor.ident("the name of a column")?;
        if columns.contains(&column) {
            return Err(SyntaxError::new(at, format!("column '{column}' is named twice")));
        }
        columns.push(column);
        if cursor.sees("COMMENT") {
            clauses::comment(cursor)?;
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if cursor.take_token(&Token::RParen) { Ok(columns) } else { Err(cursor.expected(", or )")) }
}

pub(crate) fn is_column_option(word: &str) -> bool {
    matches!(
        word,
        "NOT"
            | "NULL"
            | "COMMENT"
            | "PRIMARY"
            | "UNIQUE"
            | "DEFAULT"
            | "CHECK"
            | "GENERATED"
            | "REFERENCES"
            | "CONSTRAINT"
            | "COLLATE"
            | "AS"
            | "DOMAIN"
            | "MASK"
    )
}

/// A constraint of the whole table that comes next, in the words of its author.
pub(crate) fn constraint_ahead(cursor: &Cursor<'_>) -> Option<&'static str> {
    if cursor.sees("CONSTRAINT") && matches!(cursor.peek_at(1), Token::Word(_)) {
        let kinds = ["PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXPECT"];
        let names = ["PRIMARY KEY", "UNIQUE", "FOREIGN KEY", "CHECK", "EXPECT"];
        let kind = kinds.into_iter().position(|kind| is_unquoted(cursor.peek_at(2), kind));
        return Some(kind.and_then(|n| names.get(n).copied()).unwrap_or("CONSTRAINT"));
    }
    let keyed = ["PRIMARY KEY", "FOREIGN KEY"].into_iter().find(|words| cursor.sees(words));
    let listed = || *cursor.peek_at(1) == Token::LParen;
    keyed.or_else(|| {
        ["UNIQUE", "CHECK", "EXPECT"].into_iter().find(|word| cursor.sees(word) && listed())
    })
}

pub(crate) fn column_option_error(
    cursor: &Cursor<'_>,
    word: &str,
    options: &[&str],
) -> SyntaxError {
    let named = match word {
        "DEFAULT" | "CHECK" | "GENERATED" | "UNIQUE" | "REFERENCES" | "COLLATE" | "DOMAIN"
        | "MASK" | "IDENTITY" | "CONSTRAINT" | "AUTO_INCREMENT" => word,
        "AS" => {
            return cursor
                .unsupported("a computed column")
                .with_hint("write GENERATED ALWAYS AS (expression)");
        }
        "PRIMARY" => "PRIMARY KEY",
        "NOT" | "NULL" | "COMMENT" => {
            return cursor.error(format!("{word} does not fit with what was said before"));
        }
        _ => return cursor.expected_one_of(options),
    };
    let error = cursor.unsupported(&format!("{named} of a column"));
    match word {
        "MASK" => error.with_hint("write ALTER … ALTER COLUMN c SET MASK (expression) afterwards"),
        _ => error,
    }
}

fn create_table(cursor: &mut Cursor<'_>, or: Or, external: bool) -> Result<Statement, SyntaxError> {
    let if_not_exists = if_not_exists(cursor, or)?;
    let name_at = cursor.here();
    let name = cursor.name("the name of a table")?;
    if cursor.sees("LIKE") {
        if external {
            return Err(cursor
                .error("an external table takes its columns from its location, not from a table")
                .with_hint("leave EXTERNAL out, or LIKE"));
        }
        return create_table_like(cursor, name, if_not_exists, or);
    }
    let columns_at = cursor.here();
    let mut declared = Declared::default();
    if matches!(cursor.peek(), Token::LParen) && !matches!(cursor.peek_at(1), Token::RParen) {
        declared = table_columns(cursor)?;
    } else if cursor.take_token(&Token::LParen) {
        return Err(cursor.expected("the name of a column"));
    }
    let clauses = clauses::read(cursor, Of::Table)?;
    folders::check(&clauses)?;
    let Clauses {
        partitioned_by,
        format,
        location,
        path_columns,
        complete_when,
        options,
        properties,
        comment,
        ..
    } = clauses;
    let as_at = cursor.here();
    let query = if cursor.take("AS") { Some(cursor.query()?) } else { None };
    let Declared { mut columns, primary_key, checks } = declared;
    if query.is_some() && external {
        return Err(SyntaxError::new(
            as_at,
            "an external table takes its rows from its location, not from a query",
        )
        .with_hint("leave EXTERNAL out"));
    }
    if query.is_some() && !columns.is_empty() {
        return Err(SyntaxError::unsupported(
            columns_at,
            "a column list together with AS query is not supported in this version",
        )
        .with_hint("name and cast the columns in the query"));
    }
    if external && location.is_none() {
        return Err(SyntaxError::new(cursor.here(), "an external table needs a LOCATION"));
    }
    if query.is_none() && columns.is_empty() && location.is_none() {
        let error = SyntaxError::new(
            name_at,
            format!("table '{}' needs columns, AS query or a LOCATION", name.join(".")),
        );
        return Err(error);
    }
    if !columns.is_empty() {
        check_declared(&partitioned_by, &columns)?;
        check_declared(&primary_key, &columns)?;
    }
    let checks = checks.named(name.last().map_or("table", String::as_str));
    let primary_key: Vec<String> = primary_key.into_iter().map(|(column, _)| column).collect();
    for column in &mut columns {
        column.nullable &= !primary_key.contains(&column.name);
    }
    Ok(Statement::CreateTable(CreateTable {
        name,
        if_not_exists,
        or_replace: or == Or::Replace,
        external,
        columns,
        primary_key,
        checks,
        like: None,
        partitioned_by: partitioned_by.into_iter().map(|(column, _)| column).collect(),
        format,
        location,
        path_columns: path_columns.into_iter().map(|(column, _)| column).collect(),
        complete_when: complete_when.map(|(marker, _)| marker),
        options,
        properties,
        comment,
        query,
    }))
}

/// `LIKE other` and the clauses that may follow it.
fn create_table_like(
    cursor: &mut Cursor<'_>,
    name: NameParts,
    if_not_exists: bool,
    or: Or,
) -> Result<Statement, SyntaxError> {
    cursor.expect("LIKE")?;
    let other = cursor.name("the name of a table")?;
    let Clauses { location, properties, comment, .. } = clauses::read(cursor, Of::TableLike)?;
    if cursor.sees("AS") {
        return Err(cursor
            .error("LIKE and AS query exclude each other")
            .with_hint("write CREATE TABLE t LIKE other, then INSERT INTO t SELECT …"));
    }
    Ok(Statement::CreateTable(CreateTable {
        name,
        if_not_exists,
        or_replace: or == Or::Replace,
        external: false,
        columns: Vec::new(),
        primary_key: Vec::new(),
        checks: Vec::new(),
        like: Some(other),
        partitioned_by: Vec::new(),
        format: None,
        location,
        path_columns: Vec::new(),
        complete_when: None,
        options: Properties::new(),
        properties,
        comment,
        query: None,
    }))
}

#[derive(Debug, Default)]
struct Declared {
    columns: Vec<Column>,
    primary_key: Vec<(String, Location)>,
    checks: Checks,
}

fn table_columns(cursor: &mut Cursor<'_>) -> Result<Declared, SyntaxError> {
    let mut declared = Declared::default();
    cursor.expect_token(&Token::LParen)?;
    loop {
        match constraint_ahead(cursor) {
            Some("PRIMARY KEY") => {
                let at = cursor.here();
                if cursor.take("CONSTRAINT") {
                    cursor.ident("the name of a constraint")?;
                }
                cursor.expect("PRIMARY KEY")?;
                let columns = cursor.columns()?;
                set_primary_key(&mut declared, columns, at)?;
                key_mode(cursor)?;
            }
            Some("CHECK") => declared.checks.read(cursor)?,
            Some(what) => return Err(cursor.unsupported(&format!("{what} of a table"))),
            None => table_column(cursor, &mut declared)?,
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if cursor.take_token(&Token::RParen) { Ok(declared) } else { Err(cursor.expected(", or )")) }
}

fn table_column(cursor: &mut Cursor<'_>, declared: &mut Declared) -> Result<(), SyntaxError> {
    let at = cursor.here();
    let name = cursor.ident("the name of a column")?;
    if declared.columns.iter().any(|column| column.name == name) {
        return Err(SyntaxError::new(at, format!("column '{name}' is declared twice")));
    }
    let no_type = matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF)
        || is_column_option(&cursor.word());
    if no_type {
        return Err(cursor.expected(&format!("the type of column '{name}'")));
    }
    let data_type = cursor.data_type()?;
    let mut column = Column { name, data_type, nullable: true, comment: None, generated: None };
    let (mut null_said, mut key_said) = (false, None);
    while !matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF) {
        match cursor.word().as_str() {
            "NOT" if !null_said => {
                cursor.expect("NOT NULL")?;
                null_said = true;
                column.nullable = false;
            }
            "NULL" if !null_said => null_said = cursor.take("NULL"),
            "COMMENT" if column.comment.is_none() => {
                column.comment = Some(clauses::comment(cursor)?)
            }
            "PRIMARY" if key_said.is_none() => {
                key_said = Some(cursor.here());
                cursor.expect("PRIMARY KEY")?;
                key_mode(cursor)?;
            }
            "GENERATED" if column.generated.is_none() => {
                column.generated = Some(checks::generation(cursor)?);
            }
            "CHECK" => declared.checks.read(cursor)?,
            "CONSTRAINT" if is_unquoted(cursor.peek_at(2), "CHECK") => {
                declared.checks.read(cursor)?;
            }
            word => {
                return Err(column_option_error(
                    cursor,
                    word,
                    &["NOT NULL", "NULL", "COMMENT", "PRIMARY KEY", "CHECK", "GENERATED ALWAYS AS"],
                ));
            }
        }
    }
    if let Some(key_at) = key_said {
        set_primary_key(declared, vec![(column.name.clone(), at)], key_at)?;
    }
    declared.columns.push(column);
    Ok(())
}

fn set_primary_key(
    declared: &mut Declared,
    columns: Vec<(String, Location)>,
    at: Location,
) -> Result<(), SyntaxError> {
    if !declared.primary_key.is_empty() {
        return Err(SyntaxError::new(at, "a table has one primary key")
            .with_hint("write PRIMARY KEY (a, b) after the columns for a key of several"));
    }
    declared.primary_key = columns;
    Ok(())
}

/// NOT ENFORCED and RELY say what a primary key is anyway.
fn key_mode(cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    const WORDS: [&str; 5] = ["NOT ENFORCED", "RELY", "NORELY", "DEFERRABLE", "INITIALLY DEFERRED"];
    while WORDS.into_iter().any(|word| cursor.take(word)) {}
    for what in ["VERIFIED", "ENFORCED"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("PRIMARY KEY {what}"))
                .with_hint("keys are declared, not enforced"));
        }
    }
    Ok(())
}

pub(crate) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("DROP")?;
    if let Some(what) = UNSUPPORTED_OBJECTS.iter().find(|what| cursor.sees(what)) {
        return Err(cursor.unsupported(&format!("DROP {what}")));
    }
    for what in ["TEMPORARY", "TEMP"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("DROP {what}"))
                .with_hint("a temporary view is no object: take its statement out of the folder"));
        }
    }
    if let Some(statement) = rights::drop(cursor)? {
        return Ok(statement);
    }
    let kind = if cursor.take("TABLE") || cursor.take("EXTERNAL TABLE") {
        DropKind::Table
    } else if cursor.take("VIEW") {
        DropKind::View
    } else if cursor.take("MATERIALIZED VIEW") {
        DropKind::MaterializedView
    } else if cursor.take("STREAMING TABLE") {
        DropKind::StreamingTable
    } else if cursor.take("FLOW") {
        let if_exists = cursor.take("IF EXISTS");
        return Ok(Statement::DropFlow { name: cursor.name("the name of a flow")?, if_exists });
    } else if cursor.take("SCHEMA") || cursor.take("DATABASE") {
        return drop_schema(cursor);
    } else if cursor.take("MATERIALIZED") {
        return Err(cursor.expected_one_of(&["VIEW"]));
    } else if cursor.take("STREAMING") {
        return Err(cursor.expected_one_of(&["TABLE"]));
    } else {
        return Err(cursor.expected_one_of(&CREATE_OBJECTS));
    };
    let if_exists = cursor.take("IF EXISTS");
    let name = cursor.name("the name of what to drop")?;
    if matches!(cursor.peek(), Token::Comma) {
        return Err(cursor
            .unsupported("DROP of several objects")
            .with_hint("write one DROP for each"));
    }
    for what in ["CASCADE", "RESTRICT"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("DROP … {what}"))
                .with_hint("drop what reads it first"));
        }
    }
    let purge = cursor.take("PURGE");
    if !purge && cursor.sees("KEEP") {
        cursor.expect("KEEP DATA")?;
    }
    if !cursor.at_end() {
        return Err(cursor.expected_one_of(&["PURGE", "KEEP DATA"]));
    }
    Ok(Statement::Drop(Drop { kind, name, if_exists, purge }))
}

fn drop_schema(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let if_exists = cursor.take("IF EXISTS");
    let name = cursor.name("the name of a schema")?;
    let cascade = cursor.take("CASCADE");
    if !cascade {
        cursor.take("RESTRICT");
    }
    Ok(Statement::DropSchema { name, if_exists, cascade })
}

#[cfg(test)]
mod tests;
