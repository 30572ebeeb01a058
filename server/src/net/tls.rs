//! Encryption with a certificate whose files are followed.

mod files;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use rt::clock::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

pub use self::files::{ClientAuth, TlsError, TlsFiles};
use self::files::{Loaded, Version};
use super::tally::Tally;
use crate::{
    auth::{ClientCertificate, Peer},
    error::chain,
};

/// How often the files are looked at: as long as an operator likes to wait, and nothing to a disk.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a client has to encrypt its connection.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What is spoken on an encrypted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2, and gRPC in it.
    Flight,
    /// The protocol of Postgres.
    Postgres,
}

/// The certificate of the server, and whose certificates its clients may show. Shared by all ports.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    current: RwLock<Arc<Loaded>>,
    doubt: Mutex<Option<Doubt>>,
    failures: Tally,
    crowds: Tally,
}

/// Files that changed and cannot be used as they are.
#[derive(Debug)]
struct Doubt {
    version: Version,
    told: bool,
}

impl Tls {
    /// Reads the files for the first time. The error says which of them cannot be used and why.
    pub async fn open(files: TlsFiles, clock: Arc<dyn Clock>) -> Result<Arc<Self>, TlsError> {
        let loaded = Arc::new(files.read().await?.load(&files)?);
        tracing::info!(
            expires = loaded.expires(),
            client_certificates = loaded.client_auth(),
            "TLS is on"
        );
        loaded.warn_when_expired(clock.now());
        Ok(Arc::new(Self {
            files,
            clock,
            current: RwLock::new(loaded),
            doubt: Mutex::new(None),
            failures: Tally::default(),
            crowds: Tally::default(),
        }))
    }

    /// Follows the files until `stop`: connections that come later get what they hold then. Files
    /// that cannot be used change nothing, and are told of once.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(LOOK_EVERY) => self.look().await,
            }
        }
    }

    /// Takes what the files hold now.
    async fn look(&self) {
        let found = self.files.read().await;
        let version = match &found {
            Ok(contents) => contents.version(),
            Err(error) => Version::of(chain(error).as_bytes()),
        };
        if version == self.current.read().version() {
            *self.doubt.lock() = None;
            return;
        }
        if self.doubt.lock().as_ref().is_some_and(|doubt| doubt.told && doubt.version == version) {
            return;
        }
        match found.and_then(|contents| contents.load(&self.files)) {
            Ok(loaded) => {
                tracing::info!(expires = loaded.expires(), "new TLS certificates are in use");
                loaded.warn_when_expired(self.clock.now());
                *self.current.write() = Arc::new(loaded);
                *self.doubt.lock() = None;
            }
            Err(error) => self.doubt(version, &error),
        }
    }

    /// Certificate and key are two files, written one after the other: what does not fit together
    /// may do so a moment later. It is an error when it stays as it is.
    fn doubt(&self, version: Version, error: &TlsError) {
        let mut doubt = self.doubt.lock();
        match doubt.as_mut().filter(|doubt| doubt.version == version) {
            None => *doubt = Some(Doubt { version, told: false }),
            Some(doubt) => {
                doubt.told = true;
                let error = chain(error);
                tracing::error!(
                    error,
                    "the new TLS certificates cannot be used; the old ones stay in use"
                );
            }
        }
    }

    /// Encrypts a connection, and adds to `peer` the certificate that its client showed. `None` when
    /// that failed or took too long; it is logged, and nothing is left to do.
    pub async fn accept<S>(
        &self,
        socket: S,
        protocol: Protocol,
        mut peer: Peer,
    ) -> Option<(TlsStream<S>, Peer)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let loaded = Arc::clone(&self.current.read());
        let acceptor = TlsAcceptor::from(loaded.config(protocol));
        let done = tokio::select! {
            done = acceptor.accept(socket) => done,
            () = self.clock.sleep(HANDSHAKE_MAX) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        match done {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                peer.certificate = shown.map(|der| Arc::new(ClientCertificate::read(der)));
                Some((stream, peer))
            }
            Err(error) => {
                self.failed(peer.address, &error);
                None
            }
        }
    }

    /// Notes that a client had to make room for others before its connection was encrypted.
    pub(super) fn crowded(&self, from: SocketAddr) {
        if let Some(more) = self.crowds.count(self.clock.now()) {
            tracing::warn!(
                %from,
                not_logged = more,
                "too many connections wait for TLS: the oldest of them are closed"
            );
        }
    }

    fn failed(&self, from: Option<SocketAddr>, error: &std::io::Error) {
        let from = from.map(|address| address.to_string()).unwrap_or_default();
        // Who only looks whether the port is open has nothing to be told of.
        let is_news = error.kind() != std::io::ErrorKind::UnexpectedEof;
        match is_news.then(|| self.failures.count(self.clock.now())).flatten() {
            Some(more) => {
                tracing::info!(%from, %error, not_logged = more, "a client could not begin TLS");
            }
            None => tracing::debug!(%from, %error, "a client could not begin TLS"),
        }
    }
}
