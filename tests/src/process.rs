//! The real binary as a process, on a free port with a folder of its own.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::eventually::LIMIT;

/// Before the address: `listening on grpc://`, or `listening on grpc+tls://`.
const READY: &str = "listening on grpc";

/// The binary under test: `WHIMBREL_BIN`, or the debug build beside this test.
#[must_use]
pub fn binary() -> PathBuf {
    let path = match std::env::var_os("WHIMBREL_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().unwrap();
            let profile = test.parent().and_then(Path::parent).expect("tests are built two deep");
            profile.join("whimbrel")
        }
    };
    assert!(
        path.is_file(),
        "there is no binary at {}: run `cargo build` first, or set WHIMBREL_BIN",
        path.display()
    );
    path
}

/// A variable that `tests/run` sets. Panics with what to do when it is missing.
#[must_use]
pub fn required_variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run this test through tests/run"))
}

/// URL of the PostgreSQL database that `tests/run` made for one test.
#[must_use]
pub fn postgres_url(database: &str) -> String {
    let url = required_variable("WHIMBREL_TEST_PG_URL");
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{database}")
}

/// The command with nothing of the caller's environment that could change what it does.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let configures = ["WHIMBREL", "AWS_", "AZURE_", "GOOGLE_", "RUST_LOG"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if configures {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).env("NO_COLOR", "1").env("HOME", folder);
    command
}

/// What a server is started with. Kept, so that a restart is the same again.
#[derive(Debug, Clone)]
pub struct Options {
    folder: Arc<TempDir>,
    data_dir: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// A server in a new folder, which goes when the last user of these options is gone.
    #[must_use]
    pub fn new() -> Self {
        let folder = Arc::new(tempfile::Builder::new().prefix("whimbrel-e2e").tempdir().unwrap());
        let data_dir = folder.path().join("data");
        Self { folder, data_dir, arguments: Vec::new(), environment: Vec::new() }
            // So that a worker's death is noticed soon, and schedules are looked at often.
            .env("WHIMBREL__REFRESH__LEASE", "2s")
            .env("WHIMBREL__REFRESH__TICK", "200ms")
            .env("WHIMBREL__LOG__LEVEL", "warn,whimbrel=info,buoyant_kernel=off")
    }

    /// One more argument of `serve`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more variable, or another value for one.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With its lake on the S3 server that `tests/run` has started, in a folder of its own there.
    #[must_use]
    pub fn on_s3(self) -> Self {
        let bucket = required_variable("WHIMBREL_TEST_S3_BUCKET");
        let folder = self.folder().file_name().expect("a folder below another one");
        let lake = format!("s3://{bucket}/{}", folder.to_string_lossy());
        self.arg("--lake")
            .arg(lake)
            .env("AWS_ENDPOINT_URL", required_variable("WHIMBREL_TEST_S3_ENDPOINT"))
            .env("AWS_ACCESS_KEY_ID", required_variable("WHIMBREL_TEST_S3_ACCESS_KEY_ID"))
            .env("AWS_SECRET_ACCESS_KEY", required_variable("WHIMBREL_TEST_S3_SECRET_ACCESS_KEY"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ALLOW_HTTP", "true")
    }

    /// Without this variable.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// Another `--data-dir` in the same folder.
    #[must_use]
    pub fn data_dir(mut self, name: &str) -> Self {
        self.data_dir = self.folder.path().join(name);
        self
    }

    /// The folder in which the server runs; it is outside the lake.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's `--data-dir`.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data_dir
    }

    /// Starts a server and waits until it accepts statements.
    #[must_use]
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(ended) => panic!("the server did not start: {ended:?}"),
        }
    }

    /// Starts a server; how it ended when it ends before it accepts statements.
    pub fn try_start(&self) -> Result<Server, Ended> {
        let mut command = command(self.folder());
        command.arg("serve").arg("--data-dir").arg(self.data());
        if !self.arguments.iter().any(|argument| argument == "--flight-addr") {
            command.args(["--flight-addr", "127.0.0.1:0"]);
        }
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::default();
        let (ready, lines) = channel();
        for stream in [
            Box::new(child.stdout.take().expect("piped")) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().expect("piped")),
        ] {
            let (log, ready) = (log.clone(), ready.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    log.push(&line);
                    let ready_at = line.split_once(READY).and_then(|(_, at)| at.split_once("://"));
                    if let Some((_, address)) = ready_at {
                        let address = address.split_whitespace().next().unwrap_or_default();
                        // Nobody listens any more once the address is known.
                        let _ = ready.send(address.to_owned());
                    }
                }
            });
        }
        drop(ready);
        let mut server =
            Server { child, log, address: String::new(), options: self.clone(), over: false };
        server.wait_until_ready(&lines)?;
        Ok(server)
    }

    /// Runs another command of the binary on the same folder, with `input` as its standard input.
    #[must_use]
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = command(self.folder());
        command.args(arguments).envs(self.environment.iter().cloned());
        run(&mut command, input)
    }
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may be gone before it is written.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// How a process ended, with all it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output and error.
    pub log: String,
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn push(&self, line: &str) {
        let mut text = self.0.lock().unwrap();
        text.push_str(line);
        text.push('\n');
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A running server. Killed when dropped; what it said is shown when the test fails.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: Log,
    address: String,
    options: Options,
    over: bool,
}

impl Server {
    /// A server with nothing special.
    #[must_use]
    pub fn start() -> Self {
        Options::new().start()
    }

    /// `host:port` that it listens on.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `grpc://host:port`, as the command-line client takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("grpc://{}", self.address)
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) -> Options {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.over = true;
        self.options.clone()
    }

    /// Asks it to end with SIGTERM; returns at once.
    pub fn ask_to_stop(&self) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status()
            .unwrap();
        assert!(status.success(), "no signal could be sent");
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Ended {
        let status = self.wait_for_exit();
        Ended { status, log: self.log() }
    }

    /// Asks it to end and panics unless it does so without an error.
    pub fn stop(self) -> Options {
        let options = self.options.clone();
        self.ask_to_stop();
        let ended = self.wait();
        assert!(ended.status.success(), "ended with {}:\n{}", ended.status, ended.log);
        options
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.over = true;
                return status;
            }
            assert!(start.elapsed() < LIMIT, "the server does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_ready(&mut self, lines: &Receiver<String>) -> Result<(), Ended> {
        match lines.recv_timeout(LIMIT) {
            Ok(address) => {
                self.address = address;
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => {
                panic!("the server does not become ready:\n{}", self.log())
            }
            // Both of its outputs are closed.
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.wait_for_exit();
                Err(Ended { status, log: self.log() })
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.over {
            // It may have died on its own; that is what the test is about to say.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server said:\n{}", self.log());
        }
    }
}
