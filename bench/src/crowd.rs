//! A small query of 64 clients at once, beside other servers of Delta tables.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::future::join_all;

use crate::{
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
    peers::{FlyDelta, Sail},
};

const CLIENTS: usize = 64;
const SQL: &str = "SELECT s_name, s_acctbal FROM supplier WHERE s_suppkey = 4711";
/// Of each turn; what was answered in the first part of it does not count.
const TURN: Duration = Duration::from_secs(6);
const WARM: Duration = Duration::from_secs(1);
const TURNS: usize = 3;

/// How a server takes a statement.
#[derive(Debug, Clone, Copy)]
enum Form {
    FlightSql,
    Text,
}

pub(crate) async fn measure(dataset: &Dataset, flydelta: Option<&Path>, sail: Option<&Path>) {
    figures::title(&format!("A small query of {CLIENTS} clients at once"));
    println!("{SQL}\n");
    let server = dataset.serve();
    let flydelta = match flydelta {
        Some(program) => Some(FlyDelta::start(program, dataset, &["supplier"]).await),
        None => None,
    };
    let sail = match sail {
        Some(program) => Some(Sail::start(program, dataset).await),
        None => None,
    };
    let mut servers = vec![Measured::new("Whimbrel", server.address(), Form::FlightSql)];
    if let Some(flydelta) = &flydelta {
        servers.push(Measured::new("flydelta", flydelta.address(), Form::Text));
    }
    if let Some(sail) = &sail {
        servers.push(Measured::new("Sail", sail.address(), Form::FlightSql));
    }
    for _ in 0..TURNS {
        for server in &mut servers {
            server.turn().await;
        }
    }
    println!("| server | queries/s | p50 ms | p99 ms |");
    println!("|---|---|---|---|");
    for server in &servers {
        let [p50, p99] = [0.5, 0.99].map(|part| figures::quantile(&server.times, part));
        println!("| {} | {:.0} | {p50:.1} | {p99:.1} |", server.name, server.rate());
    }
    println!();
    let ours = &servers[0];
    if let Some(theirs) = servers.get(1) {
        let name = theirs.name;
        let faster = ours.rate() / theirs.rate();
        figures::held(&format!("queries/s, of {name}'s"), faster, "", Bound::AtLeast(3.0));
        let p99 = |server: &Measured| figures::quantile(&server.times, 0.99);
        let slower = p99(ours) / p99(theirs);
        figures::held(&format!("p99, of {name}'s"), slower, "", Bound::AtMost(1.0));
    }
    server.stop();
}

struct Measured {
    name: &'static str,
    address: String,
    form: Form,
    times: Vec<Duration>,
}

impl Measured {
    fn new(name: &'static str, address: &str, form: Form) -> Self {
        Self { name, address: address.to_owned(), form, times: Vec::new() }
    }

    async fn turn(&mut self) {
        let connections = join_all((0..CLIENTS).map(|_| Connection::open(&self.address))).await;
        let (form, start) = (self.form, Instant::now());
        let work = connections
            .into_iter()
            .map(|connection| tokio::spawn(async move { client(connection, form, start).await }));
        for times in join_all(work).await {
            self.times.extend(times.unwrap());
        }
    }

    fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let answered = self.times.len() as f64;
        answered / ((TURN - WARM).as_secs_f64() * TURNS as f64)
    }
}

/// Asks again and again; the times of what was answered when it counted.
async fn client(mut connection: Connection, form: Form, start: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    loop {
        let asked = Instant::now();
        let volume = match form {
            Form::FlightSql => connection.drain(SQL).await,
            Form::Text => connection.drain_text(SQL).await,
        };
        assert_eq!(volume.rows, 1);
        let at = start.elapsed();
        if at > TURN {
            return times;
        }
        if at > WARM {
            times.push(asked.elapsed());
        }
    }
}
