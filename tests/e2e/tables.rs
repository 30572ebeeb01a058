//! Tables as they lie on disk, and what others write there. What SQL answers is in the `.slt` files.

use std::fs;

use tonic::Code;
use whimbrel_tests::{
    client::Client,
    process::{Options, Server},
};

use crate::lake::Log;

/// The folder of a table in the default lake.
fn table_log(server: &Server, name: &str) -> Log {
    let folder = server.options().data().join("lake/tables/main");
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}-")))
        .collect();
    assert_eq!(found.len(), 1, "one folder for {name} in {}", folder.display());
    Log::at(found.remove(0).to_str().unwrap())
}

#[tokio::test]
async fn every_insert_is_one_version_of_a_delta_table() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT NOT NULL, b VARCHAR COMMENT 'text') COMMENT 'mine';
             INSERT INTO t VALUES (1, 'x');
             INSERT INTO t VALUES (2, 'y'), (3, NULL)",
        )
        .await;
    let log = table_log(&server, "t");
    assert_eq!(log.newest(), 2);
    let added: Vec<i64> = log
        .actions()
        .iter()
        .filter_map(|(_, action)| action.get("add")?["stats"].as_str().map(str::to_owned))
        .map(|stats| serde_json::from_str::<serde_json::Value>(&stats).unwrap())
        .map(|stats| stats["numRecords"].as_i64().unwrap())
        .collect();
    assert_eq!(added.iter().sum::<i64>(), 3);
    assert!(log.orphans().is_empty());
    let meta = log.actions().into_iter().find_map(|(_, action)| action.get("metaData").cloned());
    assert_eq!(meta.unwrap()["description"], "mine");
}

#[tokio::test]
async fn a_dropped_table_keeps_its_files_unless_purge_is_said() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.script("CREATE TABLE kept AS SELECT 1 AS a; CREATE TABLE gone AS SELECT 1 AS a").await;
    let (kept, gone) = (table_log(&server, "kept"), table_log(&server, "gone"));
    client.script("DROP TABLE kept; DROP TABLE gone PURGE").await;
    assert!(kept.is_there());
    assert!(!gone.is_there());
    assert!(!gone.folder().exists(), "not even an empty folder stays");
    // The name is free again, and the old rows do not come back.
    client.update("CREATE TABLE kept AS SELECT 2 AS a").await;
    assert_eq!(client.query("SELECT a FROM kept").await.cell(), "2");
}

#[tokio::test]
async fn files_and_delta_tables_elsewhere_are_read_where_they_are() {
    let options = Options::new();
    let data = options.folder().join("elsewhere");
    fs::create_dir_all(data.join("many")).unwrap();
    fs::write(data.join("one.csv"), "id,name\n1,ann\n2,\"b, ob\"\n").unwrap();
    fs::write(data.join("semi.csv"), "1;ann\n2;bob\n").unwrap();
    fs::write(data.join("rows.json"), "{\"a\": 1, \"b\": \"x\"}\n{\"a\": 2}\n").unwrap();
    fs::write(data.join("many/1.csv"), "id\n1\n").unwrap();
    fs::write(data.join("many/2.csv"), "id\n2\n").unwrap();
    let place = data.to_str().unwrap().to_owned();
    let server = options.env("WHIMBREL__LAKE__LOCATIONS", place.as_str()).start();
    let mut client = Client::connect(&server).await;
    for sql in [
        format!(
            "CREATE EXTERNAL TABLE one USING CSV LOCATION '{place}/one.csv' OPTIONS ('header' 'true')"
        ),
        format!(
            "CREATE EXTERNAL TABLE semi STORED AS CSV LOCATION '{place}/semi.csv' OPTIONS ('header' 'false', 'delimiter' ';')"
        ),
        format!("CREATE EXTERNAL TABLE rows_ STORED AS JSON LOCATION 'file://{place}/rows.json'"),
        format!(
            "CREATE EXTERNAL TABLE many USING CSV LOCATION '{place}/many/' OPTIONS ('header' 'true')"
        ),
        format!("CREATE TABLE copied LOCATION '{place}/copied' AS SELECT id, name FROM one"),
    ] {
        client.update(&sql).await;
    }
    assert_eq!(client.query("SELECT * FROM one ORDER BY id").await.lines(), ["1|ann", "2|b, ob"]);
    assert_eq!(client.query("SELECT count(*) FROM semi").await.cell(), "2");
    assert_eq!(client.query("SELECT a, b FROM rows_ ORDER BY a").await.lines(), ["1|x", "2|NULL"]);
    assert_eq!(client.query("SELECT sum(id) FROM many").await.cell(), "3");
    assert!(data.join("copied/_delta_log").is_dir());
    // Both spellings register a Delta table that is there.
    client
        .update(&format!("CREATE EXTERNAL TABLE again USING DELTA LOCATION '{place}/copied'"))
        .await;
    client
        .update(&format!("CREATE EXTERNAL TABLE thrice STORED AS DELTA LOCATION '{place}/copied'"))
        .await;
    client.update("INSERT INTO again VALUES (3, 'cyd')").await;
    assert_eq!(client.query("SELECT count(*) FROM thrice").await.cell(), "3");
    // Files that come later are seen.
    fs::write(data.join("many/3.csv"), "id\n30\n").unwrap();
    assert_eq!(client.query("SELECT sum(id) FROM many").await.cell(), "33");
    client
        .failure("INSERT INTO one VALUES (3, 'cyd')")
        .await
        .expect(Code::InvalidArgument, &["main.one", "CSV"]);
    // External data is never removed by a drop.
    client.update("DROP TABLE again").await;
    assert!(data.join("copied/_delta_log").is_dir());
}

#[tokio::test]
async fn places_outside_the_lake_are_refused_until_they_are_allowed() {
    let options = Options::new();
    let data = options.folder().join("elsewhere");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("one.csv"), "id\n1\n").unwrap();
    let server = options.start();
    let mut client = Client::connect(&server).await;
    let place = data.to_str().unwrap();
    for place in [
        format!("{place}/one.csv"),
        "/etc/passwd".to_owned(),
        format!("{}/lake/../../elsewhere/one.csv", server.options().data().display()),
        "s3://bucket/key".to_owned(),
        "http://127.0.0.1:1/x.csv".to_owned(),
    ] {
        let failure =
            client.failure(&format!("CREATE EXTERNAL TABLE x USING CSV LOCATION '{place}'")).await;
        let refused = matches!(failure.code, Code::PermissionDenied | Code::InvalidArgument);
        assert!(refused, "{failure} for {place}");
        assert!(
            failure.message.contains("lake.locations") || failure.code == Code::InvalidArgument,
            "{failure}"
        );
    }
    // Not through the back door either.
    for sql in [
        format!("SELECT * FROM '{place}/one.csv'"),
        format!("COPY (SELECT 1) TO '{place}/out.csv'"),
    ] {
        client.failure(&sql).await;
    }
    assert!(!data.join("out.csv").exists());
    assert_eq!(client.query("SHOW TABLES").await.len(), 0);
}

#[tokio::test]
async fn a_big_result_arrives_whole_in_messages_that_drivers_accept() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .update("CREATE TABLE t AS SELECT n, repeat('x', 200) AS s FROM (SELECT unnest(range(0, 300000)) AS n) AS r")
        .await;
    let answer = client.query("SELECT n, s FROM t").await;
    assert_eq!(answer.len(), 300_000);
    let total = client.query("SELECT sum(n), sum(length(s)) FROM t").await.text();
    assert_eq!(total, "44999850000|60000000");
    // One value larger than a usual batch.
    let wide = client.query("SELECT repeat('y', 5000000) AS s").await;
    assert_eq!(wide.cell().len(), 5_000_000);
}

#[tokio::test]
async fn a_stream_that_is_given_up_ends_its_query() {
    use futures::TryStreamExt;

    let server = Options::new().env("WHIMBREL__QUERY__CONCURRENCY", "1").start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT unnest(range(0, 3000)) AS n").await;
    let info =
        client.flight_info("SELECT a.n, b.n AS m FROM t AS a, t AS b, t AS c").await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.flight().do_get(ticket).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    drop(stream);
    // Its place is free again: there is only one.
    assert_eq!(client.query("SELECT count(*) FROM t").await.cell(), "3000");
    whimbrel_tests::eventually::eventually("the log tells that it was given up", || {
        let mut client = client.clone();
        async move {
            let state = client
                .query("SELECT state FROM system.queries WHERE sql LIKE '%AS m FROM t AS a%' AND sql NOT LIKE '%system%'")
                .await
                .column("state");
            state.iter().any(|state| state.to_lowercase().contains("cancel")).then_some(())
        }
    })
    .await;
}

#[tokio::test]
async fn a_join_that_makes_very_many_rows_lets_others_go_on_and_can_be_given_up() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT unnest(range(0, 48000)) AS n").await;
    // Each row of three small tables meets 3,000 of the next: nothing more is read for a long time.
    let join = "SELECT count(*) AS fan FROM t AS a JOIN t AS b ON a.n % 16 = b.n % 16 \
                JOIN t AS c ON b.n % 16 = c.n % 16";
    let mut other = Client::connect(&server).await;
    let running = tokio::spawn(async move { other.try_query(join).await });
    let states = client.clone();
    let state_is = async |wanted: &str| {
        whimbrel_tests::eventually::eventually(wanted, || {
            let mut client = states.clone();
            async move {
                let sql = "SELECT state FROM system.queries \
                           WHERE sql LIKE '%AS fan%' AND sql NOT LIKE '%system%'";
                let state = client.query(sql).await.column("state");
                (state == [wanted]).then_some(())
            }
        })
        .await;
    };
    state_is("RUNNING").await;
    for _ in 0..5 {
        assert_eq!(client.query("SELECT sum(n) FROM t").await.cell(), "1151976000");
    }
    assert!(!running.is_finished(), "others had their answers beside it");
    running.abort();
    state_is("CANCELLED").await;
    assert_eq!(client.query("SELECT max(n) FROM t").await.cell(), "47999");
}

#[tokio::test]
async fn a_broken_log_breaks_one_table_only() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script("CREATE TABLE broken AS SELECT 1 AS a; CREATE TABLE whole AS SELECT 2 AS a")
        .await;
    let log = table_log(&server, "broken");
    let next = log.folder().join("_delta_log/00000000000000000001.json");
    fs::write(&next, "{\"add\": this is not JSON\n").unwrap();
    let failure = client.query_failure("SELECT * FROM broken").await;
    failure.expect(Code::DataLoss, &["broken Delta log", "restore the files"]);
    assert!(!failure.message.contains("buoyant_kernel::"), "our insides: {failure}");
    let failure = client.failure("INSERT INTO broken VALUES (1)").await;
    assert_eq!(failure.code, Code::DataLoss, "{failure}");
    assert_eq!(client.query("SELECT a FROM whole").await.cell(), "2");
    assert_eq!(client.query("SHOW TABLES").await.len(), 2);
    fs::remove_file(next).unwrap();
    assert_eq!(client.query("SELECT a FROM broken").await.cell(), "1");
}

#[tokio::test]
async fn a_missing_data_file_is_named() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT 1 AS a").await;
    let log = table_log(&server, "t");
    let path = log
        .actions()
        .iter()
        .find_map(|(_, action)| action.get("add")?["path"].as_str().map(str::to_owned))
        .unwrap();
    fs::remove_file(log.folder().join(&path)).unwrap();
    let failure = client.query_failure("SELECT * FROM t").await;
    let told = matches!(failure.code, Code::DataLoss | Code::NotFound);
    assert!(told && failure.message.contains(".parquet"), "{failure}");
}

#[tokio::test]
async fn unsupported_table_features_are_refused_by_name() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t AS SELECT 1 AS a").await;
    let log = table_log(&server, "t");
    let next = log.folder().join("_delta_log/00000000000000000001.json");
    let protocol = "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"teleportation\"],\"writerFeatures\":[\"teleportation\"]}}\n";
    fs::write(&next, protocol).unwrap();
    for sql in ["SELECT * FROM t", "INSERT INTO t VALUES (2)"] {
        let failure = client.query_failure(sql).await;
        failure.expect(Code::Unimplemented, &["teleportation"]);
    }
    // A feature that only writers have to know.
    let protocol = "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":7,\"writerFeatures\":[\"juggling\"]}}\n";
    fs::write(&next, protocol).unwrap();
    assert_eq!(client.query("SELECT a FROM t").await.cell(), "1");
    let failure = client.failure("INSERT INTO t VALUES (2)").await;
    failure.expect(Code::Unimplemented, &["juggling"]);
}

/// A filter that leaves one row in a hundred must not send the texts of all of them along: rows that are
/// left over still point into the buffers that they were read into.
#[tokio::test]
async fn what_a_filter_leaves_is_sent_and_nothing_beside() {
    const ROWS: usize = 100_000;
    const WIDTH: usize = 200;
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let texts = format!("lpad(CAST(value AS VARCHAR), {WIDTH}, 'x')");
    client
        .update(&format!(
            "CREATE TABLE t AS SELECT value AS n, {texts} AS s FROM generate_series(1, {ROWS})"
        ))
        .await;
    for sql in [
        "SELECT n, s FROM t WHERE n % 100 = 7",
        "SELECT s FROM t WHERE n % 100 = 7 ORDER BY s DESC",
        "SELECT max(s) AS s FROM t GROUP BY n HAVING n % 100 = 7",
    ] {
        let info = client.flight_info(sql).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut stream = client.flight().inner_mut().do_get(ticket).await.unwrap().into_inner();
        let mut sent = 0;
        while let Some(data) = stream.message().await.unwrap() {
            sent += data.data_body.len();
        }
        let payload = ROWS / 100 * (WIDTH + 16);
        assert!(sent >= ROWS / 100 * WIDTH, "{sql}: {sent} bytes are not all");
        assert!(sent * 10 <= payload * 12, "{sql}: {sent} bytes for {payload}");
    }
}
