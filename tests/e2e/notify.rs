//! REFRESH … NOTIFY against receivers that take, refuse, hang, point elsewhere and die.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tonic::Code;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One request that came.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Received {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    fn job(&self, name: &str) -> &Value {
        &self.body["data"][name]
    }
}

type Requests = Arc<Mutex<Vec<Received>>>;

/// A receiver on a port of its own. What it answers depends on the path: see [`answer`].
struct Receiver {
    port: u16,
    requests: Requests,
    accepting: JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Self {
        Self::on(0, Requests::default()).await
    }

    /// The same port again, for one that was dead.
    async fn on(port: u16, requests: Requests) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::clone(&requests);
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&seen)));
            }
        });
        Self { port, requests, accepting }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn options(&self) -> Options {
        Options::new()
            .env("WHIMBREL__NOTIFY__ALLOWED_HOSTS", format!("127.0.0.1:{}", self.port))
            .env("WHIMBREL__NOTIFY__SECRET", SECRET)
            .env("WHIMBREL__NOTIFY__TIMEOUT", "1s")
    }

    fn requests(&self, path: &str) -> Vec<Received> {
        let all = self.requests.lock().unwrap();
        all.iter().filter(|request| request.path == path).cloned().collect()
    }

    async fn wait_for(&self, path: &str, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests to {path}"), || async {
            let requests = self.requests(path);
            (requests.len() >= count).then_some(requests)
        })
        .await
    }

    /// Nothing listens on the port any more.
    async fn die(self) -> (u16, Requests) {
        self.accepting.abort();
        let _ = self.accepting.await;
        (self.port, self.requests)
    }
}

/// Takes one request of a connection and answers it.
async fn serve(mut connection: TcpStream, requests: Requests) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        let mut part = [0_u8; 4096];
        let Ok(read) = connection.read(&mut part).await else { return };
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = headers(head).get("content-length").map_or(0, |text| text.parse().unwrap());
        if bytes.len() >= head.len() + 4 + length {
            break (head.to_owned(), length);
        }
    };
    let body = &bytes[head.len() + 4..head.len() + 4 + length];
    let mut words = head.split_whitespace();
    assert_eq!(words.next(), Some("POST"));
    let path = words.next().unwrap().to_owned();
    let body = serde_json::from_slice(body).unwrap();
    let nth = {
        let mut requests = requests.lock().unwrap();
        requests.push(Received { path: path.clone(), headers: headers(&head), body });
        requests.iter().filter(|request| request.path == path).count()
    };
    let Some(answer) = answer(&path, nth).await else { return };
    let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // The sender may have given up.
    let _ = connection.write_all(text.as_bytes()).await;
}

fn headers(head: &str) -> BTreeMap<String, String> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

/// What the nth request for a path gets; nothing when the connection just ends.
async fn answer(path: &str, nth: usize) -> Option<&'static str> {
    match path {
        "/hangs" => std::future::pending().await,
        "/dies" if nth < 3 => None,
        "/fails" if nth < 3 => Some("500 Internal Server Error"),
        "/redirects" => Some("302 Found\r\nLocation: /target"),
        _ => Some("204 No Content"),
    }
}

async fn start(options: &Options) -> (Server, Client) {
    let server = options.start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE IF NOT EXISTS t (a BIGINT);
             CREATE MATERIALIZED VIEW IF NOT EXISTS m AS SELECT sum(a) AS s FROM t;
             CREATE MATERIALIZED VIEW IF NOT EXISTS bad AS SELECT 1 / a AS x FROM t",
        )
        .await;
    client.newest_job("main.m").await;
    client.newest_job("main.bad").await;
    (server, client)
}

async fn changed(client: &mut Client) {
    client.update("INSERT INTO t VALUES (1)").await;
}

/// The notification of a job in one of these states.
async fn stands(client: &Client, url: &str, states: &[&str]) -> Vec<String> {
    eventually(&format!("the notification to {url} is {states:?}"), || {
        let (mut client, states) = (client.clone(), states.to_vec());
        let sql = format!(
            "SELECT state, attempts, coalesce(last_error, '-') FROM system.notifications WHERE url = '{url}'"
        );
        async move {
            let rows = client.query(&sql).await.rows();
            rows.into_iter().find(|row| states.contains(&row[0].as_str()))
        }
    })
    .await
}

#[tokio::test]
async fn nothing_is_sent_unless_the_configuration_says_to_whom() {
    let receiver = Receiver::start().await;
    let (server, mut client) = start(&Options::new()).await;
    let refresh = format!("REFRESH m NOTIFY '{}'", receiver.url("/"));
    let jobs = client.count("system.jobs").await;
    let off = client.failure(&refresh).await;
    off.expect(Code::FailedPrecondition, &["NOTIFY is off", "notify.allowed_hosts"]);
    server.stop();
    let (server, mut client) = start(&receiver.options()).await;
    for (url, code, text) in [
        ("https://example.com/a", Code::FailedPrecondition, "'example.com'"),
        ("http://localhost:1/a", Code::FailedPrecondition, "'localhost:1'"),
        ("http://example.com/a", Code::InvalidArgument, "https://"),
        ("https://ada:pass@example.com/a", Code::InvalidArgument, "a user or a password"),
        ("nonsense", Code::InvalidArgument, "no URL"),
    ] {
        let refused = client.failure(&format!("REFRESH m NOTIFY '{url}'")).await;
        refused.expect(code, &[text]);
    }
    let now = client.count("system.jobs").await;
    assert_eq!(now, jobs, "a refused statement queues nothing");
    assert_eq!(client.count("system.notifications").await, 0);
    let options = server.stop();
    assert_eq!(receiver.requests("/").len(), 0);
    // The secret is shown nowhere.
    let shown = receiver.options().run(&["config", "show"], "");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("secret = \"***\""), "{shown}");
    assert!(!shown.contains("MfKQ9r8"), "{shown}");
    let alone = options.without_env("WHIMBREL__NOTIFY__SECRET");
    let refused = alone.try_start().expect_err("a receiver could not tell who sent it");
    assert!(refused.log.contains("needs notify.secret"), "{}", refused.log);
}

#[tokio::test]
async fn the_end_of_a_job_is_told_with_its_row() {
    let receiver = Receiver::start().await;
    let (_server, mut client) = start(&receiver.options()).await;
    changed(&mut client).await;
    let id = client
        .query(&format!("REFRESH m NOTIFY '{}'", receiver.url("/ok?who=me")))
        .await
        .only("job_id");
    let received = receiver.wait_for("/ok?who=me", 1).await.remove(0);
    assert_eq!(received.body["type"], "job.ended");
    assert_eq!(received.body["id"], received.id());
    assert_eq!(received.job("job_id"), id.as_str());
    assert_eq!(received.job("object"), "main.m");
    assert_eq!(received.job("state"), "SUCCEEDED");
    assert_eq!(received.job("output_version"), 1);
    assert!(received.job("error").is_null());
    assert_eq!(received.headers["content-type"], "application/json");
    assert!(received.headers["webhook-signature"].starts_with("v1,"), "{received:?}");
    let seconds: u64 = received.headers["webhook-timestamp"].parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_secs().abs_diff(seconds) < 300);
    let row = stands(&client, &receiver.url("/ok?who=me"), &["DELIVERED"]).await;
    assert_eq!(row, ["DELIVERED", "1", "-"]);

    client.query(&format!("REFRESH m SYNC NOTIFY '{}'", receiver.url("/skipped"))).await;
    let skipped = receiver.wait_for("/skipped", 1).await.remove(0);
    assert_eq!(skipped.job("state"), "SKIPPED_NO_CHANGE");

    client.update("INSERT INTO t VALUES (0)").await;
    client.query(&format!("REFRESH bad NOTIFY '{}'", receiver.url("/failed"))).await;
    let failed = receiver.wait_for("/failed", 1).await.remove(0);
    assert_eq!(failed.job("state"), "FAILED");
    assert!(failed.job("error").as_str().unwrap().contains("zero"), "{failed:?}");
    // Whoever tries the job again is told again.
    let id = failed.job("job_id").as_str().unwrap().to_owned();
    stands(&client, &receiver.url("/failed"), &["DELIVERED"]).await;
    client.script("DELETE FROM t WHERE a = 0").await;
    client.query(&format!("RETRY JOB '{id}'")).await;
    let again = receiver.wait_for("/failed", 2).await.remove(1);
    assert_eq!(again.job("state"), "SUCCEEDED");
    assert_ne!(again.id(), failed.id());
}

#[tokio::test]
async fn a_job_that_never_ran_is_told_of_as_well() {
    let receiver = Receiver::start().await;
    let options = receiver
        .options()
        .env("WHIMBREL__REFRESH__WORKERS", "1")
        .env("WHIMBREL_PAUSE_AT", "staged");
    let (_server, mut client) = start(&options).await;
    changed(&mut client).await;
    changed(&mut client).await;
    client.query("OPTIMIZE t ASYNC").await;
    eventually("the only worker stands still", || {
        let mut client = client.clone();
        async move {
            let sql =
                "SELECT count(*) FROM system.jobs WHERE kind = 'OPTIMIZE' AND state = 'RUNNING'";
            (client.query(sql).await.cell() == "1").then_some(())
        }
    })
    .await;
    let queued = client.query(&format!("REFRESH m NOTIFY '{}'", receiver.url("/cancelled"))).await;
    let waiting = stands(&client, &receiver.url("/cancelled"), &["WAITING"]).await;
    assert_eq!(waiting, ["WAITING", "0", "-"]);
    client.query(&format!("CANCEL JOB '{}'", queued.only("job_id"))).await;
    let cancelled = receiver.wait_for("/cancelled", 1).await.remove(0);
    assert_eq!(cancelled.job("state"), "CANCELLED");
}

#[tokio::test]
async fn a_receiver_that_fails_or_dies_is_asked_again_with_the_same_id() {
    let receiver = Receiver::start().await;
    let (_server, mut client) = start(&receiver.options()).await;
    for path in ["/fails", "/dies"] {
        changed(&mut client).await;
        let url = receiver.url(path);
        client.query(&format!("REFRESH m SYNC NOTIFY '{url}'")).await;
        let tries = receiver.wait_for(path, 3).await;
        assert!(tries.iter().all(|each| each.id() == tries[0].id()), "{tries:?}");
        assert!(tries.iter().all(|each| each.job("state") == "SUCCEEDED"), "{tries:?}");
        let signed: Vec<_> = tries.iter().map(|each| &each.headers["webhook-signature"]).collect();
        assert!(signed[0] != signed[2], "each try is signed with its time: {signed:?}");
        let row = stands(&client, &url, &["DELIVERED"]).await;
        assert_eq!(row, ["DELIVERED", "3", "-"], "{path}");
        assert_eq!(receiver.requests(path).len(), 3);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_bound_ends_the_tries() {
    let receiver = Receiver::start().await;
    let options = receiver.options().env("WHIMBREL__NOTIFY__ATTEMPTS_MAX", "2");
    let (_server, mut client) = start(&options).await;
    changed(&mut client).await;
    let url = receiver.url("/redirects");
    client.query(&format!("REFRESH m SYNC NOTIFY '{url}'")).await;
    let row = stands(&client, &url, &["FAILED"]).await;
    assert_eq!(row[1], "2");
    assert!(row[2].contains("302") && row[2].contains("not followed"), "{row:?}");
    assert_eq!(receiver.requests("/redirects").len(), 2);
    assert_eq!(receiver.requests("/target").len(), 0);
}

#[tokio::test]
async fn a_receiver_that_never_answers_holds_up_nobody() {
    let receiver = Receiver::start().await;
    let options = receiver
        .options()
        .env("WHIMBREL__NOTIFY__TIMEOUT", "60s")
        .env("WHIMBREL__REFRESH__WORKERS", "1");
    let (server, mut client) = start(&options).await;
    for _ in 0..3 {
        changed(&mut client).await;
        client.query(&format!("REFRESH m SYNC NOTIFY '{}'", receiver.url("/hangs"))).await;
    }
    receiver.wait_for("/hangs", 3).await;
    // The job has ended, its worker has the next one, and others are told.
    changed(&mut client).await;
    client.query(&format!("REFRESH m SYNC NOTIFY '{}'", receiver.url("/ok"))).await;
    receiver.wait_for("/ok", 1).await;
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

    // With less patience the same receiver is given up.
    let options = receiver.options().env("WHIMBREL__NOTIFY__ATTEMPTS_MAX", "1");
    let (_server, mut client) = start(&options).await;
    changed(&mut client).await;
    let url = receiver.url("/hangs");
    client.query(&format!("REFRESH m SYNC NOTIFY '{url}'")).await;
    let row = stands(&client, &url, &["FAILED"]).await;
    assert!(row[2].contains("no answer within 1s"), "{row:?}");
}

#[tokio::test]
async fn a_restart_goes_on_delivering() {
    let receiver = Receiver::start().await;
    let url = receiver.url("/later");
    let options = receiver.options();
    let (port, requests) = receiver.die().await;
    let (server, mut client) = start(&options).await;
    changed(&mut client).await;
    client.query(&format!("REFRESH m SYNC NOTIFY '{url}'")).await;
    eventually("the first try has failed", || {
        let mut client = client.clone();
        async move {
            let sql = "SELECT last_error IS NOT NULL FROM system.notifications";
            (client.query(sql).await.cell() == "true").then_some(())
        }
    })
    .await;
    server.kill();
    let receiver = Receiver::on(port, requests).await;
    let (_server, client) = start(&options).await;
    let received = receiver.wait_for("/later", 1).await.remove(0);
    assert_eq!(received.job("state"), "SUCCEEDED");
    stands(&client, &url, &["DELIVERED"]).await;
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_not_told_of_twice() {
    let receiver = Receiver::start().await;
    let server = receiver.options().start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE MATERIALIZED VIEW m AS SELECT 1 AS k").await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let url = receiver.url("/ok/once");
    let once = format!("REFRESH m FULL ASYNC NOTIFY '{url}' OPTIONS (idempotency_key = 'nightly')");
    let first = client.query(&once).await.only("job_id");
    receiver.wait_for("/ok/once", 1).await;
    client.job(&first).await.expect("SUCCEEDED");
    // Also when it was delivered long ago; another receiver is told.
    assert_eq!(client.query(&once).await.only("job_id"), first);
    let other = once.replace("/ok/once", "/ok/other");
    assert_eq!(client.query(&other).await.only("job_id"), first);
    receiver.wait_for("/ok/other", 1).await;
    assert_eq!(receiver.requests("/ok/once").len(), 1);
    let shown = "SELECT count(*), count(DISTINCT url) FROM system.notifications";
    assert_eq!(client.query(shown).await.text(), "2|2");
}

#[tokio::test]
async fn what_was_told_long_ago_is_forgotten() {
    let receiver = Receiver::start().await;
    let server = receiver.options().start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE MATERIALIZED VIEW m AS SELECT 1 AS k").await;
    let url = receiver.url("/ok/told");
    client.query(&format!("REFRESH m ASYNC NOTIFY '{url}'")).await;
    let states = "SELECT state FROM system.notifications";
    eventually("it is delivered", || {
        let mut client = client.clone();
        async move { (client.query(states).await.text() == "DELIVERED").then_some(()) }
    })
    .await;
    let options = server.stop().env("WHIMBREL__NOTIFY__KEEP", "1ms");
    let server = options.start();
    let client = Client::connect(&server).await;
    eventually("it is forgotten", || {
        let mut client = client.clone();
        async move { client.query(states).await.is_empty().then_some(()) }
    })
    .await;
}
