//! The only crate that touches stored data: Delta tables and plain files on local disks and object stores.
//!
//! It exists so that every read is pinned to one table version, every write is exactly one Delta
//! commit whose outcome is known, and no other crate names a Delta or object-store library.
//! It never parses SQL, never decides who may do what, and never keeps state that is not in the
//! tables' own logs.

mod alter;
mod cache;
mod change;
mod check;
mod commit;
mod create;
mod data_files;
mod edit;
mod entry;
mod error;
mod exact;
pub mod faults;
mod files;
mod group;
mod history;
mod lake;
mod location;
mod log;
mod named_rows;
mod optimize;
mod patch;
mod protocol;
mod provider;
mod restore;
mod rows;
mod scan;
mod schema;
mod snapshot;
mod stage;
mod staging;
mod statistics;
mod stats;
mod stores;
mod vacuum;

pub use crate::{
    alter::Alteration,
    change::{CHANGE_COLUMN, ChangeOperation, Changed, Repeats, RowChange, StageChange},
    check::{CONSTRAINT_PREFIX, Check, shown},
    commit::{CommitInfo, Committed, Txn},
    create::CreateTable,
    error::LakeError,
    history::HistoryEntry,
    lake::{Lake, LakeOptions, Turn},
    optimize::{Optimize, Optimized},
    restore::Restored,
    rows::{FILE_COLUMN, ROW_COLUMN},
    schema::delta_schema,
    snapshot::{At, Snapshot},
    stage::{Stage, StageProgress, Staged, WriteMode},
    vacuum::{Vacuum, Vacuumed},
};

#[cfg(test)]
mod tests;
