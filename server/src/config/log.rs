//! `[log]`: what is logged, and how.

use serde::Deserialize;

use super::key::{Key, Kind};

/// Settings of `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A level, or directives such as `info,whimbrel_query=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

pub(super) const KEYS: [Key; 2] = [
    Key {
        path: "log.level",
        kind: Kind::Text,
        default: |_| Some("info".into()),
        doc: "error, warn, info, debug or trace; also by module: info,whimbrel_query=debug.",
    },
    Key {
        path: "log.format",
        kind: Kind::Choice(&["text", "json"]),
        default: |_| Some("text".into()),
        doc: "text or json.",
    },
];
