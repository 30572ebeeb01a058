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
    /// Every so many seconds, counted from the creation of the transform.
    Every {
        /// Seconds between two refreshes; at least 1.
        seconds: u64,
    },
    /// At the times that a cron text names.
    Cron {
        /// Five fields, six with seconds in front, or seven with years behind.
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
        "'{expression}' is not a cron expression: {why} (five fields: minute hour day-of-month month day-of-week; a sixth in front for seconds)"
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
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Optional)
        .build()
        .parse(expression)
        .map_err(|e| ScheduleError::Cron { expression: expression.to_owned(), why: e.to_string() })
}

fn parse_zone(time_zone: &str) -> Result<chrono_tz::Tz, ScheduleError> {
    time_zone.parse().map_err(|_| ScheduleError::TimeZone(time_zone.to_owned()))
}

#[cfg(test)]
mod tests;
