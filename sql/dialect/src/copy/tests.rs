use super::*;
use crate::{SyntaxErrorKind, parse};

fn copy_of(sql: &str) -> Copy {
    match parse(sql) {
        Ok(Statement::Copy(copy)) => *copy,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn copies_are_read() {
    for (sql, source, place, format, options) in [
        ("COPY t TO 'x'", "SELECT * FROM t AS t", "x", None, 0),
        (
            "copy A.\"T\" to 's3://b/x.csv';",
            "SELECT * FROM A.\"T\" AS \"T\"",
            "s3://b/x.csv",
            None,
            0,
        ),
        (
            "COPY (SELECT a FROM t WHERE b > 1 ORDER BY a) TO 'x/' STORED AS CSV OPTIONS ('header' 'false', delimiter ';')",
            "(SELECT a FROM t WHERE b > 1 ORDER BY a)",
            "x/",
            Some(TableFormat::Csv),
            2,
        ),
        (
            "COPY (TABLE t) TO 'x' OPTIONS (compression 'zstd') STORED AS PARQUET",
            "(SELECT * FROM t)",
            "x",
            Some(TableFormat::Parquet),
            1,
        ),
        ("COPY (VALUES (1)) TO 'x'", "(VALUES (1))", "x", None, 0),
    ] {
        let copy = copy_of(sql);
        assert_eq!(copy.source.ast.to_string(), source, "{sql}");
        assert_eq!(
            (copy.location.as_str(), copy.format, copy.options.len()),
            (place, format, options)
        );
    }
    assert_eq!(copy_of("COPY a.t TO 'x'").source.tables.len(), 1);
}

#[test]
fn mistakes_in_copies_are_found() {
    for (sql, column, what) in [
        ("COPY", 5, "the name of a table"),
        ("COPY t", 7, "TO"),
        ("COPY t TO", 10, "a location in single quotes"),
        ("COPY t TO x", 11, "a location in single quotes"),
        ("COPY t TO ''", 11, "empty"),
        ("COPY t TO 'x' STORED AS", 24, "PARQUET"),
        ("COPY t TO 'x' STORED AS DELTA", 15, "CREATE TABLE"),
        ("COPY t TO 'x' STORD AS CSV", 15, "did you mean STORED AS"),
        ("COPY t VERSION AS OF 3 TO 'x'", 8, "SELECT * FROM t VERSION AS OF"),
        ("COPY (SELECT 1 TO 'x'", 19, ")"),
    ] {
        let error = parse(sql).unwrap_err();
        let hint = error.hint.clone().unwrap_or_default();
        assert!(error.message.contains(what) || hint.contains(what), "{sql}: {error:?}");
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
    }
    for sql in ["COPY t FROM 'x'", "COPY INTO t FROM 'x'", "COPY t TO 'x' PARTITIONED BY (a)"] {
        assert_eq!(parse(sql).unwrap_err().kind, SyntaxErrorKind::Unsupported, "{sql}");
    }
    assert!(parse("COPY (SELECT ?) TO 'x'").is_err());
}
