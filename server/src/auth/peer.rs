//! What a connection is known for before anything is said on it.

use std::{net::SocketAddr, sync::Arc};

use tonic::Extensions;

use super::ClientCertificate;

/// The other end of a connection. Made where connections are accepted; each request carries it in
/// its extensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from, when that is known.
    pub address: Option<SocketAddr>,
    /// The certificate that it showed, checked against the authorities of `server.tls_client_ca`.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Peer {
    /// The other end of the connection of a request with these extensions.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// How the audit trail calls a client of `protocol` at the other end.
    #[must_use]
    pub fn client(&self, protocol: &str) -> String {
        match self.address {
            Some(address) => format!("{protocol} {address}"),
            None => protocol.to_owned(),
        }
    }
}
