//! Where a server is: `grpc://host:port` and its relatives.

use std::{fmt, str::FromStr};

use super::ClientError;

/// The port that `whimbrel serve` listens on unless it is told another one.
const PORT: u16 = 32010;

/// The address of a Flight SQL server.
///
/// Reads `grpc://`, `grpc+tcp://` and `http://` as plain, `grpc+tls://`, `grpcs://` and `https://`
/// as encrypted; a text without a scheme is plain. A user and password in front of the host are
/// kept, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    host: String,
    port: u16,
    tls: bool,
    credentials: Option<(String, Option<String>)>,
}

impl ServerUrl {
    /// The name or address of the machine; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The user that the URL names, and the password, if it holds one.
    #[must_use]
    pub fn credentials(&self) -> Option<(&str, Option<&str>)> {
        let (user, password) = self.credentials.as_ref()?;
        Some((user, password.as_deref()))
    }

    /// The address in the form in which HTTP/2 libraries want it.
    #[must_use]
    pub fn to_http(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

impl FromStr for ServerUrl {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let refused =
            |why: &str| ClientError::Url { url: hide_password(text), why: why.to_owned() };
        let (scheme, rest) = text.split_once("://").unwrap_or(("grpc", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "grpc" | "grpc+tcp" | "http" => false,
            "grpc+tls" | "grpcs" | "https" => true,
            _ => return Err(refused("the scheme has to be grpc or grpc+tls")),
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (host, port) = host_and_port(address).map_err(refused)?;
        let credentials = credentials.map(|text| match text.split_once(':') {
            Some((user, password)) => (decode(user), Some(decode(password))),
            None => (decode(text), None),
        });
        Ok(Self { host: host.to_owned(), port, tls, credentials })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "grpc+tls" } else { "grpc" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn host_and_port(address: &str) -> Result<(&str, u16), &'static str> {
    // A colon inside the brackets of an IPv6 address is no separator.
    let after_brackets = address.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match address[after_brackets..].find(':') {
        Some(at) => {
            let at = after_brackets + at;
            let port =
                address[at + 1..].parse().map_err(|_| "the port has to be a number up to 65535")?;
            (&address[..at], port)
        }
        None => (address, PORT),
    };
    if host.is_empty() { Err("the host is missing") } else { Ok((host, port)) }
}

fn hide_password(text: &str) -> String {
    crate::config::redact_url(text)
}

/// `%40` and its like, as they stand in user names and passwords of URLs.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        match escaped {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests;
