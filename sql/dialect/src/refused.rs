//! Statements that have a meaning, but none in this version, and what to do instead.

use crate::{cursor::Cursor, error::SyntaxError};

const ADD: &str = "rows are added with INSERT INTO";
const EACH_ALONE: &str = "each statement takes effect by itself, at once and completely";
const AGAIN: &str = "create it again with CREATE OR REPLACE";
const LATER: &str = "";

/// First words of statements, and what to do instead.
const STATEMENTS: [(&str, &str); 44] = [
    ("REPLACE", AGAIN),
    ("RENAME", AGAIN),
    (
        "LOAD",
        "declare the files with CREATE EXTERNAL TABLE and read them with INSERT INTO … SELECT",
    ),
    ("UNLOAD", "read the rows with SELECT"),
    ("EXPORT", "read the rows with SELECT"),
    ("IMPORT", ADD),
    ("UPSERT", "write MERGE INTO t USING … ON … WHEN MATCHED THEN … WHEN NOT MATCHED THEN …"),
    ("ANALYZE", LATER),
    ("REINDEX", LATER),
    ("REPAIR", LATER),
    ("MSCK", LATER),
    ("DENY", "nothing is allowed that was not granted: REVOKE takes a grant back"),
    ("BEGIN", EACH_ALONE),
    ("START", EACH_ALONE),
    ("COMMIT", EACH_ALONE),
    ("END", EACH_ALONE),
    ("ROLLBACK", EACH_ALONE),
    ("ABORT", EACH_ALONE),
    ("SAVEPOINT", EACH_ALONE),
    ("RELEASE", EACH_ALONE),
    ("LOCK", EACH_ALONE),
    ("USE", "write names with their schema: schema.table"),
    ("RESET", "write SET key = value"),
    ("CALL", LATER),
    ("DO", LATER),
    ("DECLARE", LATER),
    ("PREPARE", "prepare statements through the driver"),
    ("EXECUTE", "run prepared statements through the driver"),
    ("DEALLOCATE", "close prepared statements through the driver"),
    ("KILL", "write CANCEL QUERY id, or CANCEL JOB id"),
    ("CACHE", LATER),
    ("UNCACHE", LATER),
    ("ATTACH", LATER),
    ("DETACH", LATER),
    ("PRAGMA", LATER),
    ("INSTALL", LATER),
    ("LIST", "write SHOW TABLES"),
    ("PLAN", "write EXPLAIN, or use `whimbrel plan DIR`"),
    ("APPLY", "use `whimbrel apply DIR`"),
    ("REPLAY", LATER),
    ("RECOVER", LATER),
    ("PROMOTE", LATER),
    ("DEPRECATE", LATER),
    ("RUN", LATER),
];

/// The words themselves.
pub(crate) fn heads() -> impl Iterator<Item = &'static str> {
    STATEMENTS.into_iter().map(|(head, _)| head)
}

/// The error for a statement that begins with `head`, if that is one of these.
pub(crate) fn statement(cursor: &Cursor<'_>, head: &str) -> Option<SyntaxError> {
    let (_, instead) = STATEMENTS.into_iter().find(|(word, _)| *word == head)?;
    Some(with_advice(cursor, head, instead))
}

fn with_advice(cursor: &Cursor<'_>, what: &str, instead: &str) -> SyntaxError {
    if instead.is_empty() {
        return cursor.unsupported(what);
    }
    SyntaxError::unsupported(
        cursor.here(),
        format!("{what} is not supported in this version; {instead}"),
    )
    .with_hint(instead)
}
