//! Why somebody was not let in.

use catalog::error::CatalogError;
use model::code::Code;

use super::TokenError;

/// An error of authentication. No text tells whether a user exists.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nothing in the request says who asks.
    #[error("this server wants to know who asks: log in with a user name and a password")]
    Missing,
    /// The header is neither Basic nor Bearer, or cannot be read.
    #[error(
        "the authorization header is not readable: send 'Basic' with user and password, or 'Bearer' with a token"
    )]
    Malformed,
    /// No such user, or another password.
    #[error("wrong user name or password")]
    Wrong,
    /// No such user, another password, or one from before SCRAM.
    #[error("wrong user name or password")]
    WrongScram,
    /// A message of the login cannot be read.
    #[error("the login cannot be read: {0}")]
    ScramMessage(&'static str),
    /// The token was never given out, has ended, or belongs to a changed password.
    #[error("the session has ended or its token is unknown: log in again")]
    UnknownToken,
    /// The certificate of the client names nobody who could come in.
    #[error("the certificate of this client opens nothing here: {0}; show another one, or log in")]
    Certificate(&'static str),
    /// The certificate of the client names somebody who is no user.
    #[error(
        "the certificate of this client names '{0}', who is no user of this server: an admin can add the user, or log in with a password"
    )]
    CertificateUser(String),
    /// The token of an issuer opens nothing.
    #[error("the token is refused: {0}")]
    Token(#[from] TokenError),
    /// More logins at once than the server checks.
    #[error("too many logins at the same time: try again in a moment")]
    Busy,
    /// Who the users are could not be read.
    #[error("read the users")]
    Catalog(#[source] CatalogError),
    /// A password that cannot be one.
    #[error("a password has 1 to {0} bytes")]
    PasswordLength(usize),
    /// The hash could not be computed or read.
    #[error("hash a password: {0}")]
    Hash(String),
    /// The machine gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
}

impl AuthError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing
            | Self::Malformed
            | Self::Wrong
            | Self::WrongScram
            | Self::ScramMessage(_)
            | Self::UnknownToken
            | Self::Certificate(_)
            | Self::CertificateUser(_) => Code::Unauthenticated,
            Self::Token(error) => error.code(),
            Self::Busy => Code::ResourceExhausted,
            Self::Catalog(error) => error.code(),
            Self::PasswordLength(_) => Code::InvalidArgument,
            Self::Hash(_) | Self::Random(_) => Code::Internal,
        }
    }
}
