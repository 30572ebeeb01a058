//! `whimbrel serve`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Args;

use super::{Failure, Place, flag, path_flag};
use crate::{
    boot::{Server, Signals},
    config::Environment,
    logs::{self, Color},
};

const EXAMPLES: &str = "\
Examples:
  whimbrel serve
  whimbrel serve --data-dir /srv/whimbrel --transforms /srv/transforms
  whimbrel serve --flight-addr 127.0.0.1:0
  whimbrel serve --pg-addr 127.0.0.1:5432       # then: psql -h 127.0.0.1 whimbrel
  whimbrel serve --catalog postgres://whimbrel@db/whimbrel --lake s3://bucket/lake

The line `listening on grpc://HOST:PORT` on standard output says that statements are accepted;
with --pg-addr, a line `listening on postgres://HOST:PORT` comes before it.
SIGINT or SIGTERM lets running statements end; a second one does not wait.

Object stores take their credentials from the usual variables (AWS_*, GOOGLE_*, AZURE_*) or from
[lake.storage] in whimbrel.toml. Other machines may connect only to a server with users and TLS.";

/// Flags of `serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArgs {
    /// Folder of everything that has no other place [default: whimbrel-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:32010]
    #[arg(long, value_name = "HOST:PORT")]
    flight_addr: Option<String>,
    /// Address for Postgres clients; port 0 picks a free one [default: none, it is off]
    #[arg(long, value_name = "HOST:PORT")]
    pg_addr: Option<String>,
    /// Catalog: sqlite:PATH, sqlite::memory: or postgres://… [default: a file in the data folder]
    #[arg(long, value_name = "URL")]
    catalog: Option<String>,
    /// Where tables are kept: a folder, s3://…, gs://… or az://… [default: a folder in the data folder]
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// Folder of .sql files that is kept applied
    #[arg(long, value_name = "DIR")]
    transforms: Option<PathBuf>,
}

pub(super) async fn run(args: ServeArgs, place: &Place) -> Result<ExitCode, Failure> {
    let flags = [
        path_flag("data_dir", "--data-dir", args.data_dir.as_ref()),
        flag("server.flight_addr", "--flight-addr", args.flight_addr),
        flag("server.pg_addr", "--pg-addr", args.pg_addr),
        flag("catalog.url", "--catalog", args.catalog),
        flag("lake.url", "--lake", args.lake),
        path_flag("refresh.transforms", "--transforms", args.transforms.as_ref()),
    ];
    let config = place.load(&flags.into_iter().flatten().collect::<Vec<_>>())?;
    logs::init(&config.log, color(&place.environment))?;
    let signals = catch_signals()?;
    let server = Server::start(&config).await?;
    announce(&server);
    serve_until_told(server, signals).await
}

pub(super) fn catch_signals() -> Result<Signals, Failure> {
    Signals::catch().map_err(|error| Failure::new(format!("catch signals: {error}")))
}

pub(super) fn color(environment: &Environment) -> Color {
    if environment.no_color() { Color::Never } else { Color::WhenTerminal }
}

/// The line that scripts wait for.
pub(super) fn announce(server: &Server) {
    let mut out = std::io::stdout().lock();
    // Nobody has to listen. The line of Flight comes last: whoever waits for it has both.
    if let Some(url) = server.pg_url() {
        let _ = writeln!(out, "listening on {url}");
    }
    let _ = writeln!(out, "listening on {}", server.url()).and_then(|()| out.flush());
}

/// Serves until a signal comes, then stops in good order.
pub(super) async fn serve_until_told(
    mut server: Server,
    mut signals: Signals,
) -> Result<ExitCode, Failure> {
    tokio::select! {
        () = signals.next() => {}
        why = server.ended() => return Err(Failure::new(why)),
    }
    tracing::info!("stopping: running statements may end, a second signal ends them");
    stop(server, signals).await
}

/// Stops a server in good order, unless a signal comes meanwhile.
pub(super) async fn stop(server: Server, mut signals: Signals) -> Result<ExitCode, Failure> {
    let late = tokio::select! {
        late = server.stop() => late,
        () = signals.next() => {
            tracing::warn!("stopped at once");
            std::process::exit(130);
        }
    };
    if late.is_empty() {
        tracing::info!("stopped");
    } else {
        tracing::warn!(still_running = late.join(", "), "stopped while statements were running");
    }
    Ok(ExitCode::SUCCESS)
}
