//! The command line: what can be said, and who does it.

mod config;
mod demo;
mod failure;
mod healthcheck;
mod remote;
mod serve;
mod sql;
mod transforms;
mod user;
mod worker;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

pub use self::failure::Failure;
use crate::config::{Config, Environment, Flag, Machine};

/// What `--version` says.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nDataFusion ",
    env!("WHIMBREL_DATAFUSION_VERSION"),
    "\ndeltalake ",
    env!("WHIMBREL_DELTALAKE_VERSION"),
    "\nArrow Flight ",
    env!("WHIMBREL_ARROW_VERSION"),
);

const EXAMPLES: &str = "\
Examples:
  whimbrel demo                              real flights in, Delta tables out, in a minute or two
  whimbrel serve                             a server on 127.0.0.1:32010, data in whimbrel-data/
  whimbrel sql -c 'SELECT 1'                 ask it
  whimbrel sql                               ask it again and again
  whimbrel plan transforms/                  what would a folder of .sql files change?
  whimbrel apply transforms/                 change it

Settings come from whimbrel.toml, from variables such as WHIMBREL__SERVER__FLIGHT_ADDR, and from
flags, each stronger than the one before. `whimbrel config show` tells what is in force and why.";

/// Whimbrel: SQL transforms over Delta tables, behind Arrow Flight SQL.
#[derive(Debug, Parser)]
#[command(name = "whimbrel", bin_name = "whimbrel", version = VERSION, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Read settings from this file instead of whimbrel.toml in the current folder
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server
    Serve(serve::ServeArgs),
    /// Work on the jobs of a catalog that others serve
    Worker(worker::WorkerArgs),
    /// Load three million flights, transform them, ask questions, and keep serving
    Demo(demo::DemoArgs),
    /// Send statements to a Flight SQL server, or type them
    Sql(sql::SqlArgs),
    /// Show what `apply` would change; nothing takes effect
    Plan(transforms::PlanArgs),
    /// Make a folder of .sql files the state of the server's transforms, and follow the refreshes
    Apply(transforms::ApplyArgs),
    /// Manage the users of the catalog
    #[command(subcommand)]
    User(user::UserCommand),
    /// Show or check the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Ask a server whether it serves; exit code 0 when it does
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Does what the command line says. The answer is the exit code: 0 for success, 1 for failure, 2
/// for a use that makes no sense; `plan` has codes of its own.
pub async fn run(cli: Cli, environment: Environment) -> ExitCode {
    let place = Place { config: cli.config, environment };
    let plan = matches!(cli.command, Command::Plan(_));
    let done = match cli.command {
        Command::Serve(args) => Box::pin(serve::run(args, &place)).await,
        Command::Worker(args) => Box::pin(worker::run(args, &place)).await,
        Command::Demo(args) => Box::pin(demo::run(args, &place)).await,
        Command::Sql(args) => Box::pin(sql::run(args, &place)).await,
        Command::Plan(args) => Box::pin(transforms::plan(args, &place)).await,
        Command::Apply(args) => Box::pin(transforms::apply(args, &place)).await,
        Command::User(command) => Box::pin(user::run(command, &place)).await,
        Command::Config(command) => config::run(&command, &place),
        Command::Healthcheck(args) => healthcheck::run(args, &place).await,
    };
    done.unwrap_or_else(|failure| {
        failure.print();
        // Of `plan`, 1 means that there is something to do.
        if plan { ExitCode::from(2) } else { failure.code() }
    })
}

/// What a command knows of its surroundings.
struct Place {
    config: Option<PathBuf>,
    environment: Environment,
}

impl Place {
    fn load(&self, flags: &[Flag]) -> Result<Config, Failure> {
        let file = self.config.as_deref();
        Ok(Config::load(file, &self.environment, flags, Machine::detect())?)
    }
}

/// A flag that is a setting, when it was given.
fn flag(path: &'static str, flag: &'static str, value: Option<impl ToString>) -> Option<Flag> {
    value.map(|value| Flag { path, flag, value: value.to_string() })
}

/// A flag that names a file or folder, when it was given.
fn path_flag(path: &'static str, name: &'static str, value: Option<&PathBuf>) -> Option<Flag> {
    flag(path, name, value.map(|value| value.display()))
}
