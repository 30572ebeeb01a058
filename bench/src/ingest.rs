//! Rows of a client into a new table, beside a server that decodes and drops them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bare::BareServer,
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
};

#[allow(clippy::cast_precision_loss, reason = "a small number")]
pub(crate) async fn measure(dataset: &Dataset, rounds: usize) {
    figures::title("Bulk ingest of lineitem, medians of alternating runs");
    let server = dataset.serve();
    let bare = BareServer::start(server.address());
    let mut whimbrel = Connection::open(server.address()).await;
    let (our_pid, bare_pid) = (server.pid(), bare.pid());
    let mut bare_client = Connection::open(&bare.address).await;
    let batches = Arc::new(whimbrel.query("SELECT * FROM lineitem").await);
    let rows = batches.iter().map(arrow::record_batch::RecordBatch::num_rows).sum::<usize>();
    let rows = i64::try_from(rows).unwrap();
    let (mut ours, mut dropped) = (Vec::new(), Vec::new());
    let mut used = [Duration::ZERO; 2];
    for round in 0..=rounds {
        let before = [our_pid, bare_pid].map(figures::processor_time);
        let start = Instant::now();
        assert_eq!(whimbrel.ingest("ingested", Arc::clone(&batches)).await, rows);
        let spent = start.elapsed();
        whimbrel.update("DROP TABLE ingested PURGE").await;
        let start = Instant::now();
        assert_eq!(bare_client.ingest("ingested", Arc::clone(&batches)).await, rows);
        let bare_spent = start.elapsed();
        if round > 0 {
            ours.push(spent);
            dropped.push(bare_spent);
            let after = [our_pid, bare_pid].map(figures::processor_time);
            used = [0, 1].map(|n| used[n] + (after[n] - before[n]));
        }
    }
    // That of the first includes dropping the table.
    let [our_seconds, bare_seconds] = used.map(|used| used.as_secs_f64() / rounds as f64);
    println!("processor time: Whimbrel {our_seconds:.1} s, bare server {bare_seconds:.1} s");
    let (ours, dropped) = (figures::median(&ours), figures::median(&dropped));
    println!("bare Flight server: {dropped:.0} ms");
    println!("Whimbrel: {ours:.0} ms");
    figures::held("of the bare server", dropped / ours, "", Bound::AtLeast(0.6));
    server.stop();
}
