use std::{collections::BTreeSet, fs};

use super::*;

#[test]
fn every_file_of_the_demo_is_carried_along() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/demo");
    let carried: BTreeSet<String> = SETUP
        .iter()
        .chain(&files::MONTH)
        .chain(&TRANSFORMS)
        .chain(&LOOKS)
        .chain(&QUESTIONS)
        .map(|(path, _)| (*path).to_owned())
        .collect();
    let mut there = BTreeSet::new();
    for folder in ["", "setup/", "looks/", "questions/"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".sql") {
                there.insert(format!("{folder}{name}"));
            }
        }
    }
    assert_eq!(carried, there);
}

#[test]
fn data_is_written_once_and_mended_when_it_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let data = write_data(folder.path()).unwrap();
    let flights = data.join("flights.parquet");
    let length = fs::metadata(&flights).unwrap().len();
    assert!(length > 1_000_000);
    let written_at = fs::metadata(&flights).unwrap().modified().unwrap();
    write_data(folder.path()).unwrap();
    assert_eq!(fs::metadata(&flights).unwrap().modified().unwrap(), written_at);
    fs::write(&flights, b"half").unwrap();
    write_data(folder.path()).unwrap();
    assert_eq!(fs::metadata(&flights).unwrap().len(), length);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 2);
}

#[test]
fn questions_have_words_and_one_statement() {
    for &(name, text) in LOOKS.iter().chain(&QUESTIONS) {
        let (question, sql) = question(text);
        assert!(question.ends_with('?'), "{name}: {question}");
        assert!(sql.contains("SELECT") && split(text).len() == 1, "{name}");
    }
}

#[test]
fn labels_are_the_first_words() {
    let cases = [
        ("CREATE SCHEMA IF NOT EXISTS raw COMMENT 'x'", "CREATE SCHEMA raw"),
        (
            "-- note\nCREATE TABLE IF NOT EXISTS raw.flights\nAS SELECT 1",
            "CREATE TABLE raw.flights",
        ),
        ("INSERT INTO raw.flights\nSELECT date", "INSERT INTO raw.flights"),
        ("CREATE TABLE IF NOT EXISTS a.t (\n  month DATE)", "CREATE TABLE a.t"),
        ("CREATE EXTERNAL TABLE t USING PARQUET LOCATION 'x'", "CREATE EXTERNAL TABLE t"),
    ];
    for (sql, expected) in cases {
        assert_eq!(label(sql), expected);
    }
}

#[test]
fn the_job_that_computed_tells_the_story() {
    let job = |object: &str, state: JobState| Job {
        object: object.to_owned(),
        state: state.into(),
        ..Job::default()
    };
    let jobs = vec![
        job("a", JobState::Succeeded),
        job("b", JobState::SkippedNoChange),
        job("a", JobState::SkippedNoChange),
        job("b", JobState::Succeeded),
        job("c", JobState::Succeeded),
        job("c", JobState::Failed),
    ];
    let kept: Vec<_> =
        one_per_object(jobs).iter().map(|job| (job.object.clone(), job.state())).collect();
    let expected = [
        ("a".to_owned(), JobState::Succeeded),
        ("b".to_owned(), JobState::Succeeded),
        ("c".to_owned(), JobState::Failed),
    ];
    assert_eq!(kept, expected);
}

#[test]
fn months_follow_each_other_and_leave_no_word_open() {
    let months: Vec<_> = months::AT_FIRST.iter().chain([&months::AT_LAST]).collect();
    for (before, after) in months.iter().zip(&months[1..]) {
        let begins = format!("date >= TIMESTAMP '{} 00:00:00'", after.first());
        assert!(after.script().contains(&begins), "{}", after.name);
        assert!(before.script().contains(&begins.replace(">=", "<")), "{}", before.name);
    }
    for month in months {
        assert!(!month.script().lines().any(|line| line.contains('{')), "{}", month.script());
        assert_eq!(split(&month.script()).len(), 2);
    }
}

#[test]
fn a_line_says_how_many_refreshes_were_incremental() {
    let job = |object: &str, state: JobState| Job {
        id: object.to_owned(),
        object: object.to_owned(),
        state: state.into(),
        rows_read: 1_234,
        ..Job::default()
    };
    let jobs = [
        job("a", JobState::Succeeded),
        job("b", JobState::Succeeded),
        job("c", JobState::SkippedNoChange),
    ];
    let done = |strategy: &str, reason: &str, kept_out| table::How {
        strategy: Some(strategy.to_owned()),
        reason: reason.to_owned(),
        kept_out,
    };
    let how = [
        ("a".to_owned(), done("APPEND", "NEW_ROWS", 7)),
        ("b".to_owned(), done("FULL", "GLOBAL_WINDOW", 0)),
        ("c".to_owned(), table::How::default()),
    ];
    let how = how.into_iter().collect();
    assert_eq!(
        table::told_of_strategies(&jobs, &how).unwrap(),
        "1 of 2 refreshes were incremental; in full: b (GLOBAL_WINDOW)."
    );
    let first = [("a".to_owned(), done("FULL", "FIRST_RUN", 0))].into_iter().collect();
    assert_eq!(table::told_of_strategies(&jobs, &first), None);
    let text = table::rendered(&jobs, &how);
    let line = |of: &str| text.lines().find(|line| line.starts_with(&format!("│ {of} "))).unwrap();
    assert!(line("a").contains("APPEND") && line("a").contains("1,234") && line("a").contains("7"));
    assert!(line("c").contains('–') && !line("c").contains("1,234"), "{text}");
}
