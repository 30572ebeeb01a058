//! What knowing who asks costs a small query: two servers on the same table, one of which has users,
//! rights and an audit trail.

use std::time::{Duration, Instant};

use tests::process::Options;

use crate::{
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
};

const SQL: &str = "SELECT s_name, s_acctbal FROM supplier WHERE s_suppkey = 4711";
const QUERIES: usize = 3000;
const WARM: usize = 200;

pub(crate) async fn measure(dataset: &Dataset) {
    figures::title("A small query with and without users, rights and audit");
    // Each has a catalog of its own and reads the same files.
    let open = options(dataset).env("WHIMBREL__AUDIT__STATEMENTS", "denied").start();
    let closed = options(dataset);
    for name in ["boss", "ada"] {
        let data = closed.data().to_str().expect("a path that is text").to_owned();
        let arguments = ["user", "add", name, "--password-stdin", "--data-dir", &data];
        let added = closed.run(&arguments, "secret-of-a-benchmark\n");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    }
    let closed = closed.start();

    let mut anybody = Connection::open(open.address()).await;
    create(&mut anybody, dataset).await;
    let mut admin = Connection::open(closed.address()).await;
    admin.log_in("boss", "secret-of-a-benchmark").await;
    create(&mut admin, dataset).await;
    for sql in
        ["CREATE ROLE readers", "GRANT SELECT ON supplier TO readers", "GRANT readers TO ada"]
    {
        admin.update(sql).await;
    }
    let mut ada = Connection::open(closed.address()).await;
    ada.log_in("ada", "secret-of-a-benchmark").await;

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for n in 0..WARM + QUERIES {
        // Who goes first changes, so that neither always finds what the other left in the caches.
        let times = if n % 2 == 0 {
            let free = ask(&mut anybody).await;
            (free, ask(&mut ada).await)
        } else {
            let checked = ask(&mut ada).await;
            (ask(&mut anybody).await, checked)
        };
        if n >= WARM {
            without.push(times.0);
            with.push(times.1);
        }
    }
    let audited = admin
        .query("SELECT count(*) FROM system.audit WHERE principal = 'ada' AND event = 'QUERY'")
        .await;
    let audited = arrow::util::display::array_value_to_string(audited[0].column(0), 0).unwrap();
    println!("{audited} statements in the audit trail");
    for (name, times) in [("without", &without), ("with", &with)] {
        let [p50, p95] = [0.5, 0.95].map(|part| figures::quantile(times, part));
        println!("{name}: p50 {p50:.3} ms, p95 {p95:.3} ms, mean {:.3} ms", mean(times));
    }
    for (name, of) in [("median", figures::median as fn(&[Duration]) -> f64), ("mean", mean as _)] {
        let ratio = of(&with) / of(&without);
        figures::held(&format!("{name}, of that without"), ratio, "", Bound::AtMost(1.03));
    }
    open.stop();
    closed.stop();
}

fn options(dataset: &Dataset) -> Options {
    let files = dataset.location("supplier").to_file_path().expect("a folder of this machine");
    Options::new()
        .data_dir("data")
        .env("WHIMBREL__LAKE__LOCATIONS", files.to_str().expect("a path that is text"))
        .without_env("WHIMBREL__REFRESH__LEASE")
        .without_env("WHIMBREL__REFRESH__TICK")
}

async fn create(connection: &mut Connection, dataset: &Dataset) {
    let location = dataset.location("supplier");
    connection.update(&format!("CREATE TABLE supplier USING DELTA LOCATION '{location}'")).await;
}

async fn ask(connection: &mut Connection) -> Duration {
    let start = Instant::now();
    assert_eq!(connection.drain(SQL).await.rows, 1);
    start.elapsed()
}

fn mean(times: &[Duration]) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = times.len() as f64;
    times.iter().sum::<Duration>().as_secs_f64() * 1000.0 / count
}
