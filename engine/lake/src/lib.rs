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
mod codec;
mod commit;
mod convert;
mod copy;
mod create;
mod data_files;
mod deletion_vector;
mod delta;
mod distinct;
mod edit;
mod elsewhere;
mod entry;
mod error;
mod exact;
pub mod faults;
mod feed;
mod files;
mod floats;
mod footer_statistics;
mod footers;
mod group;
mod held;
mod history;
mod hive;
mod key_sample;
mod lake;
mod live_rows;
mod local_files;
mod location;
mod log;
mod log_cleanup;
mod named_rows;
mod optimize;
mod page_index;
mod parquet_object;
mod parquet_scan;
mod partitions;
mod patch;
mod pointer;
mod protocol;
mod provider;
mod restore;
mod row_hash;
mod rows;
mod scan;
mod schema;
mod snapshot;
mod sound;
mod stage;
mod staged_rows;
mod staging;
mod statistics;
mod stats;
mod stored_path;
mod stored_rows;
mod stores;
mod taken_files;
mod upkeep;
mod vacuum;
mod validate;
mod zorder;

pub use crate::{
    alter::Alteration,
    change::{CHANGE_COLUMN, ChangeOperation, Changed, Repeats, RowChange, StageChange, Touches},
    check::{CONSTRAINT_PREFIX, Check, Rule, shown},
    commit::{CommitInfo, Committed, Txn},
    convert::{Convert, Converted},
    copy::Copy,
    create::CreateTable,
    delta::{Amount, Delta, OtherCommit},
    distinct::DistinctColumns,
    error::{LakeError, store_failure},
    files::{
        FileColumn, FilesReading, FilesScan, FilesTable, ListedFile, ListedFiles, NewColumns,
        metadata_type,
    },
    history::HistoryEntry,
    key_sample::{KeySample, can_choose},
    lake::{Lake, LakeOptions, Turn},
    log_cleanup::Pins,
    optimize::{AUTOMATIC_EVERY, AUTOMATIC_FILES, Optimize, Optimized, Optimizing},
    provider::with_plain_text,
    restore::Restored,
    row_hash::{RowHasher, RowsHash},
    rows::{FILE_COLUMN, ROW_COLUMN},
    scan::{KeptScan, TABLE_SCAN},
    schema::{GENERATED, declared_schema, delta_schema},
    snapshot::{At, Snapshot},
    stage::{Stage, StageProgress, Staged, WriteMode},
    taken_files::{TakenFile, TakenFiles, TakenParts},
    upkeep::Upkeep,
    vacuum::{Vacuum, VacuumProgress, Vacuumed},
    validate::{Finding, Severity, Validate},
    zorder::ZORDER_COLUMNS_MAX,
};

#[cfg(test)]
mod tests;
