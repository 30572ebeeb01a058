//! How connections come in, before anything is said on them: accepting, encryption, and the limits
//! of those who have not said who they are.
//!
//! It exists so that every port has the same certificate and the same limits. It never decides who a
//! client is: it checks certificates of clients and hands them on, and `auth` reads them.

mod connection;
mod door;
mod incoming;
mod tally;
mod tls;

pub use connection::Connection;
pub(crate) use door::{Door, Waiting};
pub(crate) use incoming::next_socket;
pub use incoming::{Incoming, incoming};
pub(crate) use tally::Tally;
pub use tls::{ClientAuth, Protocol, Tls, TlsError, TlsFiles};
