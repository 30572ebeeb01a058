use model::rights::Privilege as P;

use super::*;

fn rights(sql: &str) -> RightsStatement {
    match parse(sql) {
        Ok(Statement::Rights(rights)) => rights,
        other => panic!("{sql}: {other:?}"),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn whole(privilege: P) -> PrivilegeOf {
    PrivilegeOf { privilege, columns: Vec::new() }
}

#[test]
fn grants_are_read() {
    let object = |parts: &[&str]| SecurableName::Object(names(parts));
    let days = PrivilegeOf { privilege: P::Select, columns: names(&["day", "A"]) };
    for (sql, privileges, on, to) in [
        ("GRANT SELECT ON t TO ann", vec![whole(P::Select)], object(&["t"]), &["ann"][..]),
        (
            "grant select, insert on table shop.\"T\" to role sales, user ann;",
            vec![whole(P::Select), whole(P::Insert)],
            object(&["shop", "T"]),
            &["sales", "ann"],
        ),
        (
            "GRANT SELECT (day, \"A\"), UPDATE ON VIEW v TO ann",
            vec![days, whole(P::Update)],
            object(&["v"]),
            &["ann"],
        ),
        (
            "GRANT ALL PRIVILEGES ON SCHEMA s TO ann",
            vec![],
            SecurableName::Schema(names(&["s"])),
            &["ann"],
        ),
        (
            "GRANT READ FILES, WRITE FILES ON CATALOG TO ann",
            vec![whole(P::ReadFiles), whole(P::WriteFiles)],
            SecurableName::Catalog,
            &["ann"],
        ),
        (
            "GRANT CREATE ON CATALOG whimbrel TO public",
            vec![whole(P::Create)],
            SecurableName::Catalog,
            &["public"],
        ),
        (
            "GRANT REFRESH ON MATERIALIZED VIEW a.b TO \"An n\"",
            vec![whole(P::Refresh)],
            object(&["a", "b"]),
            &["An n"],
        ),
        // Tables with the names of our words.
        ("GRANT SELECT ON schema TO role", vec![whole(P::Select)], object(&["schema"]), &["role"]),
        (
            "GRANT SELECT ON table.view TO user",
            vec![whole(P::Select)],
            object(&["table", "view"]),
            &["user"],
        ),
    ] {
        let granted = Granted { privileges, on };
        let expected = RightsStatement::Grant { granted: granted.clone(), to: names(to) };
        assert_eq!(rights(sql), expected, "{sql}");
        let revoke = sql.replace("GRANT", "REVOKE").replace("grant", "revoke");
        let revoke = revoke.replace(" TO ", " FROM ").replace(" to ", " from ");
        assert_eq!(
            rights(&revoke),
            RightsStatement::Revoke { granted, from: names(to) },
            "{revoke}"
        );
    }
}

#[test]
fn roles_are_read() {
    for (sql, expected) in [
        (
            "CREATE ROLE sales",
            RightsStatement::CreateRole { name: "sales".into(), if_not_exists: false },
        ),
        (
            "CREATE ROLE IF NOT EXISTS \"S\"",
            RightsStatement::CreateRole { name: "S".into(), if_not_exists: true },
        ),
        (
            "DROP ROLE IF EXISTS sales",
            RightsStatement::DropRole { name: "sales".into(), if_exists: true },
        ),
        ("DROP USER ann", RightsStatement::DropUser { name: "ann".into(), if_exists: false }),
        (
            "GRANT sales, admin TO ann, ROLE emea",
            RightsStatement::GrantRoles {
                roles: names(&["sales", "admin"]),
                to: names(&["ann", "emea"]),
            },
        ),
        (
            "REVOKE ROLE sales FROM USER ann",
            RightsStatement::RevokeRoles { roles: names(&["sales"]), from: names(&["ann"]) },
        ),
    ] {
        assert_eq!(rights(sql), expected, "{sql}");
    }
}

#[test]
fn owners_and_policies_are_read() {
    let target = names(&["shop", "t"]);
    let policy = |action| RightsStatement::Policy { target: target.clone(), action };
    let owner = |kind| RightsStatement::Owner {
        object: OwnedObject { kind: Some(kind), name: target.clone() },
        owner: "ann".to_owned(),
    };
    for (sql, expected) in [
        ("ALTER TABLE shop.t OWNER TO ann", owner(DropKind::Table)),
        ("ALTER TABLE shop.t SET OWNER TO USER ann", owner(DropKind::Table)),
        ("ALTER VIEW shop.t OWNER TO ann", owner(DropKind::View)),
        ("ALTER MATERIALIZED VIEW shop.t OWNER TO ROLE ann", owner(DropKind::MaterializedView)),
        (
            "ALTER TABLE shop.t SET ROW FILTER (region IN (SELECT r FROM m) OR has_role('x'))",
            policy(PolicyAction::SetRowFilter(
                "region IN (SELECT r FROM m) OR has_role('x')".into(),
            )),
        ),
        ("ALTER MATERIALIZED VIEW shop.t DROP ROW FILTER", policy(PolicyAction::DropRowFilter)),
        (
            "ALTER TABLE shop.t ALTER COLUMN \"N\" SET MASK ('***')",
            policy(PolicyAction::SetMask { column: "N".into(), mask: "'***'".into() }),
        ),
        (
            "ALTER TABLE shop.t ALTER COLUMN n DROP MASK",
            policy(PolicyAction::DropMask { column: "n".into() }),
        ),
    ] {
        assert_eq!(rights(sql), expected, "{sql}");
    }
}

#[test]
fn shows_are_queries_on_system_tables() {
    for (sql, reads, filter) in [
        ("SHOW USERS", "users", ""),
        ("SHOW ROLES", "roles", ""),
        ("SHOW GRANTS", "grants", ""),
        ("SHOW GRANTS ON CATALOG", "grants", "on_kind = 'CATALOG'"),
        ("SHOW GRANTS ON SCHEMA s TO ann", "grants", "on_name = 's' AND grantee = 'ann'"),
        ("SHOW GRANTS ON t", "grants", "on_name = 'main.t'"),
        ("SHOW GRANTS ON TABLE whimbrel.shop.\"it's\"", "grants", "on_name = 'shop.it''s'"),
    ] {
        let Ok(Statement::Query(query)) = parse(sql) else { panic!("{sql}") };
        assert_eq!(query.tables[0].name, names(&["system", reads]), "{sql}");
        assert!(query.ast.to_string().contains(filter), "{sql}: {}", query.ast);
    }
}

#[test]
fn what_cannot_be_granted_is_refused_with_a_way_out() {
    for (sql, column, says, hint) in [
        ("GRANT FLY ON t TO ann", 7, "Expected: SELECT, INSERT", None),
        ("GRANT INSERT (a) ON t TO ann", 7, "INSERT of single columns", Some("only SELECT")),
        ("GRANT SELECT (a) ON SCHEMA s TO ann", 21, "columns are those of one table", None),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA s TO ann", 17, "ON ALL TABLES", Some("ON SCHEMA s")),
        ("GRANT SELECT ON t TO ann WITH GRANT OPTION", 26, "WITH GRANT OPTION", Some("owners")),
        ("GRANT SELECT ON CATALOG other TO ann", 25, "'other' does not exist", None),
        ("REVOKE SELECT ON t FROM ann CASCADE", 29, "REVOKE … CASCADE", Some("leave it out")),
        ("GRANT SELECT ON t", 18, "Expected: TO", None),
        ("ALTER VIEW v AS SELECT 1", 7, "ALTER VIEW", Some("CREATE OR REPLACE")),
        ("ALTER TABLE t SET ROW FILTER f", 30, "an expression in parentheses", Some("write (")),
        ("ALTER TABLE t SET ROW FILTER (a = ?)", 35, "parameters", None),
        ("DENY SELECT ON t TO ann", 1, "DENY", Some("REVOKE")),
    ] {
        let error = match parse(sql) {
            Ok(statement) => panic!("{sql} was read as {statement:?}"),
            Err(error) => error,
        };
        let text = error.to_string();
        assert!(text.contains(says), "{sql}: {text}");
        assert!(text.contains(&format!("column {column}")), "{sql}: {text}");
        let said = error.hint.clone().unwrap_or_default();
        assert!(hint.is_none_or(|hint| said.contains(hint)), "{sql}: {said}");
    }
}

#[test]
fn limits_are_read_in_their_units() {
    let limited = |sql: &str| match parse(sql) {
        Ok(Statement::Rights(RightsStatement::Limit { role, limits, reset })) => {
            (role, limits, reset)
        }
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(
        limited("ALTER ROLE sales SET LIMITS (concurrency = 4, run_time = '5m', memory '1GiB')"),
        (
            "sales".to_owned(),
            vec![(Limit::Concurrency, 4), (Limit::Memory, 1 << 30), (Limit::RunTime, 300_000)],
            false
        )
    );
    assert_eq!(limited("ALTER ROLE public RESET LIMITS"), ("public".to_owned(), vec![], true));
    for (sql, said) in [
        ("ALTER ROLE r SET LIMITS (speed = 4)", "there is no limit 'speed'"),
        ("ALTER ROLE r SET LIMITS (rows = 'x')", "no whole number"),
        ("ALTER ROLE r SET LIMITS (concurrency = 0)", "more than 0"),
        ("ALTER ROLE r SET LIMITS ()", "no limit in the parentheses"),
        ("ALTER ROLE r RENAME TO s", "SET LIMITS"),
    ] {
        let error = parse(sql).unwrap_err();
        assert!(error.to_string().contains(said), "{sql}: {error}");
    }
}
