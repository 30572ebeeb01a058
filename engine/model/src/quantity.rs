//! Durations and sizes as people write them: `30s`, `1.5GiB`.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];
const DURATIONS: [(&str, f64); 5] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];

/// Reads `250ms`, `30s`, `10m`, `1h`, `1d` or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("'{text}' is no duration; write for example 250ms, 30s, 10m or 1h");
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = split(text);
    let seconds = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?.1;
    let number: f64 = number.parse().map_err(|_| expected())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())
}

/// Reads `1048576`, `64MiB`, `1.5GB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || format!("'{text}' is no size; write for example 64MiB, 2GiB or 500MB");
    let (number, unit) = split(text.trim());
    if unit.is_empty() {
        return number.parse().map_err(|_| expected());
    }
    let unit = unit.to_ascii_lowercase();
    let bytes = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(expected)?.1;
    let number: f64 = number.parse().map_err(|_| expected())?;
    if !(number.is_finite() && number >= 0.0) {
        return Err(expected());
    }
    Ok((number * bytes as f64) as u64)
}

/// A duration for people, in the largest unit of which it is a whole number.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (name, unit) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        // Two minutes at least: 90s and 60s are plainer than 1.5m and 1m.
        if ms >= 2 * unit && ms.is_multiple_of(unit) || (unit == 1_000 && ms.is_multiple_of(unit)) {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

/// A size for people: exact when it is a whole number of a unit, else rounded to a tenth.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    for (name, unit) in [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
    {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
        if bytes >= unit {
            return format!("{:.1}{name}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes}B")
}

fn split(text: &str) -> (&str, &str) {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}
