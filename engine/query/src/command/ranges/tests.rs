use super::*;

fn text(text: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(text.to_owned()))
}

fn step(count: u32, unit: Option<StepUnit>) -> Option<Step> {
    Some(Step { count, unit })
}

fn days(from: &str, to: &str, by: Option<Step>) -> Result<Ranges, QueryError> {
    cut("day", &DataType::Date32, &text(from), &text(to), by)
}

#[test]
fn days_are_cut_without_a_gap_and_without_an_overlap() {
    let cut = days("2026-01-01", "2026-01-15", step(7, Some(StepUnit::Day))).unwrap();
    assert_eq!(cut.whole, "\"day\" >= DATE '2026-01-01' AND \"day\" <= DATE '2026-01-15'");
    assert_eq!(
        cut.ranges,
        [
            "\"day\" >= DATE '2026-01-01' AND \"day\" < DATE '2026-01-08'",
            "\"day\" >= DATE '2026-01-08' AND \"day\" < DATE '2026-01-15'",
            "\"day\" >= DATE '2026-01-15' AND \"day\" <= DATE '2026-01-15'",
        ]
    );
    let one = days("2026-01-01", "2026-01-15", None).unwrap();
    assert_eq!(one.ranges, [one.whole]);
    let one = days("2026-01-01", "2026-01-01", step(1, Some(StepUnit::Week))).unwrap();
    assert_eq!(one.ranges, [one.whole]);
}

#[test]
fn months_begin_on_the_same_day_where_they_have_it() {
    let cut = days("2026-01-31", "2026-04-30", step(1, Some(StepUnit::Month))).unwrap();
    let begin: Vec<_> = cut.ranges.iter().map(|range| &range[15..25]).collect();
    assert_eq!(begin, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]);
    let years = days("2024-02-29", "2026-12-31", step(1, Some(StepUnit::Year))).unwrap();
    let begin: Vec<_> = years.ranges.iter().map(|range| &range[15..25]).collect();
    assert_eq!(begin, ["2024-02-29", "2025-02-28", "2026-02-28"]);
}

#[test]
fn numbers_times_and_texts_are_cut_too() {
    let number = |n| ScalarValue::Int64(Some(n));
    let cut_numbers = cut("a\"b", &DataType::Int32, &number(-1), &number(4), step(3, None));
    let ranges = ["\"a\"\"b\" >= -1 AND \"a\"\"b\" < 2", "\"a\"\"b\" >= 2 AND \"a\"\"b\" <= 4"];
    assert_eq!(cut_numbers.unwrap().ranges, ranges);
    let greatest = number(i64::MAX);
    let end = cut("n", &DataType::Int64, &number(i64::MAX - 1), &greatest, step(9, None));
    assert_eq!(end.unwrap().ranges.len(), 1);

    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let (from, to) = (text("2026-01-01"), text("2026-01-01T02:30:00.5"));
    let hours = cut("at", &time, &from, &to, step(1, Some(StepUnit::Hour))).unwrap();
    assert_eq!(hours.ranges.len(), 3);
    let last = "\"at\" >= TIMESTAMP '2026-01-01T02:00:00.000000' AND \"at\" <= TIMESTAMP '2026-01-01T02:30:00.500000'";
    assert_eq!(hours.ranges[2], last);

    let texts = cut("g", &DataType::Utf8View, &text("a'"), &text("c"), None).unwrap();
    assert_eq!(texts.ranges, ["\"g\" >= 'a''' AND \"g\" <= 'c'"]);
}

#[test]
fn what_is_no_range_is_refused_by_name() {
    let day = Some(StepUnit::Day);
    for (error, expected) in [
        (days("2026-01-02", "2026-01-01", None), "greater than"),
        (days("2026-13-01", "2026-01-01", None), "no value of 'day'"),
        (days("2026-01-01", "2026-01-02", step(1, None)), "DAY, WEEK, MONTH or YEAR"),
        (
            days("2026-01-01", "2026-01-02", step(1, Some(StepUnit::Hour))),
            "DAY, WEEK, MONTH or YEAR",
        ),
        (days("2000-01-01", "2026-01-02", step(1, day)), "more than 1000 ranges"),
        (cut("n", &DataType::Int64, &text("a"), &text("b"), None), "no value of 'n'"),
        (
            cut("n", &DataType::Int64, &ScalarValue::Float64(Some(1.5)), &text("3"), None),
            "no value of 'n'",
        ),
        (cut("n", &DataType::Int64, &text("1"), &text("3"), step(1, day)), "no unit"),
        (cut("g", &DataType::Utf8, &text("a"), &text("b"), step(1, None)), "leave BY out"),
        (cut("b", &DataType::Boolean, &text("a"), &text("b"), None), "BACKFILL goes over days"),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
