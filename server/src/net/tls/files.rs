//! The files with certificates and keys, and what is made from them.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use model::time::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest, Sha256};

use super::Protocol;
use crate::auth;

/// No file of certificates is longer.
const FILE_MAX: usize = 4 << 20;

/// Where certificates and keys lie, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain, that of the server first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Authorities whose certificates clients may show; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show one.
    pub client_auth: ClientAuth,
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They may; others log in.
    #[default]
    Optional,
    /// Nobody connects without one.
    Required,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read the TLS file '{path}'")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("the TLS file '{path}' {why}")]
    Content {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key are not of each other.
    #[error("the certificate '{cert}' and the key '{key}' do not fit together: {why}")]
    Pair {
        /// The file of the certificate.
        cert: String,
        /// The file of the key.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// Tells one state of the files from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version([u8; 32]);

impl Version {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// The files as they were at one moment. One of them is a secret.
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl TlsFiles {
    pub(super) async fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            cert: read(&self.cert).await?,
            key: read(&self.key).await?,
            client_ca: match &self.client_ca {
                Some(path) => Some(read(path).await?),
                None => None,
            },
        })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let shown = path.display().to_string();
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|source| TlsError::Read { path: shown.clone(), source })?;
    if bytes.len() > FILE_MAX {
        return Err(TlsError::Content { path: shown, why: "is too long".to_owned() });
    }
    Ok(bytes)
}

impl Contents {
    pub(super) fn version(&self) -> Version {
        let mut digest = Sha256::new();
        for part in
            [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten()
        {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Version(digest.finalize().into())
    }

    pub(super) fn load(&self, files: &TlsFiles) -> Result<Loaded, TlsError> {
        let content =
            |path: &Path, why: String| TlsError::Content { path: path.display().to_string(), why };
        let chain = certificates(&self.cert).map_err(|why| content(&files.cert, why))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| content(&files.key, format!("holds no private key: {error}")))?;
        let verifier = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => {
                Some(verifier(pem, files.client_auth).map_err(|why| content(path, why))?)
            }
            _ => None,
        };
        let pair = |error: rustls::Error| TlsError::Pair {
            cert: files.cert.display().to_string(),
            key: files.key.display().to_string(),
            why: error.to_string(),
        };
        let expires_at = chain.first().and_then(|first| auth::expiry(first));
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut flight = builder.with_single_cert(chain, key).map_err(pair)?;
        if verifier.is_some() {
            // A resumed session is not checked again: it could outlive its certificate.
            flight.session_storage = Arc::new(NoServerSessionStorage {});
            flight.send_tls13_tickets = 0;
        }
        flight.alpn_protocols = vec![b"h2".to_vec()];
        let mut postgres = flight.clone();
        postgres.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Loaded {
            version: self.version(),
            flight: Arc::new(flight),
            postgres: Arc::new(postgres),
            expires_at,
            client_auth: verifier.is_some().then_some(files.client_auth),
        })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("holds a certificate that cannot be read: {error}"))?;
    if chain.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(chain) }
}

fn verifier(pem: &[u8], client_auth: ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut authorities = RootCertStore::empty();
    for authority in certificates(pem)? {
        authorities
            .add(authority)
            .map_err(|error| format!("holds a certificate that is no authority's: {error}"))?;
    }
    let provider = Arc::new(ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
    let builder = match client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    builder.build().map_err(|error| format!("cannot be used to check clients: {error}"))
}

/// What connections are encrypted with.
#[derive(Debug)]
pub(super) struct Loaded {
    version: Version,
    flight: Arc<ServerConfig>,
    postgres: Arc<ServerConfig>,
    expires_at: Option<Timestamp>,
    client_auth: Option<ClientAuth>,
}

impl Loaded {
    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        Arc::clone(match protocol {
            Protocol::Flight => &self.flight,
            Protocol::Postgres => &self.postgres,
        })
    }

    /// When the certificate expires, for people.
    pub(super) fn expires(&self) -> String {
        self.expires_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string())
    }

    /// What is asked of clients, for people.
    pub(super) fn client_auth(&self) -> &'static str {
        match self.client_auth {
            None => "not asked for",
            Some(ClientAuth::Optional) => "optional",
            Some(ClientAuth::Required) => "required",
        }
    }

    pub(super) fn warn_when_expired(&self, now: Timestamp) {
        if self.expires_at.is_some_and(|at| at < now) {
            tracing::warn!(expires = self.expires(), "the TLS certificate has expired");
        }
    }
}
