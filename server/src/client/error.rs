//! What can go wrong between us and a server.

use std::path::PathBuf;

use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use tonic::Code;

/// An error of the command-line client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be read.
    #[error("'{url}' is no server address: {why}")]
    Url {
        /// The address, without its password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Nothing answers there.
    #[error("no server at {url}: {why}")]
    Connect {
        /// Where we looked.
        url: String,
        /// What the network said.
        why: String,
    },
    /// Whoever answers there could not prove to be the server.
    #[error("the server at {url} cannot be trusted: {why}")]
    Untrusted {
        /// Where we looked.
        url: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// The server refused or broke off.
    #[error("{message}")]
    Server {
        /// The status.
        code: Code,
        /// The server's text.
        message: String,
    },
    /// The server does not let us in as who we say we are.
    #[error("{0}")]
    Login(String),
    /// The connection broke in the middle of something.
    #[error("the connection to the server was lost: {0}")]
    Lost(String),
    /// The answer is none that Flight SQL allows.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
    /// A file cannot be read.
    #[error("read '{path}': {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result cannot be written where it should go.
    #[error("write the result: {0}")]
    Write(#[source] std::io::Error),
    /// A value cannot be shown in this format.
    #[error("format the result: {0}")]
    Format(#[source] ArrowError),
    /// The statement was stopped from the keyboard.
    #[error("cancelled")]
    Cancelled,
    /// The terminal cannot be used.
    #[error("use the terminal: {0}")]
    Terminal(#[source] std::io::Error),
    /// A `\` command that does not exist or lacks something.
    #[error("{0}")]
    Command(String),
}

impl ClientError {
    /// What the user can do next, when there is anything to say that the text does not.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { .. } => {
                Some("start one with `whimbrel serve`, or name another with --url".to_owned())
            }
            Self::Untrusted { .. } => {
                Some("name the authority that signed its certificate with --tls-ca FILE".to_owned())
            }
            Self::Lost(why) if why.contains("http2") => {
                Some("does the server speak TLS? then its address begins with grpc+tls://".to_owned())
            }
            Self::Server { code: Code::Unauthenticated, .. } => Some(
                "name a user with --user and give the password with --password-stdin or WHIMBREL_PASSWORD"
                    .to_owned(),
            ),
            Self::Server { code: Code::Unimplemented, message } if message.is_empty() => {
                Some("this server does not offer what the command needs".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the reader of our output has gone away, which is no failure.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Write(source) => source.kind() == std::io::ErrorKind::BrokenPipe,
            Self::Format(ArrowError::IoError(_, source)) => {
                source.kind() == std::io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        // A status with a cause was made on this side: the server never said it.
        if let Some(cause) = std::error::Error::source(&status) {
            return Self::Lost(innermost(cause).to_string());
        }
        let message = match status.message() {
            "" => format!("the server answered {:?}", status.code()),
            message => message.to_owned(),
        };
        Self::Server { code: status.code(), message }
    }
}

/// The innermost cause of an error: the one that says what the network did.
pub(super) fn innermost(error: &dyn std::error::Error) -> &dyn std::error::Error {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

impl From<FlightError> for ClientError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => (*status).into(),
            other => Self::Answer(other.to_string()),
        }
    }
}
