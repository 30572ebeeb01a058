use std::{collections::BTreeSet, fs};

use super::*;

#[test]
fn every_file_of_the_demo_is_carried_along() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/demo");
    let carried: BTreeSet<String> = SETUP
        .iter()
        .chain(&TRANSFORMS)
        .chain(&QUESTIONS)
        .map(|(path, _)| (*path).to_owned())
        .collect();
    let mut there = BTreeSet::new();
    for folder in ["", "setup/", "questions/"] {
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
    for (name, text) in QUESTIONS {
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
