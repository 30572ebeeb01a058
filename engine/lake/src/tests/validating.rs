use std::{fs, path::Path};

use datafusion::prelude::SessionContext;
use serde_json::Value;

use super::{
    TestLake, create, create_by, data_files, labelled, latest, numbers, read_numbers, replace,
    stage, write,
};
use crate::{Finding, Lake, Severity, Validate, WriteMode};

pub(super) async fn validate(lake: &Lake, table: &str) -> Vec<Finding> {
    let validate = Validate {
        location: table.to_owned(),
        task: SessionContext::new().task_ctx(),
        data_bytes_max: u64::MAX,
    };
    lake.validate(validate).await.unwrap()
}

/// What is worse than a notice, as `severity check object: problem`.
pub(super) async fn problems(lake: &Lake, table: &str) -> Vec<String> {
    let findings = validate(lake, table).await.into_iter();
    let bad = findings.filter(|finding| finding.severity >= Severity::Warning);
    bad.map(|finding| {
        assert!(!finding.advice.is_empty());
        let Finding { severity, check, object, problem, .. } = finding;
        format!("{} {check} {object}: {problem}", severity.as_str())
    })
    .collect()
}

/// Exactly one thing is wrong, and it is said so.
pub(super) async fn only_problem(lake: &Lake, table: &str, says: &str) {
    let problems = problems(lake, table).await;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains(says), "{problems:#?}");
}

pub(super) fn commit_file(test: &TestLake, version: i64) -> std::path::PathBuf {
    test.path(&format!("t/_delta_log/{version:020}.json"))
}

/// Rewrites the actions of a commit.
pub(super) fn edit_commit(path: &Path, mut edit: impl FnMut(&mut Value)) {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let mut action: Value = serde_json::from_str(line).unwrap();
        edit(&mut action);
        action.to_string()
    });
    fs::write(path, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

pub(super) fn edit_stats(path: &Path, edit: impl Fn(&mut Value)) {
    edit_commit(path, |action| {
        let Some(text) = action.pointer("/add/stats").and_then(Value::as_str) else { return };
        let mut stats: Value = serde_json::from_str(text).unwrap();
        edit(&mut stats);
        action["add"]["stats"] = Value::String(stats.to_string());
    });
}

/// Three versions of two columns.
async fn three_versions() -> (TestLake, String) {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), labelled(&[(1, Some("a")), (2, None)])).await.unwrap();
    for n in [3, 4] {
        write(&test.lake, &table, WriteMode::Append, labelled(&[(n, Some("x"))])).await.unwrap();
    }
    (test, table)
}

pub(super) async fn with_checkpoint() -> (TestLake, String) {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([0])).await.unwrap();
    for n in 1..=21 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    let pointer = test.path("t/_delta_log/_last_checkpoint");
    while !pointer.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    (test, table)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_table_has_one_ok_for_each_check() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a/b c")), (2, None), (3, Some("ü"))]);
    write(&test.lake, &table, create_by("label"), rows).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, labelled(&[(i64::MAX, Some("%20"))]))
        .await
        .unwrap();
    write(&test.lake, &table, replace(), labelled(&[(i64::MIN, Some(&"long ".repeat(100)))]))
        .await
        .unwrap();
    // What a statement is writing right now is no orphan.
    let staged =
        stage(&test.lake, &table, WriteMode::Append, labelled(&[(7, None)])).await.unwrap();
    let findings = validate(&test.lake, &table).await;
    let seen: Vec<_> =
        findings.iter().map(|f| (f.severity.as_str(), f.check, &*f.object)).collect();
    assert_eq!(
        seen,
        [
            ("ok", "log", "3 commits, versions 0 to 2"),
            ("ok", "checkpoints", "there is none"),
            ("ok", "files", "1 file"),
            ("ok", "orphans", "5 files, 4 of them only for older versions"),
            ("ok", "partitions", "the table is not partitioned"),
            ("ok", "statistics", "row counts of 1 file, values of 1 of 1 file"),
        ],
        "{findings:#?}"
    );
    drop(staged);
    let (test, table) = with_checkpoint().await;
    let findings = validate(&test.lake, &table).await;
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    assert_eq!(findings[1].object, "1 checkpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cleaned_up_is_healthy() {
    let (test, table) = with_checkpoint().await;
    for version in 0..20 {
        fs::remove_file(commit_file(&test, version)).unwrap();
    }
    let findings = validate(&test.other(), &table).await;
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    assert_eq!(findings[0].object, "2 commits, versions 20 to 21");
    assert!(findings[3].object.starts_with("22 files"), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_cut_off_or_missing_are_named() {
    let (test, table) = three_versions().await;
    let path = commit_file(&test, 1);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let problems_now = problems(&test.other(), &table).await;
    assert!(
        problems_now[0].starts_with("error log version 1: line 1 of the commit cannot be parsed")
            || problems_now[0]
                .starts_with("error log version 1: line 2 of the commit cannot be parsed"),
        "{problems_now:#?}"
    );
    fs::remove_file(&path).unwrap();
    let problems_now = problems(&test.other(), &table).await;
    assert_eq!(problems_now[0], "error log version 1: the commit is missing from the log");

    // With a checkpoint after it, only older versions suffer.
    let (test, table) = with_checkpoint().await;
    fs::remove_file(commit_file(&test, 7)).unwrap();
    only_problem(&test.other(), &table, "warning log version 7: the commit is missing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictions_in_the_log_are_named() {
    let (test, table) = three_versions().await;
    let twice = fs::read_to_string(commit_file(&test, 1)).unwrap();
    let add = twice.lines().find(|line| line.starts_with("{\"add\"")).unwrap();
    let later = commit_file(&test, 2);
    fs::write(&later, format!("{}\n{add}", fs::read_to_string(&later).unwrap())).unwrap();
    let found = problems(&test.other(), &table).await;
    assert!(found[0].starts_with("error log version 2: it adds the file"), "{found:#?}");
    assert!(found[0].ends_with("which was there already"), "{found:#?}");

    let (test, table) = three_versions().await;
    let later = commit_file(&test, 2);
    let remove = r#"{"remove":{"path":"no-such-file.parquet","dataChange":true}}"#;
    fs::write(&later, format!("{}\n{remove}", fs::read_to_string(&later).unwrap())).unwrap();
    let says =
        "warning log version 2: it removes the file 'no-such-file.parquet', which was not there";
    only_problem(&test.other(), &table, says).await;

    let (test, table) = three_versions().await;
    let first = commit_file(&test, 0);
    let text = fs::read_to_string(&first).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("{\"metaData\"")).collect();
    fs::write(&first, lines.join("\n")).unwrap();
    let found = problems(&test.other(), &table).await;
    assert!(found.iter().any(|p| p.contains("has the action 'metaData'")), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_changed_files_are_named() {
    let (test, table) = three_versions().await;
    let files = data_files(&test.path("t"));
    fs::remove_file(&files[0]).unwrap();
    only_problem(&test.lake, &table, "it is not there").await;
    let bytes = fs::read(&files[1]).unwrap();
    fs::write(&files[1], &bytes[..bytes.len() - 10]).unwrap();
    let found = problems(&test.lake, &table).await;
    let name = files[1].file_name().unwrap().to_string_lossy().into_owned();
    assert!(
        found.iter().any(|p| p.contains(&name) && p.contains("but the log says")),
        "{found:#?}"
    );
    assert!(found.iter().any(|p| p.starts_with("error statistics") && p.contains("as Parquet")));
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_named_with_their_bytes() {
    let (test, table) = three_versions().await;
    fs::write(test.path("t/left-behind.parquet"), b"12345").unwrap();
    fs::write(test.path("t/_hidden"), b"12345").unwrap();
    let findings = validate(&test.lake, &table).await;
    let orphans: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Notice).collect();
    assert_eq!(orphans.len(), 1, "{findings:#?}");
    assert_eq!((orphans[0].check, orphans[0].object.as_str()), ("orphans", "left-behind.parquet"));
    assert!(orphans[0].problem.contains("5 bytes"));
    assert!(test.path("t/left-behind.parquet").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_that_are_not_so_are_named() {
    for (edit, says) in [
        ((|s| s["numRecords"] = 7.into()) as fn(&mut Value), "the log says 7 rows, the file has 2"),
        (|s| s["minValues"]["n"] = 2.into(), ": n: the log says that the lowest value is 2"),
        (|s| s["maxValues"]["n"] = 1.into(), ": n: the log says that the highest value is 1"),
        (|s| s["nullCount"]["label"] = 0.into(), ": label: the log says 0 NULLs, the data has 1"),
        (|s| s["minValues"]["label"] = "b".into(), ": label: the log says that the lowest value"),
        (|s| s["maxValues"]["label"] = "A".into(), ": label: the log says that the highest value"),
        (|s| s["minValues"]["n"] = "x".into(), "the lowest value in the log, \"x\", is no Int64"),
    ] {
        let (test, table) = three_versions().await;
        edit_stats(&commit_file(&test, 0), edit);
        only_problem(&test.other(), &table, says).await;
    }
    // Wider than needed costs, but nothing is wrong.
    let (test, table) = three_versions().await;
    edit_stats(&commit_file(&test, 0), |stats| stats["maxValues"]["n"] = 100.into());
    let findings = validate(&test.other(), &table).await;
    let worst = findings.iter().max_by_key(|finding| finding.severity).unwrap();
    assert_eq!((worst.severity, worst.check), (Severity::Notice, "statistics"), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_not_so_is_named() {
    // Version 20 of another table with fewer files.
    let (test, table) = with_checkpoint().await;
    let (liar, _) = with_checkpoint().await;
    let name = format!("t/_delta_log/{:020}.checkpoint.parquet", 20);
    let own = fs::read(test.path(&name)).unwrap();
    fs::copy(liar.path(&name), test.path(&name)).unwrap();
    let found = problems(&test.other(), &table).await;
    assert!(
        found.iter().any(|p| p.contains("it lacks the files of that version: 21 files")),
        "{found:#?}"
    );
    assert!(found.iter().any(|p| p.starts_with("error log version 21: readers see")), "{found:#?}");

    fs::write(test.path(&name), &own[..own.len() / 2]).unwrap();
    let found = problems(&test.other(), &table).await;
    assert!(
        found.iter().any(|p| p.starts_with("error checkpoints checkpoint of version 20: it cannot be read")),
        "{found:#?}"
    );
    fs::remove_file(test.path(&name)).unwrap();
    let found = problems(&test.other(), &table).await;
    assert!(
        found.iter().any(|p| p.contains("checkpoint of version 20, which is not there")),
        "{found:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_leads_nowhere_is_named_and_costs_no_rows() {
    for (hint, says) in [
        (r#"{"version":99,"size":1}"#, "it names version 99, but the newest is 21"),
        (r#"{"version":21,"size":1}"#, "it names the checkpoint of version 21, which is not there"),
        (r#"{"size":1}"#, "it names no version"),
        ("{", "it cannot be parsed"),
    ] {
        let (test, table) = with_checkpoint().await;
        fs::write(test.path("t/_delta_log/_last_checkpoint"), hint).unwrap();
        only_problem(&test.other(), &table, says).await;
        let now = latest(&test.other(), &table).await;
        assert_eq!(read_numbers(&now).await, (0..=21).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_values_are_compared_with_folders_and_types() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a")), (2, Some("b c"))]);
    write(&test.lake, &table, create_by("n"), rows).await.unwrap();
    assert_eq!(problems(&test.lake, &table).await, [""; 0]);
    edit_commit(&commit_file(&test, 0), |action| {
        if action.pointer("/add/partitionValues/n").is_some_and(|n| n == "1") {
            action["add"]["partitionValues"]["n"] = "3".into();
        }
    });
    only_problem(&test.other(), &table, "its folder says n=1, but the log says '3'").await;
    assert_eq!(latest(&test.other(), &table).await.version(), 0);
}
