//! All of lineitem to one client and to eight, in the clear and under TLS, beside a server that has
//! nothing to compute.

use std::time::{Duration, Instant};

use arrow_flight::Ticket;
use futures::{TryStreamExt, future::join_all};
use tests::process::Server;

use crate::{
    bare::BareServer,
    certificate::Certificate,
    dataset::Dataset,
    figures::{self, Bound},
    flight::{Connection, Volume},
};

const SQL: &str = "SELECT * FROM lineitem";
const MANY: usize = 8;

pub(crate) async fn measure(dataset: &Dataset, rounds: usize) {
    let certificate = Certificate::new();
    let server = dataset.serve();
    let clear = BareServer::start(server.address());
    let encrypted = BareServer::start_by(server.address(), Some(&certificate));
    for clients in [1, MANY] {
        let words = "in the clear";
        compare(words, &server, &clear, None, clients, rounds).await;
    }
    server.stop();
    let server = dataset.serve_by(&certificate);
    for clients in [1, MANY] {
        let authority = Some(certificate.pem());
        compare("under TLS", &server, &encrypted, authority, clients, rounds).await;
    }
    server.stop();
}

async fn compare(
    words: &str,
    ours: &Server,
    bare: &BareServer,
    authority: Option<&str>,
    clients: usize,
    rounds: usize,
) {
    let plural = if clients == 1 { "client" } else { "clients" };
    figures::title(&format!("All rows of lineitem to {clients} {plural} {words}"));
    // Eight clients are eight measurements.
    let rounds = if clients == 1 { rounds } else { rounds.div_ceil(2) };
    let (mut our_times, mut bare_times) = (Vec::new(), Vec::new());
    let pids = [ours.pid(), bare.pid()];
    let mut used = [Duration::ZERO; 2];
    let mut volume = Volume::default();
    for round in 0..=rounds {
        let before = pids.map(figures::processor_time);
        let (sent, spent) = fetch(ours.address(), authority, clients, Some(SQL)).await;
        let (bare_sent, bare_spent) = fetch(&bare.address, authority, clients, None).await;
        assert_eq!(sent.rows, bare_sent.rows, "the same rows");
        if round > 0 {
            our_times.push(spent);
            bare_times.push(bare_spent);
            let after = pids.map(figures::processor_time);
            used = [0, 1].map(|n| used[n] + (after[n] - before[n]));
        }
        volume = sent;
    }
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let gigabytes = volume.bytes as f64 / 1e9;
    println!("{} rows, {gigabytes:.2} GB in all", volume.rows);
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let [our_seconds, bare_seconds] = used.map(|used| used.as_secs_f64() / rounds as f64);
    println!("processor time: Whimbrel {our_seconds:.2} s, bare server {bare_seconds:.2} s");
    let speed = |name: &str, times: &[Duration]| {
        let milliseconds = figures::median(times);
        println!("{name}: {milliseconds:.0} ms, {:.2} GB/s", gigabytes * 1000.0 / milliseconds);
        milliseconds
    };
    let bare = speed("bare Flight server", &bare_times);
    let ours = speed("Whimbrel", &our_times);
    figures::held("of the bare server", bare / ours, "", Bound::AtLeast(0.8));
}

/// All clients at once, connected before the time runs: what they got in all, and how long until the
/// last one had it.
async fn fetch(
    address: &str,
    authority: Option<&str>,
    clients: usize,
    sql: Option<&'static str>,
) -> (Volume, Duration) {
    let opening = (0..clients).map(|_| Connection::open_by(address, authority));
    let connections = join_all(opening).await;
    let start = Instant::now();
    let work = connections.into_iter().map(|mut connection| {
        tokio::spawn(async move {
            match sql {
                Some(sql) => connection.drain(sql).await,
                None => drain_bare(&mut connection).await,
            }
        })
    });
    let mut all = Volume::default();
    for volume in join_all(work).await {
        let volume = volume.unwrap();
        all.rows += volume.rows;
        all.bytes += volume.bytes;
        all.batches += volume.batches;
    }
    (all, start.elapsed())
}

/// What a bare server sends.
pub(crate) async fn drain_bare(connection: &mut Connection) -> Volume {
    let mut volume = Volume::default();
    let mut rows = connection.client().do_get(Ticket::new("all")).await.unwrap();
    while let Some(batch) = rows.try_next().await.unwrap() {
        volume.add(&batch);
    }
    volume
}
