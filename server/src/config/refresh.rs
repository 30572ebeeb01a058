//! `[refresh]`: how transforms are kept up to date.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use model::profile::{Profile, Profiles};
use serde::Deserialize;

use super::{
    ConfigError,
    key::{Key, Kind},
    quantity::{self, parse_duration, parse_size},
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
    /// What a run may take, by name.
    #[serde(default)]
    pub profiles: BTreeMap<String, ProfileConfig>,
    /// Only jobs of these profiles are taken; of all when there is none.
    pub take_profiles: Vec<String>,
}

/// Settings of `[refresh.profiles.NAME]`, as texts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileConfig {
    /// Memory of one run: a size, or a share of `query.memory_max`.
    pub memory: Option<String>,
    /// Parts that one run is worked on in at the same time.
    pub partitions: Option<String>,
    /// Runs of it at the same time, in one process.
    pub runs: Option<String>,
    /// How long one run may compute.
    pub run_time: Option<String>,
}

impl RefreshConfig {
    pub(super) fn check(&self, memory_max: u64) -> Result<(), ConfigError> {
        let profiles = self.profiles(memory_max)?;
        let unknown = self.take_profiles.iter().find(|name| profiles.get(name).is_none());
        if let Some(unknown) = unknown {
            let known: Vec<_> = profiles.names().collect();
            return Err(ConfigError::Conflict(format!(
                "refresh.take_profiles: there is no profile '{unknown}'; profiles are {}",
                known.join(", ")
            )));
        }
        Ok(())
    }

    /// The profiles, with `default` among them. Shares of memory are those of `memory_max`.
    pub(crate) fn profiles(&self, memory_max: u64) -> Result<Profiles, ConfigError> {
        let profiles = self.profiles.iter().map(|(name, said)| said.profile(name, memory_max));
        Ok(Profiles::new(profiles.collect::<Result<Vec<_>, _>>()?))
    }
}

impl ProfileConfig {
    fn profile(&self, name: &str, memory_max: u64) -> Result<Profile, ConfigError> {
        let refused = |key: &str, why: String| {
            ConfigError::Conflict(format!("refresh.profiles.{name}.{key}: {why}"))
        };
        let count = |key: &str, said: &Option<String>| match said.as_deref().map(str::trim) {
            None => Ok(None),
            Some(text) => match text.parse::<usize>() {
                Ok(number) if number > 0 => Ok(Some(number)),
                _ => Err(refused(key, format!("'{text}' is no whole number of at least 1"))),
            },
        };
        let memory = self.memory.as_deref().map(|text| memory(text.trim(), memory_max));
        let run_time = self.run_time.as_deref().map(parse_duration).transpose();
        let run_time = run_time.map_err(|why| refused("run_time", why))?;
        if run_time.is_some_and(|limit| limit.is_zero()) {
            return Err(refused("run_time", "leave it out for as long as it takes".to_owned()));
        }
        Ok(Profile {
            name: name.to_owned(),
            memory_max: memory.transpose().map_err(|why| refused("memory", why))?,
            partitions: count("partitions", &self.partitions)?,
            runs_max: count("runs", &self.runs)?,
            run_time_max: run_time,
        })
    }
}

/// `2GiB`, or `25%` of what all statements have.
fn memory(text: &str, of: u64) -> Result<u64, String> {
    let bytes = match text.strip_suffix('%') {
        None => parse_size(text)?,
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => {
                (of as f64 * percent / 100.0) as u64
            }
            _ => return Err(format!("'{text}' is no share; write for example 25% or 2GiB")),
        },
    };
    if bytes == 0 { Err("a run needs some memory".to_owned()) } else { Ok(bytes) }
}

pub(super) const KEYS: [Key; 8] = [
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
    Key {
        path: "refresh.take_profiles",
        kind: Kind::List,
        default: |_| Some(toml::Value::Array(Vec::new())),
        doc: "Only jobs of these profiles are run; none means all that refresh.profiles has, and default.",
    },
    // A table comes last, or what follows would be read as a part of it.
    Key {
        path: "refresh.profiles",
        kind: Kind::Table,
        default: |_| None,
        doc: "What a run may take, by name: NAME.memory, NAME.partitions, NAME.runs, NAME.run_time.",
    },
];
