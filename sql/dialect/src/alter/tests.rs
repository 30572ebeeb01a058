use super::*;
use crate::{SyntaxErrorKind, parse};

fn alter_of(sql: &str) -> Alter {
    match parse(sql) {
        Ok(Statement::Alter(alter)) => alter,
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
fn columns_are_added() {
    for (sql, expected) in [
        ("ALTER TABLE t ADD COLUMN A INT", vec![("a", "INT", None)]),
        (
            "alter table t add column \"A\" decimal(10, 2) null comment 'c'",
            vec![("A", "DECIMAL(10,2)", Some("c"))],
        ),
        (
            "ALTER TABLE t ADD COLUMNS (a INT COMMENT 'x', b STRUCT<c INT>)",
            vec![("a", "INT", Some("x")), ("b", "STRUCT<c INT>", None)],
        ),
        ("ALTER TABLE t ADD COLUMN (a INT)", vec![("a", "INT", None)]),
        ("ALTER TABLE t ADD COLUMNS a INT, b TEXT", vec![("a", "INT", None), ("b", "TEXT", None)]),
        (
            "ALTER TABLE t ADD COLUMNS (a INT, add INT)",
            vec![("a", "INT", None), ("add", "INT", None)],
        ),
    ] {
        let AlterAction::AddColumns(columns) = alter_of(sql).action else { panic!("{sql}") };
        assert!(columns.iter().all(|column| column.nullable));
        let columns: Vec<_> = columns
            .iter()
            .map(|c| (c.name.clone(), c.data_type.to_string(), c.comment.clone()))
            .collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(n, t, c)| (n.to_owned(), t.to_owned(), c.map(str::to_owned)))
            .collect();
        assert_eq!(columns, expected, "{sql}");
    }
}

#[test]
fn other_alterations_are_read() {
    for (sql, expected) in [
        ("ALTER TABLE t ALTER COLUMN A DROP NOT NULL", "DropNotNull { column: \"a\" }"),
        (
            "ALTER TABLE t ALTER COLUMN a COMMENT 'it''s'",
            "ColumnComment { column: \"a\", comment: Some(\"it's\") }",
        ),
        (
            "ALTER TABLE t SET TBLPROPERTIES ('k' = 'v', delta.n = 3)",
            "Properties(Set({\"delta.n\": \"3\", \"k\": \"v\"}))",
        ),
        (
            "ALTER TABLE t UNSET TBLPROPERTIES ('k', delta.n)",
            "Properties(Unset { keys: [\"k\", \"delta.n\"], if_exists: false })",
        ),
        (
            "ALTER TABLE t UNSET TBLPROPERTIES IF EXISTS ('k')",
            "Properties(Unset { keys: [\"k\"], if_exists: true })",
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT Positive CHECK (a  > 0 AND (b IS NULL OR b <> ')'))",
            "AddCheck(Check { name: \"positive\", condition: \"a  > 0 AND (b IS NULL OR b <> ')')\" })",
        ),
        (
            "ALTER TABLE t DROP CONSTRAINT Positive",
            "DropCheck { name: \"positive\", if_exists: false }",
        ),
        (
            "ALTER TABLE t DROP CONSTRAINT IF EXISTS \"Positive\"",
            "DropCheck { name: \"Positive\", if_exists: true }",
        ),
        ("COMMENT ON TABLE t IS 'about'", "Comment(Some(\"about\"))"),
        ("comment on table t is null", "Comment(None)"),
        (
            "COMMENT ON COLUMN t.A IS 'about'",
            "ColumnComment { column: \"a\", comment: Some(\"about\") }",
        ),
        ("COMMENT ON COLUMN t.a IS NULL", "ColumnComment { column: \"a\", comment: None }"),
    ] {
        let alter = alter_of(sql);
        assert_eq!((alter.target, alter.if_exists), (vec!["t".to_owned()], false), "{sql}");
        assert_eq!(format!("{:?}", alter.action), expected, "{sql}");
    }
    let alter = alter_of("ALTER TABLE IF EXISTS A.\"T\" ADD COLUMN a INT");
    assert!(alter.if_exists);
    assert_eq!(alter.target, ["a", "T"]);
    assert_eq!(alter_of("COMMENT ON COLUMN w.s.t.c IS 'x'").target, ["w", "s", "t"]);
}

#[test]
fn what_cannot_be_altered_is_refused_by_name() {
    for (sql, column, what) in [
        ("ALTER MATERIALIZED VIEW v RENAME TO w", 27, "ALTER MATERIALIZED VIEW … RENAME"),
        ("ALTER TABLE t RENAME TO u", 15, "RENAME TO"),
        ("ALTER TABLE t RENAME COLUMN a TO b", 15, "RENAME COLUMN"),
        ("ALTER TABLE t DROP COLUMN a", 15, "DROP COLUMN"),
        ("ALTER TABLE t DROP COLUMNS (a, b)", 15, "DROP COLUMNS"),
        ("ALTER TABLE t DROP PARTITION (a = 1)", 15, "DROP PARTITION"),
        ("ALTER TABLE t ADD PARTITION (a = 1)", 15, "ADD PARTITION"),
        ("ALTER TABLE t PARTITION (a = 1) SET LOCATION 'x'", 15, "PARTITION"),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a INT", 26, "ADD COLUMN IF NOT EXISTS"),
        ("ALTER TABLE t ADD COLUMN a INT FIRST", 32, "ADD COLUMN … FIRST"),
        ("ALTER TABLE t ADD COLUMN a INT AFTER b", 32, "ADD COLUMN … AFTER"),
        ("ALTER TABLE t ADD COLUMN a INT NOT NULL", 32, "ADD COLUMN … NOT NULL"),
        ("ALTER TABLE t ADD COLUMN a.b INT", 26, "adding 'a.b', a part of a column"),
        ("ALTER TABLE t ADD COLUMN a INT, ADD COLUMN b INT", 31, "several actions"),
        ("ALTER TABLE t SET TBLPROPERTIES (a = 1), DROP CONSTRAINT c", 40, "several actions"),
        ("ALTER TABLE t ALTER COLUMN a TYPE BIGINT", 30, "ALTER COLUMN … TYPE"),
        ("ALTER TABLE t ALTER COLUMN a SET DATA TYPE BIGINT", 30, "SET DATA TYPE"),
        ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", 30, "ALTER COLUMN … SET NOT NULL"),
        ("ALTER TABLE t ALTER COLUMN a SET DEFAULT 1", 30, "SET DEFAULT"),
        ("ALTER TABLE t ALTER COLUMN a FIRST", 30, "FIRST"),
        ("ALTER TABLE t ALTER COLUMN a.b COMMENT 'x'", 28, "changing 'a.b', a part of a column"),
        ("ALTER TABLE t CHANGE COLUMN a b INT", 15, "CHANGE"),
        ("ALTER TABLE t ADD CHECK (a > 0)", 15, "ADD CHECK"),
        ("ALTER TABLE t ADD PRIMARY KEY (a)", 15, "ADD PRIMARY KEY"),
        ("ALTER TABLE t ADD CONSTRAINT c PRIMARY KEY (a)", 32, "PRIMARY KEY"),
        ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u", 32, "FOREIGN KEY"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a) NOT ENFORCED", 42, "NOT ENFORCED"),
        ("ALTER TABLE t DROP CONSTRAINT c CASCADE", 33, "CASCADE"),
        ("ALTER TABLE t SET LOCATION 'x'", 15, "SET LOCATION"),
        ("COMMENT ON VIEW v IS 'x'", 12, "COMMENT ON VIEW"),
    ] {
        let error = error(sql);
        assert!(error.message.contains(what), "{sql}: {error}");
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{sql}: {error}");
        assert!(error.hint.is_some(), "{sql}: {error}");
    }
    for (sql, what) in [
        ("ALTER TABLE t ADD COLUMN a INT DEFAULT 1", "DEFAULT of a column"),
        ("ALTER TABLE t ADD COLUMN a INT GENERATED ALWAYS AS (1)", "ADD COLUMN … GENERATED"),
        ("ALTER SCHEMA s OWNER TO me", "ALTER SCHEMA"),
    ] {
        let error = error(sql);
        assert!(error.message.contains(what), "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{sql}: {error}");
    }
}

#[test]
fn mistakes_in_alterations_are_found() {
    for (sql, column, what) in [
        ("ALTER t", 7, "TABLE"),
        ("ALTER TABEL t", 7, "did you mean TABLE"),
        ("ALTER TABLE", 12, "the name of a table"),
        ("ALTER TABLE t", 14, "ADD COLUMN"),
        ("ALTER TABLE t AD COLUMN a INT", 15, "did you mean ADD COLUMN"),
        ("ALTER TABLE t ADD a INT", 19, "COLUMN, COLUMNS or CONSTRAINT"),
        ("ALTER TABLE t ADD COLUMN", 25, "the name of a column"),
        ("ALTER TABLE t ADD COLUMN a", 27, "the type of column 'a'"),
        ("ALTER TABLE t ADD COLUMNS (a INT", 33, ", or )"),
        ("ALTER TABLE t ADD COLUMNS (a INT, A INT)", 35, "declared twice"),
        ("ALTER TABLE t ADD COLUMN a INT x", 32, "COMMENT"),
        ("ALTER TABLE t ALTER a", 21, "COLUMN"),
        ("ALTER TABLE t ALTER COLUMN a", 29, "DROP NOT NULL or COMMENT"),
        ("ALTER TABLE t ALTER COLUMN a COMMENT NULL", 38, "single quotes"),
        ("ALTER TABLE t SET TBLPROPERTIES ()", 33, "no property"),
        ("ALTER TABLE t SET TBLPROPERTIES ('a' = 'b', 'a' = 'c')", 45, "given twice"),
        ("ALTER TABLE t SET COMMENT 'x'", 19, "TBLPROPERTIES"),
        ("ALTER TABLE t UNSET TBLPROPERTIES ('a', 'a')", 41, "given twice"),
        ("ALTER TABLE t UNSET TBLPROPERTIES ('a' = 'b')", 40, ", or )"),
        ("ALTER TABLE t ADD CONSTRAINT CHECK (a > 0)", 36, "CHECK"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK a > 0", 38, "("),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK ()", 39, "found: )"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a >)", 42, "found: )"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0 b)", 45, ")"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > ?)", 43, "parameters"),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a IN (SELECT 1 FROM u))", 39, "other tables"),
        ("ALTER TABLE t DROP CONSTRAINT", 30, "the name of a constraint"),
        ("ALTER TABLE t VERSION AS OF 3 ADD COLUMN a INT", 15, "newest version"),
        ("COMMENT TABLE t IS 'x'", 9, "ON"),
        ("COMMENT ON t IS 'x'", 12, "TABLE or COLUMN"),
        ("COMMENT ON TABLE t 'x'", 20, "IS"),
        ("COMMENT ON TABLE t IS x", 23, "single quotes"),
        ("COMMENT ON COLUMN c IS 'x'", 19, "COMMENT ON COLUMN t.c"),
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
}
