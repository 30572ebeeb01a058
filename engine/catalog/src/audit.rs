//! The audit trail.

use async_trait::async_trait;
use model::{audit::AuditRecord, time::Timestamp};

use crate::error::CatalogError;

/// A record with its place in the trail: a later one has a higher number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAudit {
    /// Its place.
    pub seq: i64,
    /// What was recorded.
    pub record: AuditRecord,
}

/// The audit trail: records are added at its end and only ever go by their age or number.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Adds records in their order, all or none. A NUL in a text becomes U+FFFD.
    async fn append_audit(&self, records: &[AuditRecord]) -> Result<(), CatalogError>;

    /// Records from the newest to the oldest: at most `limit`, those with a lower number than `before`
    /// if that is given, those of one principal if that is given.
    async fn audit(
        &self,
        principal: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StoredAudit>, CatalogError>;

    /// Removes records from before `until`, and all but the newest `keep`.
    async fn prune_audit(&self, until: Timestamp, keep: u64) -> Result<(), CatalogError>;
}
