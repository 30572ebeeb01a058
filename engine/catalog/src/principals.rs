//! Users, as far as logging in needs them.

use crate::error::CatalogError;
use async_trait::async_trait;

/// A stored user. The password itself is never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Unique name, also among roles.
    pub name: String,
    /// Argon2 hash in its standard text form; a user without one has no password, and comes in by
    /// other proofs only.
    pub password_hash: Option<String>,
    /// What a login by SCRAM-SHA-256 is checked against, in the text form that Postgres stores.
    /// A user whose password is older than SCRAM has none.
    pub scram_verifier: Option<String>,
}

impl User {
    /// Somebody who logs in by other means than a password.
    #[must_use]
    pub fn without_password(name: impl Into<String>) -> Self {
        Self { name: name.into(), password_hash: None, scram_verifier: None }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Users.
#[async_trait]
pub trait Principals: Send + Sync {
    /// Adds a user. The first one is an admin. [`CatalogError::PrincipalExists`] when a user or role
    /// has the name.
    async fn add_user(&self, user: &User) -> Result<(), CatalogError>;

    /// Sets what a new password is checked against: its hash and its SCRAM verifier, together.
    /// `false` when there is no such user.
    async fn set_password_hash(
        &self,
        name: &str,
        password_hash: &str,
        scram_verifier: &str,
    ) -> Result<bool, CatalogError>;

    /// One user by name.
    async fn user(&self, name: &str) -> Result<Option<User>, CatalogError>;

    /// Whether there is any user: without one, everybody is anonymous and welcome.
    async fn has_users(&self) -> Result<bool, CatalogError>;
}
