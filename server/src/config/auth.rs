//! `[auth]`: who else may say who somebody is.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    ConfigError,
    key::{Key, Kind},
    quantity,
};
use crate::auth::{UnknownUsers, issuer_address};

/// Clocks that differ by more are wrong.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(600);

/// Settings of `[auth]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Tokens of an OpenID Connect issuer.
    pub oidc: OidcConfig,
}

/// Settings of `[auth.oidc]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The issuer, as it calls itself; without it there is none.
    pub issuer: Option<String>,
    /// A token has to be made for one of these.
    pub audience: Vec<String>,
    /// The claim with the name of the user.
    pub name_claim: String,
    /// What becomes of names that are not known here.
    pub unknown_users: UnknownUsers,
    /// The claim with the groups of the user.
    pub roles_claim: String,
    /// `GROUP=ROLE`: which role a group stands for.
    pub roles: Vec<String>,
    /// How much the clocks of issuer and server may differ.
    #[serde(deserialize_with = "quantity::duration")]
    pub clock_skew: Duration,
    /// PEM file with a further authority for the certificate of the issuer.
    pub ca: Option<PathBuf>,
}

impl OidcConfig {
    /// Group and role of each entry of `auth.oidc.roles`.
    #[must_use]
    pub fn group_roles(&self) -> Vec<(String, String)> {
        self.roles.iter().filter_map(|entry| group_role(entry)).collect()
    }
}

/// The last `=` parts them: names of groups may hold anything, names of roles hardly do.
fn group_role(entry: &str) -> Option<(String, String)> {
    let (group, role) = entry.rsplit_once('=')?;
    let (group, role) = (group.trim(), role.trim());
    (!group.is_empty() && !role.is_empty()).then(|| (group.to_owned(), role.to_owned()))
}

impl AuthConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refused = |text: String| Err(ConfigError::Conflict(text));
        let oidc = &self.oidc;
        if let Some(entry) = oidc.roles.iter().find(|entry| group_role(entry).is_none()) {
            return refused(format!("auth.oidc.roles: '{entry}' is not of the form GROUP=ROLE"));
        }
        if oidc.clock_skew > CLOCK_SKEW_MAX {
            return refused("auth.oidc.clock_skew: at most 10m; set the clocks right".to_owned());
        }
        let Some(issuer) = &oidc.issuer else { return Ok(()) };
        if let Err(why) = issuer_address(issuer) {
            return refused(format!("auth.oidc.issuer: {why}"));
        }
        if oidc.audience.is_empty() {
            return refused(
                "auth.oidc.issuer needs auth.oidc.audience: tokens that the issuer made for other \
                 programs must not open this one"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

pub(super) const KEYS: [Key; 8] = [
    Key {
        path: "auth.oidc.issuer",
        kind: Kind::Text,
        default: |_| None,
        doc: "Issuer of OpenID Connect tokens, as it calls itself (https://…); off when not set.",
    },
    Key {
        path: "auth.oidc.audience",
        kind: Kind::List,
        default: |_| Some(toml::Value::Array(Vec::new())),
        doc: "Tokens have to be made for one of these; needed with the issuer.",
    },
    Key {
        path: "auth.oidc.name_claim",
        kind: Kind::Text,
        default: |_| Some("sub".into()),
        doc: "Claim with the name of the user; a.b is b in a.",
    },
    Key {
        path: "auth.oidc.unknown_users",
        kind: Kind::Choice(&["refuse", "create"]),
        default: |_| Some("refuse".into()),
        doc: "A good token of somebody who is no user: refuse it, or create the user without rights.",
    },
    Key {
        path: "auth.oidc.roles_claim",
        kind: Kind::Text,
        default: |_| Some("groups".into()),
        doc: "Claim with the groups of the user, a text or a list; a.b is b in a.",
    },
    Key {
        path: "auth.oidc.roles",
        kind: Kind::List,
        default: |_| Some(toml::Value::Array(Vec::new())),
        doc: "GROUP=ROLE: members of the group have the role for as long as the token says so.",
    },
    Key {
        path: "auth.oidc.clock_skew",
        kind: Kind::Duration,
        default: |_| Some("60s".into()),
        doc: "How much the clocks of issuer and server may differ; at most 10m.",
    },
    Key {
        path: "auth.oidc.ca",
        kind: Kind::Path,
        default: |_| None,
        doc: "PEM file with a further authority for the certificate of the issuer.",
    },
];
