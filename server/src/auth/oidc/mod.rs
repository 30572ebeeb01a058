//! Users by the tokens of an OpenID Connect issuer.
//!
//! The issuer signs who somebody is; its keys are read from it, and everything else is checked here.
//! Never asks the issuer about one token, and never sends one anywhere.

mod claims;
mod error;
mod issuer;
mod jws;
mod keys;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use catalog::{
    error::CatalogError,
    principals::{Principals, User},
};
use model::{
    principal::{Principal, is_reserved},
    time::Timestamp,
};
use parking_lot::Mutex;
use rt::clock::Clock;
use sha2::{Digest, Sha256};

pub use self::error::TokenError;
pub(crate) use self::issuer::address;
pub(super) use self::jws::is_signed;
use self::{claims::Claims, issuer::Issuer};
use super::{AuthError, Secret, recent::Recent};

/// How long a token that was good is believed without looking again.
const BELIEVE_FOR: Duration = Duration::from_secs(60);
const REMEMBERED_MAX: usize = 10_000;

/// Whose tokens count, and for whom.
#[derive(Debug, Clone)]
pub struct OidcOptions {
    /// The issuer, as it calls itself.
    pub issuer: String,
    /// A token has to be made for one of these.
    pub audience: Vec<String>,
    /// The claim with the name of the user.
    pub name_claim: String,
    /// The claim with the groups of the user.
    pub roles_claim: String,
    /// Which role of the catalog a group stands for.
    pub roles: Vec<(String, String)>,
    /// What becomes of names that the catalog does not know.
    pub unknown_users: UnknownUsers,
    /// How much the clocks of issuer and server may differ.
    pub clock_skew: Duration,
    /// PEM text with further authorities for the certificate of the issuer.
    pub authority: Option<Vec<u8>>,
}

/// What becomes of a good token that names nobody whom the catalog knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownUsers {
    /// It opens nothing.
    Refuse,
    /// The user is added, with the rights of `public` and no password.
    Create,
}

/// Checks tokens of one issuer.
pub(super) struct Oidc {
    options: OidcOptions,
    issuer: Arc<Issuer>,
    users: Arc<dyn Principals>,
    clock: Arc<dyn Clock>,
    good: Mutex<Recent<[u8; 32], Good>>,
}

struct Good {
    principal: Principal,
    until: Timestamp,
    keys: Timestamp,
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.options.issuer).finish_non_exhaustive()
    }
}

impl Oidc {
    /// The error says why tokens of the issuer cannot be checked.
    pub(super) fn new(
        options: OidcOptions,
        users: Arc<dyn Principals>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let authority = options.authority.as_deref();
        let issuer = Issuer::new(&options.issuer, authority, Arc::clone(&clock))?;
        let good = Mutex::new(Recent::new(REMEMBERED_MAX));
        Ok(Self { options, issuer: Arc::new(issuer), users, clock, good })
    }

    /// Reads the keys of the issuer in the background, so that the first token does not wait. That
    /// the issuer does not answer is logged, and asked again when a token comes.
    pub(super) fn prepare(&self) {
        let issuer = Arc::clone(&self.issuer);
        tokio::spawn(async move { issuer.ask().await });
    }

    /// Whose token this is.
    pub(super) async fn check(&self, token: &Secret) -> Result<Principal, AuthError> {
        let token = token.reveal();
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(principal) = self.recall(&digest) {
            return Ok(principal);
        }
        let unchecked = jws::parse(token)?;
        let keys = self.issuer.verify(&unchecked).await?;
        let now = self.clock.now();
        let Claims { name, roles, ends_at } =
            Claims::check(&unchecked.payload, &self.options, now)?;
        let principal = self.user(name, roles).await?;
        let good =
            Good { principal: principal.clone(), until: ends_at.min(now.plus(BELIEVE_FOR)), keys };
        self.good.lock().insert(digest, good);
        Ok(principal)
    }

    fn recall(&self, digest: &[u8; 32]) -> Option<Principal> {
        let version = self.issuer.version();
        let mut good = self.good.lock();
        let token = good.get(digest)?;
        if self.clock.now() < token.until && Some(token.keys) == version {
            return Some(token.principal.clone());
        }
        good.remove(digest);
        None
    }

    async fn user(&self, name: String, roles: BTreeSet<String>) -> Result<Principal, AuthError> {
        if is_reserved(&name) {
            return Err(TokenError::User(name).into());
        }
        let known = self.users.user(&name).await.map_err(AuthError::Catalog)?.is_some();
        if !known {
            match self.options.unknown_users {
                UnknownUsers::Refuse => return Err(TokenError::User(name).into()),
                UnknownUsers::Create => self.create(&name).await?,
            }
        }
        Ok(Principal::verified(name).with_roles(roles))
    }

    async fn create(&self, name: &str) -> Result<(), AuthError> {
        // The first user of a catalog is its admin, and nobody becomes that by a token.
        if !self.users.has_users().await.map_err(AuthError::Catalog)? {
            return Err(TokenError::NoAdmin.into());
        }
        match self.users.add_user(&User::without_password(name)).await {
            Ok(()) => {
                tracing::info!(user = name, "added a user of the issuer");
                Ok(())
            }
            // Somebody was faster, or a role has the name.
            Err(CatalogError::PrincipalExists(_)) => {
                match self.users.user(name).await.map_err(AuthError::Catalog)? {
                    Some(_) => Ok(()),
                    None => Err(TokenError::User(name.to_owned()).into()),
                }
            }
            Err(error) => Err(AuthError::Catalog(error)),
        }
    }
}
