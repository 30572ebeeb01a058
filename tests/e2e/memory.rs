//! Statements over more data than memory: they answer as a server with plenty does, and where
//! that cannot be, they say which setting to raise.

use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

/// What operators may hold together. Each table below takes about half as much again.
const SHORT: &str = "64MiB";

/// 300,000 rows of about 350 bytes twice.
const TABLES: &str = "
    CREATE TABLE facts AS
        SELECT g.n AS id, (g.n * 7919) % 150000 AS k, g.n % 1000 AS part,
               repeat(chr(97 + g.n % 26), 300) || ((g.n * 104729) % 1000003) AS t
        FROM generate_series(0, 299999) AS g(n);
    CREATE TABLE others AS
        SELECT (g.n * 104729) % 300000 AS id, g.n + 60000 AS k, repeat('o', 300) || g.n AS t
        FROM generate_series(0, 299999) AS g(n)";

const SUMS: &str = "SELECT count(*), sum(a.id), sum(b.id), sum(a.id * 31 + b.id * 17), \
                    sum(length(a.t)), sum(length(b.t)) FROM facts AS a";

async fn with_tables(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client.script(TABLES).await;
    client
}

async fn servers() -> [(Server, Client); 2] {
    let short = Options::new().env("WHIMBREL__QUERY__MEMORY_MAX", SHORT).start();
    let plenty = Options::new().env("WHIMBREL__QUERY__MEMORY_MAX", "2GiB").start();
    let (first, second) = tokio::join!(with_tables(&short), with_tables(&plenty));
    [(short, first), (plenty, second)]
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_over_more_than_memory_answer_as_with_plenty() {
    let [(_short, mut client), (_plenty, mut other)] = servers().await;
    let mut queries: Vec<String> = ["JOIN", "LEFT JOIN", "FULL JOIN"]
        .map(|join| format!("{SUMS} {join} others AS b ON a.k = b.k"))
        .into();
    queries.extend(
        [
            "SELECT count(*), sum(length(t)) FROM facts WHERE k IN (SELECT k FROM others WHERE length(t) > 9)",
            "SELECT count(*), sum(id), max(t) FROM facts AS a
             WHERE NOT EXISTS (SELECT 1 FROM others AS b WHERE a.k = b.k AND a.t <> b.t)",
            "SELECT count(*), sum(c), sum(m) FROM (SELECT t, id, count(*) AS c, max(k) AS m FROM facts GROUP BY t, id)",
            "SELECT count(*), sum(length(t)) FROM (SELECT DISTINCT t, k FROM facts)",
            "SELECT count(t), sum(id) FROM facts WHERE t NOT IN (SELECT t FROM others)",
            "SELECT count(t), sum(id) FROM facts WHERE t NOT IN (SELECT nullif(t, 'o7') FROM others)",
            // Texts of many rows in each buffer.
            "SELECT sum(r * id), max(t) FROM (SELECT id, t, row_number() OVER (ORDER BY t, id) AS r FROM facts)",
        ]
        .map(str::to_owned),
    );
    for sql in &queries {
        let found =
            client.try_query(sql).await.unwrap_or_else(|failure| panic!("{sql}: {failure}"));
        let expected = other.query(sql).await;
        assert!(
            found.lines() == expected.lines(),
            "{sql}: {} and {} rows",
            found.len(),
            expected.len()
        );
    }
    let analyzed = format!("EXPLAIN ANALYZE {SUMS} JOIN others AS b ON a.k = b.k");
    for (client, spills) in [(&mut client, true), (&mut other, false)] {
        let told = client.query(&analyzed).await.text();
        let join = told.lines().find(|line| line.contains("HashJoinExec")).unwrap();
        assert_eq!(join.contains("spilled_rows"), spills, "{join}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_over_more_than_memory_take_effect_as_with_plenty() {
    let [(_short, mut client), (_plenty, mut other)] = servers().await;
    for sql in [
        "CREATE TABLE joined AS SELECT a.id, b.id AS other, a.t, b.t AS u
         FROM facts AS a JOIN others AS b ON a.k = b.k",
        "INSERT INTO joined SELECT a.id, b.id, a.t, b.t FROM facts AS a LEFT JOIN others AS b ON a.t = b.t",
        "CREATE TABLE target AS SELECT id, k, t FROM facts",
        "DELETE FROM target WHERE id % 10 = 3",
        "MERGE INTO target USING (SELECT id, k, t FROM others) AS s ON target.id = s.id
         WHEN MATCHED AND s.id % 3 = 0 THEN DELETE
         WHEN MATCHED THEN UPDATE SET t = s.t, k = target.k + s.k
         WHEN NOT MATCHED THEN INSERT (id, k, t) VALUES (s.id, s.k, s.t)",
        "UPDATE target SET t = t || '!' WHERE id % 2 = 0",
        "DELETE FROM target WHERE id IN (SELECT id FROM facts WHERE part < 500)",
        "CREATE MATERIALIZED VIEW kept AS
         SELECT a.id, a.t, b.t AS u FROM facts AS a JOIN others AS b ON a.id = b.id",
    ] {
        for (name, client) in [("short", &mut client), ("plenty", &mut other)] {
            client
                .try_update(sql)
                .await
                .unwrap_or_else(|failure| panic!("{name}: {sql}: {failure}"));
        }
    }
    for client in [&mut client, &mut other] {
        client.newest_job("main.kept").await.expect("SUCCEEDED");
    }
    for table in ["joined", "target", "kept"] {
        let sql = format!(
            "SELECT count(*), sum(id), sum(length(t)), min(t), max(t), sum(id * length(t)) FROM {table}"
        );
        let (found, expected) = (client.query(&sql).await, other.query(&sql).await);
        assert_eq!(found.lines(), expected.lines(), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_to_be_in_memory_names_the_setting() {
    let server = Options::new().env("WHIMBREL__QUERY__MEMORY_MAX", SHORT).start();
    let mut client = with_tables(&server).await;
    // Each row needs all others.
    let sql = "SELECT count(m), max(length(t)) FROM (SELECT t, max(t) OVER () AS m FROM facts)";
    let failure = client.query_failure(sql).await;
    failure.expect(tonic::Code::ResourceExhausted, &["query.memory_max"]);
    // It holds nothing afterwards.
    assert_eq!(client.query("SELECT count(DISTINCT t) FROM facts").await.cell(), "300000");
}
