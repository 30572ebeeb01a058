//! `[query]`: limits of running statements.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    key::{Key, Kind, share},
    quantity,
};

/// Settings of `[query]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryConfig {
    /// Bytes of memory for all running statements together.
    #[serde(deserialize_with = "quantity::size")]
    pub memory_max: u64,
    /// Folder for data that does not fit into memory.
    pub spill_dir: PathBuf,
    /// Bytes that may lie there.
    #[serde(deserialize_with = "quantity::size")]
    pub spill_max: u64,
    /// Statements that run at the same time.
    pub concurrency: usize,
    /// Statements that may wait for their turn.
    pub queue_max: usize,
    /// How long one may wait.
    #[serde(deserialize_with = "quantity::duration")]
    pub queue_wait: Duration,
    /// How long one may run; none for as long as it takes.
    #[serde(deserialize_with = "quantity::limit")]
    pub statement_timeout: Option<Duration>,
    /// Parts that one statement is worked on in at the same time.
    pub target_partitions: usize,
}

pub(super) const KEYS: [Key; 8] = [
    Key {
        path: "query.memory_max",
        kind: Kind::Memory,
        default: |facts| Some(share(facts.machine.memory, 50.0).into()),
        doc: "Memory of all running statements together: a size, or a share of the memory that there is (50%).",
    },
    Key {
        path: "query.spill_dir",
        kind: Kind::Path,
        default: |facts| Some(format!("{}/spill", facts.data_dir).into()),
        doc: "Folder for data that does not fit into memory.",
    },
    Key {
        path: "query.spill_max",
        kind: Kind::Size,
        default: |_| Some("100GiB".into()),
        doc: "Largest amount of data in query.spill_dir.",
    },
    Key {
        path: "query.concurrency",
        kind: Kind::Count(1),
        default: |facts| Some(at_least(facts.machine.cores, 4).into()),
        doc: "Statements that run at the same time.",
    },
    Key {
        path: "query.queue_max",
        kind: Kind::Count(0),
        default: |_| Some(1_000.into()),
        doc: "Statements that may wait for their turn; more are refused.",
    },
    Key {
        path: "query.queue_wait",
        kind: Kind::Duration,
        default: |_| Some("60s".into()),
        doc: "How long a statement may wait for its turn.",
    },
    Key {
        path: "query.statement_timeout",
        kind: Kind::Duration,
        default: |_| Some("0s".into()),
        doc: "How long a statement may run; 0s is as long as it takes.",
    },
    Key {
        path: "query.target_partitions",
        kind: Kind::Count(1),
        default: |facts| Some(at_least(facts.machine.cores, 1).into()),
        doc: "Parts that one statement is worked on in at the same time.",
    },
];

fn at_least(cores: usize, least: i64) -> i64 {
    i64::try_from(cores).unwrap_or(i64::MAX).max(least)
}
