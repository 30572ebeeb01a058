//! Whimbrel's server and command line: everything that knows a protocol, a file or the environment.
//!
//! It exists to wire the engine to the outside. What SQL means and how tables are written, it never
//! decides.

pub mod auth;
pub mod boot;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod error;
pub mod flight;
pub mod health;
pub mod logs;
pub mod net;
mod notify;
pub mod pg;
pub mod rpc;
pub mod seal;
