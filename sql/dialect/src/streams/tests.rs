use super::*;
use crate::{
    normal_form, parse, parse_flow_query, qualify,
    statement::{NameParts, Query, Statement, TableUse},
};

fn query(sql: &str) -> Query {
    parse_flow_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn stream(start: StreamStart, on_change: OnChange) -> Option<TimeTravel> {
    Some(TimeTravel::Stream(StreamRead { start, on_change }))
}

fn name(text: &str) -> NameParts {
    text.split('.').map(str::to_owned).collect()
}

#[test]
fn streams_are_uses_of_their_own() {
    let parsed = query(
        "SELECT * FROM STREAM a.t s JOIN a.t ON s.id = t.id, STREAM (u, ON_CHANGE => 'skip') \
         WHERE s.id IN (SELECT id FROM (STREAM(t, START => 'latest')))",
    );
    let uses: Vec<_> =
        parsed.tables.iter().map(|used| (used.name.clone(), used.at.clone())).collect();
    assert_eq!(
        uses,
        [
            (name("a.t"), stream(StreamStart::Earliest, OnChange::Fail)),
            (name("a.t"), None),
            (name("u"), stream(StreamStart::Earliest, OnChange::Skip)),
            (name("t"), stream(StreamStart::Latest, OnChange::Fail)),
        ]
    );
    let planned: std::collections::BTreeSet<_> =
        parsed.tables.iter().map(|used: &TableUse| used.planned_name.clone()).collect();
    assert_eq!(planned.len(), 4);
}

#[test]
fn options_of_streams_are_read() {
    for (options, start, on_change) in [
        ("", StreamStart::Earliest, OnChange::Fail),
        (", START => 7", StreamStart::Version(7), OnChange::Fail),
        (", start => 'EARLIEST', on_change => 'changes'", StreamStart::Earliest, OnChange::Changes),
        (
            ", ON_CHANGE => 'fail', START => '2026-01-01'",
            StreamStart::Timestamp("2026-01-01".to_owned()),
            OnChange::Fail,
        ),
    ] {
        let parsed = query(&format!("SELECT * FROM STREAM(t{options})"));
        assert_eq!(parsed.tables[0].at, stream(start, on_change), "{options}");
    }
}

#[test]
fn streams_survive_being_stored() {
    for (sql, expected) in [
        ("select * from stream t", "SELECT * FROM STREAM main.t AS t"),
        ("SELECT * FROM STREAM(\"T\") x", "SELECT * FROM STREAM main.\"T\" x"),
        (
            "SELECT * FROM stream(a.t, on_change => 'changes', start => 3)",
            "SELECT * FROM STREAM(a.t, START => 3, ON_CHANGE => 'changes') AS t",
        ),
        (
            "SELECT * FROM STREAM(t, START => 'it''s')",
            "SELECT * FROM STREAM(main.t, START => 'it''s') AS t",
        ),
        ("SELECT * FROM QUARANTINE(t)", "SELECT * FROM QUARANTINE(main.t) AS t"),
        (
            "SELECT * FROM STREAM t JOIN t AS u USING (id)",
            "SELECT * FROM STREAM main.t AS t JOIN main.t AS u USING(id)",
        ),
    ] {
        assert_eq!(qualify(&query(sql), "main"), expected);
        assert_eq!(qualify(&query(expected), "other"), expected);
        let normal = normal_form(&query(sql));
        assert_eq!(normal_form(&query(&normal)), normal);
    }
    assert_ne!(
        normal_form(&query("SELECT * FROM STREAM t")),
        normal_form(&query("SELECT * FROM STREAM(t, ON_CHANGE => 'skip')"))
    );
}

#[test]
fn a_table_and_a_column_may_be_called_stream() {
    for sql in [
        "SELECT * FROM stream",
        "SELECT * FROM stream AS s",
        "SELECT * FROM stream WHERE a = 1",
        "SELECT * FROM stream VERSION AS OF 3",
        "SELECT stream s, a AS stream FROM t",
        "SELECT a, stream b FROM t",
        "SELECT f(stream), stream(a), stream(b) FROM t",
        "SELECT EXTRACT(YEAR FROM stream) FROM t",
        "SELECT a IS DISTINCT FROM stream FROM t",
        "SELECT * FROM t GROUP BY a, stream ORDER BY a, stream DESC",
        "SELECT quarantine(a) FROM t",
        "WITH stream AS (SELECT 1 AS a) SELECT * FROM stream",
    ] {
        match parse(sql) {
            Ok(Statement::Query(_)) => {}
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[test]
fn streams_are_refused_where_nothing_was_read_before() {
    for (sql, column) in [
        ("SELECT * FROM STREAM t", 15),
        ("SELECT * FROM STREAM(t)", 15),
        ("INSERT INTO u SELECT * FROM STREAM t", 29),
        ("CREATE VIEW v AS SELECT * FROM a JOIN STREAM t ON true", 39),
        ("CREATE TABLE u AS SELECT * FROM STREAM t", 33),
        ("EXPLAIN SELECT * FROM STREAM t", 23),
    ] {
        let error = parse(sql).expect_err(sql);
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
        assert!(error.message.contains("STREAM reads what came since"), "{sql}: {error}");
        assert!(error.hint.is_some(), "{sql}");
    }
    let error = parse("DELETE FROM STREAM t").expect_err("rows of a stream");
    assert_eq!(error.column, 13, "{error}");
}

#[test]
fn mistakes_in_streams_say_where() {
    for (sql, column, message) in [
        ("SELECT * FROM STREAM(t, STRAT => 1)", 25, "no option of STREAM"),
        ("SELECT * FROM STREAM(t, START 1)", 31, "takes the name of a table and options"),
        ("SELECT * FROM STREAM(t, START => now())", 34, "'earliest', 'latest'"),
        ("SELECT * FROM STREAM(t, ON_CHANGE => 'ignore')", 38, "'fail', 'skip' or 'changes'"),
        ("SELECT * FROM STREAM(t, START => 1, START => 2)", 37, "given twice"),
        ("SELECT * FROM STREAM(SELECT 1)", 22, "the name of a table"),
        ("SELECT * FROM STREAM(t) VERSION AS OF 3", 25, "one version"),
        ("SELECT * FROM STREAM f(1)", 15, "STREAM of a function"),
        ("SELECT * FROM QUARANTINE(t, 1)", 27, "takes the name of a transform"),
        ("WITH c AS (SELECT 1) SELECT * FROM STREAM c", 36, "only a table"),
    ] {
        let error = parse_flow_query(sql).expect_err(sql);
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
        assert!(error.message.contains(message), "{sql}: {error}");
    }
}
