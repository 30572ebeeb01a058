//! `whimbrel healthcheck`.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, Place, remote::RemoteArgs};
use crate::health;

const EXAMPLES: &str = "\
Examples:
  whimbrel healthcheck
  whimbrel healthcheck --url grpc://127.0.0.1:32010

Made for containers: HEALTHCHECK CMD [\"whimbrel\", \"healthcheck\"]. Needs no login.";

/// Flags of `healthcheck`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) async fn run(args: HealthcheckArgs, place: &Place) -> Result<ExitCode, Failure> {
    let connection = args.remote.connect(place).await?;
    health::check(&connection).await?;
    println!("{} serves", connection.url());
    Ok(ExitCode::SUCCESS)
}
