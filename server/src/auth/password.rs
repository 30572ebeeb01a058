//! Checks passwords against their stored hashes, without helping anybody who guesses.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier, password_hash::SaltString};
use catalog::principals::Principals;
use model::{principal::Principal, time::Timestamp};
use parking_lot::Mutex;
use rt::clock::Clock;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{AuthError, Secret, Verified, recent::Recent};

/// Longer passwords are refused before any work.
const LENGTH_MAX: usize = 1024;
/// Hashes computed at once: each takes 19 MiB and a core for some milliseconds.
const HASHES_AT_ONCE: usize = 2;
/// Logins that wait for their turn before others are turned away.
const LOGINS_MAX: usize = 64;
/// For how long a password that was right is not hashed again: clients that send it with each call.
const REMEMBER_FOR: Duration = Duration::from_secs(30);
const REMEMBERED_MAX: usize = 1024;

/// Stands in for the hash of a user who does not exist, so that both take the same time.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_password("nobody").ok());

/// The Argon2id hash of a password with a fresh salt, in its standard text form.
pub fn hash_password(password: &str) -> Result<String, AuthError> {
    if password.is_empty() || password.len() > LENGTH_MAX {
        return Err(AuthError::PasswordLength(LENGTH_MAX));
    }
    let salt = SaltString::encode_b64(&random::<16>()?)
        .map_err(|error| AuthError::Hash(error.to_string()))?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(|error| AuthError::Hash(error.to_string()))?;
    Ok(hash.to_string())
}

/// Random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], AuthError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AuthError::Random(error.to_string()))?;
    Ok(bytes)
}

/// The digest that stands for a stored hash, see [`Verified::password_version`].
pub(super) fn version_of(password_hash: &str) -> [u8; 32] {
    Sha256::digest(password_hash).into()
}

/// Checks passwords, at most a few at a time.
pub(super) struct Passwords {
    users: Arc<dyn Principals>,
    clock: Arc<dyn Clock>,
    logins: Semaphore,
    hashes: Arc<Semaphore>,
    remembered: Mutex<Recent<[u8; 32], Remembered>>,
    /// Keys what is remembered; without random numbers nothing is.
    key: Option<[u8; 32]>,
}

struct Remembered {
    verified: Verified,
    until: Timestamp,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    pub(super) fn new(users: Arc<dyn Principals>, clock: Arc<dyn Clock>) -> Self {
        Self {
            users,
            clock,
            logins: Semaphore::new(LOGINS_MAX),
            hashes: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            remembered: Mutex::new(Recent::new(REMEMBERED_MAX)),
            key: random().ok(),
        }
    }

    /// The user, when the password is right.
    pub(super) async fn check(&self, user: &str, password: &Secret) -> Result<Verified, AuthError> {
        if password.reveal().len() > LENGTH_MAX {
            return Err(AuthError::Wrong);
        }
        let key = self.key.map(|key| remember_under(&key, user, password));
        if let Some(verified) = key.and_then(|key| self.recall(&key)) {
            return Ok(verified);
        }
        let _login = self.logins.try_acquire().map_err(|_| AuthError::Busy)?;
        let stored = self.users.user(user).await.map_err(AuthError::Catalog)?;
        // Who has no password is like somebody who does not exist.
        let hash = stored.and_then(|user| user.password_hash);
        let right = self.matches(password.clone(), hash.clone()).await?;
        let (Some(hash), true) = (hash, right) else { return Err(AuthError::Wrong) };
        let verified =
            Verified { principal: Principal::verified(user), password_version: version_of(&hash) };
        if let Some(key) = key {
            let until = self.clock.now().plus(REMEMBER_FOR);
            let entry = Remembered { verified: verified.clone(), until };
            self.remembered.lock().insert(key, entry);
        }
        Ok(verified)
    }

    /// Hashes every password anew.
    pub(super) fn forget(&self) {
        self.remembered.lock().clear();
    }

    fn recall(&self, key: &[u8; 32]) -> Option<Verified> {
        let mut remembered = self.remembered.lock();
        let entry = remembered.get(key)?;
        if entry.until > self.clock.now() {
            return Some(entry.verified.clone());
        }
        remembered.remove(key);
        None
    }

    /// Costs the same with and without a stored hash.
    async fn matches(&self, password: Secret, hash: Option<String>) -> Result<bool, AuthError> {
        let permit = Arc::clone(&self.hashes)
            .acquire_owned()
            .await
            .map_err(|error| AuthError::Hash(error.to_string()))?;
        let work = move || {
            // Moved in: a client that goes away does not free the place before the work is done.
            let _permit = permit;
            let known = hash.is_some();
            let Some(hash) = hash.or_else(|| NOBODY.clone()) else { return Ok(false) };
            let hash =
                PasswordHash::new(&hash).map_err(|error| AuthError::Hash(error.to_string()))?;
            let right =
                Argon2::default().verify_password(password.reveal().as_bytes(), &hash).is_ok();
            Ok(known && right)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| AuthError::Hash(error.to_string()))?
    }
}

/// Nobody who reads the memory of the map learns a password from it cheaply without the key, and
/// no two pairs of user and password share an entry.
fn remember_under(key: &[u8; 32], user: &str, password: &Secret) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(key);
    digest.update((user.len() as u64).to_le_bytes());
    digest.update(user);
    digest.update(password.reveal());
    digest.finalize().into()
}
