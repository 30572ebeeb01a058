//! ALTER TABLE and COMMENT ON.

use model::clustering::CLUSTER_BY;
use sqlparser::tokenizer::Token;

use crate::{
    checks, clauses,
    cursor::Cursor,
    define::{column_option_error, is_column_option},
    error::SyntaxError,
    rights,
    rows::Target,
    statement::{
        Alter, AlterAction, AlterTransform, AlterTransformAction, Check, Column, DropKind,
        OwnedObject, PropertyChange, Statement,
    },
    transform, users,
};

const AGAIN: &str = "write CREATE OR REPLACE TABLE t AS SELECT … FROM t";
const ITS_ROWS: &str = "partitions come and go with their rows: INSERT and DELETE";
const DECLARED: &str = "keys are declared when the table is created: CREATE OR REPLACE TABLE";
const NONE: &str = "leave it out: there is no such thing here";

/// What ALTER TABLE does elsewhere, and what to do instead.
const REFUSED: [(&str, &str); 26] = [
    ("RENAME COLUMN", AGAIN),
    ("RENAME TO", "write CREATE TABLE new AS SELECT * FROM old, then DROP TABLE old"),
    ("RENAME", AGAIN),
    ("DROP COLUMN", AGAIN),
    ("DROP COLUMNS", AGAIN),
    ("REPLACE COLUMNS", AGAIN),
    ("CHANGE", "write ALTER COLUMN c …"),
    ("MODIFY", "write ALTER COLUMN c …"),
    ("ADD PARTITION", ITS_ROWS),
    ("ADD IF NOT EXISTS", "look with DESCRIBE t, and add what is not there"),
    ("DROP PARTITION", ITS_ROWS),
    ("DROP IF EXISTS PARTITION", ITS_ROWS),
    ("PARTITION", ITS_ROWS),
    ("RECOVER PARTITIONS", ITS_ROWS),
    ("ADD PRIMARY KEY", DECLARED),
    ("DROP PRIMARY KEY", DECLARED),
    ("ADD FOREIGN KEY", NONE),
    ("DROP FOREIGN KEY", NONE),
    ("ADD UNIQUE", NONE),
    ("ADD CHECK", "give it a name: ADD CONSTRAINT name CHECK (…)"),
    ("SET LOCATION", "drop the table and create it again with another LOCATION"),
    ("SET SCHEMA", "write CREATE TABLE new AS SELECT * FROM old, then DROP TABLE old"),
    ("SET TAGS", "write SET TBLPROPERTIES ('key' = 'value')"),
    ("UNSET TAGS", "write UNSET TBLPROPERTIES ('key')"),
    ("SET SERDE", NONE),
    ("SET SERDEPROPERTIES", NONE),
];
const ACTIONS: [&str; 10] = [
    "ADD COLUMN",
    "ADD CONSTRAINT",
    "ALTER COLUMN",
    "CLUSTER BY",
    "DROP CONSTRAINT",
    "DROP ROW FILTER",
    "OWNER TO",
    "SET ROW FILTER",
    "SET TBLPROPERTIES",
    "UNSET TBLPROPERTIES",
];

/// `ALTER TABLE [IF EXISTS] t action`.
pub(crate) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("ALTER")?;
    for kind in [DropKind::MaterializedView, DropKind::StreamingTable] {
        if cursor.sees(kind.as_sql()) {
            return transform::alter(cursor, kind);
        }
    }
    if cursor.sees("VIEW") {
        return rights::alter_view(cursor);
    }
    if cursor.sees("EXTERNAL TABLE") {
        return Err(cursor
            .unsupported("ALTER EXTERNAL TABLE")
            .with_hint("create it again with CREATE OR REPLACE"));
    }
    if cursor.take("USER") {
        return users::alter(cursor);
    }
    if cursor.take("ROLE") {
        return rights::alter_role(cursor);
    }
    for what in ["SCHEMA", "DATABASE", "CATALOG", "FUNCTION", "SYSTEM", "SESSION"] {
        if cursor.sees(what) {
            return Err(cursor.unsupported(&format!("ALTER {what}")));
        }
    }
    if !cursor.sees("TABLE") {
        return Err(cursor.expected_one_of(&["TABLE"]));
    }
    cursor.skip(1);
    let if_exists = cursor.take("IF EXISTS");
    let target = Target::read(cursor)?.name;
    let owned = OwnedObject { kind: Some(DropKind::Table), name: target.clone() };
    if let Some(statement) = rights::owner(cursor, owned)? {
        return Ok(statement);
    }
    if let Some(statement) = rights::policy(cursor, &target)? {
        return Ok(statement);
    }
    let action = action(cursor)?;
    if matches!(cursor.peek(), Token::Comma) {
        return Err(cursor
            .unsupported("ALTER TABLE with several actions")
            .with_hint("write one ALTER TABLE for each; ADD COLUMNS (…) takes several columns"));
    }
    Ok(Statement::Alter(Alter { target, if_exists, action }))
}

fn action(cursor: &mut Cursor<'_>) -> Result<AlterAction, SyntaxError> {
    if let Some((what, instead)) = REFUSED.into_iter().find(|(words, _)| cursor.sees(words)) {
        return Err(cursor.unsupported(&format!("ALTER TABLE … {what}")).with_hint(instead));
    }
    if cursor.take("ADD CONSTRAINT") {
        return add_constraint(cursor);
    }
    if cursor.take("ADD COLUMN") || cursor.take("ADD COLUMNS") {
        return Ok(AlterAction::AddColumns(new_columns(cursor)?));
    }
    if cursor.take("ALTER COLUMN") {
        return alter_column(cursor);
    }
    if cursor.take("DROP CONSTRAINT") {
        return drop_constraint(cursor);
    }
    if let Some(change) = properties(cursor)? {
        return Ok(AlterAction::Properties(change));
    }
    for (word, second) in [
        ("ADD", &["COLUMN", "COLUMNS", "CONSTRAINT"][..]),
        ("ALTER", &["COLUMN"]),
        ("DROP", &["CONSTRAINT"]),
        ("SET", &["TBLPROPERTIES"]),
        ("UNSET", &["TBLPROPERTIES"]),
    ] {
        if cursor.take(word) {
            return Err(cursor.expected_one_of(second));
        }
    }
    Err(cursor.expected_one_of(&ACTIONS))
}

/// `SET TBLPROPERTIES`, `UNSET TBLPROPERTIES` or `CLUSTER BY`, if one of them comes next.
pub(crate) fn properties(cursor: &mut Cursor<'_>) -> Result<Option<PropertyChange>, SyntaxError> {
    if cursor.sees("CLUSTER BY") {
        let set = clauses::cluster_by(cursor)?;
        let none = || PropertyChange::Unset { keys: vec![CLUSTER_BY.to_owned()], if_exists: true };
        return Ok(Some(if set.is_empty() { none() } else { PropertyChange::Set(set) }));
    }
    if cursor.take("SET TBLPROPERTIES") {
        let at = cursor.here();
        let properties = cursor.properties()?;
        if properties.is_empty() {
            return Err(SyntaxError::new(at, "there is no property in the parentheses"));
        }
        return Ok(Some(PropertyChange::Set(properties)));
    }
    if cursor.take("UNSET TBLPROPERTIES") {
        let if_exists = cursor.take("IF EXISTS");
        return Ok(Some(PropertyChange::Unset { keys: keys(cursor)?, if_exists }));
    }
    Ok(None)
}

/// `name CHECK (condition)`.
fn add_constraint(cursor: &mut Cursor<'_>) -> Result<AlterAction, SyntaxError> {
    let name = cursor.ident("the name of a constraint")?;
    for what in ["PRIMARY KEY", "FOREIGN KEY", "UNIQUE"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("ADD CONSTRAINT … {what}"))
                .with_hint(if what == "PRIMARY KEY" { DECLARED } else { NONE }));
        }
    }
    if !cursor.sees("CHECK") {
        return Err(cursor.expected_one_of(&["CHECK"]));
    }
    Ok(AlterAction::AddCheck(Check { name, condition: checks::condition(cursor)? }))
}

/// `[IF EXISTS] name`.
fn drop_constraint(cursor: &mut Cursor<'_>) -> Result<AlterAction, SyntaxError> {
    let if_exists = cursor.take("IF EXISTS");
    let name = cursor.ident("the name of a constraint")?;
    for what in ["CASCADE", "RESTRICT"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("DROP CONSTRAINT … {what}"))
                .with_hint("leave it out: nothing depends on a constraint"));
        }
    }
    Ok(AlterAction::DropCheck { name, if_exists })
}

/// `(c type, …)` or `c type, …`.
fn new_columns(cursor: &mut Cursor<'_>) -> Result<Vec<Column>, SyntaxError> {
    if cursor.sees("IF NOT EXISTS") {
        return Err(cursor
            .unsupported("ADD COLUMN IF NOT EXISTS")
            .with_hint("look with DESCRIBE t, and add what is not there"));
    }
    let listed = cursor.take_token(&Token::LParen);
    let mut columns: Vec<Column> = Vec::new();
    loop {
        let at = cursor.here();
        let column = new_column(cursor)?;
        if columns.iter().any(|other| other.name == column.name) {
            let message = format!("column '{}' is declared twice", column.name);
            return Err(SyntaxError::new(at, message));
        }
        columns.push(column);
        // A second action begins with a word that only parentheses make the name of a column.
        let another_action = ["ADD", "DROP", "ALTER", "SET"]
            .into_iter()
            .any(|word| crate::tokens::is_unquoted(cursor.peek_at(1), word));
        if (another_action && !listed) || !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if listed && !cursor.take_token(&Token::RParen) {
        return Err(cursor.expected(", or )"));
    }
    Ok(columns)
}

/// `c type [NULL] [COMMENT text]`. It goes to the end, and has no value in the rows that are there.
fn new_column(cursor: &mut Cursor<'_>) -> Result<Column, SyntaxError> {
    let name = column_name(cursor, "adding")?;
    let no_type = matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF)
        || is_column_option(&cursor.word());
    if no_type {
        return Err(cursor.expected(&format!("the type of column '{name}'")));
    }
    let data_type = cursor.data_type()?;
    let mut column = Column { name, data_type, nullable: true, comment: None, generated: None };
    let mut null_said = false;
    while !matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF) {
        match cursor.word().as_str() {
            "NOT" => {
                return Err(cursor.unsupported("ADD COLUMN … NOT NULL").with_hint(
                    "the rows that are there have no value for it: leave NOT NULL out",
                ));
            }
            "NULL" if !null_said => null_said = cursor.take("NULL"),
            "COMMENT" if column.comment.is_none() => {
                column.comment = Some(clauses::comment(cursor)?);
            }
            "GENERATED" => {
                return Err(cursor.unsupported("ADD COLUMN … GENERATED").with_hint(
                    "the rows that are there have no value for it: \
                     CREATE TABLE with the column, then INSERT INTO it BY NAME SELECT * FROM t",
                ));
            }
            word @ ("FIRST" | "AFTER") => {
                return Err(cursor.unsupported(&format!("ADD COLUMN … {word}")).with_hint(
                    "new columns go to the end; a view shows columns in another order",
                ));
            }
            word => return Err(column_option_error(cursor, word, &["COMMENT", "NULL"])),
        }
    }
    Ok(column)
}

/// `c DROP NOT NULL` or `c COMMENT text`.
fn alter_column(cursor: &mut Cursor<'_>) -> Result<AlterAction, SyntaxError> {
    let column = column_name(cursor, "changing")?;
    if cursor.take("DROP NOT NULL") {
        return Ok(AlterAction::DropNotNull { column });
    }
    if cursor.sees("COMMENT") {
        return Ok(AlterAction::ColumnComment { column, comment: Some(clauses::comment(cursor)?) });
    }
    let refused = [
        ("SET NOT NULL", "write ADD CONSTRAINT name CHECK (column IS NOT NULL)"),
        ("TYPE", AGAIN),
        ("SET DATA TYPE", AGAIN),
        ("SET DEFAULT", "columns have no defaults: write the value with INSERT"),
        ("DROP DEFAULT", "columns have no defaults: leave it out"),
        ("FIRST", AGAIN),
        ("AFTER", AGAIN),
        ("SET TAGS", NONE),
    ];
    match refused.into_iter().find(|(words, _)| cursor.sees(words)) {
        Some((what, instead)) => {
            Err(cursor.unsupported(&format!("ALTER COLUMN … {what}")).with_hint(instead))
        }
        None => Err(cursor.expected_one_of(&["DROP NOT NULL", "COMMENT"])),
    }
}

/// The name of a column of the table, not of a part of one.
fn column_name(cursor: &mut Cursor<'_>, doing: &str) -> Result<String, SyntaxError> {
    let at = cursor.here();
    let mut parts = cursor.name("the name of a column")?;
    match parts.pop() {
        Some(column) if parts.is_empty() => Ok(column),
        column => {
            parts.extend(column);
            let name = parts.join(".");
            Err(SyntaxError::unsupported(
                at,
                format!("{doing} '{name}', a part of a column, is not supported in this version"),
            )
            .with_hint(AGAIN))
        }
    }
}

/// `('k', k.l, …)`, each key once.
fn keys(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SyntaxError> {
    cursor.expect_token(&Token::LParen)?;
    let mut keys: Vec<String> = Vec::new();
    loop {
        let at = cursor.here();
        let key = cursor.key()?;
        if keys.contains(&key) {
            return Err(SyntaxError::new(at, format!("'{key}' is given twice")));
        }
        keys.push(key);
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if cursor.take_token(&Token::RParen) { Ok(keys) } else { Err(cursor.expected(", or )")) }
}

/// `COMMENT ON TABLE t IS text`, the same of a transform, or `COMMENT ON COLUMN t.c IS text`; NULL takes the comment away.
pub(crate) fn comment_on(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("COMMENT ON")?;
    for kind in [DropKind::MaterializedView, DropKind::StreamingTable] {
        if cursor.take(kind.as_sql()) {
            let name = cursor.name("the name of a transform")?;
            let action = AlterTransformAction::Comment(comment(cursor)?);
            return Ok(Statement::AlterTransform(AlterTransform { kind, name, action }));
        }
    }
    for what in ["VIEW", "SCHEMA", "DATABASE"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("COMMENT ON {what}"))
                .with_hint("write COMMENT inside CREATE"));
        }
    }
    let of_column = cursor.sees("COLUMN");
    if !of_column && !cursor.sees("TABLE") {
        return Err(cursor.expected_one_of(&["TABLE", "COLUMN"]));
    }
    cursor.skip(1);
    if !of_column {
        let target = Target::read(cursor)?.name;
        let action = AlterAction::Comment(comment(cursor)?);
        return Ok(Statement::Alter(Alter { target, if_exists: false, action }));
    }
    let at = cursor.here();
    let mut target = cursor.name("the name of a table and a column")?;
    let column = target.pop().filter(|_| !target.is_empty());
    let Some(column) = column else {
        return Err(SyntaxError::new(at, "a column is named together with its table")
            .with_hint("write COMMENT ON COLUMN t.c IS …"));
    };
    let action = AlterAction::ColumnComment { column, comment: comment(cursor)? };
    Ok(Statement::Alter(Alter { target, if_exists: false, action }))
}

/// `IS text` or `IS NULL`.
fn comment(cursor: &mut Cursor<'_>) -> Result<Option<String>, SyntaxError> {
    cursor.expect("IS")?;
    if cursor.take("NULL") {
        return Ok(None);
    }
    Ok(Some(cursor.text("a text in single quotes, or NULL")?))
}

#[cfg(test)]
mod tests;
