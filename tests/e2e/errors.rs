//! Mistakes: each is told with what, where and what to do, under the right code, and nothing of it
//! stays.

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

async fn client(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client
        .script(
            "CREATE TABLE orders (id BIGINT NOT NULL, name VARCHAR, price DECIMAL(8, 2), day DATE);
             CREATE VIEW big AS SELECT id FROM orders WHERE price > 100;
             CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM orders",
        )
        .await;
    client.newest_job("main.totals").await.expect("SUCCEEDED");
    client
}

#[tokio::test]
async fn mistakes_of_users_are_told_with_the_right_code() {
    use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented};

    let server = Server::start();
    let mut client = client(&server).await;
    #[rustfmt::skip]
    let cases: &[(&str, Code, &[&str])] = &[
        // names
        ("SELECT * FROM ordres", NotFound, &["main.ordres", "did you mean", "main.orders"]),
        ("SELECT * FROM nowhere.orders", NotFound, &["nowhere.orders"]),
        ("SELECT * FROM other.main.orders", InvalidArgument, &["catalog 'other'"]),
        ("SELECT nmae FROM orders", InvalidArgument, &["nmae", "name"]),
        ("SELECT o.id FROM orders", InvalidArgument, &["o"]),
        ("SELECT nofunction(id) FROM orders", InvalidArgument, &["nofunction"]),
        ("INSERT INTO ordres VALUES (1)", NotFound, &["main.ordres"]),
        ("INSERT INTO orders (id, nmae) VALUES (1, 'x')", InvalidArgument, &["nmae"]),
        ("DROP TABLE ordres", NotFound, &["main.ordres", "main.orders"]),
        ("DROP VIEW orders", InvalidArgument, &["main.orders", "DROP TABLE"]),
        ("DROP SCHEMA nowhere", NotFound, &["nowhere"]),
        ("DROP SCHEMA main", FailedPrecondition, &["main"]),
        ("CREATE TABLE nowhere.t (a INT)", NotFound, &["nowhere"]),
        ("CREATE TABLE orders (a INT)", AlreadyExists, &["main.orders"]),
        ("CREATE VIEW orders AS SELECT 1 AS a", InvalidArgument, &["main.orders"]),
        ("CREATE SCHEMA system", InvalidArgument, &["system"]),
        ("CREATE TABLE system.t (a INT)", InvalidArgument, &["system"]),
        ("CREATE TABLE \"a/b\" (a INT)", InvalidArgument, &["a/b"]),
        ("DESCRIBE ordres", NotFound, &["main.ordres"]),
        ("SHOW CREATE TABLE ordres", NotFound, &["main.ordres"]),
        ("SHOW TABLES IN nowhere", NotFound, &["nowhere"]),
        // syntax
        ("SELEC 1", InvalidArgument, &["line 1, column 1", "SELECT"]),
        ("SELECT a,\n  FROM orders WHERE", InvalidArgument, &["line 2"]),
        ("", InvalidArgument, &["no statement"]),
        ("SELECT 1; SELECT 2", InvalidArgument, &["one statement"]),
        ("SELECT 'open", InvalidArgument, &["line 1"]),
        ("CREATE MATERIALIZED VIEW m SCHEDULE CRON 'not a cron' AS SELECT id FROM orders", InvalidArgument, &["not a cron"]),
        ("CREATE MATERIALIZED VIEW m SCHEDULE CRON '99 * * * *' AS SELECT id FROM orders", InvalidArgument, &["99"]),
        ("CREATE MATERIALIZED VIEW m SCHEDULE EVERY 0 MINUTES AS SELECT id FROM orders", InvalidArgument, &["0"]),
        ("CREATE MATERIALIZED VIEW m SCHEDULE CRON '0 0 * * *' AT TIME ZONE 'Mars/Olympus' AS SELECT id FROM orders", InvalidArgument, &["Mars/Olympus"]),
        // types and values
        ("SELECT id + name FROM orders WHERE day = 5 AND interval", InvalidArgument, &[]),
        ("INSERT INTO orders VALUES ('many', 'x', 1, NULL)", InvalidArgument, &["many"]),
        ("INSERT INTO orders VALUES (1, 'x', 12345678.9, NULL)", InvalidArgument, &["price"]),
        ("INSERT INTO orders VALUES (NULL, 'x', 1, NULL)", InvalidArgument, &["id", "NOT NULL"]),
        ("INSERT INTO orders VALUES (1, 'x')", InvalidArgument, &["2 values", "expected 4"]),
        ("INSERT INTO orders (name) VALUES ('x')", InvalidArgument, &["id"]),
        ("CREATE TABLE t (a NOTYPE)", Unimplemented, &["NOTYPE"]),
        ("CREATE TABLE t (a INT, a INT)", InvalidArgument, &["a"]),
        ("CREATE TABLE t AS SELECT 1 AS a, 2 AS a", InvalidArgument, &["a"]),
        ("CREATE TABLE t (a INT) PARTITIONED BY (b)", InvalidArgument, &["b"]),
        ("CREATE MATERIALIZED VIEW m PARTITIONED BY (b) AS SELECT id FROM orders", InvalidArgument, &["'b'"]),
        ("SELECT 1 / 0", InvalidArgument, &["divide by zero"]),
        ("SELECT CAST('x' AS INT)", InvalidArgument, &["x"]),
        // time travel
        ("SELECT * FROM orders VERSION AS OF 99", NotFound, &["99"]),
        ("SELECT * FROM orders VERSION AS OF -1", InvalidArgument, &[]),
        ("SELECT * FROM orders TIMESTAMP AS OF '1999-01-01'", InvalidArgument, &["1999"]),
        ("SELECT * FROM orders TIMESTAMP AS OF 'yesterday-ish'", InvalidArgument, &["yesterday-ish"]),
        ("SELECT * FROM big VERSION AS OF 0", InvalidArgument, &["view"]),
        // transforms and jobs
        ("CREATE MATERIALIZED VIEW m AS SELECT * FROM ordres", NotFound, &["main.ordres"]),
        ("CREATE MATERIALIZED VIEW m AS SELECT * FROM m", InvalidArgument, &["main.m"]),
        ("CREATE OR REPLACE VIEW big AS SELECT * FROM big", InvalidArgument, &["main.big", "read itself"]),
        ("CREATE MATERIALIZED VIEW totals AS SELECT 1 AS n", AlreadyExists, &["main.totals"]),
        ("REFRESH MATERIALIZED VIEW orders", InvalidArgument, &["main.orders", "materialized view"]),
        ("REFRESH MATERIALIZED VIEW total", NotFound, &["main.total", "main.totals"]),
        ("INSERT INTO totals VALUES (1)", InvalidArgument, &["main.totals"]),
        ("INSERT INTO big VALUES (1)", InvalidArgument, &["main.big"]),
        ("BACKFILL totals FROM 1 TO 2", InvalidArgument, &["main.totals", "PARTITIONED BY"]),
        ("REFRESH MATERIALIZED VIEW totals WHERE n > 1", InvalidArgument, &["PARTITIONED BY"]),
        ("CANCEL JOB '00000000-0000-7000-8000-000000000000'", NotFound, &["00000000-0000-7000-8000-000000000000"]),
        ("WAIT FOR JOB 'nonsense'", InvalidArgument, &["nonsense"]),
        ("RETRY JOB 'nonsense'", InvalidArgument, &["nonsense"]),
        ("DESCRIBE JOB '00000000-0000-7000-8000-000000000000'", NotFound, &[]),
        // what this version does not do
        ("DELETE FROM orders RETURNING id", Unimplemented, &["RETURNING"]),
        ("UPDATE orders SET id = 1 LIMIT 1", Unimplemented, &["LIMIT"]),
        ("BEGIN", Unimplemented, &["BEGIN", "takes effect by itself"]),
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", Unimplemented, &["FUNCTION"]),
        ("COPY orders TO '/tmp/out'", Code::PermissionDenied, &["lake.locations"]),
        (
            "REFRESH MATERIALIZED VIEW totals NOTIFY 'https://a.example'",
            FailedPrecondition,
            &["NOTIFY is off"],
        ),
    ];
    let mut wrong = Vec::new();
    for (sql, code, texts) in cases {
        let failure = match client.try_query(sql).await {
            Ok(answer) => {
                wrong.push(format!("{sql}\n    answered {:?}", answer.lines()));
                continue;
            }
            Err(failure) => failure,
        };
        let message = failure.message.to_lowercase();
        let untold: Vec<_> =
            texts.iter().filter(|text| !message.contains(&text.to_lowercase())).collect();
        if failure.code != *code || !untold.is_empty() {
            wrong.push(format!("{sql}\n    expected {code:?} with {texts:?}\n    got {failure}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    // Nothing is half created, and the server lives on.
    let left = client.query("SHOW TABLES").await.column("name");
    assert_eq!(left, ["big", "orders", "totals"]);
    assert_eq!(client.count("orders").await, 0);
    assert_eq!(client.count("system.jobs").await, 1);
}

#[tokio::test]
async fn no_message_blames_the_user_for_a_defect_or_shows_our_insides() {
    let server = Server::start();
    let mut client = client(&server).await;
    for sql in [
        "SELECT * FROM ordres",
        "SELECT nmae FROM orders",
        "INSERT INTO orders VALUES (NULL, 'x', 1, NULL)",
        "SELECT CAST(name AS INT) FROM (VALUES ('x')) AS t (name)",
    ] {
        let failure = client.query_failure(sql).await;
        for word in
            ["DataFusion", "SchemaError", "Arrow error", "panicked", "backtrace", "Internal"]
        {
            assert!(!failure.message.contains(word), "{failure} for {sql}");
        }
    }
    assert!(!server.log().contains("panicked"));
}

#[tokio::test]
async fn a_mutual_cycle_of_views_is_refused() {
    let server = Server::start();
    let mut client = client(&server).await;
    client
        .script(
            "CREATE VIEW a AS SELECT 1 AS n;
             CREATE VIEW b AS SELECT n FROM a;
             CREATE MATERIALIZED VIEW c AS SELECT n FROM b",
        )
        .await;
    let failure = client.failure("CREATE OR REPLACE VIEW a AS SELECT n FROM c").await;
    failure.expect(Code::InvalidArgument, &["main.a", "main.b", "main.c"]);
    assert_eq!(client.query("SELECT n FROM a").await.cell(), "1");
}

#[tokio::test]
async fn a_view_whose_table_is_gone_says_which() {
    let server = Server::start();
    let mut client = client(&server).await;
    client.update("DROP TABLE orders").await;
    let failure = client.query_failure("SELECT * FROM big").await;
    failure.expect(Code::FailedPrecondition, &["main.big", "main.orders"]);
    let job = client.refresh("totals").await;
    job.expect("FAILED");
    assert!(job.error.contains("main.orders"), "{job:?}");
}

#[tokio::test]
async fn deep_and_long_statements_do_not_kill_the_server() {
    let server = Server::start();
    let mut client = client(&server).await;
    let deep = format!("SELECT {}1{}", "(".repeat(2_000), ")".repeat(2_000));
    let nested = format!("SELECT {}1{}", "abs(".repeat(2_000), ")".repeat(2_000));
    let long_sum = format!("SELECT {}", vec!["1"; 5_000].join(" + "));
    let too_long = format!("SELECT '{}'", "x".repeat(3_000_000));
    for sql in [&deep, &nested, &long_sum, &too_long] {
        // Answered or refused, but not with the server's life, nor as its defect.
        if let Err(failure) = client.try_query(sql).await {
            assert_ne!(failure.code, Code::Internal, "{failure}");
            assert_ne!(failure.code, Code::Unavailable, "{failure}");
        }
    }
    assert_eq!(client.query("SELECT 1").await.cell(), "1");
}

#[tokio::test]
async fn limits_are_refused_with_the_key_that_raises_them() {
    let server = Options::new()
        .env("WHIMBREL__QUERY__MEMORY_MAX", "20MiB")
        .env("WHIMBREL__QUERY__SPILL_MAX", "1MiB")
        .env("WHIMBREL__QUERY__CONCURRENCY", "1")
        .env("WHIMBREL__QUERY__QUEUE_MAX", "0")
        .start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT unnest(range(0, 200000)) AS n").await;
    let greedy = "SELECT a.n % 1000 AS k, array_agg(a.n) FROM t AS a JOIN t AS b ON a.n = b.n GROUP BY a.n, b.n ORDER BY repeat(CAST(a.n AS VARCHAR), 500)";
    let failure = client.query_failure(greedy).await;
    failure.expect(Code::ResourceExhausted, &["query.spill_max"]);
    // A statement that runs takes the only place.
    let info = client.flight_info("SELECT a.n FROM t AS a, t AS b").await.unwrap();
    let mut running = client.clone();
    let stream = running.flight().do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let failure = client.query_failure("SELECT count(*) FROM t").await;
    failure.expect(Code::ResourceExhausted, &["busy"]);
    drop(stream);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended() {
    let server = Options::new().env("WHIMBREL__QUERY__STATEMENT_TIMEOUT", "500ms").start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT unnest(range(0, 3000)) AS n").await;
    let failure = client
        .query_failure("SELECT count(*) FROM t AS a, t AS b, t AS c WHERE a.n + b.n + c.n < 0")
        .await;
    failure.expect(Code::DeadlineExceeded, &["query.statement_timeout"]);
    assert_eq!(client.query("SELECT 1").await.cell(), "1");
}
