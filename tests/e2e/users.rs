//! Who may come in.

use arrow_flight::HandshakeRequest;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use tonic::{Code, Request};
use whimbrel_tests::{
    client::{Client, Failure},
    process::{Options, Server},
};

/// Starts a server that knows these users.
pub(crate) fn with_users(options: &Options, users: &[(&str, &str)]) -> Server {
    for (name, password) in users {
        add(options, name, password);
    }
    options.start()
}

fn add(options: &Options, name: &str, password: &str) {
    let data = options.data().to_str().unwrap();
    let added = options.run(
        &["user", "add", name, "--password-stdin", "--data-dir", data],
        &format!("{password}\n"),
    );
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The bearer token that a handshake answers.
async fn handshake(client: &mut Client, authorization: &str) -> Result<String, Failure> {
    let hello = futures::stream::iter([HandshakeRequest::default()]);
    let mut request = Request::new(hello);
    request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    let response = client.flight().inner_mut().handshake(request).await?;
    let bearer = response.metadata().get("authorization").expect("a token in the header");
    Ok(bearer.to_str().unwrap().strip_prefix("Bearer ").expect("a bearer token").to_owned())
}

/// A client that has logged in.
pub(crate) async fn login(server: &Server, user: &str, password: &str) -> Client {
    let mut client = Client::connect(server).await;
    let token = handshake(&mut client, &basic(user, password)).await.unwrap();
    client.with_token(&token)
}

#[tokio::test]
async fn without_users_everybody_is_welcome() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    assert_eq!(client.query("SELECT 1").await.cell(), "1");
}

#[tokio::test]
async fn once_a_user_exists_nobody_is_anonymous() {
    let options = Options::new();
    let server = with_users(&options, &[("ann", "secret")]);
    let mut anonymous = Client::connect(&server).await;
    for failure in [
        anonymous.query_failure("SELECT 1").await,
        anonymous.try_update("CREATE TABLE t (a INT)").await.unwrap_err(),
        anonymous.try_prepare("SELECT 1").await.unwrap_err(),
        anonymous.command_info(arrow_flight::sql::CommandGetTableTypes {}).await.unwrap_err(),
    ] {
        failure.expect(Code::Unauthenticated, &["log in"]);
    }
    let mut ann = login(&server, "ann", "secret").await;
    assert_eq!(ann.query("SELECT 1").await.cell(), "1");
    assert_eq!(ann.query("SHOW TABLES").await.len(), 0);
}

#[tokio::test]
async fn a_user_added_while_the_server_runs_closes_the_door() {
    let server = Server::start();
    let mut anonymous = Client::connect(&server).await;
    anonymous.query("SELECT 1").await;
    add(server.options(), "ann", "secret");
    whimbrel_tests::eventually::eventually("anonymous callers are refused", || {
        let mut anonymous = anonymous.clone();
        async move { anonymous.try_query("SELECT 1").await.err() }
    })
    .await
    .expect(Code::Unauthenticated, &[]);
    login(&server, "ann", "secret").await.query("SELECT 1").await;
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_told_the_same() {
    let options = Options::new();
    let server = with_users(&options, &[("ann", "secret")]);
    let mut client = Client::connect(&server).await;
    let mut texts = Vec::new();
    for (user, password) in [("ann", "wrong"), ("ann", ""), ("nobody", "secret"), ("ann", "Secret")]
    {
        let failure = handshake(&mut client, &basic(user, password)).await.unwrap_err();
        failure.expect(Code::Unauthenticated, &["wrong user name or password"]);
        texts.push(failure.message);
    }
    texts.dedup();
    assert_eq!(texts.len(), 1);
    for header in ["Basic not*base64", "Bearer", "Bearer made-up", "Digest x", "nonsense"] {
        let mut client = Client::connect(&server).await.with_authorization(header);
        let failure = client.query_failure("SELECT 1").await;
        assert_eq!(failure.code, Code::Unauthenticated, "{failure} for {header}");
    }
}

#[tokio::test]
async fn passwords_may_hold_anything_and_padding_may_be_missing() {
    let options = Options::new();
    let password = "päss:wörd = \u{1f426}";
    let server = with_users(&options, &[("ann", password)]);
    let mut client = Client::connect(&server).await;
    let unpadded = format!("Basic {}", STANDARD_NO_PAD.encode(format!("ann:{password}")));
    handshake(&mut client, &unpadded).await.unwrap();
    // Without a handshake, on each call: so do some drivers.
    let mut direct = Client::connect(&server).await.with_authorization(&basic("ann", password));
    assert_eq!(direct.query("SELECT 1").await.cell(), "1");
}

#[tokio::test]
async fn objects_and_statements_carry_the_name_of_who_asked() {
    let options = Options::new();
    let server = with_users(&options, &[("ann", "one"), ("bob", "two")]);
    let mut ann = login(&server, "ann", "one").await;
    ann.script("CREATE TABLE t AS SELECT 1 AS a; CREATE MATERIALIZED VIEW m AS SELECT a FROM t")
        .await;
    ann.newest_job("main.m").await.expect("SUCCEEDED");
    ann.update("GRANT REFRESH ON m TO bob").await;
    let mut bob = login(&server, "bob", "two").await;
    assert_eq!(bob.refresh("m").await.state, "SKIPPED_NO_CHANGE");
    let owner = bob.query("SELECT owner FROM system.transforms").await.cell();
    let asked = bob.query("SELECT DISTINCT requested_by FROM system.jobs ORDER BY 1").await;
    assert_eq!((owner.as_str(), asked.lines()), ("ann", vec!["ann".to_owned(), "bob".to_owned()]));
    assert!(!server.log().contains("two"), "a password is in the log");
}

#[tokio::test]
async fn a_name_is_added_once_and_needs_a_password() {
    let options = Options::new();
    add(&options, "ann", "secret");
    let data = options.data().to_str().unwrap().to_owned();
    let again =
        options.run(&["user", "add", "ann", "--password-stdin", "--data-dir", &data], "other\n");
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("ann"));
    let empty = options.run(&["user", "add", "bob", "--password-stdin", "--data-dir", &data], "");
    assert!(!empty.status.success());
    let server = options.start();
    login(&server, "ann", "secret").await.query("SELECT 1").await;
}

#[tokio::test]
async fn a_token_opens_the_server_until_it_is_dropped() {
    let options = Options::new();
    let server = with_users(&options, &[("root", "secret-1")]);
    let mut root = login(&server, "root", "secret-1").await;
    root.script("CREATE USER robot; CREATE TABLE t AS SELECT 1 AS a; GRANT SELECT ON t TO robot")
        .await;
    let made = root.query("CREATE TOKEN nightly FOR USER robot EXPIRES IN 1 HOUR").await;
    let token = made.column("token")[0].clone();
    assert!(token.starts_with("whb_") && token.len() > 40, "{}", token.len());
    let mut as_bearer = Client::connect(&server).await.with_token(&token);
    let as_password = basic("robot", &token);
    let mut as_password = Client::connect(&server).await.with_authorization(&as_password);
    for robot in [&mut as_bearer, &mut as_password] {
        assert_eq!(robot.query("SELECT current_user() || sum(a) FROM t").await.cell(), "robot1");
        robot
            .query_failure("CREATE TOKEN more FOR USER root")
            .await
            .expect(Code::PermissionDenied, &["'robot' may not do that for somebody else"]);
    }
    let used = "SELECT count(*) FROM system.tokens WHERE last_used_at IS NOT NULL";
    assert_eq!(root.query(used).await.cell(), "1");

    root.update("DROP TOKEN nightly FOR USER robot").await;
    whimbrel_tests::eventually::eventually("the token opens nothing", || {
        let mut robot = as_bearer.clone();
        async move { robot.try_query("SELECT 1").await.err() }
    })
    .await
    .expect(Code::Unauthenticated, &["log in again"]);

    // It is nowhere: not in a log, not in what the server keeps.
    let shown =
        "SELECT count(*) FROM system.queries WHERE sql LIKE '%whb_%' AND sql NOT LIKE '%LIKE%'";
    assert_eq!(root.query(shown).await.cell(), "0");
    let options = server.stop();
    for file in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let Ok(bytes) = std::fs::read(options.data().join(file)) else { continue };
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "the token is in {file}");
    }
}

#[tokio::test]
async fn a_password_said_in_sql_is_the_one_to_log_in_with_and_is_shown_nowhere() {
    let options = Options::new();
    let server = with_users(&options, &[("root", "secret-1")]);
    let mut root = login(&server, "root", "secret-1").await;
    root.update("CREATE USER ann PASSWORD 'first-w0rd'").await;
    let mut ann = login(&server, "ann", "first-w0rd").await;
    ann.update("ALTER USER ann PASSWORD 'second-w0rd'").await;
    let mut again = Client::connect(&server).await;
    let old = handshake(&mut again, &basic("ann", "first-w0rd")).await.unwrap_err();
    old.expect(Code::Unauthenticated, &["wrong user name or password"]);
    login(&server, "ann", "second-w0rd").await;
    let log = server.log();
    let options = server.stop();
    for file in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let Ok(bytes) = std::fs::read(options.data().join(file)) else { continue };
        let found = bytes.windows(5).any(|window| window == b"-w0rd");
        assert!(!found, "a password is in {file}");
    }
    assert!(!log.contains("w0rd"), "a password is in the log");
}

#[tokio::test]
async fn the_first_user_needs_a_password() {
    let server = Server::start();
    let mut anonymous = Client::connect(&server).await;
    let refused = anonymous.try_update("CREATE USER ann").await.unwrap_err();
    refused.expect(Code::InvalidArgument, &["the first user", "give it a PASSWORD"]);
    anonymous.update("CREATE USER ann PASSWORD 'secret'").await;
    let mut ann = login(&server, "ann", "secret").await;
    assert_eq!(ann.query("SELECT is_admin FROM system.users").await.cell(), "true");
}

#[tokio::test]
async fn the_audit_trail_outlives_the_server_and_knows_who_knocked() {
    let options = Options::new();
    let server = with_users(&options, &[("root", "secret-1")]);
    let mut knocking = Client::connect(&server).await;
    handshake(&mut knocking, &basic("eve", "guess")).await.unwrap_err();
    let mut root = login(&server, "root", "secret-1").await;
    root.update("CREATE TABLE t AS SELECT 1 AS a").await;
    root.query("SELECT 42 FROM t").await;
    let options = server.stop();
    let server = options.start();
    let mut root = login(&server, "root", "secret-1").await;
    let trail = root
        .query(
            "SELECT concat_ws(' ', principal, event, outcome, statement, CAST(rows AS STRING)) \
             FROM system.audit ORDER BY at LIMIT 4",
        )
        .await;
    assert_eq!(
        trail.lines(),
        [
            "eve LOGIN DENIED 0",
            "root LOGIN SUCCEEDED 0",
            "root COMMAND SUCCEEDED CREATE TABLE t AS SELECT 1 AS a 1",
            "root QUERY SUCCEEDED SELECT 42 FROM t 1",
        ]
    );
    let from =
        root.query("SELECT count(*) FROM system.audit WHERE client LIKE 'flight 127.0.0.1:%'");
    assert!(from.await.cell().parse::<u64>().unwrap() >= 4);
}
