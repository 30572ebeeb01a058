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
