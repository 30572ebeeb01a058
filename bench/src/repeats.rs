//! A small query again and again on a table with a long log.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use inotify::{EventMask, Inotify, WatchMask};
use tests::process::Options;

use crate::{figures, flight::Connection};

const COMMITS: usize = 200;
const REPEATS: usize = 1000;

pub(crate) async fn measure() {
    figures::title("A small query 1,000 times on a table of 200 commits");
    let server = Options::new().data_dir("data").start();
    let mut connection = Connection::open(server.address()).await;
    connection.update("CREATE TABLE events (id BIGINT, name VARCHAR) LOCATION 'events'").await;
    // The table itself is the first.
    for commit in 1..COMMITS {
        connection.update(&format!("INSERT INTO events VALUES ({commit}, 'event')")).await;
    }
    // A new process, which knows nothing of the table.
    let server = server.stop().start();
    let mut connection = Connection::open(server.address()).await;
    let mut listings = Listings::watch(&server.options().data().join("lake/events/_delta_log"));

    let sql = "SELECT count(*), max(id) FROM events WHERE id > 100";
    let first = time(&mut connection, sql).await;
    let first_listings = listings.count();
    assert!(first_listings > 0, "the first query lists the log");
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        times.push(time(&mut connection, sql).await);
    }
    println!(
        "first {:.1} ms, then p50 {:.2} ms, p95 {:.2} ms",
        first.as_secs_f64() * 1000.0,
        figures::median(&times),
        figures::quantile(&times, 0.95),
    );
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let later = listings.count() as f64;
    println!("listings of the log by the first query: {first_listings}");
    figures::held("listings of the log by all later ones", later, "", figures::Bound::AtMost(0.0));
    server.stop();
}

async fn time(connection: &mut Connection, sql: &str) -> Duration {
    let start = Instant::now();
    let volume = connection.drain(sql).await;
    assert_eq!(volume.rows, 1);
    start.elapsed()
}

/// Counts how often anybody opens a folder to list it: the kernel tells.
struct Listings {
    inotify: Inotify,
}

impl Listings {
    fn watch(folder: &Path) -> Self {
        let inotify = Inotify::init().unwrap();
        inotify.watches().add(folder, WatchMask::OPEN).unwrap();
        Self { inotify }
    }

    /// Since the last count.
    fn count(&mut self) -> usize {
        let mut buffer = [0; 1 << 16];
        let mut count = 0;
        loop {
            let events = match self.inotify.read_events(&mut buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return count,
                Err(error) => panic!("{error}"),
            };
            for event in events {
                assert!(!event.mask.contains(EventMask::Q_OVERFLOW), "events were lost");
                // The folder itself, and not a file in it.
                if event.mask.contains(EventMask::ISDIR) && event.name.is_none() {
                    count += 1;
                }
            }
        }
    }
}
