//! Why a signed token opens nothing.

use model::code::Code;

/// A refused token. The texts tell whoever has the token what is wrong with it, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any that an issuer makes.
    #[error("it has more than {0} bytes")]
    TooLong(usize),
    /// It is none.
    #[error("{0}")]
    Unreadable(&'static str),
    /// It is signed in a way that is not taken; `none` and shared secrets never are.
    #[error("the algorithm '{0}' is not accepted; RS, PS and ES with SHA-2, and EdDSA are")]
    Algorithm(String),
    /// It names a key that its issuer does not have.
    #[error("the issuer has no key of that name for that algorithm")]
    UnknownKey,
    /// Somebody else has signed it, or it was changed.
    #[error("its signature is not that of the issuer")]
    Signature,
    /// It was good once.
    #[error("it has expired: get a new one")]
    Expired,
    /// It is not good yet.
    #[error("it is not valid yet: the clocks differ, or it is for later")]
    TooEarly,
    /// Another issuer made it.
    #[error("it comes from another issuer")]
    Issuer,
    /// It was made for something else.
    #[error("it was made for another audience")]
    Audience,
    /// A claim is missing or cannot be used.
    #[error("its claim '{0}' is missing or cannot be used")]
    Claim(String),
    /// It names somebody who is no user here.
    #[error("it names '{0}', who is no user of this server")]
    User(String),
    /// Users may be added by their tokens, and there is no admin yet who could give them rights.
    #[error("it names a new user, and the server has no admin yet (`whimbrel user add`)")]
    NoAdmin,
    /// The keys cannot be had; the log says why.
    #[error("the keys of the issuer cannot be read at the moment")]
    IssuerDown,
    /// More tokens wait for the keys than the server keeps waiting.
    #[error("too many tokens wait for the keys of the issuer: try again in a moment")]
    Busy,
}

impl TokenError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::IssuerDown => Code::Unavailable,
            Self::Busy => Code::ResourceExhausted,
            _ => Code::Unauthenticated,
        }
    }
}
