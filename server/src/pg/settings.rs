//! Settings of a session: what drivers set and ask for when they connect.
//!
//! A setting that is taken is either followed, or changes nothing that a client could see; one that
//! would be a lie is refused, or stays what it is and the client is told.

use std::{collections::BTreeMap, time::Duration};

use super::error::PgError;

/// The version of Postgres whose catalog and protocol clients may expect.
pub(super) const SERVER_VERSION: &str = "15.0";

/// Settings that nobody can change, with their values.
const FIXED: [(&str, &str); 19] = [
    ("block_size", "8192"),
    ("data_checksums", "on"),
    ("default_with_oids", "off"),
    ("hot_standby", "off"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("is_superuser", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("max_identifier_length", "255"),
    ("max_index_keys", "32"),
    ("server_encoding", "UTF8"),
    ("server_version_num", "150000"),
    ("ssl", "off"),
    ("wal_level", "replica"),
];

/// Settings that can be changed, with their defaults.
const CHANGEABLE: [(&str, &str); 36] = [
    ("application_name", ""),
    ("array_nulls", "on"),
    ("backslash_quote", "safe_encoding"),
    ("bytea_output", "hex"),
    ("check_function_bodies", "on"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("constraint_exclusion", "partition"),
    ("DateStyle", "ISO, MDY"),
    ("default_table_access_method", "delta"),
    ("default_tablespace", ""),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("enable_hashjoin", "on"),
    ("enable_mergejoin", "on"),
    ("enable_nestloop", "on"),
    ("enable_seqscan", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("geqo", "on"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("IntervalStyle", "postgres"),
    ("jit", "on"),
    ("lock_timeout", "0"),
    ("log_statement", "none"),
    ("max_parallel_workers_per_gather", "2"),
    ("row_security", "on"),
    ("search_path", "main"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronize_seqscans", "on"),
    ("synchronous_commit", "on"),
    ("TimeZone", "UTC"),
    ("work_mem", "4MB"),
    ("xmloption", "content"),
];

/// Settings that clients are told without asking, now and whenever they change.
pub(super) const REPORTED: [&str; 13] = [
    "server_version",
    "server_encoding",
    "client_encoding",
    "application_name",
    "default_transaction_read_only",
    "in_hot_standby",
    "is_superuser",
    "session_authorization",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
];

/// Whether there is such a setting.
pub(super) fn is_known(key: &str) -> bool {
    let of_the_session = [
        "server_version",
        "session_authorization",
        "transaction_isolation",
        "transaction_read_only",
    ];
    let mut all = FIXED.iter().chain(&CHANGEABLE).map(|(name, _)| *name).chain(of_the_session);
    all.any(|name| name.eq_ignore_ascii_case(key))
}

/// What a SET leaves to be done.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// The setting is one of [`REPORTED`], under this name.
    pub(super) report: Option<&'static str>,
    /// What the client has to know.
    pub(super) warning: Option<PgError>,
}

/// The settings of one session.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, String>,
    /// What RESET goes back to: what the client asked for at the start.
    at_start: BTreeMap<&'static str, String>,
    user: String,
    version: String,
    pub(super) schema: String,
    pub(super) read_only: bool,
    pub(super) statement_timeout: Option<Duration>,
}

impl Settings {
    pub(super) fn new(user: &str, version: &str) -> Self {
        let values: BTreeMap<_, _> =
            CHANGEABLE.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self {
            at_start: values.clone(),
            values,
            user: user.to_owned(),
            version: version.to_owned(),
            schema: model::name::DEFAULT_SCHEMA.to_owned(),
            read_only: false,
            statement_timeout: None,
        }
    }

    /// From now on RESET goes back to the values of now.
    pub(super) fn started(&mut self) {
        self.at_start = self.values.clone();
    }

    pub(super) fn get(&self, key: &str) -> Option<String> {
        let key = key.to_lowercase();
        match key.as_str() {
            "server_version" => {
                return Some(format!("{SERVER_VERSION} (Whimbrel {})", self.version));
            }
            "session_authorization" => return Some(self.user.clone()),
            "transaction_isolation" => return self.get("default_transaction_isolation"),
            "transaction_read_only" => return self.get("default_transaction_read_only"),
            _ => {}
        }
        let fixed = FIXED.iter().find(|(name, _)| *name == key);
        if let Some((_, value)) = fixed {
            return Some((*value).to_owned());
        }
        self.values
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&key))
            .map(|(_, value)| value.clone())
    }

    /// Every setting with its value, for `pg_settings`.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let names = FIXED.iter().map(|(name, _)| *name).chain(self.values.keys().copied());
        let names =
            names.chain(["server_version", "session_authorization", "transaction_isolation"]);
        let mut all: Vec<_> =
            names.filter_map(|name| Some((name.to_owned(), self.get(name)?))).collect();
        all.sort();
        all
    }

    pub(super) fn reset(&mut self, key: &str) -> Result<Changed, PgError> {
        let known = self.at_start.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        match known.map(|(name, value)| (*name, value.clone())) {
            Some((name, value)) => self.set(name, &split_list(name, &value)),
            None if is_known(key) => Err(fixed(key)),
            None => Err(unknown(key)),
        }
    }

    pub(super) fn reset_all(&mut self) -> Vec<&'static str> {
        let names: Vec<_> = self.at_start.keys().copied().collect();
        names
            .into_iter()
            .filter(|name| self.values.get(name) != self.at_start.get(name))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|name| self.reset(name).ok()?.report)
            .collect()
    }

    pub(super) fn set(&mut self, key: &str, values: &[String]) -> Result<Changed, PgError> {
        let key = match key.to_lowercase().as_str() {
            "transaction_isolation" => "default_transaction_isolation".to_owned(),
            "transaction_read_only" => "default_transaction_read_only".to_owned(),
            key => key.to_owned(),
        };
        let Some(name) = self.values.keys().copied().find(|name| name.eq_ignore_ascii_case(&key))
        else {
            return Err(if is_known(&key) { fixed(&key) } else { unknown(&key) });
        };
        let value = values.join(", ");
        let lower = value.to_lowercase();
        let only = |allowed: &[&str]| match allowed.contains(&lower.as_str()) {
            true => Ok(()),
            false => Err(PgError::unsupported(format!(
                "{name} cannot be '{value}' in this version; it can be: {}",
                allowed.join(", ")
            ))),
        };
        let mut changed = Changed::default();
        let mut kept = value.clone();
        match name {
            "client_encoding" => {
                let name = lower.trim_matches('\'');
                if !matches!(name, "utf8" | "utf-8" | "unicode") {
                    return Err(PgError::unsupported(format!(
                        "client_encoding cannot be '{value}' in this version; texts are UTF8"
                    )));
                }
                "UTF8".clone_into(&mut kept);
            }
            "DateStyle" => {
                if !lower.split(',').any(|word| word.trim() == "iso")
                    && !matches!(lower.as_str(), "mdy" | "dmy" | "ymd")
                {
                    return Err(PgError::unsupported(format!(
                        "DateStyle cannot be '{value}' in this version; dates are written as ISO"
                    )));
                }
                // The order of day and month says how to read what is not ISO, and nothing else is.
                "ISO, MDY".clone_into(&mut kept);
            }
            "IntervalStyle" => only(&["postgres"])?,
            "bytea_output" => only(&["hex"])?,
            "standard_conforming_strings" => only(&["on", "true", "1", "yes"])?,
            "default_transaction_isolation" => {
                only(&["read committed", "read uncommitted", "repeatable read"])?;
                kept = lower;
            }
            "default_transaction_read_only" => {
                self.read_only = truth(&lower).ok_or_else(|| no_truth(name, &value))?;
                kept = if self.read_only { "on" } else { "off" }.to_owned();
            }
            "TimeZone" => {
                const SAME: [&str; 10] = [
                    "utc",
                    "gmt",
                    "etc/utc",
                    "etc/gmt",
                    "zulu",
                    "gmt0",
                    "0",
                    "+00",
                    "+00:00",
                    "universal",
                ];
                if !SAME.contains(&lower.as_str()) {
                    changed.warning = Some(PgError::new(
                        "01000",
                        format!("times are read and shown in UTC, not in '{value}'"),
                    ));
                }
                "UTC".clone_into(&mut kept);
            }
            "statement_timeout" => {
                let timeout = milliseconds(&lower).ok_or_else(|| {
                    PgError::invalid(format!("'{value}' is no time; write for example '30s'"))
                })?;
                self.statement_timeout = (!timeout.is_zero()).then_some(timeout);
            }
            "search_path" => {
                self.schema = schema_of(values)?;
                kept = values.join(", ");
            }
            _ => {}
        }
        changed.report = REPORTED.into_iter().find(|reported| *reported == name);
        self.values.insert(name, kept);
        Ok(changed)
    }
}

/// The one schema of a path that names without a schema are looked up in.
fn schema_of(values: &[String]) -> Result<String, PgError> {
    const OWN: [&str; 4] = ["$user", "pg_catalog", "pg_temp", "information_schema"];
    let named: Vec<&str> = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().trim_matches('"'))
        .filter(|name| !name.is_empty() && !OWN.contains(name))
        .collect();
    match named.as_slice() {
        [] => Ok(model::name::DEFAULT_SCHEMA.to_owned()),
        [schema] => Ok((*schema).to_owned()),
        several => Err(PgError::unsupported(format!(
            "search_path cannot have {} schemas in this version",
            several.len()
        ))
        .with_hint("set one, and write other names with their schema: schema.table")),
    }
}

/// A value as SET would get it.
fn split_list(name: &str, value: &str) -> Vec<String> {
    match name {
        "search_path" => value.split(", ").map(ToOwned::to_owned).collect(),
        _ => vec![value.to_owned()],
    }
}

fn truth(word: &str) -> Option<bool> {
    match word {
        "on" | "true" | "t" | "yes" | "1" => Some(true),
        "off" | "false" | "f" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn no_truth(name: &str, value: &str) -> PgError {
    PgError::invalid(format!("{name} is on or off, not '{value}'"))
}

/// `5000`, `30s`, `5min`.
fn milliseconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let factor = match text[end..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(factor)?))
}

fn unknown(key: &str) -> PgError {
    PgError::new("42704", format!("there is no setting '{key}' of a session"))
        .with_hint("settings of the server are in its configuration")
}

fn fixed(key: &str) -> PgError {
    PgError::new("55P02", format!("the setting '{key}' cannot be changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("ada", "1.2.3")
    }

    fn set(settings: &mut Settings, key: &str, value: &str) -> Result<Changed, PgError> {
        settings.set(key, &[value.to_owned()])
    }

    #[test]
    fn what_is_set_is_shown_and_what_would_be_a_lie_is_refused() {
        let mut settings = settings();
        set(&mut settings, "datestyle", "ISO, DMY").unwrap();
        assert_eq!(settings.get("DATESTYLE").unwrap(), "ISO, MDY");
        let changed = set(&mut settings, "application_name", "psql").unwrap();
        assert_eq!(changed.report, Some("application_name"));
        let changed = set(&mut settings, "timezone", "Europe/Berlin").unwrap();
        assert!(changed.warning.is_some());
        assert_eq!(settings.get("TimeZone").unwrap(), "UTC");
        for (key, value) in [
            ("client_encoding", "LATIN1"),
            ("datestyle", "German"),
            ("standard_conforming_strings", "off"),
            ("default_transaction_isolation", "serializable"),
            ("statement_timeout", "soon"),
            ("server_version", "16"),
            ("no_such_setting", "1"),
        ] {
            assert!(set(&mut settings, key, value).is_err(), "{key}");
        }
        assert!(settings.get("server_version").unwrap().contains("Whimbrel 1.2.3"));
    }

    #[test]
    fn a_path_has_one_schema() {
        let mut settings = settings();
        let path = |settings: &mut Settings, values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
            settings.set("search_path", &values).map(|_| settings.schema.clone())
        };
        assert_eq!(path(&mut settings, &["$user", "sales", "pg_catalog"]).unwrap(), "sales");
        assert_eq!(path(&mut settings, &["\"$user\", sales"]).unwrap(), "sales");
        assert!(path(&mut settings, &["a", "b"]).is_err());
        settings.reset("search_path").unwrap();
        assert_eq!(settings.schema, "main");
    }

    #[test]
    fn times_have_units_and_reset_goes_back_to_the_start() {
        let mut settings = settings();
        set(&mut settings, "statement_timeout", "2min").unwrap();
        settings.started();
        set(&mut settings, "statement_timeout", "1500").unwrap();
        assert_eq!(settings.statement_timeout, Some(Duration::from_millis(1500)));
        settings.reset_all();
        assert_eq!(settings.statement_timeout, Some(Duration::from_secs(120)));
        set(&mut settings, "statement_timeout", "0").unwrap();
        assert_eq!(settings.statement_timeout, None);
    }
}
