//! `[refresh]`: how transforms are kept up to date.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    key::{Key, Kind},
    quantity,
};

/// Settings of `[refresh]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshConfig {
    /// Refreshes that run at the same time.
    pub workers: usize,
    /// How often schedules are looked at.
    #[serde(deserialize_with = "quantity::duration")]
    pub tick: Duration,
    /// After this long without a sign of life another worker takes a run over.
    #[serde(deserialize_with = "quantity::duration")]
    pub lease: Duration,
    /// Attempts in all before a transient failure is final.
    pub attempts_max: u32,
    /// A folder of `.sql` files that is kept applied.
    pub transforms: Option<PathBuf>,
    /// How often that folder is looked at.
    #[serde(deserialize_with = "quantity::duration")]
    pub transforms_poll: Duration,
}

pub(super) const KEYS: [Key; 6] = [
    Key {
        path: "refresh.workers",
        kind: Kind::Count(1),
        default: |facts| Some(i64::try_from(facts.machine.cores.clamp(2, 8)).unwrap_or(2).into()),
        doc: "Refreshes that run at the same time.",
    },
    Key {
        path: "refresh.tick",
        kind: Kind::Duration,
        default: |_| Some("5s".into()),
        doc: "How often schedules are looked at.",
    },
    Key {
        path: "refresh.lease",
        kind: Kind::Duration,
        default: |_| Some("30s".into()),
        doc: "After this long without a sign of life another worker takes a run over.",
    },
    Key {
        path: "refresh.attempts_max",
        kind: Kind::Count(1),
        default: |_| Some(5.into()),
        doc: "Attempts in all before a transient failure is final.",
    },
    Key {
        path: "refresh.transforms",
        kind: Kind::Path,
        default: |_| None,
        doc: "Folder of .sql files that is kept applied.",
    },
    Key {
        path: "refresh.transforms_poll",
        kind: Kind::Duration,
        default: |_| Some("2s".into()),
        doc: "How often that folder is looked at.",
    },
];
