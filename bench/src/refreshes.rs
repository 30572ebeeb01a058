//! What a refresh costs: of one new hundredth of lineitem beside all of it, of a projection beside
//! CREATE TABLE AS, with expectations and a key beside without, and of nothing at all.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use arrow::array::AsArray;

use crate::{
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
};

const PROJECTION: &str =
    "SELECT l_orderkey, l_linenumber, l_partkey, l_extendedprice, l_shipdate FROM facts";
const AGGREGATE: &str = "SELECT l_returnflag, l_linestatus, count(*) AS lines, \
     sum(l_quantity) AS quantity, sum(l_extendedprice) AS price FROM facts \
     GROUP BY l_returnflag, l_linestatus";
const JOIN: &str = "SELECT l.l_orderkey, l.l_linenumber, o.o_orderdate, o.o_orderpriority, \
     l.l_extendedprice FROM facts l JOIN orders o ON l.l_orderkey = o.o_orderkey";
const CHECKED: &str = "(CONSTRAINT priced EXPECT (l_extendedprice > 0) ON VIOLATION FAIL UPDATE, \
     CONSTRAINT dated EXPECT (l_shipdate IS NOT NULL) ON VIOLATION DROP ROW, \
     CONSTRAINT line PRIMARY KEY (l_orderkey, l_linenumber))";

pub(crate) async fn measure(dataset: &Dataset, rounds: usize) {
    figures::title("Refreshes over lineitem, seconds, the best of each");
    let server = dataset.serve();
    let mut connection = Connection::open(server.address()).await;
    let most = format!("SELECT * FROM lineitem WHERE l_orderkey % 128 >= {rounds}");
    connection.update(&format!("CREATE TABLE facts AS {most}")).await;
    let views = [("aggregated", AGGREGATE), ("joined", JOIN), ("projected", PROJECTION)];
    for (name, query) in views {
        create(&mut connection, &format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await;
    }
    let checked = format!("CREATE MATERIALIZED VIEW checked {CHECKED} AS {PROJECTION}");
    create(&mut connection, &checked).await;

    let mut best: Vec<(String, Duration)> = Vec::new();
    for _ in 0..rounds {
        // The join first: what it frees costs whatever comes right behind it.
        for name in ["joined", "aggregated", "checked", "projected"] {
            write_back();
            let (spent, _) = refresh(&mut connection, name, "FULL SYNC").await;
            note(&mut best, format!("{name}, in full"), spent);
        }
        write_back();
        let start = Instant::now();
        connection.update(&format!("CREATE TABLE made AS {PROJECTION}")).await;
        note(&mut best, "the projection by CREATE TABLE AS".to_owned(), start.elapsed());
        connection.update("DROP TABLE made PURGE").await;
    }
    let mut strategies = Vec::new();
    for round in 0..rounds {
        let new = format!("SELECT * FROM lineitem WHERE l_orderkey % 128 = {round}");
        connection.update(&format!("INSERT INTO facts {new}")).await;
        for name in ["aggregated", "joined"] {
            let (spent, strategy) = refresh(&mut connection, name, "SYNC").await;
            note(&mut best, format!("{name}, a hundredth of new rows"), spent);
            strategies.push(format!("{name} {strategy}"));
        }
        let (spent, _) = refresh(&mut connection, "aggregated", "SYNC").await;
        note(&mut best, "aggregated, nothing new".to_owned(), spent);
    }
    for (name, _) in &views {
        connection.update(&format!("DROP MATERIALIZED VIEW {name} PURGE")).await;
    }
    connection.update("DROP MATERIALIZED VIEW checked PURGE").await;
    connection.update("DROP TABLE facts PURGE").await;
    server.stop();

    for (what, spent) in &best {
        println!("{what}: {:.3} s", spent.as_secs_f64());
    }
    strategies.sort();
    strategies.dedup();
    println!("strategies: {}", strategies.join(", "));
    let of = |what: &str| {
        let found = best.iter().find(|(name, _)| name == what);
        found.map_or(f64::NAN, |(_, spent)| spent.as_secs_f64())
    };
    for name in ["aggregated", "joined"] {
        let part = of(&format!("{name}, a hundredth of new rows"));
        let ratio = part / of(&format!("{name}, in full"));
        figures::held(&format!("{name}, of a full refresh"), ratio, "", Bound::AtMost(0.1));
    }
    let projected = of("projected, in full");
    let made = projected / of("the projection by CREATE TABLE AS");
    figures::held("a full refresh, of CREATE TABLE AS", made, "", Bound::AtMost(1.1));
    let checks = of("checked, in full") / projected;
    figures::held("expectations and a key, of without", checks, "", Bound::AtMost(1.15));
    let nothing = of("aggregated, nothing new") * 1_000.0;
    figures::held("REFRESH … SYNC with nothing new", nothing, " ms", Bound::AtMost(20.0));
}

/// Waits until the kernel has written what came before, which would take from what is measured next.
fn write_back() {
    assert!(Command::new("sync").status().unwrap().success());
}

async fn create(connection: &mut Connection, sql: &str) {
    connection.query(sql).await;
    let name = sql.split_whitespace().nth(3).unwrap();
    refresh(connection, name, "SYNC").await;
}

/// Returns how long it took, and by which strategy.
async fn refresh(connection: &mut Connection, name: &str, how: &str) -> (Duration, String) {
    let start = Instant::now();
    connection.query(&format!("REFRESH MATERIALIZED VIEW {name} {how}")).await;
    let spent = start.elapsed();
    let newest = format!(
        "SELECT coalesce(strategy, 'none') FROM system.runs WHERE object = 'main.{name}' \
         ORDER BY started_at DESC LIMIT 1"
    );
    let rows = connection.query(&newest).await;
    let strategy = rows.iter().find(|batch| batch.num_rows() > 0);
    let strategy = strategy.map(|batch| batch.column(0).as_string::<i32>().value(0).to_owned());
    (spent, strategy.unwrap_or_default())
}

fn note(best: &mut Vec<(String, Duration)>, what: String, spent: Duration) {
    match best.iter_mut().find(|(name, _)| *name == what) {
        Some((_, least)) => *least = spent.min(*least),
        None => best.push((what, spent)),
    }
}
