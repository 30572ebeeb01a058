//! What writing costs: new tables, MERGE, changes of few rows, many sessions at once, planning on
//! many files. Peers run in processes of their own on the same data: DataFusion's COPY here, the
//! Python package `deltalake` by `bench/peer.py`.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use futures::future::join_all;
use tests::process::{Options, Server};

use crate::{
    dataset::Dataset,
    figures::{self, Bound, median},
    flight::Connection,
};

const KEYS: &str = "t.l_orderkey = s.l_orderkey AND t.l_linenumber = s.l_linenumber";

/// `CREATE TABLE AS` of lineitem beside DataFusion's own COPY and the Python package.
pub(crate) async fn tables(dataset: &Dataset, python: Option<&Path>, rounds: usize) {
    figures::title("CREATE TABLE AS of lineitem, seconds, medians of alternating runs");
    let server = dataset.serve();
    let mut connection = Connection::open(server.address()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = dataset.file("lineitem");
    connection
        .update(&format!(
            "CREATE EXTERNAL TABLE lineitem_file USING PARQUET LOCATION '{}'",
            file.display()
        ))
        .await;
    let (mut ours, mut copies, mut pythons) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let spent =
            timed(connection.update("CREATE TABLE made AS SELECT * FROM lineitem_file")).await;
        connection.update("DROP TABLE made PURGE").await;
        let copied = copy(&file, &folder.path().join(format!("copy{round}"))).await;
        if round > 0 {
            ours.push(spent);
            copies.push(copied);
        }
        if let Some(python) = python
            && round < 2
        {
            let place = folder.path().join(format!("python{round}"));
            pythons.push(peer(python, &["write", text(&file), text(&place)]).spent);
        }
    }
    connection.update("DROP TABLE lineitem_file").await;
    let ours = seconds("Whimbrel", &ours);
    let copies = seconds("COPY TO Parquet, DataFusion in process", &copies);
    figures::held("of COPY", ours / copies, "", Bound::AtMost(1.15));
    if !pythons.is_empty() {
        let python = seconds("write_deltalake", &pythons);
        figures::held("of write_deltalake", ours / python, "", Bound::AtMost(1.0));
    }
    server.stop();
}

/// DataFusion's COPY of a Parquet file with the settings that the server writes with.
async fn copy(file: &Path, to: &Path) -> Duration {
    let config = SessionConfig::new();
    let context = SessionContext::new_with_config(config);
    context.register_parquet("source", text(file), ParquetReadOptions::default()).await.unwrap();
    let sql = format!(
        "COPY (SELECT * FROM source) TO '{}/' STORED AS PARQUET OPTIONS (compression 'zstd(1)')",
        to.display()
    );
    let start = Instant::now();
    context.sql(&sql).await.unwrap().collect().await.unwrap();
    start.elapsed()
}

/// MERGE of few and of many rows into lineitem, beside the same MERGE of the Python package.
pub(crate) async fn merges(dataset: &Dataset, python: Option<&Path>) {
    for rows in [1_000, 100_000] {
        let server = dataset.serve();
        let mut connection = Connection::open(server.address()).await;
        figures::title(&format!("MERGE of {rows} rows into lineitem"));
        connection.update("CREATE TABLE target AS SELECT * FROM lineitem").await;
        connection
            .update(&format!(
                "CREATE TABLE source AS SELECT l_orderkey, l_linenumber, \
                 l_quantity + 1 AS l_quantity, 'merged' AS l_comment \
                 FROM lineitem ORDER BY (l_orderkey * 7919) % 6000011, l_linenumber LIMIT {rows}"
            ))
            .await;
        let sql = format!(
            "MERGE INTO target AS t USING source AS s ON {KEYS} WHEN MATCHED THEN \
             UPDATE SET l_quantity = s.l_quantity, l_comment = s.l_comment"
        );
        // A new process, like the one of the peer: what made the tables is not counted.
        let server = server.stop().start();
        let mut connection = Connection::open(server.address()).await;
        let start = Instant::now();
        let changed = connection.update(&sql).await;
        let ours = start.elapsed();
        let memory = crate::memory::resident(server.pid(), "VmHWM").unwrap();
        assert_eq!(changed, rows);
        println!("Whimbrel: {:.2} s, peak {memory:.0} MB", ours.as_secs_f64());
        if let Some(python) = python {
            // The same files: version 0 of the target is what the MERGE above began with.
            connection.query("RESTORE target TO VERSION AS OF 0").await;
            let location = |table: &str| dataset.managed(table);
            let (target, source) = (location("target"), location("source"));
            let theirs = peer(python, &["merge", &target, &source]);
            println!(
                "delta-rs (Python): {:.2} s, peak {:.0} MB",
                theirs.spent.as_secs_f64(),
                theirs.peak
            );
            let ratio = ours.as_secs_f64() / theirs.spent.as_secs_f64();
            figures::held("time, of delta-rs", ratio, "", Bound::AtMost(0.5));
            figures::held("peak memory, of delta-rs", memory / theirs.peak, "", Bound::AtMost(0.5));
        }
        connection.update("DROP TABLE target PURGE").await;
        connection.update("DROP TABLE source PURGE").await;
        server.stop();
    }
}

/// A change of one in a hundred of clustered rows.
pub(crate) async fn changes(dataset: &Dataset) {
    figures::title("DELETE and UPDATE of 1 % of clustered rows of lineitem");
    let server = dataset.serve();
    let mut connection = Connection::open(server.address()).await;
    connection
        .update(
            "CREATE TABLE clustered TBLPROPERTIES ('delta.targetFileSize' = '4194304') AS \
             SELECT * FROM lineitem ORDER BY l_orderkey",
        )
        .await;
    let whole = bytes_of(&mut connection, "clustered").await;
    for sql in [
        "UPDATE clustered SET l_comment = 'x' WHERE l_orderkey BETWEEN 3000000 AND 3060000",
        "DELETE FROM clustered WHERE l_orderkey BETWEEN 3000000 AND 3060000",
    ] {
        let before = read_bytes(&server);
        let start = Instant::now();
        let rows = connection.update(sql).await;
        let spent = start.elapsed();
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let part = (read_bytes(&server) - before) as f64 / whole as f64;
        let word = &sql[..6];
        println!("{word}: {rows} rows in {:.0} ms", spent.as_secs_f64() * 1000.0);
        figures::held("bytes read, of the table's", part, "", Bound::AtMost(0.1));
    }
    connection.update("DROP TABLE clustered PURGE").await;
    server.stop();
}

/// One session and sixteen that append to one table.
pub(crate) async fn appends() {
    // As many for each: files are put together beside both.
    const ROWS: usize = 640;
    figures::title("Commits per second of sessions that append to one table");
    let server = Options::new().data_dir("data").start();
    let mut rates = Vec::new();
    for sessions in [1, 16] {
        let mut connection = Connection::open(server.address()).await;
        connection.update(&format!("CREATE TABLE many{sessions} (id BIGINT, name VARCHAR)")).await;
        let address = server.address().to_owned();
        let start = Instant::now();
        let work = (0..sessions).map(|session| {
            let address = address.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await;
                for row in 0..ROWS / sessions {
                    let id = session * ROWS + row;
                    let sql = format!("INSERT INTO many{sessions} VALUES ({id}, 'event')");
                    connection.update(&sql).await;
                }
            })
        });
        for session in join_all(work).await {
            session.unwrap();
        }
        let spent = start.elapsed();
        let counted =
            connection.query(&format!("SELECT count(DISTINCT id) AS n FROM many{sessions}")).await;
        let counted = arrow::util::display::array_value_to_string(counted[0].column(0), 0).unwrap();
        assert_eq!(counted, ROWS.to_string(), "none is lost");
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = ROWS as f64 / spent.as_secs_f64();
        println!("{sessions} sessions: {rate:.0} statements/s");
        rates.push(rate);
    }
    figures::held("of one session", rates[1] / rates[0], "", Bound::AtLeast(3.0));
    server.stop();
}

/// Planning a query for one row on a table of 10,000 files and 1,000 commits.
pub(crate) async fn planning() {
    figures::title("Planning a point query on 10,000 files and 1,000 commits");
    let server = Options::new().data_dir("data").start();
    let mut connection = Connection::open(server.address()).await;
    connection
        .update(
            "CREATE TABLE wide (id BIGINT, name VARCHAR, part INTEGER) PARTITIONED BY (part) \
             TBLPROPERTIES ('delta.autoOptimize.autoCompact' = 'false')",
        )
        .await;
    for commit in 0..1_000 {
        connection
            .update(&format!(
                "INSERT INTO wide SELECT {commit} * 10 + value, 'x', value FROM generate_series(0, 9)"
            ))
            .await;
    }
    let detail = connection.query("DESCRIBE DETAIL wide").await;
    let files = detail[0].column_by_name("num_files").unwrap();
    let files = arrow::util::display::array_value_to_string(files, 0).unwrap();
    assert_eq!(files, "10000", "nobody has put them together");
    let mut times = Vec::new();
    for n in 0..50 {
        let sql = format!("SELECT * FROM wide WHERE id = {}", n * 199);
        let start = Instant::now();
        connection.client().execute(sql, None).await.unwrap();
        if n >= 10 {
            times.push(start.elapsed());
        }
    }
    println!("p95 {:.1} ms", figures::quantile(&times, 0.95));
    figures::held("median, warm", median(&times), " ms", Bound::AtMost(15.0));
    server.stop();
}

async fn bytes_of(connection: &mut Connection, table: &str) -> u64 {
    let detail = connection.query(&format!("DESCRIBE DETAIL {table}")).await;
    let column = detail[0].column_by_name("size_in_bytes").unwrap();
    arrow::util::display::array_value_to_string(column, 0).unwrap().parse().unwrap()
}

/// Bytes that the server has read so far, from wherever.
fn read_bytes(server: &Server) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", server.pid())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap()
}

struct Peer {
    spent: Duration,
    peak: f64,
}

/// Runs the Python package. It prints seconds and the peak of its memory in megabytes.
fn peer(python: &Path, arguments: &[&str]) -> Peer {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer.py");
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut words = printed.split_whitespace().map(|word| word.parse::<f64>().unwrap());
    Peer { spent: Duration::from_secs_f64(words.next().unwrap()), peak: words.next().unwrap() }
}

fn seconds(name: &str, times: &[Duration]) -> f64 {
    let seconds = median(times) / 1000.0;
    println!("{name}: {seconds:.2} s");
    seconds
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

async fn timed<T>(work: impl Future<Output = T>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}
