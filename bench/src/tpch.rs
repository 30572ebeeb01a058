//! The 22 queries of TPC-H (specification 3.0.1, validation parameters) through the port, beside
//! DataFusion in this process on the same Delta tables and settings, and beside Sail.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;
use tests::answer::Answer;

use crate::{
    Arguments,
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
    peers::{self, Sail},
};

const QUERIES: [&str; 22] = [
    include_str!("../tpch/q01.sql"),
    include_str!("../tpch/q02.sql"),
    include_str!("../tpch/q03.sql"),
    include_str!("../tpch/q04.sql"),
    include_str!("../tpch/q05.sql"),
    include_str!("../tpch/q06.sql"),
    include_str!("../tpch/q07.sql"),
    include_str!("../tpch/q08.sql"),
    include_str!("../tpch/q09.sql"),
    include_str!("../tpch/q10.sql"),
    include_str!("../tpch/q11.sql"),
    include_str!("../tpch/q12.sql"),
    include_str!("../tpch/q13.sql"),
    include_str!("../tpch/q14.sql"),
    include_str!("../tpch/q15.sql"),
    include_str!("../tpch/q16.sql"),
    include_str!("../tpch/q17.sql"),
    include_str!("../tpch/q18.sql"),
    include_str!("../tpch/q19.sql"),
    include_str!("../tpch/q20.sql"),
    include_str!("../tpch/q21.sql"),
    include_str!("../tpch/q22.sql"),
];

/// Times of one query by one engine.
#[derive(Default)]
struct Times {
    whimbrel: Vec<Duration>,
    datafusion: Vec<Duration>,
    sail: Vec<Duration>,
}

pub(crate) async fn measure(dataset: &Dataset, sail: Option<&Path>, arguments: &Arguments) {
    figures::title("TPC-H at scale 1, milliseconds, medians of alternating runs");
    let server = dataset.serve();
    let mut whimbrel = Connection::open(server.address()).await;
    let datafusion = peers::in_process(dataset, &mut whimbrel, &arguments.set).await;
    let mut sail = match sail {
        Some(program) => Some(Sail::start(program, dataset).await),
        None => None,
    };

    println!(
        "| query | Whimbrel | DataFusion in process | ratio | Sail | ratio | processor time |"
    );
    println!("|---|---|---|---|---|---|---|");
    let (mut total, mut total_in_process, mut total_sail) = (0.0, 0.0, 0.0);
    for (index, sql) in QUERIES.iter().enumerate() {
        let number = index + 1;
        if !arguments.queries.is_empty() && !arguments.queries.contains(&number) {
            continue;
        }
        let mut times = Times::default();
        let (mut used, mut used_by_sail) = (Duration::ZERO, Duration::ZERO);
        // The first round warms caches and compares the answers.
        for round in 0..=arguments.rounds {
            let before = figures::processor_time(server.pid());
            let (ours, spent) = timed(whimbrel.query(sql)).await;
            used += figures::processor_time(server.pid()) - before;
            let (theirs, spent_in_process) = timed(peers::run_in_process(&datafusion, sql)).await;
            let sails = match &mut sail {
                Some(sail) => {
                    let before = figures::processor_time(sail.pid());
                    let answer = timed(sail.connection.query(sql)).await;
                    used_by_sail += figures::processor_time(sail.pid()) - before;
                    Some(answer)
                }
                None => None,
            };
            if round == 0 {
                let (ours, theirs) = (lines(ours), lines(theirs));
                assert_eq!(ours, theirs, "query {number} has another answer in process");
                if let Some((sails, _)) = sails {
                    let sails: usize = sails.iter().map(RecordBatch::num_rows).sum();
                    assert_eq!(ours.len(), sails, "query {number} has other rows in Sail");
                }
                continue;
            }
            times.whimbrel.push(spent);
            times.datafusion.push(spent_in_process);
            times.sail.extend(sails.map(|(_, spent)| spent));
        }
        let ours = figures::median(&times.whimbrel);
        let in_process = figures::median(&times.datafusion);
        total += ours;
        total_in_process += in_process;
        let sail = if times.sail.is_empty() {
            " | ".to_owned()
        } else {
            let sail = figures::median(&times.sail);
            total_sail += sail;
            format!("{sail:.0} | {:.2}", ours / sail)
        };
        let runs = u32::try_from(arguments.rounds).unwrap() + 1;
        println!(
            "| {number} | {ours:.0} | {in_process:.0} | {:.2} | {sail} | {} and {} |",
            ours / in_process,
            (used / runs).as_millis(),
            (used_by_sail / runs).as_millis(),
        );
    }
    println!("| total | {total:.0} | {total_in_process:.0} | | {total_sail:.0} | | |\n");
    figures::held("of DataFusion in process", total / total_in_process, "", Bound::AtMost(1.10));
    if sail.is_some() {
        figures::held("of Sail's Flight SQL server", total / total_sail, "", Bound::AtMost(1.0));
    }
    server.stop();
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let done = work.await;
    (done, start.elapsed())
}

/// The rows as text, in no order: some queries leave theirs open where values are equal.
fn lines(batches: Vec<RecordBatch>) -> Vec<String> {
    let Some(schema) = batches.first().map(RecordBatch::schema) else { return Vec::new() };
    let mut lines = Answer { schema, batches }.lines();
    lines.sort_unstable();
    lines
}
