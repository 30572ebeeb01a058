//! VALIDATE of tables with rows that others marked as deleted beside their files.

use std::fs;

use serde_json::{Value, json};

use super::{
    TestLake, create, labelled, numbers,
    reading::mark_deleted,
    validating::{commit_file, edit_commit, edit_stats, only_problem, problems, validate},
    write,
};
use crate::{Severity, WriteMode};

/// Four rows, of which the first two are marked; the statistics are those of all four.
async fn marked() -> (TestLake, String) {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a")), (2, None), (3, Some("c")), (4, None)]);
    write(&test.lake, &table, create(), rows).await.unwrap();
    mark_deleted(&test.path("t"), 1, &[0, 1]);
    (test, table)
}

fn vector_file(test: &TestLake) -> std::path::PathBuf {
    let files = fs::read_dir(test.path("t")).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "bin")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_files_with_marked_rows_have_to_hold_what_is_left() {
    type Edit = fn(&mut Value);
    let wide: [(Edit, &str); 10] = [
        (|_| {}, ""),
        (|s| s["minValues"]["n"] = 0.into(), ""),
        (|s| s["nullCount"]["label"] = 3.into(), ""),
        (|s| s["minValues"]["n"] = 4.into(), ": n: the log says that the lowest value is 4"),
        (|s| s["maxValues"]["n"] = 3.into(), ": n: the log says that the highest value is 3"),
        (|s| s["maxValues"]["label"] = "b".into(), ": label: the log says that the highest"),
        (|s| s["nullCount"]["label"] = 0.into(), ": label: the log says no NULLs, the data has 1"),
        (|s| s["nullCount"]["n"] = 4.into(), ": n: the log says only NULLs, the data has 2 values"),
        (|s| s["numRecords"] = 3.into(), "the log says 3 rows, the file has 4"),
        (|s| s["numRecords"] = Value::Null, "does not say how many it has"),
    ];
    for (edit, says) in wide {
        let (test, table) = marked().await;
        edit_stats(&commit_file(&test, 1), |stats| {
            stats["tightBounds"] = false.into();
            edit(stats);
        });
        if says.is_empty() {
            let findings = validate(&test.other(), &table).await;
            assert!(
                findings.iter().all(|finding| finding.severity == Severity::Ok),
                "{findings:#?}"
            );
            assert_eq!(findings[5].object, "row counts of 1 file, values of 1 of 1 file");
        } else {
            only_problem(&test.other(), &table, says).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_that_are_said_to_be_of_what_is_left_are_compared_with_it() {
    let (test, table) = marked().await;
    only_problem(&test.other(), &table, ": label: the log says 2 NULLs, the data has 1").await;
    edit_stats(&commit_file(&test, 1), |stats| {
        *stats = json!({ "numRecords": 4, "minValues": { "n": 3, "label": "c" },
            "maxValues": { "n": 4, "label": "c" }, "nullCount": { "n": 0, "label": 1 } });
    });
    let findings = validate(&test.other(), &table).await;
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_cannot_be_read_or_mark_nothing_are_named() {
    let not_tight = |test: &TestLake| {
        edit_stats(&commit_file(test, 1), |stats| stats["tightBounds"] = false.into());
    };
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..4)).await.unwrap();
    mark_deleted(&test.path("t"), 1, &[0, 9]);
    not_tight(&test);
    let says = "its deletion vector marks the row 9, the file has 4 rows";
    only_problem(&test.other(), &table, says).await;

    let (test, table) = marked().await;
    not_tight(&test);
    fs::write(test.path("t/deletion_vector_left_behind.bin"), b"12345").unwrap();
    let findings = validate(&test.other(), &table).await;
    let orphans: Vec<_> = findings.iter().filter(|f| f.severity != Severity::Ok).collect();
    assert_eq!(orphans.len(), 1, "{findings:#?}");
    assert_eq!(orphans[0].object, "deletion_vector_left_behind.bin");

    let vector = vector_file(&test);
    fs::remove_file(test.path("t/deletion_vector_left_behind.bin")).unwrap();
    let bytes = fs::read(&vector).unwrap();
    fs::write(&vector, vec![b'x'; bytes.len()]).unwrap();
    only_problem(&test.other(), &table, "its deletion vector cannot be read").await;
    fs::remove_file(&vector).unwrap();
    let found = problems(&test.other(), &table).await;
    let name = vector.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("error files {name}: it is not there")), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_the_log_itself_has_are_the_same_in_a_checkpoint() {
    let test = TestLake::new();
    let table = test.table("t");
    let properties = [("delta.checkpointInterval".to_owned(), "3".to_owned())];
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: properties.into(),
        schema: None,
    };
    write(&test.lake, &table, mode, numbers(0..4)).await.unwrap();
    mark_deleted(&test.path("t"), 1, &[0, 1]);
    let vector = vector_file(&test);
    let framed = fs::read(&vector).unwrap();
    edit_commit(&commit_file(&test, 1), |action| {
        if let Some(vector) = action.pointer_mut("/add/deletionVector") {
            let bytes = &framed[5..framed.len() - 4];
            *vector = json!({ "storageType": "i", "pathOrInlineDv": z85::encode(bytes),
                "sizeInBytes": bytes.len(), "cardinality": 2 });
        }
    });
    fs::remove_file(&vector).unwrap();
    edit_stats(&commit_file(&test, 1), |stats| stats["tightBounds"] = false.into());
    for n in 2..=3 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    while !test.path("t/_delta_log/_last_checkpoint").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let findings = validate(&test.other(), &table).await;
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    assert_eq!(findings[1].object, "1 checkpoint");
}
