//! Tokens that users made for their programs: random, stored as digests, good until they end or are
//! dropped.

use std::{fmt, fmt::Write as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use catalog::tokens::Tokens as StoredTokens;
use model::{principal::Principal, secret::Secret, time::Timestamp};
use parking_lot::Mutex;
use query::{
    credentials::{Credentials, MadeToken, StoredPassword},
    error::QueryError,
};
use rt::clock::Clock;
use sha2::{Digest, Sha256};

use super::{AuthError, Authenticator, hash_password, recent::Recent, scram_verifier, token};

/// What every such token begins with, so that one that leaked can be recognized.
const PREFIX: &str = "whb_";
/// For how long the catalog is not asked again: after so long a dropped token opens nothing.
const BELIEVE_FOR: Duration = Duration::from_secs(2);
const REMEMBERED_MAX: usize = 1024;

/// Whether a text looks like such a token.
pub(super) fn is_stored_token(text: &Secret) -> bool {
    text.reveal().starts_with(PREFIX)
}

/// Checks the tokens that the catalog has.
pub(super) struct ApiTokens {
    stored: Arc<dyn StoredTokens>,
    clock: Arc<dyn Clock>,
    believed: Mutex<Recent<[u8; 32], (Principal, Timestamp)>>,
}

impl fmt::Debug for ApiTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiTokens").finish_non_exhaustive()
    }
}

impl ApiTokens {
    pub(super) fn new(stored: Arc<dyn StoredTokens>, clock: Arc<dyn Clock>) -> Self {
        Self { stored, clock, believed: Mutex::new(Recent::new(REMEMBERED_MAX)) }
    }

    /// Asks the catalog again for every token.
    pub(super) fn forget(&self) {
        self.believed.lock().clear();
    }

    /// Whom the token opens the server for. [`AuthError::UnknownToken`] for one that is not there,
    /// was dropped or has ended.
    pub(super) async fn check(&self, text: &Secret) -> Result<Principal, AuthError> {
        let digest: [u8; 32] = Sha256::digest(text.reveal()).into();
        let now = self.clock.now();
        if let Some((principal, until)) = self.believed.lock().get(&digest)
            && *until > now
        {
            return Ok(principal.clone());
        }
        let found = self.stored.use_token(&hex(&digest), now).await.map_err(AuthError::Catalog)?;
        let mut believed = self.believed.lock();
        let Some(token) = found else {
            believed.remove(&digest);
            return Err(AuthError::UnknownToken);
        };
        let principal = Principal::verified(token.user);
        let until = now.plus(BELIEVE_FOR);
        let until = token.expires_at.map_or(until, |end| until.min(end));
        believed.insert(digest, (principal.clone(), until));
        Ok(principal)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the statements about users and tokens store, and what is forgotten after them.
#[async_trait]
impl Credentials for Authenticator {
    async fn password(&self, password: &Secret) -> Result<StoredPassword, QueryError> {
        let password = password.clone();
        let work = move || {
            let hash = hash_password(password.reveal())?;
            Ok(StoredPassword { hash, scram_verifier: scram_verifier(password.reveal())? })
        };
        let made = tokio::task::spawn_blocking(work).await;
        let made = made.map_err(|error| QueryError::Invalid(error.to_string()))?;
        made.map_err(|error: AuthError| QueryError::Invalid(error.to_string()))
    }

    fn token(&self) -> Result<MadeToken, QueryError> {
        let random = token::random().map_err(|error| QueryError::Invalid(error.to_string()))?;
        let text = Secret::new(format!("{PREFIX}{}", random.reveal()));
        let digest = hex(&Sha256::digest(text.reveal()));
        Ok(MadeToken { text, digest })
    }

    fn changed(&self) {
        self.passwords.forget();
        self.tokens.doubt();
        self.api_tokens.forget();
    }
}
