use proptest::prelude::*;

use super::*;

fn rights(sql: &str) -> RightsStatement {
    match parse(sql) {
        Ok(Statement::Rights(statement)) => statement,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn a_password_is_said_as_others_say_it() {
    for sql in [
        "CREATE USER ann PASSWORD 'p w'",
        "create user ann with password 'p w'",
        "CREATE USER ann WITH ENCRYPTED PASSWORD 'p w'",
        "CREATE USER ann IDENTIFIED BY 'p w';",
        "CREATE USER \"ann\" PASSWORD = 'p w'",
    ] {
        let expected = RightsStatement::CreateUser {
            name: "ann".to_owned(),
            password: Some(Secret::new("p w")),
            if_not_exists: false,
        };
        assert_eq!(rights(sql), expected, "{sql}");
    }
    assert_eq!(
        rights("CREATE USER IF NOT EXISTS ann"),
        RightsStatement::CreateUser { name: "ann".to_owned(), password: None, if_not_exists: true }
    );
    assert_eq!(
        rights("ALTER USER ann PASSWORD 'x'"),
        RightsStatement::SetPassword { name: "ann".to_owned(), password: Secret::new("x") }
    );
}

#[test]
fn tokens_have_a_name_perhaps_a_user_and_an_end() {
    let token = |user: Option<&str>, expiry| RightsStatement::CreateToken {
        name: "nightly".to_owned(),
        user: user.map(str::to_owned),
        expiry,
    };
    assert_eq!(rights("CREATE TOKEN nightly"), token(None, Expiry::Default));
    assert_eq!(
        rights("CREATE TOKEN nightly FOR USER etl EXPIRES IN 2 DAYS"),
        token(Some("etl"), Expiry::After { ms: 2 * 86_400_000 })
    );
    assert_eq!(
        rights("CREATE TOKEN nightly FOR etl NEVER EXPIRES"),
        token(Some("etl"), Expiry::Never)
    );
    assert_eq!(
        rights("DROP TOKEN IF EXISTS nightly FOR USER etl"),
        RightsStatement::DropToken {
            name: "nightly".to_owned(),
            user: Some("etl".to_owned()),
            if_exists: true
        }
    );
    assert!(matches!(parse("SHOW TOKENS FOR USER etl"), Ok(Statement::Query(_))));
}

#[test]
fn mistakes_say_what_is_meant() {
    for (sql, said) in [
        ("CREATE USER ann WITH", "PASSWORD"),
        ("CREATE USER ann PASSWORD secret", "the password in single quotes"),
        ("ALTER USER ann", "PASSWORD"),
        ("ALTER USER ann PASSWORD NULL", "not supported"),
        ("CREATE TOKEN t EXPIRES IN 0 DAYS", "opens nothing"),
        ("CREATE TOKEN", "the name of a token"),
    ] {
        let error = parse(sql).unwrap_err();
        assert!(error.to_string().contains(said), "{sql}: {error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    for (sql, shown) in [
        ("CREATE USER ann PASSWORD 'pw'", "CREATE USER ann PASSWORD '***'"),
        ("/* x */ alter  user ann\n password 'it''s'", "/* x */ alter  user ann\n password '***'"),
        ("ALTER USER ann PASWORD 'pw'", "ALTER USER ann PASWORD '***'"),
        ("CREATE USER ann PASSWORD $$pw$$", "CREATE USER ann PASSWORD '***'"),
        ("CREATE USER ann PASSWORD 'pw", "(a statement about a user that cannot be read)"),
        ("SELECT * FROM users WHERE name = 'ann'", "SELECT * FROM users WHERE name = 'ann'"),
        ("CREATE TABLE user_log AS SELECT 'x' AS a", "CREATE TABLE user_log AS SELECT 'x' AS a"),
        ("CREATE TOKEN t FOR USER ann -- 'x'", "CREATE TOKEN t FOR USER ann -- 'x'"),
        // Whatever the text begins with, and where the password is that of something else.
        ("EXPLAIN CREATE USER ann PASSWORD 'pw'", "EXPLAIN CREATE USER ann PASSWORD '***'"),
        ("ALTER ROLE ann PASSWORD 'pw'", "ALTER ROLE ann PASSWORD '***'"),
        ("CREATE ROLE ann LOGIN password E'pw'", "CREATE ROLE ann LOGIN password '***'"),
        ("SET PASSWORD = 'pw'", "SET PASSWORD = '***'"),
        ("GRANT a TO b IDENTIFIED BY 'pw'", "GRANT a TO b IDENTIFIED BY '***'"),
        ("CREATE USER ann PASSWORD \"pw\"", "CREATE USER ann PASSWORD '***'"),
        ("ALTER ROLE \"ann\" PASSWORD = \"pw\"", "ALTER ROLE \"ann\" PASSWORD = '***'"),
        ("DO $$ create user z password 'pw' $$", "DO '***'"),
        ("EXECUTE 'alter user z identified by ''pw'''", "EXECUTE '***'"),
        ("ALTER ROLE ann PASSWORD 'pw", "(a statement about a user that cannot be read)"),
        ("SELECT a AS \"password\", 'x' AS b", "SELECT a AS \"password\", 'x' AS b"),
        (
            "ALTER ROLE user_admins SET LIMITS (memory = '1GiB')",
            "ALTER ROLE user_admins SET LIMITS (memory = '1GiB')",
        ),
    ] {
        assert_eq!(without_secrets(sql), shown);
    }
    let shown = format!("{:?}", parse("CREATE USER ann PASSWORD 'p4ss'").unwrap());
    assert!(!shown.contains("p4ss"), "{shown}");
}

proptest! {
    /// Wherever the secret stands and whatever else is wrong.
    #[test]
    fn no_literal_of_a_statement_about_users_is_shown(
        head in "(CREATE|alter) +(USER|user) |(ALTER|explain) [a-z]{1,5} PASSWORD ",
        before in "[a-z \"(,=]{0,12}",
        after in "[a-z ;'$(]{0,12}",
    ) {
        let sql = format!("{head}{before}'S3CRET'{after}");
        let shown = without_secrets(&sql);
        // Inside double quotes it is a part of a name.
        prop_assume!(before.matches('"').count() % 2 == 0);
        prop_assert!(!shown.contains("S3CRET"), "{} became {}", sql, shown);
    }

    #[test]
    fn other_texts_stay_as_they_are(sql in "(SELECT|INSERT|DROP USER|CREATE TABLE) [a-z'* ]{0,20}") {
        prop_assert_eq!(without_secrets(&sql), sql.as_str());
    }
}
