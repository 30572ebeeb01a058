//! What the members of a role may use.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::quantity::{format_duration, format_size, parse_duration, parse_size};

/// One thing that can be bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Statements of all members together that run at once.
    Concurrency,
    /// Statements of all members together that wait for one of them to end.
    Queue,
    /// How long one waits, in milliseconds.
    QueueWait,
    /// How long one runs, in milliseconds.
    RunTime,
    /// Bytes of memory that the operators of one statement hold.
    Memory,
    /// Rows that one query answers.
    Rows,
    /// Bytes that one query answers, as Arrow holds them.
    Bytes,
    /// Postgres sessions of all members together.
    Sessions,
    /// How long a Postgres session does nothing, in milliseconds.
    SessionIdle,
    /// How long a transaction does nothing, in milliseconds.
    TransactionIdle,
}

impl Limit {
    /// Every limit, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Concurrency,
        Self::Queue,
        Self::QueueWait,
        Self::RunTime,
        Self::Memory,
        Self::Rows,
        Self::Bytes,
        Self::Sessions,
        Self::SessionIdle,
        Self::TransactionIdle,
    ];

    /// The word of SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Queue => "queue",
            Self::QueueWait => "queue_wait",
            Self::RunTime => "run_time",
            Self::Memory => "memory",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Sessions => "sessions",
            Self::SessionIdle => "session_idle",
            Self::TransactionIdle => "transaction_idle",
        }
    }

    /// A value as people write it: `4`, `'30s'`, `'512MiB'`.
    pub fn parse(self, text: &str) -> Result<u64, String> {
        let value = match self {
            Self::Concurrency | Self::Queue | Self::Rows | Self::Sessions => text
                .parse::<u64>()
                .map_err(|_| format!("'{text}' is no whole number for {}", self.as_str()))?,
            Self::QueueWait | Self::RunTime | Self::SessionIdle | Self::TransactionIdle => {
                u64::try_from(parse_duration(text)?.as_millis()).unwrap_or(u64::MAX)
            }
            Self::Memory | Self::Bytes => parse_size(text)?,
        };
        // Nobody could do anything; REVOKE says that.
        if value == 0 && !matches!(self, Self::Queue | Self::QueueWait) {
            return Err(format!("{} has to be more than 0", self.as_str()));
        }
        Ok(value)
    }

    /// A value for people.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Concurrency | Self::Queue | Self::Rows | Self::Sessions => value.to_string(),
            Self::QueueWait | Self::RunTime | Self::SessionIdle | Self::TransactionIdle => {
                format_duration(Duration::from_millis(value))
            }
            Self::Memory | Self::Bytes => format_size(value),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The limits of one role; what is not in it is not bounded by this role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoleLimits(BTreeMap<Limit, u64>);

impl RoleLimits {
    /// The bound of one thing.
    #[must_use]
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0.get(&limit).copied()
    }

    /// Sets the bound of one thing.
    pub fn set(&mut self, limit: Limit, value: u64) {
        self.0.insert(limit, value);
    }

    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every bound, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        self.0.iter().map(|(limit, value)| (*limit, *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_shown_in_their_units() {
        for (limit, text, value, shown) in [
            (Limit::Concurrency, "4", 4, "4"),
            (Limit::QueueWait, "90s", 90_000, "90s"),
            (Limit::RunTime, "5m", 300_000, "5m"),
            (Limit::Memory, "512MiB", 512 << 20, "512MiB"),
            (Limit::Queue, "0", 0, "0"),
            (Limit::Sessions, "7", 7, "7"),
            (Limit::SessionIdle, "5m", 300_000, "5m"),
            (Limit::TransactionIdle, "30s", 30_000, "30s"),
        ] {
            assert_eq!(limit.parse(text), Ok(value));
            assert_eq!(limit.show(value), shown);
            assert_eq!(limit.parse(shown), Ok(value));
        }
        for (limit, text) in [
            (Limit::Concurrency, "0"),
            (Limit::Rows, "-1"),
            (Limit::Rows, "1.5"),
            (Limit::RunTime, "5"),
            (Limit::Memory, "many"),
        ] {
            assert!(limit.parse(text).is_err(), "{limit} {text}");
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let mut limits = RoleLimits::default();
        limits.set(Limit::RunTime, 5);
        limits.set(Limit::Rows, 7);
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(text, r#"{"run_time":5,"rows":7}"#);
        assert_eq!(serde_json::from_str::<RoleLimits>(&text).unwrap(), limits);
        assert_eq!(serde_json::from_str::<RoleLimits>("{}").unwrap(), RoleLimits::default());
    }
}
