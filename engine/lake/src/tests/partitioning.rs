//! Rows of many partitions in one statement.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use datafusion::{
    execution::{memory_pool::GreedyMemoryPool, runtime_env::RuntimeEnvBuilder},
    prelude::{SessionConfig, SessionContext},
};

use super::{TestLake, create_by, data_files, latest, plan_of, read_sql};
use crate::{CommitInfo, Stage, StageProgress, Staged};

/// Batches with numbers from 0 on, each of partition `n % partitions`.
fn rows(batches: i64, partitions: i64) -> Vec<RecordBatch> {
    const ROWS: i64 = 1000;
    let batch = |first: i64| {
        let n = Int64Array::from_iter_values(first..first + ROWS);
        let p = Int64Array::from_iter_values((first..first + ROWS).map(|n| n % partitions));
        let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(n)), ("p", Arc::new(p))];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    (0..batches).map(|n| batch(n * ROWS)).collect()
}

async fn staged(test: &TestLake, rows: Vec<RecordBatch>, memory: usize) -> Staged {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .build_arc()
        .unwrap();
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    let schema = rows[0].schema();
    let stage = Stage {
        location: test.table("t"),
        plan: plan_of(&[rows], schema),
        task: context.task_ctx(),
        mode: create_by("p"),
        base: None,
        checks: Vec::new(),
        progress: Arc::new(StageProgress::default()),
    };
    let staged = test.lake.stage(stage).await.unwrap();
    assert_eq!(context.runtime_env().memory_pool.reserved(), 0);
    staged
}

/// One file for each partition with its rows in the order in which they came, however many.
#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_one_file_with_its_rows_in_order() {
    for partitions in [3, 500] {
        let test = TestLake::new();
        let staged = staged(&test, rows(120, partitions), usize::MAX).await;
        assert_eq!(i64::try_from(staged.files()).unwrap(), partitions);
        assert_eq!(staged.rows(), 120_000);
        test.lake.commit(staged, CommitInfo::default()).await.unwrap();
        for file in data_files(&test.path("t")) {
            let of = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let of: i64 = of.strip_prefix("p=").unwrap().parse().unwrap();
            let file = std::fs::File::open(file).unwrap();
            let read = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
            let mut next = of;
            for batch in read.unwrap().build().unwrap() {
                for n in batch.unwrap().column(0).as_primitive::<Int64Type>().values() {
                    assert_eq!(*n, next);
                    next += partitions;
                }
            }
            assert!(next >= 120_000);
        }
        let sums = read_sql(
            &latest(&test.lake, &test.table("t")).await,
            "SELECT count(*), sum(n), count(DISTINCT p), count(*) FILTER (WHERE n > 119000) FROM t",
        )
        .await;
        let sum = |at: usize| sums.column(at).as_primitive::<Int64Type>().value(0);
        assert_eq!([sum(0), sum(1), sum(2), sum(3)], [120_000, 7_199_940_000, partitions, 999]);
    }
}

/// Where there is no memory for all rows that wait, they are written before the end.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_partitions_take_no_more_than_their_share() {
    let test = TestLake::new();
    let staged = staged(&test, rows(2000, 400), 4 << 20).await;
    let files = staged.files();
    assert!((401..4000).contains(&files), "{files}");
    assert_eq!(staged.rows(), 2_000_000);
    test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    let counted = read_sql(
        &latest(&test.lake, &test.table("t")).await,
        "SELECT count(DISTINCT n), count(*) FROM t WHERE n % 400 = p",
    )
    .await;
    let count = |at: usize| counted.column(at).as_primitive::<Int64Type>().value(0);
    assert_eq!([count(0), count(1)], [2_000_000, 2_000_000]);
}
