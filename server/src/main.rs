//! The program `whimbrel`: reads the command line and hands over to [`whimbrel::cli`].

mod memory;

use std::process::ExitCode;

use clap::Parser;
use whimbrel::{
    cli::{self, Cli},
    config::Environment,
};

fn main() -> ExitCode {
    memory::keep();
    // Before anything can open a connection. The error would be that somebody was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let environment = Environment::read();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("whimbrel-io").build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(cli, environment));
            // Whatever still waits for the network or a terminal is not waited for.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("error: start the threads for the network: {error}");
            ExitCode::FAILURE
        }
    }
}
