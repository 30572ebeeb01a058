//! SCHEDULE of a transform: that it comes at all.

use model::{schedule::Schedule, time::Timestamp};

use crate::error::QueryError;

/// Refuses a schedule that has no time after now.
pub(super) fn check(schedule: Option<&Schedule>, now: Timestamp) -> Result<(), QueryError> {
    match schedule {
        Some(schedule) if schedule.next(now).is_none() => Err(QueryError::Invalid(format!(
            "SCHEDULE {schedule} never comes: no day from now on has its month, its days and its year; \
             write one that does, or leave SCHEDULE out"
        ))),
        _ => Ok(()),
    }
}
