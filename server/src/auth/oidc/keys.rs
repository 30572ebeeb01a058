//! The public keys of an issuer. Format: RFC 7517, 7518 and 8037.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;

use super::{
    TokenError,
    jws::{Algorithm, Unchecked},
};

/// Keys that are looked at; issuers have two or three.
const KEYS_MAX: usize = 100;

/// The keys that an issuer signs tokens with.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that the issuer uses it for, when it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a key set, leaving out keys for other purposes and of other kinds. The error says why
    /// nothing is left.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(json)
            .map_err(|error| format!("the key set cannot be read: {error}"))?;
        let keys: Vec<Key> =
            document.keys.into_iter().take(KEYS_MAX).filter_map(Key::from_json).collect();
        if keys.is_empty() {
            return Err("the key set holds no key that tokens can be checked with".to_owned());
        }
        Ok(Self { keys })
    }

    /// Whether the key that a token names is there. A token may name none when only one fits.
    pub(super) fn knows(&self, token: &Unchecked<'_>) -> bool {
        !self.fitting(token).is_empty()
    }

    /// Checks the signature of a token.
    pub(super) fn verify(&self, token: &Unchecked<'_>) -> Result<(), TokenError> {
        let keys = self.fitting(token);
        if keys.is_empty() {
            return Err(TokenError::UnknownKey);
        }
        match keys.iter().any(|key| key.verify(token)) {
            true => Ok(()),
            false => Err(TokenError::Signature),
        }
    }

    fn fitting(&self, token: &Unchecked<'_>) -> Vec<&Key> {
        let fits = |key: &&Key| key.fits(token.algorithm);
        let mut keys: Vec<&Key> = self.keys.iter().filter(fits).collect();
        match &token.key_id {
            Some(id) => keys.retain(|key| key.id.as_ref() == Some(id)),
            None if keys.len() > 1 => keys.clear(),
            None => {}
        }
        keys
    }
}

impl Key {
    fn from_json(json: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures {
            return None;
        }
        let bytes = |part: &Option<String>| BASE64_URL_SAFE_NO_PAD.decode(part.as_ref()?).ok();
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { n: number(bytes(&jwk.n)?), e: number(bytes(&jwk.e)?) },
            ("EC", Some("P-256")) => Material::P256(point(&bytes(&jwk.x)?, &bytes(&jwk.y)?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&bytes(&jwk.x)?, &bytes(&jwk.y)?, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?),
            _ => return None,
        };
        Some(Self { id: jwk.kid, algorithm: jwk.alg, material })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let said = self.algorithm.as_deref();
        let of_kind = match (&self.material, algorithm) {
            (Material::P256(_), Algorithm::Es256) | (Material::P384(_), Algorithm::Es384) => true,
            // Newer issuers call it by the name of the curve.
            (Material::Ed25519(_), Algorithm::EdDsa) => {
                return matches!(said, None | Some("EdDSA" | "Ed25519"));
            }
            (Material::Rsa { .. }, algorithm) => rsa(algorithm).is_some(),
            _ => false,
        };
        of_kind && said.is_none_or(|name| Algorithm::named(name) == Some(algorithm))
    }

    fn verify(&self, token: &Unchecked<'_>) -> bool {
        let (signed, signature) = (token.signed, token.signature.as_slice());
        let check = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
        };
        match &self.material {
            Material::Rsa { n, e } => rsa(token.algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
            }),
            Material::P256(point) => check(&ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => check(&ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(point) => check(&ED25519, point),
        }
    }
}

/// What an RSA key is used with; keys of less than 2048 bits are refused by all of them.
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
    }
}

/// Without zeros in front, which some issuers write and the check of signatures does not take.
fn number(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// A point of a curve in the form of SEC 1, not compressed.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}
