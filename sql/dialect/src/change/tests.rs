use super::*;
use crate::{SyntaxErrorKind, parse};

fn change_of(sql: &str) -> Change {
    match parse(sql) {
        Ok(Statement::Change(change)) => change,
        other => panic!("{sql}: {other:?}"),
    }
}

fn error(sql: &str) -> SyntaxError {
    match parse(sql) {
        Ok(statement) => panic!("{sql} was read as {statement:?}"),
        Err(error) => error,
    }
}

fn names(change: &Change) -> Vec<String> {
    let mut names: Vec<_> = change.rows.tables.iter().map(|t| t.planned_name.join(".")).collect();
    names.sort();
    names
}

#[test]
fn deletes_are_read() {
    for (sql, rows) in [
        ("DELETE FROM t", "SELECT FROM t AS t"),
        ("delete from Main.T where A = ?", "SELECT FROM Main.T AS T WHERE A = $1"),
        ("DELETE FROM a.\"T\" WHERE b", "SELECT FROM a.\"T\" AS \"T\" WHERE b"),
        ("DELETE FROM t AS x WHERE x.a > 1;", "SELECT FROM t AS x WHERE x.a > 1"),
        ("DELETE FROM t \"X\" WHERE a", "SELECT FROM t AS \"X\" WHERE a"),
        (
            "DELETE FROM t USING u, v AS w JOIN z ON w.a = z.a WHERE t.a = u.a",
            "SELECT FROM t AS t, u, v AS w JOIN z ON w.a = z.a WHERE t.a = u.a",
        ),
        (
            "DELETE FROM t x USING (SELECT 1 AS a) AS u WHERE x.a = u.a",
            "SELECT FROM t AS x, (SELECT 1 AS a) AS u WHERE x.a = u.a",
        ),
        ("DELETE FROM t WHERE a IN (TABLE u)", "SELECT FROM t AS t WHERE a IN (SELECT * FROM u)"),
    ] {
        let change = change_of(sql);
        assert_eq!(change.kind, ChangeKind::Delete);
        assert_eq!(change.rows.ast.to_string(), rows, "{sql}");
        let clause =
            ChangeClause { when: When::Matched, condition: None, action: ChangeAction::Delete };
        assert_eq!(change.clauses, [clause]);
        assert!(!change.schema_evolution);
    }
    assert_eq!(change_of("delete from Main.\"T\" where a = ?").target, ["main", "T"]);
    assert_eq!(change_of("delete from t where a = ? or a = ?").rows.parameters, 2);
}

#[test]
fn updates_are_read() {
    for (sql, rows, assignments) in [
        ("UPDATE t SET a = 1", "SELECT 1 FROM t AS t", vec![("a", 0)]),
        (
            "update s.T as X set A = x.a + ?, x.\"B\" = 'b' where c is null",
            "SELECT x.a + $1, 'b' FROM s.T AS X WHERE c IS NULL",
            vec![("a", 0), ("B", 1)],
        ),
        ("UPDATE t SET t.a = NULL", "SELECT NULL FROM t AS t", vec![("a", 0)]),
        ("UPDATE t SET a = b = c", "SELECT b = c FROM t AS t", vec![("a", 0)]),
        (
            "UPDATE t SET a = u.b FROM u, v WHERE t.k = u.k",
            "SELECT u.b FROM t AS t, u, v WHERE t.k = u.k",
            vec![("a", 0)],
        ),
        (
            "UPDATE t SET a = (SELECT max(b) FROM u) WHERE k = 1",
            "SELECT (SELECT max(b) FROM u) FROM t AS t WHERE k = 1",
            vec![("a", 0)],
        ),
        (
            "UPDATE t SET a = default + 1, b = \"default\"",
            "SELECT default + 1, \"default\" FROM t AS t",
            vec![("a", 0), ("b", 1)],
        ),
    ] {
        let change = change_of(sql);
        assert_eq!(change.kind, ChangeKind::Update);
        assert_eq!(change.rows.ast.to_string(), rows, "{sql}");
        let assignments = assignments.into_iter().map(|(c, n)| (c.to_owned(), n)).collect();
        assert_eq!(change.clauses[0].action, ChangeAction::Update(assignments));
        assert_eq!((change.clauses.len(), change.clauses[0].condition), (1, None));
    }
}

#[test]
fn a_merge_with_every_clause_is_read() {
    let change = change_of(
        "merge with schema evolution into s.T as t using (select * from u where a = ?) as s on t.k = s.k
         when matched and s.gone then delete
         when matched and t.v < s.v then update set v = s.v, t.w = ?
         when matched then update set *
         when not matched and s.k > 0 then insert (k, v) values (s.k, s.v + 1)
         when not matched by target and s.k < 0 then insert values (1, 2, 3)
         when not matched then insert *
         when not matched by source and t.old then update set v = 0
         when not matched by source then delete",
    );
    assert_eq!(change.kind, ChangeKind::Merge);
    assert_eq!(change.target, ["s", "t"]);
    assert!(change.schema_evolution);
    assert_eq!(
        change.rows.ast.to_string(),
        "SELECT s.gone, t.v < s.v, s.v, $2, s.k > 0, s.k, s.v + 1, s.k < 0, 1, 2, 3, t.old, 0 \
         FROM s.T AS t INNER JOIN (SELECT * FROM u WHERE a = $1) AS s ON t.k = s.k"
    );
    assert_eq!(change.rows.parameters, 2);
    assert_eq!(names(&change), ["s.t", "u"]);
    let update = |set: &[(&str, usize)]| {
        ChangeAction::Update(set.iter().map(|(c, n)| ((*c).to_owned(), *n)).collect())
    };
    let insert = |columns: &[&str], values: &[usize]| ChangeAction::Insert {
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        values: values.to_vec(),
    };
    let clauses: Vec<_> =
        change.clauses.iter().map(|c| (c.when, c.condition, c.action.clone())).collect();
    assert_eq!(
        clauses,
        [
            (When::Matched, Some(0), ChangeAction::Delete),
            (When::Matched, Some(1), update(&[("v", 2), ("w", 3)])),
            (When::Matched, None, ChangeAction::UpdateAll),
            (When::NotMatchedByTarget, Some(4), insert(&["k", "v"], &[5, 6])),
            (When::NotMatchedByTarget, Some(7), insert(&[], &[8, 9, 10])),
            (When::NotMatchedByTarget, None, ChangeAction::InsertAll),
            (When::NotMatchedBySource, Some(11), update(&[("v", 12)])),
            (When::NotMatchedBySource, None, ChangeAction::Delete),
        ]
    );
}

#[test]
fn sources_of_merge_go_by_a_name() {
    for (source, printed) in [
        ("u", "u AS u"),
        ("a.\"U\"", "a.\"U\" AS \"U\""),
        ("a.u x", "a.u x"),
        ("a.u AS x", "a.u AS x"),
        ("(u)", "u AS u"),
        ("(SELECT 1) AS x", "(SELECT 1) AS x"),
        ("(VALUES (1, 2)) AS x(a, b)", "(VALUES (1, 2)) AS x (a, b)"),
        ("(TABLE u) x", "(SELECT * FROM u) x"),
        ("generate_series(1, 3) AS x", "generate_series(1, 3) AS x"),
        ("u VERSION AS OF 3", "\"u@v3\" AS u"),
        ("u VERSION AS OF 3 AS x", "\"u@v3\" AS x"),
    ] {
        let sql = format!("MERGE INTO t USING {source} ON true WHEN MATCHED THEN DELETE");
        let rows = change_of(&sql).rows.ast.to_string();
        assert_eq!(rows, format!("SELECT FROM t AS t INNER JOIN {printed} ON true"), "{sql}");
    }
    // A table may be merged with itself, as it is or as it was.
    let itself = "MERGE INTO t AS a USING t VERSION AS OF 1 AS b ON a.k = b.k WHEN MATCHED THEN UPDATE SET *";
    assert_eq!(names(&change_of(itself)), ["t", "t@v1"]);
}

#[test]
fn truncates_are_read() {
    for (sql, name) in [
        ("TRUNCATE TABLE a.T", &["a", "t"][..]),
        ("truncate \"T\";", &["T"]),
        ("TRUNCATE t", &["t"]),
    ] {
        let Ok(Statement::Truncate { target }) = parse(sql) else { panic!("{sql}") };
        assert_eq!(target, name);
    }
}

#[test]
fn all_tables_that_a_change_reads_are_found() {
    let update = "UPDATE t SET a = (SELECT max(x) FROM b.u) FROM v WHERE k IN (SELECT k FROM w TIMESTAMP AS OF '2026-01-31')";
    assert_eq!(names(&change_of(update)), ["b.u", "t", "v", "w@t2026-01-31"]);
    let cte = "DELETE FROM t WHERE a IN (WITH c AS (SELECT * FROM u) SELECT a FROM c)";
    assert_eq!(names(&change_of(cte)), ["t", "u"]);
    let merge = "MERGE INTO t USING u ON EXISTS (SELECT 1 FROM v) WHEN MATCHED AND 1 IN (TABLE w) THEN DELETE";
    assert_eq!(names(&change_of(merge)), ["t", "u", "v", "w"]);
    let explained = parse("EXPLAIN DELETE FROM t");
    assert!(matches!(explained, Ok(Statement::Explain { analyze: false, .. })), "{explained:?}");
}

#[test]
fn mistakes_in_changes_are_found() {
    const MERGE: &str = "MERGE INTO t USING s ON a WHEN ";
    let merge = |rest: &str| format!("{MERGE}{rest}");
    let at = |column: usize| MERGE.len() + column;
    for (sql, column, what) in [
        ("DELETE t WHERE a = 1".to_owned(), 8, "DELETE FROM"),
        ("DELETE FROM".to_owned(), 12, "the name of a table"),
        ("DELETE FROM t WHERE".to_owned(), 20, "EOF"),
        ("DELETE FROM t WEHRE a = 1".to_owned(), 21, "did you mean WHERE"),
        ("DELETE FROM t WHERE a = = 1".to_owned(), 25, "found: ="),
        ("DELETE FROM t USING".to_owned(), 20, "EOF"),
        ("DELETE FROM t AS a.b".to_owned(), 18, "single name"),
        ("DELETE FROM \"a@v1\"".to_owned(), 13, "'@'"),
        ("DELETE FROM t AS \"a@v1\"".to_owned(), 18, "'@'"),
        ("DELETE FROM t WHERE a IN (SELECT 1 FROM \"u@v1\")".to_owned(), 41, "'@'"),
        ("WITH c AS (SELECT 1) DELETE FROM t".to_owned(), 0, "WITH cannot stand before DELETE"),
        ("UPDATE t WHERE a = 1".to_owned(), 10, "UPDATE t SET"),
        ("UPDATE t SET".to_owned(), 13, "the name of a column"),
        ("UPDATE t SET a".to_owned(), 15, "="),
        ("UPDATE t SET a =".to_owned(), 17, "EOF"),
        ("UPDATE t SET a = 1, A = 2".to_owned(), 21, "'a' is set twice"),
        ("UPDATE t SET a = 1, t.a = 2".to_owned(), 21, "'a' is set twice"),
        ("UPDATE t SET *".to_owned(), 14, "only in MERGE"),
        ("UPDATE t AS x SET t.a = 1".to_owned(), 19, "x.a"),
        ("UPDATE t SET a = 1 WHERE b 2".to_owned(), 28, "end of statement"),
        ("UPDATE t SET where = 1".to_owned(), 14, "double quotes"),
        ("MERGE t USING s ON a WHEN MATCHED THEN DELETE".to_owned(), 7, "INTO"),
        ("MERGE WITH EVOLUTION INTO t".to_owned(), 12, "SCHEMA"),
        ("MERGE INTO t".to_owned(), 13, "USING"),
        ("MERGE INTO t USING s".to_owned(), 21, "ON"),
        ("MERGE INTO t USING s ON a".to_owned(), 26, "WHEN MATCHED"),
        ("MERGE INTO t USING s ON a WHEM MATCHED THEN DELETE".to_owned(), 27, "did you mean WHEN"),
        ("MERGE INTO t USING (SELECT 1) ON a WHEN MATCHED THEN DELETE".to_owned(), 20, "alias"),
        ("MERGE INTO t USING T ON a WHEN MATCHED THEN DELETE".to_owned(), 20, "both called 't'"),
        (
            "MERGE INTO t USING t VERSION AS OF 1 ON a WHEN MATCHED THEN DELETE".to_owned(),
            20,
            "both called 't'",
        ),
        (merge("MATCHED DELETE"), at(9), "THEN"),
        (merge("MATCHED THEN"), at(13), "UPDATE SET or DELETE"),
        (merge("MATCHED THEN DELTE"), at(14), "did you mean DELETE"),
        (merge("MATCHED THEN UPDATE a = 1"), at(21), "SET"),
        (merge("MATCHED THEN INSERT *"), at(14), "WHEN NOT MATCHED"),
        (merge("NOT THEN DELETE"), at(5), "MATCHED"),
        (merge("NOT MATCHED BY THEN DELETE"), at(16), "TARGET or SOURCE"),
        (merge("NOT MATCHED THEN DELETE"), at(18), "no row to change"),
        (merge("NOT MATCHED THEN UPDATE SET *"), at(18), "no row to change"),
        (merge("NOT MATCHED THEN INSERT"), at(24), "VALUES"),
        (merge("NOT MATCHED THEN INSERT (a) *"), at(29), "VALUES"),
        (merge("NOT MATCHED THEN INSERT (a, a) VALUES (1, 2)"), at(29), "named twice"),
        (merge("NOT MATCHED THEN INSERT (a, b) VALUES (1)"), at(39), "number of columns is 2"),
        (merge("NOT MATCHED THEN INSERT VALUES (1 2)"), at(35), ", or )"),
        (merge("NOT MATCHED THEN INSERT VALUES (1), (2)"), at(35), "one row for each row"),
        (merge("NOT MATCHED BY SOURCE THEN UPDATE SET *"), at(39), "no row of the source"),
        (merge("NOT MATCHED BY SOURCE THEN INSERT *"), at(28), "no row of the source"),
        (merge("MATCHED THEN DELETE WHEN MATCHED THEN DELETE"), at(21), "can never apply"),
        (
            merge(
                "MATCHED AND b THEN DELETE WHEN MATCHED THEN DELETE WHEN MATCHED AND c THEN DELETE",
            ),
            at(52),
            "can never apply",
        ),
        (
            merge("NOT MATCHED THEN INSERT * WHEN NOT MATCHED BY TARGET THEN INSERT *"),
            at(27),
            "can never apply",
        ),
        (merge("MATCHED THEN DELETE x"), at(21), "WHEN MATCHED"),
        ("TRUNCATE".to_owned(), 9, "the name of a table"),
        ("TRUNCATE t x".to_owned(), 12, "end of statement"),
        ("DELETE FROM t VERSION AS OF 3".to_owned(), 15, "RESTORE"),
        ("UPDATE t VERSION AS OF 3 SET a = 1".to_owned(), 10, "RESTORE"),
        ("TRUNCATE TABLE t TIMESTAMP AS OF '2026-01-31'".to_owned(), 18, "RESTORE"),
        (
            "MERGE INTO t VERSION AS OF 3 USING s ON a WHEN MATCHED THEN DELETE".to_owned(),
            14,
            "RESTORE",
        ),
        ("DELETE FROM t WHERE a VERSION AS OF 3".to_owned(), 23, "time travel"),
    ] {
        let error = error(&sql);
        assert!(
            error.message.contains(what)
                || error.hint.as_deref().is_some_and(|hint| hint.contains(what)),
            "{sql}: {error:?}"
        );
        if column > 0 {
            assert_eq!((error.line, error.column as usize), (1, column), "{sql}: {error}");
        }
        assert_eq!(error.kind, SyntaxErrorKind::Syntax, "{sql}");
    }
}

#[test]
fn what_changes_cannot_say_is_refused_by_name() {
    for (sql, column, what) in [
        ("DELETE FROM t RETURNING a", 15, "DELETE … RETURNING"),
        ("DELETE FROM t USING u RETURNING a", 23, "DELETE … RETURNING"),
        ("DELETE FROM t WHERE a ORDER BY a", 23, "DELETE … ORDER BY"),
        ("DELETE FROM t LIMIT 3", 15, "DELETE … LIMIT"),
        ("DELETE FROM t PARTITION (a = 1)", 15, "DELETE … PARTITION"),
        ("DELETE FROM t, u WHERE a", 14, "DELETE FROM several tables"),
        ("UPDATE t SET a = 1 RETURNING a", 20, "UPDATE … RETURNING"),
        ("UPDATE t SET a = 1 ORDER BY a LIMIT 1", 20, "UPDATE … ORDER BY"),
        ("UPDATE t SET a = 1 WHERE b LIMIT 1", 28, "UPDATE … LIMIT"),
        ("UPDATE t, u SET a = 1", 9, "UPDATE several tables"),
        ("UPDATE t SET (a, b) = (1, 2)", 14, "SET (column, …)"),
        ("UPDATE t SET a = DEFAULT", 18, "DEFAULT as a value"),
        ("UPDATE t SET a = DEFAULT WHERE b", 18, "DEFAULT as a value"),
        ("UPDATE t SET a.b = 1", 14, "'a.b', a part of a column"),
        ("UPDATE t SET t.a.b = 1", 14, "'t.a.b', a part of a column"),
        ("UPDATE t SET a[1] = 1", 15, "an element of a column"),
        ("MERGE INTO t USING s ON a WHEN MATCHED THEN DELETE RETURNING a", 52, "MERGE … RETURNING"),
        ("MERGE INTO t USING s ON a WHEN MATCHED THEN DO NOTHING", 45, "DO NOTHING"),
        (
            "MERGE INTO t USING s ON a WHEN NOT MATCHED THEN INSERT (a) VALUES (DEFAULT)",
            68,
            "DEFAULT as a value",
        ),
        (
            "MERGE INTO t USING (a JOIN b ON true) ON a WHEN MATCHED THEN DELETE",
            20,
            "neither a table nor a query",
        ),
        ("MERGE INTO t USING a JOIN b ON true WHEN MATCHED THEN DELETE", 22, "a join"),
        ("TRUNCATE t, u", 11, "TRUNCATE several tables"),
        ("TRUNCATE TABLE t CASCADE", 18, "TRUNCATE … CASCADE"),
        ("TRUNCATE TABLE t PARTITION (a = 1)", 18, "TRUNCATE … PARTITION"),
        ("DELETE FROM t WHERE a = :name", 25, "named parameter"),
    ] {
        let error = error(sql);
        assert!(error.message.contains(what), "{sql}: {error}");
        assert_eq!(error.column, column, "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{sql}: {error}");
        assert!(error.hint.is_some(), "{sql}: {error}");
    }
}
