//! `whimbrel config`.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, Place};

const EXAMPLES: &str = "\
Examples:
  whimbrel config show
  WHIMBREL__QUERY__MEMORY_MAX=25% whimbrel config show
  whimbrel --config /etc/whimbrel.toml config check";

/// What can be done about settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the settings in force as TOML, with their origins and without secrets
    #[command(after_help = EXAMPLES)]
    Show,
    /// Say whether the settings can be used
    #[command(after_help = EXAMPLES)]
    Check,
}

pub(super) fn run(command: &ConfigCommand, place: &Place) -> Result<ExitCode, Failure> {
    let config = place.load(&[])?;
    match command {
        ConfigCommand::Show => print!("{}", config.show()),
        ConfigCommand::Check => println!("the settings can be used"),
    }
    Ok(ExitCode::SUCCESS)
}
