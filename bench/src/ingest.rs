//! Rows of a client into a new table, beside a server that decodes and drops them.

use std::{sync::Arc, time::Instant};

use crate::{
    bare::BareServer,
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
};

pub(crate) async fn measure(dataset: &Dataset, rounds: usize) {
    figures::title("Bulk ingest of lineitem, medians of alternating runs");
    let server = dataset.serve();
    let bare = BareServer::start(server.address());
    let mut whimbrel = Connection::open(server.address()).await;
    let mut bare = Connection::open(&bare.address).await;
    let batches = Arc::new(whimbrel.query("SELECT * FROM lineitem").await);
    let rows = batches.iter().map(arrow::record_batch::RecordBatch::num_rows).sum::<usize>();
    let rows = i64::try_from(rows).unwrap();
    let (mut ours, mut dropped) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let start = Instant::now();
        assert_eq!(whimbrel.ingest("ingested", Arc::clone(&batches)).await, rows);
        let spent = start.elapsed();
        whimbrel.update("DROP TABLE ingested PURGE").await;
        let start = Instant::now();
        assert_eq!(bare.ingest("ingested", Arc::clone(&batches)).await, rows);
        let bare_spent = start.elapsed();
        if round > 0 {
            ours.push(spent);
            dropped.push(bare_spent);
        }
    }
    let (ours, dropped) = (figures::median(&ours), figures::median(&dropped));
    println!("bare Flight server: {dropped:.0} ms");
    println!("Whimbrel: {ours:.0} ms");
    figures::held("of the bare server", dropped / ours, "", Bound::AtLeast(0.6));
    server.stop();
}
