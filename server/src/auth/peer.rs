//! What a connection is known for before anything is said on it.

use std::net::SocketAddr;

use tonic::Extensions;

/// The other end of a connection. Made where connections are accepted; each request carries it in
/// its extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from, when that is known.
    pub address: Option<SocketAddr>,
}

impl Peer {
    /// The other end of the connection of a request with these extensions.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }
}
