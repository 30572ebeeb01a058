//! `whimbrel plan` and `whimbrel apply`.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use proto::v1::{ApplyRequest, Change, ChangeKind, PlanRequest, SourceFile};

use super::{Failure, Place, remote::RemoteArgs};
use crate::client::{ClientError, TextTable, job_failures, job_table, read_folder, watch_jobs};

const PLAN_EXAMPLES: &str = "\
Examples:
  whimbrel plan transforms/
  whimbrel plan transforms/ --url grpc://127.0.0.1:32010

Exit code: 0 when there is nothing to do, 1 when something would change, 2 when the server refuses
the folder or cannot be asked.";

const APPLY_EXAMPLES: &str = "\
Examples:
  whimbrel apply transforms/
  whimbrel apply transforms/ --no-wait

Every file holds CREATE OR REFRESH MATERIALIZED VIEW statements and their like. The server finds the
order by what reads what. What no file declares any more is suspended and keeps its data.";

/// Flags of `plan`.
#[derive(Debug, Args)]
#[command(after_help = PLAN_EXAMPLES)]
pub(super) struct PlanArgs {
    /// Folder of .sql files
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Flags of `apply`.
#[derive(Debug, Args)]
#[command(after_help = APPLY_EXAMPLES)]
pub(super) struct ApplyArgs {
    /// Folder of .sql files
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Do not wait for the refreshes that follow
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) async fn plan(args: PlanArgs, place: &Place) -> Result<ExitCode, Failure> {
    let files = source_files(&args.folder)?;
    let connection = args.remote.connect(place).await?;
    let response = connection.transforms().plan(PlanRequest { files }).await;
    let changes = response.map_err(ClientError::from)?.into_inner().changes;
    show(&changes)?;
    let nothing_to_do = changes.iter().all(|change| change.kind() == ChangeKind::Unchanged);
    Ok(if nothing_to_do { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

pub(super) async fn apply(args: ApplyArgs, place: &Place) -> Result<ExitCode, Failure> {
    let files = source_files(&args.folder)?;
    let connection = args.remote.connect(place).await?;
    let response = connection.transforms().apply(ApplyRequest { files }).await;
    let response = response.map_err(ClientError::from)?.into_inner();
    show(&response.changes)?;
    if args.no_wait || response.jobs.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = watch_jobs(&connection, &response.jobs).await?;
    print(&job_table(&jobs))?;
    let failures = job_failures(&jobs);
    if failures.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::new(failures.join("\n"))) }
}

/// The files as they are sent. A folder without any is surely the wrong one: applying it would
/// suspend everything.
fn source_files(folder: &Path) -> Result<Vec<SourceFile>, Failure> {
    let files = read_folder(folder)?;
    if files.is_empty() {
        return Err(Failure::usage(format!("there is no .sql file below '{}'", folder.display())));
    }
    Ok(files.into_iter().map(|(path, text)| SourceFile { path, text }).collect())
}

fn show(changes: &[Change]) -> Result<(), Failure> {
    let mut table = TextTable::new(&["change", "object", "file", "detail"]);
    for change in changes {
        table.push(vec![
            change.kind().as_str_name().trim_start_matches("CHANGE_KIND_").to_owned(),
            change.object.clone(),
            change.path.clone(),
            change.detail.clone(),
        ]);
    }
    print(&table.render())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::Write)?)
}
