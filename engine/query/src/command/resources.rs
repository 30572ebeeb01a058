//! OPTIONS (profile = …, max_bytes = …): what the runs of a job may take.

use dialect::statement::RefreshOptions;
use model::{
    profile::{Profile, Resources},
    transform::Transform,
};

use crate::{error::QueryError, queries::Inner};

impl Inner {
    /// What a run of a transform may take; nothing is limited where its profile is not known here.
    pub(super) fn profile_of(&self, view: &Transform) -> Profile {
        let name = &view.resources.profile;
        let known = self.options.limits.profiles.get(name);
        known.cloned().unwrap_or_else(|| Profile::unlimited(name))
    }
}

/// Refuses resources of a profile that this server does not know, with the nearest that it does.
pub(super) fn check(inner: &Inner, resources: &Resources) -> Result<(), QueryError> {
    let profiles = &inner.options.limits.profiles;
    let wanted = &resources.profile;
    if profiles.get(wanted).is_some() {
        return Ok(());
    }
    let nearest = profiles
        .names()
        .map(|name| (strsim::jaro_winkler(name, wanted), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let meant = nearest.map(|(_, name)| format!("did you mean '{name}'? ")).unwrap_or_default();
    let known: Vec<_> = profiles.names().collect();
    Err(QueryError::Refused {
        problem: format!("there is no profile '{wanted}'"),
        hint: format!(
            "{meant}profiles are {}; the configuration names them: refresh.profiles",
            known.join(", ")
        ),
    })
}

/// What a job may take: what the request says, and of what it does not say what its transform does.
pub(super) fn of_request(options: &RefreshOptions, declared: &Resources) -> Resources {
    Resources {
        profile: options.profile.clone().unwrap_or_else(|| declared.profile.clone()),
        bytes_max: options.max_bytes.or(declared.bytes_max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_only_what_it_says() {
        let declared = Resources { profile: "large".to_owned(), bytes_max: Some(7) };
        assert_eq!(of_request(&RefreshOptions::default(), &declared), declared);
        let small = RefreshOptions { profile: Some("small".to_owned()), ..Default::default() };
        let of_small = of_request(&small, &declared);
        assert_eq!((of_small.profile.as_str(), of_small.bytes_max), ("small", Some(7)));
        let more = RefreshOptions { max_bytes: Some(9), ..RefreshOptions::default() };
        let of_more = of_request(&more, &declared);
        assert_eq!((of_more.profile.as_str(), of_more.bytes_max), ("large", Some(9)));
    }
}
