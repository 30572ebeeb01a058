//! What Whimbrel remembers: names, definitions, jobs, leases, users; never a row of data.
//!
//! The ports are traits, one file each, cut by use case: every method is one transaction. Two
//! adapters implement them (SQLite and Postgres) and one conformance suite, [`conformance`] (feature
//! `test-support`), holds both to the promises made here.

pub mod audit;
pub mod error;
pub mod grants;
pub mod jobs;
pub mod leaders;
pub mod notifications;
pub mod objects;
pub mod principals;
pub mod seal_keys;
pub mod tokens;
pub mod verifications;

#[cfg(feature = "test-support")]
pub mod conformance;

use audit::Audit;
use grants::Grants;
use jobs::Jobs;
use leaders::Leaders;
use notifications::Notifications;
use objects::Objects;
use principals::Principals;
use seal_keys::SealKeys;
use tokens::Tokens;
use verifications::Verifications;

/// Everything a catalog can do. Adapters are chosen in one place, where the server boots.
pub trait Catalog:
    Objects
    + Jobs
    + Notifications
    + Principals
    + Grants
    + Tokens
    + Audit
    + Leaders
    + Verifications
    + SealKeys
{
    /// The name of the database and where it is, without secrets, for people.
    fn describe(&self) -> String;

    /// Whether several server processes may share this catalog.
    fn is_shared(&self) -> bool;
}
