//! Resource profiles: how much one run may take, under a name.
//!
//! A job names a profile, and the configuration of whoever runs it says what that means: so the same
//! definitions run on small and on large machines. It limits nothing itself.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// The profile of jobs for which nobody said another. It exists everywhere, without limits of its own
/// unless the configuration gives it some.
pub const DEFAULT_PROFILE: &str = "default";

/// What one run may take. Whatever is not said is not limited, beyond what all runs share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Bytes that the operators of one run may hold. Those that can spill do so then; a run of which
    /// another one needs more fails.
    pub memory_max: Option<u64>,
    /// Parts that one run is worked on in at the same time.
    pub partitions: Option<usize>,
    /// Runs of it at the same time, in one process.
    pub runs_max: Option<usize>,
    /// How long one run may compute. Its commit is not cut short.
    pub run_time_max: Option<Duration>,
}

impl Profile {
    /// A profile without limits.
    #[must_use]
    pub fn unlimited(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            memory_max: None,
            partitions: None,
            runs_max: None,
            run_time_max: None,
        }
    }
}

/// The profiles that a process knows, by name; [`DEFAULT_PROFILE`] is always among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles(BTreeMap<String, Profile>);

impl Default for Profiles {
    fn default() -> Self {
        Self::new([])
    }
}

impl Profiles {
    /// These, and the default one.
    #[must_use]
    pub fn new(profiles: impl IntoIterator<Item = Profile>) -> Self {
        let default = Profile::unlimited(DEFAULT_PROFILE);
        let all = std::iter::once(default).chain(profiles);
        Self(all.map(|profile| (profile.name.clone(), profile)).collect())
    }

    /// The profile of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// All names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All profiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values()
    }
}

/// What a job may take, or the jobs of a transform for which nobody says more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Name of a profile.
    pub profile: String,
    /// A run of which more bytes of data files would be read, or are written, fails before its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { profile: DEFAULT_PROFILE.to_owned(), bytes_max: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_is_always_there_and_can_be_given_limits() {
        let none = Profiles::default();
        assert_eq!(none.get(DEFAULT_PROFILE), Some(&Profile::unlimited(DEFAULT_PROFILE)));
        assert_eq!(none.get("large"), None);
        let limited = Profile { runs_max: Some(1), ..Profile::unlimited(DEFAULT_PROFILE) };
        let some = Profiles::new([Profile::unlimited("large"), limited.clone()]);
        assert_eq!(some.get(DEFAULT_PROFILE), Some(&limited));
        assert_eq!(some.names().collect::<Vec<_>>(), ["default", "large"]);
    }

    #[test]
    fn resources_of_which_nobody_spoke_are_those_of_the_default_profile() {
        let read: Resources = serde_json::from_str(r#"{"profile": "large"}"#).unwrap();
        assert_eq!(read, Resources { profile: "large".to_owned(), bytes_max: None });
        assert_eq!(Resources::default().profile, DEFAULT_PROFILE);
    }
}
