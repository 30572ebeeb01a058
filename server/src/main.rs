//! The program `whimbrel`: reads the command line and hands over to [`whimbrel::cli`].

mod memory;

use std::{io, num::NonZeroUsize, process::ExitCode, thread};

use clap::Parser;
use tokio::runtime::{Builder, Runtime};
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
    match network_runtime() {
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

/// Threads for the network: half as many as there are processors, since they have little to do for
/// each query. With more of them the parts of one connection would wake each other on different
/// processors for every piece of an answer, and take those from the threads that compute.
fn network_runtime() -> io::Result<Runtime> {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Builder::new_multi_thread()
        .worker_threads(processors.div_ceil(2))
        .thread_name("whimbrel-io")
        .enable_all()
        .build()
}
