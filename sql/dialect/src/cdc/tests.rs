use super::*;
use crate::{
    parse,
    statement::{CreateFlow, Statement},
};

const BEFORE: &str = "CREATE FLOW f AS AUTO CDC INTO t ";

fn flow(spec: &str) -> CreateFlow {
    match parse(&format!("{BEFORE}{spec}")) {
        Ok(Statement::CreateFlow(flow)) => *flow,
        other => panic!("{spec}: {other:?}"),
    }
}

#[test]
fn every_clause_is_read() {
    let flow = flow(
        "FROM STREAM(a.s, ON_CHANGE => 'skip') KEYS (id) IGNORE NULL UPDATES ON (x, y) \
         APPLY AS DELETE WHEN op = 'D' APPLY AS TRUNCATE WHEN op='T' \
         SEQUENCE BY (lsn) ON TIE LAST BY seq COLUMNS (id, x, y) \
         STORED AS SCD TYPE 2 TRACK HISTORY ON x",
    );
    let only = |columns: &[&str]| {
        ColumnChoice::Only(columns.iter().map(|column| (*column).to_owned()).collect())
    };
    assert_eq!(
        flow.body.changes,
        Some(ChangeSpec {
            keys: vec!["id".to_owned()],
            ignore_null_updates: only(&["x", "y"]),
            delete_when: Some("op = 'D'".to_owned()),
            truncate_when: Some("op = 'T'".to_owned()),
            sequence_by: "lsn".to_owned(),
            last_by: Some("seq".to_owned()),
            columns: only(&["id", "x", "y"]),
            history: History::Every { track: only(&["x"]) },
        })
    );
    let text = crate::qualify(&flow.body.query, "main");
    assert_eq!(text, "SELECT * FROM STREAM(a.s, ON_CHANGE => 'skip') AS s");
}

#[test]
fn a_source_is_read_as_a_stream_with_or_without_the_word() {
    let with = flow("FROM STREAM s KEYS (id) SEQUENCE BY n");
    let without = flow("FROM s KEYS (id) SEQUENCE BY n");
    assert_eq!(with.body.query.tables, without.body.query.tables);
    let text = crate::qualify(&without.body.query, "main");
    assert_eq!(text, "SELECT * FROM STREAM main.s AS s");
}

#[test]
fn what_is_missing_is_named() {
    for (spec, message) in [
        ("FROM s SEQUENCE BY n", "KEYS"),
        ("FROM s KEYS (id)", "SEQUENCE BY"),
        ("FROM s KEYS (id) KEYS (id)", "given twice"),
        ("FROM s KEYS (id) SEQUENCE BY n TRACK HISTORY ON x", "belongs to SCD TYPE 2"),
        ("FROM s KEYS (id) SEQUENCE BY n STORED AS SCD TYPE 3", "1 or 2"),
        ("FROM s KEYS (id) SEQUENCE BY n ON TIE PICK", "FAIL or LAST BY"),
        ("FROM s KEYS (id) WHERE a SEQUENCE BY n", "WHERE of AUTO CDC"),
        ("FROM s VERSION AS OF 3 KEYS (id) SEQUENCE BY n", "newest events"),
        ("FROM s KEYS (id) SEQUENCE BY n COLUMNS *, a", "KEYS"),
    ] {
        let error = match parse(&format!("{BEFORE}{spec}")) {
            Ok(statement) => panic!("{spec} was read as {statement:?}"),
            Err(error) => error,
        };
        assert!(error.message.contains(message), "{spec}: {error}");
        assert_eq!(error.line, 1);
    }
}
