//! The command-line client and the demo.

use std::process::Output;

use whimbrel_tests::process::{Options, Server};

fn stdout(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn sql(server: &Server, arguments: &[&str], input: &str) -> Output {
    let url = server.url();
    let all: Vec<&str> = ["sql", "--url", &url].iter().chain(arguments).copied().collect();
    server.options().run(&all, input)
}

#[test]
fn sql_prints_csv_for_scripts() {
    let server = Server::start();
    let out = stdout(&sql(
        &server,
        &["-c", "SELECT 1 AS a, 'x,y' AS b, NULL AS c", "--format", "csv"],
        "",
    ));
    assert_eq!(out.replace('\r', ""), "a,b,c\n1,\"x,y\",NULL\n");
}

#[test]
fn sql_runs_several_statements_and_a_file() {
    let server = Server::start();
    let script =
        "CREATE TABLE t (a INT);\nINSERT INTO t VALUES (1), (2);\nSELECT sum(a) AS s FROM t;";
    let out = stdout(&sql(&server, &["-c", script, "--format", "csv"], ""));
    assert!(out.ends_with("s\n3\n"), "{out}");
    let file = server.options().folder().join("q.sql");
    std::fs::write(&file, "-- a comment\nSELECT count(*) AS n FROM t; -- and ; here\n").unwrap();
    let out = stdout(&sql(&server, &["-f", file.to_str().unwrap(), "--format", "json"], ""));
    assert!(out.contains("\"n\"") && out.contains('2'), "{out}");
}

#[test]
fn sql_reads_statements_from_a_pipe() {
    let server = Server::start();
    let out = stdout(&sql(&server, &[], "SELECT 41 + 1 AS answer;\n"));
    assert!(out.contains("answer") && out.contains("42"), "{out}");
}

#[test]
fn sql_ends_with_an_error_when_a_statement_fails() {
    let server = Server::start();
    let output = sql(&server, &["-c", "SELECT * FROM nowhere"], "");
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("main.nowhere"), "{told}");
    let output =
        server.options().run(&["sql", "--url", "grpc://127.0.0.1:1", "-c", "SELECT 1"], "");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1"));
}

#[test]
fn sql_logs_in_with_a_name_and_a_password() {
    let options = Options::new();
    let server = crate::users::with_users(&options, &[("ann", "secret")]);
    let url = server.url();
    let arguments =
        ["sql", "--url", &url, "--user", "ann", "-c", "SELECT 7 AS n", "--format", "csv"];
    let knows = options.clone().env("WHIMBREL_PASSWORD", "secret");
    assert_eq!(stdout(&knows.run(&arguments, "")).replace('\r', ""), "n\n7\n");
    let from_stdin = [&arguments[..], &["--password-stdin"]].concat();
    assert_eq!(stdout(&options.run(&from_stdin, "secret\n")).replace('\r', ""), "n\n7\n");
    for (options, told) in [
        (options.clone(), "password"),
        (options.clone().env("WHIMBREL_PASSWORD", "wrong"), "wrong user name or password"),
    ] {
        let output = options.run(&arguments, "");
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn the_demo_answers_and_then_has_nothing_to_do() {
    let options = Options::new();
    let data = options.data().to_str().unwrap().to_owned();
    let arguments = ["demo", "--data-dir", &data, "--flight-addr", "127.0.0.1:0", "--exit"];
    let first = stdout(&options.run(&arguments, ""));
    for told in [
        "silver.flights",
        "silver.airports",
        "gold.delays_by_airport_day",
        "gold.routes",
        "gold.flights_by_month",
        "gold.airport_delay_7d",
        "gold.worst_routes_ranked",
        "gold.state_scorecard",
        "2999852",
        "Boston",
        "New York",
        "adbc",
        "jdbc:arrow-flight-sql://",
    ] {
        let found = first.replace([',', '_'], "").contains(&told.replace([',', '_'], ""));
        assert!(found, "the demo does not tell '{told}':\n{first}");
    }
    let second = stdout(&options.run(&arguments, ""));
    let skipped = second.matches("SKIPPED_NO_CHANGE").count();
    assert!(skipped >= 8, "{skipped} of 8 transforms were skipped:\n{second}");
}
