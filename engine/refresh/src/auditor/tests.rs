use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

#[test]
fn a_share_of_the_views_is_due_each_day() {
    let hour = 3600;
    // (last, views, percent, now) -> due
    let cases = [
        (None, 10, 0, at(0), false),
        (None, 0, 100, at(0), false),
        (None, 10, 10, at(0), true),
        (Some(at(0)), 10, 10, at(23 * hour), false),
        (Some(at(0)), 10, 10, at(24 * hour), true),
        (Some(at(0)), 24, 100, at(hour - 1), false),
        (Some(at(0)), 24, 100, at(hour), true),
        (Some(at(0)), 24, 200, at(hour / 2), true),
        // It was audited in a future that did not come.
        (Some(at(hour)), 24, 100, at(0), true),
    ];
    for (last, views, percent, now, due) in cases {
        assert_eq!(is_due(last, views, percent, now), due, "{last:?} {views} {percent} {now}");
    }
}

#[test]
fn every_view_is_chosen_some_time() {
    let mut seen = [false; 5];
    for _ in 0..2000 {
        seen[chance(5)] = true;
    }
    assert_eq!(seen, [true; 5]);
    assert_eq!(chance(1), 0);
}
