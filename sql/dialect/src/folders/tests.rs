use crate::{
    SyntaxErrorKind, parse,
    statement::{CreateTable, Statement},
};

fn table(sql: &str) -> CreateTable {
    match parse(sql) {
        Ok(Statement::CreateTable(table)) => table,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn path_columns_are_read() {
    let table = table(
        "CREATE EXTERNAL TABLE pos USING PARQUET COMPLETE WHEN '_SUCCESS' PATH COLUMNS \
         (entity_id STRING, \"Day\" DATE, n decimal(10, 2)) LOCATION 'in/{entity_id}/v{n}/day={Day}'",
    );
    let columns: Vec<_> = table
        .path_columns
        .iter()
        .map(|column| (column.name.as_str(), column.data_type.as_str()))
        .collect();
    assert_eq!(columns, [("entity_id", "STRING"), ("Day", "DATE"), ("n", "DECIMAL(10,2)")]);
    assert_eq!(table.complete_when.as_deref(), Some("_SUCCESS"));
    assert_eq!(table.location.as_deref(), Some("in/{entity_id}/v{n}/day={Day}"));
}

#[test]
fn a_folder_may_have_to_be_complete_without_path_columns() {
    let table = table("CREATE EXTERNAL TABLE t USING CSV LOCATION 'in/' COMPLETE WHEN 'done'");
    assert_eq!(table.complete_when.as_deref(), Some("done"));
    assert!(table.path_columns.is_empty());
}

#[test]
fn braces_are_characters_where_they_are_no_placeholders() {
    for location in ["in/{a,b", "in/{}/", "in/a}"] {
        let sql = format!("CREATE EXTERNAL TABLE t USING CSV LOCATION '{location}'");
        assert_eq!(table(&sql).location.as_deref(), Some(location));
    }
}

/// Each mistake with its place, as people read it.
#[test]
fn mistakes_say_where_and_what_to_write() {
    let of_csv = |rest: &str| format!("CREATE EXTERNAL TABLE t USING CSV {rest}");
    let mut said = String::new();
    for rest in [
        "LOCATION 'in/{a}/'",
        "LOCATION 'in/{a}/x{B}/'",
        "LOCATION 'in/{a}/' PATH COLUMNS (b INT)",
        "LOCATION 'in/{A}/' PATH COLUMNS (a INT)",
        "LOCATION 'in/{a}/{a}/' PATH COLUMNS (a INT)",
        "LOCATION 'in/{a}/' PATH COLUMNS (a INT, b INT)",
        "PATH COLUMNS (a INT, a INT) LOCATION 'in/{a}/'",
        "LOCATION 'it''s/{a}{b}/' PATH COLUMNS (a INT, b INT)",
        "LOCATION 'in/{a/' PATH COLUMNS (a INT)",
        "LOCATION 'in/{a}/*' PATH COLUMNS (a INT)",
        "LOCATION 'in/a?.csv' COMPLETE WHEN '_SUCCESS'",
        "LOCATION 's3://{a}/in/' PATH COLUMNS (a INT)",
        "LOCATION 'in/{a}.csv' PATH COLUMNS (a INT)",
        "LOCATION 'in/{a}/' PATH COLUMNS (a)",
        "LOCATION 'in/{a}/' PATH COLUMNS (a INT NOT NULL)",
        "LOCATION 'in/{a}/' PATH COLUMNS ()",
        "LOCATION 'in/{a}/' PATH COLUMNS (a INT) PATH COLUMNS (a INT)",
        "PATH COLUMNS (a INT)",
        "COMPLETE WHEN 'x'",
        "LOCATION 'in/' COMPLETE WHEN 'a/b'",
        "LOCATION 'in/' COMPLETE WHEN ''",
        "LOCATION 'in/' COMPLETE '_SUCCESS'",
    ] {
        let sql = of_csv(rest);
        let error = match parse(&sql) {
            Ok(statement) => panic!("{sql} was read as {statement:?}"),
            Err(error) => error,
        };
        assert_eq!(error.kind, SyntaxErrorKind::Syntax, "{sql}: {error}");
        let at = usize::try_from(error.column).unwrap() - 1;
        let rest: String = sql.chars().skip(at).take(8).collect();
        let hint = error.hint.unwrap_or_default();
        said.push_str(&format!("{rest}|{}|{hint}\n", error.message));
    }
    assert_eq!(said, MISTAKES, "{said}");
}

const MISTAKES: &str = r#"{a}/'|the location has the placeholder '{a}', and there are no PATH COLUMNS|write PATH COLUMNS (a STRING) after it
{a}/x{B}|the location has the placeholder '{a}', and there are no PATH COLUMNS|write PATH COLUMNS (a STRING, "B" STRING) after it
{a}/' PA|the placeholder '{a}' is none of the PATH COLUMNS|add it there: a STRING, or another type
{A}/' PA|the placeholder '{A}' is none of the PATH COLUMNS|the column is called a: write {a}
{a}/' PA|the placeholder '{a}' stands twice in the location|give each of them a name, and a column, of its own
b INT)|the location has no placeholder for the path column 'b'|write {b} in it, in the place of a folder's name or of a part of one
a INT) L|path column 'a' is declared twice|
{b}/' PA|nothing between two placeholders tells where one ends|a placeholder is {column}, within the name of one folder
{a/' PAT|this '{' has no '}' in the same folder's name|a placeholder is {column}, within the name of one folder
*' PATH |a pattern of files goes together neither with placeholders nor with COMPLETE WHEN|name the folder; a placeholder stands for any name: write {column} in the place of *
?.csv' C|a pattern of files goes together neither with placeholders nor with COMPLETE WHEN|name the folder; a placeholder stands for any name: write {column} in the place of *
{a}/in/'|a placeholder stands for the name of a folder, not of a bucket|declare a table for each bucket, and a view over them
{a}.csv'|a placeholder stands for the name of a folder, not of a file|name the folder, with a slash at its end: all files below it are read
)|Expected: the type of path column 'a', found: )|STRING takes every name of a folder
NOT NULL|a path column has a name and a type, and nothing else; found: NOT|write PATH COLUMNS (entity_id STRING, version BIGINT)
)|Expected: the name of a path column, found: )|
PATH COL|PATH COLUMNS is given twice|
PATH COL|PATH COLUMNS are about a LOCATION|write LOCATION 'folder/{column}/'
COMPLETE|COMPLETE WHEN is about a LOCATION|write LOCATION 'folder/'
'a/b'|'a/b' is not the name of an object|write a name without folders and without a pattern: COMPLETE WHEN '_SUCCESS'
''|'' is not the name of an object|write a name without folders and without a pattern: COMPLETE WHEN '_SUCCESS'
'_SUCCES|Expected: COMPLETE WHEN, found: '_SUCCESS'|
"#;

#[test]
fn a_delta_table_has_none_of_it() {
    for (sql, column, what) in [
        ("CREATE EXTERNAL TABLE t USING DELTA LOCATION 'x/{a}' PATH COLUMNS (a INT)", 54, "PATH"),
        ("CREATE TABLE t LOCATION 'x/{a}' PATH COLUMNS (a INT)", 33, "PATH COLUMNS"),
        ("CREATE TABLE t (a INT) LOCATION 'x/{a}'", 36, "the placeholder '{a}'"),
        ("CREATE TABLE t (a INT) LOCATION 'x' COMPLETE WHEN 'y'", 37, "COMPLETE WHEN"),
        ("CREATE MATERIALIZED VIEW t PATH COLUMNS (a INT) AS SELECT 1", 28, "PATH COLUMNS of a"),
        ("CREATE MATERIALIZED VIEW t COMPLETE WHEN 'y' AS SELECT 1", 28, "COMPLETE WHEN of a"),
    ] {
        let error = match parse(sql) {
            Ok(statement) => panic!("{sql} was read as {statement:?}"),
            Err(error) => error,
        };
        assert_eq!((error.column, error.kind), (column, SyntaxErrorKind::Unsupported), "{error}");
        assert!(error.message.contains(what), "{sql}: {error}");
    }
}
