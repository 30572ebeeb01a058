//! Turns what a request and its connection carry into a [`Principal`].
//!
//! The only place that sees passwords, tokens and names in certificates, and the only one that makes a principal from
//! them. It never decides what a principal may do.

mod basic;
mod certificate;
mod error;
mod knocks;
mod oidc;
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
use certificate::Certificates;
pub use certificate::ClientCertificate;
pub(crate) use certificate::expiry;
pub use error::AuthError;
use knocks::{Knocks, claimed};
use oidc::Oidc;
pub(crate) use oidc::address as issuer_address;
pub use oidc::{OidcOptions, TokenError, UnknownUsers};
use password::Passwords;
pub use password::hash_password;
pub use peer::Peer;
pub use scram::{Exchange, scram_verifier};
pub(crate) use scram::{MECHANISM as SCRAM, same};
use stored::{ApiTokens, is_stored_token};
use token::Tokens;

use crate::seal::Seals;

/// How long the answer "there are no users" is believed.
const NO_USERS_FOR: Duration = Duration::from_secs(1);

/// Limits of what an [`Authenticator`] remembers.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// How long a bearer token lives after its last use.
    pub token_ttl: Duration,
    /// Tokens at once; the one that was used longest ago makes room.
    pub tokens_max: usize,
    /// Makes tokens that other servers of the catalog know too; without it they are known here alone.
    pub seals: Option<Arc<Seals>>,
}

/// Who else may say who somebody is, beside the users of the catalog with their passwords.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// An issuer of tokens.
    pub oidc: Option<OidcOptions>,
    /// Whether clients may show certificates.
    pub certificates: bool,
}

/// Knows who asks. Shared by every service.
pub struct Authenticator {
    users: Arc<dyn Principals>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    tokens: Tokens,
    api_tokens: ApiTokens,
    knocks: Knocks,
    certificates: Certificates,
    oidc: Option<Oidc>,
    /// Whoever asks for certificates or tokens means nobody to be anonymous, with users or without.
    always_asks: bool,
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
    /// What later requests may send as `Bearer` instead of the password; none where the connection
    /// itself says who asks.
    pub token: Option<Secret>,
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
        let knocks = Knocks::new(audit, Arc::clone(&clock));
        Arc::new(Self::over(Arc::clone(&catalog) as _, catalog, clock, knocks, options))
    }

    /// An authenticator that also believes others. The error says why the issuer of tokens cannot
    /// be believed. Has to be called inside a Tokio runtime.
    pub fn with_outside(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        audit: Option<Arc<AuditTrail>>,
        options: AuthOptions,
        outside: Outside,
    ) -> Result<Arc<Self>, String> {
        let knocks = Knocks::new(audit, Arc::clone(&clock));
        let made = Self::over(Arc::clone(&catalog) as _, catalog, clock, knocks, options);
        Ok(Arc::new(made.believing(outside)?))
    }

    fn believing(mut self, outside: Outside) -> Result<Self, String> {
        let Outside { oidc, certificates } = outside;
        self.always_asks = certificates || oidc.is_some();
        if let Some(options) = oidc {
            let (users, clock) = (Arc::clone(&self.users), Arc::clone(&self.clock));
            let oidc = Oidc::new(options, users, clock)?;
            oidc.prepare();
            self.oidc = Some(oidc);
        }
        Ok(self)
    }

    fn over(
        users: Arc<dyn Principals>,
        stored: Arc<dyn StoredTokens>,
        clock: Arc<dyn Clock>,
        knocks: Knocks,
        options: AuthOptions,
    ) -> Self {
        let AuthOptions { token_ttl, tokens_max, seals } = options;
        let tokens = Tokens::new(Arc::clone(&users), Arc::clone(&clock), token_ttl, tokens_max);
        Self {
            passwords: Passwords::new(Arc::clone(&users), Arc::clone(&clock)),
            tokens: tokens.sealed_by(seals),
            api_tokens: ApiTokens::new(stored, Arc::clone(&clock)),
            certificates: Certificates::new(Arc::clone(&users), Arc::clone(&clock)),
            oidc: None,
            always_asks: false,
            users,
            clock,
            knocks,
            users_exist: AtomicBool::new(false),
            no_users_at: Mutex::new(None),
            scram_key: password::random().ok(),
        }
    }

    /// Who sent a request with these headers over a connection with these facts, see [`Peer`].
    ///
    /// Without users everybody is anonymous, whatever they send, unless others than users are
    /// believed too. An `authorization` header goes before the certificate of the connection, and is
    /// refused when it is wrong even if the certificate is good: a proxy with a certificate may then
    /// ask for others, and nobody becomes somebody else by a mistake.
    pub async fn authenticate(
        &self,
        headers: &MetadataMap,
        connection: &Extensions,
    ) -> Result<Principal, AuthError> {
        let known = self.recognize(headers, connection).await;
        if let Err(error) = &known {
            self.knocks.failed(&claimed(headers), &Peer::of(connection).client("flight"), error);
        }
        known
    }

    async fn recognize(
        &self,
        headers: &MetadataMap,
        connection: &Extensions,
    ) -> Result<Principal, AuthError> {
        if self.admits_anonymous().await? {
            return Ok(Principal::anonymous());
        }
        match Credentials::from_headers(headers)? {
            Credentials::Missing => self.by_certificate(&Peer::of(connection)).await,
            Credentials::Basic { user, password } => match is_stored_token(&password) {
                true => self.token_of(&user, &password).await,
                false => Ok(self.passwords.check(&user, &password).await?.principal),
            },
            Credentials::Bearer(token) => self.bearer(&token).await,
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

    /// A login whose client sends a token in the place of the password, and says so. No password is
    /// taken this way.
    pub async fn by_token(&self, user: &str, token: &Secret) -> Result<Principal, AuthError> {
        let principal = match &self.oidc {
            _ if is_stored_token(token) => return self.token_of(user, token).await,
            Some(oidc) if oidc::is_signed(token.reveal()) => oidc.check(token).await?,
            _ => return Err(AuthError::Wrong),
        };
        if principal.name() == user { Ok(principal) } else { Err(AuthError::Wrong) }
    }

    /// Records a login by another way than [`Authenticator::login`]; `user` is who was said to come.
    pub fn record_login(&self, user: &str, client: &str, refused: Option<&AuthError>) {
        match refused {
            None => self.knocks.succeeded(user, client),
            Some(error) => self.knocks.failed(user, client, error),
        }
    }

    /// Who is at the other end of a connection, by the certificate that it showed.
    pub async fn by_certificate(&self, peer: &Peer) -> Result<Principal, AuthError> {
        match &peer.certificate {
            Some(certificate) => self.certificates.check(certificate).await,
            None => Err(AuthError::Missing),
        }
    }

    async fn bearer(&self, token: &Secret) -> Result<Principal, AuthError> {
        match &self.oidc {
            _ if is_stored_token(token) => self.api_tokens.check(token).await,
            Some(oidc) if oidc::is_signed(token.reveal()) => oidc.check(token).await,
            _ => self.tokens.check(token).await,
        }
    }

    /// Logs in with the credentials in the headers or, when there are none, with `user_password` or
    /// the certificate of the connection.
    ///
    /// A server without users hands out a token too, since clients expect one; it opens nothing
    /// once there are users. A bearer token that is still good is given back as it is.
    pub async fn login(
        &self,
        headers: &MetadataMap,
        connection: &Extensions,
        user_password: Option<(String, Secret)>,
    ) -> Result<Login, AuthError> {
        let said = match &user_password {
            Some((user, _)) => user.clone(),
            None => claimed(headers),
        };
        let login = self.log_in(headers, connection, user_password).await;
        let client = Peer::of(connection).client("flight");
        match &login {
            Ok(login) => self.knocks.succeeded(login.principal.name(), &client),
            Err(error) => self.knocks.failed(&said, &client, error),
        }
        login
    }

    async fn log_in(
        &self,
        headers: &MetadataMap,
        connection: &Extensions,
        user_password: Option<(String, Secret)>,
    ) -> Result<Login, AuthError> {
        if self.admits_anonymous().await? {
            let token = Some(token::random()?);
            return Ok(Login { principal: Principal::anonymous(), token });
        }
        let (user, password) = match (Credentials::from_headers(headers)?, user_password) {
            (Credentials::Basic { user, password }, _) => (user, password),
            (Credentials::Bearer(token), _) => {
                let principal = self.bearer(&token).await?;
                return Ok(Login { principal, token: Some(token) });
            }
            (Credentials::Missing, Some(pair)) => pair,
            (Credentials::Missing, None) => {
                let principal = self.by_certificate(&Peer::of(connection)).await?;
                return Ok(Login { principal, token: None });
            }
        };
        if is_stored_token(&password) {
            let principal = self.token_of(&user, &password).await?;
            return Ok(Login { principal, token: Some(password) });
        }
        let verified = self.passwords.check(&user, &password).await?;
        let token = self.tokens.issue(&verified).await?;
        Ok(Login { principal: verified.principal, token: Some(token) })
    }

    /// Whether everybody is anonymous and welcome, because there is nobody to be.
    pub async fn admits_anonymous(&self) -> Result<bool, AuthError> {
        Ok(!self.always_asks && !self.has_users().await?)
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
