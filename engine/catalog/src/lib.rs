//! What Whimbrel remembers: names, definitions, jobs, leases, users; never a row of data.
//!
//! The ports are traits, one file each, cut by use case: every method is one transaction. Two
//! adapters implement them (SQLite and Postgres) and one conformance suite, [`conformance`] (feature
//! `test-support`), holds both to the promises made here.

pub mod audit;
pub mod error;
pub mod grants;
pub mod jobs;
pub mod objects;
pub mod principals;
pub mod tokens;

#[cfg(feature = "test-support")]
pub mod conformance;

use audit::Audit;
use grants::Grants;
use jobs::Jobs;
use objects::Objects;
use principals::Principals;
use tokens::Tokens;

/// Everything a catalog can do. Adapters are chosen in one place, where the server boots.
pub trait Catalog: Objects + Jobs + Principals + Grants + Tokens + Audit {
    /// The name of the database and where it is, without secrets, for people.
    fn describe(&self) -> String;

    /// Whether several server processes may share this catalog.
    fn is_shared(&self) -> bool;
}
