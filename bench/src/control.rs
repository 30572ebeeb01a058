//! What answers in milliseconds has to do so while transforms keep every processor busy.

use std::time::{Duration, Instant};

use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables};
use futures::TryStreamExt;
use proto::v1::{
    CancelRequest, JobState, ListRequest, SubmitRequest, SubmitResponse, jobs_client::JobsClient,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
};

/// Calls of each kind.
const CALLS: usize = 300;
/// Between two calls, as from a person or a scheduler and not from a loop.
const PAUSE: Duration = Duration::from_millis(10);

/// Two transforms that keep every thread of a plan busy for long enough.
const HEAVY: [&str; 2] = [
    "CREATE OR REPLACE MATERIALIZED VIEW bench.heavy_parts AS
     SELECT a.l_partkey, count(*) AS pairs, sum(a.l_extendedprice * b.l_discount) AS volume
     FROM lineitem a JOIN lineitem b ON a.l_partkey = b.l_partkey
     WHERE a.l_quantity < b.l_quantity
     GROUP BY a.l_partkey",
    "CREATE OR REPLACE MATERIALIZED VIEW bench.heavy_orders AS
     SELECT o_custkey, l_shipmode, count(DISTINCT l_partkey) AS parts,
            sum(l_quantity * l_tax) AS taxed, max(l_comment) AS word
     FROM lineitem JOIN orders ON l_orderkey = o_orderkey
     GROUP BY o_custkey, l_shipmode",
];

pub(crate) async fn measure(dataset: &Dataset) {
    figures::title(
        "Metadata calls and job submission, idle and beside two transforms, milliseconds",
    );
    let server = dataset.serve();
    let mut connection = Connection::open(server.address()).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    let mut jobs = JobsClient::new(endpoint.tcp_nodelay(true).connect().await.unwrap());

    connection.update("CREATE SCHEMA IF NOT EXISTS bench").await;
    connection
        .update("CREATE OR REPLACE MATERIALIZED VIEW bench.small AS SELECT * FROM region")
        .await;
    for sql in HEAVY {
        connection.update(sql).await;
    }
    settle(&mut jobs).await;

    let idle = Calls::measure(&mut connection, &mut jobs).await;
    let heavy = tokio::spawn(keep_busy(jobs.clone()));
    while running(&mut jobs).await < HEAVY.len() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let busy = Calls::measure(&mut connection, &mut jobs).await;
    assert!(!heavy.is_finished(), "nothing kept the machine busy");
    heavy.abort();

    println!("| call | idle p50 | idle p95 | busy p50 | busy p95 | p95 ratio |");
    println!("|---|---|---|---|---|---|");
    for ((name, idle), (_, busy)) in idle.named().into_iter().zip(busy.named()) {
        let [idle50, idle95, busy50, busy95] = [
            figures::quantile(idle, 0.5),
            figures::quantile(idle, 0.95),
            figures::quantile(busy, 0.5),
            figures::quantile(busy, 0.95),
        ];
        let ratio = busy95 / idle95;
        println!("| {name} | {idle50:.2} | {idle95:.2} | {busy50:.2} | {busy95:.2} | {ratio:.2} |");
    }
    println!();
    for (what, idle, busy) in [
        ("metadata p95 beside two transforms", idle.metadata(), busy.metadata()),
        ("submission p95 beside two transforms", idle.submit, busy.submit),
    ] {
        let (idle, busy) = (figures::quantile(&idle, 0.95), figures::quantile(&busy, 0.95));
        figures::held(what, busy, " ms", Bound::AtMost(20.0));
        figures::held("  of the same when idle", busy / idle, "", Bound::AtMost(3.0));
    }
    // Neither they nor what they were doing is there for whoever uses the tables next.
    for name in ["bench.heavy_parts", "bench.heavy_orders", "bench.small"] {
        connection.update(&format!("DROP MATERIALIZED VIEW {name} PURGE")).await;
    }
    server.kill();
}

#[derive(Default)]
struct Calls {
    catalogs: Vec<Duration>,
    schemas: Vec<Duration>,
    tables: Vec<Duration>,
    submit: Vec<Duration>,
}

impl Calls {
    async fn measure(connection: &mut Connection, jobs: &mut JobsClient<Channel>) -> Self {
        let mut calls = Self::default();
        for _ in 0..CALLS {
            let client = connection.client();
            let start = Instant::now();
            let info = client.get_catalogs().await.unwrap();
            drain(connection, info).await;
            calls.catalogs.push(start.elapsed());
            tokio::time::sleep(PAUSE).await;

            let client = connection.client();
            let start = Instant::now();
            let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
            drain(connection, info).await;
            calls.schemas.push(start.elapsed());
            tokio::time::sleep(PAUSE).await;

            let wanted = CommandGetTables { include_schema: true, ..Default::default() };
            let client = connection.client();
            let start = Instant::now();
            let info = client.get_tables(wanted).await.unwrap();
            drain(connection, info).await;
            calls.tables.push(start.elapsed());
            tokio::time::sleep(PAUSE).await;

            let start = Instant::now();
            let submitted = submit(jobs, &["bench.small"], false).await;
            calls.submit.push(start.elapsed());
            // So that the next submission is a new job again. It may have ended already.
            let job_id = submitted.jobs[0].id.clone();
            let _ = jobs.cancel(CancelRequest { job_id }).await;
            tokio::time::sleep(PAUSE).await;
        }
        calls
    }

    fn named(&self) -> [(&'static str, &[Duration]); 4] {
        [
            ("GetCatalogs", &self.catalogs),
            ("GetDbSchemas", &self.schemas),
            ("GetTables with schemas", &self.tables),
            ("Jobs.Submit", &self.submit),
        ]
    }

    fn metadata(&self) -> Vec<Duration> {
        [&self.catalogs[..], &self.schemas, &self.tables].concat()
    }
}

async fn drain(connection: &mut Connection, info: arrow_flight::FlightInfo) {
    for endpoint in info.endpoint {
        let ticket = endpoint.ticket.expect("an endpoint has a ticket");
        let rows = connection.client().do_get(ticket).await.unwrap();
        let batches: Vec<_> = rows.try_collect().await.unwrap();
        assert!(!batches.is_empty(), "there is something to list");
    }
}

async fn submit(jobs: &mut JobsClient<Channel>, objects: &[&str], full: bool) -> SubmitResponse {
    let objects = objects.iter().map(|&name| name.to_owned()).collect();
    let request = SubmitRequest { objects, full, ..Default::default() };
    jobs.submit(request).await.unwrap().into_inner()
}

/// Refreshes both transforms again and again.
async fn keep_busy(mut jobs: JobsClient<Channel>) {
    loop {
        submit(&mut jobs, &["bench.heavy_parts", "bench.heavy_orders"], true).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn in_states(jobs: &mut JobsClient<Channel>, states: &[JobState]) -> usize {
    let states = states.iter().map(|&state| state.into()).collect();
    let request = ListRequest { states, ..Default::default() };
    jobs.list(request).await.unwrap().into_inner().jobs.len()
}

async fn running(jobs: &mut JobsClient<Channel>) -> usize {
    in_states(jobs, &[JobState::Running]).await
}

/// Waits until no job waits or runs.
async fn settle(jobs: &mut JobsClient<Channel>) {
    while in_states(jobs, &[JobState::Queued, JobState::Running]).await > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
