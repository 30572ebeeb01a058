//! The whole server as a client meets it: the real binary, its port and its folder.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod approvals;
mod arrow_types;
mod cancel;
mod care;
mod changes;
mod configuration;
mod crash;
mod docs;
mod errors;
mod files;
mod folder;
mod handles;
mod ingest;
mod lake;
mod log_cleanup;
mod memory;
mod metadata;
mod notify;
mod once;
mod prepared;
mod process;
mod profiles;
mod programs;
mod replicas;
mod rights;
mod session;
mod stores;
mod streams;
mod substrait;
mod tables;
mod transactions;
mod transforms;
mod users;
mod workers;
