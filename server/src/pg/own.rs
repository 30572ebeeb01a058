//! Statements about the session itself: blocks, settings, cursors, COPY over the connection.
//!
//! They mean nothing to the engine, and Flight has other words for them or none.

use super::{
    copy::CopyStatement,
    error::PgError,
    words::{Token, Words},
};

/// A statement that the session answers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Own {
    /// BEGIN; what it asks for beyond a block.
    Begin(Vec<Mode>),
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE of a savepoint.
    Release(String),
    /// ROLLBACK TO a savepoint.
    RollbackTo(String),
    /// SET TRANSACTION, for the block.
    Transaction(Vec<Mode>),
    /// SET SESSION CHARACTERISTICS, for the blocks to come.
    Characteristics(Vec<Mode>),
    /// SET.
    Set { key: String, values: Vec<String> },
    /// RESET of one setting, or of all.
    Reset(Option<String>),
    /// SHOW of a setting.
    Show(String),
    /// DISCARD; whether statements and portals go too.
    Discard { all: bool },
    /// PREPARE of a statement; the types are those of its first parameters.
    Prepare { name: String, types: Vec<String>, query: String },
    /// EXECUTE of one, with an expression for each parameter.
    Execute { name: String, arguments: Vec<String> },
    /// DEALLOCATE of one statement, or of all.
    Deallocate(Option<String>),
    /// DECLARE of a cursor.
    Declare { name: String, query: String },
    /// FETCH; no number for all.
    Fetch { name: String, rows: Option<usize> },
    /// CLOSE of one cursor, or of all.
    Close(Option<String>),
    /// UNLISTEN: nobody could have listened.
    Unlisten,
    /// COPY over the connection.
    Copy(Box<CopyStatement>),
}

/// What a transaction is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    ReadOnly,
    ReadWrite,
    /// READ COMMITTED or less: each statement sees the newest.
    Committed,
    /// REPEATABLE READ: each table stays as it was when the block first read it.
    Repeatable,
    /// SERIALIZABLE.
    Serializable,
}

impl Mode {
    /// As SHOW gives back a level of isolation.
    pub(super) fn as_sql(self) -> &'static str {
        match self {
            Self::ReadOnly => "read only",
            Self::ReadWrite => "read write",
            Self::Committed => "read committed",
            Self::Repeatable => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

/// The statement, if it is about the session.
pub(super) fn own(sql: &str) -> Result<Option<Own>, PgError> {
    let mut words = Words::new(sql);
    let Some(Token::Word(head)) = words.next() else { return Ok(None) };
    let own = match head.as_str() {
        "begin" => {
            let _said = words.take("work") || words.take("transaction");
            Own::Begin(modes(&mut words)?)
        }
        "start" if words.take("transaction") => Own::Begin(modes(&mut words)?),
        "commit" | "end" => {
            chain(&mut words)?;
            Own::Commit
        }
        "rollback" | "abort" => {
            let _said = words.take("work") || words.take("transaction");
            if words.take("to") {
                let _said = words.take("savepoint");
                Own::RollbackTo(savepoint(&mut words)?)
            } else {
                chain(&mut words)?;
                Own::Rollback
            }
        }
        "savepoint" => Own::Savepoint(savepoint(&mut words)?),
        "release" => {
            let _said = words.take("savepoint");
            Own::Release(savepoint(&mut words)?)
        }
        "set" => return set(words),
        "reset" => match reset_key(&mut words) {
            Some(key) if key == "all" => Own::Reset(None),
            Some(key) => Own::Reset(Some(key)),
            None => return Err(PgError::syntax("RESET needs the name of a setting, or ALL")),
        },
        "show" => {
            let key = if words.take("transaction isolation level") {
                "transaction_isolation".to_owned()
            } else if words.take("session authorization") {
                "session_authorization".to_owned()
            } else {
                match reset_key(&mut words) {
                    Some(key) if super::settings::is_known(&key) => key,
                    // TABLES, JOBS and so on.
                    _ => return Ok(None),
                }
            };
            Own::Show(key)
        }
        "discard" => {
            let all = words.take("all");
            if !all && !["plans", "sequences", "temp", "temporary"].iter().any(|w| words.take(w)) {
                return Err(PgError::syntax(
                    "DISCARD is followed by ALL, PLANS, SEQUENCES or TEMP",
                ));
            }
            Own::Discard { all }
        }
        "prepare" => prepare(&mut words)?,
        "execute" => {
            let name = statement_name(&mut words)?;
            Own::Execute { name, arguments: in_brackets(&mut words)? }
        }
        "deallocate" => {
            let _said = words.take("prepare");
            Own::Deallocate(one_or_all(&mut words)?)
        }
        "close" => Own::Close(one_or_all(&mut words)?),
        "unlisten" => {
            words.next();
            Own::Unlisten
        }
        "declare" => declare(&mut words)?,
        "fetch" => fetch(&mut words)?,
        "copy" => return Ok(CopyStatement::read(words)?.map(|copy| Own::Copy(Box::new(copy)))),
        _ => return Ok(None),
    };
    if !matches!(own, Own::Declare { .. } | Own::Prepare { .. }) && !words.at_end() {
        return Err(PgError::syntax(format!(
            "{} is not understood at '{}'",
            head.to_uppercase(),
            words.rest()
        )));
    }
    Ok(Some(own))
}

/// `AND NO CHAIN` says nothing; `AND CHAIN` would open another block.
fn chain(words: &mut Words<'_>) -> Result<(), PgError> {
    let _said = words.take("work") || words.take("transaction");
    if words.take("and chain") {
        return Err(PgError::unsupported("AND CHAIN is not supported in this version"));
    }
    let _said = words.take("and no chain");
    Ok(())
}

fn savepoint(words: &mut Words<'_>) -> Result<String, PgError> {
    words.name().ok_or_else(|| PgError::syntax("the name of a savepoint is missing"))
}

fn modes(words: &mut Words<'_>) -> Result<Vec<Mode>, PgError> {
    let mut modes = Vec::new();
    while !words.at_end() {
        let _separated = words.take_sign(',');
        if words.take("read only") {
            modes.push(Mode::ReadOnly);
        } else if words.take("read write") {
            modes.push(Mode::ReadWrite);
        } else if words.take("isolation level read committed")
            || words.take("isolation level read uncommitted")
        {
            modes.push(Mode::Committed);
        } else if words.take("isolation level repeatable read") {
            modes.push(Mode::Repeatable);
        } else if words.take("isolation level serializable") {
            modes.push(Mode::Serializable);
        } else if !words.take("deferrable") && !words.take("not deferrable") {
            return Err(PgError::syntax(format!("'{}' is no mode of a transaction", words.rest())));
        }
    }
    Ok(modes)
}

fn set(mut words: Words<'_>) -> Result<Option<Own>, PgError> {
    if words.take("session characteristics as transaction") {
        return Ok(Some(Own::Characteristics(modes(&mut words)?)));
    }
    if words.take("transaction") {
        return Ok(Some(Own::Transaction(modes(&mut words)?)));
    }
    let mut ahead = words.clone();
    if (ahead.take("session") || ahead.take("local")) && !ahead.take_sign('=') {
        words = ahead;
    }
    let key = if words.take("time zone") {
        "timezone".to_owned()
    } else if words.take("names") {
        "client_encoding".to_owned()
    } else {
        let parts =
            words.parts().ok_or_else(|| PgError::syntax("SET needs the name of a setting"))?;
        let key = parts.join(".").to_lowercase();
        if !words.take_sign('=') && !words.take("to") {
            return Err(PgError::syntax(format!("SET {key} needs = or TO, and a value")));
        }
        key
    };
    let mut values = Vec::new();
    while let Some(token) = words.next() {
        match token {
            Token::Word(value) | Token::Text(value) | Token::Number(value) => values.push(value),
            Token::Name(value) => values.push(value),
            Token::Sign(',') if !values.is_empty() => {}
            Token::Sign(';') => break,
            Token::Sign(sign) => {
                return Err(PgError::syntax(format!("SET {key}: '{sign}' is no value")));
            }
        }
    }
    if values.is_empty() {
        return Err(PgError::syntax(format!("SET {key} needs a value")));
    }
    if values.iter().map(String::as_str).eq(["default"]) {
        return Ok(Some(Own::Reset(Some(key))));
    }
    Ok(Some(Own::Set { key, values }))
}

fn reset_key(words: &mut Words<'_>) -> Option<String> {
    if words.take("time zone") {
        return Some("timezone".to_owned());
    }
    words.parts().map(|parts| parts.join(".").to_lowercase())
}

fn one_or_all(words: &mut Words<'_>) -> Result<Option<String>, PgError> {
    if words.take("all") {
        return Ok(None);
    }
    words.name().map(Some).ok_or_else(|| PgError::syntax("a name is missing"))
}

fn statement_name(words: &mut Words<'_>) -> Result<String, PgError> {
    words.name().ok_or_else(|| PgError::syntax("the name of a prepared statement is missing"))
}

/// `(…, …)`, or nothing.
fn in_brackets(words: &mut Words<'_>) -> Result<Vec<String>, PgError> {
    if words.peek() != Some(Token::Sign('(')) {
        return Ok(Vec::new());
    }
    words.list().ok_or_else(|| PgError::syntax("the bracket is not closed"))
}

/// `PREPARE name [(type, …)] AS statement`.
fn prepare(words: &mut Words<'_>) -> Result<Own, PgError> {
    if words.take("transaction") {
        let text = "transactions in two phases are not supported in this version";
        return Err(PgError::unsupported(text));
    }
    let name = statement_name(words)?;
    let types = in_brackets(words)?;
    if !words.take("as") {
        return Err(PgError::syntax("AS and a statement are missing after PREPARE"));
    }
    Ok(Own::Prepare { name, types, query: words.rest().to_owned() })
}

/// `DECLARE c [BINARY] [INSENSITIVE] [[NO] SCROLL] CURSOR [{WITH|WITHOUT} HOLD] FOR query`.
fn declare(words: &mut Words<'_>) -> Result<Own, PgError> {
    let name = words.name().ok_or_else(|| PgError::syntax("DECLARE needs a name"))?;
    loop {
        if words.take("binary") || words.take("scroll") {
            return Err(PgError::unsupported(
                "cursors that go back or are binary are not supported in this version",
            )
            .with_hint("write DECLARE c NO SCROLL CURSOR FOR …"));
        }
        if !["insensitive", "asensitive", "no scroll"].iter().any(|word| words.take(word)) {
            break;
        }
    }
    if !words.take("cursor") {
        return Err(PgError::syntax("CURSOR is missing after DECLARE"));
    }
    if words.take("with hold") {
        return Err(PgError::unsupported("WITH HOLD is not supported in this version")
            .with_hint("read the cursor within its block"));
    }
    let _said = words.take("without hold");
    if !words.take("for") {
        return Err(PgError::syntax("FOR and a query are missing after DECLARE … CURSOR"));
    }
    Ok(Own::Declare { name, query: words.rest().to_owned() })
}

/// `FETCH [NEXT | n | ALL | FORWARD [n | ALL]] [FROM | IN] c`.
fn fetch(words: &mut Words<'_>) -> Result<Own, PgError> {
    let forward = words.take("forward");
    let mut rows = Some(1);
    if words.take("all") {
        rows = None;
    } else if let Some(Token::Number(number)) = words.peek() {
        words.next();
        rows = Some(number.parse().map_err(|_| {
            PgError::unsupported(format!("FETCH {number}: cursors only go forward"))
        })?);
    } else if !forward {
        let back = ["prior", "first", "last", "absolute", "relative", "backward"];
        if back.iter().any(|word| words.take(word)) {
            return Err(PgError::unsupported("cursors only go forward"));
        }
        let _said = words.take("next");
    }
    let _said = words.take("from") || words.take("in");
    let name = words.name().ok_or_else(|| PgError::syntax("FETCH needs the name of a cursor"))?;
    Ok(Own::Fetch { name, rows })
}

/// What a client is told about a statement of the engine, before how many rows it was about.
pub(super) fn tag(sql: &str) -> String {
    let mut words = Words::new(sql);
    let mut heads = Vec::new();
    while let Some(Token::Word(word)) = words.next() {
        heads.push(word.to_uppercase());
        if heads.len() == 6 {
            break;
        }
    }
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    fn skipping<'a>(heads: &[&'a str]) -> Vec<&'a str> {
        let kinds = heads.iter().filter(|word| !matches!(**word, "OR" | "REPLACE" | "EXTERNAL"));
        kinds.copied().take(3).collect()
    }
    match heads.as_slice() {
        ["TRUNCATE", ..] => "TRUNCATE TABLE".to_owned(),
        ["CREATE" | "DROP" | "ALTER" | "REFRESH", ..] => match skipping(&heads).as_slice() {
            [verb, "MATERIALIZED", "VIEW"] => format!("{verb} MATERIALIZED VIEW"),
            [verb, kind, ..] => format!("{verb} {kind}"),
            other => other.join(" "),
        },
        [head, ..] => (*head).to_owned(),
        [] => "OK".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Option<Own> {
        own(sql).unwrap()
    }

    fn set(key: &str, values: &[&str]) -> Option<Own> {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Some(Own::Set { key: key.to_owned(), values })
    }

    #[test]
    fn what_drivers_send_by_themselves_is_known() {
        assert_eq!(read("BEGIN"), Some(Own::Begin(vec![])));
        assert_eq!(
            read("start transaction isolation level repeatable read, read only"),
            Some(Own::Begin(vec![Mode::Repeatable, Mode::ReadOnly]))
        );
        assert_eq!(read("COMMIT;"), Some(Own::Commit));
        assert_eq!(read("ROLLBACK TO SAVEPOINT a"), Some(Own::RollbackTo("a".to_owned())));
        assert_eq!(read("RELEASE a"), Some(Own::Release("a".to_owned())));
        assert_eq!(read("SET extra_float_digits = 3"), set("extra_float_digits", &["3"]));
        assert_eq!(
            read("SET search_path TO \"$user\", main"),
            set("search_path", &["$user", "main"])
        );
        assert_eq!(read("SET SESSION TIME ZONE 'UTC'"), set("timezone", &["UTC"]));
        assert_eq!(read("set client_encoding to 'UTF8'"), set("client_encoding", &["UTF8"]));
        assert_eq!(
            read("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
            Some(Own::Characteristics(vec![Mode::ReadOnly]))
        );
        assert_eq!(read("SET datestyle = DEFAULT"), Some(Own::Reset(Some("datestyle".to_owned()))));
        assert_eq!(
            read("SHOW TRANSACTION ISOLATION LEVEL"),
            Some(Own::Show("transaction_isolation".to_owned()))
        );
        assert_eq!(
            read("DECLARE \"c\" NO SCROLL CURSOR FOR SELECT 1"),
            Some(Own::Declare { name: "c".to_owned(), query: "SELECT 1".to_owned() })
        );
        assert_eq!(
            read("FETCH FORWARD 100 FROM \"c\""),
            Some(Own::Fetch { name: "c".to_owned(), rows: Some(100) })
        );
        assert_eq!(
            read("PREPARE q (int, numeric(10, 2)) AS SELECT $1, $2"),
            Some(Own::Prepare {
                name: "q".to_owned(),
                types: vec!["int".to_owned(), "numeric(10, 2)".to_owned()],
                query: "SELECT $1, $2".to_owned(),
            })
        );
        assert_eq!(
            read("EXECUTE q(1, 'a,)', f(2, 3));"),
            Some(Own::Execute {
                name: "q".to_owned(),
                arguments: vec!["1".to_owned(), "'a,)'".to_owned(), "f(2, 3)".to_owned()],
            })
        );
        assert_eq!(
            read("EXECUTE q"),
            Some(Own::Execute { name: "q".to_owned(), arguments: vec![] })
        );
        assert_eq!(read("FETCH ALL IN c"), Some(Own::Fetch { name: "c".to_owned(), rows: None }));
        for sql in ["SELECT 1", "SHOW TABLES", "CREATE TABLE t (a INT)", "", "(SELECT 1)"] {
            assert_eq!(read(sql), None, "{sql}");
        }
        for sql in [
            "BEGIN x",
            "SAVEPOINT",
            "SET a",
            "DISCARD",
            "FETCH -1 FROM c",
            "DECLARE c SCROLL CURSOR FOR",
            "PREPARE q",
            "PREPARE TRANSACTION 'q'",
            "EXECUTE q (1",
            "EXECUTE q (1) x",
        ] {
            assert!(own(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn tags_are_those_of_postgres() {
        for (sql, expected) in [
            ("create or replace table t (a int)", "CREATE TABLE"),
            ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED VIEW"),
            ("drop view v", "DROP VIEW"),
            ("truncate t", "TRUNCATE TABLE"),
            ("-- x\ninsert into t values (1)", "INSERT"),
            ("OPTIMIZE t", "OPTIMIZE"),
        ] {
            assert_eq!(tag(sql), expected, "{sql}");
        }
    }
}
