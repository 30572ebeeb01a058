//! What PostgreSQL spends on the catalog while transforms are refreshed as fast as workers can: their
//! triggers find new versions all the time, because clients append to every source.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    figures::{self, Bound, processor_time},
    flight::Connection,
    postgres::Postgres,
    schedules::as_shipped,
};
use arrow::{array::AsArray, datatypes::Int64Type};

const SOURCES: usize = 10;
/// Clients that append, each to a source after the other.
const CLIENTS: usize = 2;
/// Between two statements of a client.
const PAUSE: Duration = Duration::from_millis(50);
/// Until every transform was refreshed a few times and nothing is done for the first time.
const WARM: Duration = Duration::from_secs(15);

pub(crate) async fn measure(programs: &Path, lasts: Duration) {
    figures::title("PostgreSQL under refreshes by triggers, as many as workers can");
    let postgres = Postgres::start(programs).await;
    let server = as_shipped().arg("--catalog").arg(postgres.url()).start();
    let mut connection = Connection::open(server.address()).await;
    for n in 0..SOURCES {
        connection.update(&format!("CREATE TABLE s{n} (id BIGINT, k BIGINT, v BIGINT)")).await;
        connection.update(&format!("INSERT INTO s{n} VALUES (0, 0, 0)")).await;
        for (kind, query) in [
            (
                "MATERIALIZED VIEW grouped",
                format!("SELECT k, count(*) AS n, sum(v) AS s FROM s{n} GROUP BY k"),
            ),
            (
                "MATERIALIZED VIEW filtered",
                format!("SELECT id, v * 2 AS v FROM s{n} WHERE v % 2 = 0"),
            ),
            ("STREAMING TABLE streamed", format!("SELECT id, v FROM STREAM s{n}")),
        ] {
            connection.query(&format!("CREATE {kind}{n} TRIGGER ON UPDATE AS {query}")).await;
        }
    }
    let (stop, appended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (stop, appended) = (Arc::clone(&stop), Arc::clone(&appended));
            tokio::spawn(append(connection.clone(), client, stop, appended))
        })
        .collect();
    tokio::time::sleep(WARM).await;

    let ended = |state: &str| -> f64 {
        let sql = format!("SELECT count(*) FROM jobs WHERE state = '{state}'");
        postgres.answer(programs, &sql).parse().unwrap()
    };
    let look = || {
        let states = ["SUCCEEDED", "SKIPPED_NO_CHANGE", "FAILED"].map(ended);
        (states, postgres.statements(programs), appended.load(Ordering::Relaxed))
    };
    let (before, start) = (look(), Instant::now());
    let (used, by_server) = (postgres.processor_time(), processor_time(server.pid()));
    tokio::time::sleep(lasts).await;
    let used = postgres.processor_time() - used;
    let by_server = processor_time(server.pid()) - by_server;
    let (after, seconds) = (look(), start.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }

    let each_second = |after: f64, before: f64| (after - before) / seconds;
    let [refreshed, skipped, failed] =
        [0, 1, 2].map(|state| each_second(after.0[state], before.0[state]));
    let statements = each_second(after.1, before.1);
    #[allow(clippy::cast_precision_loss, reason = "a count of statements")]
    let appends = (after.2 - before.2) as f64 / seconds;
    println!(
        "{seconds:.0} s, {} transforms: {appends:.1} appends, {refreshed:.1} refreshes, {skipped:.1} without a change \
         and {failed:.1} failures a second; {statements:.0} statements a second of the catalog; the server \
         used {:.2} processors",
        3 * SOURCES,
        by_server.as_secs_f64() / seconds,
    );
    #[allow(clippy::cast_precision_loss, reason = "a count of processors")]
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let part = used.as_secs_f64() / seconds / processors * 100.0;
    figures::held("of the machine, PostgreSQL", part, " %", Bound::AtMost(5.0));
    println!("{}", postgres.costliest(programs));
    check(&mut connection).await;
    server.stop();
}

async fn append(
    mut connection: Connection,
    client: usize,
    stop: Arc<AtomicBool>,
    appended: Arc<AtomicUsize>,
) {
    let mut id = client + 1;
    while !stop.load(Ordering::Relaxed) {
        let source = id / CLIENTS % SOURCES;
        let sql = format!("INSERT INTO s{source} VALUES ({id}, {}, {})", id % 7, id % 1_000);
        connection.update(&sql).await;
        appended.fetch_add(1, Ordering::Relaxed);
        id += CLIENTS;
        tokio::time::sleep(PAUSE).await;
    }
}

/// A storm that left its transforms behind has measured something else.
async fn check(connection: &mut Connection) {
    let start = Instant::now();
    for n in 0..SOURCES {
        let rows = |table: &str| format!("(SELECT count(*) FROM {table})");
        let same = format!(
            "SELECT CAST({source} - {streamed} + {source} - (SELECT sum(n) FROM grouped{n}) AS BIGINT)",
            source = rows(&format!("s{n}")),
            streamed = rows(&format!("streamed{n}")),
        );
        while connection.query(&same).await[0].column(0).as_primitive::<Int64Type>().value(0) != 0 {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "the transforms of s{n} stay behind"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
