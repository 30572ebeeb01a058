//! What a token claims, and whether that is about us and now.

use std::{collections::BTreeSet, time::Duration};

use model::time::Timestamp;
use serde_json::{Map, Value};

use super::{OidcOptions, TokenError};

/// Bytes of the name of a user.
const NAME_MAX: usize = 255;

/// The claims of a token whose signature is good, checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) name: String,
    /// The roles of the catalog that the configuration gives for what the token claims.
    pub(super) roles: BTreeSet<String>,
    /// When the token ends, with the tolerance for clocks that differ.
    pub(super) ends_at: Timestamp,
}

impl Claims {
    pub(super) fn check(
        payload: &[u8],
        options: &OidcOptions,
        now: Timestamp,
    ) -> Result<Self, TokenError> {
        let claims: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|_| TokenError::Unreadable("its claims are no JSON object"))?;
        if claims.get("iss").and_then(Value::as_str) != Some(options.issuer.as_str()) {
            return Err(TokenError::Issuer);
        }
        let is_ours = |audience: &str| options.audience.iter().any(|ours| ours == audience);
        if !texts(claims.get("aud")).into_iter().any(is_ours) {
            return Err(TokenError::Audience);
        }
        let skew = options.clock_skew;
        let expires = time(&claims, "exp")?.ok_or_else(|| TokenError::Claim("exp".to_owned()))?;
        let ends_at = expires.plus(skew);
        if ends_at <= now {
            return Err(TokenError::Expired);
        }
        for claim in ["nbf", "iat"] {
            if time(&claims, claim)?.is_some_and(|from| now.plus(skew) < from) {
                return Err(TokenError::TooEarly);
            }
        }
        let name = find(&claims, &options.name_claim).and_then(Value::as_str);
        let name = name.filter(|name| is_name(name));
        let name = name.ok_or_else(|| TokenError::Claim(options.name_claim.clone()))?;
        // An address that nobody has proven to be theirs names nobody.
        if options.name_claim == "email"
            && claims.get("email_verified").is_some_and(|verified| !is_true(verified))
        {
            return Err(TokenError::Claim("email_verified".to_owned()));
        }
        Ok(Self { name: name.to_owned(), roles: roles(&claims, options), ends_at })
    }
}

fn roles(claims: &Map<String, Value>, options: &OidcOptions) -> BTreeSet<String> {
    let claimed = texts(find(claims, &options.roles_claim));
    let given = options.roles.iter().filter(|(group, _)| claimed.contains(&group.as_str()));
    given.map(|(_, role)| role.clone()).collect()
}

/// A claim by its name or, when there is none of that name, by its path: `realm_access.roles`.
fn find<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.')?;
    find(claims.get(first)?.as_object()?, rest)
}

/// A text, or each text of a list.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Some issuers write it as a text.
fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str() == Some("true")
}

/// A time in seconds since 1970, if the claim is there.
fn time(claims: &Map<String, Value>, claim: &str) -> Result<Option<Timestamp>, TokenError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or_else(|| TokenError::Claim(claim.to_owned()))?;
    // A time beyond all clocks is as good as the last one.
    let since = Duration::try_from_secs_f64(seconds.min(1e12)).unwrap_or_default();
    Ok(Some(Timestamp::from_micros(0).plus(since)))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name.trim() == name
        && !name.chars().any(char::is_control)
}
