//! `whimbrel demo`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    Failure, Place, flag, path_flag,
    serve::{announce, catch_signals, color, serve_until_told, stop},
};
use crate::{
    boot::Server,
    demo::{self, DemoError},
    logs,
};

const EXAMPLES: &str = "\
Examples:
  whimbrel demo
  whimbrel demo --exit
  whimbrel demo --data-dir /tmp/flights --flight-addr 127.0.0.1:0

Needs no configuration, no network and no other program. Run it twice: nothing that is up to date
is computed again.";

/// Flags of `demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArgs {
    /// Folder for catalog, tables and flights [default: whimbrel-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:32010]
    #[arg(long, value_name = "HOST:PORT")]
    flight_addr: Option<String>,
    /// End after the answers instead of serving on
    #[arg(long)]
    exit: bool,
}

pub(super) async fn run(args: DemoArgs, place: &Place) -> Result<ExitCode, Failure> {
    let flags = [
        path_flag("data_dir", "--data-dir", args.data_dir.as_ref()),
        flag("server.flight_addr", "--flight-addr", args.flight_addr),
    ];
    let mut config = place.load(&flags.into_iter().flatten().collect::<Vec<_>>())?;
    if config.is_default("log.level") {
        // The demo tells its story on the same screen.
        "warn".clone_into(&mut config.log.level);
    }
    logs::init(&config.log, color(&place.environment))?;
    let mut signals = catch_signals()?;
    let data = demo::write_data(&config.data_dir)?;
    config.lake.locations.push(data.display().to_string());
    let server = Server::start(&config).await?;
    announce(&server);
    let url = server.local_url();
    let told = tokio::select! {
        told = demo::tell(&url, &data, &place.environment) => told,
        () = signals.next() => {
            stop(server, signals).await?;
            return Err(Failure::new("stopped before the demo was over; run it again to go on"));
        }
    };
    if let Err(error) = told {
        stop(server, signals).await?;
        return Err(error.into());
    }
    if args.exit {
        return stop(server, signals).await;
    }
    demo::say_goodbye(&server.url());
    serve_until_told(server, signals).await
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        let hint = error.hint();
        let failure = Self::of(&error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}
