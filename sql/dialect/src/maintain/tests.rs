use super::*;
use crate::{SyntaxErrorKind, parse};

fn maintain(sql: &str) -> Maintain {
    match parse(sql) {
        Ok(Statement::Maintain(maintain)) => maintain,
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
fn optimizes_are_read() {
    for (sql, name, condition, zorder) in [
        ("OPTIMIZE t", &["t"][..], None, &[][..]),
        ("optimize table A.\"T\"", &["a", "T"], None, &[]),
        (
            "OPTIMIZE a.t WHERE d >= ? AND e IN (TABLE u)",
            &["a", "t"],
            Some("d >= $1 AND e IN (SELECT * FROM u)"),
            &[],
        ),
        ("OPTIMIZE t ZORDER BY (A, \"B\")", &["t"], None, &["a", "B"]),
        ("OPTIMIZE t ZORDER BY a, b", &["t"], None, &["a", "b"]),
        ("OPTIMIZE t WHERE a = 1 ZORDER BY (b)", &["t"], Some("a = 1"), &["b"]),
    ] {
        let Maintain::Optimize { target, partitions, zorder_by, wait } = maintain(sql) else {
            panic!("{sql}")
        };
        assert_eq!(
            (target.as_slice(), zorder_by.as_slice()),
            (&to_owned(name)[..], &to_owned(zorder)[..])
        );
        let rows = condition.map(|condition| {
            format!("SELECT {condition} FROM {} AS t WHERE {condition}", name.join("."))
        });
        assert_eq!(partitions.map(|query| query.ast.to_string()), rows, "{sql}");
        assert_eq!(wait, WAIT);
    }
}

fn to_owned(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

#[test]
fn vacuums_are_read() {
    for (sql, says) in [
        ("VACUUM t", (false, None, false)),
        ("vacuum table t lite", (false, None, false)),
        ("VACUUM t FULL", (true, None, false)),
        ("VACUUM t RETAIN 168 HOURS", (false, Some(604_800_000), false)),
        ("VACUUM t RETAIN 1 HOUR DRY RUN", (false, Some(3_600_000), true)),
        ("VACUUM t RETAIN 0.5 HOURS", (false, Some(1_800_000), false)),
        ("VACUUM t DRY RUN RETAIN 0 HOURS FULL", (true, Some(0), true)),
    ] {
        let Maintain::Vacuum { target, full, retain_ms, dry_run, wait } = maintain(sql) else {
            panic!("{sql}")
        };
        assert_eq!(target, ["t"]);
        assert_eq!((full, retain_ms, dry_run), says, "{sql}");
        assert_eq!(wait, WAIT);
    }
}

#[test]
fn whoever_does_not_wait_for_a_job_says_so() {
    let of = |sql| match maintain(sql) {
        Maintain::Optimize { wait, .. } | Maintain::Vacuum { wait, .. } => wait,
        other => panic!("{other:?}"),
    };
    for sql in [
        "OPTIMIZE t ASYNC",
        "OPTIMIZE t WHERE a = 'x' async",
        "OPTIMIZE t ZORDER BY a, b ASYNC",
        "VACUUM t ASYNC",
        "VACUUM t ASYNC RETAIN 1 HOURS FULL",
    ] {
        assert_eq!(of(sql), Wait::Not, "{sql}");
    }
    assert_eq!(of("VACUUM t SYNC"), WAIT);
    let limited = Wait::ForTheEnd { timeout_ms: Some(30_000) };
    assert_eq!(of("OPTIMIZE t ZORDER BY (a) SYNC TIMEOUT 30 SECONDS"), limited);
    assert_eq!(of("VACUUM t SYNC TIMEOUT 30 SECONDS FULL"), limited);
}

#[test]
fn restores_are_read() {
    let time = || TimeTravel::Timestamp("2026-01-31 12:00:00".to_owned());
    for (sql, name, version) in [
        ("RESTORE TABLE t TO VERSION AS OF 3", &["t"][..], TimeTravel::Version(3)),
        ("restore t to version as of 3", &["t"], TimeTravel::Version(3)),
        ("RESTORE A.T VERSION AS OF 0", &["a", "t"], TimeTravel::Version(0)),
        ("RESTORE a.\"T\" TIMESTAMP AS OF '2026-01-31 12:00:00'", &["a", "T"], time()),
        ("RESTORE TABLE w.a.t TO TIMESTAMP AS OF '2026-01-31 12:00:00'", &["w", "a", "t"], time()),
        ("RESTORE \"to\" TO VERSION AS OF 3", &["to"], TimeTravel::Version(3)),
        ("RESTORE \"to\" VERSION AS OF 3", &["to"], TimeTravel::Version(3)),
        ("RESTORE t TO TIMESTAMP AS OF TIMESTAMP '2026-01-31 12:00:00'", &["t"], time()),
    ] {
        let Maintain::Restore { target, to } = maintain(sql) else { panic!("{sql}") };
        assert_eq!((target, to), (to_owned(name), version), "{sql}");
    }
}

#[test]
fn validates_are_read() {
    for sql in ["VALIDATE a.t", "validate table a.T;"] {
        let Maintain::Validate { target } = maintain(sql) else { panic!("{sql}") };
        assert_eq!(target, ["a", "t"]);
    }
}

#[test]
fn conversions_are_read() {
    for (sql, place, columns) in [
        ("CONVERT TO DELTA parquet.'in/a b'", "in/a b", &[][..]),
        ("convert to delta PARQUET.\"s3://b/Q\"", "s3://b/Q", &[]),
        (
            "CONVERT TO DELTA parquet.'x' PARTITIONED BY (Day DATE, \"S\" DECIMAL(10, 2))",
            "x",
            &["day DATE", "S DECIMAL(10,2)"],
        ),
    ] {
        let Maintain::Convert { location, partitioned_by } = maintain(sql) else { panic!("{sql}") };
        let declared =
            partitioned_by.iter().map(|column| format!("{} {}", column.name, column.data_type));
        assert_eq!(
            (location.as_str(), declared.collect::<Vec<_>>()),
            (place, to_owned(columns)),
            "{sql}"
        );
    }
}

#[test]
fn mistakes_in_maintenance_are_found() {
    for (sql, column, what) in [
        ("OPTIMIZE", 9, "the name of a table"),
        ("OPTIMIZE t WHERE", 17, "EOF"),
        ("OPTIMIZE t ZORDER (a)", 19, "BY"),
        ("OPTIMIZE t ZORDER BY", 21, "the name of a column"),
        ("OPTIMIZE t ZORDER BY (a, a)", 26, "named twice"),
        ("OPTIMIZE t ZORDER BY a, a", 25, "named twice"),
        ("OPTIMIZE t ZORDR BY a", 12, "did you mean ZORDER BY"),
        ("OPTIMIZE t ZORDER BY a WHERE b = 1", 24, "WHERE, ZORDER BY, ASYNC or SYNC"),
        ("OPTIMIZE t ASYNC SYNC", 18, "end of statement"),
        ("VACUUM t DRY RUN ASYNC", 18, "does not fit"),
        ("VACUUM t ASYNC DRY RUN", 16, "does not fit"),
        ("VACUUM t ASYNC SYNC", 16, "does not fit"),
        ("OPTIMIZE t VERSION AS OF 3", 12, "newest version"),
        ("VACUUM", 7, "the name of a table"),
        ("VACUUM FULL t", 8, "VACUUM t FULL"),
        ("VACUUM t RETAIN", 16, "a number of hours"),
        ("VACUUM t RETAIN -1 HOURS", 17, "a number of hours"),
        ("VACUUM t RETAIN 7 DAYS", 19, "HOURS"),
        ("VACUUM t RETAIN 1000000 HOURS", 17, "100 years"),
        ("VACUUM t RETAIN 1 HOURS RETAIN 1 HOURS", 25, "does not fit"),
        ("VACUUM t FULL LITE", 15, "does not fit"),
        ("VACUUM t DRY", 13, "RUN"),
        ("VACUUM t RETIAN 1 HOURS", 10, "did you mean RETAIN"),
        ("RESTORE", 8, "the name of a table"),
        ("RESTORE t", 10, "VERSION AS OF or TIMESTAMP AS OF"),
        ("RESTORE TABLE t TO 3", 20, "VERSION AS OF or TIMESTAMP AS OF"),
        ("RESTORE t TO VERSION AS OF 'x'", 28, "the number of a version"),
        ("RESTORE t TO TIMESTAMP AS OF 3", 30, "a time as text"),
        ("RESTORE TO VERSION AS OF 3", 9, "the name of a table, found: TO"),
        ("RESTORE TABLE VERSION AS OF 3", 9, "the name of a table, found: TABLE"),
        ("RESTORE t VERSION AS OF 3 TO VERSION AS OF 4", 30, "time travel"),
        ("RESTORE \"t@v1\" VERSION AS OF 3", 9, "'@'"),
        ("RESTORE \"t@v1\" TO VERSION AS OF 3", 9, "'@'"),
        ("RESTORE t VERSION AS OF 3 x", 27, "end of statement"),
        ("VALIDATE", 9, "the name of a table"),
        ("VALIDATE t x", 12, "end of statement"),
        ("VALIDTE t", 1, "did you mean VALIDATE"),
        ("CONVERT parquet.'x'", 9, "TO"),
        ("CONVERT TO DELTA t", 18, "parquet.'in/orders'"),
        ("CONVERT TO DELTA parquet.x", 26, "parquet.'in/orders'"),
        ("CONVERT TO DELTA parquet.'x' PARTITIONED BY (a)", 47, "the type of column 'a'"),
        ("CONVERT TO DELTA parquet.'x' PARTITIONED BY (a INT, a INT)", 53, "named twice"),
        ("CONVERT TO DELTA parquet.'x' PARTITION BY (a INT)", 30, "did you mean PARTITIONED BY"),
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
    for sql in [
        "OPTIMIZE t FULL",
        "OPTIMIZE t ZORDER BY a.b",
        "VACUUM t USING INVENTORY (SELECT 1)",
        "CONVERT TO DELTA iceberg.'x'",
        "CONVERT TO DELTA parquet.'x' NO STATISTICS",
    ] {
        assert_eq!(error(sql).kind, SyntaxErrorKind::Unsupported, "{sql}");
        assert!(error(sql).hint.is_some());
    }
}
