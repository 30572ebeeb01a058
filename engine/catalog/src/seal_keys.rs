//! Keys with which servers seal what they give to clients.

use std::time::Duration;

use async_trait::async_trait;
use model::{secret::Secret, time::Timestamp};

use crate::error::CatalogError;

/// How many keys are kept: the one that seals, and the one before it, for what that has sealed.
pub const SEAL_KEYS_KEPT: u32 = 2;

/// One key. All servers of a catalog have the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealKey {
    /// Counts the keys, from 1.
    pub number: i64,
    /// Random bits as text.
    pub secret: Secret,
    /// When it was made, by the clock of whoever made it.
    pub made_at: Timestamp,
}

/// The keys of a catalog. A key that is older than `rotate_after` is replaced by whoever asks next.
#[async_trait]
pub trait SealKeys: Send + Sync {
    /// The newest keys, the newest first, [`SEAL_KEYS_KEPT`] of them at most. Where there is none, or
    /// the newest was made `rotate_after` before `now` or earlier, `fresh` becomes the newest one, and
    /// what is not kept any more goes. Of many who ask at once one key is taken.
    async fn seal_keys(
        &self,
        fresh: &Secret,
        rotate_after: Duration,
        now: Timestamp,
    ) -> Result<Vec<SealKey>, CatalogError>;
}
