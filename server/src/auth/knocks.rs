//! Logins in the audit trail: each that succeeds, and those that fail without filling it.

use std::{sync::Arc, time::Duration};

use model::{principal::is_reserved, time::Timestamp};
use parking_lot::Mutex;
use query::audit::AuditTrail;
use rt::clock::Clock;
use sha2::{Digest, Sha256};
use tonic::metadata::MetadataMap;

use super::{AuthError, basic::Credentials, recent::Recent};

/// Failures of one name from one machine are recorded this often: whoever guesses must not push
/// what happened before out of the trail.
const SAME_AGAIN_AFTER: Duration = Duration::from_secs(10);
const REMEMBERED_MAX: usize = 1024;
/// Who is said to come with a token that nobody has.
const WITH_TOKEN: &str = "(token)";

/// Records who came in, and who did not.
pub(super) struct Knocks {
    audit: Option<Arc<AuditTrail>>,
    clock: Arc<dyn Clock>,
    failed: Mutex<Recent<[u8; 32], Timestamp>>,
}

impl Knocks {
    pub(super) fn new(audit: Option<Arc<AuditTrail>>, clock: Arc<dyn Clock>) -> Self {
        Self { audit, clock, failed: Mutex::new(Recent::new(REMEMBERED_MAX)) }
    }

    pub(super) fn succeeded(&self, user: &str, client: &str) {
        if let Some(audit) = &self.audit
            && !is_reserved(user)
        {
            audit.login(user, Some(client), None);
        }
    }

    /// Records a failure, unless the same name failed from the same machine just before. Whoever says
    /// nothing did not try.
    pub(super) fn failed(&self, user: &str, client: &str, error: &AuthError) {
        let Some(audit) = &self.audit else { return };
        if matches!(error, AuthError::Missing) {
            return;
        }
        // Each connection has a port of its own.
        let machine = client.rsplit_once(':').map_or(client, |(machine, _)| machine);
        let key = Sha256::digest(format!("{}:{user}{machine}", user.len())).into();
        let now = self.clock.now();
        {
            let mut failed = self.failed.lock();
            if failed.get(&key).is_some_and(|last| now.since(*last) < SAME_AGAIN_AFTER) {
                return;
            }
            failed.insert(key, now);
        }
        audit.login(user, Some(client), Some((error.code(), error.to_string())));
    }
}

/// Who is said to send a request with these headers.
pub(super) fn claimed(headers: &MetadataMap) -> String {
    match Credentials::from_headers(headers) {
        Ok(Credentials::Basic { user, .. }) => user,
        Ok(Credentials::Bearer(_)) => WITH_TOKEN.to_owned(),
        Ok(Credentials::Missing) | Err(_) => String::new(),
    }
}
