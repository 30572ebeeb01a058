//! Turns what a request carries into a [`Principal`].
//!
//! The only place that sees passwords and tokens, and the only one that makes a principal from
//! them. It never decides what a principal may do.

mod basic;
mod error;
mod password;
mod peer;
mod recent;
mod scram;
mod stored;
mod token;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use catalog::{Catalog, principals::Principals, tokens::Tokens as StoredTokens};
pub use model::secret::Secret;
use model::{principal::Principal, time::Timestamp};
use parking_lot::Mutex;
use query::audit::AuditTrail;
use rt::clock::Clock;
use tonic::{Extensions, metadata::MetadataMap};

use basic::Credentials;
pub use error::AuthError;
use password::Passwords;
pub use password::hash_password;
pub use peer::Peer;
pub use scram::{Exchange, scram_verifier};
pub(crate) use scram::{MECHANISM as SCRAM, same};
use stored::{ApiTokens, is_stored_token};
use token::Tokens;

/// How long the answer "there are no users" is believed.
const NO_USERS_FOR: Duration = Duration::from_secs(1);

/// Limits of what an [`Authenticator`] remembers.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// How long a bearer token lives after its last use.
    pub token_ttl: Duration,
    /// Tokens at once; the one that was used longest ago makes room.
    pub tokens_max: usize,
}

/// Knows who asks. Shared by every service.
pub struct Authenticator {
    users: Arc<dyn Principals>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    tokens: Tokens,
    api_tokens: ApiTokens,
    audit: Option<Arc<AuditTrail>>,
    users_exist: AtomicBool,
    no_users_at: Mutex<Option<Timestamp>>,
    /// Makes the salts of users who do not exist: the same for one name as long as the server runs.
    scram_key: Option<[u8; 32]>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

/// A successful login.
#[derive(Debug)]
pub struct Login {
    /// Who logged in.
    pub principal: Principal,
    /// What later requests may send as `Bearer` instead of the password.
    pub token: Secret,
}

impl Authenticator {
    /// An authenticator over the users of a catalog.
    #[must_use]
    pub fn new(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        audit: Option<Arc<AuditTrail>>,
        options: AuthOptions,
    ) -> Arc<Self> {
        let mut made = Self::over(Arc::clone(&catalog) as _, catalog, clock, options);
        made.audit = audit;
        Arc::new(made)
    }

    fn over(
        users: Arc<dyn Principals>,
        stored: Arc<dyn StoredTokens>,
        clock: Arc<dyn Clock>,
        options: AuthOptions,
    ) -> Self {
        let AuthOptions { token_ttl, tokens_max } = options;
        Self {
            passwords: Passwords::new(Arc::clone(&users), Arc::clone(&clock)),
            tokens: Tokens::new(Arc::clone(&users), Arc::clone(&clock), token_ttl, tokens_max),
            api_tokens: ApiTokens::new(stored, Arc::clone(&clock)),
            users,
            clock,
            audit: None,
            users_exist: AtomicBool::new(false),
            no_users_at: Mutex::new(None),
            scram_key: password::random().ok(),
        }
    }

    /// Who sent a request with these headers over a connection with these facts, see [`Peer`].
    /// Without users everybody is anonymous, whatever they send; else `Basic` and `Bearer` are
    /// understood and everything else is refused.
    pub async fn authenticate(
        &self,
        headers: &MetadataMap,
        _connection: &Extensions,
    ) -> Result<Principal, AuthError> {
        if !self.has_users().await? {
            return Ok(Principal::anonymous());
        }
        match Credentials::from_headers(headers)? {
            Credentials::Missing => Err(AuthError::Missing),
            Credentials::Basic { user, password } => match is_stored_token(&password) {
                true => self.token_of(&user, &password).await,
                false => Ok(self.passwords.check(&user, &password).await?.principal),
            },
            Credentials::Bearer(token) => self.bearer(&token).await,
        }
    }

    async fn bearer(&self, token: &Secret) -> Result<Principal, AuthError> {
        match is_stored_token(token) {
            true => self.api_tokens.check(token).await,
            false => self.tokens.check(token).await,
        }
    }

    /// A token in the place of a password, for clients that know nothing else.
    async fn token_of(&self, user: &str, token: &Secret) -> Result<Principal, AuthError> {
        let principal = self.api_tokens.check(token).await.map_err(|error| match error {
            AuthError::UnknownToken => AuthError::Wrong,
            other => other,
        })?;
        if principal.name() == user { Ok(principal) } else { Err(AuthError::Wrong) }
    }

    /// Records a login in the audit trail. `user` is who was said to log in.
    pub fn record_login(&self, user: &str, client: Option<&str>, refused: Option<&AuthError>) {
        if let Some(audit) = &self.audit {
            let refused = refused.map(|error| (error.code(), error.to_string()));
            audit.login(user, client, refused);
        }
    }

    /// Logs in with the credentials in the headers or, when there are none, with `user_password`.
    ///
    /// A server without users hands out a token too, since clients expect one; it opens nothing
    /// once there are users. A bearer token that is still good is given back as it is.
    pub async fn login(
        &self,
        headers: &MetadataMap,
        _connection: &Extensions,
        user_password: Option<(String, Secret)>,
    ) -> Result<Login, AuthError> {
        if !self.has_users().await? {
            return Ok(Login { principal: Principal::anonymous(), token: token::random()? });
        }
        let (user, password) = match (Credentials::from_headers(headers)?, user_password) {
            (Credentials::Basic { user, password }, _) => (user, password),
            (Credentials::Bearer(token), _) => {
                return Ok(Login { principal: self.bearer(&token).await?, token });
            }
            (Credentials::Missing, Some(pair)) => pair,
            (Credentials::Missing, None) => return Err(AuthError::Missing),
        };
        if is_stored_token(&password) {
            let principal = self.token_of(&user, &password).await?;
            return Ok(Login { principal, token: password });
        }
        let verified = self.passwords.check(&user, &password).await?;
        let token = self.tokens.issue(&verified)?;
        Ok(Login { principal: verified.principal, token })
    }

    /// Whether everybody is anonymous and welcome, because there are no users.
    pub async fn admits_anonymous(&self) -> Result<bool, AuthError> {
        Ok(!self.has_users().await?)
    }

    /// Begins a login by SCRAM-SHA-256. A user who does not exist, and one whose password is older
    /// than SCRAM, gets as far as the last message and no further.
    pub async fn scram(&self, user: &str) -> Result<Exchange, AuthError> {
        let stored = self.users.user(user).await.map_err(AuthError::Catalog)?;
        let verifier = stored.and_then(|user| user.scram_verifier);
        Exchange::new(user, verifier.as_deref(), self.scram_key)
    }

    /// There is always a last admin, so a yes holds for ever; a no holds for a second.
    async fn has_users(&self) -> Result<bool, AuthError> {
        if self.users_exist.load(Ordering::Acquire) {
            return Ok(true);
        }
        let now = self.clock.now();
        let fresh = self.no_users_at.lock().is_some_and(|at| now.since(at) < NO_USERS_FOR);
        if fresh {
            return Ok(false);
        }
        let exist = self.users.has_users().await.map_err(AuthError::Catalog)?;
        if exist {
            self.users_exist.store(true, Ordering::Release);
        } else {
            *self.no_users_at.lock() = Some(now);
        }
        Ok(exist)
    }
}

/// A user whose password was right.
#[derive(Debug, Clone)]
struct Verified {
    principal: Principal,
    /// Digest of the stored hash that the password matched: another one means a new password.
    password_version: [u8; 32],
}

#[cfg(test)]
mod tests;
