//! What one server gives to a client and any server of the same catalog is to recognize: signed with
//! a key that the catalog keeps.
//!
//! It exists so that a ticket is as good on one server as on another. A seal says that one of them
//! wrote what is sealed, and for what; not that it may be used, and it hides nothing: clients get back
//! what they or their statements said.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use catalog::{error::CatalogError, seal_keys::SealKeys};
use model::{code::Code, secret::Secret, time::Timestamp};
use parking_lot::Mutex;
use ring::hmac;
use rt::clock::Clock;

/// How old a key becomes, unless what is sealed has to live longer.
const ROTATE_AFTER: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long the keys that are known are used without asking for newer ones.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// How soon a number that is unknown makes a server ask again: numbers are easily made up.
const UNKNOWN_EVERY: Duration = Duration::from_secs(1);

/// The form of what is sealed: version, purpose, number of the key, content, signature.
const VERSION: u8 = 1;
const HEAD: usize = 2 + size_of::<i64>();
const SIGNATURE: usize = 32;

/// What a seal is for: none is good for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A result.
    Ticket = 1,
    /// A prepared statement.
    Statement = 2,
    /// A transaction.
    Transaction = 3,
    /// A login.
    Login = 4,
}

/// Why something cannot be sealed, or a seal is no good.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No server wrote it for that purpose as it is.
    #[error("no server of this catalog has made it, or it was changed on its way")]
    Broken,
    /// Its key is not kept any more, or is one of another catalog.
    #[error("it is sealed with a key that is not kept any more")]
    Unknown,
    /// The keys are out of reach.
    #[error("read the keys of tickets: {0}")]
    Catalog(#[source] CatalogError),
    /// The machine gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

impl SealError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Broken => Code::InvalidArgument,
            Self::Unknown => Code::NotFound,
            Self::Catalog(error) => error.code(),
            Self::Random(_) => Code::Internal,
        }
    }
}

/// A key that seals.
pub struct Key {
    number: i64,
    key: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Key {
    /// The content with its seal. It takes microseconds.
    #[must_use]
    pub fn seal(&self, purpose: Purpose, content: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(HEAD + content.len() + SIGNATURE);
        sealed.extend([VERSION, purpose as u8]);
        sealed.extend(self.number.to_be_bytes());
        sealed.extend(content);
        let signature = hmac::sign(&self.key, &sealed);
        sealed.extend(signature.as_ref());
        sealed
    }
}

/// The keys of a catalog, as far as this process knows them. Shared by every service.
pub struct Seals {
    catalog: Arc<dyn SealKeys>,
    clock: Arc<dyn Clock>,
    rotate_after: Duration,
    known: Mutex<Known>,
    /// Held by the one who asks the catalog for all.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// The newest first.
    keys: Vec<Arc<Key>>,
    asked_at: Option<Timestamp>,
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seals").finish_non_exhaustive()
    }
}

impl Seals {
    /// The keys of this catalog, for what lives `life_max` at most.
    #[must_use]
    pub fn new(catalog: Arc<dyn SealKeys>, clock: Arc<dyn Clock>, life_max: Duration) -> Self {
        // The key before the newest one is kept: so what it has sealed last outlives it, also where
        // a server has used it for a little longer than others.
        let rotate_after = ROTATE_AFTER.max(life_max.saturating_mul(2) + ASK_EVERY);
        let (known, asking) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { catalog, clock, rotate_after, known, asking }
    }

    /// The key to seal with. Asks the catalog now and then.
    pub async fn key(&self) -> Result<Arc<Key>, SealError> {
        if let Some(key) = self.newest() {
            return Ok(key);
        }
        let _alone = self.asking.lock().await;
        if let Some(key) = self.newest() {
            return Ok(key);
        }
        self.ask().await?;
        self.known.lock().keys.first().cloned().ok_or(SealError::Unknown)
    }

    /// What is sealed for this purpose, once the seal is found good.
    pub async fn open<'a>(
        &self,
        purpose: Purpose,
        sealed: &'a [u8],
    ) -> Result<&'a [u8], SealError> {
        let (signed, signature) =
            sealed.split_last_chunk::<SIGNATURE>().ok_or(SealError::Broken)?;
        let (head, content) = signed.split_first_chunk::<HEAD>().ok_or(SealError::Broken)?;
        let [VERSION, sealed_for, number @ ..] = *head else { return Err(SealError::Broken) };
        if sealed_for != purpose as u8 {
            return Err(SealError::Broken);
        }
        let key = self.numbered(i64::from_be_bytes(number)).await?;
        // In constant time.
        hmac::verify(&key.key, signed, signature).map_err(|_| SealError::Broken)?;
        Ok(content)
    }

    fn newest(&self) -> Option<Arc<Key>> {
        let known = self.known.lock();
        let fresh = self.clock.now().since(known.asked_at?) < ASK_EVERY;
        known.keys.first().filter(|_| fresh).cloned()
    }

    async fn numbered(&self, number: i64) -> Result<Arc<Key>, SealError> {
        if let Some(key) = self.find(number) {
            return Ok(key);
        }
        let _alone = self.asking.lock().await;
        if let Some(key) = self.find(number) {
            return Ok(key);
        }
        let asked_at = self.known.lock().asked_at;
        if asked_at.is_some_and(|at| self.clock.now().since(at) < UNKNOWN_EVERY) {
            return Err(SealError::Unknown);
        }
        self.ask().await?;
        self.find(number).ok_or(SealError::Unknown)
    }

    fn find(&self, number: i64) -> Option<Arc<Key>> {
        self.known.lock().keys.iter().find(|key| key.number == number).cloned()
    }

    async fn ask(&self) -> Result<(), SealError> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(SealError::Random)?;
        let fresh = Secret::new(BASE64_STANDARD_NO_PAD.encode(bits));
        let now = self.clock.now();
        let stored = self.catalog.seal_keys(&fresh, self.rotate_after, now).await;
        let keys = stored.map_err(SealError::Catalog)?.into_iter().map(|stored| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, stored.secret.reveal().as_bytes());
            Arc::new(Key { number: stored.number, key })
        });
        *self.known.lock() = Known { keys: keys.collect(), asked_at: Some(now) };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
