//! Transforms: queries that are kept, whose results are Delta tables.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    name::ObjectName, object::TableFormat, profile::Resources, schedule::Schedule, time::Timestamp,
};

/// A materialized view or a streaming table: what is declared, and where the result lies.
///
/// The stored form is JSON: fields may be added, with a default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// The query of a materialized view, with every name fully qualified; empty for a streaming
    /// table, whose queries are those of its flows.
    #[serde(default)]
    pub query: String,
    /// The whole statement as its author wrote it, or as ALTER has left it.
    pub definition: String,
    /// The schema of names in the statement that say none; empty where an older version has stored it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// SHA-256 of the query in its normal form, in hexadecimal: same hash, same meaning.
    pub definition_hash: String,
    /// Objects that the query, or one of the flows, names directly.
    pub reads: Vec<ObjectName>,
    /// Absolute URL of the Delta table's folder, with a trailing slash.
    pub location: String,
    /// Columns that partition the Delta table.
    pub partitioned_by: Vec<String>,
    /// When it refreshes by itself.
    pub schedule: Option<Schedule>,
    /// From when the schedule counts, where it is younger than the transform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_since: Option<Timestamp>,
    /// What becomes of due times that nobody was there for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub misfire: Misfire,
    /// It refreshes when an input has a new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Declared columns, when a column list was given.
    pub columns: Vec<DeclaredColumn>,
    /// What rows are expected to be, in the order of the declaration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<Expectation>,
    /// Declared keys, in the order of the declaration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// How it may be refreshed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: RefreshPolicy,
    /// What happens when only a full refresh is left.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_full_refresh: OnFullRefresh,
    /// What its runs may take, where nobody who asks for one says something else.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// What feeds a streaming table, in the order of their declaration; none for a view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<Flow>,
    /// The folder and file that declare it, when it came from a folder of `.sql` files.
    pub source_file: Option<String>,
    /// True once its file has gone from the folder that declared it, or after SUSPEND: kept, not
    /// refreshed.
    pub suspended: bool,
    /// Why it is suspended; none where it is not, or an older version did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_reason: Option<SuspendedReason>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One column of a declared column list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeclaredColumn {
    /// Name in the result.
    pub name: String,
    /// Type as SQL wrote it, when one was given.
    pub data_type: Option<String>,
    /// NOT NULL was said.
    pub not_null: bool,
    /// `COMMENT` text.
    pub comment: Option<String>,
}

/// `CONSTRAINT name EXPECT (condition) [ON VIOLATION …]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Its name, once in a transform.
    pub name: String,
    /// SQL over the columns of the result; a row passes only when it is TRUE.
    pub condition: String,
    /// What becomes of a row that does not pass.
    pub on_violation: OnViolation,
}

/// What becomes of a row that does not meet an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    /// It stays and is counted.
    #[default]
    Keep,
    /// It is left out and counted.
    Drop,
    /// It goes to the quarantine of the transform, with the reason.
    Quarantine,
    /// The run fails, and nothing is published.
    Fail,
}

impl OnViolation {
    /// Every answer to a violation, the mildest first.
    pub const ALL: [Self; 4] = [Self::Keep, Self::Drop, Self::Quarantine, Self::Fail];

    /// The words that SQL uses after ON VIOLATION; of [`Self::Keep`], which SQL says with silence,
    /// `KEEP ROW`.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Keep => "KEEP ROW",
            Self::Drop => "DROP ROW",
            Self::Quarantine => "QUARANTINE ROW",
            Self::Fail => "FAIL UPDATE",
        }
    }
}

/// A key that is declared for the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name, once in a transform.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// What it promises of them.
    pub kind: KeyKind,
    /// Who keeps the promise.
    pub mode: KeyMode,
}

/// What a key promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum KeyKind {
    /// No two rows are equal in it, and none is NULL.
    Primary,
    /// No two rows are equal in it.
    Unique {
        /// NULLS NOT DISTINCT: two NULLs are equal too.
        nulls_equal: bool,
    },
    /// Each value without NULL is one of another object's.
    Foreign {
        /// The other object.
        references: ObjectName,
        /// Its columns, in the order of this key's.
        columns: Vec<String>,
    },
}

impl KeyKind {
    /// The words that SQL uses.
    #[must_use]
    pub fn as_sql(&self) -> &'static str {
        match self {
            Self::Primary => "PRIMARY KEY",
            Self::Unique { .. } => "UNIQUE",
            Self::Foreign { .. } => "FOREIGN KEY",
        }
    }
}

/// Who keeps the promise of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMode {
    /// Each run checks it before it publishes.
    #[default]
    Verified,
    /// Its author; clients are told of it.
    Rely,
    /// Nobody; clients are told of it.
    NotEnforced,
}

impl KeyMode {
    /// The words that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Verified => "VERIFIED",
            Self::Rely => "RELY",
            Self::NotEnforced => "NOT ENFORCED",
        }
    }
}

/// `REFRESH POLICY`: how a transform may be refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshPolicy {
    /// Whatever is estimated to cost least.
    #[default]
    Auto,
    /// Incrementally whenever that is exact, else in full.
    Incremental,
    /// Incrementally, else the run fails.
    IncrementalStrict,
    /// In full.
    Full,
}

impl RefreshPolicy {
    /// The words that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Auto => "AUTO",
            Self::Incremental => "INCREMENTAL",
            Self::IncrementalStrict => "INCREMENTAL STRICT",
            Self::Full => "FULL",
        }
    }
}

/// `ON FULL REFRESH`: what happens when only a full refresh is left, except for the first one and
/// for those that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFullRefresh {
    /// It is done.
    #[default]
    Allow,
    /// Somebody has to ask for it with REFRESH … FULL; until then the run fails.
    Approve,
    /// The run fails.
    Fail,
}

impl OnFullRefresh {
    /// The word that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Approve => "APPROVE",
            Self::Fail => "FAIL",
        }
    }
}

/// `MISFIRE`: what becomes of due times that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// One refresh for all of them.
    #[default]
    Once,
    /// None: the next due time is waited for.
    Skip,
}

impl Misfire {
    /// The word that SQL uses.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Once => "ONCE",
            Self::Skip => "SKIP",
        }
    }
}

/// Why a transform is not refreshed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspendedReason {
    /// Somebody has said SUSPEND.
    Statement,
    /// The folder that declared it does so no longer.
    NotDeclared,
}

impl SuspendedReason {
    /// The reason for people.
    #[must_use]
    pub fn as_text(self) -> &'static str {
        match self {
            Self::Statement => "SUSPEND",
            Self::NotDeclared => "no longer declared by its folder",
        }
    }
}

/// `TRIGGER ON UPDATE [AT MOST EVERY …]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The least time between two refreshes that it causes, in seconds.
    pub at_most_every_s: Option<u64>,
}

impl fmt::Display for Trigger {
    /// As SQL says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TRIGGER ON UPDATE")?;
        match self.at_most_every_s {
            Some(seconds) => write!(f, " AT MOST EVERY INTERVAL {seconds} SECONDS"),
            None => Ok(()),
        }
    }
}

/// One source of rows of a streaming table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Its name; that of the table for the flow which CREATE STREAMING TABLE declares itself.
    pub name: ObjectName,
    /// Its query with every name fully qualified; of a change feed, `SELECT * FROM` its source.
    pub query: String,
    /// SHA-256 of what it means, in hexadecimal.
    pub definition_hash: String,
    /// Objects that its query names directly.
    pub reads: Vec<ObjectName>,
    /// It runs until it has succeeded once.
    pub once: bool,
    /// What becomes of its rows.
    pub kind: FlowKind,
    /// `COMMENT` text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The columns that its query gave when it was declared: `*` means those. None of AUTO CDC, and of
    /// flows that older versions have stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// What was found out about the files that its query reads as a STREAM, where that does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FoundFiles>,
}

/// What somebody has found out about files by looking at them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FoundFiles {
    /// What they are.
    pub format: TableFormat,
    /// Their columns as an SQL list, `id BIGINT, name STRING`; nothing where they are declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<String>,
}

impl Flow {
    /// Whether it is the same flow, by its name and what it means.
    #[must_use]
    pub fn means(&self, other: &Self) -> bool {
        self.name == other.name && self.definition_hash == other.definition_hash
    }
}

/// What becomes of the rows of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FlowKind {
    /// They are appended.
    Append,
    /// They are events that change rows by their key: AUTO CDC.
    Changes(Box<ChangeSpec>),
}

/// AUTO CDC: how events become rows. Expressions are SQL over the columns of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSpec {
    /// Columns that events of one row are equal in.
    pub keys: Vec<String>,
    /// IGNORE NULL UPDATES: columns of which a NULL leaves the value as it is.
    pub ignore_null_updates: ColumnChoice,
    /// An event for which this is true deletes the row.
    pub delete_when: Option<String>,
    /// An event for which this is true deletes all rows.
    pub truncate_when: Option<String>,
    /// Orders the events of one key.
    pub sequence_by: String,
    /// Orders events that SEQUENCE BY does not; without it such events fail the run when they
    /// differ.
    pub last_by: Option<String>,
    /// Columns of the source that the table has.
    pub columns: ColumnChoice,
    /// Whether earlier states are kept.
    pub history: History,
}

/// Which columns of a source are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnChoice {
    /// None.
    None,
    /// All of them.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}

impl ColumnChoice {
    /// Whether a column is meant; names are compared as they are.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == column),
            Self::Except(names) => !names.iter().any(|name| name == column),
        }
    }
}

/// `STORED AS SCD TYPE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scd", rename_all = "snake_case")]
pub enum History {
    /// Type 1: the newest state of each key.
    Newest,
    /// Type 2: every state of each key, with `__START_AT` and `__END_AT`.
    Every {
        /// Columns whose change makes a new state.
        track: ColumnChoice,
    },
}

/// Column of a history: the sequence from which on the row was the state of its key.
pub const START_AT: &str = "__START_AT";
/// Column of a history: the sequence from which on it was no longer; NULL for the newest state.
pub const END_AT: &str = "__END_AT";
