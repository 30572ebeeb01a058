//! What the tests of the whole server share: the real binary as a process, and a client of it.
//!
//! It exists so that a test says only what it is about. It knows nothing of the server but its
//! command line and what it speaks on its port, and it fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking, and this crate is only for tests"
)]

pub mod answer;
pub mod client;
pub mod eventually;
pub mod process;
