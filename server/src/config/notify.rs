//! `[notify]`: whom the server may tell of the ends of jobs.

use std::{sync::Arc, time::Duration};

use model::secret::Secret;
use serde::{Deserialize, Deserializer};

use super::{
    ConfigError,
    key::{Key, Kind},
    quantity,
};
use crate::notify::{AllowedHost, AllowedHosts, NotifyOptions, SigningKey};

/// Settings of `[notify]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// `HOST` or `HOST:PORT`; none, and REFRESH … NOTIFY is refused.
    pub allowed_hosts: Vec<String>,
    /// What notifications are signed with.
    #[serde(default, deserialize_with = "secret")]
    pub secret: Option<Secret>,
    /// How long a receiver may take to answer.
    #[serde(deserialize_with = "quantity::duration")]
    pub timeout: Duration,
    /// Tries in all before a notification is given up.
    pub attempts_max: u32,
    /// Notifications that may wait.
    pub queue_max: u64,
    /// How long one that is over is shown.
    #[serde(deserialize_with = "quantity::duration")]
    pub keep: Duration,
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(Secret::new))
}

impl NotifyConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refused = |text: String| Err(ConfigError::Conflict(text));
        for host in &self.allowed_hosts {
            if let Err(why) = host.parse::<AllowedHost>() {
                return refused(format!("notify.allowed_hosts: {why}"));
            }
        }
        if self.timeout.is_zero() {
            return refused("notify.timeout: a receiver needs some time to answer".to_owned());
        }
        match &self.secret {
            None if self.allowed_hosts.is_empty() => Ok(()),
            None => refused(
                "notify.allowed_hosts needs notify.secret: receivers have to be able to tell who sent \
                 what they get"
                    .to_owned(),
            ),
            Some(secret) => match SigningKey::new(secret) {
                Ok(_) => Ok(()),
                Err(why) => refused(format!("notify.secret: {why}")),
            },
        }
    }

    /// What notifications are sent with, when any may be.
    pub(crate) fn options(&self) -> Option<NotifyOptions> {
        let secret = self.secret.clone()?;
        let hosts: Vec<AllowedHost> =
            self.allowed_hosts.iter().filter_map(|host| host.parse().ok()).collect();
        if hosts.is_empty() {
            return None;
        }
        Some(NotifyOptions {
            hosts: Arc::new(AllowedHosts { hosts, open_max: self.queue_max }),
            secret,
            timeout: self.timeout,
            attempts_max: self.attempts_max,
            keep_for: self.keep,
        })
    }
}

pub(super) const KEYS: [Key; 6] = [
    Key {
        path: "notify.allowed_hosts",
        kind: Kind::List,
        default: |_| Some(toml::Value::Array(Vec::new())),
        doc: "HOST or HOST:PORT that REFRESH … NOTIFY may send to; none means that it is off.",
    },
    Key {
        path: "notify.secret",
        kind: Kind::Text,
        default: |_| None,
        doc: "Secret that notifications are signed with, at least 24 bytes; whsec_… is base64.",
    },
    Key {
        path: "notify.timeout",
        kind: Kind::Duration,
        default: |_| Some("10s".into()),
        doc: "How long a receiver may take to answer.",
    },
    Key {
        path: "notify.attempts_max",
        kind: Kind::Count(1),
        default: |_| Some(12.into()),
        doc: "Tries in all before a notification is given up: 1s, 2s, 4s … 10m apart.",
    },
    Key {
        path: "notify.queue_max",
        kind: Kind::Count(1),
        default: |_| Some(10_000.into()),
        doc: "Notifications that may wait for their jobs and receivers.",
    },
    Key {
        path: "notify.keep",
        kind: Kind::Duration,
        default: |_| Some("30d".into()),
        doc: "How long system.notifications shows one that was delivered or given up.",
    },
];
