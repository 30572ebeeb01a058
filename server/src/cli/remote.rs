//! Flags of every command that talks to a server.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Failure, Place};
use crate::{
    auth::Secret,
    client::{ConnectOptions, Connection, OwnCertificate, ServerUrl, TransportSecurity},
    config::Config,
};

/// Which server, and who asks.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// Server: grpc://HOST:PORT, or grpc+tls://HOST:PORT [default: the configured address]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// User to log in as [default: whoever the token in the variable WHIMBREL_TOKEN is for]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password from standard input instead of the variable WHIMBREL_PASSWORD
    #[arg(long)]
    password_stdin: bool,
    /// PEM file with the authority that signed the server's certificate [default: the system's]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file with our own certificate, for servers that ask for one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of our certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl RemoteArgs {
    /// Whether standard input belongs to the password.
    pub(super) fn takes_stdin(&self) -> bool {
        self.password_stdin
    }

    pub(super) async fn connect(&self, place: &Place) -> Result<Connection, Failure> {
        Ok(Connection::open(self.options(place)?).await?)
    }

    pub(super) fn options(&self, place: &Place) -> Result<ConnectOptions, Failure> {
        let url: ServerUrl = match &self.url {
            Some(url) => url.parse().map_err(|error| Failure::usage(format!("--url: {error}")))?,
            None => configured_url(&place.load(&[])?).parse()?,
        };
        let password = if self.password_stdin {
            Some(password_from_stdin()?)
        } else {
            place.environment.password().map(str::to_owned)
        };
        let trust = match &self.tls_ca {
            None => TransportSecurity::System,
            Some(file) => TransportSecurity::Authority(read(file)?),
        };
        let certificate = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                Some(OwnCertificate { cert: read(cert)?, key: Secret::new(read(key)?) })
            }
            _ => None,
        };
        let (user, token) = (self.user.clone(), place.environment.token().map(Secret::new));
        Ok(ConnectOptions { url, user, password, token, trust, certificate })
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("read '{}': {error}", file.display())))
}

/// The address that `serve` would listen on, as this machine reaches it.
fn configured_url(config: &Config) -> String {
    let scheme = if config.server.tls().is_some() { "grpc+tls" } else { "grpc" };
    let address = &config.server.flight_addr;
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "32010"));
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    format!("{scheme}://{host}:{port}")
}

/// All of standard input without the new line at its end.
pub(super) fn password_from_stdin() -> Result<String, Failure> {
    let mut password = String::new();
    std::io::stdin()
        .read_to_string(&mut password)
        .map_err(|error| Failure::new(format!("read the password from standard input: {error}")))?;
    let password = password.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(Failure::usage("the password on standard input is empty"));
    }
    Ok(password.to_owned())
}
