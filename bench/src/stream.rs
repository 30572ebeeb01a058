//! All of lineitem to a client: how much of the wire's speed is left with an engine behind it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    bare::BareServer,
    dataset::Dataset,
    figures::{self, Bound},
    flight::{Connection, Volume},
    peers::Sail,
    streams::drain_bare,
};

const SQL: &str = "SELECT * FROM lineitem";

pub(crate) async fn measure(dataset: &Dataset, sail: Option<&Path>, rounds: usize) {
    figures::title("All rows of lineitem to one client, medians of alternating runs");
    let server = dataset.serve();
    let mut whimbrel = Connection::open(server.address()).await;
    let bare = BareServer::start(server.address());
    let mut bare_client = Connection::open(&bare.address).await;
    let mut sail = match sail {
        Some(program) => Some(Sail::start(program, dataset).await),
        None => None,
    };

    let (mut ours, mut bound, mut sails) = (Vec::new(), Vec::new(), Vec::new());
    let mut volume = Volume::default();
    for round in 0..=rounds {
        let (sent, spent) = timed(whimbrel.drain(SQL)).await;
        let (bare_sent, bare_spent) = timed(drain_bare(&mut bare_client)).await;
        assert_eq!(sent.rows, bare_sent.rows, "the same rows");
        let sail_spent = match &mut sail {
            Some(sail) => {
                let (sail_sent, spent) = timed(sail.connection.drain(SQL)).await;
                assert_eq!(sent.rows, sail_sent.rows, "the same rows");
                Some(spent)
            }
            None => None,
        };
        if round > 0 {
            ours.push(spent);
            bound.push(bare_spent);
            sails.extend(sail_spent);
        }
        volume = sent;
    }
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let gigabytes = volume.bytes as f64 / 1e9;
    println!("{} rows, {gigabytes:.2} GB, {} batches", volume.rows, volume.batches);
    let speed = |name: &str, times: &[Duration]| {
        let milliseconds = figures::median(times);
        println!("{name}: {milliseconds:.0} ms, {:.2} GB/s", gigabytes * 1000.0 / milliseconds);
        milliseconds
    };
    let bound = speed("bare Flight server", &bound);
    let ours = speed("Whimbrel", &ours);
    if sail.is_some() {
        speed("Sail", &sails);
    }
    figures::held("of the bare server", bound / ours, "", Bound::AtLeast(0.65));
    server.stop();
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let done = work.await;
    (done, start.elapsed())
}
