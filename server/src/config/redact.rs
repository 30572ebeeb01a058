//! Keeps secrets out of what is shown.

/// Stands where a secret was.
const HIDDEN: &str = "***";
/// A setting that is a secret as a whole.
const NOTIFY_SECRET: &str = "notify.secret";
/// A key with one of these in its name holds a secret.
const SECRET_WORDS: [&str; 7] =
    ["key", "secret", "token", "password", "sas", "credential", "connection_string"];
/// Parameters of URLs that hold a secret.
const SECRET_PARAMETERS: [&str; 6] = ["password", "sslpassword", "sig", "token", "secret", "key"];

/// Whether the value of the option `name` of an object store has to stay hidden.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The value that is shown for the key `path`.
pub(super) fn redact(path: &str, value: &str) -> String {
    let option = path.strip_prefix("lake.storage.");
    if path == NOTIFY_SECRET || option.is_some_and(is_secret) {
        HIDDEN.to_owned()
    } else {
        redact_url(value)
    }
}

/// The text with the password of a URL in it, and secret parameters behind it, hidden. Other texts
/// come back as they are.
#[must_use]
pub fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (before_query, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = match before_query.find('/') {
        // A password may hold a slash; then the last @ is what ends it.
        Some(at) if !before_query[at..].contains('@') => before_query.split_at(at),
        _ => match before_query.rsplit_once('@') {
            Some((user, after)) => {
                let end = user.len() + 1 + after.find('/').unwrap_or(after.len());
                before_query.split_at(end)
            }
            None => before_query.split_at(before_query.find('/').unwrap_or(before_query.len())),
        },
    };
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:{HIDDEN}@{host}"),
            None => format!("{user}@{host}"),
        },
        None => authority.to_owned(),
    };
    let query = query.map(redact_parameters).unwrap_or_default();
    format!("{scheme}://{authority}{path}{query}")
}

fn redact_parameters(query: &str) -> String {
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) => {
                format!("{name}={HIDDEN}")
            }
            _ => parameter.to_owned(),
        })
        .collect();
    format!("?{}", parameters.join("&"))
}
