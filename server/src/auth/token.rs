//! Bearer tokens: given out at login, kept only as digests, short-lived, bounded in number.
//!
//! Where several servers have one catalog, a token is sealed and says whose it is, so that each of them
//! takes it: then it is kept, and believed for no longer than one of its own.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use catalog::principals::Principals;
use model::{principal::Principal, time::Timestamp};
use parking_lot::Mutex;
use prost::Message;
use rt::clock::Clock;
use sha2::{Digest, Sha256};

use super::{AuthError, Secret, Verified, password, recent::Recent};
use crate::seal::{Purpose, SealError, Seals};

/// How long a token is believed before the catalog is asked whether the password is still the same.
const BELIEVE_FOR: Duration = Duration::from_secs(60);

/// 256 random bits as text.
pub(super) fn random() -> Result<Secret, AuthError> {
    Ok(Secret::new(BASE64_URL_SAFE_NO_PAD.encode(password::random::<32>()?)))
}

/// The tokens that are good now.
pub(super) struct Tokens {
    users: Arc<dyn Principals>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    seals: Option<Arc<Seals>>,
    issued: Mutex<Recent<[u8; 32], Issued>>,
}

/// What is sealed in a token.
#[derive(Clone, PartialEq, Message)]
struct SealedLogin {
    #[prost(string, tag = "1")]
    user: String,
    /// See [`Verified::password_version`].
    #[prost(bytes = "vec", tag = "2")]
    password_version: Vec<u8>,
    /// Until when a server takes it that has not seen it yet, in microseconds since 1970.
    #[prost(int64, tag = "3")]
    expires_at: i64,
}

struct Issued {
    verified: Verified,
    expires_at: Timestamp,
    ask_again_at: Timestamp,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(
        users: Arc<dyn Principals>,
        clock: Arc<dyn Clock>,
        ttl: Duration,
        max: usize,
    ) -> Self {
        Self { users, clock, ttl, seals: None, issued: Mutex::new(Recent::new(max)) }
    }

    /// The same, whose tokens other servers know too.
    pub(super) fn sealed_by(self, seals: Option<Arc<Seals>>) -> Self {
        Self { seals, ..self }
    }

    /// A new token for a user who has just proven who they are.
    pub(super) async fn issue(&self, verified: &Verified) -> Result<Secret, AuthError> {
        let expires_at = self.clock.now().plus(self.ttl);
        let token = match &self.seals {
            None => random()?,
            Some(seals) => {
                let login = SealedLogin {
                    user: verified.principal.name().to_owned(),
                    password_version: verified.password_version.to_vec(),
                    expires_at: expires_at.as_micros(),
                };
                let key = seals.key().await.map_err(no_seal)?;
                let sealed = key.seal(Purpose::Login, &login.encode_to_vec());
                Secret::new(BASE64_URL_SAFE_NO_PAD.encode(sealed))
            }
        };
        self.keep(&token, verified.clone(), self.clock.now().plus(BELIEVE_FOR));
        Ok(token)
    }

    fn keep(&self, token: &Secret, verified: Verified, ask_again_at: Timestamp) {
        let expires_at = self.clock.now().plus(self.ttl);
        let issued = Issued { verified, expires_at, ask_again_at };
        self.issued.lock().insert(digest(token), issued);
    }

    /// Keeps a token that another server has given out, to be believed once the catalog was asked.
    async fn adopt(&self, token: &Secret) -> Result<(), AuthError> {
        let seals = self.seals.as_ref().ok_or(AuthError::UnknownToken)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(token.reveal());
        let sealed = sealed.map_err(|_| AuthError::UnknownToken)?;
        let login = seals.open(Purpose::Login, &sealed).await.map_err(no_seal)?;
        let login = SealedLogin::decode(login).map_err(|_| AuthError::UnknownToken)?;
        let SealedLogin { user, password_version, expires_at } = login;
        let password_version = password_version.try_into().map_err(|_| AuthError::UnknownToken)?;
        let now = self.clock.now();
        if Timestamp::from_micros(expires_at) <= now {
            return Err(AuthError::UnknownToken);
        }
        let verified = Verified { principal: Principal::verified(user), password_version };
        self.keep(token, verified, now);
        Ok(())
    }

    /// Asks the catalog about every token before it is believed again.
    pub(super) fn doubt(&self) {
        let now = self.clock.now();
        self.issued.lock().values_mut().for_each(|issued| issued.ask_again_at = now);
    }

    /// Whose token this is. Each use keeps it for another full time.
    pub(super) async fn check(&self, token: &Secret) -> Result<Principal, AuthError> {
        let key = digest(token);
        let now = self.clock.now();
        let (verified, ask_again) = match self.look_up(&key, now) {
            Some(found) => found,
            None => {
                self.adopt(token).await?;
                self.look_up(&key, now).ok_or(AuthError::UnknownToken)?
            }
        };
        if ask_again {
            let user = self.users.user(verified.principal.name()).await;
            let same = user.map_err(AuthError::Catalog)?.is_some_and(|user| {
                user.password_hash
                    .is_some_and(|hash| password::version_of(&hash) == verified.password_version)
            });
            if !same {
                self.issued.lock().remove(&key);
                return Err(AuthError::UnknownToken);
            }
            if let Some(issued) = self.issued.lock().get(&key) {
                issued.ask_again_at = now.plus(BELIEVE_FOR);
            }
        }
        Ok(verified.principal)
    }

    fn look_up(&self, key: &[u8; 32], now: Timestamp) -> Option<(Verified, bool)> {
        let mut issued = self.issued.lock();
        let token = issued.get(key)?;
        if token.expires_at <= now {
            issued.remove(key);
            return None;
        }
        token.expires_at = now.plus(self.ttl);
        Some((token.verified.clone(), token.ask_again_at <= now))
    }
}

fn no_seal(error: SealError) -> AuthError {
    match error {
        SealError::Broken | SealError::Unknown => AuthError::UnknownToken,
        SealError::Catalog(error) => AuthError::Catalog(error),
        SealError::Random(error) => AuthError::Random(error.to_string()),
    }
}

fn digest(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.reveal()).into()
}
