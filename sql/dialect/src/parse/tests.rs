use super::*;

/// Each form is read, and what it says shows in the debug text of the statement.
fn assert_says(sql: &str, expected: &[&str]) {
    let statement = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let text = format!("{statement:?}");
    for part in expected {
        assert!(text.contains(part), "{sql}\nlacks {part}\nin {text}");
    }
}

fn error(sql: &str) -> SyntaxError {
    match parse(sql) {
        Ok(statement) => panic!("{sql} was read as {statement:?}"),
        Err(error) => error,
    }
}

#[test]
fn queries_are_read() {
    for sql in [
        "SELECT 1",
        "select 1;",
        "SELECT 1 ; -- done",
        "/* a /* nested */ one */ SELECT 1 -- end",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "VALUES (1, 'a'), (2, 'b')",
        "TABLE t",
        "TABLE a.t ORDER BY 1 LIMIT 3",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT 1 UNION ALL TABLE t",
        "FROM t SELECT a",
        "SELECT ';', '--', '/*', $$;$$, \";\" FROM t",
    ] {
        assert!(matches!(parse(sql), Ok(Statement::Query(_))), "{sql}: {:?}", parse(sql));
    }
}

#[test]
fn a_plan_of_substrait_is_a_statement() {
    assert_says("substrait 'GiI='", &["Substrait", "GiI="]);
    error("SUBSTRAIT GiI=");
    error("SUBSTRAIT 'a' 'b'");
}

#[test]
fn table_queries_keep_what_follows() {
    let Ok(Statement::Query(query)) = parse("TABLE a.\"T\" ORDER BY 1 LIMIT 3") else {
        panic!("no query")
    };
    assert_eq!(query.ast.to_string(), "SELECT * FROM a.\"T\" ORDER BY 1 LIMIT 3");
    assert_says("INSERT INTO t (TABLE u)", &["columns: []", "name: [\"u\"]"]);
    assert_says("SELECT ALL table FROM t", &["name: [\"t\"]"]);
}

#[test]
fn exactly_one_statement_is_read() {
    for sql in ["", "  \n", ";", ";;", "-- only a comment", "/* only */ ;"] {
        assert_eq!(error(sql).kind, SyntaxErrorKind::Empty, "{sql:?}");
    }
    let many = error("SELECT 1;\n  SELECT 2");
    assert_eq!((many.kind, many.line, many.column), (SyntaxErrorKind::Many, 2, 3));
    assert_eq!(many.code(), model::code::Code::InvalidArgument);
}

#[test]
fn errors_point_at_the_word() {
    // (text, line, column, part of the message)
    for (sql, line, column, message) in [
        ("SELCT 1", 1, 1, "SELCT"),
        ("SELECT *\nFROM t\nWHERE x = = 2", 3, 11, "found: ="),
        ("SELECT * FORM t", 1, 10, "found: FORM"),
        ("SELECT (1", 1, 10, "found: EOF"),
        ("SELECT 'abc", 1, 8, "Unterminated string literal"),
        ("SELECT * FROM", 1, 14, "found: EOF"),
        ("SELECT 1 FROM t extra words", 1, 23, "end of statement, found: words"),
        ("42", 1, 1, "found: 42"),
        ("CREATE TABEL t (a INT)", 1, 8, "found: TABEL"),
        ("CREATE TABLE t (a INT b)", 1, 23, "found: b"),
        ("CREATE TABLE t (a INT,)", 1, 23, "found: )"),
        ("DROP t", 1, 6, "found: t"),
        ("REFRESH MATERIALIZED v", 1, 22, "v"),
        ("REFRESH MATERIALIZED VIEW v FUL", 1, 29, "found: FUL"),
        ("INSERT t VALUES (1)", 1, 8, "INTO or OVERWRITE"),
        ("SELECT 'ä', 'ö' FROM t WHERE ?? 1", 1, 31, "found: $2"),
        ("SHOW TABLES FROM 1", 1, 18, "found: 1"),
        ("SET x", 1, 6, "= or TO"),
        ("EXPLAIN", 1, 8, "SQL statement"),
        (
            "CREATE MATERIALIZED VIEW v\nSCHEDULE CRON 'nonsense' AS SELECT 1",
            2,
            15,
            "not a cron expression",
        ),
        ("WAIT FOR JOB", 1, 13, "id of a job"),
    ] {
        let error = error(sql);
        assert_eq!((error.line, error.column), (line, column), "{sql}: {error}");
        assert!(error.message.contains(message), "{sql}: {error}");
        assert!(!error.message.contains(" at Line"), "{sql}: {error}");
        assert_eq!(error.kind, SyntaxErrorKind::Syntax, "{sql}");
    }
}

#[test]
fn misspelled_words_get_a_hint() {
    for (sql, meant) in [
        ("SELCT 1", "SELECT"),
        ("SELEC 1", "SELECT"),
        ("CRAETE TABLE t (a INT)", "CREATE"),
        ("INSRT INTO t VALUES (1)", "INSERT"),
        ("REFERSH v", "REFRESH"),
        ("CREATE TABEL t (a INT)", "TABLE"),
        ("CREATE MATERIALISED VIEW v AS SELECT 1", "MATERIALIZED VIEW"),
        ("SELECT * FORM t", "FROM"),
        ("SELECT a FORM t", "FROM"),
        ("SELECT a FROM t WEHRE a = 1", "WHERE"),
        ("SELECT a FROM t GRUOP BY a", "GROUP"),
        ("CREATE TABLE t (a INT) LOCATON 'x'", "LOCATION"),
        ("CREATE TABLE t (a INT) PARTITION BY (a)", "PARTITIONED BY"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (b)", "did you mean a"),
        ("DROP VIEV v", "VIEW"),
        ("REFRESH v WITH UPSTREEM", "UPSTREAM"),
        ("SHOW TABELS", "TABLES"),
    ] {
        let error = error(sql);
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains(meant)), "{sql}: {error:?}");
    }
}

#[test]
fn an_error_displays_its_place() {
    let shown = error("SELECT 1 +").to_string();
    assert!(shown.starts_with("syntax error at line 1, column 11: Expected: "), "{shown}");
    assert!(
        error("UNLOAD t")
            .to_string()
            .starts_with("line 1, column 1: UNLOAD is not supported in this version; ")
    );
}

#[test]
fn statements_of_other_versions_are_refused_by_name() {
    for (sql, name) in [
        ("COPY INTO t FROM 'x'", "COPY"),
        ("BEGIN", "BEGIN"),
        ("START TRANSACTION", "START"),
        ("COMMIT", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("USE main", "USE"),
        ("CALL p()", "CALL"),
        ("PREPARE p AS SELECT 1", "PREPARE"),
        ("ANALYZE TABLE t", "ANALYZE"),
        ("RESET x", "RESET"),
        ("PLAN REFRESH v", "PLAN"),
        ("CREATE PRIVATE VIEW v AS SELECT 1", "CREATE PRIVATE"),
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", "CREATE FUNCTION"),
        ("CREATE INDEX i ON t (a)", "CREATE INDEX"),
        ("CREATE TEMPORARY SCHEMA v", "CREATE TEMPORARY"),
        ("CREATE TEMP TABLE t (a INT)", "CREATE TEMP"),
        ("CREATE OR REPLACE SCHEMA s", "CREATE OR REPLACE SCHEMA"),
        ("DROP FUNCTION f", "DROP FUNCTION"),
        ("DROP TABLE a, b", "DROP of several objects"),
        ("DROP TABLE a CASCADE", "DROP … CASCADE"),
        ("REFRESH v FOR (a => 1)", "REFRESH … FOR"),
        ("WAIT FOR JOB ?", "id of a job"),
        ("EXPLAIN FORMAT TREE SELECT 1", "EXPLAIN FORMAT"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "EXPLAIN ANALYZE"),
        ("EXPLAIN ANALYZE UPDATE t SET a = 1", "EXPLAIN ANALYZE"),
        ("INSERT INTO t DEFAULT VALUES", "DEFAULT VALUES"),
        ("INSERT INTO t DEFAULT VALUES", "DEFAULT VALUES"),
        ("INSERT INTO t REPLACE USING (a) SELECT 1", "REPLACE USING"),
        ("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING", "ON CONFLICT"),
        ("INSERT INTO t SELECT 1 RETURNING a", "RETURNING"),
        ("INSERT OVERWRITE DIRECTORY 'x' SELECT 1", "DIRECTORY"),
        ("SHOW TABLES LIKE 'a%'", "LIKE"),
        ("SHOW FUNCTIONS", "SHOW FUNCTIONS"),
        ("DESCRIBE EXTENDED t", "DESCRIBE EXTENDED"),
        ("DESCRIBE SELECT 1", "DESCRIBE of a query"),
        ("SET SESSION x = 1", "SET SESSION"),
    ] {
        let error = error(sql);
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{sql}: {error}");
        assert_eq!(error.code(), model::code::Code::Unimplemented);
        assert!(error.message.contains(name), "{sql}: {error}");
    }
}

#[test]
fn every_refused_head_is_refused_by_name() {
    for head in refused::heads() {
        let error = error(&format!("{head} x"));
        assert_eq!(error.kind, SyntaxErrorKind::Unsupported, "{error}");
        assert!(
            error.message.starts_with(&format!("{head} is not supported in this version")),
            "{error}"
        );
    }
}

#[test]
fn inserts_are_read() {
    for (sql, expected) in [
        (
            "INSERT INTO t VALUES (1, 'a')",
            &["target: [\"t\"]", "columns: []", "old_rows: Stay"][..],
        ),
        (
            "insert into table Main.T (A, \"B\") values (?, ?)",
            &["target: [\"main\", \"t\"]", "columns: [\"a\", \"B\"]", "parameters: 2"],
        ),
        ("INSERT OVERWRITE t SELECT * FROM u", &["old_rows: Go", "name: [\"u\"]"]),
        ("INSERT OVERWRITE TABLE t TABLE u", &["old_rows: Go"]),
        ("INSERT OVERWRITE INTO t SELECT 1", &["old_rows: Go"]),
        ("INSERT INTO t (SELECT 1)", &["columns: []"]),
        ("INSERT INTO t (a) (SELECT 1)", &["columns: [\"a\"]"]),
        (
            "INSERT INTO t WITH c AS (SELECT * FROM u) SELECT * FROM c",
            &["tables: [TableUse { name: [\"u\"]"],
        ),
    ] {
        assert_says(sql, expected);
    }
    assert!(error("INSERT INTO t (a, a) VALUES (1, 2)").message.contains("named twice"));
    assert!(error("WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c").hint.is_some());
    assert!(error("INSERT INTO t VERSION AS OF 3 VALUES (1)").message.contains("time travel"));
}

#[test]
fn explain_takes_any_statement() {
    assert_says("EXPLAIN SELECT 1", &["analyze: false, verbose: false, statement: Query"]);
    assert_says("EXPLAIN VERBOSE ANALYZE SELECT 1", &["analyze: true, verbose: true"]);
    assert_says("EXPLAIN (SELECT 1)", &["statement: Query"]);
    assert_says("EXPLAIN INSERT INTO t VALUES (1)", &["statement: Insert"]);
    assert_says(
        "EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT 1",
        &["definition: \"CREATE MATERIALIZED VIEW v AS SELECT 1\""],
    );
    assert_says("EXPLAIN REFRESH v", &["ExplainRefresh"]);
    assert!(error("EXPLAIN EXPLAIN SELECT 1").message.contains("itself"));
}

#[test]
fn parameters_are_numbered_and_counted() {
    for (sql, count) in [
        ("SELECT 1", 0),
        ("SELECT ?, ?", 2),
        ("SELECT '?', \"?\", ? -- ?\n /* ? */", 1),
        ("SELECT $2 + $2", 2),
        ("SELECT $$?$$, ?", 1),
        ("SELECT * FROM t WHERE a IN (?, ?) LIMIT ?", 3),
    ] {
        let Ok(Statement::Query(query)) = parse(sql) else { panic!("{sql}: {:?}", parse(sql)) };
        assert_eq!(query.parameters, count, "{sql}");
    }
    let Ok(Statement::Query(query)) = parse("SELECT ? + ?, '?'") else { panic!("no query") };
    assert_eq!(query.ast.to_string(), "SELECT $1 + $2, '?'");
    for (sql, column) in [
        ("SELECT ?, $1", 11),
        ("SELECT $1, ?", 12),
        ("SELECT $0", 8),
        ("SELECT $name", 8),
        ("SELECT ?1", 8),
        ("SELECT $99999999999999999999", 8),
    ] {
        assert_eq!(error(sql).column, column, "{sql}: {}", error(sql));
    }
    assert_eq!(error("SELECT :name").kind, SyntaxErrorKind::Unsupported);
    assert_eq!(error("CREATE VIEW v AS SELECT ?").column, 25);
    assert!(error("CREATE MATERIALIZED VIEW v AS SELECT $1").message.contains("parameters"));
}

#[test]
fn scripts_are_cut_at_semicolons() {
    let text = "-- first\nCREATE VIEW a AS\n  SELECT ';' AS x; ;\n\n/* ; */ CREATE MATERIALIZED VIEW b AS SELECT $$;$$ FROM a -- ;\n;\nSELECT 1";
    let script = parse_script(text).unwrap();
    let parts: Vec<_> = script.iter().map(|s| (s.line, s.text.as_str())).collect();
    assert_eq!(
        parts,
        [
            (2, "CREATE VIEW a AS\n  SELECT ';' AS x"),
            (5, "CREATE MATERIALIZED VIEW b AS SELECT $$;$$ FROM a"),
            (7, "SELECT 1"),
        ]
    );
    let Statement::CreateMaterializedView(view) = &script[1].statement else { panic!("no view") };
    assert_eq!(view.definition, script[1].text);
    assert!(parse_script(" -- nothing\n").unwrap().is_empty());
    let windows = parse_script("SELECT 1;\r\nSELECT 2;\r\n").unwrap();
    assert_eq!(
        windows.iter().map(|s| (s.line, s.text.as_str())).collect::<Vec<_>>(),
        [(1, "SELECT 1"), (2, "SELECT 2")]
    );
}

#[test]
fn errors_of_scripts_have_positions_of_the_file() {
    let error = parse_script("SELECT 1;\nSELECT 2;\n  SELECT 1 1;").unwrap_err();
    assert_eq!((error.line, error.column), (3, 12), "{error}");
    let error =
        parse_script("SELECT 1;\nCREATE MATERIALIZED VIEW v\n  SCHEDULE CRON 'x' AS SELECT 1")
            .unwrap_err();
    assert_eq!((error.line, error.column), (3, 17), "{error}");
    let error = parse_script("SELECT 1;\n\n SELECT 'open").unwrap_err();
    assert_eq!((error.line, error.column), (3, 9), "{error}");
}

#[test]
fn data_types_are_read_alone() {
    assert_eq!(parse_data_type("decimal(10, 2)").unwrap().to_string(), "DECIMAL(10,2)");
    for (written, read) in [
        ("map<string, int>", "Map(STRING, INT)"),
        ("MAP<STRING,MAP<INT,DATE>>", "Map(STRING, Map(INT, DATE))"),
        ("array<map<int, array<int>>>", "ARRAY<Map(INT, ARRAY<INT>)>"),
        ("struct<a map<int, int>, b int>", "STRUCT<a Map(INT, INT), b INT>"),
        ("map<int, int>[]", "Map(INT, INT)[]"),
        ("Map(INT, INT)", "Map(INT, INT)"),
    ] {
        assert_eq!(parse_data_type(written).unwrap().to_string(), read, "{written}");
    }
    for wrong in ["map<int>", "map<int, int", "map<int, int>>", "map", "array<map<int, int>"] {
        assert!(parse_data_type(wrong).is_err(), "{wrong}");
    }
    assert!(parse_data_type("INT INT").is_err());
    assert!(parse_data_type("").is_err());
}

/// Parses in a thread with the stack of a tokio worker.
fn parse_on_small_stack(sql: String) -> Result<(), SyntaxError> {
    let parse = move || {
        let statement = parse(&sql)?;
        if let Statement::Query(query) = &statement {
            drop(query.clone());
            drop(crate::qualify(query, "main"));
            drop(crate::normal_form(query));
        }
        drop(statement.clone());
        Ok(())
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(parse).unwrap().join().unwrap()
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let nested = |open: &str, inner: &str, close: &str, n: usize| {
        format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n))
    };
    for sql in [
        nested("(", "1", ")", 5_000),
        nested("(SELECT ", "1", ")", 5_000),
        nested("NOT ", "true", "", 5_000),
        nested("-", "1", "", 5_000).replace("--", "- -"),
        nested("abs(", "1", ")", 5_000),
        nested("CASE WHEN ", "true", " THEN 1 END", 5_000),
        nested("[", "1", "]", 5_000),
        nested("ARRAY[", "1", "]", 5_000),
        format!("SELECT * FROM {}t{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(5_000), ")".repeat(5_000)),
        format!("{}SELECT 1{}", "WITH a AS (".repeat(5_000), ") SELECT 1".repeat(5_000)),
        format!("CREATE TABLE t (a {}INT{})", "ARRAY<".repeat(5_000), ">".repeat(5_000)),
        format!("SELECT {}1", "EXISTS (SELECT ".repeat(5_000)),
    ] {
        let error = parse_on_small_stack(sql.clone()).unwrap_err();
        assert!(error.line == 1 && error.column >= 1, "{}: {error}", &sql[..40]);
    }
}

#[test]
fn long_chains_are_read_or_refused() {
    for n in [490, 1_490, 100_000] {
        for sql in [
            format!("SELECT 1{}", " + 1".repeat(n)),
            format!("UPDATE t SET a = 1{}", " + 1".repeat(n)),
            format!("DELETE FROM t WHERE a = 0{}", " OR a = 1".repeat(n)),
            format!("MERGE INTO t USING u ON a{} WHEN MATCHED THEN DELETE", " AND a".repeat(n)),
            format!("INSERT INTO t REPLACE WHERE a{} SELECT 1", " OR a".repeat(n)),
            format!("OPTIMIZE t WHERE a = 0{}", " OR a = 1".repeat(n)),
            format!("ALTER TABLE t ADD CONSTRAINT c CHECK (a{})", " OR a".repeat(n)),
            format!("SELECT 1 FROM t WHERE a = 0{}", " OR a = 1".repeat(n)),
            format!("SELECT 1{}", "::INT".repeat(n)),
            format!("SELECT a{}", " IS NULL".repeat(n)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n)),
            format!("SELECT a{}", "[1]".repeat(n)),
            format!("SELECT * FROM t{}", " CROSS JOIN t".repeat(n)),
            format!("SELECT a{}", ".b".repeat(n)),
            format!("SELECT a{}", " + CASE WHEN a THEN b END".repeat(n)),
            format!("SELECT a{}", " AND (a)".repeat(n)),
        ] {
            let result = parse_on_small_stack(sql.clone());
            let too_long_for_anybody = n == 100_000;
            let dotted = sql.starts_with("SELECT a.b");
            assert!(
                if too_long_for_anybody {
                    result.is_err()
                } else {
                    n > 490 || dotted || result.is_ok()
                },
                "{}",
                &sql[..40]
            );
        }
    }
    assert!(parse(&format!("SELECT 1{}", " + 1".repeat(1_400))).is_ok());
    let wide = format!("INSERT INTO t VALUES {}", vec!["(1, -1, 'a' || 'b')"; 20_000].join(", "));
    assert!(parse(&wide).is_ok());
    let branches = format!("SELECT CASE a{} ELSE 0 END FROM t", " WHEN 1 THEN -1".repeat(10_000));
    assert!(parse(&branches).is_ok());
}

#[test]
fn nested_mistakes_cost_no_more_than_their_length() {
    // The parser tries twice what it cannot read, at each level of nesting.
    let begin = std::time::Instant::now();
    for n in [8, 16, 24, 48] {
        for (open, inner, close) in [
            ("(", "1", ")"),
            ("f(", "1", ")"),
            ("((1) + ", "1", ")"),
            ("CASE WHEN a THEN ", "1", " END"),
            ("CASE a WHEN ", "1", " THEN 1 END"),
            ("[", "1", "]"),
            ("ARRAY[", "1", "]"),
            ("{'a': ", "1", "}"),
            ("(a, ", "1", ")"),
            ("struct(", "1", ")"),
            ("CAST(", "1", " AS INT)"),
            ("TRY_CAST(", "1", " AS INT)"),
            ("EXTRACT(DAY FROM ", "1", ")"),
            ("FLOOR(", "1", ")"),
            ("SUBSTRING(", "1", " FROM 1)"),
            ("TRIM(", "1", ")"),
            ("EXISTS (SELECT ", "1", ")"),
            ("INTERVAL ", "1", " DAY"),
            ("f(x -> ", "1", ")"),
            ("a IN (", "1", ")"),
            ("NOT ", "1", ""),
        ] {
            for inner in [inner, "", "1 1"] {
                let _ = parse(&format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n)));
                let _ = parse(&format!("SELECT {}{inner}", open.repeat(n)));
            }
        }
        for (open, inner, close) in [
            ("(", "t", ")"),
            ("(SELECT * FROM ", "t", ") a"),
            ("(a JOIN ", "t", " ON true)"),
            ("(b, ", "t", ")"),
        ] {
            let _ = parse(&format!("SELECT * FROM {}{inner}{}", open.repeat(n), close.repeat(n)));
            let _ = parse(&format!("SELECT * FROM {}{inner}", open.repeat(n)));
        }
    }
    assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{:?}", begin.elapsed());
    let error = error(&format!("SELECT {}1", "CAST(".repeat(20)));
    assert_eq!(error.line, 1);
    assert!(error.column > 100, "{error}");
}
