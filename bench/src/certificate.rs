//! A certificate for servers on this machine.

use std::{fs, path::Path};

use tempfile::TempDir;

/// A certificate and its key as files, gone when dropped.
pub(crate) struct Certificate {
    folder: TempDir,
    pem: String,
}

impl Certificate {
    /// The file of the certificate in its folder.
    pub(crate) const FILE: &str = "certificate.pem";
    /// The file of the key in its folder.
    pub(crate) const KEY: &str = "key.pem";

    pub(crate) fn new() -> Self {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = made.cert.pem();
        fs::write(folder.path().join(Self::FILE), &pem).unwrap();
        fs::write(folder.path().join(Self::KEY), made.signing_key.serialize_pem()).unwrap();
        Self { folder, pem }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What clients have to believe.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }
}
