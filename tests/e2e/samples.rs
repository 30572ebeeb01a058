//! VERIFY of a part of the keys.

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

async fn start() -> (Server, Client) {
    let server = Options::new().start();
    let client = Client::connect(&server).await;
    (server, client)
}

/// A view of 400 keys, and its table under another name, so that somebody else can write into it.
async fn view(client: &mut Client, definition: &str) {
    client
        .script(
            "CREATE TABLE t (k BIGINT, a BIGINT);
             INSERT INTO t SELECT value % 400, value FROM generate_series(1, 2000)",
        )
        .await;
    client.update(&format!("CREATE MATERIALIZED VIEW m {definition}")).await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let location = client.query("DESCRIBE DETAIL m").await.only("location");
    let other = format!("CREATE EXTERNAL TABLE other STORED AS DELTA LOCATION '{location}'");
    client.update(&other).await;
}

#[tokio::test]
async fn a_sample_has_whole_keys_and_finds_what_differs_among_them() {
    let (_server, mut client) = start().await;
    view(&mut client, "AS SELECT k, count(*) AS n, sum(a) AS s FROM t GROUP BY k").await;
    let sampled = "VERIFY m SAMPLE 10 PERCENT OF KEYS";
    let equal = client.query(sampled).await;
    assert_eq!(equal.only("verdict"), "EQUAL", "{}", equal.text());
    let keys: u64 = equal.only("rows").parse().unwrap();
    assert!((15..80).contains(&keys), "{}", equal.text());
    assert_eq!(equal.only("rows_computed"), keys.to_string());
    let note = equal.only("note");
    assert!(note.contains("a sample: only rows of 10 percent of the keys (k)"), "{note}");
    assert!(note.contains(&format!("{keys} of them are stored")), "{note}");
    // The same one always, and all of a hundred percent.
    assert_eq!(client.query(sampled).await.text(), equal.text());
    let all = client.query("VERIFY m SAMPLE 100 PERCENT OF KEYS").await;
    assert_eq!((all.only("verdict"), all.only("rows")), ("EQUAL".to_owned(), "400".to_owned()));
    assert_eq!(all.only("hash"), client.query("VERIFY m").await.only("hash"));

    // A key of the sample, told by somebody who takes all rows away and puts them back.
    client.update("CREATE TABLE kept AS SELECT * FROM other").await;
    client.update("DELETE FROM other").await;
    let gone = client.query(sampled).await;
    let text = gone.only("differing");
    let told = text.split("k = ").nth(1).unwrap();
    let inside: i64 = told.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    client.update(&format!("INSERT INTO other SELECT * FROM kept WHERE k <> {inside}")).await;
    let missing = client.query(sampled).await;
    assert_eq!(missing.only("verdict"), "DIFFERENT", "{}", missing.text());
    let differing = missing.only("differing");
    assert!(differing.contains(&format!("only computed: k = {inside},")), "{differing}");
    client.update(&format!("INSERT INTO other SELECT * FROM kept WHERE k = {inside}")).await;
    assert_eq!(client.query(sampled).await.only("verdict"), "EQUAL");

    // A row that is another one is found as such; of keys outside nothing is said.
    client.update(&format!("UPDATE other SET s = s + 1 WHERE k = {inside}")).await;
    let changed = client.query(sampled).await.only("differing");
    assert!(changed.contains("only stored") && changed.contains("only computed"), "{changed}");
    client.update(&format!("UPDATE other SET s = s - 1 WHERE k = {inside}")).await;
    let mut unseen = 0;
    for key in 0..20 {
        client.update(&format!("UPDATE other SET s = s + 1 WHERE k = {key}")).await;
        let whole = client.query("VERIFY m").await;
        assert_eq!(whole.only("verdict"), "DIFFERENT", "{key}");
        let sample = client.query(sampled).await;
        match sample.only("verdict").as_str() {
            "EQUAL" => unseen += 1,
            _ => assert!(sample.only("differing").contains(&format!("k = {key},"))),
        }
        client.update(&format!("UPDATE other SET s = s - 1 WHERE k = {key}")).await;
    }
    assert!(unseen > 5, "{unseen} of 20");
}

#[tokio::test]
async fn rows_without_a_key_are_sampled_by_what_they_are() {
    let (_server, mut client) = start().await;
    // The sum has other last digits whenever it is computed; it chooses nothing.
    view(&mut client, "AS SELECT a, sqrt(a) AS root FROM t").await;
    let sample = client.query("VERIFY m SAMPLE 12.5 PERCENT OF KEYS").await;
    assert_eq!(sample.only("verdict"), "EQUAL", "{}", sample.text());
    let rows: u64 = sample.only("rows").parse().unwrap();
    assert!((150..350).contains(&rows), "{}", sample.text());
    let note = sample.only("note");
    assert!(note.contains("12.5 percent of the rows") && note.contains("(a)"), "{note}");
    client.update("DELETE FROM other").await;
    let gone = client.query("VERIFY m SAMPLE 12.5 PERCENT OF KEYS").await;
    assert_eq!(gone.only("verdict"), "DIFFERENT");
    assert_eq!(gone.only("rows_computed"), rows.to_string());

    client.update("CREATE MATERIALIZED VIEW roots AS SELECT sqrt(a) AS root FROM t").await;
    client.newest_job("main.roots").await.expect("SUCCEEDED");
    let failure = client.failure("VERIFY roots SAMPLE 5 PERCENT OF KEYS").await;
    failure.expect(Code::FailedPrecondition, &["floating point", "VERIFY main.roots"]);
}

#[tokio::test]
async fn a_declared_key_chooses_and_so_do_the_keys_of_events() {
    let (_server, mut client) = start().await;
    view(
        &mut client,
        "(CONSTRAINT pk PRIMARY KEY (a), CONSTRAINT few EXPECT (a > 100) ON VIOLATION DROP ROW)
         AS SELECT k, a FROM t",
    )
    .await;
    let sample = client.query("VERIFY m SAMPLE 20 PERCENT OF KEYS").await;
    assert_eq!(sample.only("verdict"), "EQUAL", "{}", sample.text());
    assert!(sample.only("note").contains("20 percent of the keys (a)"), "{}", sample.text());

    client
        .script(
            "CREATE TABLE events (id BIGINT, name STRING, seq BIGINT);
             INSERT INTO events SELECT value % 100, concat('n', value), value FROM generate_series(1, 300);
             CREATE STREAMING TABLE people
               FLOW AUTO CDC FROM STREAM events KEYS (id) SEQUENCE BY seq STORED AS SCD TYPE 2",
        )
        .await;
    client.newest_job("main.people").await.expect("SUCCEEDED");
    let sample = client.query("VERIFY people SAMPLE 30 PERCENT OF KEYS").await;
    assert_eq!(sample.only("verdict"), "EQUAL", "{}", sample.text());
    let rows: u64 = sample.only("rows").parse().unwrap();
    // Every state of a key is in the sample with the others.
    assert_eq!(rows % 3, 0);
    let note = sample.only("note");
    assert!(note.contains("(id)") && note.contains(&format!("{} of them", rows / 3)), "{note}");
}
