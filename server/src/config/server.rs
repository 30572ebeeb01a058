//! `[server]`: the network side.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    ConfigError,
    key::{Key, Kind},
    quantity,
};
use crate::net::{ClientAuth, TlsFiles};

/// Settings of `[server]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Where Flight SQL listens; port 0 picks a free one.
    pub flight_addr: String,
    /// Where the Postgres protocol listens; nowhere without it.
    pub pg_addr: Option<String>,
    /// Postgres sessions at once.
    pub pg_connections_max: usize,
    /// Postgres sessions of one user at once.
    pub pg_connections_per_user_max: usize,
    /// How long a Postgres session may do nothing; zero for ever.
    #[serde(deserialize_with = "quantity::duration")]
    pub pg_idle_timeout: Duration,
    /// How long running statements may go on after a signal to stop.
    #[serde(deserialize_with = "quantity::duration")]
    pub shutdown_drain: Duration,
    /// Age at which an unused handle of a client is forgotten.
    #[serde(deserialize_with = "quantity::duration")]
    pub handle_ttl: Duration,
    /// Handles that are kept in all.
    pub handles_max: usize,
    /// How long a login lasts.
    #[serde(deserialize_with = "quantity::duration")]
    pub token_ttl: Duration,
    /// Logins that are remembered at the same time.
    pub tokens_max: usize,
    /// Bytes of one gRPC message, in either direction.
    #[serde(deserialize_with = "quantity::length")]
    pub message_size_max: usize,
    /// Bytes of one SQL text.
    #[serde(deserialize_with = "quantity::length")]
    pub sql_length_max: usize,
    /// PEM file with the certificate chain; turns TLS on together with the key.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub tls_key: Option<PathBuf>,
    /// PEM file with the authorities whose certificates clients may show.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether clients have to show one.
    pub tls_client_auth: ClientAuth,
}

impl ServerConfig {
    /// The files of certificate and key, when TLS is configured.
    #[must_use]
    pub fn tls(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.tls_cert.as_ref().zip(self.tls_key.as_ref())
    }

    /// All files of TLS, when it is configured.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let (cert, key) = self.tls()?;
        Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: self.tls_client_ca.clone(),
            client_auth: self.tls_client_auth,
        })
    }

    /// An address that other machines can reach, when there is one.
    #[must_use]
    pub fn exposed_addr(&self) -> Option<&str> {
        let mut addresses = [Some(&self.flight_addr), self.pg_addr.as_ref()].into_iter().flatten();
        addresses.find(|address| !is_loopback(address)).map(String::as_str)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refused = |text: &str| Err(ConfigError::Conflict(text.to_owned()));
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return refused(
                "server.tls_cert and server.tls_key belong together: set both, or neither",
            );
        }
        if self.tls_client_ca.is_some() && self.tls().is_none() {
            return refused("server.tls_client_ca needs server.tls_cert and server.tls_key");
        }
        if self.tls_client_auth == ClientAuth::Required && self.tls_client_ca.is_none() {
            return refused(
                "server.tls_client_auth = \"required\" needs server.tls_client_ca: whose \
                 certificates would count?",
            );
        }
        Ok(())
    }
}

/// Whether only programs on this machine can reach the address.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) const KEYS: [Key; 16] = [
    Key {
        path: "server.flight_addr",
        kind: Kind::Address,
        default: |_| Some("127.0.0.1:32010".into()),
        doc: "Where Flight SQL listens; port 0 picks a free port.",
    },
    Key {
        path: "server.pg_addr",
        kind: Kind::Address,
        default: |_| None,
        doc: "Where the Postgres protocol listens, for example 127.0.0.1:5432; off when not set.",
    },
    Key {
        path: "server.pg_connections_max",
        kind: Kind::Count(1),
        default: |_| Some(200.into()),
        doc: "Postgres sessions at once.",
    },
    Key {
        path: "server.pg_connections_per_user_max",
        kind: Kind::Count(1),
        default: |_| Some(100.into()),
        doc: "Postgres sessions of one user at once; without users, of one address.",
    },
    Key {
        path: "server.pg_idle_timeout",
        kind: Kind::Duration,
        default: |_| Some("8h".into()),
        doc: "How long a Postgres session may do nothing before it is ended; 0s for ever.",
    },
    Key {
        path: "server.shutdown_drain",
        kind: Kind::Duration,
        default: |_| Some("30s".into()),
        doc: "How long running statements may go on after SIGTERM.",
    },
    Key {
        path: "server.handle_ttl",
        kind: Kind::Duration,
        default: |_| Some("1h".into()),
        doc: "Age at which an unused prepared statement, result or transaction is forgotten.",
    },
    Key {
        path: "server.handles_max",
        kind: Kind::Count(1),
        default: |_| Some(10_000.into()),
        doc: "Prepared statements, results and transactions that are kept, of each. When they are full, \
              whoever has most makes room for others.",
    },
    Key {
        path: "server.token_ttl",
        kind: Kind::Duration,
        default: |_| Some("12h".into()),
        doc: "How long a login lasts.",
    },
    Key {
        path: "server.tokens_max",
        kind: Kind::Count(1),
        default: |_| Some(10_000.into()),
        doc: "Logins that are remembered at the same time.",
    },
    Key {
        path: "server.message_size_max",
        kind: Kind::Size,
        default: |_| Some("64MiB".into()),
        doc: "Largest gRPC message that a client may send.",
    },
    Key {
        path: "server.sql_length_max",
        kind: Kind::Size,
        default: |_| Some("1MiB".into()),
        doc: "Longest SQL text.",
    },
    Key {
        path: "server.tls_cert",
        kind: Kind::Path,
        default: |_| None,
        doc: "PEM file with the certificate chain; with server.tls_key it turns TLS on.",
    },
    Key {
        path: "server.tls_key",
        kind: Kind::Path,
        default: |_| None,
        doc: "PEM file with the private key.",
    },
    Key {
        path: "server.tls_client_ca",
        kind: Kind::Path,
        default: |_| None,
        doc: "PEM file with the authorities whose certificates clients may log in with.",
    },
    Key {
        path: "server.tls_client_auth",
        kind: Kind::Choice(&["optional", "required"]),
        default: |_| Some("optional".into()),
        doc: "Whether every client has to show a certificate; needs server.tls_client_ca.",
    },
];
