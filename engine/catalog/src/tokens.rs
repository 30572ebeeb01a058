//! Tokens that open the server for programs: named, owned by a user, revoked by dropping them.

use async_trait::async_trait;
use model::time::Timestamp;

use crate::error::CatalogError;

/// What is known of a token. Its text is never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whom it opens the server for.
    pub user: String,
    /// Its name, unique among the tokens of the user.
    pub name: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, exact to a minute.
    pub last_used_at: Option<Timestamp>,
}

/// Tokens.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Stores a token under the digest of its text.
    ///
    /// [`CatalogError::TokenExists`] when the user has one of that name,
    /// [`CatalogError::PrincipalNotFound`] when there is no such user.
    async fn create_token(&self, token: &Token, digest: &str) -> Result<(), CatalogError>;

    /// Removes a token. `false` when there is none of that name.
    async fn drop_token(&self, user: &str, name: &str) -> Result<bool, CatalogError>;

    /// Every token, sorted by user and name.
    async fn tokens(&self) -> Result<Vec<Token>, CatalogError>;

    /// The token with this digest when it is good at `now`, and notes that it was used.
    async fn use_token(&self, digest: &str, now: Timestamp) -> Result<Option<Token>, CatalogError>;
}
