//! `whimbrel worker`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    Failure, Place, flag, path_flag,
    serve::{catch_signals, color},
};
use crate::{boot::WorkerProcess, logs};

const EXAMPLES: &str = "\
Examples:
  whimbrel worker --catalog postgres://whimbrel@db/whimbrel --lake s3://bucket/lake
  whimbrel worker --catalog postgres://whimbrel@db/whimbrel --lake /mnt/lake --workers 4
  whimbrel worker --catalog postgres://whimbrel@db/whimbrel --lake /mnt/lake --profile large

It takes jobs from the queue of the catalog beside the servers and workers that share it, and
accepts no clients. It may be killed at any moment: what it was doing is taken over once its lease
has run out (refresh.lease), and nothing is published half or twice.

The line `working on CATALOG` on standard output says that jobs are taken. SIGINT or SIGTERM lets
running jobs end; a second one does not wait. A SQLite catalog serves one process: `whimbrel serve`.";

/// Flags of `worker`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WorkerArgs {
    /// Folder of everything that has no other place [default: whimbrel-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Catalog that others serve: postgres://…
    #[arg(long, value_name = "URL")]
    catalog: Option<String>,
    /// Where tables are kept, as for the servers of the catalog
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// Jobs at the same time [default: refresh.workers]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Only jobs of this profile; may be given several times [default: refresh.take_profiles]
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
}

pub(super) async fn run(args: WorkerArgs, place: &Place) -> Result<ExitCode, Failure> {
    let profiles = args.profile.join(",");
    let flags = [
        path_flag("data_dir", "--data-dir", args.data_dir.as_ref()),
        flag("catalog.url", "--catalog", args.catalog),
        flag("lake.url", "--lake", args.lake),
        flag("refresh.workers", "--workers", args.workers),
        flag("refresh.take_profiles", "--profile", (!profiles.is_empty()).then_some(profiles)),
    ];
    let config = place.load(&flags.into_iter().flatten().collect::<Vec<_>>())?;
    logs::init(&config.log, color(&place.environment))?;
    let mut signals = catch_signals()?;
    let worker = WorkerProcess::start(&config).await?;
    // Nobody has to listen.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "working on {}", worker.catalog()).and_then(|()| out.flush());
    drop(out);
    signals.next().await;
    tracing::info!("stopping: running jobs may end, a second signal ends them");
    let late = tokio::select! {
        late = worker.stop() => late,
        () = signals.next() => {
            tracing::warn!("stopped at once");
            std::process::exit(130);
        }
    };
    if !late.is_empty() {
        tracing::warn!(still_running = late.join(", "), "stopped while jobs were running");
    }
    Ok(ExitCode::SUCCESS)
}
