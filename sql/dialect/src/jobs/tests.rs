use super::*;
use crate::{SyntaxErrorKind, parse};

fn error(sql: &str) -> SyntaxError {
    match parse(sql) {
        Ok(statement) => panic!("{sql} was read as {statement:?}"),
        Err(error) => error,
    }
}

#[test]
fn refreshes_are_read() {
    for (sql, names, full, along, sync, timeout_ms) in [
        ("REFRESH MATERIALIZED VIEW v", &["v"][..], false, Along::Nothing, false, None),
        ("refresh a.v", &["a.v"], false, Along::Nothing, false, None),
        ("REFRESH v, a.w FULL", &["v", "a.w"], true, Along::Nothing, false, None),
        ("REFRESH v WITH UPSTREAM ASYNC", &["v"], false, Along::Upstream, false, None),
        ("REFRESH v FULL WITH DOWNSTREAM SYNC", &["v"], true, Along::Downstream, true, None),
        (
            "REFRESH v SYNC TIMEOUT 30 SECONDS WITH UPSTREAM",
            &["v"],
            false,
            Along::Upstream,
            true,
            Some(30_000),
        ),
        ("REFRESH full FULL", &["full"], true, Along::Nothing, false, None),
    ] {
        let Ok(Statement::Refresh(refresh)) = parse(sql) else { panic!("{sql}: {:?}", parse(sql)) };
        assert_eq!(
            refresh.names.iter().map(|name| name.join(".")).collect::<Vec<_>>(),
            names,
            "{sql}"
        );
        assert_eq!(
            (refresh.full, refresh.along, refresh.sync, refresh.timeout_ms),
            (full, along, sync, timeout_ms),
            "{sql}"
        );
    }
    for sql in [
        "REFRESH",
        "REFRESH v w",
        "REFRESH v FULL FULL",
        "REFRESH v SYNC ASYNC",
        "REFRESH v WITH",
        "REFRESH v TIMEOUT 3",
        "REFRESH v ASYNC TIMEOUT 3",
        "REFRESH v,",
        "REFRESH v SYNC TIMEOUT",
    ] {
        assert_eq!(error(sql).kind, SyntaxErrorKind::Syntax, "{sql}");
    }
}

#[test]
fn versions_of_inputs_are_read() {
    let version = |name: &[&str], version| InputVersion {
        name: name.iter().map(|&part| part.to_owned()).collect(),
        version,
    };
    let sql = "REFRESH s.v USING INPUTS (s.a VERSION 3, \"B b\" version 0) SYNC";
    let Ok(Statement::Refresh(refresh)) = parse(sql) else { panic!("{:?}", parse(sql)) };
    assert_eq!(refresh.inputs, [version(&["s", "a"], 3), version(&["B b"], 0)]);
    assert!(refresh.sync);
    let sql = "EXPLAIN REFRESH v USING INPUTS (a VERSION 3) FULL";
    let Ok(Statement::ExplainRefresh { full: true, inputs, .. }) = parse(sql) else {
        panic!("{:?}", parse(sql))
    };
    assert_eq!(inputs, [version(&["a"], 3)]);
    for (sql, column, message) in [
        ("REFRESH v USING", 16, "USING INPUTS"),
        ("REFRESH v USING INPUTS", 23, "("),
        ("REFRESH v USING INPUTS ()", 25, "the name of a table"),
        ("REFRESH v USING INPUTS (a)", 26, "VERSION"),
        ("REFRESH v USING INPUTS (a VERSION b)", 35, "the number of a version"),
        ("REFRESH v USING INPUTS (a VERSION -1)", 35, "the number of a version"),
        ("REFRESH v USING INPUTS (a VERSION 99999999999999999999)", 35, "version"),
        ("REFRESH v USING INPUTS (a VERSION 9999999999999999999)", 35, "no table has a version"),
        ("REFRESH v USING INPUTS (a VERSION 1, a VERSION 2)", 38, "named twice"),
        ("REFRESH v USING INPUTS (a VERSION 1", 36, ")"),
        ("REFRESH v USING INPUTS (a VERSION 1) USING INPUTS (b VERSION 1)", 38, "USING"),
        ("REFRESH v, w USING INPUTS (a VERSION 1)", 14, "about one transform"),
        ("REFRESH v FOR (a => 1)", 11, "REFRESH … FOR"),
        ("EXPLAIN REFRESH v FULL SYNC", 24, "USING INPUTS"),
    ] {
        let error = error(sql);
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
        assert!(error.message.contains(message), "{sql}: {error}");
    }
}

#[test]
fn lengths_of_time_are_read() {
    for (text, ms) in [
        ("30 SECONDS", 30_000),
        ("1 second", 1_000),
        ("INTERVAL '30' SECOND", 30_000),
        ("INTERVAL 30 SECONDS", 30_000),
        ("INTERVAL '30 seconds'", 30_000),
        ("'30s'", 30_000),
        ("30s", 30_000),
        ("'5 minutes'", 300_000),
        ("'250ms'", 250),
        ("30", 30_000),
        ("'30'", 30_000),
        ("1.5 HOURS", 5_400_000),
        ("2 DAYS", 172_800_000),
        ("0", 0),
    ] {
        match parse(&format!("WAIT FOR JOB 'a1' TIMEOUT {text}")) {
            Ok(Statement::Job(JobStatement::Wait { timeout_ms, .. })) => {
                assert_eq!(timeout_ms, Some(ms), "{text}")
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in [
        "",
        "soon",
        "'soon'",
        "''",
        "3 MONTHS",
        "-3",
        "'-3s'",
        "99999999999 DAYS",
        "'1.2.3s'",
        "30 SECONDS MORE",
    ] {
        assert_eq!(
            error(&format!("WAIT FOR JOB 'a1' TIMEOUT {text}")).kind,
            SyntaxErrorKind::Syntax,
            "{text}"
        );
    }
    assert_eq!(error("WAIT FOR JOB 'a1' TIMEOUT 3 MONTHS").column, 29);
}

#[test]
fn ids_of_jobs_are_taken_as_they_are_written() {
    // Cut by the tokens into numbers with exponents, words and signs.
    for id in [
        "0198f2c4-7e3a-7bcd-9e12-0123456789ab",
        "1e5-2e-3e4",
        "abcdef",
        "00000000-0000-0000-0000-000000000000",
        "0198f2c4-7e-10-7e10-9e12-0x12e9ab",
        "A1B2",
    ] {
        for (sql, expected) in [
            (format!("DESCRIBE JOB {id}"), format!("Describe {{ job: {id:?} }}")),
            (format!("WAIT FOR JOB '{id}';"), format!("Wait {{ job: {id:?}, timeout_ms: None }}")),
            (
                format!("wait for job {id} timeout 3 -- x"),
                format!("Wait {{ job: {id:?}, timeout_ms: Some(3000) }}"),
            ),
            (
                format!("CANCEL JOB {id} REASON 'so'"),
                format!("Cancel {{ job: {id:?}, reason: Some(\"so\") }}"),
            ),
            (format!("CANCEL JOB {id}"), format!("Cancel {{ job: {id:?}, reason: None }}")),
            (format!("approve Job '{id}';"), format!("Approve {{ job: {id:?} }}")),
            (format!("-- ä\n RETRY\n  JOB\n {id};"), format!("Retry {{ job: {id:?} }}")),
            (format!("retry job {id} from failed;"), format!("RetryFailed {{ job: {id:?} }}")),
        ] {
            let read = format!("{:?}", parse(&sql));
            assert_eq!(read, format!("Ok(Job({expected}))"), "{sql}");
        }
    }
    for (sql, expected) in [
        ("CANCEL QUERY 'A1'", "CancelQuery { query: \"A1\", reason: None }"),
        (
            "cancel query 1e5-2e reason 'so';",
            "CancelQuery { query: \"1e5-2e\", reason: Some(\"so\") }",
        ),
    ] {
        assert_eq!(format!("{:?}", parse(sql)), format!("Ok({expected})"), "{sql}");
    }
    let parameter = error("CANCEL QUERY ?");
    assert_eq!(parameter.kind, SyntaxErrorKind::Unsupported, "{parameter}");
    for sql in [
        "APPROVE",
        "APPROVE JOB",
        "APPROVE JOB a REASON 'b'",
        "RETRY JOB",
        "RETRY JOB ''",
        "RETRY JOB 'a b'",
        "RETRY JOB a b",
        "RETRY JOB a.b",
        "RETRY JOB a FROM",
        "RETRY JOB a FROM SUCCEEDED",
        "RETRY JOB a FROM FAILED b",
        "WAIT JOB a",
        "CANCEL a",
        "CANCEL QUERY",
        "CANCEL QUERY 'a b'",
        "CANCEL QUERY a REASON b",
        "CANCEL JOB a REASON b",
    ] {
        assert_eq!(error(sql).kind, SyntaxErrorKind::Syntax, "{sql}");
    }
}
