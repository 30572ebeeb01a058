use super::*;

fn rewritten(sql: &str) -> (String, Vec<String>) {
    let mut statement = dialect::parse(sql).unwrap();
    rewrite(&mut statement).unwrap();
    let Statement::Query(query) = statement else { panic!("no query: {sql}") };
    let tables = query.tables.iter().map(|table| table.name.join(".")).collect();
    (query.ast.to_string(), tables)
}

#[test]
fn tables_of_the_catalog_are_found_with_and_without_their_schema() {
    for sql in
        ["SELECT relname FROM pg_class", "SELECT relname FROM pg_catalog.pg_class AS pg_class"]
    {
        let (text, tables) = rewritten(sql);
        assert_eq!(tables, ["pg_catalog.pg_class"], "{sql}");
        assert!(text.contains("pg_catalog.\"pg_class\" AS pg_class"), "{text}");
    }
    assert_eq!(rewritten("SELECT 1 FROM orders").1, ["orders"]);
    assert_eq!(rewritten("SELECT 1 FROM sales.pg_class").1, ["sales.pg_class"]);
    assert_eq!(rewritten("WITH pg_class AS (SELECT 1 AS a) SELECT a FROM pg_class").1, [""; 0]);
}

#[test]
fn what_only_postgres_means_is_put_into_other_words() {
    for (sql, expected) in [
        (
            "SELECT relname OPERATOR(pg_catalog.~) '^(a)$' COLLATE pg_catalog.default FROM pg_class",
            "relname ~ '^(a)$'",
        ),
        ("SELECT 'main.t'::regclass::oid", "whimbrel_regclass('main.t')::BIGINT"),
        ("SELECT o.tableoid FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod", "SELECT 2616"),
        ("SELECT c.oid::pg_catalog.regclass FROM pg_class c", "whimbrel_regclass_name(c.oid)"),
        ("SELECT 1 = ANY('{a,b}'::text[])", "ANY(ARRAY['a', 'b'])"),
        ("SELECT pg_catalog.version()", "SELECT version()"),
        ("SELECT current_schema, current_user", "current_schema(), current_user()"),
        (
            "SELECT (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adnum = a.attnum) FROM pg_attribute a",
            "SELECT NULL FROM",
        ),
        (
            "SELECT (SELECT c.relname FROM pg_class c WHERE c.oid = i.indexrelid) FROM pg_index i",
            "(SELECT max(c.relname) FROM",
        ),
        (
            "SELECT CASE WHEN t.typtype = 'd' THEN (SELECT 1) ELSE 7 END FROM pg_type t",
            "SELECT 7 FROM",
        ),
        ("SELECT CASE WHEN typtype = 'c' THEN 1 END FROM pg_type t", "SELECT NULL FROM"),
        (
            "SELECT CASE WHEN typtype = 'b' THEN 1 WHEN typtype = 'd' THEN 2 END FROM pg_type t",
            "CASE WHEN typtype = 'b' THEN 1 END",
        ),
    ] {
        let (text, _) = rewritten(sql);
        assert!(text.contains(expected), "{sql}\nbecame {text}");
    }
}

#[test]
fn parameters_of_types_that_only_postgres_has_are_known() {
    for (sql, expected) in [
        ("SELECT 1 FROM pg_type WHERE oid = ANY($1::oid[])", &[(1, 1028)][..]),
        ("SELECT $2::oid[], $1::int[]", &[(2, 1028)]),
        ("SELECT $1::text[]", &[]),
    ] {
        let mut statement = dialect::parse(sql).unwrap();
        assert_eq!(rewrite(&mut statement).unwrap(), expected, "{sql}");
    }
}

#[test]
fn what_means_something_to_us_stays() {
    for sql in [
        "SELECT a COLLATE \"de_DE\" FROM t",
        "SELECT a::INT[] FROM t",
        "SELECT (SELECT b FROM u WHERE u.a = t.a) FROM t",
        "SELECT \"current_user\" FROM t",
    ] {
        let Statement::Query(query) = dialect::parse(sql).unwrap() else { panic!("{sql}") };
        assert_eq!(rewritten(sql).0, query.ast.to_string());
    }
}

#[test]
fn types_have_the_names_of_sql() {
    let shown = |oid, modifier| type_rows::by_oid(oid).unwrap().shown(modifier);
    assert_eq!(shown(1700, 655_366), "numeric(10,2)");
    assert_eq!(shown(1007, -1), "integer[]");
    assert_eq!(type_rows::by_name("character varying").unwrap().oid, 1043);
    assert_eq!(type_rows::by_name("pg_catalog.int4").unwrap().oid, 23);
}
