use std::{
    fs,
    sync::{Arc, atomic::Ordering},
};

use datafusion::prelude::SessionContext;
use model::{code::Code, time::Timestamp};
use tempfile::TempDir;

use super::{
    TestLake, create, create_by, data_files, labelled, latest, numbers, open, read, read_numbers,
    read_sql, recorder::Requests, replace, write,
};
use crate::{At, LakeError, WriteMode};

#[tokio::test(flavor = "multi_thread")]
async fn warm_table_is_read_and_planned_without_listing_its_log() {
    let folder = TempDir::new().unwrap();
    let requests = Arc::new(Requests::default());
    let lake = open(&folder, requests.wrap());
    let table = format!("{}t/", lake.root());
    write(&lake, &table, create(), numbers([1, 2, 3])).await.unwrap();
    latest(&lake, &table).await;
    requests.take();
    for _ in 0..10 {
        let snapshot = latest(&lake, &table).await;
        let context = SessionContext::new();
        context.register_table("t", snapshot.provider().unwrap()).unwrap();
        let frame = context.sql("SELECT sum(n) FROM t WHERE n > 1").await.unwrap();
        frame.create_physical_plan().await.unwrap();
    }
    let (lists, reads, heads) = requests.take();
    assert_eq!((lists, reads), (0, 0));
    assert_eq!(heads, 20, "one for the next version and one for the known version each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_of_another_process_is_seen_at_once() {
    let test = TestLake::new();
    let (table, other) = (test.table("t"), test.other());
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    assert_eq!(read_numbers(&*latest(&other, &table).await).await, [1]);
    for n in 2..6 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
        assert_eq!(latest(&other, &table).await.version(), n - 1);
    }
    assert_eq!(read_numbers(&*latest(&other, &table).await).await, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn table_that_was_dropped_and_created_anew_is_not_mixed_with_the_old_one() {
    for versions_after in [1, 3, 6] {
        let test = TestLake::new();
        let (table, other) = (test.table("t"), test.other());
        write(&other, &table, create(), numbers([1])).await.unwrap();
        for n in [2, 3] {
            write(&other, &table, WriteMode::Append, numbers([n])).await.unwrap();
        }
        let old = latest(&test.lake, &table).await;
        test.lake.snapshot(&table, At::Version(1)).await.unwrap();
        other.purge(&table).await.unwrap();
        write(&other, &table, create(), numbers([100])).await.unwrap();
        for n in 1..versions_after {
            write(&other, &table, WriteMode::Append, numbers([100 + n])).await.unwrap();
        }
        let new = latest(&test.lake, &table).await;
        assert_ne!(new.table_id(), old.table_id());
        let expected: Vec<i64> = (100..100 + versions_after).collect();
        assert_eq!(read_numbers(&new).await, expected);
        if versions_after > 1 {
            let second = test.lake.snapshot(&table, At::Version(1)).await.unwrap();
            assert_eq!(read_numbers(&second).await, [100, 101]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_table_is_not_found() {
    let test = TestLake::new();
    let (table, other) = (test.table("t"), test.other());
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    assert!(test.lake.exists(&table).await.unwrap());
    other.purge(&table).await.unwrap();
    let error = test.lake.snapshot(&table, At::Latest).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.to_string().contains(&table), "{error}");
    assert!(!test.lake.exists(&table).await.unwrap());
    write(&test.lake, &table, create(), numbers([2])).await.unwrap();
    assert_eq!(read_numbers(&*latest(&test.lake, &table).await).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_are_read_by_number_and_by_time() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers([2])).await.unwrap();
    write(&test.lake, &table, WriteMode::Overwrite, numbers([9])).await.unwrap();
    let mut times = Vec::new();
    for (version, rows) in [(0, vec![1]), (1, vec![1, 2]), (2, vec![9])] {
        for _ in 0..2 {
            let snapshot = test.lake.snapshot(&table, At::Version(version)).await.unwrap();
            assert_eq!(snapshot.version(), version);
            assert_eq!(read_numbers(&snapshot).await, rows);
            times.push(snapshot.committed_at());
        }
    }
    let at = |time| test.lake.snapshot(&table, At::Timestamp(time));
    assert_eq!(at(times[0]).await.unwrap().version(), 0);
    assert_eq!(
        at(Timestamp::from_micros(times[4].as_micros() + 5_000_000)).await.unwrap().version(),
        2
    );
    let error = at(Timestamp::from_micros(1_000_000)).await.unwrap_err();
    assert!(matches!(error, LakeError::TimestampTooEarly { .. }), "{error}");
    for version in [-1, 3, 99] {
        let error = test.lake.snapshot(&table, At::Version(version)).await.unwrap_err();
        assert!(matches!(error, LakeError::VersionNotFound { newest: 2, .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_log_is_data_loss_of_that_table_only() {
    let test = TestLake::new();
    let (good, bad) = (test.table("good"), test.table("bad"));
    write(&test.lake, &good, create(), numbers([1])).await.unwrap();
    write(&test.lake, &bad, create(), numbers([1])).await.unwrap();
    let entry = test.path("bad/_delta_log/00000000000000000000.json");
    fs::write(&entry, "no json at all\n{{{").unwrap();
    let error = test.lake.snapshot(&bad, At::Latest).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    assert!(error.to_string().starts_with("broken Delta log"), "{error}");
    assert!(error.to_string().contains(&bad), "{error}");
    fs::remove_file(&entry).unwrap();
    fs::write(test.path("bad/_delta_log/00000000000000000007.json"), "{}").unwrap();
    let error = test.lake.snapshot(&bad, At::Latest).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    assert_eq!(read_numbers(&*latest(&test.lake, &good).await).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_features_are_refused_by_name() {
    let test = TestLake::new();
    for (feature, reader) in
        [("typeWidening", true), ("fromTheFuture", true), ("rowTracking", false)]
    {
        let table = test.table(feature);
        write(&test.lake, &table, create(), numbers([1])).await.unwrap();
        let entry = test.path(&format!("{feature}/_delta_log/00000000000000000001.json"));
        let readers = if reader { format!("\"{feature}\"") } else { String::new() };
        let domain = if reader { "" } else { ",\"domainMetadata\"" };
        fs::write(
            &entry,
            format!(
                r#"{{"protocol":{{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":[{readers}],"writerFeatures":["{feature}"{domain}]}}}}"#
            ),
        )
        .unwrap();
        let result = match reader {
            true => test.lake.snapshot(&table, At::Latest).await.map(drop),
            false => write(&test.lake, &table, WriteMode::Append, numbers([2])).await.map(drop),
        };
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::Unimplemented, "{error:?}");
        assert!(error.to_string().contains(feature), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_tells_sizes_comments_and_partitions() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a")), (2, Some("b")), (3, Some("b"))]);
    write(&test.lake, &table, create_by("label"), rows).await.unwrap();
    let snapshot = latest(&test.lake, &table).await;
    assert_eq!((snapshot.version(), snapshot.rows(), snapshot.files()), (0, Some(3), 2));
    let on_disk: u64 =
        data_files(&test.path("t")).iter().map(|f| f.metadata().unwrap().len()).sum();
    assert_eq!(snapshot.bytes(), on_disk);
    assert_eq!(snapshot.partitioned_by(), ["label"]);
    assert_eq!(snapshot.comment(), None);
    assert_eq!(snapshot.location(), table);
    let count = read_sql(&snapshot, "SELECT count(*) FROM t WHERE label = 'b' AND n > 2").await;
    assert_eq!(count.num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoint_follows_the_twentieth_version_and_shortens_loading() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([0])).await.unwrap();
    for n in 1..=21 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    let checkpoint = test.path("t/_delta_log/00000000000000000020.checkpoint.parquet");
    for _ in 0..200 {
        if checkpoint.exists() && test.path("t/_delta_log/_last_checkpoint").exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(checkpoint.exists());
    for version in 0..20 {
        fs::remove_file(test.path(&format!("t/_delta_log/{version:020}.json"))).unwrap();
    }
    let expected: Vec<i64> = (0..=21).collect();
    for lake in [test.lake.clone(), test.other()] {
        assert_eq!(read_numbers(&*latest(&lake, &table).await).await, expected);
    }
    let error = test.other().snapshot(&table, At::Version(3)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_snapshot_stays_readable_while_the_table_moves_on() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let pinned = latest(&test.lake, &table).await;
    write(&test.lake, &table, replace(), labelled(&[(5, None)])).await.unwrap();
    assert_eq!(read(&pinned).await.num_columns(), 1);
    assert_eq!(read_numbers(&pinned).await, [1]);
    assert_eq!(read(&*latest(&test.lake, &table).await).await.num_columns(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_readers_share_one_question_to_the_log() {
    let folder = TempDir::new().unwrap();
    let requests = Arc::new(Requests::default());
    let lake = open(&folder, requests.wrap());
    let table = format!("{}t/", lake.root());
    write(&lake, &table, create(), numbers([1])).await.unwrap();
    let cold = open(&folder, requests.wrap());
    requests.take();
    let readers = (0..50).map(|_| cold.snapshot(&table, At::Latest));
    for snapshot in futures::future::join_all(readers).await {
        assert_eq!(snapshot.unwrap().version(), 0);
    }
    assert!(requests.log_lists.load(Ordering::SeqCst) <= 2);
    assert!(requests.log_heads.load(Ordering::SeqCst) <= 20);
}
