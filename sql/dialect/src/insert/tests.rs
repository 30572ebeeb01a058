use super::*;
use crate::{SyntaxErrorKind, parse};

fn insert_of(sql: &str) -> Insert {
    match parse(sql) {
        Ok(Statement::Insert(insert)) => insert,
        other => panic!("{sql}: {other:?}"),
    }
}

fn error(sql: &str) -> SyntaxError {
    match parse(sql) {
        Ok(statement) => panic!("{sql} was read as {statement:?}"),
        Err(error) => error,
    }
}

#[test]
fn columns_may_go_by_name() {
    assert!(insert_of("INSERT INTO t BY NAME SELECT 1 AS a").by_name);
    assert!(insert_of("insert into t by name (select 1 as a)").by_name);
    assert!(insert_of("INSERT INTO t BY NAME TABLE u").by_name);
    assert!(!insert_of("INSERT INTO t SELECT 1 AS a").by_name);
    let overwrite = insert_of("INSERT OVERWRITE t BY NAME SELECT 1 AS a");
    assert!(overwrite.by_name && matches!(overwrite.old_rows, OldRows::Go));
}

#[test]
fn rows_that_fulfil_a_condition_are_replaced() {
    for (sql, text, rows, source) in [
        (
            "INSERT INTO a.t REPLACE WHERE d >= '2026-01-31' AND x = ? SELECT * FROM u WHERE y = ?",
            "d >= '2026-01-31' AND x = ?",
            "SELECT d >= '2026-01-31' AND x = $1 FROM a.t AS t WHERE d >= '2026-01-31' AND x = $1",
            "SELECT * FROM u WHERE y = $2",
        ),
        (
            "INSERT INTO \"T\" BY NAME REPLACE WHERE (a IN (1,  2)) (SELECT 1)",
            "(a IN (1,  2))",
            "SELECT (a IN (1, 2)) FROM \"T\" AS \"T\" WHERE (a IN (1, 2))",
            "(SELECT 1)",
        ),
        (
            "INSERT INTO t REPLACE WHERE a = 1 VALUES (1)",
            "a = 1",
            "SELECT a = 1 FROM t AS t WHERE a = 1",
            "VALUES (1)",
        ),
        (
            "INSERT INTO t REPLACE WHERE a = 1 WITH c AS (SELECT 1) SELECT * FROM c",
            "a = 1",
            "SELECT a = 1 FROM t AS t WHERE a = 1",
            "WITH c AS (SELECT 1) SELECT * FROM c",
        ),
        (
            "INSERT INTO t REPLACE WHERE a = 1 TABLE u",
            "a = 1",
            "SELECT a = 1 FROM t AS t WHERE a = 1",
            "SELECT * FROM u",
        ),
        (
            "INSERT INTO t REPLACE WHERE true FROM u",
            "true",
            "SELECT true FROM t AS t WHERE true",
            "SELECT * FROM u",
        ),
    ] {
        let insert = insert_of(sql);
        let OldRows::GoWhere(replaced) = &insert.old_rows else { panic!("{sql}") };
        assert_eq!(replaced.text, text);
        assert_eq!(replaced.rows.ast.to_string(), rows);
        assert_eq!(insert.source.ast.to_string(), source);
        assert_eq!(insert.by_name, sql.contains("BY NAME"));
        assert_eq!(replaced.rows.tables[0].name, insert.target);
    }
}

#[test]
fn values_of_a_partition_come_last() {
    for (sql, columns, source, condition) in [
        (
            "INSERT INTO t PARTITION (p = 1, q) SELECT a, q FROM u",
            "",
            "SELECT a, q, 1 AS \"PARTITION p\" FROM u",
            None,
        ),
        (
            "INSERT INTO t PARTITION (p = DATE '2026-01-31') (b, a) VALUES (?, 2), (3, 4)",
            "b, a",
            "VALUES ($1, 2, DATE '2026-01-31'), (3, 4, DATE '2026-01-31')",
            None,
        ),
        (
            "INSERT OVERWRITE t PARTITION (p = 'x', \"Q\" = NULL) BY NAME SELECT a FROM u",
            "",
            "SELECT a, 'x' AS p, NULL AS \"Q\" FROM u",
            Some("p = 'x' AND \"Q\" IS NULL"),
        ),
        (
            "INSERT OVERWRITE TABLE t PARTITION (p = -1) SELECT 1 UNION ALL SELECT 2",
            "",
            "SELECT *, -1 AS \"PARTITION p\" FROM (SELECT 1 UNION ALL SELECT 2) AS rows_of_partition",
            Some("p = -1"),
        ),
        ("INSERT INTO t PARTITION (p) FROM u", "", "SELECT * FROM u", None),
    ] {
        let insert = insert_of(sql);
        assert_eq!(insert.columns.join(", "), columns, "{sql}");
        assert_eq!(insert.source.ast.to_string(), source, "{sql}");
        let replaced = match &insert.old_rows {
            OldRows::GoWhere(replaced) => Some(replaced.text.as_str()),
            OldRows::Stay | OldRows::Go => None,
        };
        assert_eq!(replaced, condition, "{sql}");
    }
    let partition = insert_of("INSERT INTO t PARTITION (p = 1, q) SELECT 1").partition;
    assert_eq!(partition, Partition { fixed: vec!["p".to_owned()], open: vec!["q".to_owned()] });
}

#[test]
fn mistakes_in_inserts_are_found() {
    for (sql, column, what) in [
        ("INSERT INTO t PARTITION () SELECT 1", 26, "a column"),
        ("INSERT INTO t PARTITION (p = 1, P = 2) SELECT 1", 33, "'p' twice"),
        ("INSERT INTO t PARTITION (p = ?) SELECT 1", 30, "a constant"),
        ("INSERT INTO t PARTITION (p = a + 1) SELECT 1", 30, "a constant"),
        ("INSERT INTO t PARTITION (p = 1) (a, p) SELECT 1", 37, "its value already"),
        ("INSERT OVERWRITE t PARTITION (p) SELECT 1", 20, "each of its columns a value"),
        ("INSERT OVERWRITE t PARTITION (p = 1, q) SELECT 1", 20, "each of its columns a value"),
        ("INSERT INTO t (a) BY NAME SELECT 1", 19, "exclude each other"),
        ("INSERT INTO t BY NAME (a) SELECT 1", 15, "exclude each other"),
        ("INSERT OVERWRITE t REPLACE WHERE a SELECT 1", 20, "exclude each other"),
        ("INSERT INTO t REPLACE WHERE SELECT 1", 29, "a condition, found: SELECT"),
        ("INSERT INTO t REPLACE WHERE a = 1", 34, "found: EOF"),
        ("INSERT INTO t REPLACE WHERE a = \"@\" x SELECT 1", 37, "x"),
        ("INSERT INTO t VERSION AS OF 3 VALUES (1)", 15, "RESTORE"),
    ] {
        let error = error(sql);
        assert!(
            error.message.contains(what)
                || error.hint.as_deref().is_some_and(|hint| hint.contains(what)),
            "{sql}: {error:?}"
        );
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Syntax, "{sql}");
    }
    assert_eq!(
        error("INSERT INTO t REPLACE USING (a) SELECT 1").kind,
        SyntaxErrorKind::Unsupported
    );
}
