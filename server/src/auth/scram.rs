//! SCRAM-SHA-256 (RFC 5802, 7677): a login in which the password never travels, as Postgres has it.
//!
//! What is stored proves a password and cannot be used to log in anywhere. Channel binding is not
//! offered.

use std::num::NonZeroU32;

use base64::{Engine, prelude::BASE64_STANDARD};
use model::principal::Principal;
use ring::{digest, hmac, pbkdf2};

use super::{AuthError, password};

/// The only mechanism.
pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";
/// What Postgres takes.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");
const KEY_LENGTH: usize = 32;
/// Longer messages are not read.
const MESSAGE_MAX: usize = 4096;

type Key = [u8; KEY_LENGTH];

/// What a password is checked against, with a fresh salt:
/// `SCRAM-SHA-256$iterations:salt$stored key:server key`.
pub fn scram_verifier(password: &str) -> Result<String, AuthError> {
    let salt = password::random::<16>()?;
    let Verifier { stored_key, server_key, .. } = Verifier::of(password, &salt, ITERATIONS);
    Ok(format!(
        "{MECHANISM}${ITERATIONS}:{}${}:{}",
        BASE64_STANDARD.encode(salt),
        BASE64_STANDARD.encode(stored_key),
        BASE64_STANDARD.encode(server_key)
    ))
}

struct Verifier {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    fn of(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        // As Postgres does: what cannot be normalised is taken as it is.
        let normal = stringprep::saslprep(password);
        let password = normal.as_deref().unwrap_or(password);
        let mut salted = Key::default();
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash(&sign(&salted, b"Client Key")),
            server_key: sign(&salted, b"Server Key"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(MECHANISM)?.strip_prefix('$')?;
        let (head, keys) = rest.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text| Key::try_from(BASE64_STANDARD.decode(text).ok()?).ok();
        Some(Self {
            salt: BASE64_STANDARD.decode(salt).ok()?,
            iterations: iterations.parse().ok()?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

fn sign(key: &[u8], text: &[u8]) -> Key {
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut bytes = Key::default();
    bytes.copy_from_slice(signature.as_ref());
    bytes
}

fn hash(bytes: &[u8]) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    key
}

/// One login. Made by [`super::Authenticator::scram`].
pub struct Exchange {
    user: String,
    verifier: Verifier,
    /// Whether anybody can get through.
    is_real: bool,
    nonce: String,
    /// What the client's proof signs, as far as it is known.
    transcript: String,
    binding: String,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Exchange {
    pub(super) fn new(
        user: &str,
        stored: Option<&str>,
        key: Option<[u8; 32]>,
    ) -> Result<Self, AuthError> {
        let real = stored.and_then(Verifier::parse);
        let is_real = real.is_some();
        let verifier = match real {
            Some(verifier) => verifier,
            None => {
                let key = key.ok_or_else(|| AuthError::Random("none at the start".to_owned()))?;
                let salt = sign(&key, user.as_bytes())[..16].to_vec();
                let (stored_key, server_key) = (password::random()?, password::random()?);
                Verifier { salt, iterations: ITERATIONS, stored_key, server_key }
            }
        };
        let nonce = BASE64_STANDARD.encode(password::random::<18>()?);
        let (transcript, binding) = (String::new(), String::new());
        Ok(Self { user: user.to_owned(), verifier, is_real, nonce, transcript, binding })
    }

    /// The answer to the client's first message. The name in it does not count: the start-up packet
    /// has said who it is.
    pub fn first(&mut self, message: &[u8]) -> Result<String, AuthError> {
        let message = text(message)?;
        let (binding, rest) = message.split_once(',').ok_or(unreadable("no channel binding"))?;
        match binding {
            "n" | "y" => {}
            _ => return Err(unreadable("channel binding is not offered")),
        }
        let (identity, bare) = rest.split_once(',').ok_or(unreadable("no user"))?;
        let mut attributes = bare.split(',');
        let has_user = attributes.next().is_some_and(|user| user.starts_with("n="));
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let Some(nonce) = nonce.filter(|nonce| has_user && !nonce.is_empty()) else {
            return Err(unreadable("no user or no nonce"));
        };
        self.binding = BASE64_STANDARD.encode(format!("{binding},{identity},"));
        self.nonce = format!("{nonce}{}", self.nonce);
        let Verifier { salt, iterations, .. } = &self.verifier;
        let salt = BASE64_STANDARD.encode(salt);
        let answer = format!("r={},s={salt},i={iterations}", self.nonce);
        self.transcript = format!("{bare},{answer}");
        Ok(answer)
    }

    /// Checks the client's proof: who it is, and the server's own proof.
    pub fn last(self, message: &[u8]) -> Result<(Principal, String), AuthError> {
        let message = text(message)?;
        let (unproven, proof) = message.rsplit_once(",p=").ok_or(unreadable("no proof"))?;
        let expected = format!("c={},r={}", self.binding, self.nonce);
        // There are no extensions that we know.
        if unproven != expected {
            return Err(unreadable("another channel binding or nonce"));
        }
        let proof = BASE64_STANDARD.decode(proof).ok().and_then(|proof| Key::try_from(proof).ok());
        let mut client_key = proof.ok_or(unreadable("no proof"))?;
        let signed = format!("{},{unproven}", self.transcript);
        let signature = sign(&self.verifier.stored_key, signed.as_bytes());
        client_key.iter_mut().zip(signature).for_each(|(proof, byte)| *proof ^= byte);
        if !same(&hash(&client_key), &self.verifier.stored_key) || !self.is_real {
            return Err(AuthError::WrongScram);
        }
        let server = BASE64_STANDARD.encode(sign(&self.verifier.server_key, signed.as_bytes()));
        Ok((Principal::verified(self.user), format!("v={server}")))
    }
}

/// Takes the same time wherever the first difference is.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

fn text(message: &[u8]) -> Result<&str, AuthError> {
    if message.len() > MESSAGE_MAX {
        return Err(unreadable("it is too long"));
    }
    std::str::from_utf8(message).map_err(|_| unreadable("it is no UTF-8"))
}

fn unreadable(why: &'static str) -> AuthError {
    AuthError::ScramMessage(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    fn rfc() -> Exchange {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Exchange {
            user: "user".to_owned(),
            verifier: Verifier::of("pencil", &salt, ITERATIONS),
            is_real: true,
            nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned(),
            transcript: String::new(),
            binding: String::new(),
        }
    }

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_exchange_of_the_standard_succeeds() {
        let mut exchange = rfc();
        assert_eq!(
            exchange.first(FIRST).unwrap(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let (principal, proof) = exchange.last(LAST.as_bytes()).unwrap();
        assert_eq!(principal, Principal::verified("user"));
        assert_eq!(proof, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn another_proof_another_nonce_and_an_unreal_user_are_refused() {
        let last = |mut exchange: Exchange, text: &str| {
            exchange.first(FIRST).unwrap();
            exchange.last(text.as_bytes()).unwrap_err()
        };
        let other = LAST.replace("p=dHzb", "p=dHzc");
        assert!(matches!(last(rfc(), &other), AuthError::WrongScram));
        let other = LAST.replace("r=rOpr", "r=rOps");
        assert!(matches!(last(rfc(), &other), AuthError::ScramMessage(_)));
        let unreal = Exchange { is_real: false, ..rfc() };
        assert!(matches!(last(unreal, LAST), AuthError::WrongScram));
    }

    #[test]
    fn a_verifier_is_read_back_and_a_user_without_one_always_has_the_same_salt() {
        let text = scram_verifier("pw").unwrap();
        assert!(Exchange::new("ann", Some(&text), None).unwrap().is_real);
        assert_ne!(text, scram_verifier("pw").unwrap());
        let salt = |user| Exchange::new(user, None, Some([7; 32])).unwrap().verifier.salt;
        assert_eq!(salt("bob"), salt("bob"));
        assert_ne!(salt("bob"), salt("eve"));
    }

    #[test]
    fn garbage_is_refused() {
        for first in ["", "n", "p=tls-unique,,n=,r=x", "n,,", "n,,r=x", "n,,n=", "n,,n=,r="] {
            assert!(rfc().first(first.as_bytes()).is_err(), "{first}");
        }
        assert!(rfc().first(&[0xff; 9]).is_err());
    }
}
