//! SCHEDULE of a transform: from when it counts, and that it comes at all.

use model::{schedule::Schedule, time::Timestamp, transform::Transform};

use crate::error::QueryError;

/// From when a schedule counts that replaces what `before` has: one that is the same goes on, another
/// one knows no times before now. None stands for the creation of the transform.
pub(super) fn since(
    before: Option<&Transform>,
    schedule: Option<&Schedule>,
    now: Timestamp,
) -> Option<Timestamp> {
    let before = before?;
    match schedule? {
        schedule if before.schedule.as_ref() == Some(schedule) => before.schedule_since,
        _ => Some(now),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_counts_from_when_it_became_another() {
        let hourly = Schedule::every(3_600).unwrap();
        let daily = Schedule::every(86_400).unwrap();
        let (then, now) = (Timestamp::from_micros(1), Timestamp::from_micros(2));
        assert_eq!(since(None, Some(&hourly), now), None);
        let mut view = Transform::default();
        assert_eq!(since(Some(&view), None, now), None);
        assert_eq!(since(Some(&view), Some(&hourly), now), Some(now));
        view.schedule = Some(hourly.clone());
        assert_eq!(since(Some(&view), Some(&hourly), now), None);
        view.schedule_since = Some(then);
        assert_eq!(since(Some(&view), Some(&hourly), now), Some(then));
        assert_eq!(since(Some(&view), Some(&daily), now), Some(now));
    }
}
