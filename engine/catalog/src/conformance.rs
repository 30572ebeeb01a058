//! What every catalog has to do, as checks that an adapter's tests run.
//!
//! Each check states one behaviour, by its name, and gets a fresh catalog. It exists so that the
//! promises of the ports are written down once. It never looks behind the ports.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "this is a test suite: a failed check panics"
)]

mod approvals;
mod audit;
mod backfills;
mod claims;
mod concurrent;
mod control;
mod fixture;
mod grants;
mod graphs;
mod leaders;
mod leases;
mod maintenance;
mod notifications;
mod objects;
mod principals;
mod random;
mod requests;
mod seal_keys;
mod submit;
mod tokens;
mod verifications;

use std::{fmt, pin::Pin, sync::Arc};

use crate::Catalog;

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Check {
    /// The behaviour in words joined by underscores.
    pub name: &'static str,
    /// Panics when the catalog, which has to be a fresh one, behaves otherwise.
    pub run: fn(Arc<dyn Catalog>) -> Checking,
}

/// A check under way.
pub type Checking = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Every check.
#[must_use]
pub fn checks() -> Vec<Check> {
    [
        objects::checks(),
        principals::checks(),
        grants::checks(),
        tokens::checks(),
        audit::checks(),
        submit::checks(),
        claims::checks(),
        leases::checks(),
        graphs::checks(),
        maintenance::checks(),
        control::checks(),
        requests::checks(),
        backfills::checks(),
        approvals::checks(),
        notifications::checks(),
        random::checks(),
        concurrent::checks(),
        leaders::checks(),
        verifications::checks(),
        seal_keys::checks(),
    ]
    .concat()
}

/// Runs every check on a catalog of its own, then panics with the names of those that failed.
pub async fn run(make: impl AsyncFn() -> Arc<dyn Catalog>) {
    let mut failed = Vec::new();
    for check in checks() {
        let catalog = make().await;
        if tokio::spawn((check.run)(catalog)).await.is_err() {
            failed.push(check.name);
        }
    }
    assert!(failed.is_empty(), "{} checks failed: {failed:#?}", failed.len());
}

/// The checks of one file.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        /// The checks of this file.
        pub(super) fn checks() -> Vec<super::Check> {
            vec![$(super::Check {
                name: stringify!($name),
                run: |catalog| Box::pin($name(catalog)),
            }),*]
        }
    };
}
use suite;
