//! Tables that somebody else has damaged, or written in an unusual way.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arrow::array::AsArray;
use model::code::Code;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::properties::WriterProperties,
};
use serde_json::{Value, json};

use super::{
    TestLake, create, create_by, data_files, labelled, latest, numbers, read_numbers, read_sql,
    write,
};
use crate::{
    Alteration, At, CreateTable, Lake, LakeError, Severity, Vacuum, WriteMode,
    tests::changing::delete, tests::validating::validate,
};

fn commit(test: &TestLake, version: i64) -> PathBuf {
    test.path(&format!("t/_delta_log/{version:020}.json"))
}

/// Rewrites the paths that a commit names.
fn respell(commit: &Path, spell: impl Fn(&str) -> String) {
    let text = fs::read_to_string(commit).unwrap();
    let lines = text.lines().map(|line| {
        let mut action: Value = serde_json::from_str(line).unwrap();
        for kind in ["add", "remove"] {
            if let Some(path) = action.pointer_mut(&format!("/{kind}/path")) {
                *path = json!(spell(path.as_str().unwrap()));
            }
        }
        action.to_string()
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    fs::write(commit, text).unwrap();
}

fn grow_old(folder: &Path) {
    for file in data_files(folder) {
        let file = fs::File::options().append(true).open(file).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(30 * 24 * 3600)).unwrap();
    }
}

async fn keep_nothing(lake: &Lake, table: &str) {
    let set = [("delta.deletedFileRetentionDuration", "interval 0 hours")];
    let set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let base = latest(lake, table).await;
    lake.alter(base, Alteration::Properties { set, unset: Vec::new() }).await.unwrap().unwrap();
}

fn full() -> Vacuum {
    Vacuum { full: true, ..Vacuum::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_own_folder_may_be_named_in_any_way() {
    let link = tempfile::TempDir::new().unwrap();
    let link = link.path().join("to");
    for how in ["absolute", "url", "short url", "link", "dots"] {
        let test = TestLake::new();
        let table = test.table("t");
        let folder = test.path("t");
        write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
        write(&test.lake, &table, WriteMode::Append, numbers([7])).await.unwrap();
        keep_nothing(&test.lake, &table).await;
        let _ = fs::remove_file(&link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        respell(&commit(&test, 1), |path| match how {
            "absolute" => format!("{}/{path}", folder.display()),
            "url" => format!("file://{}/{path}", folder.display()),
            "short url" => format!("file:{}/{path}", folder.display()),
            "dots" => format!("../t/{path}"),
            _ => format!("{}/{path}", link.display()),
        });
        if how == "link" {
            // Reading is held to the folders of the lake as they are written.
            let done = test.other().vacuum(&table, &full()).await.unwrap();
            assert!(done.files.is_empty(), "{how}: {done:?}");
            continue;
        }
        let lake = test.other();
        assert_eq!(read_numbers(&latest(&lake, &table).await).await, [0, 1, 2, 7], "{how}");
        let findings = validate(&lake, &table).await;
        let orphan = findings.iter().find(|finding| finding.check == "orphans").unwrap();
        assert_eq!(orphan.severity, Severity::Ok, "{how}: {findings:#?}");
        let are_told = findings.iter().any(|finding| finding.object == "files by other names");
        assert!(are_told, "{how}: {findings:#?}");
        let done = lake.vacuum(&table, &full()).await.unwrap();
        assert!(done.files.is_empty(), "{how}: {done:?}");
        // They are changed and restored as all others.
        delete(&lake, &table, "n = 7").await.unwrap();
        assert_eq!(read_numbers(&latest(&lake, &table).await).await, [0, 1, 2], "{how}");
        lake.restore(&table, At::Version(2)).await.unwrap().unwrap();
        assert_eq!(read_numbers(&latest(&lake, &table).await).await, [0, 1, 2, 7], "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_went_just_now_stays_however_it_is_named() {
    let test = TestLake::new();
    let table = test.table("t");
    let folder = test.path("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    delete(&test.lake, &table, "n < 9").await.unwrap();
    for version in [0, 1] {
        respell(&commit(&test, version), |path| format!("{}/{path}", folder.display()));
    }
    grow_old(&folder);
    let lake = test.other();
    let done = lake.vacuum(&table, &full()).await.unwrap();
    assert!(done.files.is_empty(), "{done:?}");
    assert_eq!(data_files(&folder).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_where_a_file_cannot_be_found() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    keep_nothing(&test.lake, &table).await;
    let nowhere = test.path("nowhere");
    std::os::unix::fs::symlink(test.path("not there"), &nowhere).unwrap();
    respell(&commit(&test, 0), |path| format!("{}/{path}", nowhere.display()));
    let refused = test.other().vacuum(&table, &full()).await.unwrap_err();
    assert!(matches!(refused, LakeError::FileUnresolved { .. }), "{refused}");
    assert_eq!(data_files(&test.path("t")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_leaves_a_table_within_the_table_alone() {
    let test = TestLake::new();
    let (outer, inner) = (test.table("t"), test.table("t/inner"));
    write(&test.lake, &outer, create(), numbers(0..3)).await.unwrap();
    keep_nothing(&test.lake, &outer).await;
    write(&test.lake, &inner, create(), numbers([5])).await.unwrap();
    fs::write(test.path("t/stray.parquet"), b"left behind").unwrap();
    let done = test.lake.vacuum(&outer, &full()).await.unwrap();
    assert_eq!(done.files, ["stray.parquet"]);
    assert_eq!(done.tables, ["inner"]);
    assert_eq!(read_numbers(&latest(&test.other(), &inner).await).await, [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_cut_off_is_no_empty_one() {
    let test = TestLake::new();
    let table = test.table("t");
    for n in 0..3 {
        let mode = if n == 0 { create() } else { WriteMode::Append };
        write(&test.lake, &table, mode, numbers([n])).await.unwrap();
    }
    let reader = test.other();
    assert_eq!(latest(&reader, &table).await.version(), 2);
    let check = async |lake: &Lake, cut: i64| {
        let broken = lake.snapshot(&table, At::Latest).await.unwrap_err();
        assert_eq!(broken.code(), Code::DataLoss, "{broken}");
        assert!(broken.to_string().contains(&format!("version {cut} of")), "{broken}");
        let written = write(lake, &table, WriteMode::Append, numbers([9])).await;
        assert_eq!(written.unwrap_err().code(), Code::DataLoss);
    };
    fs::write(commit(&test, 2), "").unwrap();
    check(&test.other(), 2).await;
    check(&reader, 2).await;
    // One before the newest, for who loads the table and for who has an older version.
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([0])).await.unwrap();
    let late = test.other();
    assert_eq!(latest(&late, &table).await.version(), 0);
    for n in 1..3 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    fs::write(commit(&test, 1), "").unwrap();
    for lake in [&test.other(), &late] {
        let broken = lake.snapshot(&table, At::Latest).await.unwrap_err();
        assert!(matches!(broken, LakeError::EmptyCommit { version: 1, .. }), "{broken}");
    }
}

/// A table with a checkpoint at version 5 and one commit after it.
async fn with_checkpoint() -> (TestLake, String, PathBuf) {
    let test = TestLake::new();
    let table = test.table("t");
    let properties = [("delta.checkpointInterval".to_owned(), "5".to_owned())].into();
    let schema = numbers([0]).schema();
    let new = CreateTable {
        location: table.clone(),
        schema,
        partitioned_by: Vec::new(),
        comment: None,
        properties,
    };
    test.lake.create(new).await.unwrap();
    for n in 1..=6 {
        write(&test.lake, &table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    let checkpoint = test.path(&format!("t/_delta_log/{:020}.checkpoint.parquet", 5));
    while !test.path("t/_delta_log/_last_checkpoint").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (test, table, checkpoint)
}

/// Writes the checkpoint anew, with or without the files of the table.
fn rewrite(checkpoint: &Path, adds: bool) {
    let file = fs::File::open(checkpoint).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder().set_created_by("another".to_owned()).build();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        let files = batch.column_by_name("add").unwrap().as_struct();
        let kept = arrow::compute::is_null(files).unwrap();
        let batch = match adds {
            true => batch,
            false => arrow::compute::filter_record_batch(&batch, &kept).unwrap(),
        };
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
    fs::write(checkpoint, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_without_the_files_that_it_should_have_is_noticed() {
    let (test, table, checkpoint) = with_checkpoint().await;
    rewrite(&checkpoint, true);
    assert_eq!(read_numbers(&latest(&test.other(), &table).await).await, [1, 2, 3, 4, 5, 6]);

    rewrite(&checkpoint, false);
    let broken = test.other().snapshot(&table, At::Latest).await.unwrap_err();
    assert_eq!(broken.code(), Code::DataLoss, "{broken}");
    assert!(broken.to_string().contains("it has 0 of 5 files"), "{broken}");

    // Where the hint says no more, the actions count.
    let hint = test.path("t/_delta_log/_last_checkpoint");
    let mut told: Value = serde_json::from_slice(&fs::read(&hint).unwrap()).unwrap();
    told.as_object_mut().unwrap().retain(|key, _| ["version", "size"].contains(&key.as_str()));
    fs::write(&hint, told.to_string()).unwrap();
    let broken = test.other().snapshot(&table, At::Latest).await.unwrap_err();
    assert!(broken.to_string().contains("actions"), "{broken}");

    // The way out.
    fs::remove_file(&checkpoint).unwrap();
    fs::remove_file(&hint).unwrap();
    assert_eq!(read_numbers(&latest(&test.other(), &table).await).await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_in_the_log_is_named_in_words() {
    let test = TestLake::new();
    let table = test.table("t");
    for n in 0..3 {
        let mode = if n == 0 { create() } else { WriteMode::Append };
        write(&test.lake, &table, mode, numbers([n])).await.unwrap();
    }
    fs::remove_file(commit(&test, 1)).unwrap();
    let broken = test.other().snapshot(&table, At::Latest).await.unwrap_err();
    let LakeError::BrokenLog { source, .. } = broken else { panic!("{broken}") };
    assert!(source.to_string().starts_with("the commit of version 1,"), "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn null_and_the_name_of_its_folder_are_two_values() {
    let test = TestLake::new();
    let table = test.table("t");
    let name = "__HIVE_DEFAULT_PARTITION__";
    let rows = labelled(&[(1, None), (2, Some(name)), (3, Some("")), (4, Some("x"))]);
    write(&test.lake, &table, create_by("label"), rows).await.unwrap();
    let read = read_sql(
        &latest(&test.other(), &table).await,
        "SELECT n FROM t WHERE label IS NULL UNION ALL SELECT n * 10 FROM t \
         WHERE label = '__HIVE_DEFAULT_PARTITION__' UNION ALL SELECT n * 100 FROM t WHERE label = ''",
    )
    .await;
    let mut found: Vec<i64> =
        read.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
    found.sort_unstable();
    assert_eq!(found, [1, 20, 300]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuumed_version_says_that_it_is_one() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    keep_nothing(&test.lake, &table).await;
    delete(&test.lake, &table, "n = 1").await.unwrap();
    let file = data_files(&test.path("t"));
    test.lake.vacuum(&table, &Vacuum::default()).await.unwrap();
    let gone = data_files(&test.path("t"));
    let gone = file.iter().find(|file| !gone.contains(file)).unwrap();
    let name = gone.file_name().unwrap().to_str().unwrap();
    let old = test.other().snapshot(&table, At::Version(0)).await.unwrap();
    let said = error_of(&old).await;
    assert!(said.contains(&format!("the file '{name}' of version 0")), "{said}");
    assert!(said.contains("VACUUM"), "{said}");

    // Of the newest it is data that is lost.
    let now = latest(&test.other(), &table).await;
    for file in data_files(&test.path("t")) {
        fs::remove_file(file).unwrap();
    }
    let said = error_of(&now).await;
    assert!(!said.contains("VACUUM"), "{said}");
}

async fn error_of(snapshot: &Arc<crate::Snapshot>) -> String {
    let context = datafusion::prelude::SessionContext::new();
    context.register_table("t", snapshot.provider().unwrap()).unwrap();
    let rows = context.sql("SELECT sum(n) FROM t").await.unwrap().collect().await;
    rows.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_that_was_cut_off_is_data_that_is_lost() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    let snapshot = latest(&test.other(), &table).await;
    for file in data_files(&test.path("t")) {
        fs::write(file, b"junk").unwrap();
    }
    let context = datafusion::prelude::SessionContext::new();
    context.register_table("t", snapshot.provider().unwrap()).unwrap();
    let error = context.sql("SELECT sum(n) FROM t").await.unwrap().collect().await.unwrap_err();
    assert_eq!(crate::store_failure(&error), Some(Code::DataLoss), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_mean_something_else_are_refused() {
    let test = TestLake::new();
    let named = |name: &str, feed: bool| {
        let field = arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Int64, true);
        CreateTable {
            location: test.table("t"),
            schema: Arc::new(arrow::datatypes::Schema::new(vec![field])),
            partitioned_by: Vec::new(),
            comment: None,
            properties: [("delta.enableChangeDataFeed".to_owned(), feed.to_string())].into(),
        }
    };
    for name in ["@file", "@row", "@change"] {
        let refused = test.lake.create(named(name, false)).await.unwrap_err();
        assert!(matches!(refused, LakeError::Column { .. }), "{refused}");
    }
    for name in ["_change_type", "_commit_version", "_commit_timestamp"] {
        let refused = test.lake.create(named(name, true)).await.unwrap_err();
        assert!(refused.to_string().contains("change feed"), "{refused}");
    }
    let table = test.lake.create(named("_change_type", false)).await.unwrap();
    let property = |key: &str, value: &str| Alteration::Properties {
        set: [(key.to_owned(), value.to_owned())].into(),
        unset: Vec::new(),
    };
    let with_feed = property("delta.enableChangeDataFeed", "true");
    let refused = test.lake.alter(Arc::clone(&table), with_feed).await.unwrap_err();
    assert!(refused.to_string().contains("_change_type"), "{refused}");
    let of_nothing = property("delta.dataSkippingStatsColumns", "_change_type, nope");
    let refused = test.lake.alter(Arc::clone(&table), of_nothing).await.unwrap_err();
    assert!(refused.to_string().contains("no column 'nope'"), "{refused}");

    // The history tells what was done.
    let of_one = property("delta.dataSkippingStatsColumns", "_change_type");
    test.lake.alter(table, of_one).await.unwrap().unwrap();
    let location = test.table("t");
    let unset = Alteration::Properties {
        set: model::object::Properties::new(),
        unset: vec!["delta.dataSkippingStatsColumns".to_owned()],
    };
    test.lake.alter(latest(&test.lake, &location).await, unset).await.unwrap().unwrap();
    let comment = Alteration::Comment(Some("said".to_owned()));
    test.lake.alter(latest(&test.lake, &location).await, comment).await.unwrap().unwrap();
    let history = test.lake.history(&location, Some(2)).await.unwrap();
    assert_eq!(history[1].operation, "UNSET TBLPROPERTIES");
    assert!(history[1].parameters.as_ref().unwrap().contains("dataSkippingStatsColumns"));
    assert!(history[0].parameters.as_ref().unwrap().contains("said"), "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_footer_that_is_longer_than_its_file_is_no_footer() {
    let test = TestLake::new();
    fs::create_dir_all(test.path("f")).unwrap();
    fs::write(test.path("f/p.parquet"), b"PAR1PAR1").unwrap();
    let context = datafusion::prelude::SessionContext::new();
    for location in ["f/p.parquet", "f/", "f/*.parquet"] {
        let location = format!("{}{location}", test.lake.root());
        let format = model::object::TableFormat::Parquet;
        let options = model::object::Properties::new();
        let refused = test.lake.files(&location, format, &options, &context.state()).await;
        let LakeError::Files { source, .. } = refused.err().unwrap() else { panic!("{location}") };
        assert!(source.to_string().contains("was cut off"), "{location}: {source}");
    }
}
