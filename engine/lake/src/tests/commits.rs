use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use model::code::Code;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    TestLake, create, data_files, labelled, latest, numbers, open, read_numbers,
    recorder::Requests, replace, stage, validating::validate, write,
};
use crate::{At, CommitInfo, Finding, LakeError, Severity, Txn, WriteMode, stores::Wrap};

fn txn(version: i64) -> CommitInfo {
    CommitInfo {
        txn: Some(Txn { app_id: "whimbrel:view".to_owned(), version }),
        sources: vec![Txn { app_id: "whimbrel:view:src:orders".to_owned(), version: 40 + version }],
        operation_metadata: json!({ "run": "r1" }).as_object().unwrap().clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_transaction_is_committed_once() {
    let test = TestLake::new();
    let (table, zombie) = (test.table("t"), test.other());
    assert_eq!(test.lake.txn_version(&table, "whimbrel:view").await.unwrap(), None);
    let first = stage(&test.lake, &table, replace(), numbers([1])).await.unwrap();
    test.lake.commit(first, txn(1)).await.unwrap();
    // Both work on run 2; whoever commits second must change nothing.
    let ours = stage(&test.lake, &table, replace(), numbers([2])).await.unwrap();
    let theirs = stage(&zombie, &table, replace(), numbers([666])).await.unwrap();
    test.lake.commit(ours, txn(2)).await.unwrap();
    let error = zombie.commit(theirs, txn(2)).await.unwrap_err();
    assert!(matches!(error, LakeError::AlreadyApplied { version: 2, .. }), "{error}");
    let late = stage(&zombie, &table, WriteMode::Append, numbers([666])).await.unwrap();
    let error = zombie.commit(late, txn(1)).await.unwrap_err();
    assert!(matches!(error, LakeError::AlreadyApplied { version: 2, .. }), "{error}");
    for lake in [&test.lake, &zombie] {
        assert_eq!(lake.txn_version(&table, "whimbrel:view").await.unwrap(), Some(2));
        assert_eq!(lake.txn_version(&table, "whimbrel:view:src:orders").await.unwrap(), Some(42));
        assert_eq!(read_numbers(&latest(lake, &table).await).await, [2]);
    }
    assert_eq!(data_files(&test.path("t")).len(), 2, "files of the refused commits are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_survive_a_checkpoint() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([0])).await.unwrap();
    let staged = stage(&test.lake, &table, WriteMode::Append, numbers([1])).await.unwrap();
    test.lake.commit(staged, txn(7)).await.unwrap();
    for n in 2..=22 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    let checkpoint = test.path("t/_delta_log/_last_checkpoint");
    while !checkpoint.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for version in 0..20 {
        fs::remove_file(test.path(&format!("t/_delta_log/{version:020}.json"))).unwrap();
    }
    let other = test.other();
    assert_eq!(other.txn_version(&table, "whimbrel:view").await.unwrap(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_appends_of_each_of_two_processes_lose_nothing() {
    const EACH: i64 = 1_000;
    // The others bring no row: what is counted are commits, and files would make each of them slower.
    const ROW_EVERY: i64 = 25;
    let folder = TempDir::new().unwrap();
    // A disk is no part of this, and takes most of the time.
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let process = || {
        let store = Arc::clone(&store);
        let wrap: Wrap = Arc::new(move |_| Arc::clone(&store));
        open(&folder, Some(wrap))
    };
    let lake = process();
    let table = format!("{}t/", lake.root());
    // The library looks for the folder, and at nothing in it.
    fs::create_dir_all(folder.path().join("lake/t")).unwrap();
    let properties = [("delta.checkpointInterval".to_owned(), "250".to_owned())];
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: properties.into(),
        schema: None,
    };
    write(&lake, &table, mode, numbers([])).await.unwrap();
    let writers = [0, EACH].map(|first| {
        let (table, lake) = (table.clone(), process());
        tokio::spawn(async move {
            let mut versions = Vec::new();
            for n in first..first + EACH {
                let row = numbers((n % ROW_EVERY == 0).then_some(n));
                let committed = write(&lake, &table, WriteMode::Append, row).await.unwrap();
                versions.push(committed.version);
            }
            versions
        })
    });
    let mut versions = Vec::new();
    for writer in writers {
        versions.extend(writer.await.unwrap());
    }
    versions.sort_unstable();
    let expected: Vec<i64> = (1..=2 * EACH).collect();
    assert_eq!(versions, expected, "each append is a version of its own");
    let hint = Path::from_url_path(table.strip_prefix("file://").unwrap()).unwrap();
    let hint = hint.join("_delta_log").join("_last_checkpoint");
    let named = async || match store.get(&hint).await {
        Ok(found) => String::from_utf8(found.bytes().await.unwrap().to_vec()).unwrap(),
        Err(_) => String::new(),
    };
    while !named().await.contains(&format!("\"version\":{}", 2 * EACH)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows: Vec<i64> = (0..2 * EACH).filter(|n| n % ROW_EVERY == 0).collect();
    // By the commits one after the other, and by the checkpoint alone.
    for lake in [&lake, &process()] {
        let snapshot = latest(lake, &table).await;
        assert_eq!(snapshot.version(), 2 * EACH);
        assert_eq!(read_numbers(&snapshot).await, rows);
    }
    let findings = validate(&process(), &table).await;
    let is_ok = |finding: &Finding| finding.severity == Severity::Ok;
    assert!(findings.iter().all(is_ok), "{findings:#?}");
    let looked_at: Vec<_> = findings.iter().map(|finding| finding.object.as_str()).collect();
    assert_eq!(looked_at[..2], ["2001 commits, versions 0 to 2000", "4 of 8 checkpoints"]);
    assert_eq!(looked_at[2], format!("{} files", rows.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn overwrite_and_replace_conflict_with_whatever_came_in_between() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    for mode in [WriteMode::Overwrite, replace()] {
        let staged = stage(&test.lake, &table, mode, numbers([9])).await.unwrap();
        write(&test.other(), &table, WriteMode::Append, numbers([2])).await.unwrap();
        let error = test.lake.commit(staged, CommitInfo::default()).await.unwrap_err();
        assert_eq!(error.code(), Code::Aborted, "{error}");
    }
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [1, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn append_conflicts_when_the_columns_changed() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let staged = stage(&test.lake, &table, WriteMode::Append, numbers([2])).await.unwrap();
    write(&test.other(), &table, replace(), labelled(&[(3, None)])).await.unwrap();
    let error = test.lake.commit(staged, CommitInfo::default()).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { version: 1, .. }), "{error}");
    assert!(error.to_string().contains("definition changed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_creators_wins() {
    let test = TestLake::new();
    let table = test.table("t");
    let ours = stage(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let other = test.other();
    let theirs = stage(&other, &table, create(), numbers([2])).await.unwrap();
    let (ours, theirs) = tokio::join!(
        test.lake.commit(ours, CommitInfo::default()),
        other.commit(theirs, CommitInfo::default())
    );
    assert_eq!(usize::from(ours.is_ok()) + usize::from(theirs.is_ok()), 1);
    let error = ours.err().or(theirs.err()).unwrap();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert_eq!(latest(&test.lake, &table).await.rows(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answer_is_not_a_lost_commit() {
    let folder = TempDir::new().unwrap();
    let requests = Arc::new(Requests::default());
    let lake = open(&folder, requests.wrap());
    let table = format!("{}t/", lake.root());
    for (n, mode) in [(1, create()), (2, WriteMode::Append), (3, WriteMode::Append)] {
        requests.lose_answer.store(true, Ordering::SeqCst);
        let committed = write(&lake, &table, mode, numbers([n])).await.unwrap();
        assert_eq!(committed.version, n - 1);
    }
    assert_eq!(read_numbers(&latest(&lake, &table).await).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_that_never_arrived_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let requests = Arc::new(Requests::default());
    let lake = open(&folder, requests.wrap());
    let table = format!("{}t/", lake.root());
    write(&lake, &table, create(), numbers([1])).await.unwrap();
    requests.refuse_commits.store(true, Ordering::SeqCst);
    let error = write(&lake, &table, WriteMode::Append, numbers([2])).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    requests.refuse_commits.store(false, Ordering::SeqCst);
    assert_eq!(read_numbers(&latest(&lake, &table).await).await, [1]);
    assert_eq!(data_files(&folder.path().join("lake/t")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_goes_on_when_its_caller_goes_away() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let staged = stage(&test.lake, &table, WriteMode::Append, numbers([2])).await.unwrap();
    let started =
        tokio::time::timeout(Duration::ZERO, test.lake.commit(staged, CommitInfo::default()));
    drop(started.await);
    for _ in 0..200 {
        if latest(&test.lake, &table).await.version() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_who_wrote_and_how_much() {
    let test = TestLake::new();
    let table = test.table("t");
    let staged = stage(&test.lake, &table, create(), numbers([1, 2])).await.unwrap();
    test.lake.commit(staged, txn(1)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers([3])).await.unwrap();
    let entry = |version: i64| -> Value {
        let path = test.path(&format!("t/_delta_log/{version:020}.json"));
        let text = fs::read_to_string(path).unwrap();
        serde_json::from_str(text.lines().next().unwrap()).unwrap()
    };
    let info = &entry(0)["commitInfo"];
    assert_eq!(info["whimbrel"]["run"], "r1");
    assert!(info["whimbrel"]["commitId"].is_string());
    assert_eq!(info["operation"], "CREATE TABLE");
    assert_eq!(info["isBlindAppend"], false);
    let info = &entry(1)["commitInfo"];
    assert_eq!(info["isBlindAppend"], true);
    assert_eq!(info["readVersion"], 0);
    assert_eq!(info["operationMetrics"]["numOutputRows"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_keeps_the_id_and_writes_metadata_only_when_it_changes() {
    let test = TestLake::new();
    let table = test.table("t");
    let id = write(&test.lake, &table, replace(), numbers([1])).await.unwrap();
    let id = id.snapshot.table_id().to_owned();
    write(&test.lake, &table, replace(), numbers([2])).await.unwrap();
    write(&test.lake, &table, replace(), labelled(&[(3, Some("x"))])).await.unwrap();
    let has_metadata = |version: i64| {
        let path = test.path(&format!("t/_delta_log/{version:020}.json"));
        fs::read_to_string(path).unwrap().contains("\"metaData\"")
    };
    assert!(has_metadata(0) && !has_metadata(1) && has_metadata(2));
    let snapshot = latest(&test.lake, &table).await;
    assert_eq!((snapshot.table_id(), snapshot.rows()), (id.as_str(), Some(1)));
    assert_eq!(read_numbers(&snapshot).await, [3]);
    let first = test.lake.snapshot(&table, At::Version(0)).await.unwrap();
    assert_eq!(read_numbers(&first).await, [1]);
}
