use super::*;

fn job(object: &str, state: JobState) -> Job {
    Job {
        object: object.to_owned(),
        state: state.into(),
        started_at_us: Some(1_000_000),
        finished_at_us: Some(3_000_000),
        rows_read: 3_000_000,
        rows_written: 1_234,
        output_version: Some(4),
        ..Job::default()
    }
}

#[test]
fn the_table_shows_figures_only_for_what_was_computed() {
    let jobs = [job("gold.a", JobState::Succeeded), job("gold.b", JobState::SkippedNoChange)];
    let expected = "\
┌───────────┬───────────┬──────────────┬─────────┬───────────┬─────────┬───────────────────┐
│ transform │ rows read │ rows written │ seconds │    rows/s │ version │ state             │
├───────────┼───────────┼──────────────┼─────────┼───────────┼─────────┼───────────────────┤
│ gold.a    │ 3,000,000 │        1,234 │    2.00 │ 1,500,000 │       4 │ SUCCEEDED         │
│ gold.b    │         – │            – │       – │         – │       4 │ SKIPPED_NO_CHANGE │
└───────────┴───────────┴──────────────┴─────────┴───────────┴─────────┴───────────────────┘
";
    assert_eq!(job_table(&jobs), expected);
}

#[test]
fn failures_say_which_and_why() {
    let mut failed = job("gold.a", JobState::Failed);
    failed.error = Some("column 'x' does not exist".to_owned());
    let failures = job_failures(&[failed, job("gold.b", JobState::SkippedNoChange)]);
    assert_eq!(failures, ["gold.a is FAILED: column 'x' does not exist"]);
}

#[test]
fn numbers_are_grouped_by_three() {
    for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(n), text);
    }
}
