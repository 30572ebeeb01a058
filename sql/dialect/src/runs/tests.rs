use super::*;
use crate::parse;

#[test]
fn statements_about_transforms_are_read() {
    let Ok(Statement::Suspend { name }) = parse("suspend a.v") else { panic!() };
    assert_eq!(name, ["a", "v"]);
    let Ok(Statement::Resume { name }) = parse("RESUME MATERIALIZED VIEW v") else { panic!() };
    assert_eq!(name, ["v"]);
    let Ok(Statement::Verify { wait, sample, .. }) = parse("VERIFY v ASYNC") else { panic!() };
    assert_eq!((wait, sample), (Wait::Not, None));
    let Ok(Statement::ExplainRefresh { full, .. }) = parse("EXPLAIN REFRESH v FULL") else {
        panic!()
    };
    assert!(full);
    let Ok(Statement::Quarantine(quarantine)) = parse("PURGE QUARANTINE v WHERE a>1") else {
        panic!()
    };
    assert_eq!(quarantine.condition.as_deref(), Some("a > 1"));
    let Ok(Statement::Quarantine(quarantine)) = parse("RELEASE QUARANTINE s.v") else { panic!() };
    assert_eq!(quarantine.action, QuarantineAction::Release);
    assert_eq!(quarantine.wait, Wait::ForTheEnd { timeout_ms: None });
    let sql = "RELEASE QUARANTINE s.v WHERE a > 1 SYNC TIMEOUT 3";
    let Ok(Statement::Quarantine(quarantine)) = parse(sql) else { panic!("{:?}", parse(sql)) };
    assert_eq!(quarantine.condition.as_deref(), Some("a > 1"));
    assert_eq!(quarantine.wait, Wait::ForTheEnd { timeout_ms: Some(3000) });
}

#[test]
fn samples_are_read_digit_by_digit() {
    for (percent, per_million, written) in [
        ("5", 50_000, "5"),
        ("100", 1_000_000, "100"),
        ("100.0000", 1_000_000, "100"),
        ("0.0001", 1, "0.0001"),
        ("12.50", 125_000, "12.5"),
        ("007", 70_000, "7"),
    ] {
        let sql = format!("VERIFY s.v SAMPLE {percent} PERCENT OF KEYS SYNC");
        let Ok(Statement::Verify { sample: Some(sample), .. }) = parse(&sql) else {
            panic!("{:?}", parse(&sql))
        };
        assert_eq!((sample.per_million(), sample.to_string().as_str()), (per_million, written));
    }
    let Ok(Statement::Verify { name, sample: None, .. }) = parse("VERIFY sample") else { panic!() };
    assert_eq!(name, ["sample"]);
    let Ok(Statement::Verify { name, run, sample: Some(_), .. }) =
        parse("VERIFY at AT RUN 'a1' SAMPLE 5 PERCENT OF KEYS")
    else {
        panic!()
    };
    assert_eq!((name, run.as_deref()), (vec!["at".to_owned()], Some("a1")));
}

#[test]
fn folders_are_read() {
    for (sql, action) in [
        ("SUSPEND FOLDER 'a/b'", FolderAction::Suspend),
        ("resume folder \"a/b\";", FolderAction::Resume),
    ] {
        let Ok(Statement::Folder { action: read, folder }) = parse(sql) else {
            panic!("{:?}", parse(sql))
        };
        assert_eq!((read, folder.as_str()), (action, "a/b"));
    }
    for (sql, expected) in
        [("SUSPEND folder", &["folder"][..]), ("RESUME folder.v;", &["folder", "v"])]
    {
        let Ok(Statement::Suspend { name } | Statement::Resume { name }) = parse(sql) else {
            panic!("{:?}", parse(sql))
        };
        assert_eq!(name, expected, "{sql}");
    }
}

#[test]
fn backfills_are_read() {
    let sql =
        "BACKFILL v FROM '2026-01-01' TO DATE '2026-06-30' BY 7 DAYS PARALLEL 4 ORDER DESC ASYNC";
    let Ok(Statement::Backfill(backfill)) = parse(sql) else { panic!("{:?}", parse(sql)) };
    assert_eq!(
        (backfill.from.as_str(), backfill.to.as_str()),
        ("'2026-01-01'", "DATE '2026-06-30'")
    );
    assert_eq!(backfill.by, Some(Step { count: 7, unit: Some(StepUnit::Day) }));
    assert_eq!((backfill.parallel, backfill.descending, backfill.wait), (Some(4), true, Wait::Not));
    let Ok(Statement::Backfill(backfill)) = parse("BACKFILL v FROM -1 TO 9 BY 2 PARALLEL 1") else {
        panic!()
    };
    assert_eq!((backfill.from.as_str(), backfill.by), ("-1", Some(Step { count: 2, unit: None })));
}

#[test]
fn mistakes_say_where() {
    for (sql, column, message) in [
        ("SUSPEND", 8, "the name of a materialized view"),
        ("SUSPEND FOLDER x", 16, "the path of a folder"),
        ("RESUME FOLDER 'x' y", 19, "end of statement"),
        ("VERIFY v SAMPLE", 16, "a number of percent"),
        ("VERIFY v SAMPLE ten PERCENT OF KEYS", 17, "a number of percent"),
        ("VERIFY v SAMPLE 1e1 PERCENT OF KEYS", 17, "a number of percent"),
        ("VERIFY v SAMPLE -1 PERCENT OF KEYS", 17, "a number of percent"),
        ("VERIFY v SAMPLE 0 PERCENT OF KEYS", 17, "above 0 and at most 100"),
        ("VERIFY v SAMPLE 100.1 PERCENT OF KEYS", 17, "above 0 and at most 100"),
        ("VERIFY v SAMPLE 99999999999 PERCENT OF KEYS", 17, "above 0 and at most 100"),
        ("VERIFY v SAMPLE 0.00001 PERCENT OF KEYS", 17, "four digits"),
        ("VERIFY v SAMPLE 3 PERCENT", 26, "OF KEYS"),
        ("VERIFY v SAMPLE 3 PERCENT OF KEYS SNYC", 35, "ASYNC or SYNC"),
        ("VERIFY v SYNC SAMPLE 3 PERCENT OF KEYS", 15, "end of statement"),
        ("VERIFY v AT 'x'", 13, "RUN"),
        ("VERIFY v AT RUN", 16, "the id of a run"),
        ("VERIFY v AT RUN x", 17, "the id of a run"),
        ("VERIFY v AT RUN 'x' SNYC", 21, "SAMPLE, ASYNC or SYNC"),
        ("VERIFY v SAMPLE 3 PERCENT OF KEYS AT RUN 'x'", 35, "ASYNC or SYNC"),
        ("VERIFY v SNYC", 10, "AT RUN, SAMPLE, ASYNC or SYNC"),
        ("BACKFILL v FROM now() TO 3", 17, "a number, a text or a time"),
        ("BACKFILL v FROM 1 TO 3 BY 0", 27, "between 1 and"),
        ("BACKFILL v FROM 1 TO 3 BY 1 FORTNIGHT", 29, "MINUTE"),
        ("BACKFILL v FROM 1 TO 3 ORDER BY a", 30, "ASC or DESC"),
        ("EXPLAIN ANALYZE REFRESH v", 17, "EXPLAIN ANALYZE REFRESH"),
        ("EXPLAIN REFRESH v, w", 18, "FULL"),
        ("PURGE v", 7, "QUARANTINE"),
        ("RELEASE v", 1, "RELEASE"),
        ("PURGE QUARANTINE v IF a", 20, "WHERE"),
        ("PURGE QUARANTINE v ASYNC", 20, "WHERE"),
        ("PURGE QUARANTINE v WHERE a ASYNC", 28, "end of statement"),
        ("RELEASE QUARANTINE v SNYC", 22, "SYNC"),
        ("RELEASE QUARANTINE v ASYNC WHERE a", 28, "end of statement"),
        ("PLAN REFRESH v", 1, "PLAN is not supported"),
    ] {
        let error = match parse(sql) {
            Ok(statement) => panic!("{sql} was read as {statement:?}"),
            Err(error) => error,
        };
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
        assert!(error.message.contains(message), "{sql}: {error}");
    }
}
