//! What a thousand schedules cost while none of them is due: processor time of the server, and, where
//! there is a PostgreSQL, statements of its catalog.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use arrow::{array::AsArray, datatypes::Int64Type};
use tests::process::Options;

use crate::{
    figures::{self, Bound, processor_time},
    flight::Connection,
    postgres::Postgres,
};

const TRANSFORMS: usize = 1_000;
const IDLE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(programs: Option<&Path>) {
    figures::title("A thousand transforms with schedules, of which none is due");
    idle("with SQLite", as_shipped(), None).await;
    if let Some(programs) = programs {
        let postgres = Postgres::start(programs).await;
        let options = as_shipped().arg("--catalog").arg(postgres.url());
        idle("with PostgreSQL", options, Some((programs, &postgres))).await;
    }
}

/// A server that looks at schedules as often as it does by default: tests make it look more often.
pub(crate) fn as_shipped() -> Options {
    Options::new().without_env("WHIMBREL__REFRESH__TICK").without_env("WHIMBREL__REFRESH__LEASE")
}

async fn idle(with: &str, options: Options, catalog: Option<(&Path, &Postgres)>) {
    let server = options.start();
    let mut connection = Connection::open(server.address()).await;
    connection.update("CREATE TABLE t (a BIGINT)").await;
    connection.update("INSERT INTO t VALUES (1)").await;
    let start = Instant::now();
    for n in 0..TRANSFORMS {
        let schedule = match n % 2 {
            0 => "SCHEDULE EVERY 1 DAY".to_owned(),
            _ => format!("SCHEDULE CRON '{} 3 1 1 *' AT TIME ZONE 'Europe/Berlin'", n % 60),
        };
        let sql = format!("CREATE MATERIALIZED VIEW v{n} {schedule} AS SELECT a + {n} AS a FROM t");
        connection.query(&sql).await;
    }
    let created = start.elapsed();
    let open = "SELECT count(*) FROM system.jobs WHERE finished_at IS NULL";
    while connection.query(open).await[0].column(0).as_primitive::<Int64Type>().value(0) > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!(
        "{with}: {TRANSFORMS} created in {:.0} s, all refreshed after {:.0} s",
        created.as_secs_f64(),
        start.elapsed().as_secs_f64()
    );
    // The first look after the last change is another one.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let statements = || catalog.map(|(programs, postgres)| postgres.statements(programs));
    let (start, used, before) = (Instant::now(), processor_time(server.pid()), statements());
    tokio::time::sleep(IDLE).await;
    let (used, after) = (processor_time(server.pid()) - used, statements());
    let seconds = start.elapsed().as_secs_f64();
    server.stop();
    let part = used.as_secs_f64() / seconds * 100.0;
    figures::held(&format!("of one processor, {with}"), part, " %", Bound::AtMost(2.0));
    if let (Some(before), Some(after)) = (before, after) {
        let what = "statements a second of the catalog";
        figures::held(what, (after - before) / seconds, "", Bound::AtMost(50.0));
    }
}
