//! Whimbrel's server and command line: everything that knows a protocol, a file or the environment.
//!
//! It exists to wire the engine to the outside. What SQL means and how tables are written, it never
//! decides.

pub mod client;
pub mod config;
