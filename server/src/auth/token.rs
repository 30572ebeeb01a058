//! Bearer tokens: given out at login, kept only as digests, short-lived, bounded in number.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use catalog::principals::Principals;
use model::{principal::Principal, time::Timestamp};
use parking_lot::Mutex;
use rt::clock::Clock;
use sha2::{Digest, Sha256};

use super::{AuthError, Secret, Verified, password, recent::Recent};

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
    issued: Mutex<Recent<[u8; 32], Issued>>,
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
        Self { users, clock, ttl, issued: Mutex::new(Recent::new(max)) }
    }

    /// A new token for a user who has just proven who they are.
    pub(super) fn issue(&self, verified: &Verified) -> Result<Secret, AuthError> {
        let token = random()?;
        let now = self.clock.now();
        let issued = Issued {
            verified: verified.clone(),
            expires_at: now.plus(self.ttl),
            ask_again_at: now.plus(BELIEVE_FOR),
        };
        self.issued.lock().insert(digest(&token), issued);
        Ok(token)
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
        let (verified, ask_again) = self.look_up(&key, now).ok_or(AuthError::UnknownToken)?;
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

fn digest(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.reveal()).into()
}
