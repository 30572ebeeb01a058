use model::{object::TableFormat, schedule::Schedule};

use super::*;
use crate::{SyntaxErrorKind, parse, statement::CreateMaterializedView};

fn table(sql: &str) -> CreateTable {
    match parse(sql) {
        Ok(Statement::CreateTable(table)) => table,
        other => panic!("{sql}: {other:?}"),
    }
}

fn view(sql: &str) -> CreateMaterializedView {
    match parse(sql) {
        Ok(Statement::CreateMaterializedView(view)) => view,
        other => panic!("{sql}: {other:?}"),
    }
}

fn error(sql: &str) -> SyntaxError {
    match parse(sql) {
        Ok(statement) => panic!("{sql} was read as {statement:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_table_with_everything_is_read() {
    let table = table(
        "create or replace table Main.\"T\" (
            a BIGINT NOT NULL COMMENT 'the ''a''', b STRING NULL, \"C\" DECIMAL(10, 2), d TIMESTAMP WITH TIME ZONE,
            e STRUCT<x INT, y ARRAY<INT>>, CONSTRAINT pk PRIMARY KEY (a, b) NOT ENFORCED
        ) tblproperties ('k' = 'v', delta.n = 3, flag = true, 'x' '-') comment 'about' stored as delta
        location 's3://b/p/' partitioned by (b, \"C\")",
    );
    assert_eq!(table.name, ["main", "T"]);
    assert!(table.or_replace && !table.if_not_exists && !table.external && table.query.is_none());
    let columns: Vec<_> = table
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.data_type.to_string(), c.nullable, c.comment.as_deref()))
        .collect();
    assert_eq!(
        columns,
        [
            ("a", "BIGINT".to_owned(), false, Some("the 'a'")),
            ("b", "STRING".to_owned(), false, None),
            ("C", "DECIMAL(10,2)".to_owned(), true, None),
            ("d", "TIMESTAMP WITH TIME ZONE".to_owned(), true, None),
            ("e", "STRUCT<x INT, y ARRAY<INT>>".to_owned(), true, None),
        ]
    );
    assert_eq!(table.primary_key, ["a", "b"]);
    assert_eq!(table.partitioned_by, ["b", "C"]);
    assert_eq!(table.format, Some(TableFormat::Delta));
    assert_eq!(table.location.as_deref(), Some("s3://b/p/"));
    assert_eq!(table.comment.as_deref(), Some("about"));
    let properties: Vec<_> =
        table.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(properties, [("delta.n", "3"), ("flag", "true"), ("k", "v"), ("x", "-")]);
}

#[test]
fn clauses_of_tables_come_in_any_order() {
    let clauses = [
        "PARTITIONED BY (a)",
        "LOCATION 'x'",
        "TBLPROPERTIES ('k' = 'v')",
        "OPTIONS ('o' 'p')",
        "COMMENT 'c'",
        "USING PARQUET",
    ];
    for turn in 0..clauses.len() {
        let mut turned = clauses;
        turned.rotate_left(turn);
        let table = table(&format!("CREATE TABLE t (a INT) {}", turned.join(" ")));
        assert_eq!(table.partitioned_by, ["a"]);
        assert_eq!(table.location.as_deref(), Some("x"));
        assert_eq!(table.properties.len() + table.options.len(), 2);
        assert_eq!(table.comment.as_deref(), Some("c"));
        assert_eq!(table.format, Some(TableFormat::Parquet));
    }
    for clause in clauses {
        let error = error(&format!("CREATE TABLE t (a INT) {clause} {clause}"));
        assert!(error.message.contains("is given twice"), "{clause}: {error}");
        assert_eq!(error.column as usize, "CREATE TABLE t (a INT)  ".len() + clause.len() + 1);
    }
    assert!(
        error("CREATE TABLE t (a INT) USING DELTA STORED AS DELTA").message.contains("given twice")
    );
}

#[test]
fn other_forms_of_tables_are_read() {
    let as_query = table("CREATE TABLE IF NOT EXISTS t PARTITIONED BY (a) AS SELECT * FROM u");
    assert!(as_query.if_not_exists && as_query.columns.is_empty());
    assert_eq!(as_query.query.unwrap().tables[0].name, ["u"]);
    assert!(
        table("CREATE TABLE t USING DELTA AS WITH c AS (SELECT 1) SELECT * FROM c").query.is_some()
    );
    assert!(table("CREATE TABLE t AS (SELECT 1)").query.is_some());
    assert!(table("CREATE TABLE t USING DELTA LOCATION 'x'").columns.is_empty());
    for (word, format) in [
        ("STORED AS DELTA", TableFormat::Delta),
        ("STORED AS DELTATABLE", TableFormat::Delta),
        ("USING delta", TableFormat::Delta),
        ("STORED AS PARQUET", TableFormat::Parquet),
        ("STORED AS CSV", TableFormat::Csv),
        ("USING JSON", TableFormat::Json),
    ] {
        let table = table(&format!("CREATE EXTERNAL TABLE t {word} LOCATION '/data/x'"));
        assert!(table.external);
        assert_eq!(table.format, Some(format));
    }
    let csv = table(
        "CREATE EXTERNAL TABLE t (a INT) STORED AS CSV LOCATION 'x' OPTIONS (format.has_header true, 'format.delimiter' ';')",
    );
    assert_eq!(csv.options.get("format.has_header").map(String::as_str), Some("true"));
    assert_eq!(csv.options.get("format.delimiter").map(String::as_str), Some(";"));
    assert_eq!(table("CREATE TABLE t (a INT) WITH (x = 'y')").options.len(), 1);
    let keyed = table("CREATE TABLE t (a INT PRIMARY KEY, b INT)");
    assert_eq!(keyed.primary_key, ["a"]);
    assert!(!keyed.columns[0].nullable && keyed.columns[1].nullable);
}

#[test]
fn what_tables_cannot_have_is_refused_by_name() {
    for (sql, what) in [
        ("CREATE TABLE t (a INT DEFAULT 1)", "DEFAULT"),
        ("CREATE TABLE t (a INT CHECK (a > 1) NOT ENFORCED)", "CHECK … NOT ENFORCED"),
        ("CREATE TABLE t (a INT CONSTRAINT c UNIQUE)", "CONSTRAINT"),
        ("CREATE TABLE t (a INT GENERATED ALWAYS AS IDENTITY)", "GENERATED ALWAYS AS IDENTITY"),
        ("CREATE TABLE t (a INT GENERATED BY DEFAULT AS IDENTITY)", "GENERATED BY DEFAULT"),
        ("CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a) VIRTUAL)", "VIRTUAL"),
        ("CREATE TABLE t (a INT, b INT AS (a))", "a computed column"),
        ("CREATE MATERIALIZED VIEW t (a INT GENERATED ALWAYS AS (1)) AS SELECT 1", "GENERATED"),
        ("CREATE TABLE t (a INT UNIQUE)", "UNIQUE"),
        ("CREATE TABLE t (a INT REFERENCES u (a))", "REFERENCES"),
        ("CREATE TABLE t (a INT, UNIQUE (a))", "UNIQUE"),
        ("CREATE MATERIALIZED VIEW t (a INT, CHECK (a > 1)) AS SELECT 1", "CHECK"),
        ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES u (a))", "FOREIGN KEY"),
        ("CREATE TABLE t (a INT, CONSTRAINT c EXPECT (a > 1))", "EXPECT"),
        ("CREATE TABLE t (a INT, CONSTRAINT c FOREIGN KEY (a) REFERENCES u (a))", "FOREIGN KEY"),
        ("CREATE TABLE t (a INT PRIMARY KEY VERIFIED)", "VERIFIED"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (b INT)", "a type in PARTITIONED BY"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (year(a))", "an expression in PARTITIONED BY"),
        ("CREATE TABLE t (a INT) CLUSTERED BY (a)", "CLUSTERED BY"),
        ("CREATE TABLE t (a INT) SCHEDULE EVERY 1 DAY", "SCHEDULE"),
        ("CREATE TABLE t (a INT) USING ICEBERG", "ICEBERG"),
        ("CREATE TABLE t (a INT) LIKE u", "LIKE of a table"),
        ("CREATE TABLE t LIKE u PARTITIONED BY (a)", "PARTITIONED BY of a table LIKE another"),
        ("CREATE TABLE t LIKE u USING DELTA", "USING of a table LIKE another"),
        ("CREATE TABLE t CLONE u", "CLONE"),
        ("CREATE TABLE t (a INT) AS SELECT 1", "column list together with AS"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV WITH HEADER ROW LOCATION 'x'", "WITH HEADER ROW"),
        ("CREATE VIEW v (a COMMENT 'x') AS SELECT 1", "COMMENT after a column"),
        ("CREATE VIEW v TBLPROPERTIES ('a' = 'b') AS SELECT 1", "TBLPROPERTIES of a view"),
        ("CREATE SCHEMA s LOCATION 'x'", "LOCATION of a schema"),
    ] {
        let error = error(sql);
        assert!(error.message.contains(what), "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{sql}: {error}");
    }
}

#[test]
fn checks_of_tables_are_read() {
    let table = table(
        "CREATE TABLE s.t (
            a INT CHECK (a > 0) NOT NULL, b INT NOT NULL CONSTRAINT B_ok CHECK (b  <  'x)') COMMENT 'c',
            CONSTRAINT t_check1 CHECK (a < b) ENFORCED, CHECK (a IN (1, 2)), PRIMARY KEY (a),
            CONSTRAINT pk_check CHECK (true)
        ) PARTITIONED BY (a)",
    );
    let checks: Vec<_> =
        table.checks.iter().map(|c| (c.name.as_str(), c.condition.as_str())).collect();
    assert_eq!(
        checks,
        [
            ("t_check", "a > 0"),
            ("b_ok", "b  <  'x)'"),
            ("t_check1", "a < b"),
            ("t_check2", "a IN (1, 2)"),
            ("pk_check", "true"),
        ]
    );
    assert_eq!(table.columns.len(), 2);
    assert!(!table.columns[0].nullable && !table.columns[1].nullable);
    assert_eq!(table.columns[1].comment.as_deref(), Some("c"));
}

#[test]
fn tables_like_others_are_read() {
    let like = table(
        "create table if not exists a.t like B.\"U\" location 'x' comment 'c' tblproperties (k = 'v')",
    );
    assert_eq!(like.like, Some(vec!["b".to_owned(), "U".to_owned()]));
    assert!(like.if_not_exists && like.columns.is_empty() && like.query.is_none());
    assert_eq!((like.location.as_deref(), like.comment.as_deref()), (Some("x"), Some("c")));
    assert_eq!(like.properties.get("k").map(String::as_str), Some("v"));
    assert!(table("CREATE OR REPLACE TABLE t LIKE u").or_replace);
    assert_eq!(table("CREATE TABLE t (a INT)").like, None);
}

#[test]
fn mistakes_in_tables_are_found() {
    for (sql, column, what) in [
        ("CREATE TABLE t LIKE", 20, "the name of a table"),
        ("CREATE TABLE t LIKE u VERSION AS OF 3", 23, "time travel"),
        ("CREATE TABLE t LIKE u AS SELECT 1", 23, "exclude each other"),
        ("CREATE TABLE t LIKE u INCLUDING ALL", 23, "LOCATION, TBLPROPERTIES or COMMENT"),
        ("CREATE EXTERNAL TABLE t LIKE u LOCATION 'x'", 25, "external"),
        ("CREATE TABLE t (a INT CHECK a > 0)", 29, "("),
        ("CREATE TABLE t (a INT CHECK (a >))", 33, "found: )"),
        ("CREATE TABLE t (a INT, CHECK (a > ?))", 35, "a CHECK cannot have parameters"),
        ("CREATE TABLE t (a INT, CHECK (a IN (SELECT 1 FROM u)))", 31, "other tables"),
        (
            "CREATE TABLE t (a INT CONSTRAINT c CHECK (a > 0), CONSTRAINT C CHECK (a < 9))",
            62,
            "constraint 'c' is given twice",
        ),
        ("CREATE TABLE t", 14, "needs columns"),
        ("CREATE TABLE t ()", 17, "name of a column"),
        ("CREATE TABLE t (a)", 18, "the type of column 'a'"),
        ("CREATE TABLE t (a INT, A INT)", 24, "declared twice"),
        ("CREATE TABLE t (a INT NOT NULL NULL)", 32, "does not fit"),
        ("CREATE TABLE t (a INT PRIMARY KEY, PRIMARY KEY (a))", 36, "one primary key"),
        ("CREATE TABLE t (a INT, PRIMARY KEY (b))", 37, "no column 'b'"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (a, b)", 43, "no column 'b'"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (a, a)", 43, "named twice"),
        ("CREATE TABLE t (a INT) LOCATION x", 33, "single quotes"),
        ("CREATE TABLE t (a INT) LOCATION ''", 33, "empty"),
        ("CREATE TABLE t (a INT) TBLPROPERTIES ('a' = 'b', 'a' = 'c')", 50, "given twice"),
        ("CREATE TABLE t (a INT) USING DELTS", 30, "DELTA"),
        ("CREATE EXTERNAL TABLE t USING DELTA", 36, "LOCATION"),
        ("CREATE EXTERNAL TABLE t LOCATION 'x' AS SELECT 1", 38, "external"),
        ("CREATE OR REPLACE TABLE IF NOT EXISTS t (a INT)", 25, "exclude"),
        ("CREATE OR REFRESH TABLE t (a INT)", 8, "no meaning"),
        ("CREATE OR REFRESH VIEW v AS SELECT 1", 8, "no meaning"),
        ("CREATE TABLE select (a INT)", 14, "the name of a table"),
        ("CREATE TABLE t.1 (a INT)", 15, ""),
    ] {
        let error = error(sql);
        assert!(
            error.message.contains(what)
                || error.hint.as_deref().is_some_and(|hint| hint.contains(what)),
            "{sql}: {error}"
        );
        assert_eq!(error.column, column, "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Syntax, "{sql}");
    }
}

#[test]
fn views_are_read() {
    let sql = " CREATE OR REPLACE VIEW a.v (x, \"Y\") COMMENT 'c' AS\n SELECT 1, 2 FROM t -- end";
    let Ok(Statement::CreateView(view)) = parse(&format!("{sql}\n;")) else { panic!("no view") };
    assert_eq!(view.name, ["a", "v"]);
    assert_eq!(view.columns, ["x", "Y"]);
    assert!(view.or_replace && !view.if_not_exists);
    assert_eq!(view.comment.as_deref(), Some("c"));
    assert_eq!(
        view.definition,
        "CREATE OR REPLACE VIEW a.v (x, \"Y\") COMMENT 'c' AS\n SELECT 1, 2 FROM t"
    );
    assert_eq!(view.query.tables[0].name, ["t"]);
}

#[test]
fn a_materialized_view_with_everything_is_read() {
    let sql = "CREATE OR REPLACE MATERIALIZED VIEW a.v (x BIGINT NOT NULL COMMENT 'c', y, z DECIMAL(10, 2), w NOT NULL)
        COMMENT 'about' PARTITIONED BY (y) TBLPROPERTIES ('k' = 'v') LOCATION 'loc'
        SCHEDULE CRON '0 6 * * *' AT TIME ZONE 'Europe/Berlin' AS SELECT * FROM t VERSION AS OF 3";
    let view = view(&format!("{sql} ;"));
    assert_eq!(view.mode, CreateMode::OrReplace);
    let columns: Vec<_> = view
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.data_type.as_deref(), c.not_null))
        .collect();
    assert_eq!(
        columns,
        [
            ("x", Some("BIGINT"), true),
            ("y", None, false),
            ("z", Some("DECIMAL(10, 2)"), false),
            ("w", None, true)
        ]
    );
    assert_eq!(view.columns[0].comment.as_deref(), Some("c"));
    assert_eq!(view.partitioned_by, ["y"]);
    assert_eq!((view.comment.as_deref(), view.location.as_deref()), (Some("about"), Some("loc")));
    assert_eq!(view.properties.len(), 1);
    assert_eq!(view.schedule, Some(Schedule::cron("0 6 * * *", "Europe/Berlin").unwrap()));
    assert_eq!(view.definition, sql);
    for (or, exists, mode) in [
        ("", "", CreateMode::Create),
        ("", "IF NOT EXISTS ", CreateMode::IfNotExists),
        ("OR REFRESH ", "", CreateMode::OrRefresh),
        ("OR REPLACE ", "", CreateMode::OrReplace),
    ] {
        assert_eq!(
            self::view(&format!("CREATE {or}MATERIALIZED VIEW {exists}v AS SELECT 1")).mode,
            mode
        );
    }
}

#[test]
fn schedules_are_read() {
    for (text, expected) in [
        ("EVERY 1 SECOND", Schedule::every(1)),
        ("EVERY 90 SECONDS", Schedule::every(90)),
        ("REFRESH EVERY 5 MINUTES", Schedule::every(300)),
        ("EVERY HOUR", Schedule::every(3_600)),
        ("EVERY 2 DAYS", Schedule::every(172_800)),
        ("EVERY 1 WEEK", Schedule::every(604_800)),
        ("CRON '*/5 * * * *'", Schedule::cron("*/5 * * * *", "UTC")),
        ("REFRESH CRON '0 */5 * * * *'", Schedule::cron("0 */5 * * * *", "UTC")),
    ] {
        let view = view(&format!("CREATE MATERIALIZED VIEW v SCHEDULE {text} AS SELECT 1"));
        assert_eq!(view.schedule, Some(expected.unwrap()), "{text}");
    }
    let start = "CREATE MATERIALIZED VIEW v SCHEDULE ".len() as u64 + 1;
    for (text, at, what) in [
        ("EVERY 0 SECONDS", 6, "at least 1 second"),
        ("EVERY 99999999999999999 DAYS", 6, "at most 100 years"),
        ("EVERY 1 MONTH", 8, "not a unit of time"),
        ("EVERY 1 MILLISECOND", 8, "not a unit of time"),
        ("EVERY -1 DAY", 6, "a whole number"),
        ("EVERY 1", 8, "SECONDS, MINUTES"),
        ("CRON 'x y'", 5, "not a cron expression"),
        ("CRON '0 6 * * *' AT TIME ZONE 'Mars'", 30, "time zone 'Mars'"),
        ("DAILY", 0, "EVERY or CRON"),
    ] {
        let error = error(&format!("CREATE MATERIALIZED VIEW v SCHEDULE {text} AS SELECT 1"));
        assert!(error.message.contains(what), "{text}: {error}");
        assert_eq!(error.column, start + at, "{text}: {error}");
    }
}

#[test]
fn what_materialized_views_cannot_have_is_refused_by_name() {
    for (clause, what) in [
        ("CLUSTERED BY (a)", "CLUSTERED BY"),
        ("FROZEN WHERE (a)", "FROZEN WHERE"),
        ("JOIN POLICY STRICT", "JOIN POLICY"),
        ("ON SCHEMA DRIFT FAIL", "ON SCHEMA DRIFT"),
        ("CONTRACT VERSION '1'", "CONTRACT VERSION"),
        ("REQUIRES CONTRACT a VERSION '1'", "REQUIRES CONTRACT"),
        ("PARAMETERS (a INT)", "PARAMETERS"),
        ("MISFIRE SKIP", "MISFIRE"),
        ("(a, CONSTRAINT c CHECK (a > 1))", "CHECK"),
        ("USING PARQUET", "USING PARQUET"),
        ("STORED AS PARQUET", "STORED AS"),
        ("(a INT DEFAULT 1)", "DEFAULT"),
        ("(a DOMAIN x.y)", "DOMAIN"),
    ] {
        let error = error(&format!("CREATE MATERIALIZED VIEW v {clause} AS SELECT 1"));
        assert!(error.message.contains(what), "{clause}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{clause}: {error}");
    }
    assert!(error("CREATE MATERIALIZED VIEW v").message.contains("Expected: AS"));
    assert!(error("CREATE MATERIALIZED VIEW IF NOT EXISTS v AS").message.contains("SELECT"));
    assert!(
        error("CREATE OR REFRESH MATERIALIZED VIEW IF NOT EXISTS v AS SELECT 1")
            .message
            .contains("exclude")
    );
}

#[test]
fn schemas_are_created_and_dropped() {
    for (sql, expected) in [
        ("CREATE SCHEMA s", "CreateSchema { name: [\"s\"], if_not_exists: false, comment: None }"),
        (
            "CREATE DATABASE IF NOT EXISTS whimbrel.S COMMENT 'c'",
            "CreateSchema { name: [\"whimbrel\", \"s\"], if_not_exists: true, comment: Some(\"c\") }",
        ),
        ("DROP SCHEMA s", "DropSchema { name: [\"s\"], if_exists: false, cascade: false }"),
        (
            "DROP DATABASE IF EXISTS s CASCADE",
            "DropSchema { name: [\"s\"], if_exists: true, cascade: true }",
        ),
        (
            "DROP SCHEMA s RESTRICT",
            "DropSchema { name: [\"s\"], if_exists: false, cascade: false }",
        ),
    ] {
        assert_eq!(format!("{:?}", parse(sql).unwrap()), expected);
    }
    assert!(error("DROP SCHEMA s PURGE").message.contains("end of statement"));
}

#[test]
fn objects_are_dropped() {
    for (sql, kind, if_exists, purge) in [
        ("DROP TABLE a.t", DropKind::Table, false, false),
        ("DROP EXTERNAL TABLE a.t", DropKind::Table, false, false),
        ("DROP TABLE IF EXISTS a.t PURGE", DropKind::Table, true, true),
        ("DROP VIEW a.t", DropKind::View, false, false),
        ("DROP MATERIALIZED VIEW a.t KEEP DATA", DropKind::MaterializedView, false, false),
        ("DROP MATERIALIZED VIEW IF EXISTS a.t PURGE", DropKind::MaterializedView, true, true),
    ] {
        let Ok(Statement::Drop(drop)) = parse(sql) else { panic!("{sql}: {:?}", parse(sql)) };
        assert_eq!((drop.kind, drop.if_exists, drop.purge), (kind, if_exists, purge), "{sql}");
        assert_eq!(drop.name, ["a", "t"]);
    }
    assert!(error("DROP TABLE t KEEP").message.contains("KEEP DATA"));
    assert!(error("DROP TABLE t PURG").hint.is_some());
    assert!(error("DROP TABLE t PURGE KEEP DATA").message.contains("found: KEEP"));
}

#[test]
fn a_generated_column_keeps_its_expression_as_it_was_written() {
    let table = table(
        "CREATE TABLE t (ts TIMESTAMP, day DATE NOT NULL GENERATED ALWAYS AS ( CAST(ts  AS DATE) ) \
         COMMENT 'x', h INT GENERATED ALWAYS AS (date_part('hour', ts)) STORED CHECK (h > 0))",
    );
    let generated: Vec<_> = table.columns.iter().map(|c| c.generated.as_deref()).collect();
    assert_eq!(generated, [None, Some("CAST(ts  AS DATE)"), Some("date_part('hour', ts)")]);
    assert_eq!(table.columns[1].comment.as_deref(), Some("x"));
    assert!(!table.columns[1].nullable);
    assert_eq!(table.checks.len(), 1);
    for (sql, column, what) in [
        ("CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a + ?))", 55, "parameters"),
        (
            "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS ((SELECT x FROM u)))",
            51,
            "other tables",
        ),
        (
            "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a) GENERATED ALWAYS AS (a))",
            54,
            "GENERATED",
        ),
        ("CREATE TABLE t (a INT, b INT GENERATED AS (a))", 40, "ALWAYS"),
        ("CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS a)", 50, "("),
    ] {
        let error = error(sql);
        assert!(error.message.contains(what), "{sql}: {error}");
        assert_eq!((error.line, error.column), (1, column), "{sql}: {error}");
    }
}
