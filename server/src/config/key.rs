//! Keys: the name, kind, default and meaning of each setting.

use toml::Value;

use super::{
    machine::Machine,
    quantity::{parse_duration, parse_size},
};

/// One setting that exists.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its full name, for example `server.flight_addr`.
    pub path: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The value when nobody gives one; none where the setting is then off.
    pub default: fn(&Facts) -> Option<Value>,
    /// One sentence for people.
    pub doc: &'static str,
}

/// What defaults are computed from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The data folder, absolute.
    pub data_dir: String,
    /// The machine.
    pub machine: Machine,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text but an empty one.
    Text,
    /// A file or folder.
    Path,
    /// `host:port`.
    Address,
    /// A whole number of at least this.
    Count(i64),
    /// `30s`.
    Duration,
    /// `64MiB`.
    Size,
    /// `64MiB`, or a share of the memory that there is: `50%`.
    Memory,
    /// A list of texts; separated by commas where there is only text.
    List,
    /// Keys of its own, with text values.
    Table,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl Key {
    /// Whether the full name `path` is this key, or one inside this table.
    pub(super) fn owns(&self, path: &str) -> bool {
        match path.strip_prefix(self.path) {
            Some("") => self.kind != Kind::Table,
            Some(rest) => self.kind == Kind::Table && rest.len() > 1 && rest.starts_with('.'),
            None => false,
        }
    }
}

impl Kind {
    /// The value as the typed sections read it, or what is wrong with it.
    pub(super) fn normalise(self, value: &Value, facts: &Facts) -> Result<Value, String> {
        match self {
            Self::Text => Ok(text(value)?.into()),
            Self::Path => absolute(&text(value)?),
            Self::Address => address(text(value)?),
            Self::Count(least) => count(value, least),
            Self::Duration => {
                let text = text(value)?;
                parse_duration(&text)?;
                Ok(text.into())
            }
            Self::Size => {
                let text = text(value)?;
                parse_size(&text)?;
                Ok(text.into())
            }
            Self::Memory => memory(text(value)?, facts.machine.memory),
            Self::List => list(value),
            // An empty value is a fair one for an option of a store.
            Self::Table => scalar(value).map(Value::from),
            Self::Choice(words) => choice(text(value)?, words),
        }
    }
}

/// The known key that is most like `path`.
pub(super) fn nearest<'a>(keys: &'a [Key], path: &str) -> &'a str {
    let (_, last) = path.rsplit_once('.').unwrap_or(("", path));
    let likeness = |key: &Key| {
        let (_, key_last) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        // Whoever forgets the section still means the key.
        strsim::normalized_damerau_levenshtein(key.path, path)
            .max(strsim::normalized_damerau_levenshtein(key_last, last) * 0.95)
    };
    keys.iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .map_or("data_dir", |key| key.path)
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(word) => Ok(word.to_string()),
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => {
            Err(format!("expected a text, found {}", value.type_str()))
        }
    }
}

fn text(value: &Value) -> Result<String, String> {
    let text = scalar(value)?;
    if text.trim().is_empty() {
        Err("expected a value, found an empty text".to_owned())
    } else {
        Ok(text)
    }
}

fn absolute(text: &str) -> Result<Value, String> {
    let path = std::path::absolute(text)
        .map_err(|error| format!("'{text}' is no usable path: {error}"))?;
    Ok(path.to_string_lossy().into_owned().into())
}

fn address(text: String) -> Result<Value, String> {
    let valid = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid {
        Ok(text.into())
    } else {
        Err(format!("'{text}' is no address; write HOST:PORT, for example 127.0.0.1:32010"))
    }
}

fn count(value: &Value, least: i64) -> Result<Value, String> {
    let text = text(value)?;
    let number = text.trim().replace('_', "").parse::<i64>();
    match number {
        Ok(number) if number >= least => Ok(number.into()),
        Ok(number) => Err(format!("{number} is too small; the least is {least}")),
        Err(_) => Err(format!("'{text}' is no whole number")),
    }
}

fn memory(text: String, of: u64) -> Result<Value, String> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        parse_size(&text)?;
        return Ok(text.into());
    };
    match percent.trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(share(of, percent).into()),
        _ => Err(format!("'{text}' is no share of the memory; write for example 50% or 4GiB")),
    }
}

/// So many per cent of the memory, in whole MiB.
pub(super) fn share(of: u64, percent: f64) -> String {
    let bytes = (of as f64 * percent / 100.0) as u64;
    format!("{}MiB", (bytes >> 20).max(1))
}

fn list(value: &Value) -> Result<Value, String> {
    let items: Vec<Value> = match value {
        Value::Array(items) => {
            items.iter().map(|item| scalar(item).map(Value::from)).collect::<Result<_, _>>()?
        }
        other => scalar(other)?
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(Value::from)
            .collect(),
    };
    Ok(Value::Array(items))
}

fn choice(text: String, words: &[&str]) -> Result<Value, String> {
    let word = text.to_ascii_lowercase();
    if words.contains(&word.as_str()) {
        Ok(word.into())
    } else {
        Err(format!("'{text}' is none of {}", words.join(", ")))
    }
}
