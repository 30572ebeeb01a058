//! `[auditor]`: what is verified although nobody asks.

use serde::Deserialize;

use super::key::{Key, Kind};

/// Settings of `[auditor]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditorConfig {
    /// So many percent of the materialized views are verified each day.
    pub percent_per_day: u32,
}

pub(super) const KEYS: [Key; 1] = [Key {
    path: "auditor.percent_per_day",
    kind: Kind::Count(0),
    default: |_| Some(0.into()),
    doc: "So many percent of the materialized views are verified in the background each day, chosen by chance; 0 for none.",
}];
