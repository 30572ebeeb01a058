//! Signed tokens: taken apart, and by which algorithms they may be signed.
//!
//! Format: RFC 7515 (compact serialization) and RFC 7519; algorithms: RFC 7518 and RFC 8037. There
//! is no code for `none` and for shared secrets, so that no key can ever be taken for one.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::TokenError;

/// Bytes of one token: about what a header may have.
pub(super) const LENGTH_MAX: usize = 16 << 10;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    const ALL: [(&'static str, Self); 9] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, algorithm)| algorithm)
    }
}

/// A token whose signature was not checked yet.
#[derive(Debug)]
pub(super) struct Unchecked<'t> {
    pub(super) algorithm: Algorithm,
    /// Which key of the issuer is said to have signed it.
    pub(super) key_id: Option<String>,
    /// What was signed.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
    /// The claims, as JSON.
    pub(super) payload: Vec<u8>,
}

/// The head of a token, as far as it matters. Keys and addresses of keys in it (`jwk`, `jku`, `x5c`)
/// are not looked at: whoever writes the token writes them.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

/// Whether a bearer token is a signed one, and not one that this server gave out.
pub(in crate::auth) fn is_signed(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Takes a token apart.
pub(super) fn parse(token: &str) -> Result<Unchecked<'_>, TokenError> {
    if token.len() > LENGTH_MAX {
        return Err(TokenError::TooLong(LENGTH_MAX));
    }
    let unreadable = TokenError::Unreadable;
    let (signed, signature) = token.rsplit_once('.').ok_or(unreadable("it has no signature"))?;
    let (head, payload) = signed.split_once('.').ok_or(unreadable("it has no head"))?;
    let bytes = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part);
    let head = bytes(head).map_err(|_| unreadable("its head is no base64url"))?;
    let head: Head =
        serde_json::from_slice(&head).map_err(|_| unreadable("its head is no JSON with 'alg'"))?;
    if head.crit.is_some() {
        return Err(unreadable("its head asks for what is not understood here ('crit')"));
    }
    if !head.typ.as_deref().is_none_or(is_for_access) {
        return Err(unreadable("its type is neither JWT nor at+jwt"));
    }
    let algorithm = Algorithm::named(&head.alg)
        .ok_or_else(|| TokenError::Algorithm(head.alg.chars().take(20).collect()))?;
    Ok(Unchecked {
        algorithm,
        key_id: head.kid,
        signed: signed.as_bytes(),
        signature: bytes(signature).map_err(|_| unreadable("its signature is no base64url"))?,
        payload: bytes(payload).map_err(|_| unreadable("its claims are no base64url"))?,
    })
}

/// Other kinds of tokens of the same issuer (of a logout, for example) open nothing.
fn is_for_access(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let kind = kind.strip_prefix("application/").unwrap_or(&kind);
    matches!(kind, "jwt" | "at+jwt")
}
