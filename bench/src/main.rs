//! Measures the real server against peers and bounds, and prints ratios.
//!
//! Nothing here fails because something was slow: a figure is printed beside its bound, and whoever
//! reads it decides. `bench/run` builds everything, fetches the peers and starts this.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark that cannot go on has nothing to report"
)]

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::dataset::Dataset;

mod bare;
mod certificate;
mod control;
mod crowd;
mod dataset;
mod figures;
mod flight;
mod ingest;
mod memory;
mod peers;
mod postgres;
mod refreshes;
mod repeats;
mod rights;
mod schedules;
mod storm;
mod stream;
mod streams;
mod tpch;
mod writes;

// The allocator of the server, so that what runs in this process is not slower for that reason.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of Whimbrel: each prints figures, ratios to peers, and the bound they are held to.
#[derive(Debug, Parser)]
#[command(name = "whimbrel-bench")]
struct Arguments {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum)]
    which: Vec<Which>,
    /// Folder with the TPC-H tables as Parquet files; the Delta tables are made beside them.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Measured runs of each query and engine, taken in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Minutes of the storm of refreshes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Only these TPC-H queries.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    queries: Vec<usize>,
    /// Another setting for DataFusion in process than the server's, to see what it would give.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Sail's program; without it Sail is not compared.
    #[arg(long, value_name = "FILE")]
    sail: Option<PathBuf>,
    /// flydelta's program; without it flydelta is not compared.
    #[arg(long, value_name = "FILE")]
    flydelta: Option<PathBuf>,
    /// Folder of PostgreSQL's programs; without it PostgreSQL is not compared.
    #[arg(long, value_name = "DIR")]
    postgres: Option<PathBuf>,
    /// A Python with the package deltalake; without it that is not compared.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Internal: serve what the server at this address sends for lineitem, from memory.
    #[arg(long, hide = true)]
    bare: Option<String>,
    /// Internal: the folder of the certificate to serve it with.
    #[arg(long, hide = true)]
    bare_certificate: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// The 22 TPC-H queries, beside DataFusion in process and Sail.
    Tpch,
    /// All of lineitem to a client, beside a Flight server that sends it from memory.
    Stream,
    /// The same to one client and to eight, in the clear and under TLS.
    Streams,
    /// Bulk ingest of lineitem, beside a Flight server that drops it.
    Ingest,
    /// A small query of 64 clients at once, beside flydelta and Sail.
    Crowd,
    /// A small query with and without users, rights and audit.
    Rights,
    /// A million rows over the Postgres protocol, beside PostgreSQL.
    Postgres,
    /// Metadata calls and job submission, idle and beside two transforms.
    Control,
    /// A small query 1,000 times on a table of 200 commits.
    Repeats,
    /// Resident memory, idle and in the demo.
    Memory,
    /// CREATE TABLE AS of lineitem, beside COPY in process and the Python package deltalake.
    Tables,
    /// MERGE into lineitem, beside the Python package deltalake.
    Merges,
    /// DELETE and UPDATE of few clustered rows: bytes read.
    Changes,
    /// Refreshes of what changed, beside full ones.
    Refreshes,
    /// A thousand schedules of which none is due.
    Schedules,
    /// What PostgreSQL spends on a catalog while transforms are refreshed as fast as workers can.
    Storm,
    /// Sixteen sessions that append to one table, beside one.
    Appends,
    /// Planning on 10,000 files and 1,000 commits.
    Planning,
}

fn main() {
    let arguments = Arguments::parse();
    // As the server does: there are several, and rustls does not choose.
    let ring = rustls::crypto::ring::default_provider();
    ring.install_default().expect("nobody else installs one");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match &arguments.bare {
            Some(source) => bare::serve(source, arguments.bare_certificate.as_deref()).await,
            None => measure(&arguments).await,
        }
    });
}

async fn measure(arguments: &Arguments) {
    let wanted = |one| arguments.which.is_empty() || arguments.which.contains(&one);
    figures::machine();
    if wanted(Which::Memory) {
        memory::measure().await;
    }
    if wanted(Which::Repeats) {
        repeats::measure().await;
    }
    if wanted(Which::Schedules) {
        schedules::measure(arguments.postgres.as_deref()).await;
    }
    if wanted(Which::Storm)
        && let Some(programs) = &arguments.postgres
    {
        storm::measure(programs, Duration::from_secs_f64(arguments.minutes * 60.0)).await;
    }
    if wanted(Which::Appends) {
        writes::appends().await;
    }
    if wanted(Which::Planning) {
        writes::planning().await;
    }
    let of_tables = [
        Which::Tpch,
        Which::Stream,
        Which::Streams,
        Which::Ingest,
        Which::Crowd,
        Which::Rights,
        Which::Postgres,
        Which::Control,
        Which::Tables,
        Which::Merges,
        Which::Changes,
        Which::Refreshes,
    ];
    if !of_tables.into_iter().any(wanted) {
        return;
    }
    let dataset = Dataset::prepare(&arguments.data).await;
    let sail = arguments.sail.as_deref();
    if wanted(Which::Tpch) {
        tpch::measure(&dataset, sail, arguments).await;
    }
    if wanted(Which::Refreshes) {
        refreshes::measure(&dataset, arguments.rounds).await;
    }
    if wanted(Which::Stream) {
        stream::measure(&dataset, sail, arguments.rounds).await;
    }
    if wanted(Which::Streams) {
        streams::measure(&dataset, arguments.rounds).await;
    }
    if wanted(Which::Ingest) {
        ingest::measure(&dataset, arguments.rounds).await;
    }
    if wanted(Which::Crowd) {
        crowd::measure(&dataset, arguments.flydelta.as_deref(), sail).await;
    }
    if wanted(Which::Rights) {
        rights::measure(&dataset).await;
    }
    if wanted(Which::Postgres)
        && let Some(programs) = &arguments.postgres
    {
        postgres::measure(&dataset, programs, arguments.rounds).await;
    }
    if wanted(Which::Control) {
        control::measure(&dataset).await;
    }
    let python = arguments.python.as_deref();
    if wanted(Which::Tables) {
        writes::tables(&dataset, python, arguments.rounds).await;
    }
    if wanted(Which::Merges) {
        writes::merges(&dataset, python).await;
    }
    if wanted(Which::Changes) {
        writes::changes(&dataset).await;
    }
}
