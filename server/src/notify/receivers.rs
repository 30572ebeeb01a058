//! Where notifications may go: hosts that the configuration names, encrypted unless on this machine.

use std::{fmt, str::FromStr};

use query::{error::QueryError, notify::Receivers};
use url::{Host, Url};

/// Bytes of a URL.
const URL_LENGTH_MAX: usize = 2048;

/// A host with a port, as the configuration writes it: `hooks.example.com`, `localhost:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHost {
    host: Host<String>,
    port: u16,
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' is not of the form HOST or HOST:PORT");
        let url: Url = format!("https://{text}/").parse().map_err(|_| wrong())?;
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        match place(&url) {
            Some((host, port)) if is_bare && !text.contains(['/', '*']) => Ok(Self { host, port }),
            _ => Err(wrong()),
        }
    }
}

/// The hosts that may be sent to.
#[derive(Debug, Clone)]
pub(crate) struct AllowedHosts {
    /// None means that nothing is sent.
    pub(crate) hosts: Vec<AllowedHost>,
    /// How many notifications may wait.
    pub(crate) open_max: u64,
}

impl Receivers for AllowedHosts {
    fn check(&self, text: &str) -> Result<String, QueryError> {
        let invalid = |why: &str| Err(QueryError::Invalid(format!("NOTIFY '{text}': {why}")));
        if text.len() > URL_LENGTH_MAX {
            return Err(QueryError::Invalid(format!(
                "the URL of NOTIFY has {} bytes; at most {URL_LENGTH_MAX} are taken",
                text.len()
            )));
        }
        let Ok(url) = text.parse::<Url>() else { return invalid("that is no URL") };
        if !url.username().is_empty() || url.password().is_some() {
            // Not shown: it may be a password.
            return Err(QueryError::Invalid(
                "the URL of NOTIFY has a user or a password, which lists of statements would show; \
                 the receiver knows its sender by the signature"
                    .to_owned(),
            ));
        }
        if url.fragment().is_some() {
            return invalid("what follows # is never sent");
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return invalid("it has to begin with https:// (http:// only on this machine)"),
        }
        let place = place(&url);
        let is_allowed = place.is_some_and(|(host, port)| {
            self.hosts.iter().any(|allowed| allowed.host == host && allowed.port == port)
        });
        if !is_allowed {
            let shown = Shown(&url);
            return Err(QueryError::Refused {
                problem: format!("this server sends nothing to '{shown}'"),
                hint: "notify.allowed_hosts in its configuration says whom it may send to"
                    .to_owned(),
            });
        }
        Ok(url.to_string())
    }

    fn open_max(&self) -> u64 {
        self.open_max
    }
}

/// Whether the receiver is on this machine.
pub(super) fn is_local(url: &str) -> bool {
    url.parse().is_ok_and(|url: Url| is_loopback(&url))
}

fn place(url: &Url) -> Option<(Host<String>, u16)> {
    Some((url.host()?.to_owned(), url.port_or_known_default()?))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Host and port.
struct Shown<'a>(&'a Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host_str().unwrap_or_default())?;
        match self.0.port() {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}
