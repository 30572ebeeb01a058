//! The catalog over a database that speaks SQL: every port method once, for every database.
//!
//! It exists so that SQLite and Postgres cannot come to mean different things: the statements, the
//! order in which locks are taken and the states of a job are written here and nowhere else. It
//! never names a driver; an adapter lends it transactions through [`database::Database`].
//!
//! Order of locks, for databases with many writers: `catalog_state.objects_version`, then
//! `catalog_state.queue_seq`, then rows of `jobs`. Whoever waits for several rows of `jobs` holds
//! `queue_seq`; everybody else waits for one row, or skips what is locked. So nobody waits in a
//! circle.

use std::fmt;

pub mod database;
pub mod sql;
pub mod value;

mod audit;
mod body;
mod delegate;
mod grants;
mod jobs;
mod leaders;
mod notifications;
mod objects;
mod principals;
mod seal_keys;
mod tokens;
mod verifications;

use database::Database;

/// The ports over one database.
pub struct SqlCatalog<D> {
    db: D,
}

impl<D: Database> SqlCatalog<D> {
    /// The catalog in a database whose migrations have been applied.
    pub fn new(db: D) -> Self {
        Self { db }
    }
}

impl<D: Database> fmt::Debug for SqlCatalog<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqlCatalog").field(&self.db.describe()).finish()
    }
}

impl<D: Database> catalog::Catalog for SqlCatalog<D> {
    fn describe(&self) -> String {
        self.db.describe()
    }

    fn is_shared(&self) -> bool {
        self.db.is_shared()
    }
}
