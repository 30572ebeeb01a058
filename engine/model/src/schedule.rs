//! When a transform refreshes by itself.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `SCHEDULE EVERY …` or `SCHEDULE CRON …`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// Every so many seconds, counted from when it was declared.
    Every {
        /// Seconds between two refreshes; at least 1.
        seconds: u64,
    },
    /// At the times that a cron text names.
    Cron {
        /// Five fields as in Unix; six with seconds in front, or seven with years behind, as in
        /// Quartz, where the days of the week are 1 (Sunday) to 7 (Saturday).
        expression: String,
        /// IANA name of the time zone, `UTC` when none was said.
        time_zone: String,
    },
}

/// A schedule that names no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The text is not a cron expression.
    #[error(
        "'{expression}' is not a cron expression: {why} (five fields: minute hour day-of-month month day-of-week; six or seven as in Quartz: seconds in front, years behind, weekdays 1 (Sunday) to 7 (Saturday))"
    )]
    Cron {
        /// What was written.
        expression: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such zone.
    #[error("time zone '{0}' is not known; write an IANA name such as 'Europe/Berlin'")]
    TimeZone(String),
    /// `EVERY 0 …` or more than 100 years.
    #[error("a schedule must be at least 1 second and at most 100 years apart")]
    Every,
}

const EVERY_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl Schedule {
    /// `EVERY` so many seconds.
    pub fn every(seconds: u64) -> Result<Self, ScheduleError> {
        if seconds == 0 || seconds > EVERY_MAX.as_secs() {
            return Err(ScheduleError::Every);
        }
        Ok(Self::Every { seconds })
    }

    /// `CRON` text in a zone. Errors name what is wrong with either.
    pub fn cron(expression: &str, time_zone: &str) -> Result<Self, ScheduleError> {
        parse_cron(expression)?;
        parse_zone(time_zone)?;
        Ok(Self::Cron { expression: expression.to_owned(), time_zone: time_zone.to_owned() })
    }

    /// The newest due time in `(after, now]`, or none. Missed times collapse into the newest one.
    ///
    /// Local times that a clock change skips fire at the change; times that occur twice fire once.
    pub fn due(
        &self,
        after: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, ScheduleError> {
        match self {
            Self::Every { seconds } => {
                let period = i64::try_from(*seconds).map_err(|_| ScheduleError::Every)? * 1_000_000;
                let passed = now.as_micros().saturating_sub(after.as_micros()).div_euclid(period);
                Ok((passed > 0)
                    .then(|| Timestamp::from_micros(after.as_micros() + passed * period)))
            }
            Self::Cron { expression, time_zone } => {
                let (cron, zone) = (parse_cron(expression)?, parse_zone(time_zone)?);
                let error = |e: croner::errors::CronError| ScheduleError::Cron {
                    expression: expression.clone(),
                    why: e.to_string(),
                };
                let now_local = now.to_utc().with_timezone(&zone);
                let newest = match cron.find_previous_occurrence(&now_local, true) {
                    Ok(time) => Timestamp::from(time.with_timezone(&Utc)),
                    Err(croner::errors::CronError::TimeSearchLimitExceeded) => return Ok(None),
                    Err(e) => return Err(error(e)),
                };
                Ok((newest > after).then_some(newest))
            }
        }
    }

    /// The first time after `after`, for people.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { seconds } => Some(after.plus(Duration::from_secs(*seconds))),
            Self::Cron { expression, time_zone } => {
                let (cron, zone) = (parse_cron(expression).ok()?, parse_zone(time_zone).ok()?);
                let local: DateTime<chrono_tz::Tz> = after.to_utc().with_timezone(&zone);
                let next = cron.find_next_occurrence(&local, false).ok()?;
                Some(Timestamp::from(next.with_timezone(&Utc)))
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { seconds } => {
                let units = [(604_800, "WEEK"), (86_400, "DAY"), (3_600, "HOUR"), (60, "MINUTE")];
                let unit = units.into_iter().find(|(size, _)| seconds % size == 0);
                let (size, word) = unit.unwrap_or((1, "SECOND"));
                let n = seconds / size;
                write!(f, "EVERY {n} {word}{}", if n == 1 { "" } else { "S" })
            }
            Self::Cron { expression, time_zone } => {
                write!(f, "CRON '{expression}' AT TIME ZONE '{time_zone}'")
            }
        }
    }
}

fn parse_cron(expression: &str) -> Result<croner::Cron, ScheduleError> {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional);
    let parsed = match fields.len() {
        6 | 7 => parser.alternative_weekdays(true).build().parse(&from_quartz(&fields)),
        _ => parser.build().parse(expression),
    };
    parsed
        .map_err(|e| ScheduleError::Cron { expression: expression.to_owned(), why: e.to_string() })
}

/// Where the month and the day of the week stand among six or seven fields.
const MONTH: usize = 4;
const DAY_OF_WEEK: usize = 5;
/// The least and the greatest value of each field of Quartz.
const BOUNDS: [(u16, u16); 7] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2099)];
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What only Quartz writes, in words that the parser knows: `n/m` from n on, ranges over the end of
/// their field such as `FRI-MON`, and `L` for the last day of the week. The rest stays as it is.
fn from_quartz(fields: &[&str]) -> String {
    let fields = fields.iter().zip(BOUNDS).enumerate().map(|(n, (field, bounds))| {
        let mut field = field.to_ascii_uppercase();
        let names: &[&str] = match n {
            MONTH => &MONTHS,
            DAY_OF_WEEK => &WEEKDAYS,
            _ => &[],
        };
        for (name, number) in names.iter().zip(1_u8..) {
            field = field.replace(name, &number.to_string());
        }
        let parts = field.split(',').map(|part| match part {
            "L" if n == DAY_OF_WEEK => bounds.1.to_string(),
            part => from_quartz_part(part, bounds),
        });
        parts.collect::<Vec<_>>().join(",")
    });
    fields.collect::<Vec<_>>().join(" ")
}

fn from_quartz_part(part: &str, (least, greatest): (u16, u16)) -> String {
    if let Some((from, step)) = part.split_once('/') {
        return match from.parse::<u16>() {
            Ok(from) => format!("{from}-{greatest}/{step}"),
            Err(_) if from.is_empty() => format!("*/{step}"),
            Err(_) => part.to_owned(),
        };
    }
    let range = part.split_once('-').map(|(from, to)| (from.parse::<u16>(), to.parse::<u16>()));
    match range {
        Some((Ok(from), Ok(to))) if from > to => format!("{from}-{greatest},{least}-{to}"),
        _ => part.to_owned(),
    }
}

fn parse_zone(time_zone: &str) -> Result<chrono_tz::Tz, ScheduleError> {
    time_zone.parse().map_err(|_| ScheduleError::TimeZone(time_zone.to_owned()))
}

#[cfg(test)]
mod tests;
