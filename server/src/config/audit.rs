//! `[audit]`: what is recorded of who did what.

use std::time::Duration;

use query::audit::{AuditOptions, Audited};
use serde::Deserialize;

use super::{
    key::{Key, Kind},
    quantity,
};

/// Settings of `[audit]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// Which statements are recorded.
    pub statements: AuditStatements,
    /// How long a record is kept.
    #[serde(deserialize_with = "quantity::duration")]
    pub keep: Duration,
    /// Records that are kept.
    pub records_max: u64,
}

/// Which statements are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditStatements {
    /// Every statement.
    All,
    /// Those that take effect.
    Commands,
    /// Those that were denied.
    Denied,
}

impl AuditConfig {
    /// As the engine takes it.
    #[must_use]
    pub fn options(&self) -> AuditOptions {
        AuditOptions {
            statements: match self.statements {
                AuditStatements::All => Audited::All,
                AuditStatements::Commands => Audited::Commands,
                AuditStatements::Denied => Audited::Denied,
            },
            keep_for: self.keep,
            keep_max: self.records_max,
        }
    }
}

pub(super) const KEYS: [Key; 3] = [
    Key {
        path: "audit.statements",
        kind: Kind::Choice(&["all", "commands", "denied"]),
        default: |_| Some("all".into()),
        doc: "Statements that system.audit keeps: all, commands (those that take effect) or denied. Logins are always kept.",
    },
    Key {
        path: "audit.keep",
        kind: Kind::Duration,
        default: |_| Some("90d".into()),
        doc: "How long system.audit keeps a record.",
    },
    Key {
        path: "audit.records_max",
        kind: Kind::Count(1),
        default: |_| Some(1_000_000.into()),
        doc: "Records that system.audit keeps; older ones go.",
    },
];
