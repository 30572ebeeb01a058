//! What is stored of passwords and tokens: made by whoever checks them, see
//! [`crate::options::QueriesOptions::credentials`].

use async_trait::async_trait;
use model::secret::Secret;

use crate::error::QueryError;

/// What a password is checked against.
#[derive(Clone)]
pub struct StoredPassword {
    /// Argon2 hash in its standard text form.
    pub hash: String,
    /// For logins by SCRAM-SHA-256, as Postgres stores it.
    pub scram_verifier: String,
}

impl std::fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredPassword")
    }
}

/// A token that nobody has yet.
#[derive(Debug, Clone)]
pub struct MadeToken {
    /// What its user sends.
    pub text: Secret,
    /// What is stored of it.
    pub digest: String,
}

/// Makes what is stored of secrets. The engine never checks one.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// What to store of a new password. [`QueryError::Invalid`] for one that cannot be.
    async fn password(&self, password: &Secret) -> Result<StoredPassword, QueryError>;

    /// A new token, random.
    fn token(&self) -> Result<MadeToken, QueryError>;

    /// A password, a token or a user changed: what was believed because of it is believed no more.
    fn changed(&self);
}
