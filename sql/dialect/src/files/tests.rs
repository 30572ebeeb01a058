use model::object::TableFormat;

use crate::{
    normal_form, parse, parse_columns, parse_flow_query, qualify,
    statement::{FilesFunction, FilesUse, Query, Statement},
};

fn query(sql: &str) -> Query {
    match parse(sql) {
        Ok(Statement::Query(query)) => query,
        other => panic!("{sql}: {other:?}"),
    }
}

fn files(format: TableFormat, place: &str, options: &[(&str, &str)]) -> FilesUse {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    FilesUse {
        function: FilesFunction::Of(format),
        place: place.to_owned(),
        options,
        is_stream: false,
        has_metadata: false,
        found: None,
    }
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

#[test]
fn a_stream_of_files_is_one_call_in_whatever_way_it_is_written() {
    let forms = [
        "SELECT * FROM STREAM read_files('/in', format => 'csv', header => true)",
        "SELECT * FROM stream READ_FILES('/in', HEADER => 'true', format => 'csv')",
        "SELECT * FROM STREAM(read_files('/in', format => 'csv', header => true))",
        "SELECT * FROM STREAM read_files(\"/in\", format => \"csv\", header => \"true\")",
    ];
    for sql in forms {
        let query = parse_flow_query(sql).expect(sql);
        assert!(query.tables.is_empty(), "{sql}: {:?}", query.tables);
        let [files] = query.files.as_slice() else { panic!("{sql}: {:?}", query.files) };
        assert!(files.is_stream && !files.has_metadata, "{sql}");
        assert_eq!(
            qualify(&query, "main"),
            "SELECT * FROM STREAM read_files('/in', format => 'csv', header => 'true') AS \"read_files\""
        );
        let again = parse_flow_query(&qualify(&query, "main")).expect(sql);
        assert_eq!(again.files, query.files, "{sql}");
    }
    let both = "SELECT a FROM STREAM read_files('x') JOIN read_files('x') AS y ON true";
    let names: Vec<_> =
        parse_flow_query(both).expect(both).files.iter().map(FilesUse::planned_name).collect();
    assert_eq!(names, ["STREAM read_files('x')@", "read_files('x')@"]);
    let error = parse(forms[0]).expect_err("a STREAM outside of a flow");
    assert!(error.message.contains("which only a flow has"), "{error}");
    for (sql, message) in [
        ("SELECT * FROM STREAM read_csv('x')", "other than read_files"),
        ("SELECT * FROM STREAM(read_files('x'), START => 1)", "takes the name of a table"),
        ("SELECT * FROM STREAM a.read_files('x')", "other than read_files"),
        ("SELECT * FROM STREAM read_files()", "needs the place"),
        ("SELECT * FROM STREAM read_files(place)", "'place' is no argument"),
        ("SELECT * FROM STREAM read_files('x', format => csv)", "is no argument"),
        ("SELECT * FROM read_csv(\"x\")", "is no argument"),
        ("SELECT * FROM STREAM(read_files('x'", "takes the name of a table"),
    ] {
        let error = parse_flow_query(sql).expect_err(sql);
        assert!(error.message.contains(message), "{sql}: {error}");
    }
}

#[test]
fn columns_are_read_as_a_schema_has_them() {
    let columns = parse_columns("Id BIGINT, `At It` TIMESTAMP COMMENT 'when', a: DECIMAL(10,2)");
    let columns = columns.expect("a list");
    let columns: Vec<_> = columns
        .iter()
        .map(|column| format!("{}|{} {}", column.name, column.written, column.data_type))
        .collect();
    assert_eq!(columns, ["id|Id BIGINT", "At It|At It TIMESTAMP", "a|a DECIMAL(10,2)"]);
    for (text, message) in [
        ("", "the name of a column"),
        ("id", "type"),
        ("id BIGINT,", "the name of a column"),
        ("id BIGINT, ID INT", "declared twice"),
        ("id BIGINT NOT NULL", "NOT NULL of a column of files"),
        ("id BIGINT; SELECT 1", ""),
    ] {
        match parse_columns(text) {
            Ok(columns) => assert!(message.is_empty(), "{text}: {columns:?}"),
            Err(error) => assert!(error.message.contains(message), "{text}: {error}"),
        }
    }
}
