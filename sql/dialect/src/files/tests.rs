use model::object::TableFormat;

use crate::{
    normal_form, parse, qualify,
    statement::{FilesUse, Query, Statement},
};

fn query(sql: &str) -> Query {
    match parse(sql) {
        Ok(Statement::Query(query)) => query,
        other => panic!("{sql}: {other:?}"),
    }
}

fn files(format: TableFormat, place: &str, options: &[(&str, &str)]) -> FilesUse {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    FilesUse { format, place: place.to_owned(), options }
}

#[test]
fn files_are_listed_with_their_options_and_are_no_tables() {
    use TableFormat::{Csv, Json, Parquet};
    for (sql, expected) in [
        ("SELECT * FROM read_parquet('in/x')", vec![files(Parquet, "in/x", &[])]),
        ("SELECT * FROM READ_JSON('it''s.json') AS j", vec![files(Json, "it's.json", &[])]),
        (
            "SELECT * FROM read_csv('x', HEADER => false, delimiter => E'\\t', schema_infer_max_records = 5)",
            vec![files(
                Csv,
                "x",
                &[("header", "false"), ("delimiter", "\t"), ("schema_infer_max_records", "5")],
            )],
        ),
        (
            "SELECT * FROM read_csv(sep := ';', 'x'), (SELECT 1 FROM read_csv('x', sep => ';')) q",
            vec![files(Csv, "x", &[("sep", ";")])],
        ),
        (
            "SELECT (SELECT max(a) FROM read_csv('a')) WHERE 1 IN (SELECT b FROM read_csv('b'))",
            vec![files(Csv, "a", &[]), files(Csv, "b", &[])],
        ),
        ("SELECT * FROM other.read_csv('x'), f('x')", vec![]),
        ("SELECT read_csv FROM read_csv", vec![]),
    ] {
        let query = query(sql);
        assert_eq!(query.files, expected, "{sql}");
        let named = query.tables.iter().map(|table| table.name.join(".")).collect::<Vec<_>>();
        let expected: &[&str] = if sql.ends_with("FROM read_csv") { &["read_csv"] } else { &[] };
        assert_eq!(named, expected, "{sql}");
    }
}

#[test]
fn calls_that_say_different_things_have_different_names() {
    use TableFormat::{Csv, Json};
    let calls = [
        files(Csv, "x", &[]),
        files(Json, "x", &[]),
        files(Csv, "x', header => 'true", &[]),
        files(Csv, "x", &[("header", "true")]),
        files(Csv, "x", &[("header", "true', sep => ';")]),
        files(Csv, "x", &[("header", "true"), ("sep", ";")]),
    ];
    let names: std::collections::BTreeSet<_> = calls.iter().map(FilesUse::planned_name).collect();
    assert_eq!(names.len(), calls.len(), "{names:?}");
    assert!(names.iter().all(|name| name.contains('@')));
}

#[test]
fn a_printed_query_reads_the_same_files() {
    for sql in [
        "SELECT c.a FROM read_csv('it''s', delimiter => '\\', \"header\" => 'no') AS c JOIN t ON true",
        "SELECT read_parquet.a FROM read_parquet('x')",
        "WITH read_json AS (SELECT 1) SELECT * FROM read_json('x') AS j, read_json",
    ] {
        let before = query(sql);
        for print in [|query: &Query| qualify(query, "main"), normal_form] {
            let text = print(&before);
            let after = query(&text);
            assert_eq!(after.files, before.files, "{text}");
            assert_eq!(print(&after), text);
        }
    }
    let forms = ["FROM read_csv('x', a => 1, b => 2)", "FROM READ_CSV('x', B => '2', a = '1')"];
    let [one, other] = forms.map(|from| normal_form(&query(&format!("SELECT * {from}"))));
    assert_eq!(one, other);
}

#[test]
fn calls_that_make_no_sense_are_refused_where_they_stand() {
    for (sql, text) in [
        ("SELECT * FROM read_csv()", "needs the place"),
        ("SELECT * FROM read_csv(header => true)", "needs the place"),
        ("SELECT * FROM read_csv(1)", "'1' is no argument"),
        ("SELECT * FROM read_csv('a', 'b')", "''b'' is no argument"),
        ("SELECT * FROM read_csv(concat('a', 'b'))", "is no argument of read_csv"),
        ("SELECT * FROM read_csv(?)", "is no argument of read_csv"),
        ("SELECT * FROM read_csv('a', header => (SELECT true))", "is no argument"),
        ("SELECT * FROM read_csv('a', header => NULL)", "is no argument"),
        ("SELECT * FROM read_csv('a', sep => ';', SEP => ',')", "'sep' twice"),
        ("SELECT * FROM read_parquet('a') VERSION AS OF 3", "time travel"),
        ("SELECT * FROM read_csv('a') TABLESAMPLE (10)", "TABLESAMPLE"),
    ] {
        let error = parse(sql).unwrap_err();
        assert!(error.to_string().contains(text), "{sql}: {error}");
        assert_eq!(error.line, 1, "{sql}");
        assert!(error.column > 14, "{sql}: {error:?}");
    }
}
