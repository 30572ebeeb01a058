//! `whimbrel sql`.

use std::{
    io::{self, BufWriter, IsTerminal, Read},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use super::{Failure, Place, remote::RemoteArgs};
use crate::client::{
    Format, Output, ScriptOptions, ShellOptions, TableWidth, run_script, run_shell,
};

const EXAMPLES: &str = "\
Examples:
  whimbrel sql                                        type statements; \\? explains the rest
  whimbrel sql -c 'SELECT count(*) FROM raw.flights'
  whimbrel sql -c 'SHOW TABLES' --format csv
  whimbrel sql -f setup.sql                           stops at the first statement that fails
  whimbrel sql -c 'SELECT * FROM t' --format arrow > t.arrows
  echo 'SELECT 1; SELECT 2' | whimbrel sql
  WHIMBREL_PASSWORD=… whimbrel sql --url grpc+tls://db:443 --user ada

Works with every Flight SQL server. Rows go to standard output, everything else to standard error.";

/// Flags of `sql`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SqlArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Statements to run, separated by semicolons
    #[arg(short = 'c', long, value_name = "SQL", conflicts_with = "file")]
    command: Option<String>,
    /// File with statements to run; - reads standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How rows are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Rows that a table shows; 0 shows all
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    limit: usize,
    /// Say how long each statement takes
    #[arg(long)]
    timing: bool,
}

pub(super) async fn run(args: SqlArgs, place: &Place) -> Result<ExitCode, Failure> {
    let width = if io::stdout().is_terminal() { TableWidth::Terminal } else { TableWidth::Any };
    let output = Output { format: args.format, table_rows_max: args.limit, width };
    let script = script(&args)?;
    let mut connection = args.remote.connect(place).await?;
    let Some(Script { text, name }) = script else {
        let environment = &place.environment;
        let options = ShellOptions {
            output,
            timing: args.timing,
            history: environment.history_file(),
            color: !environment.no_color(),
        };
        Box::pin(run_shell(&mut connection, options)).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let options = ScriptOptions { output, timing: args.timing, name };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
    let mut notes = io::stderr();
    Box::pin(run_script(&mut connection, &text, &options, &mut out, &mut notes)).await?;
    Ok(ExitCode::SUCCESS)
}

struct Script {
    text: String,
    name: Option<String>,
}

/// What is to be run; nothing when somebody sits at a terminal and will type it.
fn script(args: &SqlArgs) -> Result<Option<Script>, Failure> {
    if let Some(text) = &args.command {
        return Ok(Some(Script { text: text.clone(), name: None }));
    }
    match &args.file {
        Some(file) if file.as_os_str() != "-" => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::new(format!("read '{name}': {error}")))?;
            return Ok(Some(Script { text, name: Some(name) }));
        }
        None if io::stdin().is_terminal() => return Ok(None),
        _ => {}
    }
    if args.remote.takes_stdin() {
        return Err(Failure::usage(
            "standard input holds the password, so it cannot hold the statements: use -c or -f, or \
             give the password in WHIMBREL_PASSWORD",
        ));
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(format!("read standard input: {error}")))?;
    Ok(Some(Script { text, name: Some("stdin".to_owned()) }))
}
