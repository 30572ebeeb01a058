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
        "Boston",
        "New York",
        "adbc",
        "jdbc:arrow-flight-sql://",
        // The airports of ski resorts, put aside and closed.
        "at_most_an_hour_early",
        "Jackson",
    ] {
        assert!(first.contains(told), "the demo does not tell '{told}':\n{first}");
    }
    // The line of a transform in the table of January to May, and in that of June.
    let lines = |transform: &str| -> Vec<Vec<String>> {
        let begins = format!("│ {transform} ");
        let lines = first.lines().filter(|line| line.starts_with(&begins));
        let cells = |line: &str| line.split('│').map(|cell| cell.trim().replace(',', "")).collect();
        lines.map(cells).collect()
    };
    let expected = [
        // (transform, strategy, rows written and kept out where they are sure, version) each time
        ("silver.flights", ["FULL", "2497647", "125", "0"], ["APPEND", "502205", "23", "1"]),
        ("silver.airports", ["FULL", "3376", "0", "0"], ["–", "–", "–", "0"]),
        ("silver.airport_sizes", ["FULL", "", "0", "0"], ["KEYS", "", "0", "1"]),
        ("gold.delays_by_airport_day", ["FULL", "", "0", "0"], ["MERGE", "", "0", "1"]),
        ("gold.delays_by_airport_size", ["FULL", "15", "0", "0"], ["KEYS", "", "0", "1"]),
        ("gold.flights_by_month", ["FULL", "2497647", "0", "0"], ["APPEND", "502205", "0", "1"]),
        ("gold.routes", ["FULL", "", "0", "0"], ["", "", "0", "1"]),
        ("gold.airport_delay_7d", ["FULL", "", "0", "0"], ["", "", "0", "1"]),
        ("gold.worst_routes_ranked", ["FULL", "", "0", "0"], ["FULL", "", "0", "1"]),
        ("gold.state_scorecard", ["FULL", "", "0", "0"], ["FULL", "", "0", "1"]),
    ];
    for (transform, at_first, at_last) in expected {
        let lines = lines(transform);
        assert_eq!(lines.len(), 2, "{transform}:\n{first}");
        for (line, expected) in lines.iter().zip([at_first, at_last]) {
            for (cell, expected) in [2, 4, 5, 8].into_iter().zip(expected) {
                let fits = expected.is_empty() || line[cell] == expected;
                assert!(fits, "{transform}: '{expected}' and not {line:?}\n{first}");
            }
        }
    }
    let second = stdout(&options.run(&arguments, ""));
    let skipped = second.matches("│ SKIPPED_NO_CHANGE").count();
    assert_eq!(skipped, expected.len(), "{second}");
    assert!(second.contains("Nothing was recomputed"), "{second}");
}
