use proptest::prelude::*;

use super::*;
use crate::{parse, statement::Statement};

fn query(sql: &str) -> Query {
    match parse(sql) {
        Ok(Statement::Query(query)) => query,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn tables_get_their_schema() {
    for (sql, expected) in [
        ("select * from t", "SELECT * FROM main.t"),
        ("SELECT * FROM T", "SELECT * FROM main.t"),
        ("SELECT * FROM \"T\"", "SELECT * FROM main.\"T\""),
        ("SELECT * FROM \"select\"", "SELECT * FROM main.\"select\""),
        ("SELECT * FROM \"a b\" AS c", "SELECT * FROM main.\"a b\" AS c"),
        ("SELECT * FROM a.t", "SELECT * FROM a.t"),
        ("SELECT * FROM whimbrel.a.t", "SELECT * FROM whimbrel.a.t"),
        ("TABLE t", "SELECT * FROM main.t"),
        (
            "WITH c AS (SELECT * FROM c) SELECT * FROM c",
            "WITH c AS (SELECT * FROM main.c) SELECT * FROM c",
        ),
        ("SELECT * FROM t VERSION AS OF 3", "SELECT * FROM main.t VERSION AS OF 3 AS t"),
        (
            "SELECT * FROM \"T\" TIMESTAMP AS OF 'it''s' x",
            "SELECT * FROM main.\"T\" TIMESTAMP AS OF 'it''s' x",
        ),
        ("SELECT * FROM generate_series(1, 2)", "SELECT * FROM generate_series(1, 2)"),
    ] {
        assert_eq!(qualify(&query(sql), "main"), expected);
        assert_eq!(qualify(&query(expected), "other"), expected, "qualified text stays as it is");
    }
    assert_eq!(qualify(&query("SELECT * FROM t"), "Big"), "SELECT * FROM \"Big\".t");
}

#[test]
fn quotes_in_texts_and_names_survive() {
    for text in ["''", "''''", "''''''", "'\\'''", "'it''s'", "'a''''b'", "'\\'"] {
        let sql = format!("SELECT {text} AS \"q\"\"q\" FROM t WHERE a LIKE {text}");
        assert_eq!(qualify(&query(&sql), "main"), sql.replace(" t ", " main.t "));
    }
    for name in ["\"a\"\"\"\"b\"", "\"a\\\"\"b\"", "`a````b`"] {
        let error = parse(&format!("SELECT {name}")).unwrap_err();
        assert_eq!(error.column, 8, "{error}");
    }
}

#[test]
fn equal_meanings_have_one_normal_form() {
    for (a, b) in [
        ("SELECT a, b FROM t WHERE x = 'Y'", "select  A ,\n b -- c\nfrom /* d */ T where X='Y';"),
        ("SELECT count(*) AS n FROM t AS x", "SELECT COUNT(*) as N FROM t X"),
        ("SELECT /*+ hint */ 1", "SELECT 1"),
        ("WITH c AS (SELECT 1) SELECT * FROM c", "with C as (select 1) select * from C"),
        ("SELECT * FROM t VERSION AS OF 3 AS t", "SELECT * FROM t FOR VERSION AS OF 3"),
        ("TABLE t", "SELECT * FROM t"),
    ] {
        assert_eq!(normal_form(&query(a)), normal_form(&query(b)));
    }
    for (a, b) in [
        ("SELECT 'a'", "SELECT 'A'"),
        ("SELECT ''''", "SELECT ''''''"),
        ("SELECT \"a\" FROM t", "SELECT \"A\" FROM t"),
        ("SELECT struct(1 AS a)", "SELECT struct(1 AS A)"),
        ("SELECT * FROM t VERSION AS OF 3", "SELECT * FROM t VERSION AS OF 4"),
        ("SELECT * FROM t VERSION AS OF 3", "SELECT * FROM t"),
        ("SELECT 1 + 2 * 3", "SELECT (1 + 2) * 3"),
        ("SELECT * FROM t UNION SELECT * FROM u", "SELECT * FROM t UNION ALL SELECT * FROM u"),
    ] {
        assert_ne!(normal_form(&query(a)), normal_form(&query(b)));
    }
}

/// Texts of queries from parts that matter for names, scopes and quoting.
fn a_query() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-cT]{1,2}",
        "[a-c \"'.;?-]{1,4}"
            .prop_map(|name| name.replace("\"\"", "a"))
            .prop_map(|name| format!("\"{}\"", name.replace('"', "\"\""))),
        Just("\"select\"".to_owned()),
        Just("\"order\"".to_owned()),
        Just("date".to_owned()),
    ];
    let name = prop_oneof![
        3 => part.clone(),
        1 => (part.clone(), part).prop_map(|(schema, name)| format!("{schema}.{name}")),
    ];
    let travel = prop_oneof![
        3 => Just(String::new()),
        1 => (0..20_i64).prop_map(|version| format!(" VERSION AS OF {version}")),
        1 => "[0-9: '-]{0,6}".prop_map(|text| format!(" TIMESTAMP AS OF '{}'", text.replace('\'', "''"))),
    ];
    let alias = prop_oneof![Just(""), Just(" x"), Just(" AS Y"), Just(" AS \"z z\"")];
    let table =
        (name, travel, alias).prop_map(|(name, travel, alias)| format!("{name}{travel}{alias}"));
    let value = prop_oneof![
        Just("1".to_owned()),
        Just("-1.5e3".to_owned()),
        Just("a".to_owned()),
        Just("\"B b\"".to_owned()),
        Just("'it''s'".to_owned()),
        Just("E'a\\nb'".to_owned()),
        Just("N'n''n'".to_owned()),
        Just("$x$ ' $x$".to_owned()),
        "['a\\\\; $?]{0,6}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
        Just("DATE '2026-01-31'".to_owned()),
        Just("INTERVAL '1' DAY".to_owned()),
        Just("X'AB'".to_owned()),
        Just("NULL".to_owned()),
        Just("$1".to_owned()),
        Just("[1, 2]".to_owned()),
        Just("count(DISTINCT a) FILTER (WHERE a > 1)".to_owned()),
        Just("row_number() OVER (PARTITION BY a ORDER BY b DESC NULLS LAST ROWS BETWEEN 6 PRECEDING AND CURRENT ROW)".to_owned()),
    ];
    let expr = value.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (
                inner.clone(),
                inner.clone(),
                prop_oneof![
                    Just("+"),
                    Just("AND"),
                    Just("="),
                    Just("||"),
                    Just("<"),
                    Just("LIKE"),
                    Just("IS DISTINCT FROM")
                ]
            )
                .prop_map(|(a, b, op)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("CAST({a} AS DECIMAL(10, 2))")),
            inner.clone().prop_map(|a| format!("{a}::BIGINT")),
            inner.clone().prop_map(|a| format!("NOT ({a})")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("CASE WHEN {a} THEN {b} ELSE 1 END")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} NOT IN ({b}, 2))")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} BETWEEN {b} AND 3)")),
            inner.clone().prop_map(|a| format!("coalesce({a}, EXTRACT(YEAR FROM b))")),
            inner.prop_map(|a| format!("substring({a}, 1, 2)")),
        ]
    });
    let select = (
        expr.clone(),
        prop::collection::vec(table, 0..3),
        prop::option::of(expr),
        prop_oneof![
            Just(""),
            Just(" GROUP BY a HAVING true"),
            Just(" ORDER BY 1 DESC"),
            Just(" LIMIT 3 OFFSET 1")
        ],
    )
        .prop_map(|(expr, tables, filter, tail)| {
            let from = if tables.is_empty() {
                String::new()
            } else {
                format!(" FROM {}", tables.join(" CROSS JOIN "))
            };
            let filter = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
            format!("SELECT {expr} AS V{from}{filter}{tail}")
        });
    select.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("SELECT * FROM ({a}) l UNION ALL ({b})")),
            (inner.clone(), inner.clone(), "[a-c]", any::<bool>()).prop_map(
                |(a, b, name, recursive)| {
                    format!(
                        "WITH {}{name} AS ({a}), d AS (SELECT * FROM {name}, e) ({b})",
                        if recursive { "RECURSIVE " } else { "" }
                    )
                }
            ),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(
                "SELECT * FROM ({a}) s LEFT JOIN LATERAL ({b}) r ON s.v = r.v"
            )),
            (inner.clone(), inner)
                .prop_map(|(a, b)| format!("SELECT ({a}) FROM t WHERE EXISTS ({b})")),
        ]
    })
}

/// A generated query; the one mistake that the generator can make is no case.
fn generated(sql: &str) -> Result<Query, TestCaseError> {
    match parse(sql) {
        Ok(Statement::Query(query)) => Ok(query),
        Err(error) if error.message.contains("is a query of WITH") => {
            Err(TestCaseError::reject("a version of a WITH query"))
        }
        other => Err(TestCaseError::fail(format!("{sql}: {other:?}"))),
    }
}

proptest! {
    #[test]
    fn qualified_text_names_the_same_tables(sql in a_query()) {
        let query = generated(&sql)?;
        let text = qualify(&query, "Main");
        let again = match parse(&text) {
            Ok(Statement::Query(again)) => again,
            other => return Err(TestCaseError::fail(format!("{sql}\n{text}: {other:?}"))),
        };
        let full = |query: &Query| -> std::collections::BTreeSet<String> {
            query.tables.iter().map(|table| {
                let mut parts = table.name.clone();
                if parts.len() == 1 {
                    parts.insert(0, "Main".to_owned());
                }
                format!("{parts:?} {:?}", table.at)
            }).collect()
        };
        prop_assert_eq!(full(&query), full(&again), "{}\n{}", sql, text);
        prop_assert!(again.tables.iter().all(|table| table.name.len() >= 2), "{}", text);
        prop_assert_eq!(qualify(&again, "other"), text);
    }

    #[test]
    fn normal_form_is_stable(sql in a_query()) {
        let query = generated(&sql)?;
        let text = normal_form(&query);
        let again = match parse(&text) {
            Ok(Statement::Query(again)) => again,
            other => return Err(TestCaseError::fail(format!("{sql}\n{text}: {other:?}"))),
        };
        prop_assert_eq!(normal_form(&again), text);
        let spaced = sql.replace(") ", ")\n /* ; */ ");
        if let Ok(Statement::Query(spaced)) = parse(&spaced) {
            prop_assert_eq!(normal_form(&spaced), normal_form(&query));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}", sql in a_query(), cut in 0..200_usize) {
        let _ = parse(&text);
        let _ = crate::parse_script(&text);
        let broken: String = sql.chars().take(cut).chain(text.chars()).collect();
        if let Err(error) = parse(&broken) {
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}

#[test]
fn views_are_written_where_they_are_read() {
    let views = BTreeMap::from([("v".to_owned(), "SELECT a FROM main.t".to_owned())]);
    for (sql, expected) in [
        ("SELECT * FROM v", "SELECT * FROM (SELECT a FROM main.t) AS \"v\""),
        (
            "SELECT x.a FROM v x JOIN u ON x.a = u.a",
            "SELECT x.a FROM (SELECT a FROM main.t) x JOIN s.u ON x.a = u.a",
        ),
        ("SELECT * FROM s.v", "SELECT * FROM s.v"),
        ("WITH v AS (SELECT 1) SELECT * FROM v", "WITH v AS (SELECT 1) SELECT * FROM v"),
        (
            "SELECT a FROM u WHERE a IN (SELECT a FROM v)",
            "SELECT a FROM s.u WHERE a IN (SELECT a FROM (SELECT a FROM main.t) AS \"v\")",
        ),
    ] {
        let Ok(Statement::Query(query)) = parse(sql) else { panic!("{sql}") };
        let text = inlined(&query, "s", &views);
        assert_eq!(text, expected);
        assert!(parse(&text).is_ok(), "{text}");
    }
    let query = crate::parse_flow_query("SELECT * FROM STREAM v").expect("a flow");
    assert_eq!(inlined(&query, "s", &views), "SELECT * FROM (SELECT a FROM main.t) AS v");
}
