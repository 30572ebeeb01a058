use super::*;

fn texts(script: &str) -> Vec<String> {
    split(script).into_iter().map(|piece| piece.sql).collect()
}

#[test]
fn semicolons_end_statements_only_outside_quotes_and_comments() {
    let cases: [(&str, &[&str]); 13] = [
        ("select 1; select 2", &["select 1", "select 2"]),
        ("select ';'; select \";\"", &["select ';'", "select \";\""]),
        ("select 'it''s; fine';", &["select 'it''s; fine'"]),
        ("select `a;b`", &["select `a;b`"]),
        ("select 1 -- a; b\n; select 2", &["select 1 -- a; b", "select 2"]),
        ("select /* ; /* ; */ ; */ 1; x", &["select /* ; /* ; */ ; */ 1", "x"]),
        ("select $$a;b$$; y", &["select $$a;b$$", "y"]),
        ("select $t$ $$; $t$; y", &["select $t$ $$; $t$", "y"]),
        ("select $1; select $2", &["select $1", "select $2"]),
        ("select a$b; select 2", &["select a$b", "select 2"]),
        (";;  ; -- nothing\n ; /* at all */", &[]),
        ("", &[]),
        ("select 'ö;ü'; select 'ß'", &["select 'ö;ü'", "select 'ß'"]),
    ];
    for (script, expected) in cases {
        assert_eq!(texts(script), expected, "{script}");
    }
}

#[test]
fn pieces_know_their_line_and_whether_they_are_ended() {
    let pieces = split("-- hello\nselect 1;\n\n\nselect\n2");
    let lines: Vec<_> = pieces.iter().map(|piece| (piece.line, piece.ended)).collect();
    assert_eq!(lines, [(1, true), (5, false)]);
}

#[test]
fn text_is_complete_when_its_last_statement_is_ended() {
    let cases = [
        ("select 1;", true),
        ("select 1; -- done", true),
        ("select 1", false),
        ("select ';", false),
        ("select 1; select", false),
        ("/* open ;", false),
        ("select $$;", false),
        ("", true),
        ("-- only a comment", true),
    ];
    for (text, complete) in cases {
        assert_eq!(is_complete(text), complete, "{text}");
    }
}

#[test]
fn first_word_tells_queries_from_changes() {
    let cases = [
        ("select 1", StatementKind::Query),
        ("  -- note\n/* x */ WITH a AS (SELECT 1) SELECT * FROM a", StatementKind::Query),
        ("(select 1)", StatementKind::Query),
        ("insert into t values (1)", StatementKind::Change),
        ("Create table t (a int)", StatementKind::Change),
        ("refresh materialized view v", StatementKind::Other),
        ("wait for job 'x'", StatementKind::Other),
        ("", StatementKind::Other),
    ];
    for (sql, kind) in cases {
        assert_eq!(statement_kind(sql), kind, "{sql}");
    }
}

#[test]
fn only_changes_of_rows_count_rows() {
    assert!(changes_rows("/* x */ insert into t values (1)"));
    assert!(!changes_rows("create table t as select 1"));
}
