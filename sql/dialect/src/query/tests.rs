use sqlparser::ast::{Expr, SetExpr};

use crate::{
    SyntaxError, SyntaxErrorKind, parse,
    statement::{Query, Statement, TableUse, TimeTravel},
};

fn query(sql: &str) -> Query {
    match parse(sql) {
        Ok(Statement::Query(query)) => query,
        other => panic!("{sql}: {other:?}"),
    }
}

fn tables(sql: &str) -> Vec<String> {
    query(sql).tables.iter().map(|table| table.name.join(".")).collect()
}

fn error(sql: &str) -> SyntaxError {
    match parse(sql) {
        Ok(statement) => panic!("{sql} was read as {statement:?}"),
        Err(error) => error,
    }
}

#[test]
fn the_word_of_the_standard_is_a_limit() {
    for (sql, expected) in [
        (
            "SELECT a FROM t ORDER BY a FETCH FIRST 5 ROWS ONLY",
            "SELECT a FROM t ORDER BY a LIMIT 5",
        ),
        ("SELECT a FROM t FETCH FIRST ROW ONLY", "SELECT a FROM t LIMIT 1"),
        (
            "SELECT a FROM t OFFSET 2 ROWS FETCH NEXT 5 ROWS ONLY",
            "SELECT a FROM t LIMIT 5 OFFSET 2 ROWS",
        ),
        (
            "SELECT 1 FROM (SELECT 2 FETCH FIRST 1 ROW ONLY) AS x",
            "SELECT 1 FROM (SELECT 2 LIMIT 1) AS x",
        ),
        (
            "SELECT a FROM t FETCH FIRST 5 ROWS WITH TIES",
            "SELECT a FROM t FETCH FIRST 5 ROWS WITH TIES",
        ),
    ] {
        assert_eq!(query(sql).ast.to_string(), expected);
    }
}

#[test]
fn every_named_table_is_listed_once() {
    for (sql, expected) in [
        ("SELECT 1", &[][..]),
        ("SELECT * FROM t, u, T", &["t", "u"]),
        ("SELECT * FROM a.\"T\" JOIN whimbrel.b.u ON true", &["a.T", "whimbrel.b.u"]),
        (
            "SELECT (SELECT max(x) FROM a) FROM b WHERE EXISTS (SELECT 1 FROM c) AND x IN (SELECT y FROM d)",
            &["a", "b", "c", "d"],
        ),
        (
            "SELECT * FROM (SELECT * FROM a UNION ALL SELECT * FROM b) x JOIN LATERAL (SELECT * FROM c) y ON true",
            &["a", "b", "c"],
        ),
        ("SELECT * FROM ((a JOIN b ON true) JOIN c ON true)", &["a", "b", "c"]),
        ("SELECT * FROM t ORDER BY (SELECT 1 FROM u) LIMIT (SELECT 1 FROM v)", &["t", "u", "v"]),
        (
            "SELECT * FROM t HAVING (SELECT true FROM u) QUALIFY (SELECT true FROM v)",
            &["t", "u", "v"],
        ),
        ("VALUES ((SELECT 1 FROM t))", &["t"]),
        ("SELECT * FROM generate_series(1, (SELECT 2 FROM t)), unnest([1]), LATERAL f(1)", &["t"]),
        ("TABLE t", &["t"]),
        ("SELECT 1 UNION ALL (TABLE a.t)", &["a.t"]),
    ] {
        assert_eq!(tables(sql), expected, "{sql}");
    }
}

#[test]
fn with_queries_hide_tables_only_where_they_are_visible() {
    for (sql, expected) in [
        ("WITH a AS (SELECT * FROM t) SELECT * FROM a", &["t"][..]),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", &["a"]),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a, b", &["b"]),
        (
            "WITH a AS (SELECT 1), b AS (SELECT * FROM a, b, c), c AS (SELECT 1) SELECT * FROM b, c",
            &["b", "c"],
        ),
        ("WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a) SELECT * FROM a", &[]),
        ("WITH a AS (SELECT 1) SELECT * FROM main.a", &["main.a"]),
        ("WITH A AS (SELECT 1) SELECT * FROM a", &[]),
        ("WITH \"A\" AS (SELECT 1) SELECT * FROM a", &["a"]),
        ("SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) x, a", &["a"]),
        ("SELECT * FROM a, (WITH a AS (SELECT 1) SELECT * FROM a) x", &["a"]),
        (
            "WITH a AS (SELECT 1) SELECT (SELECT 1 FROM a), (WITH b AS (SELECT * FROM a, c) SELECT * FROM b) FROM b",
            &["c", "b"],
        ),
        (
            "WITH a AS (WITH b AS (SELECT * FROM t) SELECT * FROM b), c AS (SELECT * FROM b) SELECT * FROM a, c",
            &["t", "b"],
        ),
    ] {
        assert_eq!(tables(sql), expected, "{sql}");
    }
}

#[test]
fn time_travel_becomes_part_of_the_name() {
    let version = |n| Some(TimeTravel::Version(n));
    let time = |text: &str| Some(TimeTravel::Timestamp(text.to_owned()));
    for (clause, at, suffix) in [
        ("VERSION AS OF 3", version(3), "@v3"),
        ("version as of 0", version(0), "@v0"),
        ("FOR VERSION AS OF 3", version(3), "@v3"),
        ("FOR SYSTEM_VERSION AS OF 3", version(3), "@v3"),
        (
            "TIMESTAMP AS OF '2026-01-31 12:00:00'",
            time("2026-01-31 12:00:00"),
            "@t2026-01-31 12:00:00",
        ),
        ("TIMESTAMP AS OF TIMESTAMP '2026-01-31'", time("2026-01-31"), "@t2026-01-31"),
        ("FOR TIMESTAMP AS OF DATE '2026-01-31'", time("2026-01-31"), "@t2026-01-31"),
        ("FOR SYSTEM_TIME AS OF 'it''s'", time("it's"), "@tit's"),
    ] {
        let query = query(&format!("SELECT T.x FROM Main.T {clause}"));
        let expected = TableUse {
            name: vec!["main".into(), "t".into()],
            at,
            planned_name: vec!["main".into(), format!("t{suffix}")],
        };
        assert_eq!(query.tables, [expected], "{clause}");
        assert_eq!(query.ast.to_string(), format!("SELECT T.x FROM Main.\"t{suffix}\" AS T"));
    }
}

#[test]
fn time_travel_works_wherever_a_table_stands() {
    for sql in [
        "SELECT * FROM t VERSION AS OF 3 AS x",
        "SELECT * FROM t VERSION AS OF 3 x WHERE x.a = 1",
        "SELECT * FROM u JOIN t VERSION AS OF 3 USING (a)",
        "SELECT * FROM u WHERE a IN (SELECT a FROM t VERSION AS OF 3)",
        "WITH c AS (SELECT * FROM t VERSION AS OF 3) SELECT * FROM c",
        "SELECT 1 UNION ALL TABLE t VERSION AS OF 3",
    ] {
        let query = query(sql);
        assert!(query.tables.iter().any(|table| table.at == Some(TimeTravel::Version(3))), "{sql}");
    }
    for sql in [
        "CREATE VIEW v AS SELECT * FROM t VERSION AS OF 3",
        "CREATE MATERIALIZED VIEW v AS SELECT * FROM t VERSION AS OF 3",
        "INSERT INTO u SELECT * FROM t VERSION AS OF 3",
        "CREATE TABLE u AS SELECT * FROM t VERSION AS OF 3",
    ] {
        let text = format!("{:?}", parse(sql));
        assert!(text.contains("at: Some(Version(3))"), "{text}");
    }
    let both =
        query("SELECT * FROM t, t VERSION AS OF 1 a, t VERSION AS OF 2 b, t VERSION AS OF 1 c");
    assert_eq!(both.tables.len(), 3);
    let quoted = query("SELECT \"T\".x FROM \"T\" VERSION AS OF 3");
    assert_eq!(quoted.ast.to_string(), "SELECT \"T\".x FROM \"T@v3\" AS \"T\"");
}

#[test]
fn columns_named_version_are_no_time_travel() {
    assert_eq!(tables("SELECT version AS of FROM t"), ["t"]);
    assert_eq!(tables("SELECT DISTINCT timestamp AS of FROM t"), ["t"]);
    assert_eq!(tables("SELECT version, timestamp FROM version"), ["version"]);
    assert_eq!(tables("SELECT * FROM t AS version"), ["t"]);
}

#[test]
fn misplaced_time_travel_is_refused_at_its_clause() {
    for (sql, column) in [
        ("SELECT * FROM t x VERSION AS OF 3", 19),
        ("SELECT * FROM (SELECT 1) VERSION AS OF 3", 26),
        ("SELECT * FROM f(1) VERSION AS OF 3", 20),
        ("SELECT * FROM t VERSION AS OF 3 VERSION AS OF 4", 33),
        ("WITH c AS (SELECT 1) SELECT * FROM c VERSION AS OF 3", 38),
        ("SELECT * FROM t VERSION AS OF 'x'", 31),
        ("SELECT * FROM t VERSION AS OF ?", 31),
        ("SELECT * FROM t VERSION AS OF 1.5", 31),
        ("SELECT * FROM t TIMESTAMP AS OF now()", 33),
        ("DESCRIBE t VERSION AS OF 3", 12),
        ("DROP TABLE t VERSION AS OF 3", 14),
    ] {
        assert_eq!(error(sql).column, column, "{sql}: {}", error(sql));
    }
}

#[test]
fn at_signs_are_refused_in_names_of_tables() {
    for sql in [
        "SELECT * FROM \"t@v3\"",
        "SELECT * FROM t@v3",
        "SELECT * FROM \"a@b\".t",
        "SELECT * FROM \"t@x\" VERSION AS OF 3",
        "SELECT * FROM \"a@b\".t VERSION AS OF 3",
        "WITH \"t@v3\" AS (SELECT 1) SELECT * FROM t VERSION AS OF 3",
        "CREATE TABLE \"a@b\" (a INT)",
        "INSERT INTO \"a@b\" VALUES (1)",
    ] {
        assert!(error(sql).message.contains('@'), "{sql}: {}", error(sql));
    }
}

#[test]
fn what_the_planner_would_ignore_is_refused() {
    for (sql, what) in [
        ("SELECT * FROM t TABLESAMPLE (10 PERCENT)", "TABLESAMPLE"),
        ("SELECT * FROM t PARTITION (p)", "PARTITION"),
        ("SELECT * FROM t WITH (NOLOCK)", "hint"),
        ("SELECT * FROM t FOR UPDATE", "FOR UPDATE"),
        ("SELECT * INTO u FROM t", "SELECT INTO"),
        ("SELECT * FROM t SETTINGS a = 1", "SETTINGS"),
        ("SELECT * FROM (SELECT * FROM t FOR UPDATE)", "FOR UPDATE"),
        ("WITH c AS (DELETE FROM t) SELECT 1", "DELETE"),
        ("SELECT * FROM (UPDATE t SET a = 1)", "UPDATE"),
        ("SELECT * FROM t WHERE EXISTS (TABLE t UNION SELECT * INTO x FROM y)", "SELECT INTO"),
    ] {
        let error = error(sql);
        assert!(error.message.contains(what), "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{sql}");
    }
    assert_eq!(error("SELECT *\nFROM t\nFOR UPDATE").line, 3);
}

#[test]
fn the_changes_of_a_table_are_read_as_a_use_of_it() {
    for (call, at, planned) in [
        ("table_changes('t', 3)", (3, None), "t@c@v3"),
        ("TABLE_CHANGES('t', 3, 7)", (3, Some(7)), "t@c@v3@v7"),
    ] {
        let query = query(&format!("SELECT t.a, x.b FROM {call} JOIN u AS x ON t.a = x.a"));
        let used = &query.tables[0];
        let version = |version| Box::new(TimeTravel::Version(version));
        assert_eq!(used.name, ["t"], "{call}");
        let at = TimeTravel::Changes { from: version(at.0), to: at.1.map(version) };
        assert_eq!(used.at, Some(at.clone()), "{call}");
        assert_eq!(at.reads_newest(), !call.contains('7'), "{call}");
        assert_eq!(used.planned_name, [planned], "{call}");
    }
    let quoted = query("SELECT * FROM table_changes('s.\"Odd \'\'name\"', '2026-01-31') AS c");
    assert_eq!(quoted.tables[0].name, ["s", "Odd 'name"]);
    let printed = crate::print::qualify(&quoted, "main");
    assert_eq!(printed, "SELECT * FROM table_changes('s.\"Odd ''name\"', '2026-01-31') AS c");
    for wrong in [
        "table_changes()",
        "table_changes(t, 1)",
        "table_changes('t')",
        "table_changes('t', 1, 2, 3)",
        "table_changes('t', -1)",
        "table_changes('', 1)",
        "table_changes('t..u', 1)",
    ] {
        let error = parse(&format!("SELECT * FROM {wrong}")).unwrap_err();
        assert!(error.to_string().contains("table_changes takes a table"), "{wrong}: {error}");
    }
}

/// An expression with all of its brackets; those that were written count for nothing.
fn bracketed(expr: &Expr) -> String {
    let two = |left, op: &str, right| format!("({} {op} {})", bracketed(left), bracketed(right));
    match expr {
        Expr::BinaryOp { left, op, right } => two(left, &op.to_string(), right),
        Expr::IsDistinctFrom(left, right) => two(left, "<>", right),
        Expr::IsNotDistinctFrom(left, right) => two(left, "==", right),
        Expr::Nested(inner) => bracketed(inner),
        other => other.to_string(),
    }
}

#[test]
fn is_distinct_from_binds_more_than_and() {
    for (sql, meant) in [
        ("a IS DISTINCT FROM b", "(a <> b)"),
        ("a IS DISTINCT FROM b AND c", "((a <> b) AND c)"),
        ("a IS DISTINCT FROM b AND c OR d", "(((a <> b) AND c) OR d)"),
        ("a IS NOT DISTINCT FROM b OR c AND d", "((a == b) OR (c AND d))"),
        ("x AND a IS DISTINCT FROM b OR c", "((x AND (a <> b)) OR c)"),
        ("x OR a IS DISTINCT FROM b AND c OR d", "((x OR ((a <> b) AND c)) OR d)"),
        ("x OR y AND z", "(x OR (y AND z))"),
        ("x AND (y AND z)", "(x AND (y AND z))"),
        ("x AND a IS DISTINCT FROM b AND c", "((x AND (a <> b)) AND c)"),
        ("a IS DISTINCT FROM b AND c IS DISTINCT FROM d OR e", "(((a <> b) AND (c <> d)) OR e)"),
        ("a IS DISTINCT FROM b OR c AND d OR e", "(((a <> b) OR (c AND d)) OR e)"),
        ("a IS DISTINCT FROM (b AND c)", "(a <> (b AND c))"),
        ("a IS DISTINCT FROM b + 1 AND c = 2", "((a <> (b + 1)) AND (c = 2))"),
    ] {
        let ast = query(&format!("SELECT 1 FROM t WHERE {sql}")).ast;
        let SetExpr::Select(select) = ast.body.as_ref() else { panic!("{sql}") };
        assert_eq!(bracketed(select.selection.as_ref().unwrap()), meant, "{sql}");
    }
}

#[test]
fn columns_that_repeat_get_a_name_of_their_own() {
    let printed = |sql: &str| query(sql).ast.to_string();
    assert_eq!(
        printed("SELECT 1, 1, a, a, A, t.a FROM t"),
        "SELECT 1, 1 AS \"1_1\", a, a AS \"a_1\", A AS \"A_2\", t.a FROM t"
    );
    assert_eq!(
        printed("SELECT a, a AS b, count(*), count(*) FROM t"),
        "SELECT a, a AS b, count(*), count(*) AS \"count(*)_1\" FROM t"
    );
}
