//! The end of a statement before its end, by each way there is: its work stops, and its memory and
//! its temporary files are free at once.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
    RenewFlightEndpointRequest,
    sql::{
        ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandStatementQuery,
        ProstMessageExt,
    },
};
use futures::TryStreamExt;
use prost::Message;
use tonic::Code;
use whimbrel_tests::{
    client::{Client, Failure},
    eventually::{LIMIT, eventually},
    process::{Options, Server},
};

use crate::{
    lake::Log,
    users::{basic, login, with_users},
};

/// A sort of more rows than memory holds: it computes, holds memory and writes temporary files for
/// longer than any test waits.
const HOG: &str = "SELECT a.n, b.n AS hog, repeat('x', 40) AS s FROM t AS a, t AS b \
                   ORDER BY (a.n * 7919 + b.n * 104729) % 1000003, s";
/// As much memory as fits, with no way to spill: it fails while others hold memory.
const FIT: &str = "SELECT count(s) AS fit FROM wide WHERE n NOT IN (SELECT n + 1000000 FROM wide)";
/// Within this time after its end nothing of a statement is left.
const SOON: Duration = Duration::from_secs(1);

fn options() -> Options {
    Options::new().env("WHIMBREL__QUERY__MEMORY_MAX", "64MiB")
}

async fn ready(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client
        .script(
            "CREATE TABLE t AS SELECT unnest(range(0, 6000)) AS n;
             CREATE TABLE wide AS SELECT n, repeat('w', 150) AS s FROM (SELECT unnest(range(0, 150000)) AS n) AS r",
        )
        .await;
    assert_eq!(client.query(FIT).await.cell(), "150000");
    client
}

/// What a statement takes of the machine.
struct Footprint {
    spill: PathBuf,
    pid: u32,
    client: Client,
}

impl Footprint {
    fn of(server: &Server, client: &Client) -> Self {
        let spill = server.options().data().join("spill");
        Self { spill, pid: server.pid(), client: client.clone() }
    }

    /// Waits until the hog holds memory and has temporary files; its id.
    async fn is_there(&self) -> String {
        eventually("temporary files are there", || async {
            (files(&self.spill) > 0).then_some(())
        })
        .await;
        self.running().await.expect("it runs")
    }

    async fn running(&self) -> Option<String> {
        let sql = "SELECT query_id FROM system.queries \
                   WHERE state = 'RUNNING' AND sql LIKE '%AS hog%' AND sql NOT LIKE '%system%'";
        self.client.clone().query(sql).await.column("query_id").pop()
    }

    /// Panics unless nothing is left soon: no temporary file, no memory that another one needs, no
    /// work on any thread.
    async fn is_gone(&mut self, way: &str) {
        let start = Instant::now();
        let mut left = String::new();
        while start.elapsed() < SOON {
            left = self.left().await;
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(left.is_empty(), "{SOON:?} after {way} there is still {left}");
        eprintln!("{way}: nothing left after {:?}", start.elapsed());
        // Now that this test asks for nothing, nothing is computed: what was under way has ended.
        loop {
            let (since, before) = (start.elapsed(), ticks(self.pid));
            tokio::time::sleep(Duration::from_millis(300)).await;
            let spent = ticks(self.pid) - before;
            if spent <= 6 {
                break;
            }
            assert!(since < SOON, "{since:?} after {way} the server still computes: {spent} ticks");
        }
        assert_eq!(self.client.query(FIT).await.cell(), "150000", "after {way}");
    }

    async fn left(&mut self) -> String {
        if let Some(id) = self.running().await {
            return format!("a running statement {id}");
        }
        match files(&self.spill) {
            0 => String::new(),
            files => format!("{files} temporary files"),
        }
    }
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(_) => 1,
            Err(_) => 0,
        })
        .sum()
}

/// Hundredths of seconds that a process has computed.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let of = |n: usize| fields[n].parse::<u64>().unwrap();
    of(11) + of(12)
}

async fn action(client: &mut Client, name: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let action = Action { r#type: name.to_owned(), body: body.into() };
    let mut answer = client.flight().do_action(action).await?;
    Ok(answer.message().await?.map(|result| result.body.to_vec()).unwrap_or_default())
}

async fn cancel_info(client: &mut Client, info: &FlightInfo) -> Result<CancelStatus, Failure> {
    let request = CancelFlightInfoRequest { info: Some(info.clone()) };
    let body = action(client, "CancelFlightInfo", request.encode_to_vec()).await?;
    Ok(CancelFlightInfoResult::decode(&*body).unwrap().status())
}

async fn cancel_query(client: &mut Client, info: &FlightInfo) -> Result<i32, Failure> {
    let request = ActionCancelQueryRequest { info: info.encode_to_vec().into() };
    let body = action(client, "CancelQuery", request.as_any().encode_to_vec()).await?;
    let any = Any::decode(&*body).unwrap();
    Ok(any.unpack::<ActionCancelQueryResult>().unwrap().unwrap().result)
}

/// How somebody reads the rows of the hog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Drop,
    Sql,
    FlightInfo,
    Query,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_query_however_it_is_ended() {
    let server = options().start();
    let mut client = ready(&server).await;
    let mut footprint = Footprint::of(&server, &client);
    for way in [Way::Drop, Way::Sql, Way::FlightInfo, Way::Query] {
        let info = client.flight_info(HOG).await.unwrap();
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let mut reader = Client::connect(&server).await;
        let reading = tokio::spawn(async move { reader.fetch_ticket(ticket).await.map(|_| ()) });
        let id = footprint.is_there().await;
        assert_eq!(info.app_metadata, id.as_bytes(), "FlightInfo tells the id");
        match way {
            Way::Drop => {
                reading.abort();
                footprint.is_gone("dropping the stream").await;
                continue;
            }
            Way::Sql => {
                let answer = client.query(&format!("CANCEL QUERY '{id}' REASON 'a test'")).await;
                assert_eq!(answer.only("query_id"), id);
                assert_eq!(answer.only("state"), "CANCELLED");
            }
            Way::FlightInfo => {
                let status = cancel_info(&mut client, &info).await.unwrap();
                assert_eq!(status, CancelStatus::Cancelled);
            }
            Way::Query => {
                let result = cancel_query(&mut client, &info).await.unwrap();
                assert_eq!(result, CancelStatus::Cancelled as i32);
            }
        }
        footprint.is_gone(&format!("{way:?}")).await;
        let told = reading.await.unwrap().unwrap_err();
        let who: &[&str] =
            if way == Way::Sql { &["cancelled by", "a test"] } else { &["cancelled by"] };
        told.expect(Code::Cancelled, who);
        // Once more is the same as once.
        assert_eq!(cancel_info(&mut client, &info).await.unwrap(), CancelStatus::Cancelled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_query_whose_client_is_gone_or_late() {
    let server = options().start();
    let client = ready(&server).await;
    let mut footprint = Footprint::of(&server, &client);
    // A deadline of the client.
    let mut late = Client::connect(&server).await;
    let reading = tokio::spawn(async move {
        let info = late.flight_info(HOG).await.unwrap();
        let mut request = tonic::Request::new(info.endpoint[0].ticket.clone().unwrap());
        request.set_timeout(Duration::from_secs(4));
        let mut stream = late.flight().inner_mut().do_get(request).await?.into_inner();
        tokio::time::timeout(Duration::from_secs(4), async {
            while stream.message().await?.is_some() {}
            Ok::<_, tonic::Status>(())
        })
        .await
        .map_err(|_| tonic::Status::deadline_exceeded("by the client"))?
    });
    footprint.is_there().await;
    assert_eq!(reading.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    footprint.is_gone("a deadline").await;
    // A client that dies.
    let address = server.address().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.spawn(async move {
        let _ = Client::connect_to(&address).await.try_query(HOG).await;
    });
    footprint.is_there().await;
    runtime.shutdown_background();
    footprint.is_gone("a lost connection").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_runs_too_long_ends_even_when_nobody_reads() {
    let server = options().env("WHIMBREL__QUERY__STATEMENT_TIMEOUT", "6s").start();
    let client = ready(&server).await;
    let mut footprint = Footprint::of(&server, &client);
    let mut reader = Client::connect(&server).await;
    let info = reader.flight_info(HOG).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    // The stream is there and is not read.
    let stream = reader.flight().do_get(ticket).await.unwrap();
    footprint.is_there().await;
    eventually("its time is over", || async { footprint.running().await.is_none().then_some(()) })
        .await;
    footprint.is_gone("its time").await;
    let told: Failure = stream.try_collect::<Vec<_>>().await.unwrap_err().into();
    told.expect(Code::DeadlineExceeded, &["query.statement_timeout"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_does_not_keep_a_cancelled_query() {
    let server = options().env("WHIMBREL__QUERY__CONCURRENCY", "1").start();
    let mut client = ready(&server).await;
    let mut reader = Client::connect(&server).await;
    let rows = "SELECT a.n, b.n AS hog, repeat('x', 100) AS s FROM t AS a, t AS b";
    let info = reader.flight_info(rows).await.unwrap();
    let mut stream =
        reader.flight().do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    // Nothing is read any more, so nobody asks the query for rows.
    assert_eq!(cancel_info(&mut client, &info).await.unwrap(), CancelStatus::Cancelled);
    assert_eq!(client.query(FIT).await.cell(), "150000", "its place and its memory are free");
    let told: Failure = stream.try_collect::<Vec<_>>().await.unwrap_err().into();
    told.expect(Code::Cancelled, &["cancelled by"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_write_leaves_nothing() {
    let server = options().start();
    let mut client = ready(&server).await;
    client.update("CREATE TABLE target (n BIGINT, hog BIGINT, s VARCHAR)").await;
    let log = Log::at(&client.query("DESCRIBE DETAIL target").await.only("location"));
    let mut footprint = Footprint::of(&server, &client);
    for statement in [
        format!("INSERT INTO target {HOG}"),
        format!("CREATE TABLE other AS {HOG}"),
        format!(
            "MERGE INTO target USING ({HOG}) AS src ON target.n = src.n AND target.hog = src.hog \
                 WHEN NOT MATCHED THEN INSERT (n, hog) VALUES (src.n, src.hog)"
        ),
    ] {
        let mut writer = Client::connect(&server).await;
        let sql = statement.clone();
        let writing = tokio::spawn(async move { writer.try_update(&sql).await });
        let id = eventually("it computes", || async { footprint.running().await }).await;
        if !statement.starts_with("MERGE") {
            footprint.is_there().await;
        }
        client.query(&format!("CANCEL QUERY '{id}'")).await;
        let told = writing.await.unwrap().unwrap_err();
        told.expect(Code::Cancelled, &["cancelled by"]);
        footprint.is_gone(&statement).await;
        assert_eq!(client.count("target").await, 0);
        assert_eq!(log.newest(), 0);
        eventually("its files are gone", || async { log.orphans().is_empty().then_some(()) }).await;
    }
    assert_eq!(
        client.query("SHOW TABLES").await.column("name"),
        ["target", "t", "wide"]
            .map(str::to_owned)
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn what_cannot_be_cancelled_is_told() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let info = client.flight_info("CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
    // It has taken effect.
    assert_eq!(cancel_info(&mut client, &info).await.unwrap(), CancelStatus::NotCancellable);
    assert_eq!(
        cancel_query(&mut client, &info).await.unwrap(),
        CancelStatus::NotCancellable as i32
    );
    let id = String::from_utf8(info.app_metadata.to_vec()).unwrap();
    let over = client.failure(&format!("CANCEL QUERY '{id}'")).await;
    over.expect(Code::FailedPrecondition, &[&id, "SUCCEEDED"]);
    client.fetch(info).await.unwrap();
    for (sql, code, text) in [
        ("CANCEL QUERY '0198f2c4-7e3a-7bcd-9e12-0123456789ab'", Code::NotFound, "system.queries"),
        ("CANCEL QUERY 'abc'", Code::InvalidArgument, "abc"),
        ("CANCEL QUERY", Code::InvalidArgument, "id of a statement"),
        ("KILL 1", Code::Unimplemented, "CANCEL QUERY"),
    ] {
        client.failure(sql).await.expect(code, &[text]);
    }
    for info in [FlightInfo::new(), FlightInfo::new().with_app_metadata("nonsense")] {
        let refused = cancel_info(&mut client, &info).await.unwrap_err();
        refused.expect(Code::InvalidArgument, &["as it was received"]);
    }
    for name in ["CancelFlightInfo", "CancelQuery", "RenewFlightEndpoint"] {
        let refused = action(&mut client, name, b"garbage".to_vec()).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument, "{name}: {refused}");
        let refused = action(&mut client, name, Vec::new()).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument, "{name}: {refused}");
    }
}

#[tokio::test]
async fn what_waits_is_forgotten_when_it_is_cancelled() {
    let server = Options::new().env("WHIMBREL__SERVER__HANDLES_MAX", "1").start();
    let mut client = Client::connect(&server).await;
    for _ in 0..3 {
        let info = client.flight_info("SELECT 1").await.unwrap();
        client.flight_info("SELECT 2").await.unwrap_err().expect(Code::ResourceExhausted, &[]);
        // A client that keeps nothing but the ticket.
        let bare = FlightInfo { app_metadata: Vec::new().into(), ..info.clone() };
        assert_eq!(cancel_info(&mut client, &bare).await.unwrap(), CancelStatus::Cancelled);
        client.fetch(info).await.unwrap_err().expect(Code::NotFound, &[]);
    }
}

#[tokio::test]
async fn only_ones_own_statements_are_cancelled_unless_one_is_an_admin() {
    let options = Options::new();
    let server = with_users(&options, &[("root", "zero"), ("ann", "one"), ("bob", "two")]);
    let mut root = login(&server, "root", "zero").await;
    let mut ann = login(&server, "ann", "one").await;
    let mut bob = login(&server, "bob", "two").await;
    let users = root.query("SELECT name, is_admin FROM system.users ORDER BY name").await.lines();
    assert_eq!(users, ["ann|false", "bob|false", "root|true"], "the first one is the admin");
    let waits = async |client: &mut Client| {
        let info = client.flight_info("SELECT 1").await.unwrap();
        let id = String::from_utf8(info.app_metadata.to_vec()).unwrap();
        (info, id)
    };
    let (anns, id) = waits(&mut ann).await;
    let refused = bob.failure(&format!("CANCEL QUERY '{id}'")).await;
    refused.expect(Code::NotFound, &[&id]);
    cancel_info(&mut bob, &anns).await.unwrap_err().expect(Code::NotFound, &[&id]);
    let bare = FlightInfo { app_metadata: Vec::new().into(), ..anns.clone() };
    cancel_info(&mut bob, &bare).await.unwrap_err().expect(Code::InvalidArgument, &[]);
    let renewed = RenewFlightEndpointRequest { endpoint: Some(anns.endpoint[0].clone()) };
    let foreign = action(&mut bob, "RenewFlightEndpoint", renewed.encode_to_vec()).await;
    foreign.unwrap_err().expect(Code::NotFound, &[]);
    ann.fetch(anns).await.unwrap();
    let (anns, id) = waits(&mut ann).await;
    assert_eq!(root.query(&format!("CANCEL QUERY '{id}'")).await.only("principal"), "ann");
    ann.fetch(anns).await.unwrap_err().expect(Code::Cancelled, &["cancelled by 'root'"]);
    let anonymous = Client::connect(&server).await.with_authorization(&basic("ann", "wrong"));
    let refused = cancel_info(&mut anonymous.clone(), &FlightInfo::new()).await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_result_that_waits_is_kept_for_longer_when_its_client_asks() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let info = client.flight_info("SELECT 1").await.unwrap();
    let endpoint = info.endpoint[0].clone();
    assert!(endpoint.expiration_time.is_none(), "it would promise a second DoGet");
    let request = RenewFlightEndpointRequest { endpoint: Some(endpoint) }.encode_to_vec();
    let body = action(&mut client, "RenewFlightEndpoint", request.clone()).await.unwrap();
    let renewed = arrow_flight::FlightEndpoint::decode(&*body).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = renewed.expiration_time.unwrap().seconds - now.as_secs() as i64;
    assert!((3_500..=3_601).contains(&left), "server.handle_ttl is an hour: {left} s");
    client.fetch_ticket(renewed.ticket.unwrap()).await.unwrap();
    let late = action(&mut client, "RenewFlightEndpoint", request).await.unwrap_err();
    late.expect(Code::NotFound, &["already used"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_polled_tells_how_far_it_is() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t AS SELECT n, repeat('abc', 40) AS s FROM (SELECT unnest(range(0, 50000)) AS n) AS r;
             CREATE TABLE target (n BIGINT, s VARCHAR)",
        )
        .await;
    let slow = "SELECT n, encode(sha512(encode(sha512(repeat(s, 10)), 'hex')), 'hex') AS s FROM t";
    for (sql, rows) in [
        (format!("SELECT count(DISTINCT s) AS polled FROM ({slow}) AS q"), "1"),
        (format!("INSERT INTO target {slow}"), "50000"),
    ] {
        let command = CommandStatementQuery { query: sql.clone(), transaction_id: None };
        let mut descriptor =
            arrow_flight::FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let start = Instant::now();
        let (mut told, mut seen) = (Vec::new(), Vec::new());
        let info = loop {
            assert!(start.elapsed() < LIMIT, "{sql} does not end");
            let poll = client
                .flight()
                .inner_mut()
                .poll_flight_info(descriptor)
                .await
                .unwrap()
                .into_inner();
            assert!(poll.expiration_time.is_some());
            let info = poll.info.unwrap();
            assert!(!info.app_metadata.is_empty());
            let Some(next) = poll.flight_descriptor else { break info };
            assert!(info.endpoint.is_empty(), "nothing to fetch yet");
            told.extend(poll.progress);
            let id = String::from_utf8(info.app_metadata.to_vec()).unwrap();
            let sql = format!(
                "SELECT rows_read, rows_expected, bytes_read > 0 FROM system.queries WHERE query_id = '{id}' AND state = 'RUNNING'"
            );
            seen.extend(client.query(&sql).await.rows());
            descriptor = next;
        };
        assert!(told.iter().all(|share| (0.0..=1.0).contains(share)), "{told:?}");
        assert!(told.iter().any(|share| *share > 0.0 && *share < 1.0), "{sql}: {told:?}");
        assert!(told.is_sorted(), "{told:?}");
        assert!(seen.iter().any(|row| row[0] != "0" && row[1] == "50000"), "{seen:?}");
        let answer = client.fetch(info.clone()).await.unwrap();
        assert_eq!(answer.cell(), rows);
        client.fetch(info).await.unwrap_err().expect(Code::NotFound, &[]);
    }
    let written = client
        .query("SELECT rows_read, rows_written, bytes_written > 0 FROM system.queries WHERE sql LIKE 'INSERT%'")
        .await;
    assert_eq!(written.text(), "50000|50000|true");
    let descriptor = |sql: &str| {
        let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
        arrow_flight::FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
    };
    // What fails is told by the poll.
    let sql = "SELECT CAST(s AS BIGINT) AS n FROM t";
    let mut next = Some(descriptor(sql));
    let refused = loop {
        let wanted = next.take().expect("it cannot end well");
        match client.flight().inner_mut().poll_flight_info(wanted).await {
            Ok(poll) => next = poll.into_inner().flight_descriptor,
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    // One that is given up while it is polled.
    let sql = "SELECT count(*) AS polled FROM t AS a, t AS b WHERE a.n * b.n % 7 = 3";
    let poll = client.flight().inner_mut().poll_flight_info(descriptor(sql)).await.unwrap();
    let poll = poll.into_inner();
    let info = poll.info.unwrap();
    assert_eq!(cancel_info(&mut client, &info).await.unwrap(), CancelStatus::Cancelled);
    let again = poll.flight_descriptor.expect("it takes long");
    let gone = client.flight().inner_mut().poll_flight_info(again).await.unwrap_err();
    assert!(matches!(gone.code(), Code::NotFound | Code::Cancelled), "{gone}");
}
