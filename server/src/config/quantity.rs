//! Durations and sizes in the configuration.

use std::time::Duration;

pub(super) use model::quantity::parse_size;
pub use model::quantity::{format_size, parse_duration};

/// For serde: a duration from its text.
pub(super) fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// For serde: a duration from its text, `0` meaning none.
pub(super) fn limit<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    let limit = duration(from)?;
    Ok((!limit.is_zero()).then_some(limit))
}

/// For serde: a size from its text.
pub(super) fn size<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    parse_size(&text).map_err(serde::de::Error::custom)
}

/// For serde: a size from its text, as a length in memory.
pub(super) fn length<'de, D: serde::Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    usize::try_from(size(from)?).map_err(serde::de::Error::custom)
}
