//! Joins that do not fit into memory: whatever joins is done all the same, on sorted rows.

use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

/// Two tables of the same keys, each far larger than the memory of all statements.
async fn with_large_tables() -> (Server, Client) {
    let options = Options::new()
        .env("WHIMBREL__QUERY__MEMORY_MAX", "128MiB")
        .env("WHIMBREL__QUERY__TARGET_PARTITIONS", "2");
    let server = options.start();
    let mut client = Client::connect(&server).await;
    for (table, factor) in [("a", 1), ("b", 7)] {
        // Keys in another order each, and text that takes room once it is read.
        let rows = format!(
            "CREATE TABLE {table} AS SELECT (n * {factor}) % 160000 AS id, \
             repeat('{table}', 900) || CAST(n AS STRING) AS text \
             FROM generate_series(0, 159999) AS t(n)"
        );
        client.update(&rows).await;
    }
    (server, client)
}

fn sorted(server: &Server) -> usize {
    server.log().matches("joins are sorted now").count()
}

const JOIN: &str = "SELECT a.id, length(a.text) + length(b.text) AS n, a.text AS x, b.text AS y \
                    FROM a JOIN b ON a.id = b.id";

#[tokio::test(flavor = "multi_thread")]
async fn a_join_larger_than_the_memory_is_done_on_sorted_rows() {
    let (server, mut client) = with_large_tables().await;
    let all = format!("SELECT count(*) || ' ' || count(DISTINCT id) FROM ({JOIN}) AS j");
    // No column of text is read by this one: it fits, and runs as ever.
    assert_eq!(client.query(&all).await.cell(), "160000 160000");
    assert_eq!(sorted(&server), 0);

    let rows = client.query(&format!("SELECT id, n FROM ({JOIN}) AS j WHERE x < y")).await;
    assert_eq!((rows.len(), sorted(&server)), (160_000, 1));

    client.update(&format!("CREATE TABLE j AS {JOIN}")).await;
    assert_eq!((client.count("j").await, sorted(&server)), (160_000, 2));

    let merge = "MERGE INTO a USING (SELECT id + 80000 AS id, text FROM b) AS s ON a.id = s.id \
                 WHEN MATCHED THEN UPDATE SET text = s.text WHEN NOT MATCHED THEN INSERT *";
    assert_eq!(client.update(merge).await, 160_000);
    assert_eq!((client.count("a").await, sorted(&server)), (240_000, 3));
    let from_b = "SELECT count(*) FROM a WHERE text LIKE 'b%'";
    assert_eq!(client.query(from_b).await.cell(), "160000");

    client.update(&format!("CREATE MATERIALIZED VIEW m AS {JOIN}")).await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    assert_eq!((client.count("m").await, sorted(&server)), (160_000, 4));
}
