use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from(text.parse::<DateTime<Utc>>().unwrap())
}

#[test]
fn missed_times_collapse_into_the_newest() {
    let hourly = Schedule::every(3600).unwrap();
    let due = hourly.due(at("2026-01-01T00:00:00Z"), at("2026-01-01T05:10:00Z")).unwrap();
    assert_eq!(due, Some(at("2026-01-01T05:00:00Z")));
    assert_eq!(hourly.due(at("2026-01-01T05:00:00Z"), at("2026-01-01T05:59:59Z")).unwrap(), None);
}

#[test]
fn cron_follows_its_time_zone_through_a_clock_change() {
    let daily = Schedule::cron("30 8 * * *", "Europe/Berlin").unwrap();
    let winter = daily.due(at("2026-03-27T12:00:00Z"), at("2026-03-28T12:00:00Z")).unwrap();
    assert_eq!(winter, Some(at("2026-03-28T07:30:00Z")));
    let summer = daily.due(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z")).unwrap();
    assert_eq!(summer, Some(at("2026-03-29T06:30:00Z")));
}

#[test]
fn cron_takes_five_six_and_seven_fields() {
    for text in ["0 15 * * *", "0 0 15 * * *", "0 0 15 * * * 2030"] {
        Schedule::cron(text, "UTC").unwrap();
    }
    let error = Schedule::cron("61 * * * *", "UTC").unwrap_err().to_string();
    assert!(error.contains("'61 * * * *' is not a cron expression"), "{error}");
    assert!(matches!(Schedule::cron("* * * * *", "Mars/Olympus"), Err(ScheduleError::TimeZone(_))));
}

#[test]
fn a_schedule_reads_back_as_it_was_written() {
    assert_eq!(Schedule::every(7200).unwrap().to_string(), "EVERY 2 HOURS");
    assert_eq!(Schedule::every(604_800).unwrap().to_string(), "EVERY 1 WEEK");
    assert_eq!(
        Schedule::cron("0 15 * * *", "UTC").unwrap().to_string(),
        "CRON '0 15 * * *' AT TIME ZONE 'UTC'"
    );
}

/// The first time of a cron text after a moment on a Saturday.
fn next(text: &str) -> Option<Timestamp> {
    Schedule::cron(text, "UTC").unwrap().next(at("2026-11-28T12:00:00Z"))
}

#[test]
fn six_and_seven_fields_are_those_of_quartz() {
    let cases = [
        ("0 0 9 ? * 2", "2026-11-30T09:00:00Z"),
        ("0 0 9 ? * 7", "2026-12-05T09:00:00Z"),
        ("0 0 9 ? * 1 *", "2026-11-29T09:00:00Z"),
        ("0 0 9 ? * MON-FRI", "2026-11-30T09:00:00Z"),
        ("0 0 9 ? * 6#3 *", "2026-12-18T09:00:00Z"),
        ("0 0 9 ? * FRI#3 *", "2026-12-18T09:00:00Z"),
        ("0 0 9 ? * 6L", "2026-12-25T09:00:00Z"),
        ("0 0 9 ? * L", "2026-12-05T09:00:00Z"),
        ("0 0 9 ? * SAT-SUN", "2026-11-29T09:00:00Z"),
        ("0 0 9 ? * FRI-MON", "2026-11-29T09:00:00Z"),
        ("0 0 9 ? * TUE-WED,SUN-MON", "2026-11-29T09:00:00Z"),
        ("0 0/15 * * * ?", "2026-11-28T12:15:00Z"),
        ("0 5/15 * * * ?", "2026-11-28T12:05:00Z"),
        ("30/10 * * * * ?", "2026-11-28T12:00:30Z"),
        ("0 /20 * * * ?", "2026-11-28T12:20:00Z"),
        ("0 1,0/40 * * * ?", "2026-11-28T12:01:00Z"),
        ("0 0 22-2 * * ?", "2026-11-28T22:00:00Z"),
        ("0 0 6 15/5 * ?", "2026-11-30T06:00:00Z"),
        ("0 0 6 1 JAN/6 ?", "2027-01-01T06:00:00Z"),
        ("0 0 6 1 NOV-FEB ?", "2026-12-01T06:00:00Z"),
        ("0 0 6 ? * MON/3", "2026-11-30T06:00:00Z"),
        ("0 0 6 L * ?", "2026-11-30T06:00:00Z"),
        ("0 0 0 1 1 ? 2030/2", "2030-01-01T00:00:00Z"),
    ];
    for (text, expected) in cases {
        assert_eq!(next(text), Some(at(expected)), "{text}");
    }
}

#[test]
fn five_fields_are_those_of_unix() {
    let cases = [
        ("0 9 * * 1", "2026-11-30T09:00:00Z"),
        ("0 9 * * 0", "2026-11-29T09:00:00Z"),
        ("0 9 * * 7", "2026-11-29T09:00:00Z"),
        ("0 9 * * SAT-SUN", "2026-11-29T09:00:00Z"),
        ("*/15 * * * *", "2026-11-28T12:15:00Z"),
    ];
    for (text, expected) in cases {
        assert_eq!(next(text), Some(at(expected)), "{text}");
    }
    Schedule::cron("0/15 * * * *", "UTC").unwrap_err();
}

#[test]
fn a_weekday_that_quartz_does_not_have_is_refused_with_those_that_it_has() {
    for text in ["0 0 9 ? * 0", "0 0 9 ? * 8", "0 0 9 ? * 0-3"] {
        let error = Schedule::cron(text, "UTC").unwrap_err().to_string();
        assert!(error.contains("1 (Sunday) to 7 (Saturday)"), "{error}");
    }
}

#[test]
fn a_time_that_never_comes_has_no_next() {
    for text in ["0 0 0 30 2 ?", "0 0 0 1 1 ? 2020", "0 0 30 2 *"] {
        assert_eq!(next(text), None, "{text}");
    }
}
