//! Runs of transforms: changes of rows with what they have read, and nobody in between.

use std::sync::Arc;

use super::{
    TestLake,
    changing::{self, context, plan},
    create, latest, numbers, read_numbers, write,
};
use crate::{
    ChangeOperation, Changed, CommitInfo, Lake, LakeError, Repeats, StageChange, StageProgress,
    Staged, Touches, Txn, WriteMode,
};

fn txn(app_id: &str, version: i64) -> Txn {
    Txn { app_id: app_id.to_owned(), version }
}

fn info(run: i64, source: i64) -> CommitInfo {
    CommitInfo {
        txn: Some(txn("run", run)),
        sources: vec![txn("run:src", source)],
        operation_metadata: [("strategy".to_owned(), "keys".into())].into_iter().collect(),
    }
}

async fn stage(lake: &Lake, table: &str, sql: &str) -> (Option<Staged>, Changed) {
    let base = latest(lake, table).await;
    let context = context();
    let change = StageChange {
        plan: plan(&context, &base, sql).await,
        base,
        task: context.task_ctx(),
        operation: ChangeOperation::Refresh,
        condition: Some("2 keys".to_owned()),
        repeats: Repeats::Once,
        touches: Touches::AnyRow,
        checks: Vec::new(),
        patched: None,
        added: None,
        progress: Arc::new(StageProgress::default()),
    };
    lake.stage_change(change).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_commits_its_rows_with_what_it_has_read() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..10)).await.unwrap();
    let (staged, changed) = stage(&test.lake, &table, &changing::delete_where("n > 7")).await;
    assert_eq!(changed.deleted, 2);
    let committed = test.lake.commit(staged.unwrap(), info(5, 33)).await.unwrap();
    assert_eq!(committed.version, 1);
    assert_eq!(test.lake.txn_version(&table, "run").await.unwrap(), Some(5));
    assert_eq!(test.lake.txn_version(&table, "run:src").await.unwrap(), Some(33));
    let newest = &test.lake.history(&table, Some(1)).await.unwrap()[0];
    assert_eq!((newest.operation.as_str(), newest.blind_append), ("MERGE", Some(false)));
    assert!(newest.parameters.as_ref().unwrap().contains("2 keys"));
    // Another worker that does the same run comes too late.
    let (staged, _) = stage(&test.lake, &table, &changing::delete_where("n > 5")).await;
    let error = test.lake.commit(staged.unwrap(), info(5, 33)).await.unwrap_err();
    assert!(matches!(error, LakeError::AlreadyApplied { version: 5, .. }), "{error}");

    // A run notes what it has read also where no row changes.
    let (staged, changed) = stage(&test.lake, &table, &changing::delete_where("n > 77")).await;
    assert_eq!(changed, Changed::default());
    let committed = test.lake.commit(staged.unwrap(), info(6, 34)).await.unwrap();
    assert_eq!((committed.version, committed.files), (2, 0));
    assert_eq!(test.lake.txn_version(&table, "run:src").await.unwrap(), Some(34));
    assert_eq!(read_numbers(&committed.snapshot).await, [0, 1, 2, 3, 4, 5, 6, 7]);
    let delta = test.lake.delta(&table, 1, 2).await.unwrap();
    assert!(delta.unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_rows_under_a_run() {
    let test = TestLake::new();
    let table = test.table("t");
    let other = test.other();
    write(&test.lake, &table, create(), numbers(0..5)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(5..10)).await.unwrap();
    for (run, rows) in [(1, WriteMode::Append), (2, WriteMode::Grow)] {
        let (staged, _) = stage(&test.lake, &table, &changing::delete_where("n = 0")).await;
        write(&other, &table, rows, numbers([30 + run])).await.unwrap();
        let error = test.lake.commit(staged.unwrap(), info(run, 1)).await.unwrap_err();
        assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    }
    let (staged, _) = stage(&test.lake, &table, &changing::delete_where("n = 0")).await;
    changing::delete(&other, &table, "n = 9").await.unwrap();
    let error = test.lake.commit(staged.unwrap(), info(3, 1)).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");

    // Files that were put together are no change, unless they were those of the run.
    let (staged, _) = stage(&test.lake, &table, &changing::delete_where("n = 77")).await;
    changing::optimize(&other, latest(&other, &table).await).await.unwrap();
    test.lake.commit(staged.unwrap(), info(4, 1)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers([40])).await.unwrap();
    let (staged, _) = stage(&test.lake, &table, &changing::delete_where("n = 40")).await;
    changing::optimize(&other, latest(&other, &table).await).await.unwrap();
    let error = test.lake.commit(staged.unwrap(), info(5, 1)).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict { .. }), "{error}");
    let now = latest(&test.lake, &table).await;
    assert_eq!(read_numbers(&now).await, [0, 1, 2, 3, 4, 5, 6, 7, 8, 31, 32, 40]);
}
