use model::{
    schedule::Schedule,
    transform::{Misfire, OnFullRefresh, RefreshPolicy, Trigger},
};

use super::*;
use crate::{parse, statement::Refresh};

fn view(clauses: &str) -> CreateMaterializedView {
    match parse(&format!("CREATE MATERIALIZED VIEW v {clauses} AS SELECT 1 AS a")) {
        Ok(Statement::CreateMaterializedView(view)) => view,
        other => panic!("{clauses}: {other:?}"),
    }
}

#[test]
fn what_makes_it_refresh_is_read() {
    let made = view("SCHEDULE EVERY 2 HOURS MISFIRE SKIP");
    assert_eq!(made.schedule, Some(Schedule::Every { seconds: 7_200 }));
    assert_eq!(made.misfire, Misfire::Skip);
    let made = view("TRIGGER ON UPDATE AT MOST EVERY 5 MINUTES");
    assert_eq!(made.trigger, Some(Trigger { at_most_every_s: Some(300) }));
    let made = view("TRIGGER ON UPDATE");
    assert_eq!(made.trigger, Some(Trigger { at_most_every_s: None }));
}

#[test]
fn policies_are_read() {
    for (clause, policy, on_full_refresh) in [
        ("", RefreshPolicy::Auto, OnFullRefresh::Allow),
        ("REFRESH POLICY AUTO", RefreshPolicy::Auto, OnFullRefresh::Allow),
        ("REFRESH POLICY FULL", RefreshPolicy::Full, OnFullRefresh::Allow),
        (
            "REFRESH POLICY INCREMENTAL ON FULL REFRESH APPROVE",
            RefreshPolicy::Incremental,
            OnFullRefresh::Approve,
        ),
        (
            "REFRESH POLICY INCREMENTAL STRICT ON FULL REFRESH FAIL",
            RefreshPolicy::IncrementalStrict,
            OnFullRefresh::Fail,
        ),
    ] {
        let made = view(clause);
        assert_eq!((made.policy, made.on_full_refresh), (policy, on_full_refresh), "{clause}");
    }
}

#[test]
fn flows_are_read() {
    let Ok(Statement::CreateStreamingTable(table)) =
        parse("CREATE STREAMING TABLE a.t FLOW INSERT ONCE BY NAME SELECT * FROM STREAM s")
    else {
        panic!()
    };
    let flow = table.flow.expect("its own flow");
    assert!(flow.once && flow.changes.is_none());
    let Ok(Statement::CreateFlow(flow)) =
        parse("create flow a.f as insert into a.t by name select * from stream(s)")
    else {
        panic!()
    };
    assert_eq!((flow.name.join("."), flow.target.join(".")), ("a.f".to_owned(), "a.t".to_owned()));
    assert_eq!(
        flow.definition,
        "create flow a.f as insert into a.t by name select * from stream(s)"
    );
}

#[test]
fn alterations_are_read() {
    for (sql, expected) in [
        ("ALTER MATERIALIZED VIEW v ADD SCHEDULE EVERY 1 DAY", "ADD SCHEDULE EVERY 1 DAY"),
        ("ALTER STREAMING TABLE v ALTER TRIGGER ON UPDATE", "ALTER TRIGGER ON UPDATE"),
        ("ALTER STREAMING TABLE v DROP SCHEDULE", "DROP SCHEDULE"),
    ] {
        let statement = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(crate::written(&statement).unwrap_or_default().ends_with(expected), "{sql}");
    }
    let Ok(Statement::Rights(_)) = parse("ALTER STREAMING TABLE t OWNER TO anna") else { panic!() };
}

#[test]
fn requests_carry_their_options() {
    let sql = "REFRESH TABLE a.t WHERE day = '2026-01-01' SYNC TIMEOUT 5 MINUTES NOTIFY 'https://x' \
               OPTIONS (idempotency_key = 'k', priority = -3, max_attempts = 2)";
    let Ok(Statement::Refresh(Refresh { kind, condition, notify, options, .. })) = parse(sql)
    else {
        panic!("{:?}", parse(sql))
    };
    assert_eq!(kind, Some(DropKind::Table));
    assert_eq!(condition.as_deref(), Some("day = '2026-01-01'"));
    assert_eq!(notify.as_deref(), Some("https://x"));
    assert_eq!(options.idempotency_key.as_deref(), Some("k"));
    assert_eq!((options.priority, options.max_attempts), (Some(-3), Some(2)));
    assert_eq!((options.profile, options.max_bytes), (None, None));
    let sql = "REFRESH t OPTIONS (profile = 'large', max_bytes = '2GiB')";
    let Ok(Statement::Refresh(Refresh { options, .. })) = parse(sql) else { panic!() };
    assert_eq!((options.profile.as_deref(), options.max_bytes), (Some("large"), Some(2 << 30)));
}

#[test]
fn transforms_say_what_their_runs_may_take() {
    let sql = "CREATE MATERIALIZED VIEW v OPTIONS (profile = 'large', max_bytes = 5) AS SELECT 1";
    let Ok(Statement::CreateMaterializedView(create)) = parse(sql) else { panic!() };
    assert_eq!((create.resources.profile.as_str(), create.resources.bytes_max), ("large", Some(5)));
    let sql = "CREATE STREAMING TABLE t REFRESH POLICY INCREMENTAL ON FULL REFRESH APPROVE \
               OPTIONS (max_bytes = '1KiB')";
    let Ok(Statement::CreateStreamingTable(create)) = parse(sql) else { panic!() };
    let approve = Some(OnFullRefresh::Approve);
    assert_eq!(create.on_full_refresh, approve);
    assert_eq!(
        (create.resources.profile.as_str(), create.resources.bytes_max),
        ("default", Some(1024))
    );
}

#[test]
fn mistakes_say_where() {
    for (sql, column, message) in [
        (
            "CREATE MATERIALIZED VIEW v REFRESH POLICY SOMETIMES AS SELECT 1",
            43,
            "AUTO, INCREMENTAL",
        ),
        ("CREATE MATERIALIZED VIEW v TRIGGER ON UPDTE AS SELECT 1", 39, "TRIGGER ON UPDATE"),
        ("CREATE MATERIALIZED VIEW v SCHEDULE EVERY 1 DAY MISFIRE NEVER AS SELECT 1", 57, "SKIP"),
        ("CREATE MATERIALIZED VIEW v JOIN POLICY STRICT AS SELECT 1", 28, "JOIN POLICY"),
        ("CREATE MATERIALIZED VIEW v ON SCHEMA DRIFT FAIL AS SELECT 1", 28, "ON SCHEMA DRIFT"),
        ("CREATE MATERIALIZED VIEW v CONTRACT VERSION '1' AS SELECT 1", 28, "CONTRACT VERSION"),
        ("CREATE MATERIALIZED VIEW v FROZEN WHERE (a) AS SELECT 1", 28, "FROZEN WHERE"),
        ("CREATE MATERIALIZED VIEW v PARAMETERS (a INT) AS SELECT 1", 28, "PARAMETERS"),
        ("CREATE STREAMING TABLE v REFRESH POLICY AUTO AS SELECT 1", 26, "REFRESH POLICY"),
        ("CREATE VIEW v TRIGGER ON UPDATE AS SELECT 1", 15, "TRIGGER"),
        ("CREATE STREAMING v", 18, "STREAMING TABLE"),
        ("CREATE OR REPLACE FLOW f AS INSERT INTO t BY NAME SELECT 1", 8, "created, not replaced"),
        ("CREATE FLOW f AS INSERT INTO t SELECT 1", 32, "BY NAME"),
        ("CREATE PRIVATE TABLE t (a INT)", 8, "CREATE PRIVATE"),
        ("ALTER STREAMING TABLE t SET TBLPROPERTIES ()", 43, "no property"),
        ("ALTER STREAMING TABLE t SET TAGS ('a' = 'b')", 25, "SET"),
        ("ALTER STREAMING TABLE t ADD SCHEDUL EVERY 1 DAY", 29, "SCHEDULE or TRIGGER"),
        ("REFRESH a, b WHERE c", 14, "one transform"),
        ("REFRESH a OPTIONS (prioritty = 3)", 19, "no option of REFRESH"),
        ("REFRESH a OPTIONS (profil = 'a')", 19, "no option of REFRESH"),
        ("REFRESH a OPTIONS (max_bytes = 'much')", 19, "no size"),
        ("REFRESH a OPTIONS (max_bytes = 0)", 19, "at least 1"),
        ("REFRESH a OPTIONS (profile = ' ')", 19, "name of a profile"),
        (
            "CREATE MATERIALIZED VIEW v OPTIONS (priority = 1) AS SELECT 1",
            36,
            "priority belongs to one REFRESH",
        ),
        ("CREATE STREAMING TABLE v OPTIONS (a = 1) AS SELECT 1", 34, "no option of a transform"),
        (
            "CREATE STREAMING TABLE v REFRESH POLICY INCREMENTAL AS SELECT 1",
            26,
            "not read anew by itself",
        ),
        ("REFRESH a FOR (x => 1)", 11, "REFRESH … FOR"),
    ] {
        let error = match parse(sql) {
            Ok(statement) => panic!("{sql} was read as {statement:?}"),
            Err(error) => error,
        };
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
        assert!(error.message.contains(message), "{sql}: {error}");
    }
}

#[test]
fn a_schedule_and_a_trigger_exclude_each_other() {
    for (sql, column) in [
        ("CREATE MATERIALIZED VIEW m SCHEDULE EVERY 1 HOUR TRIGGER ON UPDATE AS SELECT 1", 50),
        ("CREATE STREAMING TABLE s TRIGGER ON UPDATE COMMENT 'x' SCHEDULE EVERY 1 HOUR", 56),
    ] {
        let error = parse(sql).unwrap_err();
        assert_eq!((error.line, error.column), (1, column), "{error}");
        assert!(error.message.contains("SCHEDULE and TRIGGER ON UPDATE"), "{error}");
        assert!(error.hint.unwrap_or_default().contains("leave one of them out"));
    }
}
