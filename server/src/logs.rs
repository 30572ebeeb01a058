//! Where log lines go: standard error, as text or JSON.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// A level or directive that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.level: '{level}' is no level: {why}; write error, warn, info, debug or trace, also by module as in info,whimbrel_query=debug"
)]
pub struct LogError {
    level: String,
    why: String,
}

/// Libraries that log as errors what they also return, and what is often none: that a table does
/// not exist yet, for example. `log.level` can name them to hear them again.
const QUIET: &str = "buoyant_kernel=off,deltalake_core=warn";

/// Starts logging, for the rest of the process. A second call changes nothing.
///
/// A panic anywhere is logged with its place, besides what Rust prints.
pub fn init(config: &LogConfig, color: Color) -> Result<(), LogError> {
    let refused = |why: String| LogError { level: config.level.clone(), why };
    let directives = format!("{QUIET},{}", config.level);
    let filter =
        EnvFilter::builder().parse(directives).map_err(|error| refused(error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match config.format {
        LogFormat::Text => {
            let ansi = color == Color::WhenTerminal && io::stderr().is_terminal();
            lines.with_ansi(ansi).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_ok() {
        log_panics();
    }
    Ok(())
}

/// Whether log lines may have colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// On a terminal.
    WhenTerminal,
    /// Nowhere.
    Never,
}

fn log_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name().unwrap_or("unnamed"), "panicked");
        print(panic);
    }));
}
