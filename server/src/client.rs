//! A client of any Flight SQL server: what `whimbrel sql`, `plan`, `apply` and `demo` talk through.
//!
//! It exists so that our own commands use the same door as everybody else. It knows nothing of the
//! engine: whatever it shows came over the wire.

mod address;
mod connection;
mod error;
mod folder;
mod listing;
mod output;
mod progress;
mod script;
mod shell;
mod split;
mod table;

pub use self::{
    address::ServerUrl,
    connection::{ConnectOptions, Connection, Outcome, OwnCertificate, Rows, TransportSecurity},
    error::ClientError,
    folder::read_folder,
    output::{Format, Output, TableWidth},
    progress::{grouped, is_success, job_failures, job_seconds, job_table, state_word, watch_jobs},
    script::{ScriptError, ScriptOptions, run_script},
    shell::{ShellOptions, run_shell},
    split::{Piece, split},
    table::{TextTable, render_batches},
};
