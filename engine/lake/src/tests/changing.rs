//! Rows that change: what is read, what is written, and who may come in between.

use std::sync::Arc;

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::{Int32Type, Int64Type},
};
use datafusion::{
    physical_plan::{ExecutionPlan, collect},
    prelude::{SessionConfig, SessionContext},
};

use super::{
    TestLake, create, create_by, data_files, labelled, latest, numbers, read_numbers, read_sql,
    write,
};
use crate::{
    Alteration, At, ChangeOperation, Changed, CommitInfo, Lake, LakeError, Optimize, Repeats,
    Snapshot, StageChange, StageProgress, Staged, Touches, Vacuum, WriteMode,
};

pub(super) fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2))
}

pub(super) async fn plan(
    context: &SessionContext,
    base: &Arc<Snapshot>,
    sql: &str,
) -> Arc<dyn ExecutionPlan> {
    context.register_table("rows", base.rows_provider().unwrap()).unwrap();
    context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

/// Stages a change that a query over `rows` describes.
pub(super) async fn stage(
    lake: &Lake,
    base: &Arc<Snapshot>,
    sql: &str,
    repeats: Repeats,
) -> Result<(Option<Staged>, Changed), LakeError> {
    stage_patched(lake, base, sql, repeats, None).await
}

/// The same, where only some columns of updated rows count.
async fn stage_patched(
    lake: &Lake,
    base: &Arc<Snapshot>,
    sql: &str,
    repeats: Repeats,
    patched: Option<Vec<usize>>,
) -> Result<(Option<Staged>, Changed), LakeError> {
    let context = context();
    let change = StageChange {
        base: Arc::clone(base),
        plan: plan(&context, base, sql).await,
        task: context.task_ctx(),
        operation: ChangeOperation::Update,
        condition: None,
        repeats,
        touches: Touches::AnyRow,
        checks: Vec::new(),
        patched,
        added: None,
        progress: Arc::new(StageProgress::default()),
    };
    lake.stage_change(change).await
}

/// Deletes the rows of `n` for which the condition is true.
pub(super) fn delete_where(condition: &str) -> String {
    format!(
        "SELECT \"@file\", \"@row\", arrow_cast(0, 'Int8'), NULL AS n FROM rows WHERE {condition}"
    )
}

pub(super) async fn delete(
    lake: &Lake,
    table: &str,
    condition: &str,
) -> Result<Changed, LakeError> {
    let base = latest(lake, table).await;
    let (staged, changed) =
        stage(lake, &base, &delete_where(condition), Repeats::Once).await.unwrap();
    if let Some(staged) = staged {
        lake.commit(staged, CommitInfo::default()).await?;
    }
    Ok(changed)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_says_where_it_is_whatever_part_of_the_files_is_read() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..1000)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(1000..1010)).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let context = context();
    let sql = "SELECT n, \"@file\", \"@row\" FROM rows WHERE n % 100 = 7 OR n > 1000";
    let plan = plan(&context, &base, sql).await;
    let batches = collect(plan, context.task_ctx()).await.unwrap();
    let mut places = Vec::new();
    for batch in &batches {
        let n = batch.column(0).as_primitive::<Int64Type>();
        let file = batch.column(1).as_primitive::<Int32Type>();
        let row = batch.column(2).as_primitive::<Int64Type>();
        for at in 0..batch.num_rows() {
            places.push((n.value(at), file.value(at), row.value(at)));
        }
    }
    places.sort_unstable();
    assert_eq!(places.len(), 10 + 9);
    let (big, small) = (places[0].1, places[10].1);
    assert_ne!(big, small);
    for (n, file, row) in places {
        let expected = if n < 1000 { (big, n) } else { (small, n - 1000) };
        assert_eq!((file, row), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_that_lose_rows_are_written_anew() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..100)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(100..200)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(200..300)).await.unwrap();
    let before: std::collections::BTreeSet<_> = data_files(&test.path("t")).into_iter().collect();
    let changed = delete(&test.lake, &table, "n >= 150 AND n < 210").await.unwrap();
    assert_eq!(changed, Changed { deleted: 60, updated: 0, inserted: 0 });
    let now = latest(&test.lake, &table).await;
    let expected: Vec<i64> = (0..150).chain(210..300).collect();
    assert_eq!(read_numbers(&now).await, expected);
    let after: std::collections::BTreeSet<_> = data_files(&test.path("t")).into_iter().collect();
    assert_eq!(after.difference(&before).count(), 1, "two files lost rows: the rest is one file");
    assert_eq!(now.files(), 2);
    // A file that loses all its rows is not read again.
    delete(&test.lake, &table, "n < 100").await.unwrap();
    assert_eq!(data_files(&test.path("t")).len(), after.len());
    assert_eq!(latest(&test.lake, &table).await.files(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_when_no_row_changes() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..10)).await.unwrap();
    let changed = delete(&test.lake, &table, "n = 77").await.unwrap();
    assert_eq!(changed, Changed::default());
    assert_eq!(latest(&test.lake, &table).await.version(), 0);
    assert_eq!(data_files(&test.path("t")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_not_taken_for_another_in_files_of_any_size() {
    // Other engines raised false errors from 8,193 rows in a file on.
    for rows in [8_193, 100_000] {
        let test = TestLake::new();
        let table = test.table("t");
        write(&test.lake, &table, create(), numbers(0..rows)).await.unwrap();
        let base = latest(&test.lake, &table).await;
        let refused = Repeats::Refused { keys: vec!["n".to_owned()] };
        let sql = "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), n + 1000000 AS n FROM rows";
        let (staged, changed) = stage(&test.lake, &base, sql, refused.clone()).await.unwrap();
        assert_eq!(changed.updated, u64::try_from(rows).unwrap());
        test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
        let now = latest(&test.lake, &table).await;
        assert_eq!(read_numbers(&now).await, (1_000_000..1_000_000 + rows).collect::<Vec<_>>());
        // Twice the same row, far behind in the file.
        let sql = "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), n FROM rows, (VALUES (1), (2)) \
                   WHERE n = 1008000";
        let error = stage(&test.lake, &now, sql, refused).await.unwrap_err();
        assert!(error.to_string().contains("n = 1008000"), "{error}");
        assert_eq!(latest(&test.lake, &table).await.version(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_partitions_change_and_move() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a")), (2, Some("b %/=")), (3, None), (4, Some("a"))]);
    write(&test.lake, &table, create_by("label"), rows).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let sql = "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), n, \
               CASE WHEN label IS NULL THEN 'ü?' WHEN n = 1 THEN NULL ELSE label END \
               FROM rows WHERE label IS NULL OR label = 'a'";
    let (staged, changed) =
        stage(&test.lake, &base, sql, Repeats::Refused { keys: Vec::new() }).await.unwrap();
    assert_eq!(changed.updated, 3);
    test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
    let now = latest(&test.lake, &table).await;
    let rows = read_sql(&now, "SELECT n, CAST(label AS VARCHAR) FROM t ORDER BY n").await;
    let labels = arrow::compute::cast(rows.column(1), &arrow::datatypes::DataType::Utf8).unwrap();
    let labels: Vec<_> = labels.as_string::<i32>().iter().collect();
    assert_eq!(labels, [None, Some("b %/="), Some("ü?"), Some("a")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_meanwhile_counts_as_later_and_a_change_as_a_conflict() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..10)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..20)).await.unwrap();
    let other = test.other();

    let base = latest(&test.lake, &table).await;
    let (staged, _) =
        stage(&test.lake, &base, &delete_where("n < 15"), Repeats::Once).await.unwrap();
    write(&other, &table, WriteMode::Append, numbers([3])).await.unwrap();
    test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [3, 15, 16, 17, 18, 19]);

    // Rows that were computed from the table are no blind append.
    let base = latest(&test.lake, &table).await;
    let (staged, _) =
        stage(&test.lake, &base, &delete_where("n = 19"), Repeats::Once).await.unwrap();
    write(&other, &table, WriteMode::Grow, numbers([30])).await.unwrap();
    let error = test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");

    // Neither side may bring back what the other took away, whichever files they touch.
    let base = latest(&test.lake, &table).await;
    let (staged, _) =
        stage(&test.lake, &base, &delete_where("n = 18"), Repeats::Once).await.unwrap();
    delete(&other, &table, "n = 30").await.unwrap();
    let error = test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [3, 15, 16, 17, 18, 19]);
    let files = data_files(&test.path("t")).len();
    assert_eq!(files, 5, "what a refused change wrote is gone: {files}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serializable_table_lets_no_append_come_between() {
    let test = TestLake::new();
    let table = test.table("t");
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: [("delta.isolationLevel".to_owned(), "Serializable".to_owned())].into(),
        schema: None,
    };
    write(&test.lake, &table, mode, numbers(0..10)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..20)).await.unwrap();
    let other = test.other();
    let change = || async {
        let base = latest(&test.lake, &table).await;
        let sql = delete_where("n % 10 = 5");
        stage(&test.lake, &base, &sql, Repeats::Once).await.unwrap().0.unwrap()
    };
    let staged = change().await;
    write(&other, &table, WriteMode::Append, numbers([25])).await.unwrap();
    let error = test.lake.commit(staged, CommitInfo::default()).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    assert!(error.to_string().contains("Serializable"), "{error}");
    // Files that were only put together hold the same rows, and appends see none.
    let staged = super::stage(&test.lake, &table, WriteMode::Append, numbers([30])).await.unwrap();
    write(&other, &table, WriteMode::Append, numbers([31])).await.unwrap();
    test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    let staged = change().await;
    test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    let left = read_numbers(&latest(&test.lake, &table).await).await;
    assert_eq!(left, (0..20).filter(|n| n % 10 != 5).chain([30, 31]).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_only_table_takes_new_rows_and_loses_none() {
    let test = TestLake::new();
    let table = test.table("t");
    let mode = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: [("delta.appendOnly".to_owned(), "true".to_owned())].into(),
        schema: None,
    };
    write(&test.lake, &table, mode, numbers(0..3)).await.unwrap();
    let staged = async |sql: &str, touches: Touches| {
        let base = latest(&test.lake, &table).await;
        let context = context();
        let change = StageChange {
            plan: plan(&context, &base, sql).await,
            base,
            task: context.task_ctx(),
            operation: ChangeOperation::Merge,
            condition: None,
            repeats: Repeats::Once,
            touches,
            checks: Vec::new(),
            patched: None,
            added: None,
            progress: Arc::new(StageProgress::default()),
        };
        test.lake.stage_change(change).await
    };
    let new = "SELECT arrow_cast(NULL, 'Int32'), arrow_cast(NULL, 'Int64'), arrow_cast(2, 'Int8'), n + 10 AS n \
               FROM rows WHERE n = 1";
    let (change, _) = staged(new, Touches::NewRows).await.unwrap();
    test.lake.commit(change.unwrap(), CommitInfo::default()).await.unwrap();
    let error = staged(new, Touches::AnyRow).await.unwrap_err();
    assert!(matches!(error, LakeError::AppendOnly { .. }), "{error}");
    let error = staged(&delete_where("n = 1"), Touches::NewRows).await.unwrap_err();
    assert_eq!(error.code(), model::code::Code::Internal, "{error}");
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [0, 1, 2, 11]);
}

pub(super) async fn optimize(
    lake: &Lake,
    base: Arc<Snapshot>,
) -> Result<crate::Optimized, LakeError> {
    let task = context().task_ctx();
    let progress = Arc::new(StageProgress::default());
    lake.optimize(Optimize {
        base,
        partitions: None,
        condition: None,
        zorder_by: Vec::new(),
        automatic: false,
        task,
        progress,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn putting_files_together_never_brings_rows_back() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..10)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..20)).await.unwrap();
    let other = test.other();
    let before = latest(&other, &table).await;

    // A delete of every row first, then files put together from before it: the second is refused.
    delete(&test.lake, &table, "true").await.unwrap();
    let error = optimize(&other, before).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    assert!(read_numbers(&latest(&test.lake, &table).await).await.is_empty());

    // The other way round: the delete is refused, because its files are gone.
    write(&test.lake, &table, WriteMode::Append, numbers(20..30)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(30..40)).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let (staged, _) = stage(&test.lake, &base, &delete_where("true"), Repeats::Once).await.unwrap();
    let done = optimize(&other, latest(&other, &table).await).await.unwrap();
    assert_eq!((done.removed_files, done.added_files), (2, 1));
    let error = test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, (20..40).collect::<Vec<_>>());

    // Appends do not disturb it, and what is together needs nothing.
    let base = latest(&other, &table).await;
    write(&test.lake, &table, WriteMode::Append, numbers(40..50)).await.unwrap();
    assert_eq!(optimize(&other, base).await.unwrap().commits, 0);
    optimize(&other, latest(&other, &table).await).await.unwrap();
    let now = latest(&test.lake, &table).await;
    assert_eq!((now.files(), read_numbers(&now).await.len()), (1, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_spares_what_is_read_staged_or_young() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..10)).await.unwrap();
    let keeps_nothing = [("delta.deletedFileRetentionDuration", "interval 0 hours")];
    let set = keeps_nothing.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let full = |keep: Vec<i64>| Vacuum { full: true, keep, ..Vacuum::default() };

    // Seven days by default: nothing is old enough.
    delete(&test.lake, &table, "n = 1").await.unwrap();
    assert!(test.lake.vacuum(&table, &full(vec![])).await.unwrap().files.is_empty());
    let base = latest(&test.lake, &table).await;
    let alteration = Alteration::Properties { set, unset: Vec::new() };
    test.lake.alter(base, alteration).await.unwrap().unwrap();

    // Somebody still reads version 0, and a statement has staged a file.
    let reader = test.lake.snapshot(&table, At::Version(0)).await.unwrap();
    let staged = super::stage(&test.lake, &table, WriteMode::Append, numbers([70])).await.unwrap();
    assert!(test.lake.vacuum(&table, &full(vec![])).await.unwrap().files.is_empty());
    assert_eq!(read_numbers(&reader).await.len(), 10);
    drop(reader);
    // Nobody reads it now, but a run is pinned to it.
    assert!(test.lake.vacuum(&table, &full(vec![0])).await.unwrap().files.is_empty());
    test.lake.commit(staged, CommitInfo::default()).await.unwrap();

    // A file that no version knows is found by FULL only.
    std::fs::write(test.path("t").join("part-orphan.parquet"), b"left behind").unwrap();
    std::fs::write(test.path("t").join("_hidden.parquet"), b"not ours").unwrap();
    let lite = Vacuum { dry_run: true, ..Vacuum::default() };
    assert_eq!(test.lake.vacuum(&table, &lite).await.unwrap().files.len(), 1);
    let done = test.lake.vacuum(&table, &full(vec![])).await.unwrap();
    assert_eq!(done.files.len(), 2, "{done:?}");
    assert!(done.files.contains(&"part-orphan.parquet".to_owned()));
    let now = latest(&test.lake, &table).await;
    assert_eq!(read_numbers(&now).await, [0, 2, 3, 4, 5, 6, 7, 8, 9, 70]);
    assert!(test.path("t").join("_hidden.parquet").exists());
    assert!(test.lake.vacuum(&table, &full(vec![])).await.unwrap().files.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_changes_only_in_ways_that_old_files_allow() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let column = |nullable| {
        let field =
            arrow::datatypes::Field::new("label", arrow::datatypes::DataType::Utf8, nullable);
        Alteration::AddColumns(Arc::new(arrow::datatypes::Schema::new(vec![field])))
    };
    let error = test.lake.alter(Arc::clone(&base), column(false)).await.unwrap_err();
    assert!(error.to_string().contains("label"), "{error}");
    test.lake.alter(Arc::clone(&base), column(true)).await.unwrap().unwrap();
    // Who had the old definition in mind comes too late.
    let error = test.lake.alter(base, column(true)).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");

    let rows = labelled(&[(7, Some("seven"))]);
    write(&test.lake, &table, WriteMode::Append, rows).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let sql = "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), n, coalesce(label, 'none') \
               FROM rows WHERE n <> 1";
    let (staged, changed) =
        stage(&test.lake, &base, sql, Repeats::Refused { keys: Vec::new() }).await.unwrap();
    assert_eq!(changed.updated, 3);
    test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
    let now = latest(&test.lake, &table).await;
    let rows: RecordBatch = read_sql(&now, "SELECT n, label FROM t ORDER BY n").await;
    let n: &Int64Array = rows.column(0).as_primitive();
    assert_eq!(n.values(), &[0, 1, 2, 7]);
    let labels: Vec<_> = rows.column(1).as_string::<i32>().iter().collect();
    assert_eq!(labels, [Some("none"), None, Some("none"), Some("seven")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_what_it_was_again_unless_its_files_are_gone() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..5)).await.unwrap();
    delete(&test.lake, &table, "n < 3").await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers([9])).await.unwrap();
    let restored = test.lake.restore(&table, At::Version(1)).await.unwrap().unwrap();
    assert_eq!((restored.restored_files, restored.removed_files), (0, 1));
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [3, 4]);
    let restored = test.lake.restore(&table, At::Version(0)).await.unwrap().unwrap();
    assert_eq!((restored.restored_files, restored.removed_files), (1, 1));
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [0, 1, 2, 3, 4]);
    let history = test.lake.history(&table, Some(2)).await.unwrap();
    assert_eq!(history.iter().map(|h| h.operation.as_str()).collect::<Vec<_>>(), ["RESTORE"; 2]);
    assert_eq!(history[0].engine.as_deref(), Some(concat!("whimbrel ", env!("CARGO_PKG_VERSION"))));

    let gone = data_files(&test.path("t"));
    for file in gone {
        std::fs::remove_file(file).unwrap();
    }
    let error = test.lake.restore(&table, At::Version(1)).await.unwrap_err();
    assert!(matches!(error, LakeError::FilesGone { version: 1, .. }), "{error}");
    assert_eq!(latest(&test.lake, &table).await.version(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_for_each_other_are_one_commit_and_each_is_told_of_its_own() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([0])).await.unwrap();
    let mut staged = Vec::new();
    for n in 1..=20_i64 {
        let rows = numbers(n * 100..n * 100 + n);
        staged.push(super::stage(&test.lake, &table, WriteMode::Append, rows).await.unwrap());
    }
    let writers = test.lake.writers(&test.lake.place(&table).unwrap());
    let turn = writers.turn.lock().await;
    let waiting: Vec<_> = staged
        .into_iter()
        .map(|staged| {
            let lake = test.lake.clone();
            tokio::spawn(async move { lake.commit(staged, CommitInfo::default()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    while writers.waiting() < 20 {
        tokio::task::yield_now().await;
    }
    drop(turn);
    for (n, commit) in (1..).zip(waiting) {
        let committed = commit.await.unwrap().unwrap();
        assert_eq!((committed.version, committed.rows, committed.files), (1, n, 1));
    }
    let now = latest(&test.lake, &table).await;
    assert_eq!((now.version(), now.files()), (1, 21));
    assert_eq!(read_numbers(&now).await.len(), 1 + 210);
}

/// Many rows in several row groups: `n`, a text, a number with NULLs, a time.
fn wide(count: i64) -> RecordBatch {
    use arrow::array::{ArrayRef, Date32Array, Float64Array, StringArray};
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let text = StringArray::from_iter_values((0..count).map(|n| format!("row {n} of many")));
    let some = (0..count).map(|n| (n % 3 != 0).then_some(n * 2));
    let amount = Float64Array::from_iter((0..count).map(|n| Some(f64::from(n as i32) / 4.0)));
    let day = Date32Array::from_iter((0..count).map(|n| Some((n % 1000) as i32)));
    RecordBatch::try_from_iter_with_nullable([
        ("n", n, true),
        ("text", Arc::new(text) as ArrayRef, true),
        ("some", Arc::new(Int64Array::from_iter(some)) as ArrayRef, true),
        ("amount", Arc::new(amount) as ArrayRef, true),
        ("day", Arc::new(day) as ArrayRef, true),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_no_row_changes_are_copied_as_they_are_stored() {
    const COUNT: i64 = 1_200_000;
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), wide(COUNT)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, wide(10)).await.unwrap();
    let base = latest(&test.lake, &table).await;
    // Rows of both row groups of the first file; what is said of other columns does not count.
    let sql = "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), NULL AS n, NULL AS text, \
               CASE WHEN n = 7 THEN NULL ELSE n + 5000000 END AS some, NULL AS amount, \
               arrow_cast(-5, 'Date32') AS day \
               FROM rows WHERE n % 100000 = 7 AND text <> 'row 7 of man'";
    let refused = Repeats::Refused { keys: Vec::new() };
    let (staged, changed) =
        stage_patched(&test.lake, &base, sql, refused, Some(vec![2, 4])).await.unwrap();
    assert_eq!(changed, Changed { updated: 13, ..Changed::default() });
    test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
    let now = latest(&test.lake, &table).await;
    assert_eq!((now.version(), now.files(), now.rows()), (2, 2, Some(1_200_010)));

    // The same as the rows of before with the same change, computed by a query.
    let expected = "SELECT n, text, CASE WHEN n % 100000 <> 7 THEN some \
                    WHEN n = 7 THEN NULL ELSE n + 5000000 END AS some, amount, \
                    CASE WHEN n % 100000 = 7 THEN arrow_cast(-5, 'Date32') ELSE day END AS day FROM old";
    let context = context();
    context.register_table("old", base.provider().unwrap()).unwrap();
    context.register_table("new", now.provider().unwrap()).unwrap();
    for sql in [
        format!("({expected}) EXCEPT ALL SELECT * FROM new"),
        format!("SELECT * FROM new EXCEPT ALL ({expected})"),
    ] {
        let differing = context.sql(&sql).await.unwrap().count().await.unwrap();
        assert_eq!(differing, 0, "{sql}");
    }
    // Ranges are those of the new values, and pages of copied columns are still skipped rightly.
    for (condition, count) in [
        ("some > 5000000", 11_i64),
        ("day < arrow_cast(0, 'Date32')", 13),
        ("n = 1199999", 1),
        ("text = 'row 1100007 of many'", 1),
        ("n BETWEEN 1048570 AND 1048580", 11),
    ] {
        let sql = format!("SELECT count(*) FROM t WHERE {condition}");
        let counted = read_sql(&now, &sql).await;
        let counted = counted.column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(counted, count, "{condition}");
    }
    // And once more on top of it.
    let sql = "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), NULL AS n, \
               upper(text) AS text, NULL AS some, NULL AS amount, NULL AS day FROM rows WHERE day < arrow_cast(0, 'Date32')";
    let (staged, _) =
        stage_patched(&test.lake, &now, sql, Repeats::Refused { keys: Vec::new() }, Some(vec![1]))
            .await
            .unwrap();
    test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
    let last = latest(&test.lake, &table).await;
    let sql = "SELECT count(*) FROM t WHERE text LIKE 'ROW %' AND n % 100000 = 7 AND \"some\" IS NOT NULL";
    let counted = read_sql(&last, sql).await;
    assert_eq!(counted.column(0).as_primitive::<Int64Type>().value(0), 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_store_a_column_in_another_way_are_not_patched() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    let field = arrow::datatypes::Field::new("label", arrow::datatypes::DataType::Utf8, true);
    let column = Arc::new(arrow::datatypes::Schema::new(vec![field]));
    let base = latest(&test.lake, &table).await;
    test.lake.alter(base, Alteration::AddColumns(column)).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let sql =
        "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), NULL AS n, 'x' AS label FROM rows";
    let refused = Repeats::Refused { keys: Vec::new() };
    let error = stage_patched(&test.lake, &base, sql, refused, Some(vec![1])).await.unwrap_err();
    assert!(matches!(error, LakeError::NotPatchable { .. }), "{error}");
    assert_eq!(data_files(&test.path("t")).len(), 1);
}

/// Deletes the row 1 of a table with labels.
const GONE: &str = "SELECT \"@file\", \"@row\", arrow_cast(0, 'Int8'), NULL AS n, NULL AS label \
                    FROM rows WHERE n = 1";

/// Spark writes `ä` into its logs as it is.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_removed_by_the_name_that_another_engine_gave_them() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("ä")), (2, Some("ä")), (3, Some("a b"))]);
    write(&test.lake, &table, create_by("label"), rows).await.unwrap();
    let folder = test.path("t");
    std::fs::rename(folder.join("label=%C3%A4"), folder.join("label=ä")).unwrap();
    let log = folder.join("_delta_log/00000000000000000000.json");
    let entries = std::fs::read_to_string(&log).unwrap();
    assert!(entries.contains("label=%25C3%25A4/"), "{entries}");
    std::fs::write(&log, entries.replace("label=%25C3%25A4/", "label=ä/")).unwrap();

    let lake = super::open(&test.folder, None);
    let base = latest(&lake, &table).await;
    let (staged, _) = stage(&lake, &base, GONE, Repeats::Once).await.unwrap();
    lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
    assert_eq!(read_numbers(&latest(&lake, &table).await).await, [2, 3]);
    write(&lake, &table, WriteMode::Overwrite, labelled(&[(4, Some("ä"))])).await.unwrap();
    assert_eq!(read_numbers(&latest(&lake, &table).await).await, [4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn putting_files_together_sees_that_a_file_went_whose_name_is_encoded() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create_by("label"), labelled(&[(1, Some("a b"))])).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, labelled(&[(2, Some("a b"))])).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let (staged, _) = stage(&test.lake, &base, GONE, Repeats::Once).await.unwrap();
    test.lake.commit(staged.unwrap(), CommitInfo::default()).await.unwrap();
    let error = optimize(&test.lake, base).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    assert_eq!(read_numbers(&latest(&test.lake, &table).await).await, [2]);
}
