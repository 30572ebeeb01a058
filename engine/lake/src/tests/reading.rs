use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arrow::{
    array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Int64Type},
    util::pretty::pretty_format_batches,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use model::{code::Code, time::Timestamp};
use tempfile::TempDir;

use super::{
    TestLake, create, create_by, data_files, labelled, latest, numbers, open, read, read_numbers,
    read_sql, recorder::Requests, replace, write,
};
use crate::{At, LakeError, WriteMode, with_plain_text};

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
    assert_eq!(read_numbers(&latest(&other, &table).await).await, [1]);
    for n in 2..6 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
        assert_eq!(latest(&other, &table).await.version(), n - 1);
    }
    assert_eq!(read_numbers(&latest(&other, &table).await).await, [1, 2, 3, 4, 5]);
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
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [2]);
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
    assert_eq!(read_numbers(&latest(&test.lake, &good).await).await, [1]);
}

/// A table of `versions` versions with a checkpoint at the newest.
async fn with_checkpoint(test: &TestLake, name: &str, versions: i64) -> String {
    let table = test.table(name);
    let properties = [("delta.checkpointInterval".to_owned(), (versions - 1).to_string())];
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: properties.into(),
        schema: None,
    };
    write(&test.lake, &table, mode, numbers([0])).await.unwrap();
    for n in 1..versions {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    let hint = test.path(&format!("{name}/_delta_log/_last_checkpoint"));
    while !hint.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_contradicts_itself_is_data_loss_of_that_table_only() {
    let test = TestLake::new();
    let good = test.table("good");
    write(&test.lake, &good, create(), numbers([1])).await.unwrap();
    let entry = |name: &str, n: i64| test.path(&format!("{name}/_delta_log/{n:020}.json"));
    let checkpoint =
        |name: &str, n: i64| test.path(&format!("{name}/_delta_log/{n:020}.checkpoint.parquet"));
    let broken = ["cut", "garbage", "empty", "gap", "no_metadata", "no_protocol", "gone"];
    let mut tables = BTreeMap::new();
    for name in broken {
        tables.insert(name, with_checkpoint(&test, name, 4).await);
    }
    // Only the checkpoint has what was before it.
    for name in ["cut", "garbage", "empty", "gone"] {
        for n in 0..3 {
            fs::remove_file(entry(name, n)).unwrap();
        }
    }
    let bytes = fs::read(checkpoint("cut", 3)).unwrap();
    fs::write(checkpoint("cut", 3), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(checkpoint("garbage", 3), "this is not Parquet").unwrap();
    fs::write(checkpoint("empty", 3), "").unwrap();
    fs::remove_file(checkpoint("gone", 3)).unwrap();
    for name in ["gap", "no_metadata", "no_protocol"] {
        fs::remove_file(checkpoint(name, 3)).unwrap();
        fs::remove_file(test.path(&format!("{name}/_delta_log/_last_checkpoint"))).unwrap();
    }
    fs::remove_file(entry("gap", 1)).unwrap();
    for (name, without) in [("no_metadata", "metaData"), ("no_protocol", "protocol")] {
        let first = fs::read_to_string(entry(name, 0)).unwrap();
        let lines = first.lines().filter(|line| !line.contains(&format!("\"{without}\":")));
        fs::write(entry(name, 0), lines.collect::<Vec<_>>().join("\n")).unwrap();
    }
    let lake = test.other();
    for (name, table) in &tables {
        let error = lake.snapshot(table, At::Latest).await.unwrap_err();
        assert_eq!(error.code(), Code::DataLoss, "{name}: {error}");
        assert!(error.to_string().contains(table.as_str()), "{name}: {error}");
        let error = write(&lake, table, WriteMode::Append, numbers([9])).await.unwrap_err();
        assert_eq!(error.code(), Code::DataLoss, "{name}: {error}");
        assert!(!entry(name, 4).exists(), "{name}");
    }
    assert_eq!(read_numbers(&latest(&lake, &good).await).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_that_lies_about_checkpoints_never_gives_other_rows() {
    let test = TestLake::new();
    for (name, hint) in [
        ("before", r#"{"version":1,"size":10}"#),
        ("garbage", "no json"),
        ("empty", ""),
        ("beyond", r#"{"version":99,"size":10}"#),
        ("unfinished", r#"{"version":3,"size":10}"#),
    ] {
        let table = with_checkpoint(&test, name, 4).await;
        let log = test.path(&format!("{name}/_delta_log"));
        fs::write(log.join("_last_checkpoint"), hint).unwrap();
        if name == "unfinished" {
            fs::remove_file(log.join("00000000000000000003.checkpoint.parquet")).unwrap();
        }
        let lake = test.other();
        let now = latest(&lake, &table).await;
        assert_eq!((now.version(), read_numbers(&now).await), (3, vec![0, 1, 2, 3]), "{name}");
        // The next checkpoint brings a hint that is right.
        for n in 4..=6 {
            write(&lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
        }
        let hint = || fs::read_to_string(log.join("_last_checkpoint")).unwrap();
        while !hint().contains("\"version\":6") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let now = latest(&test.other(), &table).await;
        assert_eq!((now.version(), read_numbers(&now).await), (6, (0..=6).collect()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_to_nowhere_does_not_make_a_broken_log_whole() {
    let test = TestLake::new();
    let table = with_checkpoint(&test, "t", 4).await;
    let log = |name: &str| test.path(&format!("t/_delta_log/{name}"));
    fs::write(log("_last_checkpoint"), r#"{"version":99,"size":10}"#).unwrap();
    fs::remove_file(log("00000000000000000003.checkpoint.parquet")).unwrap();
    // What is left has a definition of its own, and could be taken for a whole table.
    let first = fs::read_to_string(log("00000000000000000000.json")).unwrap();
    let lines = first.lines().filter(|line| !line.contains("\"add\""));
    let second = fs::read_to_string(log("00000000000000000001.json")).unwrap();
    let both: Vec<&str> = lines.chain(second.lines()).collect();
    fs::write(log("00000000000000000001.json"), both.join("\n")).unwrap();
    fs::remove_file(log("00000000000000000000.json")).unwrap();
    let error = test.other().snapshot(&table, At::Latest).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_that_is_no_parquet_is_named() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let file = data_files(&test.path("t")).remove(0);
    let size = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
    fs::write(&file, vec![b'x'; size]).unwrap();
    let context = SessionContext::new();
    context.register_table("t", latest(&test.lake, &table).await.provider().unwrap()).unwrap();
    let error = context.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap_err();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(error.to_string().contains(&name), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_thousands_of_commits_is_read() {
    const COMMITS: i64 = 5_000;
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    // What many small transactions leave behind, without their files.
    for n in 1..COMMITS {
        let entry = format!(r#"{{"txn":{{"appId":"app {}","version":{n}}}}}"#, n % 7);
        fs::write(test.path(&format!("t/_delta_log/{n:020}.json")), entry).unwrap();
    }
    let lake = test.other();
    let now = latest(&lake, &table).await;
    assert_eq!((now.version(), read_numbers(&now).await), (COMMITS - 1, vec![1]));
    assert_eq!(now.txn_version("app 3").await.unwrap(), Some(4_994));
    write(&lake, &table, WriteMode::Append, numbers([2])).await.unwrap();
    let now = latest(&lake, &table).await;
    assert_eq!((now.version(), read_numbers(&now).await), (COMMITS, vec![1, 2]));
    let older = lake.snapshot(&table, At::Version(2_500)).await.unwrap();
    assert_eq!(read_numbers(&older).await, [1]);
    // Its version is a multiple of the interval, so a checkpoint follows; others begin there.
    let hint = test.path("t/_delta_log/_last_checkpoint");
    while !hint.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let now = latest(&test.other(), &table).await;
    assert_eq!((now.version(), read_numbers(&now).await), (COMMITS, vec![1, 2]));
    assert_eq!(now.txn_version("app 3").await.unwrap(), Some(4_994));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_beside_which_others_marked_some_are_read_by_all_threads() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..50_000)).await.unwrap();
    for n in 1..4 {
        let rows = numbers(n * 50_000..(n + 1) * 50_000);
        write(&test.lake, &table, WriteMode::Append, rows).await.unwrap();
    }
    mark_deleted(&test.path("t"), 4, &[0, 3, 49_989]);
    let config = SessionConfig::new().with_target_partitions(4).with_repartition_file_min_size(1);
    let context = SessionContext::new_with_config(config);
    context.register_table("t", latest(&test.lake, &table).await.provider().unwrap()).unwrap();
    let frame = context.sql("SELECT n FROM t").await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let parts = plan.properties().partitioning.partition_count();
    assert_eq!(parts, 4, "whoever has nothing to do takes a piece of what is left");
    let mut rows = 0;
    for part in 0..parts {
        let batches = plan.execute(part, context.task_ctx()).unwrap();
        let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
        rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    assert_eq!(rows, 200_000 - 3);
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
async fn a_table_whose_commits_have_times_of_their_own_is_not_read_by_those_of_its_files() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let log = test.path("t/_delta_log/00000000000000000000.json");
    let lines = fs::read_to_string(&log).unwrap();
    let lines = lines.lines().map(|line| match line.starts_with(r#"{"protocol""#) {
        true => r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["inCommitTimestamp"]}}"#.to_owned(),
        false => line.replace(
            r#""configuration":{"#,
            r#""configuration":{"delta.enableInCommitTimestamps":"true""#,
        ),
    });
    fs::write(&log, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let lake = test.other();
    assert_eq!(read_numbers(&latest(&lake, &table).await).await, [1]);
    assert_eq!(lake.snapshot(&table, At::Version(0)).await.unwrap().version(), 0);
    let now = At::Timestamp(Timestamp::from_micros(4_000_000_000_000_000));
    let error = lake.snapshot(&table, now).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
    assert!(error.to_string().contains("inCommitTimestamp"), "{error}");
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
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(checkpoint.exists());
    for version in 0..20 {
        fs::remove_file(test.path(&format!("t/_delta_log/{version:020}.json"))).unwrap();
    }
    let expected: Vec<i64> = (0..=21).collect();
    for lake in [test.lake.clone(), test.other()] {
        assert_eq!(read_numbers(&latest(&lake, &table).await).await, expected);
    }
    let error = test.other().snapshot(&table, At::Version(3)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_follow_as_often_as_the_table_says() {
    let test = TestLake::new();
    let table = test.table("t");
    let properties = [("delta.checkpointInterval".to_owned(), "3".to_owned())];
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: properties.into(),
        schema: None,
    };
    write(&test.lake, &table, mode, numbers([0])).await.unwrap();
    for n in 1..=5 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    let of = |version: i64| test.path(&format!("t/_delta_log/{version:020}.checkpoint.parquet"));
    for _ in 0..200 {
        if of(3).exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let there: Vec<i64> = (0..=5).filter(|version| of(*version).exists()).collect();
    assert_eq!(there, [3]);
    // A VACUUM leaves one of the newest version behind.
    let vacuum = |dry_run| crate::Vacuum { dry_run, ..crate::Vacuum::default() };
    test.lake.vacuum(&table, &vacuum(true)).await.unwrap();
    assert!(!of(5).exists());
    test.lake.vacuum(&table, &vacuum(false)).await.unwrap();
    assert!(of(5).exists());
    assert_eq!(read_numbers(&latest(&test.other(), &table).await).await, [0, 1, 2, 3, 4, 5]);
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
    assert_eq!(read(&latest(&test.lake, &table).await).await.num_columns(), 2);
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

/// Marks rows of the newest data file of a table as deleted, the way other engines do.
pub(super) fn mark_deleted(folder: &std::path::Path, version: i64, rows: &[u32]) {
    let mut bitmaps = 1_681_511_377_u32.to_le_bytes().to_vec();
    let marked: roaring::RoaringTreemap = rows.iter().map(|row| u64::from(*row)).collect();
    marked.serialize_into(&mut bitmaps).unwrap();
    let size = u32::try_from(bitmaps.len()).unwrap();
    let mut file = vec![1];
    file.extend(size.to_be_bytes());
    file.extend(&bitmaps);
    file.extend(crc32fast::hash(&bitmaps).to_be_bytes());
    let id = uuid::Uuid::new_v4();
    fs::write(folder.join(format!("deletion_vector_{id}.bin")), file).unwrap();
    let log = |version: i64| folder.join(format!("_delta_log/{version:020}.json"));
    let before = fs::read_to_string(log(version - 1)).unwrap();
    let actions: Vec<serde_json::Value> =
        before.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let add = actions.iter().rev().find_map(|action| action.get("add")).unwrap();
    let mut marked = add.clone();
    marked["deletionVector"] = serde_json::json!({ "storageType": "u", "offset": 1,
        "pathOrInlineDv": z85::encode(id.as_bytes()), "sizeInBytes": size, "cardinality": rows.len() });
    let mut remove = serde_json::json!({ "path": add["path"], "dataChange": true,
        "deletionTimestamp": 1, "partitionValues": add["partitionValues"], "size": add["size"] });
    if let Some(vector) = add.get("deletionVector") {
        remove["deletionVector"] = vector.clone();
    }
    let mut entry = vec![serde_json::json!({ "commitInfo": { "operation": "DELETE" } })];
    if !before.contains("deletionVectors") {
        entry.push(serde_json::json!({ "protocol": { "minReaderVersion": 3,
            "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
            "writerFeatures": ["deletionVectors"] } }));
    }
    entry.push(serde_json::json!({ "remove": remove }));
    entry.push(serde_json::json!({ "add": marked }));
    let entry: Vec<String> = entry.iter().map(ToString::to_string).collect();
    fs::write(log(version), entry.join("\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_marked_as_deleted_are_read_changed_and_kept_rightly() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..5)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..100_000)).await.unwrap();
    mark_deleted(&test.path("t"), 2, &[0, 3, 99_989]);
    let now = latest(&test.lake, &table).await;
    assert_eq!(now.rows(), Some(5 + 99_990 - 3));
    let sql = "SELECT count(*), min(n), max(n), count(*) FILTER (WHERE n IN (10, 13, 99999)), sum(n) FROM t \
               WHERE n >= 5";
    let found = read_sql(&now, sql).await;
    let cell = |column: usize| found.column(column).as_primitive::<Int64Type>().value(0);
    let sum: i64 = (10..100_000).sum::<i64>() - 10 - 13 - 99_999;
    assert_eq!([cell(0), cell(1), cell(2), cell(3), cell(4)], [99_987, 11, 99_998, 0, sum]);

    // Its file is needed as long as the marks count.
    let vacuum = crate::Vacuum { full: true, dry_run: true, ..crate::Vacuum::default() };
    let old = std::time::SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    for entry in fs::read_dir(test.path("t")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::File::options().append(true).open(path).unwrap().set_modified(old).unwrap();
        }
    }
    let spared = test.lake.vacuum(&table, &vacuum).await.unwrap();
    assert!(spared.files.is_empty(), "{:?}", spared.files);

    // A change of such a file leaves out what was marked, for good.
    let deleted = super::changing::delete(&test.lake, &table, "n IN (11, 13, 20)").await.unwrap();
    assert_eq!(deleted.deleted, 2, "13 was deleted before");
    let numbers = read_numbers(&latest(&test.lake, &table).await).await;
    let left = (0..5).chain((10..99_999).filter(|n| ![10, 11, 13, 20].contains(n)));
    assert_eq!(numbers, left.collect::<Vec<_>>());
    let spared = test.lake.vacuum(&table, &vacuum).await.unwrap();
    assert!(spared.files.is_empty(), "the version before still needs them: {:?}", spared.files);
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_are_not_what_the_log_says_are_an_error_of_that_table() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..100)).await.unwrap();
    mark_deleted(&test.path("t"), 1, &[7]);
    let vector = fs::read_dir(test.path("t")).unwrap().map(|entry| entry.unwrap().path());
    let vector = vector.into_iter().find(|path| path.extension().is_some_and(|e| e == "bin"));
    let mut bytes = fs::read(vector.as_ref().unwrap()).unwrap();
    let at = bytes.len() - 6;
    bytes[at] ^= 1;
    fs::write(vector.unwrap(), bytes).unwrap();
    let context = SessionContext::new();
    let provider = latest(&test.lake, &table).await.provider().unwrap();
    context.register_table("t", provider).unwrap();
    let error = context.sql("SELECT * FROM t").await.unwrap().collect().await.unwrap_err();
    assert!(format!("{error:?}").contains("checksum"), "{error:?}");
}

/// What changed from a version to another, as `version change number`.
async fn changes(
    test: &TestLake,
    table: &str,
    from: i64,
    to: i64,
) -> Result<Vec<String>, LakeError> {
    let (from, to) = (At::Version(from), At::Version(to));
    let provider = test.lake.table_changes(table, from, to).await?;
    let context = SessionContext::new();
    context.register_table("c", provider).unwrap();
    let sql = "SELECT concat_ws(' ', _commit_version, _change_type, n) FROM c ORDER BY _commit_version, n";
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let texts = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
    Ok(texts.map(|text| text.unwrap().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_marked_and_unmarked_are_told_as_changes() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..5)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..100_000)).await.unwrap();
    mark_deleted(&test.path("t"), 2, &[0, 3, 99_989]);
    mark_deleted(&test.path("t"), 3, &[0, 5, 99_989]);
    let told = changes(&test, &table, 2, 3).await.unwrap();
    assert_eq!(
        told,
        ["2 delete 10", "2 delete 13", "2 delete 99999", "3 insert 13", "3 delete 15"]
    );
    // Files that went without a feed may have been written anew.
    write(&test.lake, &table, WriteMode::Overwrite, numbers(7..9)).await.unwrap();
    let error = changes(&test, &table, 3, 4).await.unwrap_err();
    assert!(matches!(error, LakeError::NotRecorded { version: 4, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_marked_do_not_go_twice() {
    let test = TestLake::new();
    let table = test.table("t");
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: [("delta.enableChangeDataFeed".to_owned(), "true".to_owned())].into(),
        schema: None,
    };
    write(&test.lake, &table, mode, numbers(0..5)).await.unwrap();
    mark_deleted(&test.path("t"), 1, &[1, 2, 4]);
    write(&test.lake, &table, WriteMode::Overwrite, numbers(7..8)).await.unwrap();
    test.lake.restore(&table, At::Version(1)).await.unwrap();
    let told = changes(&test, &table, 1, 3).await.unwrap();
    let expected = [
        "1 delete 1",
        "1 delete 2",
        "1 delete 4",
        "2 delete 0",
        "2 delete 3",
        "2 insert 7",
        "3 insert 0",
        "3 insert 3",
        "3 delete 7",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_the_same_whether_it_is_read_as_views_or_as_plain_values() {
    let test = TestLake::new();
    let table = test.table("t");
    let labels = [Some("x"), Some("a b/c%\u{e9}"), None, Some("a text of more than twelve bytes")];
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
    let text: ArrayRef = Arc::new(StringArray::from_iter(labels));
    let bytes: ArrayRef =
        Arc::new(BinaryArray::from_iter(labels.map(|label| label.map(str::as_bytes))));
    let inner = Arc::new(Field::new("s", DataType::Utf8, true));
    let record: ArrayRef = Arc::new(StructArray::from(vec![(inner, Arc::clone(&text))]));
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("n", n, true),
        ("label", Arc::clone(&text), true),
        ("text", text, true),
        ("bytes", bytes, true),
        ("record", record, true),
    ]);
    let mode = WriteMode::Create {
        partitioned_by: vec!["label".to_owned()],
        comment: None,
        properties: BTreeMap::new(),
        schema: None,
    };
    write(&test.lake, &table, mode, rows.unwrap()).await.unwrap();
    let views = latest(&test.lake, &table).await.provider().unwrap();
    let plain = with_plain_text(views.as_ref()).unwrap();
    let kinds: Vec<_> = plain.schema().fields().iter().map(|f| f.data_type().clone()).collect();
    assert_eq!(kinds[1..4], [DataType::Utf8, DataType::Utf8, DataType::Binary]);
    for sql in [
        "SELECT * FROM t ORDER BY n",
        "SELECT label FROM t ORDER BY label",
        "SELECT n, record['s'] AS s FROM t WHERE label = 'x' OR text LIKE 'a %' ORDER BY n",
    ] {
        let mut answers = Vec::new();
        for provider in [&views, &plain] {
            let context = SessionContext::new();
            context.register_table("t", Arc::clone(provider)).unwrap();
            let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
            answers.push(pretty_format_batches(&batches).unwrap().to_string());
        }
        assert_eq!(answers[0], answers[1], "{sql}");
    }
}
