//! Reads the `authorization` header.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use tonic::metadata::MetadataMap;

use super::{AuthError, Secret};

/// The Go drivers send no padding, others do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request says about its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    /// Nothing.
    Missing,
    /// A name and a password.
    Basic { user: String, password: Secret },
    /// A token from an earlier login.
    Bearer(Secret),
}

impl Credentials {
    pub(super) fn from_headers(headers: &MetadataMap) -> Result<Self, AuthError> {
        let Some(value) = headers.get("authorization") else { return Ok(Self::Missing) };
        Self::parse(value.to_str().map_err(|_| AuthError::Malformed)?)
    }

    fn parse(header: &str) -> Result<Self, AuthError> {
        let (scheme, rest) = header.trim().split_once(' ').ok_or(AuthError::Malformed)?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            return Ok(Self::Bearer(Secret::new(rest)));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(AuthError::Malformed);
        }
        let pair = BASE64.decode(rest).map_err(|_| AuthError::Malformed)?;
        let pair = String::from_utf8(pair).map_err(|_| AuthError::Malformed)?;
        let (user, password) = pair.split_once(':').ok_or(AuthError::Malformed)?;
        Ok(Self::Basic { user: user.to_owned(), password: Secret::new(password) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ann() -> Credentials {
        Credentials::Basic { user: "ann".to_owned(), password: Secret::new("a:b") }
    }

    #[test]
    fn basic_is_read_with_and_without_padding() {
        // base64 of "ann:a:b" has one padding character.
        for header in ["Basic YW5uOmE6Yg==", "Basic YW5uOmE6Yg", "basic  YW5uOmE6Yg="] {
            assert_eq!(Credentials::parse(header).unwrap(), ann(), "{header}");
        }
    }

    #[test]
    fn bearer_is_read_whatever_its_case() {
        let expected = Credentials::Bearer(Secret::new("t0ken"));
        assert_eq!(Credentials::parse("BEARER t0ken").unwrap(), expected);
    }

    #[test]
    fn other_headers_are_refused() {
        for header in ["", "Basic", "Basic ", "Basic %%%", "Basic YW5u", "Digest x", "Bearer "] {
            assert!(matches!(Credentials::parse(header), Err(AuthError::Malformed)), "{header}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?} {:?}", ann(), Credentials::Bearer(Secret::new("t0ken")));
        assert!(!shown.contains("a:b") && !shown.contains("t0ken"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in "\\PC*") {
            let _ = Credentials::parse(&header);
            let _ = Credentials::parse(&format!("Basic {header}"));
        }
    }
}
