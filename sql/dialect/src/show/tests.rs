use super::*;
use crate::parse;

fn error(sql: &str) -> SyntaxError {
    match parse(sql) {
        Ok(statement) => panic!("{sql} was read as {statement:?}"),
        Err(error) => error,
    }
}

#[test]
fn shows_are_read() {
    for (sql, expected) in [
        ("SHOW TABLES", "Tables { schema: None, kind: None }"),
        ("show tables in A", "Tables { schema: Some(\"a\"), kind: None }"),
        ("SHOW TABLES FROM whimbrel.a", "Tables { schema: Some(\"a\"), kind: None }"),
        ("SHOW VIEWS", "Tables { schema: None, kind: Some(View) }"),
        (
            "SHOW MATERIALIZED VIEWS IN a",
            "Tables { schema: Some(\"a\"), kind: Some(MaterializedView) }",
        ),
        ("SHOW SCHEMAS", "Schemas"),
        ("SHOW DATABASES;", "Schemas"),
        ("SHOW COLUMNS FROM a.t", "Columns { name: [\"a\", \"t\"] }"),
        ("SHOW COLUMNS IN t", "Columns { name: [\"t\"] }"),
        ("DESCRIBE t", "Columns { name: [\"t\"] }"),
        ("DESC TABLE a.t", "Columns { name: [\"a\", \"t\"] }"),
        ("DESCRIBE job", "Columns { name: [\"job\"] }"),
        ("DESCRIBE history", "Columns { name: [\"history\"] }"),
        ("DESCRIBE detail", "Columns { name: [\"detail\"] }"),
        ("DESCRIBE history.t", "Columns { name: [\"history\", \"t\"] }"),
        ("DESCRIBE HISTORY a.T", "History { name: [\"a\", \"t\"], limit: None }"),
        ("desc history t limit 3;", "History { name: [\"t\"], limit: Some(3) }"),
        ("DESCRIBE DETAIL a.t", "Detail { name: [\"a\", \"t\"] }"),
        ("DESCRIBE job.t", "Columns { name: [\"job\", \"t\"] }"),
        ("SHOW CREATE TABLE t", "Create { name: [\"t\"] }"),
        ("SHOW CREATE VIEW t", "Create { name: [\"t\"] }"),
        ("SHOW CREATE MATERIALIZED VIEW a.t", "Create { name: [\"a\", \"t\"] }"),
        ("SHOW ALL", "Setting { key: None }"),
        (
            "SHOW datafusion.execution.Batch_Size",
            "Setting { key: Some(\"datafusion.execution.batch_size\") }",
        ),
        ("SHOW TIME ZONE", "Setting { key: Some(\"timezone\") }"),
    ] {
        assert_eq!(format!("{:?}", parse(sql)), format!("Ok(Show({expected}))"), "{sql}");
    }
    for sql in [
        "SHOW",
        "SHOW 1",
        "SHOW TABLES IN",
        "SHOW TABLES IN a.b",
        "SHOW TABLES x",
        "SHOW CREATE t",
        "SHOW MATERIALIZED",
        "SHOW COLUMNS t",
        "SHOW a b",
        "DESCRIBE",
        "DESCRIBE t x",
        "DESCRIBE HISTORY t x",
        "DESCRIBE HISTORY t LIMIT",
        "DESCRIBE HISTORY t LIMIT -1",
        "DESCRIBE HISTORY t VERSION AS OF 3",
        "DESCRIBE DETAIL t x",
    ] {
        assert_eq!(error(sql).kind, crate::SyntaxErrorKind::Syntax, "{sql}");
    }
}

#[test]
fn show_jobs_is_a_query() {
    for (sql, expected) in [
        ("SHOW JOBS", "SELECT * FROM system.jobs ORDER BY queued_at DESC"),
        (
            "SHOW JOBS WHERE state = 'FAILED' AND attempt > ? LIMIT 3;",
            "SELECT * FROM system.jobs WHERE state = 'FAILED' AND attempt > $1 ORDER BY queued_at DESC LIMIT 3",
        ),
        ("SHOW JOBS ORDER BY object LIMIT 1", "SELECT * FROM system.jobs ORDER BY object LIMIT 1"),
    ] {
        let Ok(Statement::Job(JobStatement::Show(query))) = parse(sql) else {
            panic!("{sql}: {:?}", parse(sql))
        };
        assert_eq!(query.ast.to_string(), expected);
        assert_eq!(query.tables[0].name, ["system", "jobs"]);
    }
    let Ok(Statement::Job(JobStatement::Show(query))) =
        parse("SHOW JOBS WHERE job_id IN (SELECT a FROM t)")
    else {
        panic!("no query")
    };
    assert_eq!(query.tables.len(), 2);
    assert_eq!(error("SHOW JOBS WHERE").column, 16);
    assert_eq!(error("SHOW JOBS LIMT 3").hint.as_deref(), Some("did you mean LIMIT?"));
}

#[test]
fn settings_are_set() {
    for (sql, key, value) in [
        ("SET a.B = 3", "a.b", "3"),
        ("SET a TO 'Text'", "a", "Text"),
        ("SET a = -1.5", "a", "-1.5"),
        ("SET a = true", "a", "true"),
        ("SET TIME ZONE TO 'Europe/Berlin'", "timezone", "Europe/Berlin"),
    ] {
        let Ok(Statement::Set { key: k, value: v }) = parse(sql) else {
            panic!("{sql}: {:?}", parse(sql))
        };
        assert_eq!((k.as_str(), v.as_str()), (key, value));
    }
    for sql in ["SET", "SET a", "SET a =", "SET a = b c", "SET a = (1)", "SET = 1", "SET a = -'x'"]
    {
        assert_eq!(error(sql).kind, crate::SyntaxErrorKind::Syntax, "{sql}");
    }
}
