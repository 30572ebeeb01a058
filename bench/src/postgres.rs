//! A million rows as text over the Postgres protocol, beside a real PostgreSQL with the same rows.

use std::{
    fs::File,
    io::{BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    dataset::Dataset,
    figures::{self, Bound},
    flight::Connection,
    peers::{free_port, wait_for},
};

const ROWS: usize = 1_000_000;
const SQL: &str = "SELECT * FROM million";
const COLUMNS: &str = "l_orderkey BIGINT, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber INT, \
    l_quantity NUMERIC(15,2), l_extendedprice NUMERIC(15,2), l_discount NUMERIC(15,2), \
    l_tax NUMERIC(15,2), l_returnflag TEXT, l_linestatus TEXT, l_shipdate DATE, \
    l_commitdate DATE, l_receiptdate DATE, l_shipinstruct TEXT, l_shipmode TEXT, l_comment TEXT";

pub(crate) async fn measure(dataset: &Dataset, programs: &Path, rounds: usize) {
    figures::title("A million rows of lineitem as text over the Postgres protocol");
    let port = free_port();
    let server = dataset.options().arg("--pg-addr").arg(format!("127.0.0.1:{port}")).start();
    let mut connection = Connection::open(server.address()).await;
    connection
        .update(&format!("CREATE TABLE million AS SELECT * FROM lineitem LIMIT {ROWS}"))
        .await;
    let postgres = Postgres::start(programs).await;
    let ours = Target { port, user: "anybody", database: "whimbrel" };
    let theirs = Target { port: postgres.port, user: "postgres", database: "postgres" };
    println!("{}", text_of(Command::new(programs.join("postgres")).arg("--version")));
    load(&postgres, programs, ours, theirs);

    for (client, times) in [
        ("psql -A -t", &ask_psql as &dyn Fn(&Path, Target) -> Duration),
        ("a client that drops the rows", &|_: &Path, target: Target| ask(target)),
    ] {
        let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let pair = (times(programs, ours), times(programs, theirs));
            if round > 0 {
                our_times.push(pair.0);
                their_times.push(pair.1);
            }
        }
        let [ours, theirs] = [&our_times, &their_times].map(|times| figures::median(times));
        println!("{client}: Whimbrel {ours:.0} ms, PostgreSQL {theirs:.0} ms");
        figures::held("time, of PostgreSQL's", ours / theirs, "", Bound::AtMost(1.0));
    }
    connection.update("DROP TABLE million PURGE").await;
    server.stop();
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) user: &'static str,
    pub(crate) database: &'static str,
}

/// What a statement answers, as text.
fn answer(programs: &Path, target: Target, sql: &str) -> String {
    let answered = psql(programs, target).args(["-c", sql]).output().unwrap();
    let complaint = String::from_utf8_lossy(&answered.stderr).into_owned();
    assert!(answered.status.success(), "{sql}: {complaint}");
    String::from_utf8_lossy(&answered.stdout).trim().to_owned()
}

fn psql(programs: &Path, target: Target) -> Command {
    let mut command = Command::new(programs.join("psql"));
    let place = format!(
        "host=127.0.0.1 port={} user={} dbname={} sslmode=disable",
        target.port, target.user, target.database
    );
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", &place]).stdin(Stdio::null());
    command
}

/// The rows of the one server into the other one.
fn load(postgres: &Postgres, programs: &Path, from: Target, to: Target) {
    let file = postgres.folder.path().join("rows");
    let mut copy = psql(programs, from);
    copy.args(["-c", &format!("COPY ({SQL}) TO STDOUT")]).stdout(File::create(&file).unwrap());
    assert!(copy.status().unwrap().success(), "the rows cannot be fetched");
    let create = format!("CREATE TABLE million ({COLUMNS})");
    let mut fill = psql(programs, to);
    fill.args([
        "-c",
        &create,
        "-c",
        "COPY million FROM STDIN",
        "-c",
        "VACUUM (FREEZE, ANALYZE) million",
    ]);
    fill.stdin(File::open(&file).unwrap());
    assert!(fill.status().unwrap().success(), "PostgreSQL does not take the rows");
}

fn ask_psql(programs: &Path, target: Target) -> Duration {
    let start = Instant::now();
    let asked = psql(programs, target).args(["-o", "/dev/null", "-c", SQL]).status().unwrap();
    assert!(asked.success());
    start.elapsed()
}

/// Asks by the simple protocol, without a password, and looks at nothing but the kinds of messages.
fn ask(target: Target) -> Duration {
    let mut socket = TcpStream::connect(("127.0.0.1", target.port)).unwrap();
    let mut hello = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", target.user, "database", target.database, ""] {
        hello.extend_from_slice(text.as_bytes());
        hello.push(0);
    }
    send(&mut socket, &[], &hello);
    let mut reader = BufReader::with_capacity(1 << 18, socket.try_clone().unwrap());
    until_ready(&mut reader);
    let start = Instant::now();
    send(&mut socket, b"Q", format!("{SQL}\0").as_bytes());
    assert_eq!(until_ready(&mut reader), ROWS);
    start.elapsed()
}

fn send(socket: &mut TcpStream, kind: &[u8], body: &[u8]) {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    socket.write_all(&[kind, &length, body].concat()).unwrap();
}

/// Reads until the server waits for a statement; the rows that there were.
fn until_ready(reader: &mut impl Read) -> usize {
    let (mut rows, mut body) = (0, Vec::new());
    loop {
        let mut head = [0; 5];
        reader.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        body.resize(length, 0);
        reader.read_exact(&mut body).unwrap();
        match head[0] {
            b'D' => rows += 1,
            b'Z' => return rows,
            b'E' => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
}

fn text_of(command: &mut Command) -> String {
    String::from_utf8_lossy(&command.output().unwrap().stdout).trim().to_owned()
}

/// A PostgreSQL with a new cluster, ended when dropped.
pub(crate) struct Postgres {
    child: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts the one whose programs are in this folder; by `bench/postgres`, since it does not want
    /// to be run by root.
    pub(crate) async fn start(programs: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = Command::new("bench/postgres")
            .arg(programs)
            .arg(folder.path().join("cluster"))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("bench/postgres: {error}; start in the repository"));
        wait_for(&format!("127.0.0.1:{port}")).await;
        let postgres = Self { child, port, folder };
        // It listens before it lets anybody in.
        let target = Target { port, user: "postgres", database: "postgres" };
        let start = Instant::now();
        while !psql(programs, target).args(["-c", "SELECT 1"]).output().unwrap().status.success() {
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL lets nobody in");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        postgres.answer(programs, "CREATE EXTENSION pg_stat_statements");
        postgres
    }

    /// Where a catalog finds it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// What a statement answers, as text.
    pub(crate) fn answer(&self, programs: &Path, sql: &str) -> String {
        let target = Target { port: self.port, user: "postgres", database: "postgres" };
        answer(programs, target, sql)
    }

    /// Statements that it has executed so far, BEGIN and COMMIT among them.
    pub(crate) fn statements(&self, programs: &Path) -> f64 {
        self.answer(programs, "SELECT sum(calls) FROM pg_stat_statements").parse().unwrap()
    }

    /// The statements that took it longest since it began: milliseconds in all, calls, milliseconds of a
    /// call, and how the text begins.
    pub(crate) fn costliest(&self, programs: &Path) -> String {
        let sql = "SELECT round(total_exec_time) || ' ms, ' || calls || ' calls of ' \
                   || round(mean_exec_time::numeric, 3) || ' ms: ' \
                   || left(regexp_replace(query, '\\s+', ' ', 'g'), 100) \
                   FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 12";
        self.answer(programs, sql)
    }

    /// What all of its processes have used so far, also those that have ended.
    pub(crate) fn processor_time(&self) -> Duration {
        figures::processor_time_with_children(self.child.id())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, with all its processes. It may have died on its own.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.child.wait();
    }
}
